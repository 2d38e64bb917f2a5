"""What was written is hinted at once, when there is enough of it."""

from pathlib import Path

import pytest

from mboxgen import Recipe, generate
from mboxgen.mbox import writeback

STRETCH = 16 << 20


def test_every_stretch_is_hinted_once_and_small_files_never(monkeypatch: pytest.MonkeyPatch) -> None:
    hinted: list[tuple[int, int, int]] = []
    monkeypatch.setattr(writeback, "_begin", lambda *stretch: hinted.append(stretch))
    written = writeback.Writeback(7)
    written.wrote(0, STRETCH - 1)
    assert hinted == []
    written.wrote(STRETCH * 3, 1)  # others wrote what is between
    assert hinted == [(7, 0, STRETCH - 1), (7, STRETCH * 3, 1)]
    written.wrote(STRETCH * 4, STRETCH)
    assert hinted[2:] == [(7, STRETCH * 4, STRETCH)]


def test_large_blocks_are_hinted_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hinted: list[int] = []
    begin = writeback._begin
    monkeypatch.setattr(
        writeback, "_begin", lambda file, offset, octets: (hinted.append(octets), begin(file, offset, octets))
    )
    made = generate(Recipe(("60kb",), count=3_000), tmp_path / "a.mbox")
    assert sum(hinted) == made.octets  # three blocks, each above a stretch
    assert len(hinted) == 3

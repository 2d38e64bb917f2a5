"""What `benchmarks.cluster_kills` writes down outlives each batch, and is added to by the next."""

from pathlib import Path

import pytest

from benchmarks.kills_record import RECORD, Kill, KillsRecord


def test_a_batch_that_was_cut_off_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "kills.jsonl"
    first = KillsRecord(path, "first")
    assert first.next_numbers("host", 3) == [1, 2, 3]
    first.add(Kill("host", 3, 0.5, "", accepted=10, in_doubt=2, arrived=11))
    first.add(Kill("host", 1, 1.5, "a message came twice"))
    second = KillsRecord(path, "second")
    assert second.next_numbers("host", 2) == [2, 4]
    assert second.next_numbers("shard", 1) == [1]
    second.add(Kill("host", 2, 0.25, "", accepted=1_000, in_doubt=3, arrived=1_001))
    second.add(Kill("shard", 1, 0.25, "", accepted=5, in_doubt=0, arrived=5))
    third = KillsRecord(path, "third")
    shown = list(third.sums())
    assert shown[2:5] == [
        "| host | 3 | 2 of 3 | 1,010 | 5 | 1,012 |",
        "| shard | 1 | 1 of 1 | 5 | 0 | 5 |",
        "| all | 4 | 3 of 4 | 1,015 | 5 | 1,017 |",
    ]
    assert (tmp_path / "kills.md").read_text() == third.page()
    assert "host 1, at 1.500 s: a message came twice" in shown[-1].replace(f" of {second.kills[0][0]}", "")


def test_the_page_says_what_the_record_says() -> None:
    record = KillsRecord(RECORD, "")
    assert record.kills
    assert record.page_path.read_text() == record.page()


def test_what_is_no_run_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "kills.jsonl"
    KillsRecord(path, "first").add(Kill("host", 1, 0.5, ""))
    path.write_text(path.read_text() + '{"batch": "never", "kind": "host"}\n')
    with pytest.raises(ValueError, match=r"kills\.jsonl:3: expected a batch or a run of one: no batch never"):
        KillsRecord(path, "second")


def test_a_run_that_failed_is_not_called_held(tmp_path: Path) -> None:
    path = tmp_path / "kills.jsonl"
    KillsRecord(path, "first").add(Kill("host", 1, 0.5, "it ended too soon"))
    path.write_text(path.read_text().replace('"held": false', '"held": true'))
    with pytest.raises(ValueError, match="there is a reason why not"):
        KillsRecord(path, "second")

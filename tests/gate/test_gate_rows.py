"""The files that gates of real servers are added to: no gate is lost or made twice, the summary is of the rows."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import gate_real
from benchmarks.everything import GATES
from benchmarks.gate_real import Asked, make_gates
from benchmarks.gate_rows import KINDS, VERDICTS, GateFile, Row, code
from benchmarks.machine import RESULTS
from trafficgen.errors import ExitCode

ROW = Row(
    1, "", "2026-11-27 17:12", "0123456789", "2 cores (AMD EPYC), Linux 6.18, Python 3.11.7", "PASS", 12, 101, "48%",
    "throughput 1.002 [0.990, 1.013]", "after 12 blocks nothing is lost",
)  # fmt: skip
WORDS = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1).map(str.strip)


def made(name: str, folder: Path, *rows: Row) -> GateFile:
    file = GateFile(name, folder)
    for row in rows:
        file.add(row)
    return file


def summary(file: GateFile) -> list[str]:
    return [line for line in file.path.read_text().splitlines() if "gates: " in line or line.startswith("Made with")]


def test_files_of_gates_say_on_top_what_their_rows_say() -> None:
    for path in RESULTS.glob("gate-*.md"):
        file = GateFile(path.stem.removeprefix("gate-"))
        assert file.rows(), path
        assert path.read_text() == file.text(file.rows())


@given(WORDS.filter(lambda text: text and not text.endswith("\\")), st.integers(1, 99), st.sampled_from(VERDICTS))
def test_a_row_is_read_as_it_was_written(why: str, number: int, verdict: str) -> None:
    row = replace(ROW, why=why, number=number, verdict=verdict)
    assert Row.read(str(row)) == row


def test_the_next_gates_are_those_that_the_file_has_not(tmp_path: Path) -> None:
    file = made("slices-same", tmp_path, ROW, replace(ROW, number=3))
    assert file.following(file.rows(), 3) == [(2, ""), (4, ""), (5, "")]
    assert [number for number, _ in file.following(file.rows())] == [2, *range(4, 21)]
    assert file.following((), 2) == [(1, ""), (2, "")]
    whole = [replace(ROW, number=number) for number in range(1, 21)]
    assert file.following(whole) == []
    assert file.following(whole, 1) == [(21, "")]


def test_a_number_that_was_asked_by_one_metric_lacks_the_other(tmp_path: Path) -> None:
    cpu, p50 = KINDS["postfix"].metrics
    one = replace(ROW, metric=cpu)
    file = made("postfix", tmp_path, one, replace(ROW, metric=p50), replace(one, number=2))
    assert file.following(file.rows(), 2) == [(2, p50), (3, cpu), (3, p50)]
    assert file.following(file.rows())[-1] == (5, p50)


def test_rows_are_in_order_and_one_made_again_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    file = made("slices-same", tmp_path, replace(ROW, number=2), ROW, replace(ROW, number=2, verdict="FAIL"))
    assert [(row.number, row.verdict) for row in file.rows()] == [(1, "PASS"), (2, "FAIL")]
    assert [path.name for path in tmp_path.iterdir()] == ["gate-slices-same.md"]


def test_the_summary_counts_against_what_is_promised(tmp_path: Path) -> None:
    rows = [replace(ROW, number=number, seconds=60 + number) for number in range(1, 19)]
    file = made("slices-same", tmp_path, *rows, replace(ROW, number=19, verdict="INCONCLUSIVE", seconds=361))
    ended = "18 PASS, 0 FAIL, 1 INCONCLUSIVE, 0 not valid; time 1:10 (median), 6:01 (longest)"
    promised = (
        "none FAIL (so far, 19 of 19); at least 18 of 20 PASS (so far, 18 of 19); "
        "none not valid or did not end (so far, 19 of 19); each within 6:00 (broken, 18 of 19)"
    )
    assert summary(file) == [f"**19 of 20 gates: {ended}.** Promised: {promised}."]
    file.add(replace(ROW, number=20, verdict="FAIL", commit="abcdef0123"))
    ended = ended.replace("0 FAIL", "1 FAIL")
    promised = (
        "none FAIL (broken, 19 of 20); at least 18 of 20 PASS (kept, 18 of 20); "
        "none not valid or did not end (kept, 20 of 20); each within 6:00 (broken, 19 of 20)"
    )
    by_commit = (
        "Made with the code of 2 commits: `0123456789` 18 PASS, 0 FAIL, 1 INCONCLUSIVE, 0 not valid; "
        "`abcdef0123` 0 PASS, 1 FAIL, 0 INCONCLUSIVE, 0 not valid."
    )
    assert summary(file) == [f"**20 of 20 gates: {ended}.** Promised: {promised}.", by_commit]


@pytest.mark.parametrize(
    ("name", "verdicts", "seconds", "told"),
    [
        ("slices-same", ["PASS"] * 17 + ["WARN"] * 3, 60, "at least 18 of 20 PASS (broken, 17 of 20)"),
        ("slices-same", ["WARN"] * 3, 60, "at least 18 of 20 PASS (broken, 0 of 3)"),
        ("slices-same", ["did not end"], 60, "none not valid or did not end (broken, 0 of 1)"),
        ("slices-slower", ["FAIL"] * 20, 240, "median time at most 4:00 (kept, it is 4:00)"),
        ("slices-slower", ["FAIL"] * 20, 241, "median time at most 4:00 (broken, it is 4:01)"),
        ("slices-slower", ["FAIL"] * 2, 241, "median time at most 4:00 (so far, it is 4:01)"),
        ("slices-slower", ["PASS"], 60, "none PASS (broken, 0 of 1)"),
        ("slices-near", ["FAIL"] * 20, 601, "at least 15 of 20 FAIL within 10:00 (broken, 0 of 20)"),
        ("slices-near", ["FAIL"] * 15 + ["WARN"] * 5, 600, "at least 15 of 20 FAIL within 10:00 (kept, 15 of 20)"),
        ("slices-near", ["FAIL"] * 30 + ["WARN"] * 8, 600, "at least 15 of 20 FAIL within 10:00 (kept, 30 of 38)"),
    ],
)
def test_a_promise_is_kept_or_broken_as_soon_as_that_is_sure(
    name: str, verdicts: list[str], seconds: int, told: str, tmp_path: Path
) -> None:
    rows = [replace(ROW, number=n, verdict=verdict, seconds=seconds) for n, verdict in enumerate(verdicts, 1)]
    assert told in GateFile(name, tmp_path).text(rows)


def test_a_file_that_holds_no_gates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gate-same.md").write_text("# Something else\n")
    with pytest.raises(ValueError, match="expected a table of gates"):
        GateFile("same", tmp_path).rows()


def test_every_kind_is_made_and_can_be_named_to_everything() -> None:
    assert set(gate_real.GATES) == set(KINDS) == set(GATES.values())
    assert re.fullmatch(r"[0-9a-f]{10,}\+?", code())


def test_each_gate_is_written_before_the_next_one_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = GateFile("slices-same", tmp_path)
    begun: list[tuple[int, list[int]]] = []

    def make(asked: Asked) -> Row:
        begun.append((asked.number, [row.number for row in file.rows()]))
        if asked.number == 3:
            raise KeyboardInterrupt
        return replace(ROW, number=asked.number)

    monkeypatch.setattr(gate_real, "GATES", {"slices-same": make})
    assert make_gates(file, 5, (), write=True) is ExitCode.INTERRUPTED
    assert begun == [(1, []), (2, [1]), (3, [1, 2])]
    assert make_gates(file, 2, (), write=True) is ExitCode.INTERRUPTED
    assert [number for number, _ in begun] == [1, 2, 3, 3]


def test_a_signal_ends_servers_and_burners_too(tmp_path: Path) -> None:
    mark = f"MARK={tmp_path}"
    command = [sys.executable, "-m", "benchmarks.gate_real", "slices-same", "--gates", "1"]
    environment = {**os.environ, "MARK": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("a pair of slices is left out when"):
                break
        before = marked(mark)
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
    assert process.returncode == ExitCode.INTERRUPTED, rest
    assert len(before) >= 6  # itself, a gate, two sinks, two burners
    assert "interrupted: gate 1 is lost" in rest
    assert marked(mark) == set()


def marked(mark: str) -> set[int]:
    """Processes that have this in their environment."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes().split(b"\0"):
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found

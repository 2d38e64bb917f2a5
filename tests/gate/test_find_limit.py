"""The highest rate that a real server keeps up with."""

import json
import re
from pathlib import Path

import pytest

from tests.gate.test_real_gate import server
from tests.peers.running import plan_for
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.runs.limit import capacity

LOAD = ["--", "--concurrency", "1", "--workers", "1", "--body-size", "1kb", "--grace", "100ms"]


def test_one_session_to_a_server_that_takes_its_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "limit.json"
    # Every reply comes 25 ms late, so that one session hands over at most 20 to 40 messages a second.
    with server(25) as target:
        found = call([
            "find-limit", "--target", str(target), "--threshold", "p50<400ms", "--step", "700ms", "--start", "10/s",
            "--precision", "60", "--json", str(out), *LOAD,
        ])  # fmt: skip
    shown = capsys.readouterr()
    assert found is ExitCode.DONE
    assert shown.out.startswith("kept at ")
    assert re.search(r"^10/s: kept \(p50<400ms was [\d.]+ ms\)$", shown.err, re.MULTILINE)
    plain = json.loads(out.read_text())
    assert 5 <= plain["bracket"]["kept"] <= 45
    assert plain["bracket"]["missed"] <= 1.6 * plain["bracket"]["kept"]


def test_a_budget_that_ends_first_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with server(5) as target:
        found = call([
            "find-limit", "--target", str(target), "--threshold", "p50<400ms", "--step", "300ms", "--start", "5/s",
            "--budget", "400ms", *LOAD,
        ])  # fmt: skip
    assert found is ExitCode.INCONCLUSIVE
    assert capsys.readouterr().out.startswith("the time was up: undecided at 5/s (kept in ")


def test_the_capacity_of_one_session() -> None:
    with server(20) as target:
        assert 5 < capacity(plan_for(target, messages=1, sessions=1, workers=1), duration_ns=600_000_000) < 70


def test_a_server_that_is_down_is_named_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    found = call(["find-limit", "--target", "127.0.0.1:1", "--threshold", "p50<400ms", *LOAD])
    assert found is ExitCode.FAILED
    shown = capsys.readouterr().err
    assert "127.0.0.1:1 accepted nothing without a rate: connect: " in shown
    assert "onnection refused" in shown


def test_a_server_that_accepts_nothing_is_not_searched(capsys: pytest.CaptureFixture[str]) -> None:
    search = ["find-limit", "--target", "127.0.0.1:1", "--threshold", "p50<400ms", "--start", "40", "--step", "100ms"]
    assert call([*search, *LOAD]) is ExitCode.FAILED
    shown = capsys.readouterr().err
    assert "40/s: p50<400ms: nothing was measured" in shown
    assert "127.0.0.1:1 accepted nothing at 20/s: connect: " in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--threshold", "p99"], "(--threshold)"),
        (["--threshold", "p99<1s", "--start", "0"], "(--start"),
        (["--threshold", "p99<1s", "--precision", "0"], "a precision of 0.5% to 100%"),
        (["--threshold", "p99<1s", "--step", "0s"], "(--step)"),
        (["--threshold", "p99<1s", "--", "--rate", "5/s"], "begin at one with --start"),
        (["--threshold", "p99<1s", "--", "--threshold", "p99<1s"], "give thresholds before the --"),
    ],
)
def test_a_search_that_makes_no_sense(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["find-limit", "--target", "127.0.0.1:1", *arguments]) is ExitCode.USAGE
    assert words in capsys.readouterr().err

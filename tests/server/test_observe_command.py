"""`traffic-gen observe`: from a server's own machine into the results of a run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.moments import FAR_S, Deadline
from tests.peers.running import send
from trafficgen import Progress
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.measure.results import Results, read_results


def test_samples_of_the_same_machine_are_attached_to_the_millisecond(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run lasts until the observer has looked often enough, however seldom it gets its turn."""
    deadline = Deadline(monkeypatch)

    def progress(now: Progress) -> None:
        sent = now.snapshot
        if sent.first_start_ns is None or sent.last_end_ns is None:
            return
        ends_ns = sent.began_ns + sent.last_end_ns - sent.first_start_ns
        lines = [json.loads(line) for line in samples.read_text().splitlines(keepends=True) if line.endswith("\n")]
        if sum(sent.began_ns <= line.get("mono_ns", 0) <= ends_ns for line in lines if "values" in line) >= 8:
            deadline.come()

    samples, results_file = tmp_path / "samples.ndjson", tmp_path / "run.json"
    command = [sys.executable, "-m", "trafficgen", "observe", "--write", str(samples), "--every", "100ms"]
    with subprocess.Popen(command) as observer:
        while not samples.exists() or samples.read_text().count("\n") < 3:
            assert observer.poll() is None
        results = send(None, duration_s=FAR_S, sessions=2, progress=progress)
        results_file.write_text(results.to_json())
        observer.terminate()
    assert call(["observe", "attach", str(results_file), str(samples)]) is ExitCode.DONE
    server = read_results(results_file).server
    assert server is not None
    assert server.clock == "same"
    assert server.at_s[0] < 0 < server.at_s[-1]
    assert len(server.within("host.running", 0.0, results.run.ended_s)) >= 5
    code = call(["report", str(results_file), "--threshold", "host.running.max<1"])
    assert code is (ExitCode.NOT_VALID if results.generator.limited else ExitCode.VERDICT_FAILED)
    out = capsys.readouterr().out
    assert "the server was short of" in out
    assert "on the run's own clock" in " ".join(out.split())


def test_samples_of_another_time_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = send(None, messages=5)
    results_file = tmp_path / "run.json"
    results_file.write_text(results.to_json())
    assert results.run.clock is not None
    head = {"samples": 1, "host": "mx", "boot_id": results.run.clock.boot_id, "every_s": 1.0}
    line = {"mono_ns": results.run.clock.began_ns - 10**12, "wall_ns": 1, "cost_ns": 0, "values": {"queue.depth": 1}}
    samples = tmp_path / "samples.ndjson"
    samples.write_text(f"{json.dumps(head)}\n{json.dumps(line)}\n")
    assert call(["observe", "attach", str(results_file), str(samples)]) is ExitCode.NOT_COMPARABLE
    assert "is of the time of the run" in capsys.readouterr().err
    assert Results.from_dict(json.loads(results_file.read_text())).server is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected a file for the samples, or - for stdout (--write)"),
        (["attach", "run.json"], "expected attach RESULTS SAMPLES"),
        (["--write", "/no/such/folder/x"], 'cannot write "/no/such/folder/x": no such file or directory (--write)'),
        (["--write", "-", "--every", "0s"], "expected a time above zero (--every)"),
        (["--write", "-", "--metrics", "x"], "expected URL=NAME,NAME"),
        (["--write", "-", "--queue", "a", "--exim-spool", "b"], "expected one queue to look at (--exim-spool)"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert call(["observe", *arguments]) is ExitCode.USAGE
    assert words in capsys.readouterr().err


def test_what_cannot_be_looked_at_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--queue", str(tmp_path / "none"), "--for", "1ms"]
    assert call(["observe", "--write", str(tmp_path / "samples.ndjson"), *options]) is ExitCode.DONE
    shown = capsys.readouterr().err
    assert shown.startswith("could not be looked at: ")
    assert f"{tmp_path / 'none' / 'maildrop'}: no such file or directory" in shown

"""Ctrl-C while the sink and the workers start, and a sink that takes more than one process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from tests.end_to_end.test_embedded_sink import assert_proven
from tests.peers.running import SCHEMA, Counts, counts, send
from trafficgen import BodyFile, ExitCode, PlanError, Results
from trafficgen.cli.program import call
from trafficgen.host import processes
from trafficgen.host.processes import Child
from trafficgen.outcomes import StoppedBy
from trafficgen.sink.embedded import processes_for


class Interrupting:
    """Presses Ctrl-C at the moment the n-th process is started: the terminal tells the whole group, so it as well."""

    def __init__(self, number: int, times: int) -> None:
        self.number, self.times = number, times
        self.started: list[Child] = []
        self._start = processes.start

    def __call__(self, *given: object) -> Child:
        child = self._start(*given)  # type: ignore[arg-type]
        self.started.append(child)
        if len(self.started) == self.number:
            for pid in (child.process.pid, os.getpid()) * self.times:
                assert pid is not None
                os.kill(pid, signal.SIGINT)
        return child


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("process", ["the sink", "first worker", "last worker"])
def test_ctrl_c_while_something_starts_ends_with_an_account_of_nothing(
    process: str, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.json"
    path.write_text("what was there before")
    interrupting = Interrupting(["the sink", "first worker", "last worker"].index(process) + 1, times)
    monkeypatch.setattr(processes, "start", interrupting)
    code = call(["--message-count", "500", "--workers", "2", "--json", str(path)])
    assert code is ExitCode.INTERRUPTED
    out, err = capfd.readouterr()
    assert "interrupted" in out
    assert "Traceback" not in err
    plain = json.loads(path.read_text())
    jsonschema.validate(plain, SCHEMA)
    results = Results.from_dict(plain)
    assert counts(results) == Counts(not_started=500)
    assert results.stopped_by is StoppedBy.INTERRUPTED
    assert results.run.duration_s < 60
    assert results.ledger is not None
    assert results.ledger.clean
    assert len(interrupting.started) == 3
    assert not any(child.process.is_alive() for child in interrupting.started)


def test_a_run_by_time_that_is_interrupted_at_once_has_planned_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "start", Interrupting(1, 1))
    results = send(None, duration_s=3600)
    assert counts(results) == Counts()
    assert results.stopped_by is StoppedBy.INTERRUPTED


def test_a_child_never_hears_ctrl_c() -> None:
    # A thousand signals, from before the interpreter is there until the child has answered.
    child = processes.start(_echo)
    for _ in range(1000):
        os.kill(child.process.pid or 0, signal.SIGINT)
    child.pipe.send("still there?")
    while not child.pipe.poll(0.001):
        os.kill(child.process.pid or 0, signal.SIGTERM)
    assert child.pipe.recv() == "still there?"
    child.end(10)
    assert child.process.exitcode == 0


def test_a_body_that_is_not_there_is_found_out_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupting = Interrupting(0, 0)
    monkeypatch.setattr(processes, "start", interrupting)
    with pytest.raises(PlanError, match='cannot read the body file "missing"'):
        send(None, messages=1, workload={"content": BodyFile(Path("missing"))})
    assert interrupting.started == []


def _echo(pipe: object) -> None:
    pipe.send(pipe.recv())  # type: ignore[attr-defined]


def test_json_that_cannot_be_written_later_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    assert call(["--message-count", "5", "--json", str(path), "--junit", str(tmp_path / "no" / "run.xml")]) == 2
    assert not path.exists()


def test_more_sessions_than_a_process_may_hold_go_to_several_sinks() -> None:
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)); "
        "from trafficgen.cli.program import main; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--concurrency", "220", "--message-count", "4400", "--json", "-"],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = Results.from_dict(json.loads(done.stdout))
    assert_proven(results, 4400)
    assert results.generator.sessions_opened == 220


def test_one_sink_as_long_as_it_has_room_and_then_as_few_as_will_do() -> None:
    assert processes_for(20, 20_000) == 1
    assert processes_for(192, 192) == 1
    assert processes_for(193, 192) == 2
    # 150 each on average, and one of two gets 192 or more of 300 once in a million runs: three.
    assert processes_for(300, 192) == 3
    assert processes_for(20_000, 19_936) == 2
    assert processes_for(5, 1) == 5

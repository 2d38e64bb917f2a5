"""Short real runs to the embedded sink, under watch."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.peers.scripted import PATIENCE_S, Script, scripted
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode, OutputError
from trafficgen.measure.journal import Journal
from trafficgen.measure.results import Results, read_results
from trafficgen.measure.snapshot import Snapshot
from trafficgen.outcomes import StoppedBy
from trafficgen.runs.monitor import Monitor

QUICK = ["--quiet", "--seed", "1", "--domain", "gmail.com", "--concurrency", "2", "--workers", "1"]


def test_thresholds_decide_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    junit, file = tmp_path / "run.xml", tmp_path / "run.json"
    asked = ["--threshold", "accepted.rate==1", "--threshold", "domain{gmail.com}.p99<1us"]
    arguments = ["--rate", "200/s", "--message-count", "60", *asked, "--junit", str(junit), "--json", str(file)]
    assert call([*QUICK, *arguments]) in (ExitCode.VERDICT_FAILED, ExitCode.NOT_VALID)
    results = read_results(file)
    assert [verdict.passed for verdict in results.thresholds] == [True, False]
    assert results.complete
    assert "accepted.rate==1            100.00%  passed" in capsys.readouterr().out
    assert len(list(ET.parse(junit).iter("failure"))) >= 1


def test_a_job_summary_is_written_where_ci_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "summary.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    assert call([*QUICK, "--message-count", "5"]) is ExitCode.DONE
    assert page.read_text().startswith("before\n| run |")
    assert "| accepted | 5 of 5 |" in page.read_text()


def test_a_warm_up_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server takes half of the mail, and the rest when the warm-up was seen to be over."""
    over, taken, warm_ns = threading.Event(), itertools.count(1), []

    class TakesHalf(Script):
        def end_of_data(self) -> None:
            assert next(taken) < 75 or over.wait(PATIENCE_S)
            super().end_of_data()

    see = Monitor.see

    def watch(monitor: Monitor, snapshot: Snapshot, elapsed_ns: int, build: Callable[[], Results]) -> None:
        see(monitor, snapshot, elapsed_ns, build)
        if snapshot.taken_ns - snapshot.began_ns >= 500_000_000:
            warm_ns.append(snapshot.taken_ns - snapshot.began_ns)
            over.set()

    monkeypatch.setattr(Monitor, "see", watch)
    file = tmp_path / "run.json"
    counted = ["--threshold", "accepted.count<150", "--threshold", "accepted.count>0"]
    arguments = ["--message-count", "150", "--warm-up", "500ms", "--json", str(file)]
    with scripted(TakesHalf) as server:
        ended = call([*QUICK, "--target", f"127.0.0.1:{server.port}", *arguments, *counted])
    results = read_results(file)
    assert ended in (ExitCode.DONE, ExitCode.NOT_VALID)  # beside busy neighbours the generator may have been the limit
    assert [verdict.passed for verdict in results.thresholds] == [True, True]
    assert results.window is not None
    assert results.window.from_s == pytest.approx(warm_ns[0] / 1e9)
    assert 0 < results.window.messages.accepted < results.messages.accepted == 150
    lasted_s = results.window.to_s - results.window.from_s
    assert results.window.rate.messages_per_s == pytest.approx(results.window.messages.accepted / lasted_s)


def test_a_failing_threshold_ends_the_run_early(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    arguments = ["--rate", "50/s", "--duration", "60s", "--threshold", "p99<1us", "--abort-on-fail", "0s"]
    assert call([*QUICK, *arguments, "--json", str(file)]) in (ExitCode.VERDICT_FAILED, ExitCode.NOT_VALID)
    results = read_results(file)
    assert results.stopped_by is StoppedBy.THRESHOLD
    assert results.run.duration_s < 60


def test_a_killed_run_leaves_a_readable_file(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    command = [sys.executable, "-m", "trafficgen", *QUICK, "--rate", "100/s", "--duration", "60s", "--json", str(file)]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        while not (file.exists() and file.stat().st_size > 0):
            with suppress(subprocess.TimeoutExpired):
                run.wait(0.05)
            assert run.returncode is None
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    results = read_results(file)
    assert not results.complete
    assert results.messages.add_up
    assert not results.valid
    assert results.stopped_by is StoppedBy.UNFINISHED
    assert results.messages.planned == 6000
    assert call(["report", str(file)]) is ExitCode.DONE
    assert call(["report", str(file), "--threshold", "accepted.rate>0"]) is ExitCode.NOT_VALID
    assert call(["compare", str(file), str(file)]) is ExitCode.NOT_COMPARABLE


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--threshold", "p9x<1s"], 'got "p9x"'),
        (["--threshold", "response.p99<1s"], "closed model"),
        (["--threshold", "domain{aol.com}.p99<1s"], "no mail goes to"),
        (["--abort-on-fail"], "expected a threshold that can fail"),
        (["--warm-up", "60s"], "expected a warm-up shorter than the run"),
        (["--junit", "/no/such/place.xml"], "no such file or directory (--junit)"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_the_run(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call([*QUICK, *arguments]) is ExitCode.USAGE
    assert words in capsys.readouterr().err


def test_hooks_run_before_and_after(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    hooks = ["--before", f"touch {before}", "--after", f"touch {after}"]
    assert call([*QUICK, "--message-count", "2", *hooks]) is ExitCode.DONE
    assert before.exists()
    assert after.exists()


def test_a_hook_that_fails_stops_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert call([*QUICK, "--message-count", "2", "--before", "false"]) is ExitCode.FAILED
    assert '"false" ended with code 1 (--before)' in capsys.readouterr().err
    assert call([*QUICK, "--message-count", "2", "--before", "no-such-command"]) is ExitCode.FAILED


# -- the file of a run that goes on ---------------------------------------------------------------------


def test_a_journal_is_whole_at_every_moment(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    journal = Journal(path)
    journal.keep(lambda: results)
    assert read_results(path) == results
    journal.keep(lambda: pytest.fail("written again at once"))
    journal.close(results)
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_a_full_disk_does_not_end_a_run(results: Results, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "gone" / "run.json")
    journal.keep(lambda: results)
    with pytest.raises(OutputError, match="no such file or directory"):
        journal.close(results)


def test_a_link_is_followed_and_stays_a_link(results: Results, tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    link.symlink_to(real)
    journal = Journal(link)
    journal.keep(lambda: results)
    journal.close(results)
    assert link.is_symlink()
    assert json.loads(real.read_text())["schema_version"] == 1

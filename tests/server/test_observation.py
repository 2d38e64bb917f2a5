"""An observer for the length of a run: here, over ssh's streams, and when it dies."""

import os
import signal
import stat
import sys
import threading
from collections.abc import Callable
from math import inf
from pathlib import Path

import pytest

from tests.engine.moments import not_before
from tests.peers.postfix import private_postfix
from tests.peers.running import plan_for
from tests.peers.scripted import PATIENCE_S, Script, scripted
from tests.peers.ssh_server import ssh_to_lab
from tests.sink.sink_process import sink_process
from trafficgen.cli.program import call
from trafficgen.clock import now_ns
from trafficgen.errors import ExitCode, PlanError, SetupError
from trafficgen.host.machine_clock import boot_id, wall_offset_ns
from trafficgen.measure.bottleneck import ClientView, Shortage, drain, find
from trafficgen.measure.observed import RunClock, silent_until
from trafficgen.measure.results import Results, read_results
from trafficgen.measure.snapshot import Snapshot
from trafficgen.plan.shape import ShapePlan
from trafficgen.report.to_text import to_text
from trafficgen.runs.monitor import MonitorOptions, run_monitored
from trafficgen.runs.observation import Observation, options_of
from trafficgen.verdict.thresholds import parse_threshold

NS = 1_000_000_000
FAST = ["--every", "50ms"]

AGENT = """\
import json, sys, threading, time
AHEAD = {ahead}
now = lambda: time.monotonic_ns() + AHEAD
print(json.dumps({{"samples": 1, "host": "mx", "boot_id": "{boot}", "every_s": 0.02}}), flush=True)
lock, over = threading.Lock(), threading.Event()
def say(entry):
    with lock:
        print(json.dumps(entry, separators=(",", ":")), flush=True)
def answer():
    for line in sys.stdin:
        at = now()
        say({{"clock": int(line.split()[1]), "received": at, "answered": now()}})
    over.set()
threading.Thread(target=answer, daemon=True).start()
for number in range({looks}):
    say({{"mono_ns": now(), "wall_ns": 1, "cost_ns": 1000, "values": {{"queue.depth": number}}}})
    if over.wait(0.02):
        break
print("the disk is full", file=sys.stderr)
"""


def agent(tmp_path: Path, *, ahead: int = 0, looks: int = 10**6, boot: str = "0" * 16) -> tuple[str, ...]:
    """A program in place of ours, with another clock."""
    path = tmp_path / "agent.py"
    path.write_text(AGENT.format(ahead=ahead, looks=looks, boot=boot))
    return sys.executable, str(path)


def clock_now() -> RunClock:
    return RunClock(boot_id(), now_ns(), wall_offset_ns())


def looks(observation: Observation, so_far: Snapshot, name: str = "host.running") -> list[float]:
    """What the observer has seen of a run that would end now."""
    seen = observation.samples(RunClock(boot_id(), so_far.began_ns, wall_offset_ns())) if so_far.workers else None
    if seen is None or so_far.last_end_ns is None:
        return []
    return seen.within(name, 0.0, (so_far.last_end_ns - so_far.began_ns) / NS)


class KeepsWaiting(Script):
    """The next hop: takes nothing before it may."""

    release: threading.Event

    def end_of_data(self) -> None:
        assert self.release.wait(PATIENCE_S)
        super().end_of_data()


class Releases(Observation):
    """Lets the next hop take mail once it has looked at the queue after the sending."""

    release: threading.Event

    def wait_for_drain(self, clock: RunClock, ended_s: float, stop: Callable[[], bool]) -> None:
        while (seen := self.samples(clock)) is None or not seen.within("queue.depth", ended_s, inf):
            with self._seen:
                assert self._seen.wait(PATIENCE_S)
        self.release.set()
        super().wait_for_drain(clock, ended_s, stop)


def test_a_local_observer_sees_the_queue_fill_and_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run lasts until a filling queue was seen, and nothing is delivered before the queue was seen afterwards.

    A message each 50 ms: however long that takes, the minute for the drain is enough.
    """
    release = threading.Event()
    hop_of = type("KeepsWaitingHere", (KeepsWaiting,), {"release": release})
    with scripted(hop_of) as hop, private_postfix(hop.port, "default_destination_concurrency_limit = 1") as postfix:
        what = [*options_of(str(postfix.folder / "queue"), None, ()), *FAST]
        thresholds = [parse_threshold("queue.depth<1"), parse_threshold("queue.oldest<10m")]
        with Releases("local", what, drain_ns=60 * NS) as observation:
            observation.release = release
            not_before(monkeypatch, lambda so_far: any(looks(observation, so_far, "queue.depth")))
            results = run_monitored(
                plan_for(postfix.port, duration_s=0.3, session={"shape": ShapePlan(think_ns=50_000_000)}),
                MonitorOptions(thresholds=thresholds),
                observation=observation,
            )
        postfix.stop()
    server = results.server
    assert server is not None
    assert server.clock == "same"
    assert server.at_s[0] < 0
    assert [verdict.passed for verdict in results.thresholds] == [False, True]
    drained = drain(server, results.run.ended_s)
    assert drained is not None
    assert drained.before == 0
    assert drained.at_end_of_sending > 0
    assert drained.took_s
    assert drained.per_s


OF_CPU = {Shortage.CPU, Shortage.CPU_OF_GENERATOR, Shortage.CPU_OF_OTHERS}


def what_was_short(settings: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Results, Shortage, str]:
    """Of a Postfix under eight sessions that send as fast as they can; with the summary."""
    with sink_process("127.0.0.1:0") as sink, private_postfix(sink.port, settings) as postfix:
        options = [*options_of(str(postfix.folder / "queue"), None, ()), "--every", "200ms"]
        with Observation("local", options) as observation, monkeypatch.context() as this_run:
            not_before(this_run, lambda so_far: len(looks(observation, so_far)) >= 8)
            plan = plan_for(postfix.port, duration_s=2.0, sessions=8)
            results = run_monitored(plan, MonitorOptions(), observation=observation)
        postfix.stop()
        sink.end()
    assert results.server is not None
    found = find(results.server, 0.0, results.run.ended_s, ClientView.of(results))
    return results, found.shortage, " ".join(to_text(results).split())


def test_a_server_that_works_and_one_that_sleeps_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However busy the machine is with others: then the one that sleeps may be short of CPU, too, but not by itself."""
    tmp_path.chmod(0o755)
    rules = tmp_path / "checks"
    rules.write_text("".join(f"/^(Subject|X-[A-Z]+): *(.*[a-z]+)* nothing-{n}$/ WARN\n" for n in range(1500)))
    rules.chmod(0o644)
    working, short, said = what_was_short(f"header_checks = regexp:{rules}", monkeypatch)
    assert short in OF_CPU
    assert "the server was short of CPU" in said
    sleeping, short, said = what_was_short("smtpd_data_restrictions = sleep 1", monkeypatch)
    assert short in {Shortage.ELSEWHERE, Shortage.CPU_OF_OTHERS, Shortage.CPU_OF_GENERATOR}
    assert short is not Shortage.ELSEWHERE or "they slept, or waited for a lock" in said
    for results in (working, sleeping):
        assert results.server is not None
        assert {"server.cpu_wait", "server.busiest", "server.blocked", "host.cores"} <= results.server.series.keys()


def goes_on_without(observation: Observation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run lasts for a second more than the observer."""
    ended_ns: list[int] = []

    def enough(so_far: Snapshot) -> bool:
        if observation._ended.is_set():
            ended_ns.append(so_far.taken_ns)
        return bool(ended_ns) and so_far.taken_ns - ended_ns[0] > NS

    not_before(monkeypatch, enough)


def test_an_observer_that_dies_leaves_a_gap_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Observation("local", [], program=agent(tmp_path, looks=3, boot=boot_id())) as observation:
        goes_on_without(observation, monkeypatch)
        results = run_monitored(plan_for(None, duration_s=0.1, sessions=2), MonitorOptions(), observation=observation)
    assert results.messages.accepted == results.messages.started > 0
    assert results.server is not None
    assert results.server.missing == ("anything more: the observer ended: the disk is full",)
    assert silent_until(results.server, results.run.ended_s)


@pytest.mark.parametrize("ahead_s", [0, -1000, 86_400])
def test_another_machines_clock_is_measured_by_questions_and_answers(tmp_path: Path, ahead_s: int) -> None:
    clock = clock_now()
    with Observation("local", [], program=agent(tmp_path, ahead=ahead_s * NS)) as observation:
        while (seen := observation.samples(clock)) is None or seen.clock != "measured":
            pass
        until_s = (now_ns() - clock.began_ns) / NS
    assert seen.clock_error_s is not None
    assert -seen.clock_error_s <= seen.at_s[0] <= seen.at_s[-1] <= until_s + seen.clock_error_s


def test_over_ssh_the_same_observer_speaks_through_its_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\n[ "$1 $2 $3 $4" = "-T -o BatchMode=yes root@mx" ] || exit 9\nexec sh -c "$5"\n')
    ssh.chmod(ssh.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    program = (sys.executable, "-m", "trafficgen")
    with Observation("ssh:root@mx", ["--pid-file", str(tmp_path / "a b'c"), *FAST], program=program) as observation:
        seen = observation.samples(clock_now())
    assert seen is not None
    assert seen.source == "ssh:root@mx"
    assert "host.running" in seen.series


def test_over_a_real_ssh_and_when_its_agent_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = tmp_path / "traffic-gen"
    remote.write_text(
        f'#!/bin/sh\necho $$ >{tmp_path}/pid\ncd {Path.cwd()} && exec {sys.executable} -m trafficgen "$@"\n'
    )
    remote.chmod(0o755)
    with ssh_to_lab(tmp_path) as first_in_path:
        monkeypatch.setenv("PATH", f"{first_in_path}{os.pathsep}{os.environ['PATH']}")
        with Observation("ssh:lab", FAST, program=[str(remote)]) as observation:
            seen = observation.samples(clock_now())
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
            goes_on_without(observation, monkeypatch)
            results = run_monitored(
                plan_for(None, duration_s=0.1, sessions=2), MonitorOptions(), observation=observation
            )
    assert seen is not None
    assert (seen.source, seen.clock, "host.running" in seen.series) == ("ssh:lab", "same", True)
    assert results.messages.accepted == results.messages.started > 0
    assert results.server is not None
    assert results.server.missing[-1].startswith("anything more: the observer ended")
    assert silent_until(results.server, results.run.ended_s)


def test_an_observer_ends_with_whoever_started_it(tmp_path: Path) -> None:
    before = threading.active_count()
    with Observation("local", FAST) as observation:
        process = observation._process
        assert process is not None
    assert process.poll() == 0
    assert threading.active_count() == before


def test_one_that_cannot_begin_says_why(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"the observer \(local\) saw nothing .*: the disk is full"):
        Observation("local", [], program=agent(tmp_path, looks=0)).__enter__()
    with pytest.raises(SetupError, match='cannot start "/no/such"'):
        Observation("local", [], program=("/no/such",)).__enter__()


@pytest.mark.parametrize("where", ["here", "ssh:", "ssh:-oProxyCommand=x", "mail.lab"])
def test_other_places_are_refused(where: str) -> None:
    with pytest.raises(PlanError, match="expected local or ssh:HOST"):
        Observation(where, [])


def test_the_command_puts_the_server_into_its_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Observation] = []
    enter = Observation.__enter__
    monkeypatch.setattr(Observation, "__enter__", lambda self: made.append(self) or enter(self))
    not_before(monkeypatch, lambda so_far: bool(looks(made[0], so_far)))
    file = tmp_path / "run.json"
    options = ["--duration", "300ms", "--concurrency", "1", "--observe", "local", "--json", str(file)]
    code = call([*options, "--threshold", "host.running.max>=0"])
    assert "the observer (local) looked every 1 s" in capsys.readouterr().out
    results = read_results(file)
    assert code is (ExitCode.NOT_VALID if results.generator.limited else ExitCode.DONE), results.caveats
    server = results.server
    assert server is not None
    assert server.at_s[0] < 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--observe-queue", "/q"], "expected --observe local or ssh:HOST with it (--observe-queue)"),
        (["--observe", "there"], "expected local or ssh:HOST"),
        (["--threshold", "queue.undelivered<5"], "counted at a sink behind the server (--wait-for-delivery)"),
        (["--threshold", "queue.depth<5"], "a threshold on what an observer sees needs one (--observe)"),
    ],
)
def test_what_is_wrong_is_said_before_the_run(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert call(["--message-count", "1", *arguments]) is ExitCode.USAGE
    assert words in capsys.readouterr().err

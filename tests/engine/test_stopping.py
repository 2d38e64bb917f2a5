"""How a run ends before its time: first error, deadline, Ctrl-C, a worker that dies, a bug of ours."""

import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.moments import FAR_S, Deadline, Heard
from tests.peers.running import Counts, counts, plan_for, send
from tests.peers.scripted import PATIENCE_S, Script, scripted
from trafficgen import (
    Auth,
    BodyFile,
    Corpus,
    ExitCode,
    OpenLoop,
    Plan,
    PlanError,
    Progress,
    Results,
    RetryPlan,
    Security,
    SetupError,
    TcpTarget,
    run,
)
from trafficgen.engine import control, supervisor
from trafficgen.engine.supervisor import Supervisor
from trafficgen.engine.worker_pool import WorkerPool
from trafficgen.measure.health import CaveatKind
from trafficgen.outcomes import StoppedBy


class Holds(Script):
    """Takes a message, and says so only when the test lets it."""

    release: threading.Event
    holding: threading.Semaphore

    def end_of_data(self) -> None:
        self.holding.release()
        assert self.release.wait(PATIENCE_S)
        super().end_of_data()


@pytest.fixture
def holds() -> type[Holds]:
    return type("HoldsHere", (Holds,), {"release": threading.Event(), "holding": threading.Semaphore(0)})


@pytest.fixture
def deadline(monkeypatch: pytest.MonkeyPatch) -> Deadline:
    return Deadline(monkeypatch)


class Watch:
    """Act once so many messages are at work, and let the server answer when the worker has heard of what came of it."""

    def __init__(self, holds: type[Holds], at_work: int, act: Callable[[], None], *, release: bool = True) -> None:
        self._holds, self._at_work, self._act, self._release = holds, at_work, act, release
        self._acted = False
        self._heard: Heard | None = None

    def __call__(self, now: Progress) -> None:
        if not self._acted:
            for _ in range(self._at_work):
                assert self._holds.holding.acquire(timeout=PATIENCE_S)
            self._act()
            self._acted = True
        elif self._heard is None:
            self._heard = Heard()  # progress is shown after the orders of the same turn
        elif self._release and self._heard.by(now.snapshot):
            self._holds.release.set()


def test_messages_at_work_at_the_deadline_get_their_time(holds: type[Holds], deadline: Deadline) -> None:
    with scripted(holds) as server:
        results = send(server.port, duration_s=FAR_S, sessions=3, grace_s=60, progress=Watch(holds, 3, deadline.come))
    # Three at work, and the three whose envelopes rode along: they are on their way, too.
    assert counts(results) == Counts(accepted=6)
    assert results.stopped_by is StoppedBy.DEADLINE
    assert results.run.stopped_after_s
    assert results.run.stopped_after_s >= FAR_S
    assert results.exit_code(keep_going=False) is ExitCode.DONE


def test_messages_at_work_when_the_grace_is_over_are_in_doubt(holds: type[Holds], deadline: Deadline) -> None:
    watch = Watch(holds, 3, deadline.come, release=False)
    with scripted(holds) as server:
        results = send(server.port, messages=100, duration_s=FAR_S, grace_s=0.3, sessions=3, progress=watch)
        holds.release.set()
    assert counts(results) == Counts(in_doubt=3, not_started=97)
    assert results.stopped_by is StoppedBy.DEADLINE
    assert [(each.phase, each.reason, each.count) for each in results.failures] == [("end_of_data", "stopped", 3)]


@pytest.mark.parametrize("load", [None, OpenLoop(1000.0)], ids=["closed", "open"])
def test_a_run_whose_last_answers_come_behind_the_deadline_is_finished(
    holds: type[Holds], deadline: Deadline, load: OpenLoop | None
) -> None:
    watch = Watch(holds, 3, deadline.come)
    with scripted(holds) as server:
        results = send(server.port, messages=3, duration_s=FAR_S, sessions=3, grace_s=60, load=load, progress=watch)
    assert counts(results) == Counts(accepted=3)
    assert (results.stopped_by, results.run.stopped_after_s) == (StoppedBy.FINISHED, None)


def test_a_run_whose_last_messages_the_deadline_cost_is_not_finished(holds: type[Holds], deadline: Deadline) -> None:
    watch = Watch(holds, 3, deadline.come, release=False)
    with scripted(holds) as server:
        results = send(server.port, messages=3, duration_s=FAR_S, grace_s=0.1, sessions=3, progress=watch)
        holds.release.set()
    assert counts(results) == Counts(in_doubt=3)
    assert results.stopped_by is StoppedBy.DEADLINE


def test_a_run_that_would_have_tried_again_is_not_finished(deadline: Deadline) -> None:
    class Later(Script):
        refused = threading.Event()

        def rcpt(self, line: str) -> None:
            self.say("451 4.7.1 later")
            self.refused.set()

    heard: list[Heard] = []

    def progress(now: Progress) -> None:
        if not heard:
            assert Later.refused.wait(PATIENCE_S)
            heard.append(Heard())
        elif heard[0].by(now.snapshot):
            deadline.come()

    with scripted(Later) as server:
        retry = RetryPlan(wait_ns=3600 * 10**9)
        results = send(server.port, messages=1, duration_s=FAR_S, retry=retry, progress=progress)
    assert counts(results) == Counts(rejected_temporary=1)
    assert results.stopped_by is StoppedBy.DEADLINE


def test_ctrl_c_lets_messages_at_work_finish(holds: type[Holds]) -> None:
    watch = Watch(holds, 2, lambda: os.kill(os.getpid(), signal.SIGINT))
    with scripted(holds) as server:
        results = send(server.port, messages=100, sessions=2, grace_s=60, progress=watch)
    assert counts(results) == Counts(accepted=4, not_started=96)
    assert results.stopped_by is StoppedBy.INTERRUPTED
    assert results.exit_code(keep_going=False) is ExitCode.INTERRUPTED


def test_a_second_ctrl_c_waits_for_nothing(holds: type[Holds], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_HURRY_NS", 60 * 10**9)  # a busy machine is not what this is about
    stops: list[int] = []
    say = WorkerPool.say

    def listen(pool: WorkerPool, order: object) -> None:
        if isinstance(order, control.Stop):
            stops.append(order.grace_ns)
        say(pool, order)

    monkeypatch.setattr(WorkerPool, "say", listen)
    seen = []

    def progress(now: Progress) -> None:
        seen.append(now)
        if len(seen) <= 2:
            for _ in range(2 - len(seen)):
                assert holds.holding.acquire(timeout=PATIENCE_S)
                assert holds.holding.acquire(timeout=PATIENCE_S)
            os.kill(os.getpid(), signal.SIGINT)

    with scripted(holds) as server:
        results = send(server.port, messages=100, sessions=2, grace_s=3600, progress=progress)
        holds.release.set()
    assert counts(results) == Counts(in_doubt=2, not_started=98)
    assert stops == [3600 * 10**9, 0]  # each of them once, or the end would be put off at every turn
    assert results.exit_code(keep_going=True) is ExitCode.INTERRUPTED


def test_ctrl_c_before_the_first_message_still_gives_results() -> None:
    def interrupt(line: str) -> None:
        if line.startswith("target 127.0.0.1:"):
            os.kill(os.getpid(), signal.SIGINT)

    with scripted(Script) as server:
        results = run(plan_for(server.port, messages=10), notice=interrupt)
        assert server.sessions == 0
    assert counts(results) == Counts(not_started=10)
    assert results.run.stopped_after_s == 0
    assert results.exit_code(keep_going=True) is ExitCode.INTERRUPTED


def test_signals_are_the_callers_again_after_a_run() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with scripted(Script) as server:
        send(server.port, messages=1)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_run_outside_the_main_thread_needs_no_signals() -> None:
    found = []
    with scripted(Script) as server:
        thread = threading.Thread(target=lambda: found.append(send(server.port, messages=3)))
        thread.start()
        thread.join(PATIENCE_S)
    assert counts(found[0]) == Counts(accepted=3)


def _kill_one_worker() -> None:
    worker = min(multiprocessing.active_children(), key=lambda child: child.pid or 0)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)


def _kill_a_worker_at_work(holds: type[Holds], load: OpenLoop | None, monkeypatch: pytest.MonkeyPatch) -> Results:
    """Two workers with two messages at work each; the first one dies, and the other one has heard of the end before
    its messages are answered."""
    heard: list[Heard] = []
    say, killed = WorkerPool.say, threading.Event()

    def listen(pool: WorkerPool, order: object) -> None:
        say(pool, order)
        if isinstance(order, control.Stop):
            heard.append(Heard())

    def progress(now: Progress) -> None:
        if not killed.is_set():
            for _ in range(4):
                assert holds.holding.acquire(timeout=PATIENCE_S)
            _kill_one_worker()
            killed.set()
        elif heard and heard[0].by(now.snapshot):
            holds.release.set()

    monkeypatch.setattr(WorkerPool, "say", listen)
    with scripted(holds) as server:
        results = send(server.port, messages=1000, sessions=4, workers=2, grace_s=60, load=load, progress=progress)
    assert results.generator.lost_workers == (0,)
    assert results.stopped_by is StoppedBy.WORKER_LOST
    assert not results.valid
    assert results.exit_code(keep_going=True) is ExitCode.NOT_VALID
    return results


def test_what_a_dead_worker_had_begun_is_in_doubt(holds: type[Holds], monkeypatch: pytest.MonkeyPatch) -> None:
    # It had begun the first of its ranges, 62 messages. The other one finishes two, and two that rode along.
    assert counts(_kill_a_worker_at_work(holds, None, monkeypatch)) == Counts(accepted=4, in_doubt=62, not_started=934)


def test_in_the_open_loop_what_was_due_at_a_dead_worker_is_in_doubt(
    holds: type[Holds], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = counts(_kill_a_worker_at_work(holds, OpenLoop(50.0), monkeypatch))
    assert 2 <= found.accepted <= 4
    assert found.in_doubt >= 2
    assert found == Counts(found.accepted, in_doubt=found.in_doubt, not_started=1000 - found.accepted - found.in_doubt)


def test_a_missing_password_file_is_found_before_the_start(tmp_path: Path) -> None:
    session = {"security": Security.STARTTLS, "auth": Auth("me", tmp_path / "nowhere")}
    with pytest.raises(PlanError, match=r"cannot read the password file .*nowhere.* \(auth\)"):
        send(TcpTarget("127.0.0.1", 1), messages=1, session=session)


def test_a_body_file_that_is_missing_is_an_error_before_the_start(tmp_path: Path) -> None:
    with pytest.raises((PlanError, SetupError), match="nowhere"):
        send(TcpTarget("127.0.0.1", 1), messages=1, workload={"content": BodyFile(tmp_path / "nowhere")})


def test_more_sessions_than_open_files_are_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: (_ for _ in ()).throw(ValueError("only root may")))
    with pytest.raises(SetupError, match="cannot hold 20000 sessions in one process: it may open 1024 files; raise"):
        send(TcpTarget("127.0.0.1", 1), messages=1, sessions=20_000)


def test_more_sessions_than_ports_are_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trafficgen.engine.limits.ephemeral_ports", lambda: 28_232)
    monkeypatch.setattr("trafficgen.engine.supervisor.check_open_files", lambda _sessions: None)
    with pytest.raises(SetupError, match="cannot hold 30000 sessions: this machine has 28232 ephemeral ports"):
        send(TcpTarget("127.0.0.1", 1), messages=1, sessions=30_000)


def test_a_plan_is_the_same_object_after_a_run() -> None:
    plan = plan_for(TcpTarget("127.0.0.1", 1), messages=1)
    assert Plan(**{name: getattr(plan, name) for name in Plan.__dataclass_fields__}) == plan


def test_a_corpus_that_is_no_mbox_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" * 100)
    with pytest.raises(PlanError, match=r"expected an mbox in .*picture\.png.*\(content\)") as caught:
        send(TcpTarget("127.0.0.1", 1), messages=1, workload={"content": Corpus(path)})
    assert caught.value.exit_code is ExitCode.USAGE
    assert (caught.value.field, caught.value.flag) == ("content", "--mbox")


def test_a_bug_in_a_callback_ends_the_worker_instead_of_the_run_waiting_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What a bug would be is simulated at the pipe: the worker gets a range that no messages can be built for.
    monkeypatch.setattr(Supervisor, "_assign", lambda self, worker: worker.say(control.AssignRange(5, 3 - 2**60)))
    with scripted(Script) as server:
        results = send(server.port, messages=10)
    assert results.generator.lost_workers == (0,)
    assert results.exit_code(keep_going=True) is ExitCode.NOT_VALID
    assert not results.valid
    (lost,) = [caveat.text for caveat in results.caveats if caveat.kind is CaveatKind.WORKER_LOST]
    assert re.fullmatch(r"the measurement is not valid: worker 0 died before the end \(\w+Error: .+\)", lost)


def test_what_a_worker_could_not_do_in_mid_run_is_said_with_the_results(holds: type[Holds]) -> None:
    def say_and_die(pool: WorkerPool) -> None:
        (worker,) = pool.workers
        pool._inbox._words.put((worker, SetupError("the disk is gone")))
        worker.child.process.kill()

    pools: list[WorkerPool] = []
    start = WorkerPool.start

    def progress(now: Progress) -> None:
        if pools:
            assert holds.holding.acquire(timeout=PATIENCE_S)
            say_and_die(pools.pop())
            holds.release.set()

    with pytest.MonkeyPatch.context() as patch, scripted(holds) as server:
        patch.setattr(WorkerPool, "start", lambda self, configs: pools.append(self) or start(self, configs))
        results = send(server.port, messages=10, progress=progress)
    (lost,) = [caveat.text for caveat in results.caveats if caveat.kind is CaveatKind.WORKER_LOST]
    assert lost == "the measurement is not valid: worker 0 died before the end (the disk is gone)"
    assert results.exit_code(keep_going=True) is ExitCode.NOT_VALID
    assert counts(results).in_doubt >= 1

"""A run ends whatever holds it up, and says what it had to leave: stuck workers, stuck openings, its own handle."""

import asyncio
import multiprocessing
import os
import signal
import socket
import threading
from typing import Any

import pytest

from tests.engine.moments import FAR_S, Deadline
from tests.engine.test_stopping import Holds
from tests.peers.running import Counts, counts, plan_for, send
from tests.peers.scripted import PATIENCE_S, Script, scripted
from trafficgen import ExitCode, OpenLoop, Plan, Progress, Results, RunControl, StoppedError, TcpTarget, run
from trafficgen.clock import now_ns
from trafficgen.engine import supervisor
from trafficgen.engine.account import PHASES
from trafficgen.engine.address import resolve
from trafficgen.engine.dispatch import ClosedSource
from trafficgen.engine.fairness import Turns
from trafficgen.engine.opening import Opener
from trafficgen.engine.password import Draw
from trafficgen.engine.slot import Slot, Surroundings, Way
from trafficgen.engine.socket_link import Poller
from trafficgen.measure.health import CaveatKind
from trafficgen.measure.recorder import Recorder
from trafficgen.outcomes import StoppedBy
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.interfaces import SessionOptions
from trafficgen.protocol.smtp.layout import BY_DATA
from trafficgen.protocol.smtp.reply_cache import ReplyCache
from trafficgen.runs.monitor import MonitorOptions, run_monitored
from trafficgen.sink.embedded import EmbeddedSink
from trafficgen.verdict.thresholds import parse_threshold
from trafficgen.workload import Messages


@pytest.fixture
def holds() -> type[Holds]:
    return type("HoldsHere", (Holds,), {"release": threading.Event(), "holding": threading.Semaphore(0)})


def kinds(results: Results) -> set[CaveatKind]:
    return {caveat.kind for caveat in results.caveats}


# -- one slot -------------------------------------------------------------------------------------------


class QuietAccount:
    """Takes everything down and says nothing."""

    def __init__(self) -> None:
        self.rows = Recorder(1, 0, False, phases=PHASES).rows

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: None


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
@pytest.mark.parametrize("how", ["stop", "give_up"])
@pytest.mark.parametrize("own_sockets", [False, True])
def test_a_slot_that_is_given_up_at_any_moment_of_its_opening_leaves_nothing_behind(
    how: str, turns: int, own_sockets: bool
) -> None:
    async def open_and_give_up(port: int) -> tuple[Surroundings, ClosedSource, list[Slot], int]:
        plan = plan_for(port, messages=3)
        source = ClosedSource(Messages(plan, date="", layout=BY_DATA), lambda _first: None)
        source.assign(0, 3)
        account, freed = QuietAccount(), []
        around = Surroundings(
            way=Way(
                lambda _: ClientSession(source, account, SessionOptions(), ReplyCache()),
                Opener(resolve(plan.target), plan.session, account, Draw((), "")),  # type: ignore[arg-type]
            ),
            on_free=freed.append, on_closed=lambda: None,
            on_turn=lambda: None, turns=Turns(lambda _: None),
            poller=Poller.of(asyncio.get_running_loop()) if own_sockets else None,
        )  # fmt: skip
        slot = Slot(around)
        work = source.take(now_ns())
        assert work is not None
        slot.give(work, now_ns())
        for _ in range(turns):
            await asyncio.sleep(0)
        source.stop()
        getattr(slot, how)("stopped", "")
        for _ in range(5):
            await asyncio.sleep(0)
        return around, source, freed, len(account.rows)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        around, source, freed, rows = asyncio.run(open_and_give_up(silent.getsockname()[1]))
    assert around.opening == 0
    assert len(freed) == 1
    assert not freed[0].working
    assert (source.taken, source.unsent) == ((0, 3) if how == "stop" else (1, 2))
    assert bool(rows) is (how == "give_up")


# -- workers that do not end ----------------------------------------------------------------------------


def suspend_worker() -> None:
    """The first of them: it neither reads nor writes nor ends."""
    worker = min(multiprocessing.active_children(), key=lambda child: child.pid or 0)
    os.kill(worker.pid or 0, signal.SIGSTOP)


def _suspended(holds: type[Holds], wishes: int, **words: Any) -> Results:
    """One worker of two is suspended with two messages at work; the other two are taken in the end."""
    control, seen = RunControl(), []

    def progress(now: Progress) -> None:
        seen.append(now)
        if len(seen) == 1:
            for _ in range(4):
                assert holds.holding.acquire(timeout=PATIENCE_S)
            suspend_worker()
            holds.release.set()
            for _ in range(wishes):
                control.stop()

    with scripted(holds) as server:
        results = run(plan_for(server.port, messages=1000, sessions=4, workers=2, **words), progress=progress,
                      control=control)  # fmt: skip
    assert not results.valid
    assert results.exit_code(keep_going=True) is ExitCode.NOT_VALID
    assert CaveatKind.WORKER_ENDED in kinds(results)
    assert CaveatKind.ACCOUNT_DIFFERS not in kinds(results)
    assert results.generator.lost_workers == ()
    assert counts(results).in_doubt >= 62  # the range that the suspended one had begun
    return results


def test_a_second_wish_ends_a_run_whose_worker_is_suspended(holds: type[Holds]) -> None:
    results = _suspended(holds, 2, grace_s=3600)
    assert results.stopped_by is StoppedBy.INTERRUPTED
    assert counts(results).not_started >= 800


def test_after_the_grace_a_suspended_worker_is_ended(holds: type[Holds], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_PATIENCE_NS", 500_000_000)
    results = _suspended(holds, 1, grace_s=0.2)
    assert results.stopped_by is StoppedBy.INTERRUPTED


def test_a_worker_that_says_nothing_any_more_is_ended(holds: type[Holds], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_SILENCE_NS", 3_000_000_000)
    monkeypatch.setattr(supervisor, "_PATIENCE_NS", 20_000_000_000)
    results = _suspended(holds, 0, grace_s=0.2)
    assert results.stopped_by is StoppedBy.WORKER_LOST


def test_what_a_lost_worker_had_reported_is_not_in_doubt_as_well() -> None:
    class TakesTen(Script):
        holding = threading.Semaphore(0)
        release = threading.Event()

        def end_of_data(self) -> None:
            if self.taken > 10:
                self.holding.release()
                assert self.release.wait(PATIENCE_S)
            super().end_of_data()

    def progress(now: Progress) -> None:
        if now.snapshot.accepted == 10 and TakesTen.holding.acquire(blocking=False):
            (worker,) = multiprocessing.active_children()
            os.kill(worker.pid or 0, signal.SIGKILL)
            TakesTen.release.set()

    with scripted(TakesTen) as server:
        results = send(server.port, messages=1000, progress=progress)
    # Its first range are 125 messages; ten of them are known to be accepted.
    assert counts(results) == Counts(accepted=10, in_doubt=115, not_started=875)
    assert results.generator.lost_workers == (0,)


# -- the handle -----------------------------------------------------------------------------------------


class NeverGreets(Script):
    greeted = 0
    control: RunControl

    def greet(self) -> None:
        type(self).greeted += 1
        if self.greeted == 3:
            self.control.stop()
        self.stay_silent()


@pytest.mark.parametrize("load", [None, OpenLoop(10_000.0)], ids=["closed", "open"])
def test_messages_that_never_got_a_session_are_not_started(load: OpenLoop | None) -> None:
    control = RunControl()
    script = type("NeverGreetsHere", (NeverGreets,), {"control": control, "greeted": 0})
    with scripted(script) as server:
        plan = plan_for(server.port, messages=50, sessions=3, grace_s=0, load=load)
        results = run(plan, control=control)
    assert counts(results) == Counts(not_started=50)
    assert results.failures == ()
    assert results.stopped_by is StoppedBy.INTERRUPTED


def test_without_a_number_planned_those_that_never_got_a_session_are_planned_and_not_started() -> None:
    control = RunControl()
    script = type("NeverGreetsHere", (NeverGreets,), {"control": control, "greeted": 0})
    with scripted(script) as server:
        results = run(plan_for(server.port, duration_s=3600, sessions=3, grace_s=0), control=control)
    assert counts(results) == Counts(not_started=3)


class StallsInTheEnvelope(Script):
    control: RunControl

    def data(self, line: str) -> None:
        self.control.stop()
        self.stay_silent()


def test_stopped_before_the_first_octet_of_the_message_is_not_started() -> None:
    control = RunControl()
    with scripted(type("StallsHere", (StallsInTheEnvelope,), {"control": control})) as server:
        results = run(plan_for(server.port, messages=5, grace_s=0), control=control)
    assert counts(results) == Counts(not_started=5)


def test_a_run_in_a_thread_is_stopped_by_its_handle() -> None:
    control, found, begun, lines = RunControl(), [], threading.Event(), []

    def see(now: Progress) -> None:
        if now.snapshot.accepted:
            begun.set()

    def work() -> None:
        plan = plan_for(None, duration_s=3600)
        found.append(run(plan, control=control, notice=lines.append, progress=see))

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(PATIENCE_S)
    control.stop()
    thread.join(PATIENCE_S)
    (results,) = found
    assert results.stopped_by is StoppedBy.INTERRUPTED
    assert counts(results).accepted > 0
    assert results.ledger.clean
    assert "stopping: up to 10 s; again = now" in lines


def test_a_threshold_that_aborts_raises_no_signal() -> None:
    found, heard = [], []
    watch = MonitorOptions(thresholds=[parse_threshold("throughput>1000000000")], abort_after_ns=0)
    before = signal.signal(signal.SIGINT, lambda *_: heard.append("SIGINT"))
    try:
        thread = threading.Thread(target=lambda: found.append(run_monitored(plan_for(None, duration_s=3600), watch)))
        thread.start()
        thread.join(PATIENCE_S)
    finally:
        signal.signal(signal.SIGINT, before)
    assert found[0].stopped_by is StoppedBy.THRESHOLD
    assert heard == []


def test_what_is_allowed_for_is_left_when_the_end_is_wanted_at_once() -> None:
    control, never = RunControl(), threading.Event()
    assert control.allow(lambda: 7, "seven") == 7
    with pytest.raises(ZeroDivisionError):
        control.allow(lambda: 1 // 0, "nothing")

    def stop_and_wait() -> None:
        control.stop()
        control.stop()
        never.wait()

    with pytest.raises(StoppedError, match="the answer was not waited for"):
        control.allow(stop_and_wait, "the answer")
    never.set()


# -- the embedded sink ----------------------------------------------------------------------------------


def test_a_sink_that_is_suspended_costs_the_proof_and_not_the_account() -> None:
    control = RunControl()

    def progress(now: Progress) -> None:
        if now.snapshot.accepted and not control.count:
            sink = min(multiprocessing.active_children(), key=lambda child: child.pid or 0)
            os.kill(sink.pid or 0, signal.SIGSTOP)
            control.stop()
            control.stop()

    results = run(plan_for(None, duration_s=3600), control=control, progress=progress)
    assert results.ledger is None
    assert CaveatKind.PROOF_MISSING in kinds(results)
    assert results.exit_code(keep_going=True) is ExitCode.INTERRUPTED
    assert results.stopped_by is StoppedBy.INTERRUPTED
    assert counts(results).accepted > 0


def test_a_sink_that_died_costs_the_proof_and_not_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    deadline = Deadline(monkeypatch)

    def progress(now: Progress) -> None:
        if now.snapshot.accepted and not deadline.came:
            sink = min(multiprocessing.active_children(), key=lambda child: child.pid or 0)
            os.kill(sink.pid or 0, signal.SIGKILL)
            sink.join()
            deadline.come()

    results = run(plan_for(None, duration_s=FAR_S, grace_s=0.5), progress=progress)
    assert CaveatKind.PROOF_MISSING in kinds(results)
    assert results.valid  # what the server said is known, and what became of it is not
    assert results.exit_code(keep_going=True) is ExitCode.FAILED
    assert counts(results).accepted > 0


# -- the account ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [-1, 1])
def test_a_count_on_the_wire_that_differs_makes_the_run_invalid(off: int, monkeypatch: pytest.MonkeyPatch) -> None:
    received = EmbeddedSink.received

    def wrong(self: EmbeddedSink, run_id: str) -> Any:
        count, arrivals = received(self, run_id)
        return count + off, arrivals

    monkeypatch.setattr(EmbeddedSink, "received", wrong)
    results = run(plan_for(None, messages=20, ledger=False))
    (caveat,) = [one for one in results.caveats if one.kind is CaveatKind.ACCOUNT_DIFFERS]
    assert caveat.text == f"messages accepted: 20, tries in doubt: 0; that came to the sink: {20 + off}"
    assert results.exit_code(keep_going=True) is ExitCode.NOT_VALID


def test_every_run_of_a_plan_has_an_id_of_its_own() -> None:
    with scripted(Script) as server:
        plan = Plan(target=TcpTarget("127.0.0.1", server.port), max_messages=1, workers=1)
        runs = [run(plan), run(plan)]
    assert len({one.run.id for one in runs}) == 2
    assert {one.run.seed for one in runs} == {plan.seed}
    assert len({Plan(max_messages=1).seed for _ in range(5)}) > 1

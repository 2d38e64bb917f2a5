"""Two runs on one machine that take turns: nothing starts while one is held, and its account is whole all the same."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.peers.running import plan_for
from tests.peers.scripted import Script, scripted
from trafficgen import OpenLoop, Plan, Results, run
from trafficgen.engine.control import Turn
from trafficgen.engine.dispatch import ClosedSource, OpenSource
from trafficgen.engine.turns import TurnControl
from trafficgen.errors import StoppedError
from trafficgen.host.signals import RunControl
from trafficgen.measure.snapshot import Snapshot
from trafficgen.schedule import Schedule
from trafficgen.workload import Messages


def test_a_held_closed_source_gives_nothing_and_loses_nothing() -> None:
    source = ClosedSource(Messages(Plan(max_messages=10), date=""), lambda _first: None)
    source.hold(0)
    source.assign(0, 10)
    assert source.take(0) is None
    assert not source.exhausted
    source.go(1)
    first, second = source.take(1), source.take(1)
    assert first is not None
    assert second is not None
    source.hold(2)
    source.give_back(second)
    assert (source.take(2), source.taken, source.unsent) == (None, 1, 9)
    source.go(3)
    rest = []
    while (work := source.take(3)) is not None:
        rest.append(work[0].number)
    assert [first[0].number, *rest] == list(range(10))


@pytest.mark.parametrize("held", [True, False])
def test_a_closed_source_that_is_stopped_while_held_says_what_it_did_not_send(held: bool) -> None:
    source = ClosedSource(Messages(Plan(max_messages=10), date=""), lambda _first: None)
    source.assign(0, 10)
    assert source.take(0) is not None
    if held:
        source.hold(0)
    source.stop()
    assert (source.taken, source.unsent, source.exhausted) == (1, 9, True)


def test_the_clock_of_an_open_schedule_stands_still_while_it_is_held() -> None:
    plan = Plan(max_messages=200, load=OpenLoop(1000.0))
    source = OpenSource(Messages(plan, date=""), Schedule(plan), began_ns=0, index=0, step=1)
    assert source.take(0) is not None
    given_back = source.take(1_000_000)
    assert given_back is not None
    source.hold(1_500_000)
    source.give_back(given_back)
    assert (source.take(9_000_000), source.next_due_ns, source.exhausted) == (None, None, False)
    source.go(11_500_000)
    due = [source.take(10**12) for _ in range(199)]
    numbers_and_times = [(work[0].number, work[1]) for work in due if work is not None]
    # Ten milliseconds of holding: all that was to come, comes that much later.
    assert numbers_and_times == [(number, number * 1_000_000 + 10_000_000) for number in range(1, 200)]
    assert source.exhausted


class Run:
    """A run in a thread of its own that takes turns."""

    def __init__(self, plan: Plan) -> None:
        self.turns, self.control = TurnControl(), RunControl()
        self.results: Results | None = None
        self._thread = threading.Thread(target=self._run, args=(plan,))
        self._thread.start()
        assert self.turns.begun.wait(60)

    def _run(self, plan: Plan) -> None:
        self.results = run(plan, control=self.control, turns=self.turns)

    def end(self) -> Results:
        self.control.stop()
        self._thread.join(60)
        assert self.results is not None
        return self.results


@contextmanager
def running(plan: Plan) -> Iterator[Run]:
    made = Run(plan)
    try:
        yield made
    finally:
        made.control.stop()
        made.control.stop()


def accepted_after(made: Run, least: int) -> Snapshot:
    """The numbers once so many messages have been accepted."""
    while (seen := made.turns.take(Turn.LOOK)).accepted < least:
        pass
    return seen


def settled(made: Run) -> Snapshot:
    """The numbers once nothing is in flight any more."""
    while (seen := made.turns.take(Turn.LOOK)).in_flight:
        pass
    return seen


@pytest.mark.parametrize("load", [None, OpenLoop(2000.0)])
def test_two_runs_take_turns_and_each_has_a_whole_account(load: OpenLoop | None) -> None:
    with scripted(Script) as a, scripted(Script) as b:
        plans = [plan_for(server.port, duration_s=60, sessions=3, workers=2, load=load) for server in (a, b)]
        with running(plans[0]) as first, running(plans[1]) as second:
            assert first.turns.take(Turn.LOOK).started == 0
            first.turns.take(Turn.GO)
            accepted_after(first, 20)
            first.turns.take(Turn.HOLD)
            rested = settled(first)
            second.turns.take(Turn.GO)
            accepted_after(second, 20)
            second.turns.take(Turn.HOLD)
            assert first.turns.take(Turn.LOOK).started == rested.started  # nothing while it was the other's turn
            assert rested.sessions_open >= 1
            first.turns.take(Turn.GO)
            accepted_after(first, rested.accepted + 20)
            results = [made.end() for made in (first, second)]
    for one in results:
        assert one.valid
        assert one.messages.accepted == one.messages.started >= 20
    assert results[0].messages.accepted >= 40


def test_a_run_that_is_over_answers_no_more() -> None:
    with scripted(Script) as server, running(plan_for(server.port, messages=3, sessions=1)) as made:
        made.turns.take(Turn.GO)
        made.end()
        with pytest.raises(StoppedError, match="the run is over"):
            made.turns.take(Turn.LOOK)

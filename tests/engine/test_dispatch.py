"""Who sends what: every message once, when the load is open at its time, whatever sessions and holds come between."""

from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trafficgen import OpenLoop, Plan
from trafficgen.engine import dispatch
from trafficgen.schedule import Schedule
from trafficgen.workload import Messages

if TYPE_CHECKING:
    from trafficgen.protocol.smtp.interfaces import Work


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [1, 1000, 3000])
def test_workers_share_an_open_run_message_by_message(workers: int, count: int) -> None:
    plan = Plan(max_messages=count, load=OpenLoop(1000.0))
    messages, schedule = Messages(plan, date=""), Schedule(plan)
    found = {}
    for index in range(workers):
        source = dispatch.OpenSource(messages, schedule, began_ns=10**18, index=index, step=workers)
        own = []
        while not source.exhausted:
            assert source.next_due_ns is not None
            assert source.take(source.next_due_ns - 1) is None, "not before its time"
            work = source.take(source.next_due_ns)
            assert work is not None
            own.append(work)
        assert [message.number for message, _ in own] == list(range(index, count, workers))
        found |= {message.number: (message, due_ns) for message, due_ns in own}
    whole = messages.block(0, count)
    assert [found[number] for number in range(count)] == [
        (message, 10**18 + message.number * 1_000_000) for message in whole
    ]


def test_a_closed_source_gives_every_message_once_and_accounts_for_what_it_keeps() -> None:
    begun: list[int] = []
    source = dispatch.ClosedSource(Messages(Plan(max_messages=9), date=""), begun.append)
    source.assign(0, 4)
    source.assign(0, 0)
    first = source.take(0)
    assert first is not None
    source.hold(0)
    assert source.take(0) is None
    source.give_back(first)
    assert source.take(0) is None
    assert (source.taken, source.unsent, source.exhausted) == (0, 4, False)
    source.go(0)
    taken = [work[0].number for work in iter(lambda: source.take(0), None)]
    assert sorted(taken) == [0, 1, 2, 3]
    assert begun == [0]
    assert (source.taken, source.unsent, source.exhausted) == (4, 0, True)


BEGAN: Final = 10**18
COUNT: Final = 150
"""More than an open source builds at a time."""

PLAN: Final = Plan(max_messages=COUNT, load=OpenLoop(1000.0))
MESSAGES: Final = Messages(PLAN, date="")


class Sources(RuleBasedStateMachine):
    """What sessions and the supervisor may do to a source, in any order, beside a list of what sessions have."""

    source: dispatch.ClosedSource | dispatch.OpenSource

    def __init__(self) -> None:
        super().__init__()
        self.now = BEGAN
        self.held: int | None = None
        self.held_for = 0  # so far, ended holds only
        self.stopped = False
        self.had: dict[int, Work] = {}
        self.returned: set[int] = set()
        self.share: list[int] = []  # of the run's messages
        self.assigned: set[int] = set()

    @rule(many=st.sampled_from((1, 2, 65, COUNT)))
    def take(self, many: int) -> None:
        for _ in range(many):
            work = self.source.take(self.now)
            if work is None:
                return
            assert not self.stopped
            assert self.held is None
            assert work[0].number not in self.had
            assert work[0].number in self.assigned
            self.had[work[0].number] = work

    @precondition(lambda self: self.had)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.had)))
        self.returned.add(number)
        self.source.give_back(self.had.pop(number))

    @rule()
    def hold(self) -> None:
        self.source.hold(self.now)
        self.held = self.now if self.held is None else self.held

    @rule()
    def go(self) -> None:
        self.source.go(self.now)
        if self.held is not None:
            self.held_for += 0 if self.stopped else self.now - self.held
        self.held = None

    @rule(draw=st.integers(1, 12))
    def stop(self, draw: int) -> None:
        if draw == 12:  # seldom, as little of interest follows
            self.source.stop()
            self.stopped = True

    @invariant()
    def everything_is_somewhere(self) -> None:
        if self.share:
            assert self.source.taken == len(self.had)
            assert self.source.taken + self.source.unsent == len(self.assigned)
            assert not self.stopped or self.source.exhausted


class Closed(Sources):
    source: dispatch.ClosedSource

    @initialize()
    def begin(self) -> None:
        self.begun: list[int] = []
        self.share = list(range(COUNT))
        self.ended = False
        self.source = dispatch.ClosedSource(MESSAGES, self.begun.append)

    @precondition(lambda self: not self.ended)
    @rule(many=st.sampled_from((0, 1, 5, COUNT)))
    def assign(self, many: int) -> None:
        first = len(self.assigned)
        last = min(first + many, COUNT)
        self.ended = first == last
        self.source.assign(first, last)
        self.assigned |= set(range(first, last))

    @invariant()
    def nobody_waits_for_what_cannot_come(self) -> None:
        if self.share and not self.stopped:
            assert self.source.exhausted == (self.ended and len(self.had) == len(self.assigned))


class Open(Sources):
    source: dispatch.OpenSource

    @initialize(workers=st.integers(1, 3), index=st.integers(0, 2))
    def begin(self, workers: int, index: int) -> None:
        self.share = list(range(index % workers, COUNT, workers))
        self.assigned = set(self.share)
        self.source = dispatch.OpenSource(MESSAGES, Schedule(PLAN), began_ns=BEGAN, index=index % workers, step=workers)

    @rule(later=st.sampled_from((0, 1_000_000, 70_000_000, 10**9)))
    def time_passes(self, later: int) -> None:
        self.now += later

    @property
    def waiting(self) -> int:
        """Messages given back, which any session may have at once."""
        return len(self.returned - self.had.keys())

    @invariant()
    def each_starts_at_its_time(self) -> None:
        for number, (message, due_ns) in self.had.items():
            assert message.number == number
            assert due_ns <= self.now
            assert BEGAN + number * 1_000_000 <= due_ns <= BEGAN + number * 1_000_000 + self.held_for

    @invariant()
    def what_is_due_next_is_told(self) -> None:
        if not self.share:
            return
        due_ns = self.source.next_due_ns
        if due_ns is None:
            assert self.stopped or self.held is not None or self.source.unsent == self.waiting
        else:
            assert not self.stopped
            assert self.held is None
            assert (due_ns - BEGAN - self.held_for) // 1_000_000 in self.share


test_closed_sources_in_any_order = Closed.TestCase
test_open_sources_in_any_order = Open.TestCase
test_closed_sources_in_any_order.settings = test_open_sources_in_any_order.settings = settings(
    max_examples=100, stateful_step_count=50
)

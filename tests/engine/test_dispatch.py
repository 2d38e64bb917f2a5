"""Who sends what when the load is open: every message once, at its time, whatever the number of workers."""

import pytest

from trafficgen import OpenLoop, Plan
from trafficgen.engine import dispatch
from trafficgen.schedule import Schedule
from trafficgen.workload import Messages


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

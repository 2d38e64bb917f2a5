"""What of a run is a shard's: all shards together have every number once."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.peers.running import plan_for
from trafficgen.cli import planning
from trafficgen.cli.options import SendOptions
from trafficgen.cli.send import command as send
from trafficgen.engine.ranges import Ranges
from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.errors import PlanError
from trafficgen.plan import Arrivals, OpenLoop, Plan, Shard, Stage
from trafficgen.schedule import Schedule

S = 1_000_000_000
RUN_ID = "9f3a6c1e02b4d857"

LOADS = st.one_of(
    st.builds(OpenLoop, st.floats(1.0, 500.0), arrivals=st.sampled_from(Arrivals)),
    st.builds(
        OpenLoop,
        st.floats(0.0, 100.0),
        st.lists(st.builds(Stage, st.integers(1, 3 * S), st.floats(1.0, 200.0)), min_size=1, max_size=3).map(tuple),
        st.sampled_from(Arrivals),
    ),
)


def shards_of(plan: Plan, of: int) -> list[ResolvedPlan]:
    return [ResolvedPlan.of(replace(plan, shard=Shard(number, of))) for number in range(1, of + 1)]


@given(st.integers(1, 60), st.integers(0, 20_000), st.integers(1, 5))
def test_in_the_closed_model_every_number_is_dealt_once(of: int, more: int, workers: int) -> None:
    messages = of + more
    dealt: list[int] = []
    for number in range(1, of + 1):
        ranges = Ranges(Shard(number, of), messages, workers)
        while part := ranges.next():
            dealt.extend(part)
        assert not ranges.next()
    assert sorted(dealt) == list(range(messages))


@given(st.integers(1, 40), st.integers(1, 5))
def test_without_a_last_message_shards_never_share_a_number(of: int, rounds: int) -> None:
    ranges = [Ranges(Shard(number, of), None, 3) for number in range(1, of + 1)]
    dealt = [number for one in ranges for _ in range(rounds) for number in one.next()]
    assert sorted(dealt) == list(range(of * rounds * 4096))


@given(LOADS, st.integers(1, 12), st.integers(1, 4), st.integers(1, 400), st.integers(0, 2**32))
def test_in_the_open_model_every_arrival_is_somebodys_at_its_time(
    load: OpenLoop, of: int, workers: int, messages: int, seed: int
) -> None:
    plan = Plan(load=load, max_messages=of + messages, seed=seed, run_id=RUN_ID, sessions=of * workers)
    whole = Schedule(plan)
    planned = whole.planned or 0
    parts = [replace(one, workers=workers) for one in shards_of(plan, of)]
    lanes = [one.arrivals(worker) for one in parts for worker in range(workers)]
    assert sorted(number for lane in lanes for number in lane) == list(range(planned))
    assert sum(one.planned or 0 for one in parts) == planned
    due_ns = whole.due_ns(0, planned).tolist()
    for lane in filter(None, lanes):
        assert whole.due_ns(lane.start, planned, lane.step).tolist() == [due_ns[number] for number in lane]


@given(st.integers(1, 100), st.integers(0, 1_000))
def test_shares_of_sessions_add_up_and_differ_by_one_at_most(of: int, more: int) -> None:
    shares = [Shard(number, of).share(of + more) for number in range(1, of + 1)]
    assert sum(shares) == of + more
    assert max(shares) - min(shares) <= 1
    assert min(shares) >= 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sessions": 3}, "expected a session for each of 4 shards, got 3"),
        ({"max_messages": 3}, "expected a message for each of 4 shards, got 3"),
        ({"run_id": ""}, "expected the id of the run, the same for all of its shards"),
    ],
)
def test_a_run_too_small_for_its_shards_is_refused(fields: dict[str, Any], words: str) -> None:
    plan = plan_for(25, messages=100, sessions=8)
    with pytest.raises(PlanError, match=words):
        replace(plan, shard=Shard(2, 4), **fields)


@pytest.mark.parametrize(("number", "of"), [(0, 4), (5, 4), (-1, 4), (1, 0)])
def test_a_shard_that_is_none_is_refused(number: int, of: int) -> None:
    with pytest.raises(PlanError, match=r"expected a shard from|must be from 1 to"):
        Shard(number, of)


GIVEN = {
    "--shard": "2/4", "--seed": "7", "--run-id": RUN_ID, "--concurrency": "8", "--start-at": "2099-12-01T10:00:00Z",
}  # fmt: skip


def planned(options: dict[str, str]) -> Plan:
    words = [word for pair in options.items() for word in pair]
    context = send.make_context("send", ["--target", "127.0.0.1:25", "--message-count", "100", *words])
    return planning.make_plan(SendOptions(**context.params)).plan


def test_a_shard_from_its_options() -> None:
    plan = planned(GIVEN)
    assert plan.shard == Shard(2, 4, 4_099_802_400 * S)
    assert (plan.sessions, plan.max_messages, plan.run_id, plan.seed) == (8, 100, RUN_ID, 7)


@pytest.mark.parametrize("missing", ["--seed", "--run-id", "--concurrency", "--start-at"])
def test_what_would_differ_from_machine_to_machine_must_be_given(missing: str) -> None:
    with pytest.raises(PlanError, match=rf"expected {missing}, the same for all shards"):
        planned({flag: value for flag, value in GIVEN.items() if flag != missing})


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--shard", "2", 'expected a shard such as 3/20, got "2"'),
        ("--shard", "2/", 'expected a shard such as 3/20, got "2/"'),
        ("--shard", "5/4", "expected a shard from 1/4 to 4/4, got 5/4"),
        ("--start-at", "2099-12-01T10:00:00", "expected a time with its zone such as 2026-12-01T10:00:00Z"),
        ("--start-at", "soon", 'expected a time with its zone such as 2026-12-01T10:00:00Z, got "soon"'),
    ],
)
def test_options_that_make_no_sense_are_refused(flag: str, value: str, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        planned({**GIVEN, flag: value})


def test_a_shard_does_not_wait_for_the_mail_of_others() -> None:
    with pytest.raises(PlanError, match="cannot wait for the delivery of mail that others send"):
        planned({**GIVEN, "--wait-for-delivery": "5s", "--sink-api": "127.0.0.1:8025"})

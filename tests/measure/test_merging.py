"""What merging makes of the generators' own words."""

from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from tests.measure.test_results import BEGUN, DOMAINS, PLAN, build, snapshot_of
from trafficgen.errors import ResultsError
from trafficgen.measure.commands import CommandAccount
from trafficgen.measure.counts import CommandCounts, ReplyCount, TargetCounts
from trafficgen.measure.delivered import LedgerCounts, MailboxCounts
from trafficgen.measure.generator import ShardRecord
from trafficgen.measure.health import Caveat, CaveatKind
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.merging_runs import merge_results
from trafficgen.measure.merging_shards import merge_shards
from trafficgen.measure.observed import ServerSamples
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import IdleCounts, RetryCounts, Tally, TargetSnapshot, merge
from trafficgen.outcomes import Outcome, StoppedBy
from trafficgen.plan import OpenLoop, Stage


def part(number: int, *, workers: int = 1, lost: tuple[int, ...] = (), begun_s: float = 0.0, **changes: Any) -> Results:
    snapshot = merge([snapshot_of([Outcome.ACCEPTED] * 4)] * workers)
    made = build(snapshot, started_at=BEGUN + timedelta(seconds=begun_s))
    return replace(
        made,
        run=replace(made.run, id=f"{number:016x}"),
        generator=replace(made.generator, lost_workers=lost),
        **changes,
    )


def test_workers_are_numbered_through_and_lost_ones_with_them() -> None:
    parts = [part(1, workers=2, lost=(1,)), part(2, workers=3, lost=(0, 2)), part(3, workers=1, lost=(0,))]
    made = merge_results(parts).generator
    assert [worker.worker for worker in made.workers] == [0, 1, 2, 3, 4, 5]
    assert made.lost_workers == (1, 2, 4, 5)
    assert made.sessions_opened == 12


def test_the_first_reason_that_is_not_the_end_is_that_of_the_whole() -> None:
    reasons = [StoppedBy.FINISHED, StoppedBy.DEADLINE, StoppedBy.INTERRUPTED]
    parts = [replace(part(number), stopped_by=reason) for number, reason in enumerate(reasons)]
    assert merge_results(parts).stopped_by is StoppedBy.DEADLINE
    assert merge_results(parts[:1]).stopped_by is StoppedBy.FINISHED


def test_the_whole_was_stopped_when_the_last_part_was() -> None:
    def stopped(number: int, after_s: float | None, begun_s: float = 0.0) -> Results:
        made = part(number, begun_s=begun_s)
        return replace(made, run=replace(made.run, stopped_after_s=after_s))

    parts = [stopped(1, 2.0), stopped(2, 1.5, begun_s=1.0), stopped(3, None, begun_s=2.0)]
    assert merge_results(parts).run.stopped_after_s == pytest.approx(2.5)
    assert merge_results(parts[2:]).run.stopped_after_s is None


def test_ledgers_add_up_when_all_have_one() -> None:
    ledgers = [LedgerCounts(4, 3, 1, 2, 5), LedgerCounts(4, 4, 0, 1, 0)]
    parts = [part(number, ledger=ledger) for number, ledger in enumerate(ledgers)]
    assert merge_results(parts).ledger == LedgerCounts(8, 7, 1, 3, 5)
    assert merge_results([*parts, part(2)]).ledger is None


def test_what_no_part_was_asked_for_is_not_in_the_whole_either() -> None:
    """Users of mailboxes have no number of sessions, and a file that says null for it cannot be read."""
    parts = [part(1), part(2)]
    for one in parts:
        assert isinstance(one.plan, dict)
        del one.plan["sessions"]
    assert "sessions" not in Results.from_dict(merge_results(parts).to_dict()).plan


def test_the_rate_is_over_the_time_in_which_one_of_them_sent() -> None:
    # Four messages from 0 to 0.35 s each, the second generator 1.5 s later.
    made = merge_results([part(1), part(2, begun_s=1.5)])
    assert made.rate.over_s == pytest.approx(1.85)
    assert made.rate.messages_per_s == pytest.approx(8 / 1.85)
    assert made.rate.messages_per_hour == pytest.approx(8 / 1.85 * 3600)
    assert made.rate.bytes_per_s == pytest.approx(8_000 / 1.85)
    assert (made.run.duration_s, made.run.ended_s) == pytest.approx((4.0, 4.0))
    assert [(second.at_s, second.accepted) for second in made.timeline if second.accepted] == [(0, 4), (2, 4)]


def loaded(number: int, *rates_per_s: float) -> Results:
    stages = tuple(Stage(10**9, rate) for rate in rates_per_s[1:])
    plan = replace(PLAN, load=OpenLoop(rates_per_s[0], stages))
    made = build(snapshot_of([Outcome.ACCEPTED] * 4, open_loop=True), plan=plan)
    return replace(made, run=replace(made.run, id=f"{number:016x}"))


def test_the_plan_of_the_whole_has_what_adds_up_added_up() -> None:
    plan = merge_results([loaded(1, 10.0, 20.0, 5.0), loaded(2, 1.0, 2.0, 3.0)]).plan
    assert (plan["max_messages"], plan["sessions"]) == (20, 2 * PLAN.sessions)
    assert plan["load"]["rate_per_s"] == 11.0
    assert [stage["rate_per_s"] for stage in plan["load"]["stages"]] == [22.0, 8.0]


def test_an_open_run_and_a_closed_one_are_no_parts_of_one_load() -> None:
    with pytest.raises(ResultsError, match="cannot merge a run of the closed model with one of the open"):
        merge_results([part(1), loaded(2, 10.0)])


OF_ITS_OWN = {"window", "thresholds", "delivery", "server"}
"""What is of one run alone, or judged anew."""


def full(*, shards: tuple[ShardRecord, ...] = ()) -> Results:
    """Results with something in every value that adds up."""
    latency = Histogram()
    latency.record_many(np.array([5, 7, 9, 11]))
    fetch = CommandAccount.of(4, 1, 2, 300, latency)
    snapshot = replace(
        snapshot_of([Outcome.ACCEPTED] * 4, open_loop=True),
        replies={("mail", 451, "4.3.0"): Tally(2, "not now")},
        failures={("connect", "refused"): Tally(1, "nobody there")},
        recipients=(7, 1, 2, 0, 3),
        partly_accepted=2,
        targets=(TargetSnapshot(3, (4, 0, 0, 0, 0), latency), TargetSnapshot(1, (0, 0, 0, 0, 0), Histogram())),
        retries=RetryCounts(3, 2, 1),
        idle=IdleCounts(9, 4, 1, 6),
        commands={"fetch": fetch},
        protected={("TLSv1.3", "TLS_AES_256_GCM_SHA384"): (3, 1)},
    )
    made = build(
        snapshot, plan=replace(PLAN, load=OpenLoop(10.0)), ledger=LedgerCounts(4, 3, 1, 2, 5, 6, 7),
        mailboxes=MailboxCounts(*range(1, 16)), targets=[("a:25", 0.75), ("b:25", 0.25)],
        caveats=[Caveat.of(CaveatKind.OUTPUT_FAILED, "no space left")], shards=shards, stopped_after_ns=2 * 10**9,
        duration_ns=(snapshot.last_end_ns or 0) - (snapshot.first_start_ns or 0),
    )  # fmt: skip
    commands = {"fetch": CommandCounts.of(fetch, made.run.duration_s)}
    return replace(made, commands=commands, command_histograms={"fetch": latency})


@pytest.mark.parametrize("of_shards", [False, True])
def test_merging_leaves_nothing_out(of_shards: bool) -> None:
    snapshot = snapshot_of([Outcome.ACCEPTED] * 4)
    times = snapshot.first_start_ns, snapshot.last_start_ns, snapshot.last_end_ns, snapshot.last_answered_ns
    record = ShardRecord(1, 1, None, 4, "host", *times, {})
    one = full(shards=(record,) if of_shards else ())
    empty = [name for name in (field.name for field in fields(one)) if getattr(one, name) in (None, (), {})]
    assert set(empty) == OF_ITS_OWN | (set() if of_shards else {"shards"})
    merged = (merge_shards if of_shards else merge_results)([one])
    plain, whole = one.to_dict(), merged.to_dict()
    plain["run"]["clock"] = None
    if of_shards:
        assert [caveat["text"] for caveat in whole["caveats"]] == ["shard 1: no space left"]
        plain["caveats"] = whole["caveats"]
    assert whole == plain


def test_merged_results_have_no_clock_and_the_example_that_most_saw() -> None:
    parts = [
        part(number, replies=(ReplyCount("mail", 451, "4.3.0", count, example),))
        for number, (count, example) in enumerate([(5, "often"), (2, "seldom")])
    ]
    merged = merge_results(parts)
    assert merged.replies == (ReplyCount("mail", 451, "4.3.0", 7, "often"),)
    assert parts[0].run.clock is not None
    assert merged.run.clock is None


def test_wanted_shares_are_those_of_each_part_by_its_part_of_all() -> None:
    def of_targets(number: int, share: float, sessions: int) -> Results:
        targets = [TargetCounts(name, 0.0, sessions, 2, 2, 0, 0, 0, 0, None) for name in ("a:25", "b:25")]
        wanted = replace(targets[0], weight=share), replace(targets[1], weight=1 - share)
        return part(number, targets=wanted)

    first, second = of_targets(1, 0.5, 3), of_targets(2, 0.9, 1)
    assert [one.weight for one in merge_results([first, second]).targets] == [pytest.approx(0.6), pytest.approx(0.4)]
    domains = {name: replace(one, weight=0.5) for name, one in first.domains.items()}
    (one, other), made = DOMAINS, merge_results([replace(first, domains=domains), second])
    assert made.domains[one[0]].weight == pytest.approx((0.5 + one[1]) / 2)
    assert made.domains[other[0]].weight == pytest.approx((0.5 + other[1]) / 2)


def test_what_was_seen_of_the_server_is_seen_from_the_first() -> None:
    seen = ServerSamples("proc", "mx1", "same", 1.0, 0.0, (0.5,), {})
    assert merge_results([part(1, server=seen), part(2, begun_s=0.1)]).server is seen

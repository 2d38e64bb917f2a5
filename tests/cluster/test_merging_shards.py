"""Merged results of shards are those of one machine, key by key."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.engine.account import PHASES
from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.errors import ExitCode, ResultsError
from trafficgen.measure.counts import TargetCounts
from trafficgen.measure.delivered import LedgerCounts
from trafficgen.measure.generator import Host
from trafficgen.measure.health import Caveat, CaveatKind
from trafficgen.measure.merging_shards import merge_shards
from trafficgen.measure.recorder import Recorder
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import Snapshot
from trafficgen.measure.window import WindowTracker
from trafficgen.outcomes import Outcome, Phase, StoppedBy
from trafficgen.plan import OpenLoop, Plan, Shard
from trafficgen.runs import shards
from trafficgen.verdict.shards import merged_shards
from trafficgen.verdict.thresholds import parse_threshold, rejudge

MS = 1_000_000
BEGUN = datetime(2026, 11, 22, 2, 30, tzinfo=UTC)
PLAN = Plan(max_messages=200, sessions=8, seed=42, run_id="9f3a6c1e02b4d857", workers=1)
DOMAINS = (("gmail.com.test", 0.75), ("aol.com.test", 0.25))

Rows = list[tuple[Outcome, int, int, int]]
"""Outcome, start and duration in ms, octets of each message."""

ROWS = st.lists(
    st.tuples(st.sampled_from(Outcome), st.integers(0, 5_000), st.integers(0, 3_000), st.integers(1, 10**6)),
    min_size=4, max_size=40,
)  # fmt: skip
SOME: Rows = [(Outcome.ACCEPTED, 100 * number, 50, 1_000) for number in range(20)]


def recorded(rows: Rows, numbers: range, *, open_loop: bool) -> Snapshot:
    """What a worker makes of those messages; time zero is 0."""
    recorder = Recorder(2, 0, open_loop, phases=PHASES)
    for number in numbers:
        outcome, start, took, octets = rows[number]
        due = start * MS - MS if open_loop else -1
        recorder.rows.extend(
            (number, outcome, number % 2, due, start * MS, -1, -1, (start + took) * MS, octets)
        )  # fmt: skip
        if outcome is Outcome.REJECTED_TEMPORARY:
            recorder.reply(Phase.MAIL, 451, "4.3.0", "not now")
        elif outcome is Outcome.FAILED:
            recorder.failure(Phase.CONNECT, "refused", "nobody there")
    return recorder.snapshot(
        now_ns=9_000 * MS, cpu_ns=1, wall_ns=9_000 * MS, sessions_open=0, sessions_opened=2, in_flight=0
    )


def results_of(rows: Rows, numbers: range, plan: Plan, **changes: Any) -> Results:
    """As a run makes them, and through a file."""
    snapshot = recorded(rows, numbers, open_loop=plan.load is not None)
    resolved = ResolvedPlan.of(plan)
    facts: dict[str, Any] = {
        "domains": DOMAINS,
        "planned": snapshot.started,
        "not_started": 0,
        "started_at": BEGUN,
        "duration_ns": (snapshot.last_end_ns or 0) - (snapshot.first_start_ns or 0),
        "host": Host("3.11.7", "Linux", 2),
        "tool_version": "0.1.0",
        "shards": shards.record(resolved.plan.shard, resolved.planned_by_all, snapshot, {}),
    }
    return Results.from_dict(Results.build(plan, snapshot, phases=PHASES, **(facts | changes)).to_dict())


def parts_of(rows: Rows, of: int, plan: Plan = PLAN, **changes: Any) -> list[Results]:
    """One file for each shard; each has the messages that are its own."""
    made = []
    for number in range(1, of + 1):
        shard = Shard(number, of)
        numbers = shard.arrivals(len(rows)) if plan.load else shard.numbers(len(rows))
        made.append(results_of(rows, numbers, replace(plan, shard=shard, max_messages=len(rows)), **changes))
    return made


def comparable(results: Results) -> dict[str, Any]:
    """All keys but those that say who generated it: each machine has its own workers and clock."""
    plain = results.to_dict()
    for lists in ("replies", "failures"):
        plain[lists] = sorted(plain[lists], key=str)
    plain["run"].pop("clock")
    return {key: value for key, value in plain.items() if key not in ("generator", "shards", "caveats")}


@given(ROWS, st.integers(2, 4), st.sampled_from([None, OpenLoop(10.0)]), st.permutations(range(4)))
def test_shards_merged_in_any_order_are_the_run_of_one_machine(
    rows: Rows, of: int, load: OpenLoop | None, order: Sequence[int]
) -> None:
    plan = replace(PLAN, load=load, max_messages=len(rows))
    parts = parts_of(rows, of, plan)
    merged = merge_shards([parts[index] for index in order if index < of])
    assert comparable(merged) == comparable(results_of(rows, range(len(rows)), plan))
    assert [one.number for one in merged.shards] == list(range(1, of + 1))
    assert merged.valid
    assert Results.from_dict(merged.to_dict()) == merged


def test_thresholds_are_judged_anew_from_the_sums() -> None:
    rows: Rows = [(Outcome.ACCEPTED, 100 * number, 10 if number < 10 else 500, 1_000) for number in range(20)]
    threshold = parse_threshold("p50<100ms")
    parts = [rejudge([threshold], part) for part in parts_of(rows, 2)]
    assert [part.thresholds[0].passed for part in parts] == [True, False]
    merged = merged_shards(parts)
    assert [(one.expression, one.passed) for one in merged.thresholds] == [("p50<100ms", True)]
    assert merged.thresholds == rejudge([threshold], results_of(rows, range(20), PLAN)).thresholds


def test_shards_held_to_different_thresholds_have_no_verdict() -> None:
    first, second = parts_of(SOME, 2)
    with pytest.raises(ResultsError, match="held to the same thresholds"):
        merged_shards([rejudge([parse_threshold("p50<1s")], first), second])


def test_windows_add_up() -> None:
    parts = []
    for part, numbers in zip(parts_of(SOME, 2), (range(10), range(10, 20)), strict=True):
        tracker = WindowTracker(0)
        tracker.see(Snapshot.empty() + recorded([], range(0), open_loop=False))
        later = recorded(SOME, numbers, open_loop=False)
        tracker.see(replace(later, workers=tuple(replace(one, wall_ns=11_000 * MS) for one in later.workers)))
        parts.append(replace(part, window=tracker.window(tuple(part.domains))))
    window = merge_shards(parts).window
    assert window is not None
    assert (window.from_s, window.to_s, window.messages.accepted) == (9.0, 11.0, 20)
    assert window.rate.messages_per_s == 10.0
    assert window.histograms["service"].count == 20
    assert window.latency_ns.keys() == parts[0].latency_ns.keys()
    assert merge_shards([parts[0], replace(parts[1], window=None)]).window is None


def test_a_shard_that_is_missing_is_in_doubt_and_the_run_not_valid() -> None:
    merged = merge_shards(parts_of(SOME, 4)[:3])
    assert not merged.valid
    assert (merged.messages.planned, merged.messages.accepted, merged.messages.in_doubt) == (20, 15, 5)
    assert [caveat.kind for caveat in merged.caveats] == [CaveatKind.SHARD_LOST]
    assert merged.caveats[0].text == "the measurement is not valid: shard 4 of 4 is missing"
    assert merged.exit_code(keep_going=True) is ExitCode.NOT_VALID


def test_a_shard_that_is_missing_may_be_left_out_if_asked() -> None:
    merged = merge_shards(parts_of(SOME, 4)[:3], partial=True)
    assert merged.valid
    assert (merged.messages.planned, merged.messages.accepted, merged.messages.in_doubt) == (15, 15, 0)
    assert merged.exit_code(keep_going=True) is ExitCode.DONE


def test_how_much_a_missing_shard_sent_may_not_be_known() -> None:
    plan = replace(PLAN, max_messages=None, duration_ns=10**9)
    parts = [results_of(SOME, range(10), replace(plan, shard=Shard(1, 2)))]
    merged = merge_shards(parts)
    assert (merged.messages.planned, merged.messages.in_doubt) == (10, 0)
    assert "shard 2 of 2 is missing, and how much was sent there is not known" in merged.caveats[0].text


def test_a_shard_that_did_not_finish_makes_the_whole_unfinished() -> None:
    first, second = parts_of(SOME, 2)
    killed = results_of(SOME, range(10, 15), replace(PLAN, shard=Shard(2, 2), max_messages=20), complete=False)
    merged = merge_shards([first, killed])
    assert (merged.complete, merged.valid, merged.stopped_by) == (False, False, StoppedBy.UNFINISHED)
    assert merge_shards([first, second]).complete


def test_what_shards_say_of_themselves_is_said_of_the_whole() -> None:
    parts = parts_of(SOME, 4, lost_workers={0: "out of memory"})
    merged = merge_shards(parts)
    assert not merged.valid
    assert merged.generator.lost_workers == (0, 1, 2, 3)
    (caveat,) = merged.caveats
    assert caveat.kind is CaveatKind.WORKER_LOST
    assert caveat.text.startswith("shard 1: the measurement is not valid: worker 0 died")
    assert caveat.text.endswith("; and 1 shard more")


def test_what_is_found_anew_from_the_sums_is_not_said_by_shards_as_well() -> None:
    said = tuple(Caveat.of(kind, "too few") for kind in (CaveatKind.ARRIVALS_DROPPED, CaveatKind.RATE_MISSED))
    merged = merge_shards([replace(part, caveats=said) for part in parts_of(SOME, 2)])
    assert merged.caveats == ()


def test_ledgers_add_up_when_all_have_one() -> None:
    parts = [replace(part, ledger=LedgerCounts(10, 9, 1, 0, 0)) for part in parts_of(SOME, 2)]
    assert merge_shards(parts).ledger == LedgerCounts(20, 18, 2, 0, 0)
    assert merge_shards([parts[0], replace(parts[1], ledger=None)]).ledger is None
    assert merge_shards(parts[:1]).ledger is None
    assert merge_shards(parts[:1], partial=True).ledger == parts[0].ledger


def test_targets_are_those_of_all_though_the_first_shard_was_lost_before_it_spoke() -> None:
    first, second = parts_of(SOME, 2)
    targets = tuple(TargetCounts(name, 0.5, 1, 5, 5, 0, 0, 0, 0, None) for name in ("a:25", "b:25"))
    merged = merge_shards([first, replace(second, targets=targets)])
    assert merged.targets == targets


def renamed(part: Results, **changes: Any) -> Results:
    return replace(part, run=replace(part.run, **changes))


def of_shard(part: Results, **changes: Any) -> Results:
    return replace(part, shards=(replace(part.shards[0], **changes),))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda part: renamed(part, id="0" * 16), "shards 1 and 2 have different run ids: 9f3a6c1e02b4d857 and 0000"),
        (lambda part: renamed(part, tool_version="9.9"), "different versions of traffic-gen: 0.1.0 and 9.9"),
        (lambda part: renamed(part, seed=43), "different seeds: 42 and 43"),
        (lambda part: of_shard(part, of=3), "different numbers of shards: 2 and 3"),
        (lambda part: of_shard(part, start_at="2026-11-22T02:30:00.000+00:00"), "different starts: None and 2026"),
        (lambda part: of_shard(part, files={"/srv/a.mbox": "00"}), 'different files: "/srv/a.mbox"'),
        (lambda part: of_shard(part, number=1), "expected every shard once, got shard 1 twice"),
        (lambda part: replace(part, plan={**part.plan, "sessions": 9}), "different plans: sessions"),
        (lambda part: replace(part, shards=()), "expected results of one shard each, got results of the whole run"),
        (lambda part: merge_shards(parts_of(SOME, 2)), "expected results of one shard each, got results of 2 shards"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(change: Callable[[Results], Results], words: str) -> None:
    first, second = parts_of(SOME, 2)
    with pytest.raises(ResultsError, match=words):
        merge_shards([of_shard(first, files={"/srv/a.mbox": "ff"}) if "files" in words else first, change(second)])

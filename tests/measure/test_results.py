"""Results add up, survive the disk, and end the process with the right code."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.clock import NS_PER_S
from trafficgen.engine.account import PHASES
from trafficgen.errors import ExitCode, ResultsError
from trafficgen.measure.codec import to_plain
from trafficgen.measure.counts import Latency, MessageCounts, Rate
from trafficgen.measure.delivered import LedgerCounts
from trafficgen.measure.generator import Host
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.recorder import Recorder
from trafficgen.measure.results import AccountingError, Results, read_results
from trafficgen.measure.snapshot import Snapshot
from trafficgen.outcomes import Outcome, Phase, StoppedBy
from trafficgen.plan import Arrivals, OpenLoop, Plan, TcpTarget
from trafficgen.verdict.thresholds import judge_all, parse_threshold

PLAN = Plan(target=TcpTarget("mail.test", 2525), max_messages=10, seed=42, run_id="9f3a6c1e02b4d857")
DOMAINS = (("gmail.com.test", 0.75), ("aol.com.test", 0.25))
BEGUN = datetime(2026, 11, 22, 2, 30, tzinfo=timezone(timedelta(hours=2)))


def snapshot_of(outcomes: list[Outcome], *, open_loop: bool = False) -> Snapshot:
    """Messages that start every 100 ms and take 50 ms, 1,000 octets each, alternately to two domains."""
    recorder = Recorder(2, 0, open_loop, phases=PHASES)
    for number, outcome in enumerate(outcomes):
        start = number * 100_000_000
        due = start - 1_000_000 if open_loop else -1
        recorder.rows.extend((number, outcome, number % 2, due, start, -1, -1, start + 50_000_000, 1_000))
    return recorder.snapshot(now_ns=1, cpu_ns=1, wall_ns=4, sessions_open=0, sessions_opened=2, in_flight=0)


def build(snapshot: Snapshot, *, plan: Plan = PLAN, **changes: Any) -> Results:
    facts: dict[str, Any] = {
        "domains": DOMAINS,
        "planned": snapshot.started,
        "not_started": 0,
        "started_at": BEGUN,
        "duration_ns": 2_500_000_000,
        "host": Host("3.11.7", "Linux", 2),
        "tool_version": "0.1.0",
    }
    return Results.build(plan, snapshot, phases=PHASES, **(facts | changes))


def test_a_file_of_a_run_that_did_not_end_never_reads_as_finished() -> None:
    made = build(snapshot_of([Outcome.ACCEPTED]), complete=False)
    assert (made.valid, made.stopped_by, made.verdict_code) == (False, StoppedBy.UNFINISHED, ExitCode.NOT_VALID)
    plain = made.to_dict() | {"valid": True, "stopped_by": "finished"}  # as version 0.1.0 wrote it
    read = Results.from_dict(plain)
    assert (read.valid, read.stopped_by, read.verdict_code) == (False, StoppedBy.UNFINISHED, ExitCode.NOT_VALID)


def test_a_run_whose_first_message_starts_late_ends_by_its_own_clock() -> None:
    """As on a ramp from 0: what an observer saw in the last seconds is of the run."""
    recorder = Recorder(2, 10 * NS_PER_S, open_loop=False, phases=PHASES)
    recorder.rows.extend((0, Outcome.ACCEPTED, 0, -1, 13 * NS_PER_S, -1, -1, 15 * NS_PER_S, 1_000))
    late = recorder.snapshot(
        now_ns=16 * NS_PER_S, cpu_ns=1, wall_ns=6 * NS_PER_S, sessions_open=0, sessions_opened=1, in_flight=0
    )
    made = build(late, duration_ns=2 * NS_PER_S)
    assert (made.run.duration_s, made.run.last_end_s, made.run.ended_s) == (2.0, 5.0, 5.0)
    assert [one.at_s for one in made.timeline if one.accepted] == [5.0]
    assert Results.from_dict(made.to_dict()).run.ended_s == 5.0
    earlier = made.to_dict()
    del earlier["run"]["last_end_s"]
    assert Results.from_dict(earlier).run.ended_s == 2.0


@given(st.lists(st.sampled_from(Outcome), max_size=12), st.integers(0, 10))
def test_both_equations_hold(outcomes: list[Outcome], not_started: int) -> None:
    made = build(snapshot_of(outcomes), planned=len(outcomes) + not_started, not_started=not_started).messages
    assert made.planned == made.started + made.not_started
    assert made.started == (
        made.accepted + made.rejected_temporary + made.rejected_permanent + made.failed + made.in_doubt
    )
    assert made.accepted == outcomes.count(Outcome.ACCEPTED)
    assert made.rejected_temporary == outcomes.count(Outcome.REJECTED_TEMPORARY)
    assert made.rejected_permanent == outcomes.count(Outcome.REJECTED_PERMANENT)
    assert made.failed == outcomes.count(Outcome.FAILED)
    assert made.in_doubt == outcomes.count(Outcome.IN_DOUBT)


@pytest.mark.parametrize(("planned", "not_started"), [(3, 0), (2, 1), (1, -1)])
def test_an_account_that_does_not_add_up_makes_no_results(planned: int, not_started: int) -> None:
    with pytest.raises(AccountingError, match=f"{planned} = 2 \\+ {not_started}"):
        build(snapshot_of([Outcome.ACCEPTED] * 2), planned=planned, not_started=not_started)


def test_messages_to_an_unknown_domain_make_no_results() -> None:
    with pytest.raises(AccountingError, match="expected 1 domains, got messages to 2"):
        build(snapshot_of([Outcome.ACCEPTED] * 2), domains=DOMAINS[:1])


def test_rate_counts_accepted_messages_from_first_start_to_last_reply() -> None:
    # Ten starts from 0 to 0.9 s, the last reply at 0.95 s; nine accepted.
    rate = build(snapshot_of([Outcome.ACCEPTED] * 9 + [Outcome.REJECTED_PERMANENT])).rate
    expected: Any = pytest.approx  # equal to a number, and none
    assert rate == Rate(
        messages_per_s=expected(9 / 0.95),
        messages_per_hour=expected(9 / 0.95 * 3600),
        bytes_per_s=expected(9000 / 0.95),
        started_per_s=expected(10.0),
        wanted_per_s=None,
        over_s=0.95,
    )


def stalled(*, asked: int | None, stopped_by: StoppedBy, not_started: int = 0) -> Results:
    """Ten messages accepted in the first second; an eleventh began then and was given up after 15 s, of 5 s asked."""
    recorder = Recorder(2, 0, open_loop=False, phases=PHASES)
    for number in range(10):
        recorder.rows.extend((number, Outcome.ACCEPTED, 0, -1, number * 10**8, -1, -1, (number + 1) * 10**8, 1_000))
    recorder.rows.extend((10, Outcome.IN_DOUBT, 0, -1, 9 * 10**8, -1, -1, 15 * 10**9, 1_000))
    wall_ns = 15 * 10**9
    ended = recorder.snapshot(
        now_ns=wall_ns, cpu_ns=1, wall_ns=wall_ns, sessions_open=0, sessions_opened=2, in_flight=0
    )
    plan = replace(PLAN, max_messages=asked, duration_ns=5 * 10**9)
    planned = ended.started + not_started
    return build(ended, plan=plan, stopped_by=stopped_by, planned=planned, not_started=not_started)


@pytest.mark.parametrize(
    ("asked", "stopped_by", "not_started", "over_s"),
    [
        (11, StoppedBy.DEADLINE, 0, 1.0),  # all were sent; what follows is waiting for one reply
        (100, StoppedBy.DEADLINE, 89, 5.0),  # the server stood still while there was more to send
        (None, StoppedBy.DEADLINE, 0, 5.0),
        (100, StoppedBy.INTERRUPTED, 89, 1.0),
    ],
)
def test_the_rate_is_over_the_time_in_which_mail_was_sent(
    asked: int | None, stopped_by: StoppedBy, not_started: int, over_s: float
) -> None:
    rate = stalled(asked=asked, stopped_by=stopped_by, not_started=not_started).rate
    assert (rate.over_s, rate.messages_per_s) == (over_s, 10 / over_s)


@pytest.mark.parametrize(
    ("load", "count", "duration_s", "over_s"),
    [
        (OpenLoop(10), 10, None, 1.0),  # the eleventh would be due at 1 s
        (OpenLoop(10), 10, 60, 1.0),
        (OpenLoop(4), None, 2.5, 2.5),
        (OpenLoop(10), None, 0.96, 0.96),
        (OpenLoop(10, arrivals=Arrivals.POISSON), None, 2, 2.0),
        (OpenLoop(10, arrivals=Arrivals.POISSON), 10, 60, 0.95),  # chance says when the last one goes
        (OpenLoop(20), 10, None, 0.95),  # the generator was late: all its time counts
    ],
)
def test_the_last_message_of_a_rate_lasts_until_one_more_would_be_due(
    load: OpenLoop, count: int | None, duration_s: float | None, over_s: float
) -> None:
    """Ten starts from 0 to 0.9 s, the last reply at 0.95 s."""
    duration_ns = None if duration_s is None else round(duration_s * NS_PER_S)
    plan = replace(PLAN, load=load, max_messages=count, duration_ns=duration_ns)
    rate = build(snapshot_of([Outcome.ACCEPTED] * 10), plan=plan, stopped_by=StoppedBy.FINISHED).rate
    assert rate.over_s == pytest.approx(over_s)
    assert rate.messages_per_s == pytest.approx(10 / over_s)


def test_the_document_of_a_small_run() -> None:
    made = build(snapshot_of([Outcome.ACCEPTED, Outcome.ACCEPTED, Outcome.REJECTED_PERMANENT]))
    assert made.messages == MessageCounts(3, 3, 2, 0, 1, 0, 0, 0, 2_000)
    assert (made.run.started_at, made.run.duration_s) == ("2026-11-22T00:30:00.000+00:00", 2.5)
    assert (made.run.id, made.run.seed, made.run.target) == ("9f3a6c1e02b4d857", 42, "mail.test:2525")
    assert made.run.model == "closed"
    assert made.latency_ns["service"] == Latency(2, *[50_000_000] * 2, *[50_000_000] * 7)
    assert made.latency_ns["response"] is None
    middle = Latency(1, *[50_000_000] * 2, *[50_000_000] * 7)
    assert made.to_dict()["domains"] == {
        "gmail.com.test": {"weight": 0.75, "started": 2, "accepted": 1, "latency_ns": to_plain(middle)},
        "aol.com.test": {"weight": 0.25, "started": 1, "accepted": 1, "latency_ns": to_plain(middle)},
    }
    assert made.plan["sessions"] == 20
    assert list(made.histograms) == ["service", "service_rejected"]
    assert [second.started for second in made.timeline] == [3]


def test_open_model_has_response_times_and_a_wanted_rate() -> None:
    plan = replace(PLAN, load=OpenLoop(rate_per_s=10))
    made = build(snapshot_of([Outcome.ACCEPTED] * 5, open_loop=True), plan=plan)
    response = made.latency_ns["response"]
    assert response is not None
    assert (response.p50, made.run.model, made.rate.wanted_per_s) == (51_000_000, "open", 10.0)


def test_a_run_without_messages_has_results_too() -> None:
    made = build(Snapshot.empty(), planned=5, not_started=5)
    assert (made.messages.started, made.rate.messages_per_s, made.timeline) == (0, 0.0, ())
    assert set(made.latency_ns.values()) == {None}
    assert made.domains["aol.com.test"].started == 0
    assert Results.from_dict(made.to_dict()) == made


def test_json_gives_the_same_results_and_a_line_for_each_reply() -> None:
    recorder = Recorder(2, 0, False, phases=PHASES)
    recorder.reply(Phase.RCPT, 550, "5.1.1", "no é")
    recorder.reply(Phase.EHLO, 250, "", "ok")
    recorder.failure(Phase.CONNECT, "timed out", "30 s")
    snapshot = recorder.snapshot(now_ns=1, cpu_ns=9, wall_ns=10, sessions_open=0, sessions_opened=1, in_flight=0)
    made = build(snapshot, ledger=LedgerCounts(5, 5, 0, 0, 0), command=("traffic-gen", "--seed", "42"))
    text = made.to_json()
    assert Results.from_dict(json.loads(text)) == made
    reply = '  {"phase": "rcpt", "code": 550, "enhanced": "5.1.1", "count": 1, "example": "no \\u00e9"},'
    assert reply in text.splitlines()


def test_keys_with_a_default_may_be_missing_and_unknown_ones_are_named() -> None:
    plain = build(snapshot_of([Outcome.ACCEPTED])).to_dict()
    del plain["run"]["addresses"]
    assert Results.from_dict(plain).messages.accepted == 1
    with pytest.raises(ResultsError, match=r'run\.adresses: expected no such key; did you mean "addresses"\?'):
        Results.from_dict(plain | {"run": plain["run"] | {"adresses": []}})
    with pytest.raises(ResultsError, match="colour: expected no such key; a newer version may know it"):
        Results.from_dict(plain | {"colour": "red"})


def change(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Put `value` at a path of keys; those of domains hold dots of their own."""

    def apply(plain: dict[str, Any]) -> None:
        at: Any = plain
        rest = path
        while True:
            keys = at if isinstance(at, dict) else [str(index) for index in range(len(at))]
            step = next((key for key in keys if rest.startswith(f"{key}.")), None)
            if step is None:
                break
            at, rest = at[step if isinstance(at, dict) else int(step)], rest.removeprefix(f"{step}.")
        at[rest] = value

    return apply


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (change("schema_version", 2), "expected results of schema version 1, got '2'"),
        (change("messages", []), "messages: expected object, got array"),
        (change("messages.accepted", "2"), 'messages.accepted: expected int, got str "2"'),
        (change("messages.accepted", True), "messages.accepted: expected int, got bool true"),
        (change("messages.accepted", 7), "messages do not add up"),
        (change("rate.messages_per_s", None), "rate.messages_per_s: expected float, got null"),
        (change("valid", 1), "valid: expected bool, got int 1"),
        (change("stopped_by", "boredom"), 'stopped_by: expected one of finished, deadline, .*, got "boredom"'),
        (change("timeline", {}), "timeline: expected array, got object"),
        (change("timeline", [{"at_s": 0}]), r"timeline\[0\]: object missing required field span_s"),
        (change("histograms.service.count", 9), "histograms.service: not a stored histogram"),
        (change("latency_ns.service.p50", 1.5), "latency_ns.service.p50: expected int, got float 1.5"),
        (change("messages.failed", -1), "messages.failed: expected int >= 0, got -1"),
        (change("run.id", "x"), r"run.id: expected str matching regex .*, got \"x\""),
        (change("run.started_at", "2026-02-30T00:00:00+00:00"), "run.started_at: day is out of range"),
        (change("run.model", "ajar"), "run.model: expected one of closed, open, got|run.model: expected one of open"),
        (change("latency_ns", {}), "latency_ns: expected the key service, response"),
        (change("latency_ns.nap", None), "latency_ns.nap: expected one of service"),
        (change("latency_ns.service.p99", 0), "latency_ns.service: expected min, p50"),
        (change("latency_ns.service.mean", 0), "latency_ns.service.mean: expected a mean between"),
        (change("latency_ns.service.count", 2), "latency_ns.service: expected count, min and max of its histogram"),
        (change("latency_ns.service", None), "latency_ns.service: expected count, min and max of its histogram"),
        (change("histograms.service.buckets", [1]), "histograms.service: not a stored histogram"),
        (change("histograms.service.buckets", [99_999]), "histograms.service: not a stored histogram: buckets.0.: exp"),
        (change("domains.gmail.com.test.accepted", 9), "domains.gmail.com.test: expected no more accepted"),
        (change("domain_histograms.b.test", Histogram().to_dict()), "domain_histograms.b.test: expected a name"),
        (change("domains.gmail.com.test.weight", "1"), "domains.gmail.com.test.weight: expected float, got str"),
        (change("timeline.0.accepted", 0), "timeline"),
        (change("timeline.0.latencies", [5]), r"timeline\[0\].latencies: expected bucket, count"),
        (change("timeline.0.at_s", 3), r"timeline\[0\]: expected at_s 0"),
        (change("timeline.0.bytes", 3), "timeline: expected bytes to add up to messages.bytes, got 3"),
        (change("generator.lost_workers", [1]), "valid: expected false"),
        (change("plan.sessions", "many"), "plan.sessions: expected int, got str"),
        (change("plan.load", {"rate_per_s": "1/s"}), "plan.load.rate_per_s: expected float, got str"),
        (change("plan.workload", 1.5), "plan.workload: expected object . null, got float 1.5"),
        (
            change("ledger", {**to_plain(LedgerCounts(9, 3, 3, 0, 0))}),
            "ledger: expected each message received or missing",
        ),
        (change("thresholds", [{"expression": "p99<1s", "value": None, "limit": 1, "passed": True}]), "nothing was"),
        (lambda plain: plain.pop("run"), "the document: object missing required field run"),
    ],
)
def test_a_damaged_file_is_named_with_the_place_of_the_damage(
    damage: Callable[[dict[str, Any]], None], words: str, tmp_path: Path
) -> None:
    plain = build(snapshot_of([Outcome.ACCEPTED])).to_dict()
    damage(plain)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(plain))
    with pytest.raises(ResultsError, match=words) as caught:
        read_results(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", '{"schema_version": 1', "[1]", "null", '"x"', "\udcff", '{"x": 1e400}', "[" * 9999]
)
def test_a_file_that_holds_no_results_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ResultsError, match=r"run\.json"):
        read_results(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"cannot read results from .*: No such file or directory"):
        read_results(tmp_path / "none.json")


def test_results_come_back_from_disk(tmp_path: Path) -> None:
    made = build(snapshot_of([Outcome.ACCEPTED, Outcome.IN_DOUBT]))
    (tmp_path / "run.json").write_text(made.to_json())
    assert read_results(tmp_path / "run.json") == made


CLEAN, BROKEN = LedgerCounts(1, 1, 0, 0, 0), LedgerCounts(2, 1, 1, 0, 0)
REFUSED = [Outcome.REJECTED_TEMPORARY]


@pytest.mark.parametrize(
    ("outcomes", "changes", "keep_going", "code"),
    [
        ([Outcome.ACCEPTED], {}, False, ExitCode.DONE),
        ([Outcome.ACCEPTED], {"ledger": CLEAN}, False, ExitCode.DONE),
        ([Outcome.ACCEPTED, Outcome.IN_DOUBT], {"stopped_by": StoppedBy.DEADLINE}, False, ExitCode.DONE),
        ([Outcome.IN_DOUBT], {"stopped_by": StoppedBy.DEADLINE}, False, ExitCode.FAILED),
        ([Outcome.ACCEPTED, *REFUSED], {}, True, ExitCode.DONE),
        (REFUSED, {}, True, ExitCode.FAILED),
        ([], {}, True, ExitCode.DONE),
        (REFUSED, {}, False, ExitCode.FAILED),
        (REFUSED, {"stopped_by": StoppedBy.FIRST_ERROR}, False, ExitCode.FAILED),
        ([Outcome.ACCEPTED], {"stopped_by": StoppedBy.INTERRUPTED}, False, ExitCode.INTERRUPTED),
        (REFUSED, {"stopped_by": StoppedBy.INTERRUPTED}, False, ExitCode.INTERRUPTED),
        (REFUSED, {"lost_workers": {1: ""}, "stopped_by": StoppedBy.WORKER_LOST}, True, ExitCode.NOT_VALID),
        (REFUSED, {"ledger": BROKEN, "lost_workers": {1: ""}}, True, ExitCode.VERDICT_FAILED),
        ([Outcome.ACCEPTED], {"ledger": LedgerCounts(1, 1, 0, 1, 0)}, True, ExitCode.VERDICT_FAILED),
        ([Outcome.ACCEPTED], {"ledger": LedgerCounts(1, 1, 0, 0, 1)}, True, ExitCode.VERDICT_FAILED),
    ],
)
def test_exit_code(outcomes: list[Outcome], changes: dict[str, Any], keep_going: bool, code: ExitCode) -> None:
    assert build(snapshot_of(outcomes), **changes).exit_code(keep_going=keep_going) is code


def test_a_threshold_says_whether_nothing_accepted_is_what_was_wanted() -> None:
    refused = build(snapshot_of(REFUSED))
    wanted = replace(refused, thresholds=judge_all([parse_threshold("rejected.rate>0.99")], refused))
    assert wanted.exit_code(keep_going=True) is ExitCode.DONE


def test_a_lost_worker_makes_the_run_invalid_and_says_so() -> None:
    made = build(snapshot_of([Outcome.ACCEPTED]).with_lost(3), lost_workers={1: ""}, planned=6, not_started=2)
    assert not made.valid
    assert made.generator.lost_workers == (1,)
    assert made.messages.in_doubt == 3
    assert made.caveats[0].text == "the measurement is not valid: worker 1 died before the end"

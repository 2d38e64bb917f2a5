"""Thresholds: their grammar, what they read, what is refused before a run."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from trafficgen.engine.account import PHASES
from trafficgen.errors import ExitCode
from trafficgen.measure.generator import Host
from trafficgen.measure.health import Caveat, CaveatKind
from trafficgen.measure.recorder import MAX_TIMED_DOMAINS, Recorder
from trafficgen.measure.results import Results
from trafficgen.measure.window import WindowTracker
from trafficgen.outcomes import Outcome
from trafficgen.plan import Auth, OpenLoop, Plan, Security, SessionPlan, WeightedDomain, Workload, parse_target
from trafficgen.verdict.quantities import is_quantity, matching_domain, parse_quantity
from trafficgen.verdict.rule import Better
from trafficgen.verdict.thresholds import check_threshold, judge_all, parse_threshold

MS = 1_000_000
WORKLOAD = Workload(domains=(WeightedDomain("gmail.com"), WeightedDomain("aol.com")), domain_suffix="test")
PLAN = Plan(max_messages=100, workload=WORKLOAD)
OPEN = replace(PLAN, load=OpenLoop(rate_per_s=10.0))
NAMES = ("gmail.com.test", "aol.com.test")


def run(services_ms: Sequence[int], outcome: Outcome = Outcome.ACCEPTED, plan: Plan = PLAN) -> Results:
    """Messages every 10 ms, alternately to two domains; in the open model each starts 1 s late."""
    recorder = Recorder(2, 0, plan.load is not None, phases=PHASES)
    for number, service in enumerate(services_ms):
        start = number * 10 * MS + (1_000 * MS if plan.load else 0)
        due = number * 10 * MS if plan.load else -1
        recorder.rows.extend((number, outcome, number % 2, due, start, -1, start, start + service * MS, 1_000))
    snapshot = recorder.snapshot(now_ns=10**9, cpu_ns=1, wall_ns=10**9, sessions_open=0, sessions_opened=1, in_flight=0)
    return Results.build(
        plan,
        snapshot,
        phases=PHASES,
        domains=[(name, 0.5) for name in NAMES],
        planned=len(services_ms),
        not_started=0,
        started_at=datetime(2026, 11, 22, tzinfo=UTC),
        duration_ns=10**9,
        host=Host("3.11", "Linux", 2),
        tool_version="0.1.0",
    )


HUNDRED = run(range(1, 101))
"""1 to 100 ms; the odd ones at gmail.com. The last ends at 1.09 s."""


@pytest.mark.parametrize(
    ("expression", "value", "passed"),
    [
        ("p99<250ms", 99 * MS, True),
        ("p99 < 98ms", 99 * MS, False),
        ("p(99) <= 0.0995s", 99 * MS, True),
        ("med<51ms", 50 * MS, True),
        ("avg==50.5ms", 50.5 * MS, True),
        ("min!=1ms", 1 * MS, False),
        ("max>99ms", 100 * MS, True),
        ("p99.9>99ms", 100 * MS, True),
        ("latency.p50<51ms", 50 * MS, True),
        ("service.p50<51ms", 50 * MS, True),
        ("end_of_data.p50<51ms", 50 * MS, True),
        ("throughput>91.7", 100 / 1.09, True),
        ("throughput>5502/m", 100 / 1.09, True),
        ("throughput>=92/s", 100 / 1.09, False),
        ("accepted.rate>0.999", 1.0, True),
        ("accepted.rate===100%", 1.0, True),
        ("failed.count==0", 0, True),
        ("rejected.rate<0.1%", 0.0, True),
        ("not_started.count<1", 0, True),
        ("domain{gmail.com}.p95<95ms", 95 * MS, False),
        ("domain{aol.com.test}.max<=100ms", 100 * MS, True),
        ("domain{AOL.com}.min<=2ms", 2 * MS, True),
    ],
)
def test_a_threshold_reads_its_value(expression: str, value: float, passed: bool) -> None:
    (verdict,) = judge_all([parse_threshold(expression)], HUNDRED)
    assert verdict.expression == expression
    assert verdict.value == pytest.approx(value, rel=2**-10)
    assert verdict.passed is passed


def test_what_was_not_measured_does_not_pass() -> None:
    none = run([1] * 4, Outcome.FAILED)
    verdicts = judge_all([parse_threshold(text) for text in ("p99<1s", "tls.p99<1s", "accepted.rate>0.9")], none)
    assert [(verdict.value, verdict.passed) for verdict in verdicts] == [(None, False), (None, False), (0.0, False)]


def test_latency_counts_from_the_intended_start_in_the_open_model() -> None:
    results = run([5] * 100, plan=OPEN)
    slow, quick = judge_all([parse_threshold("p99<900ms"), parse_threshold("service.p99<6ms")], results)
    assert (slow.passed, quick.passed) == (False, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected METRIC<LIMIT"),
        ("p99", "expected METRIC<LIMIT"),
        ("p99<", "expected METRIC<LIMIT"),
        ("p99=250ms", "expected METRIC<LIMIT"),
        ("p99<250", "with its unit"),
        ("p99<-1ms", "expected a duration"),
        ("p99<fast", "expected a duration"),
        ("p100<1s", 'got "p100"; did you mean "p50"|got "p100"'),
        ("troughput>5", 'did you mean "throughput"'),
        ("acepted.rate>0.9", 'did you mean "accepted.rate"'),
        ("accepted>5", 'did you mean "accepted.rate"'),
        ("connect.rate<1s", "expected a known metric"),
        ("xyzzy<1", "try p99, throughput or accepted.rate"),
        ("accepted.rate>most", "expected a share"),
        ("failed.rate<5", 'at most 1 or 100%, got "failed.rate<5"; write 5% for per cent'),
        ("failed.rate<101%", "at most 1 or 100%"),
        ("failed.count<0.5", "whole number"),
        ("throughput>0", "rate above zero"),
        ("domain{gmail.com}.count>1", "expected domain"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_threshold(text)


def test_what_a_plan_will_never_measure_is_refused() -> None:
    check_threshold(parse_threshold("domain{aol.com}.p99<1s"), PLAN)
    check_threshold(parse_threshold("response.p99<1s"), OPEN)
    for text, words in (("response.p99<1s", "closed model"), ("domain{aol.co}.p99<1s", "no mail goes to")):
        with pytest.raises(ValueError, match=words):
            check_threshold(parse_threshold(text), PLAN)


@pytest.mark.parametrize(
    ("name", "mended", "words"),
    [
        ("tls.p95", {"session": SessionPlan(security=Security.STARTTLS_IF_OFFERED)}, "sessions are plain"),
        ("auth.p95", {"session": SessionPlan(auth=Auth("me", Path("secret")))}, "needs a login"),
        ("lateness.p95", {"load": OPEN.load}, "closed model"),
    ],
)
def test_a_step_that_no_session_takes_is_refused(name: str, mended: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.*{words}"):
        check_threshold(parse_threshold(f"{name}<1s"), PLAN)
    check_threshold(parse_threshold(f"{name}<1s"), replace(PLAN, **mended))


@pytest.mark.parametrize("step", ["greeting", "ehlo", "auth"])
def test_requests_of_http_have_no_steps_of_smtp(step: str) -> None:
    with pytest.raises(ValueError, match="HTTP has no such step"):
        check_threshold(parse_threshold(f"{step}.p95<1s"), replace(PLAN, target=parse_target("http://127.0.0.1:1/a")))


def test_a_domain_that_is_not_timed_is_refused() -> None:
    many = Workload(domains=tuple(WeightedDomain(f"d{number}.com") for number in range(MAX_TIMED_DOMAINS + 1)))
    check_threshold(parse_threshold("domain{d15.com}.p99<1s"), replace(PLAN, workload=many))
    with pytest.raises(ValueError, match="only the first 16 domains are timed"):
        check_threshold(parse_threshold("domain{d16.com}.p99<1s"), replace(PLAN, workload=many))


def test_which_way_is_good() -> None:
    assert parse_quantity("throughput").better is parse_quantity("accepted.rate").better is Better.HIGHER
    assert parse_quantity("p99").better is parse_quantity("failed.count").better is Better.LOWER


def test_a_window_is_judged_in_place_of_the_whole_run() -> None:
    """A slow second first: with it p99 is 500 ms, without it 5 ms."""
    recorder, watch = Recorder(2, 0, False, phases=PHASES), WindowTracker(10**9)
    numbers = iter(range(1_000))
    for second, service in enumerate((500, 5)):
        for _ in range(100):
            end = second * 10**9 + service * MS
            recorder.rows.extend((next(numbers), 0, 0, -1, end - service * MS, -1, -1, end, 1_000))
        wall = (second + 1) * 10**9
        snapshot = recorder.snapshot(
            now_ns=wall, cpu_ns=1, wall_ns=wall, sessions_open=0, sessions_opened=1, in_flight=0
        )
        watch.see(snapshot)
    windowed = replace(HUNDRED, window=watch.window(NAMES))
    latency, rate, count = judge_all(
        [parse_threshold(text) for text in ("p99<6ms", "domain{gmail.com}.p99<6ms", "accepted.count==100")], windowed
    )
    assert (latency.passed, rate.passed, count.passed) == (True, True, True)


@pytest.mark.parametrize(
    ("expressions", "limited", "code"),
    [
        (["p99<1s"], False, ExitCode.DONE),
        (["p99<1s", "p99<1ms"], False, ExitCode.VERDICT_FAILED),
        (["p99<1ms"], True, ExitCode.NOT_VALID),
        ([], True, ExitCode.DONE),
    ],
)
def test_exit_code(expressions: list[str], limited: bool, code: ExitCode) -> None:
    """A generator that was the limit spoils thresholds, not a run without any."""
    verdicts = judge_all([parse_threshold(text) for text in expressions], HUNDRED)
    results = replace(HUNDRED, thresholds=verdicts, generator=replace(HUNDRED.generator, limited=limited))
    assert results.exit_code(keep_going=False) is code


@pytest.mark.parametrize(
    ("kind", "not_started", "expression", "code"),
    [
        (CaveatKind.RATE_MISSED, 0, "p99<1s", ExitCode.NOT_VALID),
        (CaveatKind.RATE_MISSED, 0, "p99<1ms", ExitCode.VERDICT_FAILED),
        (CaveatKind.ARRIVALS_DROPPED, 2, "p99<1s", ExitCode.NOT_VALID),
        (CaveatKind.ARRIVALS_DROPPED, 2, "p99<1ms", ExitCode.VERDICT_FAILED),
        (CaveatKind.ARRIVALS_DROPPED, 1, "p99<1s", ExitCode.DONE),
        (CaveatKind.SESSIONS_BUSY, 0, "p99<1s", ExitCode.DONE),
    ],
)
def test_what_holds_under_a_lower_load_than_asked_for_is_no_success(
    kind: CaveatKind, not_started: int, expression: str, code: ExitCode
) -> None:
    messages = replace(HUNDRED.messages, planned=HUNDRED.messages.started + not_started, not_started=not_started)
    verdicts = judge_all([parse_threshold(expression)], HUNDRED)
    caveat = Caveat(kind, "the load was lower", "ask for less")
    results = replace(HUNDRED, messages=messages, thresholds=verdicts, caveats=(caveat,))
    assert results.verdict_code is code
    assert (results.not_judged is not None) is (code is ExitCode.NOT_VALID)


@pytest.mark.parametrize(
    ("name", "found"),
    [("gmail.com", "gmail.com"), ("GMAIL.com.test", "gmail.com"), ("gmail.co", None), ("mail.com", None),
     ("a.example", "a.example.test"), ("a.example.test", "a.example.test"), ("test", None)],
)  # fmt: skip
def test_a_domain_is_found_with_or_without_its_suffix(name: str, found: str | None) -> None:
    assert matching_domain(name, ("gmail.com", "b.example", "a.example.test")) == found


def test_a_name_is_a_quantity_or_it_is_not() -> None:
    names = ("p99", "command{fetch}.errors", "server.cpu", "server.fsyncs", "p100.5")
    assert [is_quantity(name) for name in names] == [True, True, True, False, False]

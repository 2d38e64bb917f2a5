"""The generator says when it, and not the server, was the limit."""

import errno
import os
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.clock import NS_PER_MS, NS_PER_S
from trafficgen.measure.health import ADVICE, MIN_LAG_SAMPLES, MIN_WALL_NS, CaveatKind, assess, diagnose, started_per_s
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.snapshot import Snapshot, Tally, WorkerSnapshot
from trafficgen.outcomes import LARGER_THAN_SIZE, Phase


def histogram_of(*values: int) -> Histogram:
    made = Histogram()
    made.record_many(np.array(values, np.int64))
    return made


def worker(number: int, cpu: int, lag_ns: int = 1_000, samples: int = MIN_LAG_SAMPLES) -> WorkerSnapshot:
    return WorkerSnapshot(
        number, cpu * MIN_WALL_NS, 100 * MIN_WALL_NS, histogram_of(*[lag_ns] * samples), Histogram(), 1, 1, 0
    )


def run_of(*workers: WorkerSnapshot, started: int = 0, span_ns: int = NS_PER_S, lateness_ns: int = 0) -> Snapshot:
    empty = Snapshot.empty(open_loop=True)
    return replace(
        empty,
        workers=workers,
        outcomes=(started, 0, 0, 0, 0),
        first_start_ns=0,
        last_start_ns=span_ns,
        histograms={**empty.histograms, "lateness": histogram_of(lateness_ns)},
    )


def said(snapshot: Snapshot, **facts: Any) -> list[tuple[CaveatKind, str]]:
    return [(caveat.kind, caveat.text) for caveat in assess(snapshot, **facts)]


def test_an_idle_generator_has_nothing_to_say() -> None:
    assert assess(run_of(worker(0, 85), worker(1, 20))) == ()


def test_a_busy_worker_was_the_limit() -> None:
    (caveat,) = assess(run_of(worker(0, 40), worker(1, 97)))
    assert caveat.text == (
        "the generator, not the server, was the limit: worker 1 used 97% of its core (1 of 2 workers above 85%)"
    )
    assert caveat.advice == "use more workers or machines, or ask for less"
    assert caveat.limits_generator


def test_a_worker_that_hardly_lived_is_not_judged_by_its_cpu_share() -> None:
    brief = replace(worker(0, 0), cpu_ns=97, wall_ns=100)
    assert assess(run_of(brief)) == ()
    assert len(assess(run_of(replace(brief, cpu_ns=97 * MIN_WALL_NS, wall_ns=100 * MIN_WALL_NS)))) == 1


def test_a_lagging_loop_was_the_limit() -> None:
    assert said(run_of(worker(0, 40, 10 * NS_PER_MS), worker(1, 40, 30 * NS_PER_MS))) == [
        (
            CaveatKind.LOOP_LAG,
            "the generator, not the server, was the limit: worker 1 woke up 30.0 ms late at p90",
        )
    ]


@pytest.mark.parametrize(
    ("samples", "late", "words"),
    [(99, 9, None), (99, 10, "p90"), (100, 1, None), (100, 2, "p99")],
)
def test_a_percentile_needs_samples_above_it(samples: int, late: int, words: str | None) -> None:
    lags = histogram_of(*[30 * NS_PER_MS] * late, *[1_000] * (samples - late))
    found = assess(run_of(replace(worker(0, 40), loop_lag=lags)))
    assert [caveat.text.rpartition(" ")[2] for caveat in found] == ([words] if words else [])


def test_one_hiccup_of_a_short_run_is_not_its_limit() -> None:
    assert assess(run_of(worker(0, 40, 30 * NS_PER_MS, samples=MIN_LAG_SAMPLES - 1))) == ()


def test_a_host_that_takes_cpu_time_was_the_limit() -> None:
    (caveat,) = assess(run_of(worker(0, 40)), stolen_share=0.084)
    assert caveat.limits_generator
    assert caveat.text.endswith("its host took 8.4% of this machine's CPU time")
    assert assess(run_of(worker(0, 40)), stolen_share=0.05) == ()


def test_a_run_near_the_ceiling_says_so() -> None:
    (caveat,) = assess(run_of(worker(0, 40)), ceiling_share=0.91)
    assert not caveat.limits_generator
    assert caveat.text == "the run used 91% of the rate that this machine was found capable of"
    assert assess(run_of(worker(0, 40)), ceiling_share=0.8) == ()


def test_a_machine_without_free_ports_was_the_limit() -> None:
    words = os.strerror(errno.EADDRNOTAVAIL)
    out = replace(run_of(worker(0, 40)), failures={(Phase.CONNECT, "no connection"): Tally(7, f"10.0.0.7: {words}")})
    (caveat,) = assess(out)
    assert caveat.kind is CaveatKind.PORTS_EXHAUSTED
    assert caveat.limits_generator


def test_messages_that_waited_for_a_server_that_is_not_there_did_not_wait_for_busy_sessions() -> None:
    refused = replace(
        run_of(replace(worker(0, 40), sessions_opened=0), lateness_ns=3 * NS_PER_S),
        failures={(Phase.CONNECT, "connection refused"): Tally(32, "127.0.0.1:9: Connection refused")},
    )
    first, second = assess(refused, dropped_arrivals=768)
    assert first.kind is CaveatKind.NO_SESSION
    assert first.text == "no session was opened: connection refused, 32×, for example: 127.0.0.1:9: Connection refused"
    assert not first.limits_generator
    assert (second.kind, second.text) == (CaveatKind.ARRIVALS_DROPPED, "768 messages were due and never started")
    assert "raise" not in second.advice
    assert assess(replace(refused, workers=()), dropped_arrivals=1)[0].kind is not CaveatKind.NO_SESSION
    in_time = replace(run_of(replace(worker(0, 40), sessions_opened=0)), failures=refused.failures)
    assert assess(in_time) == ()  # what failed is among the failures; nothing here wants to be explained


@pytest.mark.parametrize("phase", ["greeting", "auth", "imap_login", "imap_greeting"])
def test_a_server_that_lets_nobody_in_is_not_said_to_be_away(phase: str) -> None:
    refused = replace(
        run_of(replace(worker(0, 40), sessions_opened=0), lateness_ns=3 * NS_PER_S),
        failures={(phase, "AUTHENTICATIONFAILED"): Tally(32, "")},
    )
    first, second = assess(refused, dropped_arrivals=768)
    assert (first.kind, second.kind) == (CaveatKind.SESSIONS_REFUSED, CaveatKind.ARRIVALS_DROPPED)
    assert first.text == "no session was opened: AUTHENTICATIONFAILED, 32×"
    assert first.advice.startswith("the server listens and lets nobody in")
    assert "raise" not in second.advice
    away = replace(refused, failures={("imap_connect", "connection refused"): Tally(32, "127.0.0.1:9")})
    assert assess(away, dropped_arrivals=768)[0].kind is CaveatKind.NO_SESSION


def test_messages_larger_than_the_server_takes_are_named() -> None:
    tallies = {
        (phase, LARGER_THAN_SIZE): Tally(count, "5,392 octets") for phase, count in (("mail", 2), ("end_of_data", 5))
    }
    (caveat,) = assess(replace(run_of(worker(0, 40)), failures=tallies))
    assert caveat.kind is CaveatKind.LARGER_THAN_SIZE
    assert caveat.text == "7 messages were refused for being larger than the server takes: 5,392 octets"


def test_arrivals_that_never_started_are_named() -> None:
    assert said(run_of(worker(0, 40)), dropped_arrivals=1_200) == [
        (CaveatKind.ARRIVALS_DROPPED, "1,200 messages were due and never started")
    ]


def test_late_starts_of_an_idle_generator_mean_busy_sessions() -> None:
    (caveat,) = assess(run_of(worker(0, 40), lateness_ns=20 * NS_PER_MS))
    assert caveat.kind is CaveatKind.SESSIONS_BUSY
    assert not caveat.limits_generator


def test_late_starts_that_a_loop_standing_still_may_explain_blame_nobody() -> None:
    hiccup = histogram_of(*[1_000] * 99, 12 * NS_PER_MS)
    (caveat,) = assess(run_of(replace(worker(0, 40), loop_lag=hiccup), lateness_ns=20 * NS_PER_MS))
    assert caveat.kind is CaveatKind.STARTS_LATE
    assert not caveat.limits_generator
    assert caveat.text == (
        "messages waited for a session or for the generator itself: they started 20.0 ms late at p99, "
        "and the generator itself once woke up 12.0 ms late"
    )


@pytest.mark.parametrize(
    ("late_ms", "opened", "sessions", "hiccup_ms", "said"),
    [
        (10, 20, 20, 0, None),
        (11, 20, 20, 0, "all sessions were busy when messages were due: they started"),
        (11, 19, 20, 0, "messages waited for sessions that were still being opened (19 of 20 had been when it ended)"),
        (11, 40, 20, 0, "all sessions were busy"),  # some were opened again
        (11, 1, None, 0, "all sessions were busy"),
        (11, 20, 20, 6, "messages waited for a session or for the generator itself"),
        (11, 1, 20, 6, "messages waited for a session or for the generator itself"),
        (10, 1, 20, 6, None),
    ],
)
def test_sessions_are_busy_once_all_have_been_opened(
    late_ms: int, opened: int, sessions: int | None, hiccup_ms: int, said: str | None
) -> None:
    lags = histogram_of(*[1_000] * 99, hiccup_ms * NS_PER_MS)
    halves = [replace(worker(i, 40), sessions_opened=(opened + i) // 2, loop_lag=lags) for i in range(2)]
    lateness_ns = late_ms * NS_PER_MS + (-NS_PER_MS if said is None else NS_PER_MS)  # off by a bucket of the histogram
    caveats = assess(run_of(*halves, lateness_ns=lateness_ns), sessions=sessions)
    assert [caveat.text[: len(said or "")] for caveat in caveats] == [said] * (said is not None)
    busy = said is not None and said.startswith("all")
    assert [caveat.kind for caveat in caveats] == [BUSY if busy else LATE] * (said is not None)


LOST, STOLEN, CPU, LAG = CaveatKind.WORKER_LOST, CaveatKind.CPU_STOLEN, CaveatKind.WORKER_CPU, CaveatKind.LOOP_LAG
NEAR, PORTS, DROPPED = CaveatKind.NEAR_CEILING, CaveatKind.PORTS_EXHAUSTED, CaveatKind.ARRIVALS_DROPPED
UNREACHED = CaveatKind.NO_SESSION
BUSY, LATE, MISSED = CaveatKind.SESSIONS_BUSY, CaveatKind.STARTS_LATE, CaveatKind.RATE_MISSED


@pytest.mark.parametrize(
    ("found", "said", "more_sessions"),
    [
        # The table of docs/explained/measuring.md: what was found, what is said of it, whether to have more sessions.
        ({LOST}, [LOST], False),
        ({STOLEN}, [STOLEN], False),
        ({CPU}, [CPU], False),
        ({LAG}, [LAG], False),
        ({NEAR}, [NEAR], False),
        ({PORTS}, [PORTS], False),
        ({DROPPED}, [DROPPED], True),
        ({BUSY}, [BUSY], True),
        ({LATE}, [LATE], False),
        ({MISSED}, [MISSED], True),
        ({STOLEN, CPU, LAG}, [STOLEN, CPU], False),
        ({STOLEN, LAG}, [STOLEN], False),
        ({CPU, LAG}, [CPU], False),
        ({LAG, BUSY}, [LAG], False),
        ({CPU, LAG, BUSY, DROPPED, MISSED}, [CPU, DROPPED, MISSED], False),
        ({LAG, MISSED}, [LAG, MISSED], False),
        ({PORTS, BUSY, MISSED}, [PORTS, MISSED], False),
        ({LOST, BUSY, DROPPED, MISSED}, [LOST, DROPPED, MISSED], False),
        ({LOST, LATE}, [LOST], False),
        ({BUSY, DROPPED, MISSED}, [DROPPED, BUSY, MISSED], True),
        ({NEAR, BUSY, MISSED}, [NEAR, BUSY, MISSED], True),
        ({UNREACHED, BUSY, DROPPED, MISSED}, [UNREACHED, DROPPED, MISSED], False),
        ({UNREACHED, LAG, LATE, MISSED}, [LAG, UNREACHED, MISSED], False),
    ],
)
def test_one_diagnosis_in_order_of_cause(found: set[CaveatKind], said: list[CaveatKind], more_sessions: bool) -> None:
    caveats = diagnose({kind: kind.value for kind in found})
    assert [caveat.kind for caveat in caveats] == said
    assert any(re.match("raise (the number of )?sessions", caveat.advice) for caveat in caveats) == more_sessions


@given(st.sets(st.sampled_from(CaveatKind)))
def test_a_diagnosis_never_contradicts_itself(found: set[CaveatKind]) -> None:
    caveats = diagnose({kind: kind.value for kind in found})
    kinds = {caveat.kind for caveat in caveats}
    assert kinds <= found
    assert kinds or not found
    if any(caveat.limits_generator for caveat in caveats):
        assert not kinds & {BUSY, LATE}
        assert not any("raise" in caveat.advice for caveat in caveats if caveat.kind in (DROPPED, MISSED))
    assert diagnose({caveat.kind: caveat.text for caveat in caveats}) == caveats


def test_late_starts_of_a_busy_generator_are_its_own() -> None:
    assert [kind for kind, _ in said(run_of(worker(0, 99), lateness_ns=NS_PER_S))] == [CaveatKind.WORKER_CPU]


def test_a_missed_rate_is_named() -> None:
    assert said(run_of(worker(0, 40), started=1_000_001, span_ns=250 * NS_PER_S), wanted_per_s=5_000.0) == [
        (CaveatKind.RATE_MISSED, "the wanted rate was missed: 4,000 messages/s started of 5,000 asked for")
    ]


@pytest.mark.parametrize(
    ("started", "wanted_per_s"),
    [(100_001, 100_500.0), (101, 120.0), (1, 5_000.0), (0, 5_000.0), (100_001, None)],
)
def test_a_rate_within_one_percent_and_chance_is_not_missed(started: int, wanted_per_s: float | None) -> None:
    assert said(run_of(worker(0, 40), started=started), wanted_per_s=wanted_per_s) == []


def test_lost_workers_come_first() -> None:
    kinds = [caveat.kind for caveat in assess(run_of(worker(0, 99)), lost_workers={1: "", 2: ""})]
    assert kinds == [CaveatKind.WORKER_LOST, CaveatKind.WORKER_CPU]
    (lost,) = assess(run_of(worker(0, 9)), lost_workers={1: ""})
    assert lost.text == "the measurement is not valid: worker 1 died before the end"
    (lost,) = assess(run_of(worker(0, 9)), lost_workers={0: "no memory", 1: "", 2: "no memory"})
    assert lost.text == "the measurement is not valid: workers 0, 1, 2 died before the end (no memory)"


def test_start_rate_counts_intervals_between_starts() -> None:
    assert started_per_s(run_of(started=5_001)) == 5_000.0
    assert started_per_s(run_of(started=1, span_ns=0)) == 0.0
    assert started_per_s(Snapshot.empty()) == 0.0


def test_every_kind_has_advice() -> None:
    assert set(ADVICE) == set(CaveatKind)

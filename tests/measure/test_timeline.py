"""What happened in each second, whatever the length of the run and the order of merging."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.clock import NS_PER_MS, NS_PER_S
from trafficgen.measure.timeline import MAX_INTERVALS, Interval, Timeline, latencies_between
from trafficgen.outcomes import Outcome

Message = tuple[int, int, int, int]  # start and end in ms, outcome, octets

messages = st.lists(
    st.tuples(st.integers(-5, 9_000), st.integers(0, 4_000), st.sampled_from(Outcome), st.integers(0, 10_000)).map(
        lambda m: (m[0], m[0] + m[1], int(m[2]), m[3])
    ),
    max_size=30,
)


def record(timeline: Timeline, told: list[Message]) -> Timeline:
    starts, ends, outcomes, octets = np.array(told, np.int64).reshape(-1, 4).T
    timeline.record(starts * NS_PER_MS, ends * NS_PER_MS, outcomes, octets, (ends - starts) * NS_PER_MS)
    return timeline


def timeline_of(told: list[Message]) -> Timeline:
    return record(Timeline(), told)


def test_a_message_starts_and_ends_in_the_seconds_where_it_did() -> None:
    told = [(100, 300, 0, 5_000), (900, 2_100, 0, 6_000), (950, 990, 2, 7_000), (2_000, 2_500, 4, 8_000)]
    first, second, third = timeline_of(told).intervals()
    assert first == Interval(0, 1, 3, 1, 0, 1, 0, 0, 5_000, 201_326_591, 201_326_591, (751, 1))
    assert second == Interval(1, 1, 0, 0, 0, 0, 0, 0, 0, None, None)
    assert third == Interval(2, 1, 1, 1, 0, 0, 0, 1, 6_000, 1_207_959_551, 1_207_959_551, (835, 1))


def test_nothing_recorded_has_no_intervals() -> None:
    assert Timeline().intervals() == []
    assert timeline_of([]).intervals() == []


def test_times_before_the_start_count_into_the_first_second() -> None:
    (first,) = timeline_of([(-3, -1, 0, 1)]).intervals()
    assert (first.at_s, first.started, first.accepted) == (0, 1, 1)


@given(messages)
def test_sums_over_all_seconds_are_those_of_the_run(told: list[Message]) -> None:
    seconds = timeline_of(told).intervals()
    assert sum(second.started for second in seconds) == len(told)
    assert sum(second.accepted for second in seconds) == sum(m[2] == Outcome.ACCEPTED for m in told)
    assert sum(second.in_doubt for second in seconds) == sum(m[2] == Outcome.IN_DOUBT for m in told)
    assert sum(second.bytes for second in seconds) == sum(m[3] for m in told if m[2] == Outcome.ACCEPTED)


@given(messages, messages)
def test_merging_equals_recording_all_in_one(a: list[Message], b: list[Message]) -> None:
    whole = timeline_of(a + b)
    forwards, backwards, bit_by_bit = timeline_of(a), timeline_of(b), timeline_of(a)
    forwards += timeline_of(b)
    backwards += timeline_of(a)
    assert forwards == backwards == record(bit_by_bit, b) == whole


@given(messages)
def test_pickling_changes_nothing(told: list[Message]) -> None:
    made = timeline_of(told)
    assert pickle.loads(pickle.dumps(made)) == made


def test_a_long_run_gets_longer_intervals_and_loses_no_message() -> None:
    hours = [(second * 1_000, second * 1_000 + 20, 0, 10) for second in range(3 * 3600)]
    made = timeline_of(hours)
    assert made.span_s == 8
    assert len(made) == 1350 <= MAX_INTERVALS
    assert made.intervals()[-1] == Interval(10_792, 8, 8, 8, 0, 0, 0, 0, 80, 20_447_231, 20_447_231, (646, 8))
    assert sum(interval.started for interval in made.intervals()) == 10_800


@given(messages, st.integers(0, 5))
def test_intervals_give_back_their_timeline(told: list[Message], shift_s: int) -> None:
    intervals = timeline_of(told).intervals()
    made = Timeline.of(intervals, shift_s=shift_s).intervals()
    moved = [replace(interval, at_s=interval.at_s + shift_s) for interval in intervals]
    assert made[shift_s:] == moved
    assert not any(interval.started or interval.latencies for interval in made[:shift_s])


def test_timelines_of_different_spans_merge() -> None:
    long, short = timeline_of([(3_000_000, 3_000_010, 0, 1)]), timeline_of([(1_000, 1_010, 0, 1), (3_500, 3_600, 3, 1)])
    a, b = long.copy(), short.copy()
    a += short
    b += long
    assert a == b == timeline_of([(3_000_000, 3_000_010, 0, 1), (1_000, 1_010, 0, 1), (3_500, 3_600, 3, 1)])
    assert [i.started for i in a.intervals() if i.started] == [1, 1, 1]
    assert short.span_s == 1


def test_an_absurdly_late_end_needs_no_absurd_memory() -> None:
    made = Timeline()
    one = np.array([1], np.int64)
    made.record(one, one * 10_000_000 * NS_PER_S, one * 0, one, one)
    assert len(made) <= MAX_INTERVALS
    assert sum(interval.accepted for interval in made.intervals()) == 1


@pytest.mark.parametrize(
    ("from_s", "to_s", "expected_ms"),
    [
        (-0.4, 0.6, 10),
        (0.4, 1.4, 10),
        (0.6, 1.6, 20),
        (0.0, 2.0, 20),
        (2.0, 9.0, None),
        (-0.7, 0.3, 10),
        (1.6, 9.0, 20),
        (-9.0, 0.0, None),
    ],
)
def test_latencies_of_a_stretch_that_another_clock_has_cut(from_s: float, to_s: float, expected_ms: int | None) -> None:
    timeline = Timeline()
    ends = np.repeat([500, 1500], 200) * NS_PER_MS
    latencies = np.repeat([10, 20], 200) * NS_PER_MS
    timeline.record(ends - latencies, ends, np.zeros(400, np.int64), np.full(400, 1000), latencies)
    found = latencies_between(timeline.intervals(), from_s, to_s)
    assert found == (None if expected_ms is None else pytest.approx(expected_ms * NS_PER_MS, rel=0.05))

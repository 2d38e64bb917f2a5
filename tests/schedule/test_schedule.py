"""Schedules against tables worked out by hand, and against the statistics they promise."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from trafficgen.errors import PlanError
from trafficgen.plan import Arrivals, OpenLoop, Plan, Stage
from trafficgen.schedule import Schedule
from trafficgen.schedule.positions import PoissonPositions
from trafficgen.schedule.rates import Ramps, as_fraction

S = 1_000_000_000
HOUR = 3600 * S


def constant(rate_per_s, **plan):
    return Schedule(Plan(**({"duration_ns": 60 * S} | plan), load=OpenLoop(rate_per_s)))


def staged(start_per_s, *stages, arrivals=Arrivals.CONSTANT, seed=0, **plan):
    load = OpenLoop(start_per_s, tuple(Stage(round(seconds * S), rate) for seconds, rate in stages), arrivals)
    return Schedule(Plan(**({"duration_ns": 24 * HOUR} | plan), load=load, seed=seed))


def poisson(rate_per_s, seed, **plan):
    load = OpenLoop(rate_per_s, arrivals=Arrivals.POISSON)
    return Schedule(Plan(**({"duration_ns": 60 * S} | plan), load=load, seed=seed))


# -- constant -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate_per_s", "expected"),
    [
        (1.0, [0, S, 2 * S, 3 * S]),
        (4.0, [0, 250_000_000, 500_000_000, 750_000_000]),
        (3.0, [0, 333_333_333, 666_666_666, S]),
        (100 / 60, [0, 600_000_000, 1_200_000_000, 1_800_000_000]),
        (1 / 3600, [0, HOUR, 2 * HOUR, 3 * HOUR]),
        (0.5, [0, 2 * S, 4 * S, 6 * S]),
    ],
)
def test_constant_arrivals_are_evenly_spaced_from_the_start(rate_per_s, expected):
    assert constant(rate_per_s).due_ns(0, 4).tolist() == expected


def test_constant_rate_has_no_start_burst():
    assert np.diff(constant(5000.0).due_ns(0, 100)).tolist() == [200_000] * 99


@pytest.mark.parametrize("rate_per_s", [3.0, 7.0, 100 / 60, 15_000.0, 0.1, 12_345.678])
def test_ten_hours_of_constant_arrivals_do_not_drift(rate_per_s):
    number = round(rate_per_s * 36_000 / 3) * 3
    due = int(constant(rate_per_s).due_ns(number, number + 1)[0])
    assert abs(due - number / rate_per_s * S) <= 2


def test_very_slow_rate_with_a_long_fraction_stays_exact():
    # 86400 s an arrival, far along: the product leaves int64 and is done in whole Python integers.
    assert constant(1 / 86_400).due_ns(10**5, 10**5 + 1).tolist() == [86_400 * S * 10**5]


# -- counting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate_per_s", "duration_ns", "expected"),
    [
        (100.0, S, 100),
        (100.0, S + 1, 101),
        (100.0, 1, 1),
        (100.0, 0, 0),
        (3.0, 10 * S, 30),
        (1 / 3600, S, 1),
        (5000.0, 10 * S, 50_000),
    ],
)
def test_count_within_is_half_open(rate_per_s, duration_ns, expected):
    assert constant(rate_per_s).count_within(duration_ns) == expected


def test_planned_is_the_lower_of_count_and_duration():
    assert constant(100.0, duration_ns=10 * S).planned == 1000
    assert constant(100.0, duration_ns=10 * S, max_messages=70).planned == 70
    assert constant(100.0, duration_ns=None, max_messages=70).planned == 70


def test_duration_is_the_shorter_of_plan_and_stages():
    assert staged(0.0, (10, 5.0), duration_ns=4 * S).duration_ns == 4 * S
    assert staged(0.0, (10, 5.0), duration_ns=40 * S).duration_ns == 10 * S
    assert constant(1.0, duration_ns=None, max_messages=3).duration_ns is None


# -- stages ---------------------------------------------------------------------------------------------


def test_flat_stage_is_a_constant_rate():
    assert staged(4.0, (1, 4.0)).due_ns(0, 9).tolist() == [0, 250_000_000, 500_000_000, 750_000_000]


def test_ramp_from_zero_follows_the_square_root():
    # Rate 2t for 4 s: the integral is t², so arrival k is due at √k seconds, 16 in all.
    due = staged(0.0, (4, 8.0)).due_ns(0, 100)
    assert len(due) == 16
    assert due[[0, 1, 4, 9]].tolist() == [0, S, 2 * S, 3 * S]
    assert due[2] == 1_414_213_562


def test_a_stage_slower_than_one_a_second_keeps_its_pace():
    assert staged(0.1, (50, 0.1)).due_ns(0, 9).tolist() == [0, 10 * S, 20 * S, 30 * S, 40 * S]


def test_ramp_down_to_zero_mirrors_the_ramp_up():
    # Rate 8-2t for 4 s: the integral is 8t-t², so arrival 7 is due at 1 s, 12 at 2 s, 15 at 3 s.
    due = staged(8.0, (4, 0.0)).due_ns(0, 100)
    assert due[[0, 7, 12, 15]].tolist() == [0, S, 2 * S, 3 * S]
    assert len(due) == 16


def test_stages_join_without_gap():
    # 0→10 in 2 s (10 arrivals), 10 for 1 s (10), 10→20 in 2 s (30).
    schedule = staged(0.0, (2, 10.0), (1, 10.0), (2, 20.0))
    assert schedule.due_ns(10, 21).tolist() == [2 * S + k * 100_000_000 for k in range(10)] + [3 * S]
    assert schedule.count_within(5 * S) == 50
    assert schedule.planned == 50


def test_stage_without_duration_is_a_jump():
    schedule = staged(10.0, (1, 10.0), (0, 100.0), (1, 100.0))
    assert schedule.count_within(2 * S) == schedule.planned == 110
    assert np.diff(schedule.due_ns(20, 30)).tolist() == [10_000_000] * 9


def test_nothing_arrives_while_the_rate_is_zero():
    # Two arrivals in the first second, silence until 11 s, then one a second.
    schedule = staged(2.0, (1, 2.0), (0, 0.0), (10, 0.0), (0, 1.0), (2, 1.0))
    assert schedule.due_ns(0, 10).tolist() == [0, S // 2, 11 * S, 12 * S]


def test_run_that_starts_silent_has_its_first_arrival_when_the_rate_moves():
    assert staged(0.0, (5, 0.0), (4, 8.0)).due_ns(0, 2).tolist() == [5 * S, 6 * S]


def test_arrivals_after_the_last_stage_do_not_exist():
    schedule = staged(0.0, (4, 8.0))
    assert schedule.due_ns(16, 20).tolist() == []
    assert schedule.count_within(HOUR) == 16


# -- any schedule ---------------------------------------------------------------------------------------

rates = st.floats(0.01, 50_000, allow_nan=False)
stages = st.lists(st.tuples(st.floats(0.001, 600), st.floats(0, 2_000)), min_size=1, max_size=5)


@given(rates, st.integers(0, 10**9), st.integers(0, 50))
@example(0.01, 2**62 // 10**11 - 2, 5)
@example(0.01, 2**63 // 10**11 - 2, 5)  # 292 years from now
@example(0.01, 10**9, 5)
def test_constant_arrivals_never_fall_and_any_split_is_equal(rate_per_s, first, length):
    schedule = constant(rate_per_s)
    due = schedule.due_ns(first, first + length)
    assert len(due) == length
    assert (np.diff(due) >= 0).all()
    assert [int(schedule.due_ns(k, k + 1)[0]) for k in range(first, first + length)] == due.tolist()


@given(st.floats(0.01, 2_000), stages, st.floats(0, 1))
def test_counts_of_stages_are_the_integral_give_or_take_one(start_per_s, steps, part):
    schedule = staged(start_per_s, *steps)
    end_ns = schedule.duration_ns
    at_ns = int(end_ns * part)
    integral, rate, begin = 0.0, start_per_s, 0
    for seconds, target in steps:
        span = min(max(at_ns - begin, 0) / S, round(seconds * S) / S)
        integral += (rate + (rate + (target - rate) * span / seconds)) / 2 * span
        begin, rate = begin + round(seconds * S), target
    assert abs(schedule.count_within(at_ns) - integral) <= 1 + 1e-6 * integral
    due = schedule.due_ns(0, min(schedule.count_within(end_ns), 20_000))
    assert (np.diff(due) >= 0).all()
    assert len(due) == 0 or (due[0] >= 0 and due[-1] < end_ns)


@settings(max_examples=30)
@given(st.floats(1, 50_000), st.integers(0, 2**64 - 1), st.integers(0, 20_000), st.integers(0, 5_000))
def test_poisson_arrivals_never_fall_and_do_not_depend_on_the_asking(rate_per_s, seed, first, length):
    walked, direct = poisson(rate_per_s, seed), poisson(rate_per_s, seed)
    everything = walked.due_ns(0, first + length)
    assert direct.due_ns(first, first + length).tolist() == everything[first:].tolist()
    assert (np.diff(everything) >= 0).all()
    at_ns = int(everything[-1]) + 1 if len(everything) else 0
    assert direct.count_within(at_ns) >= len(everything)
    assert direct.count_within(at_ns - 1) < max(len(everything), 1)


# -- Poisson --------------------------------------------------------------------------------------------


def test_poisson_gaps_are_exponential():
    due = poisson(1000.0, seed=7).due_ns(0, 50_000)
    assert stats.kstest(np.diff(due) / 1e6, "expon").pvalue > 0.01


def test_poisson_counts_a_second_have_variance_equal_to_mean():
    due = poisson(50.0, seed=3).due_ns(0, 100_000)
    counts = np.bincount(due // S)[:-1]
    assert 0.9 < counts.var() / counts.mean() < 1.1
    expected = stats.poisson(50).pmf(np.arange(35, 66))
    observed = np.bincount(counts, minlength=66)[35:66]
    assert stats.chisquare(observed, expected / expected.sum() * observed.sum()).pvalue > 0.01


def test_poisson_on_a_ramp_follows_the_ramp():
    # Rate 200t for 10 s: arrivals have the distribution t²/100.
    schedule = staged(0.0, (10, 2000.0), arrivals=Arrivals.POISSON, seed=11)
    due = schedule.due_ns(0, 20_000) / S
    assert abs(len(due) - 10_000) < 400
    assert stats.kstest(due, lambda t: t**2 / 100).pvalue > 0.01


def test_poisson_arrivals_are_never_two_alike_across_seeds():
    assert poisson(10.0, seed=1).due_ns(0, 5).tolist() != poisson(10.0, seed=2).due_ns(0, 5).tolist()


def test_poisson_count_within_far_away_is_near_the_integral():
    assert abs(poisson(5000.0, seed=5).count_within(100 * S) - 500_000) < 4 * 500_000**0.5


# -- refusals -------------------------------------------------------------------------------------------


def test_closed_loop_has_no_schedule():
    with pytest.raises(PlanError, match="needs a rate or stages"):
        Schedule(Plan(max_messages=1))


def test_stages_in_which_nothing_starts_are_refused():
    with pytest.raises(PlanError, match="nothing would ever start"):
        OpenLoop(5.0, (Stage(0, 0.0), Stage(10 * S, 0.0), Stage(0, 9.0)))


def test_backward_range_is_refused():
    with pytest.raises(ValueError, match="first <= last"):
        constant(1.0).due_ns(2, 1)


def test_a_rate_is_the_simple_fraction_that_was_meant():
    meant = {
        5 / 3: Fraction(5, 3),
        1.0: Fraction(1),
        0.1: Fraction(1, 10),
        1e-7: Fraction(1, 10**7),
        7e5: Fraction(7 * 10**5),
    }
    assert {rate: as_fraction(rate) for rate in meant} == meant
    assert as_fraction(1 + 1e-6) == Fraction(10**6 + 1, 10**6)
    assert as_fraction(1 + 1 / (10**6 + 1)).denominator <= 10**6


def test_every_draw_has_a_gap(monkeypatch):
    draws = np.array([0, 2**11 - 1, 2**63, 2**64 - 1], dtype=np.uint64)
    monkeypatch.setattr("trafficgen.schedule.positions.streams.raw", lambda *_: draws)
    positions = PoissonPositions(1).between(0, 4)
    assert positions.tolist() == pytest.approx([n * np.log(2) for n in (53, 106, 107, 107)])


@pytest.mark.parametrize("seconds", [0.3, 1, 7, 3600, 86_400])
@pytest.mark.parametrize(("start_per_s", "target_per_s"), [(10.0, 10.0), (0.0, 5.0), (5.0, 0.0), (1.0, 333.3)])
def test_rounding_pushes_no_arrival_out_of_the_last_stage(start_per_s, target_per_s, seconds):
    end_ns = round(seconds * S)
    ramps = Ramps(start_per_s, [Stage(end_ns, target_per_s)])
    last = np.nextafter(ramps.integral(end_ns), 0)  # the last position there is
    (due,) = ramps.due_ns(np.array([last]))
    assert end_ns - 1 - end_ns // 10**5 <= due <= end_ns - 1
    assert ramps.due_ns(np.array([ramps.integral(end_ns)])).size == 0


def test_a_seed_means_the_same_schedule_for_ever():
    """Of version 1: runs of different versions are compared, and a block of the random stream is 4096 arrivals."""
    due = poisson(1000.0, seed=7).due_ns(0, 5000)
    written_down = [391_079, 958_719, 4_101_945_836, 4_103_755_196, 4_994_828_821]
    # Processors differ in the last bit of a logarithm.
    assert np.abs(due[[0, 1, 4095, 4096, 4999]] - written_down).max() <= 5

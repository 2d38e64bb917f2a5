"""The test, the estimate and the intervals, held against scipy and against counting by hand."""

import itertools
import math
import statistics

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.verdict import signed_rank, student

LEVELS = (0.5, 0.1, 0.05, 0.029, 0.022, 0.018, 0.01, 0.001, 0.0001)
LARGE = st.floats(-1, 1, allow_nan=False).filter(lambda value: abs(value) > 1e-6)


@pytest.mark.parametrize("freedom", [*range(1, 61), 100, 199, 200])
def test_t_quantiles_are_those_of_scipy(freedom: int) -> None:
    for alpha in LEVELS:
        assert student.t_quantile(alpha, freedom) == pytest.approx(scipy.stats.t.isf(alpha / 2, freedom), rel=1e-9)


@pytest.mark.parametrize("pairs", [2, 5, 8, 16, 24])
def test_t_interval_is_that_of_scipy(pairs: int) -> None:
    values = np.random.default_rng(pairs).normal(0.02, 0.05, pairs)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.978)
    assert student.t_interval(values.tolist(), 0.022) == pytest.approx(tuple(expected), rel=1e-9)


@given(st.lists(LARGE, min_size=1, max_size=25, unique_by=abs))
def test_p_is_that_of_scipy(differences: list[float]) -> None:
    expected = scipy.stats.wilcoxon(differences, method="exact").pvalue
    assert signed_rank.p_value(differences) == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_p_with_ties_and_zeros_counts_every_pattern_of_signs(differences: list[int]) -> None:
    ranks = scipy.stats.rankdata(np.abs(differences))
    used = [rank for rank, value in zip(ranks, differences, strict=True) if value]
    positive = sum(rank for rank, value in zip(ranks, differences, strict=True) if value > 0)
    least = min(positive, sum(used) - positive)
    sums = [sum(itertools.compress(used, signs)) for signs in itertools.product((0, 1), repeat=len(used))]
    expected = min(1.0, 2 * sum(total <= least for total in sums) / len(sums))
    assert signed_rank.p_value(differences) == pytest.approx(expected, rel=1e-12)


def test_p_with_zeros_is_that_of_pratt() -> None:
    differences = [0, 0, 1, 1, 2, -2, 3, -1, 4, 4.0]
    every_pattern = scipy.stats.PermutationMethod(n_resamples=10_000)
    expected = scipy.stats.wilcoxon(differences, zero_method="pratt", method=every_pattern).pvalue
    assert signed_rank.p_value(differences) == pytest.approx(expected, rel=1e-9)


def test_no_difference_at_all_is_no_evidence() -> None:
    assert signed_rank.p_value([0.0] * 8) == 1.0


def test_the_estimate_is_the_median_of_walsh_averages() -> None:
    assert signed_rank.estimate([1.0, 2.0, 6.0]) == 2.75  # 1, 1.5, 2, 3.5, 4, 6
    assert signed_rank.estimate([5.0]) == 5.0
    with pytest.raises(ValueError, match="at least one"):
        signed_rank.estimate([])


def test_one_freak_pair_barely_moves_the_estimate() -> None:
    calm = [0.01, 0.02, 0.00, 0.03, 0.01, 0.02, 0.015, 0.005]
    assert abs(signed_rank.estimate([*calm[:-1], 3.0]) - signed_rank.estimate(calm)) < 0.005
    assert abs(statistics.fmean([*calm[:-1], 3.0]) - statistics.fmean(calm)) > 0.3


@pytest.mark.parametrize(("pairs", "cut"), [(5, None), (6, None), (7, 0), (8, 1), (16, 24), (24, 70)])
def test_where_the_test_rejects_at_pococks_level(pairs: int, cut: int | None) -> None:
    assert signed_rank.critical(pairs, 0.022) == cut


@given(st.lists(LARGE, min_size=8, max_size=24, unique_by=abs), st.sampled_from([0.05, 0.022, 0.018]))
def test_the_interval_holds_exactly_the_shifts_that_scipy_does_not_reject(values: list[float], alpha: float) -> None:
    low, high = signed_rank.interval(values, alpha)
    width = max(high - low, 1e-3)
    for shift, inside in ((low - width / 7, False), (low + width / 7, True), (high + width / 7, False)):
        moved = np.array(values) - shift
        if np.unique(np.abs(moved)).size == moved.size and np.all(moved != 0):
            held = scipy.stats.wilcoxon(moved, method="exact").pvalue > alpha
            assert held == inside or abs(high - low) < 1e-3


def test_too_few_pairs_leave_everything_possible() -> None:
    assert signed_rank.interval([1.0] * 6, 0.022) == (-math.inf, math.inf)
    assert student.t_interval([1.0], 0.022) == (-math.inf, math.inf)


def test_ties_only_widen_the_interval() -> None:
    assert signed_rank.interval([1.0] * 8, 0.022) == (1.0, 1.0)
    assert signed_rank.interval([0.0] * 4 + [1.0] * 4, 0.022) == (0.0, 1.0)


@pytest.mark.parametrize(("alpha", "freedom"), [(0.0, 3), (1.0, 3), (0.05, 0)])
def test_a_quantile_that_does_not_exist_is_refused(alpha: float, freedom: int) -> None:
    with pytest.raises(ValueError, match="level between 0 and 1"):
        student.t_quantile(alpha, freedom)

"""The verdict rule, its control, and the order of runs."""

import random

import pytest

from trafficgen.verdict.control import ControlTrouble, check, worst
from trafficgen.verdict.order import balanced_order
from trafficgen.verdict.rule import (
    POCOCK,
    Better,
    Comparison,
    Judgement,
    Metric,
    Values,
    Verdict,
    check_looks,
    compare,
    holm,
    judge,
)

THROUGHPUT = Metric("throughput", Better.HIGHER, 0.05)
P99 = Metric("p99", Better.LOWER, 0.10, floor=2e6)
CALM = (-0.003, 0.002, 0.001, -0.002, 0.004, -0.001, 0.0005, -0.0015)
"""Relative scatter of eight pairs, around nothing."""


def values(metric: Metric, ratio: float, scatter: tuple[float, ...] = CALM, level: float = 1000.0) -> Values:
    return Values(metric, (level,) * len(scatter), tuple(level * ratio * (1 + noise) for noise in scatter))


def one(judgement: Judgement) -> Comparison:
    (comparison,) = judgement.comparisons
    return comparison


@pytest.mark.parametrize(
    ("ratio", "last", "verdict"),
    [
        (1.00, False, Verdict.PASS),
        (1.08, False, Verdict.PASS),
        (0.97, False, Verdict.PASS),  # a real loss, but inside the margin
        (0.90, False, Verdict.FAIL),
        (0.9505, False, None),
        (0.9505, True, Verdict.WARN),
    ],
)
def test_verdict_on_a_calm_machine(ratio: float, last: bool, verdict: Verdict | None) -> None:
    assert judge([values(THROUGHPUT, ratio)], alpha=POCOCK[3], last=last).verdict is verdict


def test_noise_asks_for_more_pairs_and_in_the_end_for_nothing_to_be_said() -> None:
    noisy = values(THROUGHPUT, 0.98, tuple(50 * noise for noise in CALM))
    assert judge([noisy], alpha=POCOCK[3], last=False).verdict is None
    assert judge([noisy], alpha=POCOCK[3], last=True).verdict is Verdict.INCONCLUSIVE


def test_more_is_worse_for_a_latency() -> None:
    slow, quick = values(P99, 1.2, level=5e8), values(P99, 0.8, level=5e8)
    assert judge([slow], alpha=POCOCK[3], last=False).verdict is Verdict.FAIL
    assert judge([quick], alpha=POCOCK[3], last=False).verdict is Verdict.PASS


def test_a_small_latency_may_grow_by_the_floor() -> None:
    assert P99.margin_ratio(1e6) == 3.0  # 2 ms on top of 1 ms
    assert P99.margin_ratio(1e9) == pytest.approx(1.10)
    assert judge([values(P99, 1.5, level=1e6)], alpha=POCOCK[3], last=False).verdict is Verdict.PASS


def test_a_loss_inside_the_margin_is_named() -> None:
    sentence = judge([values(THROUGHPUT, 0.97)], alpha=POCOCK[3], last=False).reason
    assert sentence == (
        "after 8 pairs B is not worse than A by more than the margin: "
        "throughput is 0.970× A's [0.968, 0.973], margin 0.950× (a real loss of 3.0% within the margin)"
    )


def test_a_failure_names_only_what_failed() -> None:
    judged = judge([values(THROUGHPUT, 0.9), values(P99, 1.0, level=5e8)], alpha=POCOCK[3], last=False)
    assert judged.verdict is Verdict.FAIL
    assert judged.reason == (
        "after 8 pairs B is worse than A, beyond chance and by the margin or more: "
        "throughput is 0.900× A's [0.898, 0.903], margin 0.950×"
    )
    assert [comparison.verdict for comparison in judged.comparisons] == [Verdict.FAIL, Verdict.PASS]


def test_one_metric_that_needs_more_pairs_keeps_the_gate_open() -> None:
    noisy = values(P99, 1.0, tuple(60 * noise for noise in CALM), level=5e8)
    assert judge([values(THROUGHPUT, 1.0), noisy], alpha=POCOCK[3], last=False).verdict is None


def test_with_three_metrics_eight_pairs_cannot_fail() -> None:
    """0.0078 is the least p of eight pairs, a third of 0.022 is less."""
    others = [Metric(name, Better.HIGHER, 0.05) for name in ("x", "y")]
    three = [values(THROUGHPUT, 0.5), *(values(metric, 1.0) for metric in others)]
    assert judge(three, alpha=POCOCK[3], last=False).verdict is None
    assert judge(three[:2], alpha=POCOCK[3], last=False).verdict is Verdict.FAIL


def test_a_better_b_does_not_use_up_the_level() -> None:
    better = Values(P99, (5e8,) * 8, tuple(2.5e8 * (1 + noise) for noise in CALM))
    assert judge([values(THROUGHPUT, 0.9), better], alpha=POCOCK[3], last=False).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("ps", "rejected"),
    [
        ([0.01], [True]),
        ([0.03], [False]),
        ([0.012, 0.010], [True, True]),
        ([0.012, 0.0111], [False, False]),
        ([0.012, 0.02], [False, False]),
        ([0.02, 0.007, 0.012], [False, True, False]),
        ([0.02, 0.007, 0.010], [True, True, True]),
    ],
)
def test_holm(ps: list[float], rejected: list[bool]) -> None:
    assert holm(ps, 0.022) == rejected


@pytest.mark.parametrize(
    ("looks", "metrics", "words"),
    [
        ((), 1, "ascending"),
        ((8, 8), 1, "ascending"),
        ((16, 8), 1, "ascending"),
        ((8, 9, 10, 11, 12), 1, "1 to 4"),
        ((4, 8, 16), 1, "4 pairs can never show anything"),
        ((8, 301), 1, "at most 300 pairs, got 301"),
        ((10**9,), 1, "at most 300 pairs"),
        ((8, 16, 24), 4, "1 to 3 metrics"),
        ((8, 16, 24), 0, "1 to 3 metrics"),
    ],
)
def test_looks_that_make_no_sense(looks: tuple[int, ...], metrics: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_looks(looks, metrics)


def test_the_default_looks_make_sense() -> None:
    check_looks((8, 16, 24), 2)
    check_looks((6,), 1)


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1, float("nan")])
def test_margins_that_make_no_sense(margin: float) -> None:
    with pytest.raises(ValueError, match="margin between"):
        Metric("throughput", Better.HIGHER, margin)


def test_a_value_of_zero_has_no_ratio() -> None:
    with pytest.raises(ValueError, match="above zero"):
        compare(Values(THROUGHPUT, (1.0, 0.0), (1.0, 1.0)), 0.05)


def test_a_calm_machine_resolves_the_margin_and_says_which() -> None:
    control = check(values(THROUGHPUT, 1.0), alpha=0.022, last_look=24)
    assert control.trouble is None
    assert 0.0005 < control.resolvable < 0.003
    assert "this machine can resolve 0.16%, the margin is 5.00%" in control.reason


def test_a_noisy_machine_is_refused_with_the_margin_it_could_resolve() -> None:
    control = check(values(THROUGHPUT, 1.0, tuple(60 * noise for noise in CALM)), alpha=0.022, last_look=24)
    assert control.trouble is ControlTrouble.NOISY
    assert 0.05 < control.resolvable < 0.15
    assert "too noisy for a margin of 5.00%; it could resolve" in control.reason


def test_a_machine_on_which_a_differs_from_itself_is_refused() -> None:
    control = check(values(THROUGHPUT, 0.97), alpha=0.022, last_look=24)
    assert control.trouble is ControlTrouble.BIASED
    assert "A differs from itself" in control.reason
    assert worst([check(values(THROUGHPUT, 1.0), alpha=0.022, last_look=24), control]) is control


def test_a_bias_far_below_the_margin_is_let_pass() -> None:
    """One control in thirty shows one by chance."""
    control = check(values(THROUGHPUT, 0.99), alpha=0.022, last_look=24)
    assert control.comparison.interval.high < 1
    assert control.trouble is None


def test_too_few_control_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="can never show anything"):
        check(values(THROUGHPUT, 1.0, CALM[:4]), alpha=0.022, last_look=24)


def test_order_is_random_and_balanced() -> None:
    order = balanced_order(random.Random(7), 24)
    assert [sum(order[start : start + 8]) for start in (0, 8, 16)] == [4, 4, 4]
    assert order != balanced_order(random.Random(8), 24)
    assert order == balanced_order(random.Random(7), 24)

"""One verdict from the pairs so far, or the wish for more pairs.

Takes     for each metric the values of A and B, pair by pair, and how much worse B may be
Gives     PASS      every metric: B is not worse by the margin, shown by its interval
          FAIL      some metric: B is worse beyond chance, and the estimate reaches the margin
          None      neither, and more pairs may come
          WARN      at the last look: B is worse beyond chance, but the estimate is within the margin
          INCONCLUSIVE   at the last look: nothing is shown
Promises  with no change, FAIL comes at most once in twenty gates, over all looks and metrics together
Not here  the runs themselves, and whether this machine can resolve the margin (control)

Several looks: each is taken at Pocock's nominal level (Biometrika 64, 1977), so that all together keep 5 %; the
intervals at that level hold over all looks at once (Jennison and Turnbull, JRSS B 51, 1989). Several metrics: FAIL is
by Holm's procedure (Scand. J. Statist. 6, 1979). PASS needs every metric to pass on its own, which needs no correction
(Berger, Technometrics 24, 1982).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from statistics import median
from typing import Final

from trafficgen.verdict import signed_rank, student
from trafficgen.verdict.signed_rank import RankInterval

MAX_METRICS: Final = 3
"""Each further metric makes every other harder to decide."""

MAX_PAIRS: Final = 300
"""The exact test of so many takes a fifth of a second, and grows with their third power."""

POCOCK: Final = {1: 0.05, 2: 0.029, 3: 0.022, 4: 0.018}
"""Nominal two-sided level of each look, by the number of looks, for 5 % over all (Pocock 1977, table 1)."""

DEFAULT_LOOKS: Final = (8, 16, 24)
"""Eight is the first number worth looking at: there the test can reach p = 0.0078; at six only 0.031, at which no
corrected level rejects."""


class Better(Enum):
    """In which direction a metric is good."""

    HIGHER = "higher"
    LOWER = "lower"


class Verdict(Enum):
    """What is said about B against A."""

    PASS = "pass"  # noqa: S105  # not a password
    FAIL = "fail"
    WARN = "warn"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Metric:
    """What is compared, and how much worse B may be: by the share `margin`, or by `floor` in the metric's own unit,
    whichever is more."""

    name: str
    better: Better
    margin: float
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.margin < 1:
            raise ValueError(f"expected a margin between 0% and 100%, got {self.margin:.0%}")

    def margin_ratio(self, usual: float) -> float:
        """The ratio B/A at which B is worse by the margin, where A's usual value is `usual`."""
        share = max(self.margin, self.floor / usual)
        return 1 + share if self.better is Better.LOWER else 1 - min(share, 0.999)


@dataclass(frozen=True, slots=True)
class Values:
    """One metric over all pairs, B's run beside A's. All above zero."""

    metric: Metric
    a: tuple[float, ...]
    b: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric after `pairs` pairs: B as a multiple of A, with intervals at level 1 - `alpha`."""

    metric: Metric
    pairs: int
    median_a: float
    median_b: float
    ratio: float
    interval: RankInterval
    t_interval: RankInterval
    p: float
    alpha: float
    margin_ratio: float
    verdict: Verdict | None

    @property
    def loss(self) -> float:
        """How much worse B is, as a share of A; below zero when it is better."""
        return self.ratio - 1 if self.metric.better is Better.LOWER else 1 - self.ratio


@dataclass(frozen=True, slots=True)
class Judgement:
    """All metrics at one look. `verdict` None: more pairs are wanted."""

    verdict: Verdict | None
    comparisons: tuple[Comparison, ...]
    unit: str = "pairs"
    """What the comparisons count."""

    @property
    def reason(self) -> str:
        """One sentence."""
        return reason(self)


def check_looks(looks: Sequence[int], metrics: int) -> None:
    """ValueError when no verdict could come of them."""
    if not 1 <= metrics <= MAX_METRICS:
        raise ValueError(f"expected 1 to {MAX_METRICS} metrics, got {metrics}")
    if not 1 <= len(looks) <= len(POCOCK) or list(looks) != sorted(set(looks)):
        raise ValueError(f"expected 1 to {len(POCOCK)} ascending numbers of pairs, got {_listed(looks)}")
    if looks[-1] > MAX_PAIRS:
        raise ValueError(f"expected at most {MAX_PAIRS} pairs, got {looks[-1]}: the exact test of more takes too long")
    alpha = POCOCK[len(looks)]
    if signed_rank.critical(looks[0], alpha) is None:
        raise ValueError(f"{looks[0]} pairs can never show anything at the level {alpha}: look first after 8 or more")


def judge(values: Sequence[Values], *, alpha: float, last: bool) -> Judgement:
    """The verdict at one of several looks, taken at the nominal level `alpha`; whether it is the `last`."""
    measured = [compare(one, alpha) for one in values]
    worse = holm([one.p if one.loss > 0 else 1.0 for one in measured], alpha)
    settled = tuple(
        replace(one, verdict=_decide(one, beyond_chance=shown, last=last))
        for one, shown in zip(measured, worse, strict=True)
    )
    return Judgement(_worst([one.verdict for one in settled]), settled)


def compare(values: Values, alpha: float) -> Comparison:
    """The numbers of one metric, without a verdict."""
    if min(*values.a, *values.b) <= 0:
        raise ValueError(f"expected values of {values.metric.name} above zero")
    differences = [math.log(b / a) for a, b in zip(values.a, values.b, strict=True)]
    usual = median(values.a)
    return Comparison(
        metric=values.metric,
        pairs=len(differences),
        median_a=usual,
        median_b=median(values.b),
        ratio=math.exp(signed_rank.estimate(differences)),
        interval=_as_ratio(signed_rank.interval(differences, alpha)),
        t_interval=_as_ratio(student.t_interval(differences, alpha)),
        p=signed_rank.p_value(differences),
        alpha=alpha,
        margin_ratio=values.metric.margin_ratio(usual),
        verdict=None,
    )


def holm(ps: Sequence[float], alpha: float) -> list[bool]:
    """Which hypotheses are rejected so that the chance of one false rejection among all stays within `alpha`."""
    rejected = [False] * len(ps)
    for step, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        if ps[index] > alpha / (len(ps) - step):
            break
        rejected[index] = True
    return rejected


def reason(judgement: Judgement) -> str:
    """The verdict in one sentence, with the numbers that decided it."""
    verdict, comparisons = judgement.verdict, judgement.comparisons
    decisive = [one for one in comparisons if one.verdict is verdict] if verdict is not Verdict.PASS else comparisons
    parts = "; ".join(_measured(one) for one in decisive)
    after = f"after {comparisons[0].pairs} {judgement.unit}"
    match verdict:
        case None:
            return f"{after} more are needed: {parts}"
        case Verdict.PASS:
            return f"{after} B is not worse than A by more than the margin: {parts}"
        case Verdict.FAIL:
            return f"{after} B is worse than A, beyond chance and by the margin or more: {parts}"
        case Verdict.WARN:
            return f"{after} B is worse than A beyond chance, but a loss beyond the margin is not shown: {parts}"
        case Verdict.INCONCLUSIVE:
            return f"{after} neither a loss nor its absence is shown: {parts}"


def _measured(one: Comparison) -> str:
    low, high = one.interval
    text = f"{one.metric.name} is {one.ratio:.3f}× A's [{low:.3f}, {high:.3f}], margin {one.margin_ratio:.3f}×"
    shown = one.verdict is Verdict.PASS and one.loss > 0 and not low <= 1 <= high
    return f"{text} (a real loss of {one.loss:.1%} within the margin)" if shown else text


def _decide(one: Comparison, *, beyond_chance: bool, last: bool) -> Verdict | None:
    lower = one.metric.better is Better.LOWER
    reaches = one.ratio >= one.margin_ratio if lower else one.ratio <= one.margin_ratio
    inside = one.interval.high < one.margin_ratio if lower else one.interval.low > one.margin_ratio
    if beyond_chance and reaches:
        return Verdict.FAIL
    if inside:
        return Verdict.PASS
    if not last:
        return None
    return Verdict.WARN if beyond_chance else Verdict.INCONCLUSIVE


def _worst(verdicts: Sequence[Verdict | None]) -> Verdict | None:
    """One FAIL settles it; until then every metric must be settled."""
    order = (Verdict.FAIL, None, Verdict.WARN, Verdict.INCONCLUSIVE, Verdict.PASS)
    return min(verdicts, key=order.index)


def _as_ratio(interval: RankInterval) -> RankInterval:
    return RankInterval(math.exp(interval.low), math.exp(interval.high))


def _listed(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers)) or "none"

"""How the sizes of messages are distributed.

Takes     uniform 64-bit draws
Gives     sizes in octets: a weighted mix of fixed sizes, a uniform range, a quantile table
Refuses   an empty mix, knots that do not rise
Not here  reading them from text (sizes), the tables with a source (presets), counts and order (recipe)

A draw is mapped by comparing and by integer arithmetic only, so it gives the same size on every machine. Curves
(log-normal, Pareto, log-linear steps between published quantiles) are cut into integer knots beforehand, with
`decimal`, whose exp and ln are correctly rounded everywhere, unlike libm's.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

MILLION = 1_000_000
EXACT = Context(prec=30)
STEPS = 16  # knots between two given quantiles
TAIL_STEPS = 64
PARETO_ALPHA = "1.5"  # measured above p99 on list and personal mail: 1.5 to 1.9 (docs/reference/corpora.md)


class Sizes(Protocol):
    """A distribution of message sizes, in octets with CRLF, headers included."""

    @property
    def name(self) -> str:
        """What it is called on the screen and in manifests."""

    @property
    def min_octets(self) -> int:
        """The smallest size it can give."""

    @property
    def max_octets(self) -> int:
        """The largest size it can give."""

    @property
    def mean_octets(self) -> float:
        """What a message has on average."""

    @property
    def values(self) -> tuple[int, ...] | None:
        """All sizes it can give, rising; None when there are too many to list."""

    def draw(self, raw: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Map uniform 64-bit draws to sizes."""


@dataclass(frozen=True)
class Mix:
    """Fixed sizes, each with a weight; one size alone is a mix of one."""

    name: str
    sizes: tuple[int, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.sizes or len(self.sizes) != len(self.weights):
            raise ValueError(f"a mix needs one weight for every size, got {self.sizes} and {self.weights}")

    @property
    def _drawn(self) -> list[tuple[int, float]]:
        return [pair for pair in zip(self.sizes, self.weights, strict=True) if pair[1] > 0]

    @property
    def min_octets(self) -> int:
        return min(size for size, _ in self._drawn)

    @property
    def max_octets(self) -> int:
        return max(size for size, _ in self._drawn)

    @property
    def mean_octets(self) -> float:
        return sum(size * weight for size, weight in self._drawn) / sum(self.weights)

    @property
    def values(self) -> tuple[int, ...]:
        return tuple(sorted({size for size, _ in self._drawn}))

    def draw(self, raw: NDArray[np.uint64]) -> NDArray[np.int64]:
        import numpy as np

        from mboxgen import streams

        if len(self.sizes) == 1:
            return np.full(len(raw), self.sizes[0], dtype=np.int64)
        return np.array(self.sizes, dtype=np.int64)[streams.choose(raw, self._thresholds)]

    @cached_property
    def _thresholds(self) -> NDArray[np.uint64]:
        from mboxgen import streams

        return streams.cumulative(self.weights)


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every size from `min_octets` to `max_octets`, both included, equally often."""

    name: str
    min_octets: int
    max_octets: int

    @property
    def mean_octets(self) -> float:
        return (self.min_octets + self.max_octets) / 2

    @property
    def values(self) -> None:
        return None

    def draw(self, raw: NDArray[np.uint64]) -> NDArray[np.int64]:
        from mboxgen import streams

        return streams.below(raw, self.max_octets - self.min_octets + 1) + self.min_octets


@dataclass(frozen=True, slots=True)
class Knot:
    """A point of a quantile table: a share of `chance` / 1,000,000 of the messages has at most `octets`."""

    chance: Decimal
    octets: int


@dataclass(frozen=True)
class QuantileTable:
    """A curve given by knots, straight between two of them; the first has chance 0, the last 1,000,000."""

    name: str
    knots: tuple[Knot, ...]

    def __post_init__(self) -> None:
        pairs = list(itertools.pairwise(self.knots))
        if not pairs or self.knots[0].chance != 0 or self.knots[-1].chance != MILLION:
            raise ValueError(f"the knots of {self.name} must go from chance 0 to {MILLION}")
        if any(low.chance >= high.chance or low.octets > high.octets for low, high in pairs):
            raise ValueError(f"the knots of {self.name} must rise")

    @property
    def min_octets(self) -> int:
        return self.knots[0].octets

    @property
    def max_octets(self) -> int:
        return self.knots[-1].octets

    @property
    def mean_octets(self) -> float:
        pairs = itertools.pairwise(self.knots)
        area = sum((high.chance - low.chance) * (low.octets + high.octets) / 2 for low, high in pairs)
        return float(area / MILLION)

    @property
    def values(self) -> None:
        return None

    def draw(self, raw: NDArray[np.uint64]) -> NDArray[np.int64]:
        import numpy as np

        octets, thresholds, steps = self._arrays
        knot = np.searchsorted(thresholds, raw, side="right") - 1
        way = ((raw - thresholds[knot]) // steps[knot]).astype(np.int64)
        low, high = octets[knot], octets[knot + 1]
        sizes: NDArray[np.int64] = np.minimum(low + (((high - low) * way) >> 24), high)
        return sizes

    @cached_property
    def _arrays(self) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.uint64]]:
        """Knots' octets, the draws at which their intervals begin, and what 2**-24 of each interval is."""
        import numpy as np

        starts = [int(knot.chance * (1 << 64) / MILLION) for knot in self.knots[:-1]]
        # Steps of 2**-24, so that step × difference stays inside 63 bits.
        widths = np.array([b - a for a, b in itertools.pairwise([*starts, 1 << 64])], dtype=np.uint64)
        octets = np.array([knot.octets for knot in self.knots], dtype=np.int64)
        steps = np.maximum(widths >> np.uint64(24), np.uint64(1))
        return octets, np.array(starts, dtype=np.uint64), steps


def between_quantiles(quantiles: Iterable[tuple[str, int]]) -> list[Knot]:
    """Cut the way between published quantiles (percent as text, octets) into log-linear steps."""
    points = [(Decimal(percent) * 10_000, Decimal(octets)) for percent, octets in quantiles]
    knots = [Knot(points[0][0], int(points[0][1]))]
    for (chance, octets), (next_chance, next_octets) in itertools.pairwise(points):
        growth = EXACT.ln(EXACT.divide(next_octets, octets))
        for step in range(1, STEPS + 1):
            share = EXACT.divide(Decimal(step), Decimal(STEPS))
            value = EXACT.multiply(octets, EXACT.exp(EXACT.multiply(growth, share)))
            knots.append(Knot(chance + (next_chance - chance) * share, round(value)))
    return knots


def pareto_tail(start: Knot, cap: int, alpha: str = PARETO_ALPHA) -> list[Knot]:
    """Continue a table above `start` with a Pareto tail; what would be above `cap` is `cap`.

    The chance to be above x falls as (start / x) ** alpha; knots rise evenly in ln x.
    """
    rest = MILLION - start.chance
    growth = EXACT.ln(EXACT.divide(Decimal(cap), Decimal(start.octets)))
    knots = []
    for step in range(1, TAIL_STEPS + 1):
        way = EXACT.multiply(growth, EXACT.divide(Decimal(step), Decimal(TAIL_STEPS)))
        above = EXACT.multiply(rest, EXACT.exp(EXACT.multiply(-way, Decimal(alpha))))
        knots.append(Knot(MILLION - above, round(EXACT.multiply(Decimal(start.octets), EXACT.exp(way)))))
    return [*knots, Knot(Decimal(MILLION), cap)]


def with_tail(name: str, quantiles: Sequence[tuple[str, int]], cap: int) -> QuantileTable:
    """Make a table from published quantiles up to the last, and a Pareto tail above it up to `cap`."""
    knots = between_quantiles(quantiles)
    return QuantileTable(name, (*knots, *pareto_tail(knots[-1], cap)))


_PARTS = 16  # of one, so that a count is rounded and not cut


def counts(name: str, quantiles: Sequence[tuple[str, int]]) -> QuantileTable:
    """Make a table of small numbers from quantiles up to 100; draw from it with `draw_counts`."""
    return QuantileTable(name, tuple(between_quantiles([(percent, count * _PARTS) for percent, count in quantiles])))


def draw_counts(table: QuantileTable, raw: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Map uniform 64-bit draws to numbers of a table of `counts`."""
    return (table.draw(raw) + _PARTS // 2) // _PARTS


def lognormal(name: str, median: int, sigma: Decimal, least: int, cap: int) -> QuantileTable:
    """Make a log-normal table up to p99 and a Pareto tail above; nothing below `least` or above `cap`."""
    quantiles: list[tuple[str, int]] = []
    for percent in LOGNORMAL_PERCENT:
        value = round(EXACT.multiply(Decimal(median), EXACT.exp(EXACT.multiply(sigma, _normal(percent)))))
        quantiles.append((percent, min(max(value, least), cap)))
    knots = between_quantiles([("0", quantiles[0][1]), *quantiles])
    if knots[-1].octets >= cap:
        return QuantileTable(name, (*knots, Knot(Decimal(MILLION), cap)))
    return QuantileTable(name, (*knots, *pareto_tail(knots[-1], cap)))


LOGNORMAL_PERCENT = (
    "0.1",
    "0.5",
    "1",
    "2",
    "5",
    "10",
    "20",
    "30",
    "40",
    "50",
    "60",
    "70",
    "80",
    "90",
    "95",
    "98",
    "99",
)


def _normal(percent: str) -> Decimal:
    from statistics import NormalDist

    # Rounded far above the last bits in which two machines' floating point may differ.
    return Decimal(f"{NormalDist().inv_cdf(float(percent) / 100):.10f}")

"""A rate over time, its integral, and the way back from a number of arrivals to a time.

Takes     messages per second; stages, each going in a straight line to its rate within its duration (k6's stages,
          grafana.com/docs/k6, "ramping-arrival-rate"), or jumping there when it has none
Gives     `integral(ns)` = arrivals expected before a time; `due_ns(positions)` = its inverse
Not here  where arrivals lie (positions)
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trafficgen.clock import NS_PER_S
from trafficgen.plan import Stage

MAX_DENOMINATOR: Final = 10**6
"""Rates are taken as fractions with denominators up to this, so that 100 a minute is exactly 5/3 per second."""

_INT64_ROOM: Final = 2**62
_END_NS: Final = 2**63 - 1


class ConstantRate:
    """The same rate from the first second on, without an end."""

    def __init__(self, rate_per_s: float) -> None:
        self._interval_ns = NS_PER_S / as_fraction(rate_per_s)

    def due_ns_of_numbers(self, first: int, last: int, step: int = 1) -> NDArray[np.int64]:
        """Every `step`-th arrival k of `first` … `last`-1 at exactly k / rate, rounded down to a nanosecond.

        Integers, so hours do not add up errors. At most 2^63 - 1, which is 292 years.
        """
        up, down = self._interval_ns.numerator, self._interval_ns.denominator
        whole, rest = divmod(first * up, down)
        if (last - first) * up + rest < _INT64_ROOM and whole < _INT64_ROOM:
            steps = np.arange(0, last - first, step, dtype=np.int64)
            return (steps * up + rest) // down + whole
        return np.array([min(number * up // down, _END_NS) for number in range(first, last, step)], dtype=np.int64)

    def due_ns(self, positions: NDArray[np.float64]) -> NDArray[np.int64]:
        """Times at which the integral reaches `positions`."""
        return (positions * float(self._interval_ns)).astype(np.int64)

    def integral(self, ns: int) -> float:
        """Arrivals expected before `ns`."""
        return float(ns / self._interval_ns)


class Ramps:
    """Straight lines between rates; after the last one no arrival exists."""

    def __init__(self, start_per_s: float, stages: Sequence[Stage]) -> None:
        starts = (start_per_s, *(stage.rate_per_s for stage in stages))
        # A stage without a duration is a jump: it is only where the next one starts from.
        lines = [(start, stage) for start, stage in zip(starts, stages, strict=False) if stage.duration_ns]
        seconds = np.array([stage.duration_ns / NS_PER_S for _, stage in lines])
        self._from = np.array([start for start, _ in lines])
        self._targets = np.array([stage.rate_per_s for _, stage in lines])
        self._slopes = (self._targets - self._from) / seconds
        self._starts_s = np.concatenate(([0.0], np.cumsum(seconds)))
        self._reached = np.concatenate(([0.0], np.cumsum((self._from + self._targets) / 2 * seconds)))
        self._end_ns = sum(stage.duration_ns for stage in stages)

    def due_ns(self, positions: NDArray[np.float64]) -> NDArray[np.int64]:
        """Times at which the integral reaches `positions`; positions at or after its end are left out."""
        inside = positions[positions < self._reached[-1]]
        # "right": where the rate is zero the integral stands still, and the arrival comes when it moves again.
        stage = np.searchsorted(self._reached, inside, side="right") - 1
        rest, rate, slope = inside - self._reached[stage], self._from[stage], self._slopes[stage]
        # rest = rate·t + slope·t²/2, solved in the form that loses no digits when the slope is small.
        root = np.sqrt(np.maximum(rate * rate + 2 * slope * rest, 0.0))
        # Only the first instant of a ramp from zero makes the divisor zero, and there the rest is zero as well.
        seconds = 2 * rest / np.where(rate + root > 0.0, rate + root, 1.0)
        due: NDArray[np.int64] = np.rint((self._starts_s[stage] + seconds) * NS_PER_S).astype(np.int64)
        due[due >= self._end_ns] = self._end_ns - 1  # rounding must not push an arrival out of the run
        return due

    def integral(self, ns: int) -> float:
        """Arrivals expected before `ns`."""
        stage = int(np.searchsorted(self._starts_s, ns / NS_PER_S, side="right")) - 1
        if stage >= len(self._slopes):
            return float(self._reached[-1])
        seconds = ns / NS_PER_S - self._starts_s[stage]
        return float(self._reached[stage] + (self._from[stage] + self._slopes[stage] * seconds / 2) * seconds)


def as_fraction(rate_per_s: float) -> Fraction:
    """The simple fraction that was meant by a rate: 1.6666666666666667 is 5/3."""
    exact = Fraction(rate_per_s)
    if exact >= 1:
        return exact.limit_denominator(MAX_DENOMINATOR)
    return 1 / (1 / exact).limit_denominator(MAX_DENOMINATOR)

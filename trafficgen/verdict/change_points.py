"""Where a series of numbers changed, whatever their distribution and however many changes there are.

Takes     numbers in their order
Gives     the positions at which a new level begins; for each stretch between them its mean with an interval
Method    E-divisive (Matteson and James, JASA 109, 2014, doi 10.1080/01621459.2013.849605): the split with the largest
          energy distance between both sides, as long as fewer than one in twenty random orders has one as large
Costs     for n numbers 200 times n of memory, and 200 times n log n of time for each change found
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trafficgen.verdict.signed_rank import RankInterval
from trafficgen.verdict.student import t_interval

LEAST: Final = 5
"""Numbers on each side of a change; fewer are an outlier."""

_ORDERS: Final = 199
_LEVEL: Final = 0.05
MOST: Final = 2_000
"""Numbers in a series: each change that is found costs as much again, and there may be one in every five."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """From `first` to `last`, both included: nothing changed. `interval`: of the mean, 95 %."""

    first: int
    last: int
    mean: float
    interval: RankInterval

    @property
    def count(self) -> int:
        """How many numbers."""
        return self.last - self.first + 1


def stretches(values: Sequence[float]) -> list[Stretch]:
    """The series cut where it changed."""
    edges = [0, *change_points(values), len(values)]
    return [
        Stretch(first, end - 1, fmean(values[first:end]), t_interval(values[first:end], _LEVEL))
        for first, end in pairwise(edges)
        if end > first
    ]


def change_points(values: Sequence[float], seed: int = 20140101) -> list[int]:
    """Positions at which a new level begins, ascending. ValueError for a series that is too long or not finite."""
    if len(values) > MOST or not all(map(math.isfinite, values)):
        raise ValueError(f"expected at most {MOST:,} finite numbers, got {len(values):,}")
    rng = np.random.default_rng(seed)
    series = np.array(values, float)
    found: list[int] = []
    while True:
        parts = [series[first:end] for first, end in _parts(found, series.size)]
        splits = [_best_split(part) for part in parts]
        best = max(range(len(parts)), key=lambda index: splits[index][0])
        largest, at = splits[best]
        if largest <= 0:
            return found
        orders = [[rng.permutation(part) for part in parts] for _ in range(_ORDERS)]
        most = np.max([_best_splits(np.array(one))[0] for one in zip(*orders, strict=True)], axis=0)
        as_large = int(np.count_nonzero(most >= largest))
        if (as_large + 1) / (_ORDERS + 1) > _LEVEL:
            return found
        found = sorted([*found, _parts(found, series.size)[best][0] + at])


def _parts(found: Sequence[int], size: int) -> list[tuple[int, int]]:
    edges = [0, *found, size]
    return list(pairwise(edges))


def _best_split(series: NDArray[np.float64]) -> tuple[float, int]:
    """The largest energy distance between both sides of a split, scaled by their sizes, and where; (0, 0) for none."""
    largest, at = _best_splits(series[None, :])
    return float(largest[0]), int(at[0])


def _best_splits(orders: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The same for each row."""
    rows, size = orders.shape
    if size < 2 * LEAST:
        return np.zeros(rows), np.zeros(rows, np.int64)
    orders = orders - np.median(orders, axis=1, keepdims=True)  # sums stay small, and whole numbers exact
    left = np.arange(LEAST, size - LEAST + 1)
    right = size - left
    to_all = _to_all(orders).cumsum(1)
    within_left = 2 * _to_earlier(orders).cumsum(1)[:, left - 1]
    across = to_all[:, left - 1] - within_left
    within_right = to_all[:, -1:] - 2 * across - within_left
    distance = 2 * across / (left * right) - within_left / (left * (left - 1)) - within_right / (right * (right - 1))
    scaled = distance * left * right / size
    at = np.argmax(scaled, axis=1)
    return scaled[np.arange(rows), at], left[at]


def _to_all(orders: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each number the sum of its distances to all others in its row."""
    ranks = np.argsort(orders, axis=1)
    ascending = np.take_along_axis(orders, ranks, 1)
    below = ascending.cumsum(1)
    size = orders.shape[1]
    sums = ascending * (2 * np.arange(1, size + 1) - size) + below[:, -1:] - 2 * below
    found = np.empty_like(orders)
    np.put_along_axis(found, ranks, sums, 1)
    return found


def _to_earlier(orders: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each number the sum of its distances to those before it in its row.

    A merge sort backwards: numbers stand by value; of a block, those of the earlier half are summed up for those of the
    later one, which need only know how many of them are below, and their sum. Then the halves part. n log n, where all
    distances squared took sixteen times as long for 2,000 numbers (CPU time, three changes, 27 Nov 2026, 2 cores).
    """
    rows, size = orders.shape
    width = 1 << (size - 1).bit_length()
    padded = np.zeros((rows, width))  # what is added comes last, so that nobody's sum has it
    padded[:, :size] = orders
    places = np.argsort(padded, axis=1)
    values = np.take_along_axis(padded, places, 1)
    sums = np.zeros_like(values)
    half = width // 2
    while half:
        places, values, sums = (one.reshape(rows, -1, 2 * half) for one in (places, values, sums))
        early = places & half == 0
        count, below = early.cumsum(2), (early * values).cumsum(2)
        sums = sums + ~early * (values * (2 * count - half) + below[:, :, -1:] - 2 * below)
        places, values, sums = (
            np.concatenate([one[which].reshape(rows, -1, half) for which in (early, ~early)], axis=2)
            for one in (places, values, sums)
        )
        half //= 2
    return sums.reshape(rows, width)[:, :size]

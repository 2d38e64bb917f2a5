"""Message numbers, in the blocks their random draws come in.

Gives     `spans`: any range of messages, or every so many of one, cut where a block of draws ends and the next begins
Not here  the draws themselves (envelopes, contents)

All that is random about message n is drawn from streams keyed by (seed, what it is, n // GRID): it depends on no
worker, on no range asked for and on no other message.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trafficgen.workload.columns import Digits, Text, decimal

GRID: Final = 1024
"""Messages per block of the random streams; changing it changes every message.

What a block's messages have in common is worked out when the first of them is asked for. That takes about 1 ms, so that
a sender which asks for a few messages at a time never waits longer (benchmarks/workload.py).
"""

NUMBER: Final = Digits("number", 12)
"""A message's number in a layout; the column is what `digits` gives."""


class Span(NamedTuple):
    """Every `step`-th of the messages `low` … `high`-1 of grid block `grid`."""

    grid: int
    low: int
    high: int
    step: int = 1

    @property
    def part(self) -> slice:
        """Where the messages lie in what is known of the grid block."""
        return slice(self.low, self.high, self.step)

    @property
    def numbers(self) -> range:
        """The messages' numbers within the run."""
        return range(self.grid * GRID + self.low, self.grid * GRID + self.high, self.step)


def spans(first: int, last: int, step: int = 1) -> Iterator[Span]:
    """The pieces of every `step`-th message of `first` … `last`-1, in order."""
    while first < last:
        grid, low = divmod(first, GRID)
        span = Span(grid, low, min(GRID, low + last - first), step)
        yield span
        first += len(span.numbers) * step


def numbers(grid: int) -> NDArray[np.int64]:
    """The numbers of a grid block's messages."""
    return np.arange(grid * GRID, (grid + 1) * GRID)


@lru_cache(maxsize=4)
def digits(grid: int) -> Text:
    """The same, as twelve digits each."""
    return decimal(numbers(grid), NUMBER.width)

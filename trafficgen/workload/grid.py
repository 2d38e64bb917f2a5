"""Message numbers, in the blocks their random draws come in.

Gives     `spans`: any range of messages, cut where one block of draws ends and the next begins
Not here  the draws themselves (envelopes, contents)

All that is random about message n is drawn from streams keyed by (seed, what it is, n // GRID): it depends on no
worker, on no range asked for and on no other message.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from trafficgen.workload.columns import decimal

GRID: Final = 1024
"""Messages per block of the random streams; changing it changes every message.

What a block's messages have in common is worked out when the first of them is asked for. That takes about 1 ms, so that
a sender which asks for a few messages at a time never waits longer (benchmarks/workload.py).
"""


class Span(NamedTuple):
    """Messages `low` … `high`-1 of grid block `grid`."""

    grid: int
    low: int
    high: int

    @property
    def numbers(self) -> range:
        """The messages' numbers within the run."""
        return range(self.grid * GRID + self.low, self.grid * GRID + self.high)


def spans(first: int, last: int) -> Iterator[Span]:
    """The pieces of messages `first` … `last`-1, in order."""
    while first < last:
        grid, low = divmod(first, GRID)
        high = min(GRID, low + last - first)
        yield Span(grid, low, high)
        first += high - low


@lru_cache(maxsize=4)
def digits(grid: int) -> list[bytes]:
    """The numbers of a grid block's messages, 12 digits each."""
    return decimal(np.arange(grid * GRID, (grid + 1) * GRID), 12)

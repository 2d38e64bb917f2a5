"""Message numbers, in the blocks their random draws come in.

Gives     `spans`: any range of messages, cut where one block of draws ends and the next begins
Not here  the draws themselves (envelopes, contents)

All that is random about message n is drawn from streams keyed by (seed, what it is, n // GRID): it depends on no
worker, on no range asked for and on no other message.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple, Self

import numpy as np

from trafficgen.workload.columns import decimal

GRID: Final = 4096
"""Messages per block of the random streams; changing it changes every message."""


class Span(NamedTuple):
    """Messages `low` … `high`-1 of grid block `grid`; `digits` are their numbers, 12 digits each."""

    grid: int
    low: int
    high: int
    digits: list[bytes]

    @property
    def numbers(self) -> range:
        """The messages' numbers within the run."""
        return range(self.grid * GRID + self.low, self.grid * GRID + self.high)

    @property
    def part(self) -> slice:
        """Where the span lies in the columns of its grid block."""
        return slice(self.low, self.high)

    @classmethod
    def of(cls, grid: int, low: int, high: int) -> Self:
        """The span with its digits."""
        return cls(grid, low, high, decimal(np.arange(grid * GRID + low, grid * GRID + high), 12))


def spans(first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """(grid, low, high) of the pieces of messages `first` … `last`-1, in order."""
    while first < last:
        grid, low = divmod(first, GRID)
        high = min(GRID, low + last - first)
        yield grid, low, high
        first += high - low

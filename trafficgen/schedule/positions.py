"""Where arrivals lie on the axis of expected arrivals.

Gives     positions of arrivals first … last-1: 0, 1, 2 … when even; sums of Exp(1) gaps when Poisson
Limits    a Poisson position costs a walk over all blocks before it, once per process: about 12 ns an arrival
Not here  what a position is in time (rates)
"""

from bisect import bisect_right
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mboxgen import streams

BLOCK: Final = 4096
"""Arrivals per block of the random stream; changing it changes every Poisson schedule."""

_TO_UNIT: Final = 2.0**-53


class EvenPositions:
    """Arrival k at position k: the first one at once, no two together."""

    def between(self, first: int, last: int) -> NDArray[np.float64]:
        """Positions of arrivals `first` … `last`-1."""
        return np.arange(first, last, dtype=np.float64)

    def count_below(self, position: float) -> int:
        """How many arrivals lie below `position`."""
        return max(0, int(np.ceil(position)))


class PoissonPositions:
    """Independent gaps with mean 1, as many users who do not know of each other make them."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._starts = [0.0]  # position where block b begins: the sum of all gaps before it

    def between(self, first: int, last: int) -> NDArray[np.float64]:
        """Positions of arrivals `first` … `last`-1."""
        if first >= last:
            return np.empty(0)
        blocks = range(first // BLOCK, (last - 1) // BLOCK + 1)
        positions = np.concatenate([self._block(block) for block in blocks])
        return positions[first - blocks[0] * BLOCK : last - blocks[0] * BLOCK]

    def count_below(self, position: float) -> int:
        """How many arrivals lie below `position`."""
        while self._starts[-1] < position:
            self._block(len(self._starts) - 1)
        block = max(0, bisect_right(self._starts, position) - 1)
        return block * BLOCK + int(np.searchsorted(self._block(block), position, side="left"))

    def _block(self, block: int) -> NDArray[np.float64]:
        """Positions of one block. Its start is known, or found by summing the blocks before it once."""
        while len(self._starts) <= block:
            self._block(len(self._starts) - 1)
        positions = np.cumsum(self._gaps(block))
        positions += self._starts[block]
        if len(self._starts) == block + 1:
            self._starts.append(float(positions[-1]))
        return positions

    def _gaps(self, block: int) -> NDArray[np.float64]:
        raw = streams.raw(self._seed, "schedule/gaps", block, BLOCK)
        # (0, 1]: the logarithm of zero never comes up. 53 bits are what a double can tell apart.
        uniform = ((raw >> np.uint64(11)) + np.uint64(1)).astype(np.float64) * _TO_UNIT
        gaps: NDArray[np.float64] = -np.log(uniform)
        return gaps

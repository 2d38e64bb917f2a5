"""All pools of a corpus side by side, and the runs of a block of messages cut out of them at once.

Takes     the kinds of pools that a corpus uses; kinds and octets of runs
Gives     every run as slices of whole lines, each with one filling line; checksums and 8-bit octets without reading
Refuses   a run of one octet: it could not end in CRLF
Not here  what is in a pool (parts), which part of a message uses which kind (mime)

The checksum of everything before each line is known beforehand, so that of a slice costs two look-ups, whatever its
size. One search serves the runs of all kinds, since their lines stand in one array.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from mboxgen import checksums, streams
from mboxgen.text import pools
from mboxgen.text.parts import Pools

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # spreads the numbers of copies over all lines


@dataclass(frozen=True, slots=True)
class Cut:
    """Runs as parts in order: part n belongs to run runs[n], is slices[n] and then fills[n]."""

    runs: NDArray[np.int64]
    slices: list[memoryview]
    slice_octets: NDArray[np.int64]
    slice_crcs: NDArray[np.uint32]
    fills: list[bytes]
    fill_octets: NDArray[np.int64]
    fill_crcs: NDArray[np.uint32]
    eight_bit: NDArray[np.bool_]


class PoolSet:
    """The pools of some kinds; `numbers` gives each kind's place."""

    def __init__(self, seed: int, locales: str, kinds: tuple[str, ...]) -> None:
        source = Pools(seed, locales)
        built = [source.of(kind) for kind in kinds]
        self.numbers = {kind: number for number, kind in enumerate(kinds)}
        octets = b"".join(pool.octets for pool in built)
        begins = np.cumsum([0] + [len(pool.octets) for pool in built])
        self._ends = np.concatenate([pool.ends + begin for pool, begin in zip(built, begins, strict=False)])
        self._starts = np.append(0, self._ends)
        self._crcs = checksums.prefixes(octets, self._ends)
        high = np.frombuffer(octets, dtype=np.int8) < 0
        self._high = np.append(0, np.cumsum(np.add.reduceat(high, self._starts[:-1], dtype=np.int64)))
        self._octets = octets
        self._first = np.cumsum([0] + [len(pool.ends) for pool in built])
        self._lines = np.array([pool.first_lines for pool in built])
        self._longest = np.array([pool.run_octets for pool in built])
        self._fills = [fill for pool in built for fill in pool.fills]
        self._fill_crcs = checksums.each(self._fills)

    def cut(
        self, kinds: NDArray[np.int64], octets: NDArray[np.int64], copies: NDArray[np.int64], raw: NDArray[np.uint64]
    ) -> Cut:
        """Place runs of exactly `octets` (0, or 2 and more) where `raw` says; a copy above 0 has a place of its own."""
        if bool((octets == 1).any()):
            raise ValueError("a run has 0, or 2 octets and more; got one of 1")
        runs, octets = self._divided(kinds, octets)
        kinds = kinds[runs]
        raw = np.where(copies[runs] > 0, copies[runs].astype(np.uint64) * _GOLDEN, raw[runs])
        # The parts of one long run begin at different lines.
        raw += (np.arange(len(runs)) - np.searchsorted(runs, runs)).astype(np.uint64) * (_GOLDEN << np.uint64(1))
        first = self._first[kinds] + streams.below_each(raw, self._lines[kinds])
        begins = self._starts[first]
        last = np.searchsorted(self._ends, begins + octets, side="right")  # how many lines end before or inside
        # One octet left over cannot be a line: give the last whole line back to the filling.
        last -= begins + octets - self._starts[last] == 1
        ends = self._starts[last]
        view = memoryview(self._octets)
        slice_octets, fill_octets = ends - begins, begins + octets - ends
        fills = kinds * pools.MAX_FILL + fill_octets
        return Cut(
            runs,
            [view[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)],
            slice_octets,
            self._crcs[last] ^ checksums.shift(self._crcs[first], slice_octets),
            list(map(self._fills.__getitem__, fills.tolist())),
            fill_octets,
            self._fill_crcs[fills],
            self._high[last] > self._high[first],
        )

    def _divided(
        self, kinds: NDArray[np.int64], octets: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Divide runs into parts that their pools can give: which run each belongs to, and its octets."""
        longest = self._longest[kinds]
        counts = np.maximum(-(-octets // longest), 1)
        runs = np.repeat(np.arange(len(octets)), counts)
        parts = longest[runs]
        ends = np.cumsum(counts)
        rest = octets - longest * (counts - 1)
        parts[ends - 1] = rest
        alone = ends[rest == 1] - 1  # never the first part of a run: none has one octet
        parts[alone] += 2
        parts[alone - 1] -= 2
        return runs, parts


@lru_cache(maxsize=4)
def pool_set_of(seed: int, locales: str, kinds: tuple[str, ...]) -> PoolSet:
    """Give the pool set of these kinds; the same one again while it is cached."""
    return PoolSet(seed, locales, kinds)

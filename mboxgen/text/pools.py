"""Pools of ready lines, and how an exact number of octets is cut out of one.

Takes     lines of at most 76 octets each, built once per seed
Gives     runs: an exact number of octets, as a slice of whole lines and one filling line
Refuses   a run of less than two octets: it could not end in CRLF
Not here  what the lines say (prose), runs of many messages at once (pool_set), which part uses which pool (mime)

A body made this way costs a lookup and a copy, not a step per line. Here runs are cut one by one; a block of messages
has all of its own cut at once (pool_set).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LINE_OCTETS = 76  # RFC 2045 section 6.7 and RFC 5322 section 2.1.1 both allow this, without the CRLF
MAX_FILL = 2 * (LINE_OCTETS + 2)


@dataclass(frozen=True)
class Pool:
    """Lines that end in CRLF, as one bytes object.

    ends     where each line ends; the last is len(octets)
    fills    fills[n] is n octets of whole lines, for 2 <= n < MAX_FILL
    """

    octets: bytes
    ends: NDArray[np.int64]
    fills: tuple[bytes, ...]

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each line starts."""
        return np.concatenate((np.zeros(1, dtype=np.int64), self.ends[:-1]))

    @cached_property
    def ends_list(self) -> list[int]:
        """The same as `ends`, quicker for one look-up."""
        return list(map(int, self.ends))

    @property
    def run_octets(self) -> int:
        """The longest run; what is longer is made of several."""
        return len(self.octets) // 4

    @cached_property
    def first_lines(self) -> int:
        """How many of the lines a run may start with, so that the longest still fits."""
        return int(np.searchsorted(self.ends, len(self.octets) - self.run_octets))

    @cached_property
    def view(self) -> memoryview:
        """The octets, to be sliced without a copy."""
        return memoryview(self.octets)


def cut_one(pool: Pool, octets: int, first: int) -> tuple[int, int, int]:
    """Place one run at line `first`: where its slice begins and ends, and which filling follows."""
    begin = pool.ends_list[first - 1] if first else 0
    last = bisect_right(pool.ends_list, begin + octets, first)
    end = pool.ends_list[last - 1] if last > first else begin
    if begin + octets - end == 1:
        end = pool.ends_list[last - 2] if last > first + 1 else begin
    return begin, end, begin + octets - end


def run_lengths(pool: Pool, octets: int) -> list[int]:
    """Divide any number of octets but 1 into runs that the pool can give."""
    if octets <= pool.run_octets:
        return [octets]
    whole, rest = divmod(octets, pool.run_octets)
    lengths = [pool.run_octets] * whole
    if rest == 1:
        lengths[-1] -= 2
        rest = 3
    return [*lengths, rest] if rest else lengths


def build(lines: Sequence[bytes], fills: tuple[bytes, ...]) -> Pool:
    """Make a pool of lines given without their CRLF."""
    lengths = np.fromiter(map(len, lines), dtype=np.int64, count=len(lines)) + 2
    return Pool(b"\r\n".join(lines) + b"\r\n", np.cumsum(lengths), fills)

"""Pools of ready lines.

Takes     lines of at most 76 octets each, built once per seed
Gives     their octets, where each ends, and a filling line of every length, so that any number of octets can be had as
          a slice of whole lines and one filling line
Not here  what the lines say (prose), cutting runs (pool_set), which part uses which pool (mime)

A body made this way costs a look-up and a copy, not a step per line.
"""

from __future__ import annotations

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

    @property
    def run_octets(self) -> int:
        """The longest run; what is longer is made of several."""
        return len(self.octets) // 4

    @cached_property
    def first_lines(self) -> int:
        """How many of the lines a run may start with, so that the longest still fits."""
        return int(np.searchsorted(self.ends, len(self.octets) - self.run_octets))


def build(lines: Sequence[bytes], fills: tuple[bytes, ...]) -> Pool:
    """Make a pool of lines given without their CRLF."""
    lengths = np.fromiter(map(len, lines), dtype=np.int64, count=len(lines)) + 2
    return Pool(b"\r\n".join(lines) + b"\r\n", np.cumsum(lengths), fills)

"""A block of messages being put together.

Takes     fixed octets and runs, in order, message by message
Gives     every message's pieces, lengths and checksums; the runs of the block are cut all at once
Not here  what the pieces say (mime, headers), where they are written (writer)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mboxgen import checksums, pools, streams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mboxgen.parts import Pools


_TOGETHER = 24  # pieces added for all messages at once; the few messages with more are summed each on its own


@dataclass(frozen=True, slots=True)
class Finished:
    """Messages as pieces: message n is pieces[starts[n]:starts[n + 1]], its header the first of them."""

    pieces: list[bytes | memoryview]
    starts: NDArray[np.int64]
    header_lengths: NDArray[np.int64]
    lengths: NDArray[np.int64]
    crcs: NDArray[np.uint32]
    body_crcs: NDArray[np.uint32]


class Draft:
    """Collects one block; `finish` once, at its end."""

    def __init__(self, pools_of_kinds: Pools) -> None:
        self._pools = pools_of_kinds
        self._pieces: list[bytes | memoryview] = []
        self._starts: list[int] = []
        self._runs: dict[str, list[tuple[int, int, int]]] = {}

    def begin(self, header: bytes) -> None:
        """Begin a message with its header, blank line included."""
        self._starts.append(len(self._pieces))
        self._pieces.append(header)

    def fixed(self, octets: bytes) -> None:
        """Append octets as they are."""
        self._pieces.append(octets)

    def run(self, kind: str, octets: int, copy: int = 0) -> None:
        """Append a run of a pool; runs with the same `copy` above 0 and length are the same octets."""
        runs = self._runs.setdefault(kind, [])
        for length in pools.run_lengths(self._pools.of(kind), octets):
            runs.append((len(self._pieces), length, copy))
            self._pieces += (b"", b"")

    def finish(self, seed: int, block: int) -> Finished:
        """Cut all runs and sum up every message."""
        pieces = self._pieces
        crcs = checksums.each(pieces)
        lengths = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
        for kind, runs in self._runs.items():
            self._cut(kind, runs, crcs, lengths, streams.raw(seed, f"runs {kind}", block, len(runs)))
        starts = np.array([*self._starts, len(pieces)], dtype=np.int64)
        first = starts[:-1]
        # Empty pieces, and fillings already counted with their runs, would each cost a step for the whole block.
        full = lengths > 0
        kept = np.zeros(len(pieces) + 1, dtype=np.int64)
        np.cumsum(full, out=kept[1:])
        body_crcs = _folded(crcs[full], lengths[full], kept[first + 1], kept[starts[1:]])
        whole = np.add.reduceat(lengths, first)
        header_lengths = lengths[first]
        whole_crcs = checksums.shift(crcs[first], whole - header_lengths) ^ body_crcs
        return Finished(pieces, starts, header_lengths, whole, whole_crcs, body_crcs)

    def _cut(
        self,
        kind: str,
        runs: list[tuple[int, int, int]],
        crcs: NDArray[np.uint32],
        lengths: NDArray[np.int64],
        raw: NDArray[np.uint64],
    ) -> None:
        pool = self._pools.of(kind)
        positions, octets, copies = np.array(runs, dtype=np.int64).T
        again = copies > 0
        raw[again] = copies[again].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        cut = pools.cut(pool, octets, raw)
        crcs[positions] = checksums.shift(cut.slice_crcs, cut.tails) ^ cut.tail_crcs
        lengths[positions] = octets  # of slice and filling together; the filling's own place keeps 0
        view, fills, pieces = pool.view, pool.fills, self._pieces
        places = (positions.tolist(), cut.begins.tolist(), cut.ends.tolist(), cut.tails.tolist())
        for position, begin, end, tail in zip(*places, strict=True):
            pieces[position] = view[begin:end]
            pieces[position + 1] = fills[tail]


def _folded(
    crcs: NDArray[np.uint32], lengths: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.uint32]:
    """Give the checksum of pieces[start:end] joined, for every pair."""
    folded = np.zeros(len(starts), dtype=np.uint32)
    counts = ends - starts
    for step in range(min(int(counts.max(initial=0)), _TOGETHER)):
        going = counts > step
        piece = starts[going] + step
        folded[going] = checksums.shift(folded[going], lengths[piece]) ^ crcs[piece]
    for at in np.flatnonzero(counts > _TOGETHER).tolist():
        pieces = slice(int(starts[at]), int(ends[at]))
        folded[at] = checksums.fold(crcs[pieces], lengths[pieces])
    return folded

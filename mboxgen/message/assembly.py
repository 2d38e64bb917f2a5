"""A block of messages being put together, column by column.

Takes     for groups of messages alike: columns of ready octets, and of runs still to be cut
Gives     the pieces of the block in the order of the file, with lengths and checksums of every message
Not here  what the pieces say (mime, headers), where they are written (writer)

All runs of the block are cut at once, then all pieces are put in order by one sort: a message is a few numbers in
arrays and never an object of its own (benchmarks/results/2026-11-21-corpus.md has what that gained).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from zlib_ng.zlib_ng import crc32

from mboxgen import checksums, streams
from mboxgen.columns import TextTable, lengths

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from mboxgen.columns import TextColumn
    from mboxgen.text.pool_set import PoolSet

_BLANK_CRC = np.uint32(crc32(b"\r\n"))
_COLUMNS = 64
_PARTS = 1 << 20  # more than a run can have: 2 GiB in pieces of 64 KiB


@dataclass(frozen=True, slots=True)
class AssembledBlock:
    """A block as pieces: message n is pieces[starts[n]:starts[n + 1]], first its From_ line, last the blank line.

    lengths, header_lengths, crcs and body_crcs are those of the message between the two.
    """

    pieces: list[bytes | memoryview]
    piece_ends: NDArray[np.int64]
    starts: NDArray[np.int64]
    from_lengths: NDArray[np.int64]
    header_lengths: NDArray[np.int64]
    lengths: NDArray[np.int64]
    crcs: NDArray[np.uint32]
    body_crcs: NDArray[np.uint32]
    from_crcs: NDArray[np.uint32]
    eight_bit: NDArray[np.bool_]

    def crc32(self) -> int:
        """Give the checksum of the whole block, out of those of its messages."""
        framed = np.column_stack((self.from_crcs, self.crcs, np.full(len(self.crcs), _BLANK_CRC))).ravel()
        ends = np.cumsum(np.column_stack((self.from_lengths, self.lengths, np.full(len(self.crcs), 2))).ravel())
        messages = checksums.joined(framed, ends, np.arange(0, len(framed), 3))
        return int(checksums.joined(messages, ends[2::3], np.zeros(1, dtype=np.int64))[0])


class BlockAssembly:
    """Collects one block; `group` before the columns of every group, `finish` once."""

    def __init__(self, pool_set: PoolSet, from_lines: TextColumn, headers: TextColumn) -> None:
        self.pool_set = pool_set
        self._messages = len(headers.texts)
        self._pieces: list[bytes | memoryview] = []
        self._octets: list[NDArray[np.int64]] = []
        self._crcs: list[NDArray[np.uint32]] = []
        self._places: list[NDArray[np.int64]] = []
        self._runs: list[tuple[NDArray[np.int64], ...]] = []
        everyone = np.arange(self._messages)
        self.group(everyone, 0)
        self.fixed(*from_lines)
        self.fixed(*headers)
        self.group(everyone, _COLUMNS - 1)
        self.same(b"\r\n")

    def group(self, at: NDArray[np.int64], column: int = 2) -> None:
        """Let the columns that follow be those of the messages `at`; each message belongs to one group."""
        self._at, self._column = at, column

    def fixed(self, texts: Sequence[bytes], octets: NDArray[np.int64] | None = None) -> None:
        """Append texts as they are, to each message its own; their octets are counted unless known."""
        self._put(texts, lengths(texts) if octets is None else octets, checksums.each(texts))

    def picked(self, table: TextTable, numbers: NDArray[np.int64]) -> None:
        """Append texts of a table, to each message the one with its number."""
        octets = table.octets[numbers]
        if octets.any():
            self._put(table.pick(numbers), octets, table.crcs[numbers])

    def same(self, text: bytes) -> None:
        """Append the same text to every message."""
        self.picked(TextTable([text]), np.zeros(len(self._at), dtype=np.int64))

    def _put(self, texts: Iterable[bytes], octets: NDArray[np.int64], crcs: NDArray[np.uint32]) -> None:
        self._pieces += texts
        self._octets.append(octets)
        self._crcs.append(crcs)
        self._places.append(self._next())

    def run(self, kinds: NDArray[np.int64], octets: NDArray[np.int64], copies: NDArray[np.int64] | None = None) -> None:
        """Append runs; runs with the same copy above 0, kind and length are the same octets."""
        none = np.zeros(len(octets), dtype=np.int64)
        self._runs.append((self._next(), kinds, octets, none if copies is None else copies))

    def _next(self) -> NDArray[np.int64]:
        self._column += 1
        return (self._at * _COLUMNS + self._column - 1) * _PARTS

    def finish(self, seed: int, block: int) -> AssembledBlock:
        """Cut all runs, put the pieces in order and sum up every message."""
        places, kinds, octets, copies = map(np.concatenate, zip(*self._runs, strict=True))
        cut = self.pool_set.cut(kinds, octets, copies, streams.raw(seed, "runs", block, len(octets)))
        # Parts of one run keep their order: they count up from its place, slice before filling.
        parts = places[cut.runs] + 2 * np.arange(len(cut.runs))
        keys = np.concatenate([*self._places, parts, parts + 1])
        octets = np.concatenate([*self._octets, cut.slice_octets, cut.fill_octets])
        crcs = np.concatenate([*self._crcs, cut.slice_crcs, cut.fill_crcs])
        order = np.flatnonzero(octets)
        order = order[np.argsort(keys[order], kind="stable")]
        pieces = list(map([*self._pieces, *cut.slices, *cut.fills].__getitem__, order.tolist()))
        ends, crcs = np.cumsum(octets[order]), crcs[order]
        owners = keys[order] // (_PARTS * _COLUMNS)
        starts = np.searchsorted(owners, np.arange(self._messages + 1))
        eight_bit = np.zeros(self._messages, dtype=bool)
        eight_bit[places[cut.runs[cut.eight_bit]] // (_PARTS * _COLUMNS)] = True
        return _summed(pieces, ends, crcs, starts, eight_bit)


def _summed(
    pieces: list[bytes | memoryview],
    ends: NDArray[np.int64],
    crcs: NDArray[np.uint32],
    starts: NDArray[np.int64],
    eight_bit: NDArray[np.bool_],
) -> AssembledBlock:
    """Sum up From_ line, header, body and blank line of each message, then the message."""
    first = starts[:-1]
    groups = np.column_stack((first, first + 1, first + 2, starts[1:] - 1))  # every body has a piece
    group_ends = ends[np.append(groups.ravel()[1:], len(ends)) - 1]
    sums = checksums.joined(crcs, ends, groups.ravel())
    octets = np.diff(group_ends, prepend=0).reshape(-1, 4)
    from_crcs, headers, bodies, _ = sums.reshape(-1, 4).T
    whole = checksums.shift(headers, octets[:, 2]) ^ bodies
    whole_octets = octets[:, 1] + octets[:, 2]
    return AssembledBlock(
        pieces, ends, starts, octets[:, 0], octets[:, 1], whole_octets, whole, bodies, from_crcs, eight_bit
    )  # fmt: skip

"""Put blocks of messages on the disk.

Takes     a rendered block, and where in the mbox it belongs or the folder its files go to
Gives     the records of its messages, the octets written and their checksum
Fails     OSError, as the disk said it
Not here  what is in the messages (blocks), order, names and renaming (generate)

Lines that end in LF are a matter of the file only: sizes and checksums always speak of CRLF.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from zlib_ng.zlib_ng import crc32

from mboxgen.flags import Flag
from mboxgen.mbox.index import RECORD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from mboxgen.message.blocks import Rendered

# Joined pieces should still be in the cache when the system copies them. Long ones are handed over unjoined, for what a
# raw write costs; short ones are joined more cheaply than the system gathers them (2026-11-22-corpus.md, results).
CHUNK_OCTETS = 256 << 10
_LONG_PIECE = 1024
_MAX_GATHERED = CHUNK_OCTETS // _LONG_PIECE  # pieces of a chunk; every system takes 1,024 (IOV_MAX)


@dataclass(frozen=True, slots=True)
class PlacedBlock:
    """A block as the file will have it: records with offsets from its own start, and its octets in all."""

    rendered: Rendered
    lf: bool
    records: NDArray[np.void]
    octets: int


@dataclass(frozen=True, slots=True)
class Written:
    """What was written of a block; `missed` as in blocks.Rendered."""

    records: NDArray[np.void]
    octets: int
    crc32: int
    missed: Mapping[str, int]


def lay_out(rendered: Rendered, lf: bool) -> PlacedBlock:
    """Count where every message of a block will lie in an mbox."""
    messages = rendered.messages
    froms, lengths, header_lengths, eol = messages.from_lengths, messages.lengths, messages.header_lengths, 2
    if lf:
        header_eols, eols = _line_ends(rendered)
        froms, header_lengths, lengths, eol = froms - 1, header_lengths - header_eols, lengths - eols, 1
    ends = np.cumsum(froms + lengths + eol)
    records = np.zeros(len(lengths), dtype=RECORD)
    records["offset"] = ends - lengths - eol
    records["length"], records["header_length"] = lengths, header_lengths
    records["crc32"], records["body_crc32"] = messages.crcs, messages.body_crcs
    records["flags"] = rendered.flags | np.uint32(Flag.LF_ONLY if lf else 0)
    records["delivered"] = messages.lengths
    return PlacedBlock(rendered, lf, records, int(ends[-1]))


def write_mbox(block: PlacedBlock, descriptor: int, offset: int) -> Written:
    """Write a block into an mbox at an offset; other processes may write theirs at the same time."""
    messages = block.rendered.messages
    # Of short pieces a chunk is joined and read, cheaply while it is in the cache; of long ones it is not touched.
    joined = block.lf or block.octets < _LONG_PIECE * len(messages.pieces)
    crc, position = 0, offset
    for pieces in _chunks(block, 0, len(messages.pieces)):
        if joined:
            chunk = _joined(pieces, block.lf)
            crc = crc32(chunk, crc)
            position = _write(descriptor, [chunk], position)
        else:
            position = _write(descriptor, pieces, position)
    block.records["offset"] += np.uint64(offset)
    crc = crc if joined else messages.crc32()
    return Written(block.records, block.octets, crc, block.rendered.missed)


def write_files(block: PlacedBlock, folder: Path, first: int, maildir: bool) -> Written:
    """Write every message of a block as a file: NUMBER.eml, or as a new message of a Maildir."""
    octets, starts = 0, block.rendered.messages.starts.tolist()
    for at in range(len(block.records)):
        number, length = first + at, int(block.records[at]["length"])
        delivered, epoch = int(block.records[at]["delivered"]), block.rendered.epochs[at]
        # S and W are Dovecot's and Courier's: size in the file, and with CRLF.
        name = f"{epoch}.M{number}.mboxgen,S={length},W={delivered}" if maildir else f"{number:010d}.eml"
        with (folder / ("new" if maildir else ".") / name).open("wb") as file:
            for pieces in _chunks(block, starts[at] + 1, starts[at + 1] - 1):  # without From_ line and blank line
                file.write(_joined(pieces, block.lf))
        octets += length
    return Written(block.records, octets, 0, block.rendered.missed)


def _write(descriptor: int, pieces: list[bytes | memoryview], position: int) -> int:
    """Write pieces one after the other, however little the system takes at once; give the position after them."""
    if len(pieces) > _MAX_GATHERED:
        pieces = [b"".join(pieces)]
    end = position + sum(map(len, pieces))
    position += os.pwritev(descriptor, pieces, position)
    while position < end:
        position += os.pwrite(descriptor, memoryview(b"".join(pieces))[position - end :], position)
    return position


def _joined(pieces: list[bytes | memoryview], lf: bool) -> bytes:
    """Join pieces, as the file has their line ends; no piece ends between CR and LF."""
    octets = b"".join(pieces)
    return octets.replace(b"\r\n", b"\n") if lf else octets


def _chunks(block: PlacedBlock, first: int, last: int) -> Iterator[list[bytes | memoryview]]:
    """Yield some of the block's pieces, chunk by chunk."""
    pieces, ends = block.rendered.messages.pieces, block.rendered.messages.piece_ends[first:last]
    steps = np.arange(ends[0] + CHUNK_OCTETS, ends[-1], CHUNK_OCTETS)
    cuts = np.concatenate(([0], np.searchsorted(ends, steps), [last - first])) + first
    for begin, end in pairwise(cuts.tolist()):
        if begin < end:
            yield pieces[begin:end]


def _line_ends(rendered: Rendered) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the CRLFs of every header and of every message."""
    messages = rendered.messages
    found = (bytes(piece).count(b"\r\n") for piece in messages.pieces)
    counts = np.fromiter(found, dtype=np.int64, count=len(messages.pieces))
    starts = messages.starts[:-1]
    return counts[starts + 1], np.add.reduceat(counts, starts) - 2  # not those of From_ line and blank line

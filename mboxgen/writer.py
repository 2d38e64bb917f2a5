"""Put blocks of messages on the disk.

Takes     a rendered block, and where in the mbox it belongs or the folder its files go to
Gives     the records of its messages, the octets written and their checksum
Fails     OSError, as the disk said it
Not here  what is in the messages (blocks), order, names and renaming (corpus)

Lines that end in LF are a matter of the file only: sizes and checksums always speak of CRLF.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mboxgen import checksums
from mboxgen.flags import Flag
from mboxgen.index import RECORD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from mboxgen.blocks import Rendered

CHUNK_OCTETS = 4 << 20
_PIECES = 16  # of at most 256 KiB each: a message larger than a chunk is never whole in memory
_EOL_CRC = zlib.crc32(b"\r\n")


@dataclass(frozen=True, slots=True)
class Block:
    """A block as the file will have it: records with offsets from its own start, and its octets in all."""

    rendered: Rendered
    lf: bool
    records: NDArray[np.void]
    octets: int


@dataclass(frozen=True, slots=True)
class Written:
    """What was written of a block."""

    records: NDArray[np.void]
    octets: int
    crc32: int


def lay_out(rendered: Rendered, lf: bool) -> Block:
    """Count where every message of a block will lie in an mbox."""
    messages = rendered.messages
    froms = np.fromiter(map(len, rendered.from_lines), dtype=np.int64, count=len(rendered.from_lines))
    lengths, header_lengths, eol = messages.lengths, messages.header_lengths, 2
    if lf:
        header_eols, eols = _line_ends(rendered)
        lengths, header_lengths, froms, eol = lengths - eols, header_lengths - header_eols, froms - 1, 1
    ends = np.cumsum(froms + lengths + eol)
    records = np.zeros(len(lengths), dtype=RECORD)
    records["offset"] = ends - lengths - eol
    records["length"], records["header_length"] = lengths, header_lengths
    records["crc32"], records["body_crc32"] = messages.crcs, messages.body_crcs
    records["flags"] = rendered.flags | np.uint32(Flag.LF_ONLY if lf else 0)
    records["delivered"] = messages.lengths
    return Block(rendered, lf, records, int(ends[-1]))


def write_mbox(block: Block, descriptor: int, offset: int) -> Written:
    """Write a block into an mbox at an offset; other processes may write theirs at the same time."""
    crc, position = 0, offset
    for chunk in _chunks(block):
        if block.lf:
            crc = zlib.crc32(chunk, crc)
        left = memoryview(chunk)
        while left:
            written = os.pwrite(descriptor, left, position)
            left, position = left[written:], position + written
    block.records["offset"] += np.uint64(offset)
    return Written(block.records, block.octets, crc if block.lf else _file_crc(block.rendered))


def write_files(block: Block, folder: Path, first: int, maildir: bool) -> Written:
    """Write every message of a block as a file: NUMBER.eml, or as a new message of a Maildir."""
    octets = 0
    for at in range(len(block.records)):
        number, length = first + at, int(block.records[at]["length"])
        delivered, epoch = int(block.records[at]["delivered"]), block.rendered.epochs[at]
        # S and W are Dovecot's and Courier's: size in the file, and with CRLF.
        name = f"{epoch}.M{number}.mboxgen,S={length},W={delivered}" if maildir else f"{number:010d}.eml"
        with (folder / ("new" if maildir else ".") / name).open("wb") as file:
            for chunk in _message(block, at):
                file.write(chunk)
        octets += length
    return Written(block.records, octets, 0)


def _chunks(block: Block) -> Iterator[bytes]:
    """Yield the block's octets in pieces of some megabytes."""
    rendered = block.rendered
    pieces, starts = rendered.messages.pieces, rendered.messages.starts.tolist()
    lengths = rendered.messages.lengths.tolist()
    waiting: list[bytes | memoryview] = []
    length = 0
    for at, from_line in enumerate(rendered.from_lines):
        waiting.append(from_line)
        if lengths[at] > CHUNK_OCTETS:
            yield _joined(waiting, block.lf)
            yield from _message(block, at)
            waiting, length = [b"\r\n"], 0
            continue
        waiting += pieces[starts[at] : starts[at + 1]]
        waiting.append(b"\r\n")
        length += lengths[at]
        if length >= CHUNK_OCTETS:
            yield _joined(waiting, block.lf)
            waiting, length = [], 0
    yield _joined(waiting, block.lf)


def _message(block: Block, at: int) -> Iterator[bytes]:
    """Yield one message in groups of pieces; no piece ends between CR and LF."""
    messages = block.rendered.messages
    start, end = int(messages.starts[at]), int(messages.starts[at + 1])
    for first in range(start, end, _PIECES):
        yield _joined(messages.pieces[first : min(first + _PIECES, end)], block.lf)


def _joined(pieces: list[bytes | memoryview], lf: bool) -> bytes:
    octets = b"".join(pieces)
    return octets.replace(b"\r\n", b"\n") if lf else octets


def _line_ends(rendered: Rendered) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the CRLFs of every header and of every message."""
    messages = rendered.messages
    found = (bytes(piece).count(b"\r\n") for piece in messages.pieces)
    counts = np.fromiter(found, dtype=np.int64, count=len(messages.pieces))
    starts = messages.starts[:-1]
    return counts[starts], np.add.reduceat(counts, starts)


def _file_crc(rendered: Rendered) -> int:
    """Sum up the block as the file has it, from the sums of its parts."""
    messages = rendered.messages
    froms = np.fromiter(map(len, rendered.from_lines), dtype=np.int64, count=len(rendered.from_lines))
    two = np.full(len(froms), 2, dtype=np.int64)
    crcs = checksums.shift(checksums.each(rendered.from_lines), messages.lengths + 2)
    crcs ^= checksums.shift(messages.crcs, two) ^ np.uint32(_EOL_CRC)
    return checksums.fold(crcs, froms + messages.lengths + 2)

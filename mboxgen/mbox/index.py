"""The sidecar index of an mbox: where every message lies and what it should sum to.

Takes     an mbox and its records
Gives     `<mbox>.idx`: a header of 128 octets and one record of 32 octets per message, mmap-able as a numpy array
Refuses   an index that does not belong to the file: `load` gives None and the caller scans instead; one whose records
          cannot be right: `misfit` says why
Not here  finding messages by reading (scan), access to them (reader)

An index belongs to a file of the same size whose time of change is the one noted, or (a copy has a new time) whose
first and last 4,096 octets sum to the value noted. That its records sum to their checksum, and that each lies between
two From_ lines of the file, is checked before use; every octet of the messages by `mboxgen verify` only.
"""

from __future__ import annotations

import os
import secrets
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from zlib_ng.zlib_ng import crc32

from mboxgen.flags import Flag
from mboxgen.mbox.from_lines import FROM, LONGEST
from mboxgen.mbox.scan import MOST_BETWEEN, first_from_line, release

if TYPE_CHECKING:
    import mmap

    from numpy.typing import NDArray

RECORD = np.dtype(
    [
        ("offset", "<u8"),  # first octet of the message, after its From_ line
        ("length", "<u4"),  # octets in the file, without the blank line before the next From_ line
        ("header_length", "<u4"),  # octets in the file up to and with the blank line after the header
        ("crc32", "<u4"),  # of the whole message in CRLF form
        ("body_crc32", "<u4"),  # of what follows the header's blank line, in CRLF form
        ("flags", "<u4"),
        ("delivered", "<u4"),  # octets in CRLF form, what a server receives
    ]
)
_MAGIC = b"MBOXIDX\n"
_HEADER = struct.Struct("<8sIIQQQII")  # magic, version, header octets, records, file octets, mtime, edges, records crc
VERSION = 1
HEADER_OCTETS = 128
_EDGE_OCTETS = 4096
_RECORDS_AT_ONCE = 4096


def path_of(mbox: os.PathLike[str] | str) -> Path:
    """Give the name of the index of an mbox."""
    path = Path(mbox)
    return path.with_name(path.name + ".idx")


def write(path: Path, mbox: Path, records: NDArray[np.void]) -> None:
    """Write an index for an mbox that is complete; records may be given in pieces with `Writer` instead."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with Writer(beside) as writer:
            writer.add(records)
            writer.finish(mbox)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


class Writer:
    """A new file that grows block by block; `finish` writes the header last, so a half index is never valid."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._file.write(bytes(HEADER_OCTETS))
        self._count = 0
        self._crc = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, records: NDArray[np.void]) -> None:
        """Append records."""
        octets = records.tobytes()
        self._file.write(octets)
        self._crc = crc32(octets, self._crc)
        self._count += len(records)

    def finish(self, mbox: Path) -> None:
        """Write the header for this mbox as it is now, and flush to the disk."""
        found = mbox.stat()
        header = _HEADER.pack(
            _MAGIC, VERSION, HEADER_OCTETS, self._count, found.st_size, found.st_mtime_ns, _edges(mbox), self._crc
        )
        self._file.seek(0)
        self._file.write(header)
        self._file.flush()
        os.fsync(self._file.fileno())


@dataclass(frozen=True, slots=True)
class IndexHeader:
    """What an index says of itself and of its mbox."""

    messages: int
    octets: int
    mtime_ns: int
    edges_crc32: int
    records_crc32: int


def read_header(mbox: Path) -> IndexHeader | None:
    """Give the header of an mbox's index; None when there is no index that we can read."""
    try:
        with path_of(mbox).open("rb") as file:
            magic, version, start, *rest = _HEADER.unpack(file.read(_HEADER.size))
    except (OSError, struct.error):
        return None
    return IndexHeader(*rest) if (magic, version, start) == (_MAGIC, VERSION, HEADER_OCTETS) else None


def load(mbox: Path) -> NDArray[np.void] | None:
    """Give the records of an mbox's index, mapped read-only; None when there is none that belongs to it."""
    header = read_header(mbox)
    if header is None or header.messages == 0:
        return None
    path, found = path_of(mbox), mbox.stat()
    if path.stat().st_size != HEADER_OCTETS + header.messages * RECORD.itemsize or header.octets != found.st_size:
        return None
    if header.mtime_ns != found.st_mtime_ns and header.edges_crc32 != _edges(mbox):
        return None
    shape = (header.messages,)
    records: NDArray[np.void] = np.memmap(path, dtype=RECORD, mode="r", offset=HEADER_OCTETS, shape=shape)
    return records


def mismatch(mbox: Path, octets: mmap.mmap, records: NDArray[np.void]) -> str | None:
    """Say why records that were loaded cannot be right for the mapped file, None when they can."""
    header = read_header(mbox)
    whole, end, crc = np.frombuffer(octets, dtype=np.uint8), 0, 0
    for first in range(0, len(records), _RECORDS_AT_ONCE):
        part = np.asarray(records[first : first + _RECORDS_AT_ONCE])
        crc = crc32(part.tobytes(), crc)
        sound = _sound(whole, part, end)
        if not sound.all():
            return f"its record of message {first + int(np.argmin(sound))} is not of a message in the file"
        begin, end = end, int(part[-1]["offset"]) + int(part[-1]["length"])
        release(octets, begin, end)
    if _after_ends(whole, np.array([end]))[0] != len(whole):
        return "it ends before the file does"
    return None if header and crc == header.records_crc32 else "its records do not match its own checksum"


def _sound(whole: NDArray[np.uint8], records: NDArray[np.void], end: int) -> NDArray[np.bool_]:
    """Tell which records lie in the file in order, each after a From_ line, with the right line end."""
    size, flags = len(whole), records["flags"]
    offsets, lengths, delivered = (records[name].astype(np.int64) for name in ("offset", "length", "delivered"))
    sound = (offsets > 0) & (offsets + lengths <= size) & (records["header_length"] <= records["length"])
    offsets, lengths = np.where(sound, offsets, size), np.where(sound, lengths, 0)
    ends = offsets + lengths
    begins = _after_ends(whole, np.concatenate(([end], ends[:-1])))
    if end == 0:
        begins[0] = first_from_line(whole.data)
    sound &= (begins + len(FROM) < offsets) & (offsets - begins <= LONGEST) & (whole[offsets - 1] == 10)
    begins = np.where(sound, begins, 0)
    for place, octet in enumerate(FROM):
        sound &= whole[begins + place] == octet
    kept = (flags & (Flag.LF_ONLY | Flag.UNTERMINATED)) == 0
    sound &= ~kept | (delivered == lengths)
    ended = (lengths > 0) & ((flags & Flag.UNTERMINATED) == 0)
    sound &= ~ended | (whole[ends - 1] == 10)
    sound &= ~(ended & kept & ((flags & Flag.BARE_LF) == 0)) | (whole[ends - 2] == 13)
    return sound


def _after_ends(whole: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pass over the line ends that separate a message from the next From_ line."""
    for _ in range(MOST_BETWEEN):
        found = whole[np.minimum(ends, len(whole) - 1)]
        ends = ends + ((ends < len(whole)) & ((found == 10) | (found == 13)))
    return ends


def _edges(mbox: Path) -> int:
    with mbox.open("rb") as file:
        crc = crc32(file.read(_EDGE_OCTETS))
        file.seek(-min(_EDGE_OCTETS, mbox.stat().st_size), 2)
        return crc32(file.read(), crc)

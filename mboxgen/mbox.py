"""Read any mbox without loading it.

Takes     a path, and the sidecar index beside it when there is a valid one
Gives     the messages by number, as the file has them (octets) or as a server receives them (crlf)
Refuses   what is missing, empty, a folder, packed, or no mbox: MboxError
Not here  where messages begin (scan), the sidecar's form (index), making a corpus (corpus)

A message whose From_ line ends in CRLF is handed over as it is. One whose From_ line ends in LF gets CRLF line ends.
Quoting (`>From `) is left alone: no reader used in load tests undoes it, and what is measured is what is in the file.
"""

from __future__ import annotations

import mmap
import os
import re
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from zlib_ng.zlib_ng import crc32

from mboxgen import index, scan
from mboxgen.flags import Flag
from mboxgen.index import RECORD
from mboxgen.scan import MboxError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Flag", "Mbox", "MboxError", "open_mbox", "read_mbox"]

_LONG_LINE = re.compile(rb"[^\n]{999}[^\r\n]|[^\n]{1000}")  # 998 octets and CRLF are allowed
_HEADER_END = re.compile(rb"\r\n\r\n")
_EIGHT_BIT = re.compile(rb"[\x80-\xff]")


class Details(NamedTuple):
    """What reading one message through tells about it."""

    header_length: int
    crc32: int
    body_crc32: int
    flags: Flag
    delivered: int


def open_mbox(path: os.PathLike[str] | str) -> Mbox:
    """Map an mbox read-only; use its index when that belongs to it, scan otherwise."""
    path = Path(path)
    octets = _map(path)
    try:
        records = index.load(path)
        return Mbox(octets, _scanned(octets, str(path)) if records is None else records, records is not None)
    except BaseException:
        octets.close()
        raise


def read_mbox(path: os.PathLike[str] | str) -> Iterator[bytes]:
    """Yield every message in CRLF form, in order, in bounded memory and without an index.

    The file must not shrink while it is read.
    """
    octets = _map(Path(path))
    try:
        for offset, length, lf_only in scan.messages(octets, str(path)):
            message = octets[offset : offset + length]
            yield _as_crlf(message) if lf_only or not message.endswith(b"\n") else message
    finally:
        octets.close()


class Mbox:
    """An open mbox: `records` is one numpy record per message (mboxgen.index.RECORD), read-only when indexed.

    Without an index, a record has offset, length and LF_ONLY; `fill` adds the rest. Close it, or use `with`;
    views handed out must be released before.
    """

    def __init__(self, octets: mmap.mmap, records: NDArray[np.void], indexed: bool) -> None:
        self._octets = octets
        self._view = memoryview(octets)
        self.records = records
        self.indexed = indexed

    def __len__(self) -> int:
        return len(self.records)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmap the file; BufferError when a view of a message is still in use."""
        self._view.release()
        self._octets.close()

    @property
    def size(self) -> int:
        """Octets of the file."""
        return len(self._octets)

    def release(self, number: int) -> None:
        """Give mapped pages before message `number` back to the system; they stay in the page cache."""
        scan.release(self._octets, 0, int(self.records[number]["offset"]))

    def octets(self, number: int) -> memoryview:
        """Give message `number` (from 0) as the file has it, without a copy."""
        record = self.records[number]
        offset = int(record["offset"])
        return self._view[offset : offset + int(record["length"])]

    def crlf(self, number: int) -> bytes | memoryview:
        """Give message `number` as a server receives it; a copy only when line ends have to change."""
        view = self.octets(number)
        if not int(self.records[number]["flags"]) & (Flag.LF_ONLY | Flag.UNTERMINATED):
            return view
        with view:
            return _as_crlf(bytes(view))

    def from_line(self, number: int) -> bytes:
        """Give the From_ line before message `number`, without its line end."""
        end = int(self.records[number]["offset"])
        return bytes(self._view[max(0, end - 1024) : end - 1]).rpartition(b"\n")[2].rstrip(b"\r")

    def details(self, number: int) -> Details:
        """Read message `number` through: checksums, header length in the file, flags, delivered octets."""
        flags = Flag(int(self.records[number]["flags"])) & (Flag.LF_ONLY | Flag.UNTERMINATED)
        message = bytes(self.crlf(number))
        return details_of(message, flags)

    def fill(self, number: int) -> np.void:
        """Give the whole record of message `number`, reading the message when a scan left it incomplete."""
        record: np.void = self.records[number]
        if not int(record["flags"]) & Flag.CHECKSUMS_KNOWN:
            found = self.details(number)
            record["header_length"], record["crc32"], record["body_crc32"] = found[:3]
            record["flags"] = int(found.flags)
            record["delivered"] = found.delivered
        return record


def details_of(message: bytes, flags: Flag = Flag(0)) -> Details:  # noqa: B008  (an enum member never changes)
    """Read a message in CRLF form through; `flags` says how the file has it."""
    blank = _HEADER_END.search(message)
    split = 2 if message.startswith(b"\r\n") else blank.end() if blank else len(message)
    header, body = memoryview(message)[:split], memoryview(message)[split:]
    tests = (
        (Flag.LEADING_DOT, message.startswith(b".") or b"\n." in message),
        (Flag.EIGHT_BIT, not message.isascii() and _EIGHT_BIT.search(body) is not None),
        (Flag.SMTPUTF8, not message.isascii() and _EIGHT_BIT.search(header) is not None),
        (Flag.LONG_LINE, _LONG_LINE.search(message) is not None),
        (Flag.NUL, b"\0" in message),
        (Flag.BARE_LF, message.count(b"\n") != message.count(b"\r\n")),
        (Flag.FROM_LINE, message.find(b"\nFrom ", max(split - 1, 0)) >= 0),
    )
    for flag, true in tests:
        flags |= flag if true else Flag(0)
    in_file = split - message.count(b"\n", 0, split) if flags & Flag.LF_ONLY else split
    known = flags | Flag.CHECKSUMS_KNOWN
    return Details(in_file, crc32(message), crc32(body), known, len(message))


def _map(path: Path) -> mmap.mmap:
    try:
        if path.is_dir():
            raise MboxError(f'expected an mbox file, "{path}" is a folder; name a file in it')
        if path.exists() and not path.is_file():
            raise MboxError(f'expected an mbox file, "{path}" is not a regular file; save it to one first')
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise MboxError(f'expected an mbox file, "{path}" is empty')
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise MboxError(f'cannot read "{path}": {error.strerror or error}') from None


def _scanned(octets: mmap.mmap, name: str) -> NDArray[np.void]:
    fields = array("Q")
    for offset, length, lf_only in scan.messages(octets, name):
        flags = Flag.LF_ONLY if lf_only else 0
        if octets[offset + length - 1] != 10:
            flags |= Flag.UNTERMINATED
        fields.extend((offset, length, flags))
    columns = np.frombuffer(fields, dtype=np.uint64).reshape(-1, 3)
    if int(columns[:, 1].max()) >= 1 << 32:
        raise MboxError(f'cannot index "{name}": it has a message of 4 GiB or more')
    records = np.zeros(len(columns), dtype=RECORD)
    records["offset"], records["length"], records["flags"] = columns.T
    # In CRLF form nothing changes, so what is delivered is known; LF lines would have to be counted.
    records["delivered"] = np.where(columns[:, 2] == 0, columns[:, 1], 0)
    return records


def _as_crlf(message: bytes) -> bytes:
    """Give every line of a message CRLF, and the last one an end when it has none."""
    if message.count(b"\n") != message.count(b"\r\n"):
        message = message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return message if message.endswith(b"\n") or not message else message + b"\r\n"

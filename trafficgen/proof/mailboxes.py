"""Copies of a run's messages in mailboxes, where a server under test has really delivered.

Takes     Maildir folders (with all folders inside), folders of .eml files, mbox files
Gives     the same as a ledger's reader: every copy, one recipient each, whole or not, when
Limits    reads a message at a time
Fails     ResultsError for what is no Maildir or mbox; mail without a mark of the run is only counted
Not here  IMAP and POP3; what should be there (manifest)

Stores change line ends: the body is taken with CRLF again before its checksum is compared. What an mbox did to lines
that begin with "From " depends on its form, which no mbox says: mboxrd put a ">" before "From ", ">From ", ">>From "
(our own capture does), mboxo only before "From ", mboxcl2 before none. So a body that does not fit is tried with each
undone, and the checksum decides; of an mboxo, whose ">From " may have been either, all ways are tried if they are few.
A server that mends a header puts a blank line before the line that is no field: the rest of the header then begins the
body, and what follows the next blank line is the body as it was sent.
A file's time of change is when it was delivered, on the time of day; an mbox has no such times.
"""

import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np

from mboxgen.mbox.reader import MboxError, read_mbox
from trafficgen.errors import ResultsError
from trafficgen.proof import trace_header
from trafficgen.proof.ledger_reader import Copies

_NEW_AND_CUR: Final = ("new", "cur")
_QUOTED: Final = re.compile(rb"^>(?=From )", re.MULTILINE)
_QUOTED_AGAIN: Final = re.compile(rb"^>(>*From )", re.MULTILINE)
_MAX_QUOTED: Final = 8  # 256 ways
_FIELD_OR_FOLDED: Final = re.compile(rb"[!-9;-~]+[ \t]*:|[ \t]")


class Found(NamedTuple):
    """Copies of a run, and how many messages were there that are not of it."""

    copies: Copies
    others: int


class _Copy(NamedTuple):
    number: int
    taken_ns: int
    damaged: bool
    intact: bool


def read_maildirs(paths: Iterable[Path], run_id: str, wall_offset_ns: int) -> Found:
    """All copies in these Maildirs; `wall_offset_ns` turns the time of day into the clock of the manifest."""
    return _found(
        (_copy(_canonical(file.read_bytes()), run_id, max(file.stat().st_mtime_ns - wall_offset_ns, 1)))
        for path in paths
        for file in _maildir_files(path)
    )


def read_mboxes(paths: Iterable[Path], run_id: str) -> Found:
    """All copies in these mbox files."""
    return _found(_copy(message, run_id, 0) for path in paths for message in _messages(path))


def _messages(path: Path) -> Iterator[bytes]:
    try:
        yield from read_mbox(path)
    except MboxError as error:
        raise ResultsError(str(error)) from error


def _maildir_files(path: Path) -> Iterator[Path]:
    folders = [folder for name in _NEW_AND_CUR for folder in path.rglob(name) if folder.is_dir()]
    if not folders:
        files = sorted(path.glob("*.eml"))
        if not files:
            raise ResultsError(f'expected a Maildir with "new" and "cur" inside, or .eml files, got "{path}"')
        yield from files
    for folder in folders:
        yield from sorted(folder.iterdir())


def _canonical(message: bytes) -> bytes:
    return message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _copy(message: bytes, run_id: str, taken_ns: int) -> _Copy | None:
    header, _, body = message.partition(b"\r\n\r\n")
    found = (b"\r\n" + header).find(b"\r\n" + trace_header.HEADER)
    begin = found + len(trace_header.HEADER)
    parsed = trace_header.parse(header[begin : begin + trace_header.VALUE_OCTETS]) if found >= 0 else None
    if parsed is None or parsed[0] != run_id:
        return None
    _, number, claimed = parsed
    damaged = all(crc32(form) != claimed for form in _unquoted(body))
    return _Copy(number, taken_ns, damaged, damaged and _intact(body, claimed))


def _intact(body: bytes, claimed: int) -> bool:
    """Whether this begins with the rest of a header, from a line on that is no field, and then has the body claimed."""
    if _FIELD_OR_FOLDED.match(body):
        return False
    return any(crc32(form) == claimed for form in _unquoted(body.partition(b"\r\n\r\n")[2]))


def _unquoted(body: bytes) -> Iterator[bytes]:
    """What a body in an mbox may have been, likeliest first."""
    yield body
    if _QUOTED_AGAIN.search(body):
        yield _QUOTED_AGAIN.sub(rb"\1", body)
    if (pieces := _QUOTED.split(body))[1:]:
        quotes = (b"", b">") if len(pieces) <= _MAX_QUOTED else (b"",)
        for chosen in itertools.product(quotes, repeat=len(pieces) - 1):
            yield pieces[0] + b"".join(quote + piece for quote, piece in zip(chosen, pieces[1:], strict=True))


def _found(copies: Iterable[_Copy | None]) -> Found:
    ours: list[_Copy] = []
    others = 0
    for copy in copies:
        if copy is None:
            others += 1
        else:
            ours.append(copy)
    numbers = np.array([copy.number for copy in ours], np.int64)
    return Found(
        Copies(
            numbers,
            np.ones(numbers.size, np.int64),
            np.array([copy.taken_ns for copy in ours], np.int64),
            np.array([copy.damaged for copy in ours], np.bool_),
            np.zeros(numbers.size, np.int64),
            np.full(numbers.size, -1, np.int64),  # whose mailbox it is, the file does not say
            np.array([copy.intact for copy in ours], np.bool_),
        ),
        others,
    )

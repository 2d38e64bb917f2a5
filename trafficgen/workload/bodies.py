"""The bodies of generated messages.

Takes     a number of octets for each message; or one file for all of them, unless that is a whole message
Gives     a shared part that is never copied, a last line of each message's own, and the CRC-32 of both together
Refuses   a file that is missing, unreadable, empty, or that SMTP cannot carry
Not here  how many octets (contents), corpora (corpus)

A text body is the beginning of one of up to 64 pools of prose, cut at the end of a line, and a last line with the
message's number that makes the size exact. The CRC-32 of every pool up to every line's end, of what stands before a
number and of every four digits is known beforehand, so that a body's costs the same whatever its size.
"""

import re
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from mboxgen import checksums
from mboxgen.limited import read_limited
from mboxgen.recipe.sizes import MAX_MESSAGE_OCTETS
from mboxgen.text import prose
from trafficgen.errors import PlanError, reason_of
from trafficgen.plan import BodyFile
from trafficgen.workload.columns import Columns, ColumnTable, Layout, Rows, strings
from trafficgen.workload.grid import NUMBER, digits, numbers
from trafficgen.workload.mail_layout import MailLayout

MAX_POOL_OCTETS: Final = 64 * 1024 * 1024
MAX_POOLS: Final = 64
MIN_BODY: Final = 2
"""A body that is not empty ends in CRLF (RFC 5321 section 4.1.1.4)."""

MAX_LINE: Final = 998  # RFC 5321 section 4.5.3.1.6, without the CRLF

MAX_HEADER_BLOCK: Final = 256 * 1024
_BINARY: Final = (
    "MIME-Version: 1.0",
    "Content-Type: application/octet-stream",
    "Content-Transfer-Encoding: binary",
)
_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*:")
_KNOWN_FIELDS: Final = frozenset(
    (
        b"from", b"to", b"cc", b"subject", b"date", b"message-id", b"sender", b"reply-to", b"return-path", b"received",
        b"mime-version", b"content-type", b"dkim-signature", b"list-id", b"list-unsubscribe", b"in-reply-to",
    )
)  # fmt: skip

_NUMBER: Final = 12 + 2  # the message's number and CRLF
_LAST_LINES: Final = 22  # octets kept free for the last line where there is room: the number and a word before it
_LONGEST_LINE: Final = 78 + 2
_FILLING: Final = b"this line gives the body its exact size, and its number is its own,"


class BodyCut(NamedTuple):
    """Bodies by column; a tail ends in the end of data, and the checksum is of body and tail without that."""

    bodies: list[memoryview]
    tails: Rows
    crc32: NDArray[np.uint32]


class TextBodies:
    """Prose of any size up to `max_octets`."""

    content: Final = ("MIME-Version: 1.0", "Content-Type: text/plain; charset=us-ascii")

    def __init__(self, seed: int, max_octets: int, end_of_data: bytes) -> None:
        self._end = end_of_data
        self.pools = max(1, min(MAX_POOLS, MAX_POOL_OCTETS // max_octets))
        made = [prose.lines(seed, max_octets, variant) for variant in range(self.pools)]
        # All ends of lines of all pools in one rising array, so that one search serves a whole block of messages.
        self._stride = max_octets + 1
        ends = [np.concatenate(([0], ends)) + pool * self._stride for pool, (_, ends) in enumerate(made)]
        self._ends = np.concatenate(ends).astype(np.int64)
        self._crc32 = np.concatenate([checksums.prefixes(octets, ends) for octets, ends in made])
        self._last_lines = [_last_line(octets) for octets in range(_LAST_LINES + _LONGEST_LINE)]
        self._last_crc32 = _shifted(checksums.each(self._last_lines), _NUMBER)
        self._tails = Layout((ColumnTable("octets", self._last_lines), NUMBER, b"\r\n" + end_of_data))
        self._numbers = _Numbers()
        self._cuts = _Cuts(self._ends, [octets for octets, _ in made], self._stride)

    def cut(self, pools: NDArray[np.int64], octets: NDArray[np.int64], grid: int) -> BodyCut:
        """Bodies of exactly `octets` each (0, or 2 and more); the messages' numbers make their last lines unique."""
        starts = pools * self._stride
        places = np.searchsorted(self._ends, starts + np.maximum(octets - _LAST_LINES, 0), side="right") - 1
        rest = octets - (self._ends[places] - starts)
        bodies = list(map(self._cuts.__getitem__, places.tolist()))
        if int(rest.min()) >= _NUMBER:
            # No step of a Python loop a message, and no octet read for the checksum: benchmarks/workload.py.
            tails = self._tails.rows(Columns({"octets": rest}, {"number": digits(grid)}, {}))
            crcs = checksums.shift(self._crc32[places], rest) ^ self._last_crc32[rest]
            return BodyCut(bodies, tails, crcs ^ self._numbers.crc32(numbers(grid)))
        number_texts = strings(digits(grid)).tolist()
        lines = [self._short(length, number) for length, number in zip(rest.tolist(), number_texts, strict=True)]
        crcs = np.fromiter(map(crc32, lines, self._crc32[places].tolist()), np.uint32, count=len(lines))
        return BodyCut(bodies, Rows([lines, self._end]), crcs)

    def _short(self, octets: int, number: bytes) -> bytes:
        if octets >= _NUMBER:
            return self._last_lines[octets] + number + b"\r\n"
        return (number + b"\r\n")[_NUMBER - octets :]


class _Numbers:
    """The CRC-32 of twelve digits and CRLF, four digits at a time."""

    def __init__(self) -> None:
        fours = [b"%04d" % value for value in range(10_000)]
        crcs = checksums.each(fours)
        self._high, self._middle = _shifted(crcs, 4 + 4 + 2), _shifted(crcs, 4 + 2)
        self._low = checksums.each([four + b"\r\n" for four in fours])

    def crc32(self, values: NDArray[np.int64]) -> NDArray[np.uint32]:
        tens = values // 10_000
        highest = tens // 10_000
        front = self._high[highest] ^ self._middle[tens - highest * 10_000]
        crcs: NDArray[np.uint32] = front ^ self._low[values - tens * 10_000]
        return crcs


class _Cuts(dict[int, memoryview]):
    """Pools up to an end of a line, each cut when first asked for."""

    _MAX: Final = 65_536  # a view takes 200 octets; sizes of a curve could otherwise fill a dictionary of millions

    def __init__(self, ends: NDArray[np.int64], views: list[memoryview], stride: int) -> None:
        self._ends, self._views, self._stride = ends, views, stride

    def __missing__(self, place: int) -> memoryview:
        if len(self) >= self._MAX:
            self.clear()
        pool, end = divmod(int(self._ends[place]), self._stride)
        cut = self[place] = self._views[pool][:end]
        return cut


class FileBody:
    """One body for all messages: what `read_file` made of the file."""

    def __init__(self, octets: bytes, file: BodyFile, layout: MailLayout) -> None:
        self.octets = len(octets)
        self.crc32 = crc32(octets)
        self.eight_bit = not octets.isascii()
        self.body = layout.content(octets)
        self.content = _BINARY if file.binary else _content(octets, file.path)


def read_file(file: BodyFile) -> bytes:
    """The file with its line ends made CRLF, unless it is binary. PlanError where mail cannot carry it."""
    octets = _read(file.path)
    if file.binary:
        return octets
    octets = canonical(octets)
    _check_lines(octets, file.path)
    return octets


def is_whole_message(octets: bytes) -> bool:
    """Whether `octets` (canonical) begin with a header block: fields up to an empty line, one of them of RFC 5322.

    KumoMTA's traffic-gen sends such a file as it is. A text that begins "Note: …" is none.
    """
    block, empty, _ = octets[:MAX_HEADER_BLOCK].partition(b"\r\n\r\n")
    if not empty or not _FIELD.match(block):
        return False
    lines = block.split(b"\r\n")
    names = [found[1].lower() if (found := _FIELD.match(line)) else None for line in lines if line[:1] not in b" \t"]
    return None not in names and not _KNOWN_FIELDS.isdisjoint(names)


def canonical(octets: bytes) -> bytes:
    """`octets` with every line end, also a bare CR or LF, made CRLF, and one at the end."""
    lines = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return (lines if lines.endswith(b"\n") else lines + b"\n").replace(b"\n", b"\r\n")


def _shifted(crcs: NDArray[np.uint32], octets: int) -> NDArray[np.uint32]:
    """What is left of these checksums in that of a text that goes on for so many octets."""
    return checksums.shift(crcs, np.full(len(crcs), octets))


def _last_line(octets: int) -> bytes:
    """What stands before number and CRLF so that all is `octets` long, in two lines when one would be too long."""
    filling = octets - _NUMBER
    if filling <= 0:
        return b""
    if octets > _LONGEST_LINE:
        half = octets // 2
        return _cut_filling(half - 2)[:-1] + b"-\r\n" + _cut_filling(filling - half)
    return _cut_filling(filling)


def _cut_filling(octets: int) -> bytes:
    """The end of the filling, so that it leads up to the number; never a space at either end of the line."""
    words = _FILLING[-octets + 1 :] if octets > 1 else b""
    return b"-" * (octets - 1 - len(words.lstrip())) + words.lstrip() + (b" " if octets else b"")


def _read(path: Path) -> bytes:
    try:
        octets = read_limited(path, MAX_MESSAGE_OCTETS)
    except (OSError, ValueError) as error:
        raise _unfit(f'cannot read the body file "{path}": {reason_of(error)}') from error
    if not octets:
        raise _unfit(f'the body file "{path}" is empty')
    return octets


def _check_lines(octets: bytes, path: Path) -> None:
    if b"\0" in octets:
        raise _unfit(f'the body file "{path}" has a NUL octet, which mail cannot carry (RFC 5321 section 4.5.2)')
    longest = max(map(len, octets.split(b"\r\n")))
    if longest > MAX_LINE:
        text = f'the body file "{path}" has a line of {longest} octets, SMTP carries at most {MAX_LINE}; wrap its lines'
        raise _unfit(text)


def _content(octets: bytes, path: Path) -> tuple[str, ...]:
    kind = "text/html" if path.suffix.lower() in (".html", ".htm") else "text/plain"
    if octets.isascii():
        return ("MIME-Version: 1.0", f"Content-Type: {kind}; charset=us-ascii")
    try:
        octets.decode("utf-8")
        charset = "utf-8"
    except UnicodeDecodeError:
        charset = "iso-8859-1"
    return ("MIME-Version: 1.0", f"Content-Type: {kind}; charset={charset}", "Content-Transfer-Encoding: 8bit")


def _unfit(text: str) -> PlanError:
    return PlanError(text, field="content", flag="--body-file")

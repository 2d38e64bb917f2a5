"""Find the messages of any mbox by reading it once, in bounded memory.

Takes     a mapped mbox: mboxo, mboxrd, mboxcl, mboxcl2; lines ending in CRLF or LF
Gives     where each message begins and ends
Refuses   what does not begin with a From_ line: MboxError says what it looks like instead
Not here  the index (index), checksums and flags of a message (mbox)

A message begins after a line `From `, a sender, and a date, as asctime (`Fri Nov 21 22:55:00 2025`) or in the
order of RFC 5322 (`Fri, 21 Nov 2025 22:55:00`), with or without zone and seconds. The whole line has to fit, as
RFC 4155 asks; a blank line before it is not required, since many writers leave it out, and one is taken off the end of
the message before when it is there. Where the first message has a Content-Length (mboxcl2 quotes nothing and relies
on it), it is believed in every message where a From_ line or the end of the file follows.
"""

from __future__ import annotations

import mmap
import re
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from stringzilla import find

if TYPE_CHECKING:
    from collections.abc import Iterator

_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_TIME = rb"\d{1,2}:\d\d(?::\d\d)?"
_ZONE = rb"(?: (?:[A-Z]{1,5}|[+-]\d{4}))"
# A sender without spaces is passed over at once; any other is tried octet by octet, at ten times the cost.
_REST = (
    rb"rom (?:[^ \r\n]{1,397} {1,3}|[^\r\n]{0,400}?)" + _DAY
    + rb"(?: +" + _MONTH + rb" +\d{1,2} +" + _TIME + _ZONE + rb"{0,2} \d{4}"
    + rb"|, ?\d{1,2} " + _MONTH + rb" \d{4} " + _TIME + rb")[^\r\n]{0,400}\r?\n"
)  # fmt: skip
FROM_LINE = re.compile(rb"F" + _REST)
# Looked for many octets at a time; the LF may belong to the From_ line before: a message may be empty.
_SEPARATOR = b"\nFrom "
_LONGEST_FROM = 1024
_WINDOW = 16 << 20
_MADV_POPULATE_READ = 22  # madvise(2), since Linux 5.14: one call for a window, not a fault for each 64 KiB
_HEADER_WINDOW = 256 << 10  # above Postfix's header_size_limit of 102,400
_CONTENT_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,15})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_HEADER_END = re.compile(rb"\n\r?\n")
_PACKED = {
    b"\x1f\x8b": "a gzip file; unpack it first (gunzip -k)",
    b"BZh": "a bzip2 file; unpack it first (bunzip2 -k)",
    b"\xfd7zXZ": "an xz file; unpack it first (unxz -k)",
    b"\x28\xb5\x2f\xfd": "a zstd file; unpack it first (unzstd)",
    b"PK\x03\x04": "a zip file; unpack it first (unzip)",
    b"!BDN": "an Outlook PST file; convert it first (readpst)",
}


class MboxError(ValueError):
    """A file that cannot be read as an mbox; the text says what was expected and what was found."""


def messages(octets: mmap.mmap, name: str) -> Iterator[tuple[int, int, bool]]:
    """Yield (offset, length, From_ line ends in bare LF) of every message of a mapped mbox, in order.

    The length is without the blank line that separates it from the next. Pages passed are given back to the system.
    """
    first = FROM_LINE.match(octets, 0, min(len(octets), _LONGEST_FROM))
    if first is None:
        raise MboxError(f'expected an mbox in "{name}", found {_looks_like(octets)}')
    start, released = first.end(), 0
    _map(octets, 0)
    for end, following in _boundaries(octets, start):
        yield start, _without_blank(octets, end) - start, octets[start - 2] != 13
        start = following
        if start - released > _WINDOW:
            released = release(octets, released, start)
            _map(octets, released)


def _boundaries(octets: mmap.mmap, start: int) -> Iterator[tuple[int, int]]:
    """Yield where each message ends and where the next begins, the end of the file last."""
    if _content_length(octets, start) is not None:
        yield from _counted_boundaries(octets, start)
        return
    yield from _from_lines(octets, start)
    yield len(octets), len(octets)


def _counted_boundaries(octets: mmap.mmap, start: int) -> Iterator[tuple[int, int]]:
    """Like `_boundaries`, by Content-Length where it is right, by searching where not."""
    while start < len(octets):
        found = _after_content(octets, start)
        if found is None:
            found = next(_from_lines(octets, start), (len(octets), len(octets)))
        yield found
        start = found[1]


def _from_lines(octets: mmap.mmap, start: int) -> Iterator[tuple[int, int]]:
    """Yield where each From_ line from `start` on begins and ends."""
    begin = start - 1
    with memoryview(octets) as view:
        while (found := find(view, _SEPARATOR, begin)) >= 0:
            begin = found + 1
            if (line := FROM_LINE.match(view, begin)) is not None:
                yield line.span()
                begin = line.end() - 1


def _after_content(octets: mmap.mmap, start: int) -> tuple[int, int] | None:
    """Give the message's end and the next one's start; None when its Content-Length does not lead there."""
    size, end = len(octets), _content_length(octets, start)
    if end is None or end > size:
        return None
    after = end
    while after < size and octets[after] in b"\r\n" and after < end + 4:
        after += 1
    if after == size:
        return size, size
    line = FROM_LINE.match(octets, after, min(size, after + _LONGEST_FROM))
    return line.span() if line is not None else None


def _content_length(octets: mmap.mmap, start: int) -> int | None:
    """Give where the content ends according to the header, None when the header does not say."""
    limit = min(len(octets), start + _HEADER_WINDOW)
    blank = _HEADER_END.search(octets, start, limit)
    stated = _CONTENT_LENGTH.search(octets[start : blank.end()]) if blank else None
    return blank.end() + int(stated[1]) if blank and stated else None


def _without_blank(octets: mmap.mmap, end: int) -> int:
    """Take the one blank line off that separates a message from the next."""
    tail = octets[end - 3 : end]
    if tail.endswith(b"\n\n"):
        return end - 1
    return end - 2 if tail == b"\n\r\n" else end


def release(octets: mmap.mmap, begin: int, end: int) -> int:
    """Drop mapped pages that were read, so that resident memory stays bounded; the page cache keeps them."""
    if hasattr(mmap, "MADV_DONTNEED"):
        begin -= begin % mmap.PAGESIZE
        if end <= begin:
            return end
        octets.madvise(mmap.MADV_DONTNEED, begin, end - begin)
    return end


def _map(octets: mmap.mmap, begin: int) -> None:
    """Have the window from a page on mapped before it is read, where the system can."""
    begin -= begin % mmap.PAGESIZE
    if sys.platform == "linux" and begin < len(octets):
        with suppress(OSError):  # an older system maps page by page
            octets.madvise(_MADV_POPULATE_READ, begin, min(2 * _WINDOW, len(octets) - begin))


def _looks_like(octets: mmap.mmap) -> str:
    head = octets[:80]
    for magic, words in _PACKED.items():
        if head.startswith(magic):
            return words
    line = head.split(b"\n")[0].rstrip(b"\r").decode("ascii", "backslashreplace")
    wanted = 'a first line such as "From user@example.org Fri Nov 21 22:55:00 2025" is needed'
    return f'"{line[:60]}" at its start; {wanted}'

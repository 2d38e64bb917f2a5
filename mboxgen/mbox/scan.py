"""Find the messages of any mbox by reading it once, in bounded memory.

Takes     a mapped mbox: mboxo, mboxrd, mboxcl, mboxcl2; lines ending in CRLF or LF
Gives     where each message begins and ends, window by window; how many lines look like a From_ line and are text
Refuses   what does not begin with a From_ line: MboxError says what it looks like instead
Not here  which lines begin a message (from_lines), the index (index), what is in a message (examine)

One blank line is taken off the end of a message when it is there. A byte order mark and blank lines before the first
From_ line are passed over. Where a message has a Content-Length (mboxcl2 quotes nothing and relies on it), it is
believed when a From_ line or the end of the file follows, whatever other messages have.
"""

from __future__ import annotations

import mmap
import re
import sys
from bisect import bisect_left
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mboxgen.mbox import from_lines
from mboxgen.mbox.from_lines import FROM
from mboxgen.mbox.sources import MboxError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

WINDOW = 1 << 20
"""Octets looked at together: arrays of them stay in the cache, and small even where every octet is a line end."""

_MAPPED = 16 << 20
_MADV_POPULATE_READ = 22  # madvise(2), since Linux 5.14: one call for a window, not a fault for each 64 KiB
_HEADER_WINDOW = 256 << 10  # above Postfix's header_size_limit of 102,400
_CONTENT_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,15})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_HEADER_END = re.compile(rb"\n\r?\n")
MOST_BETWEEN = 6
"""Octets of line ends between a message and the next From_ line: a blank line, and what Content-Length leaves out."""

_BEFORE_FIRST = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n]*")


class Spans(NamedTuple):
    """Messages that follow each other: offset and length of each, and whether its From_ line ends in bare LF.

    `line_ends`, where known: the places in the file after each LF; all of those messages that are shorter than a
    window, and maybe others.
    """

    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    lf: NDArray[np.bool_]
    line_ends: NDArray[np.int64] | None = None


class _Window(NamedTuple):
    """Where lines end, From_ lines begin and end, and lines begin that look like Content-Length; in order."""

    line_ends: NDArray[np.int64]
    begins: NDArray[np.int64]
    afters: NDArray[np.int64]
    counts: NDArray[np.int64]
    text_from_lines: NDArray[np.int64]


class Scan:
    """One pass through a mapped mbox.

    `text_from_lines` lines begin with "From " and are text; the first is `first_text_from_line`.
    """

    def __init__(self, octets: mmap.mmap, name: str) -> None:
        self._octets = octets
        self._name = name
        self.text_from_lines = 0
        self.first_text_from_line = ""

    def spans(self) -> Iterator[Spans]:
        """Yield all messages in order. Pages passed are given back to the system."""
        octets = self._octets
        whole = np.frombuffer(octets, dtype=np.uint8)
        start: int | None = self.first_start()
        searched, released = (start or 0) - 1, 0
        populate(octets, 0, 2 * _MAPPED)
        # Of the window before: those of the message that goes on in this one.
        kept_line_ends = np.zeros(0, dtype=np.int64)
        while start is not None and searched < len(octets):
            window = self._window(whole, searched, min(searched + WINDOW, len(octets)))
            searched += WINDOW
            line_ends = np.concatenate((kept_line_ends, window.line_ends))
            window_end = searched
            if window.counts.size:
                starts, ends, start, counted = self._counted(window, start)
                searched = max(searched, (start or 0) - 1)
            else:
                counted, ends = [], window.begins
                starts = np.concatenate(([start], window.afters))
                start, starts = int(starts[-1]), starts[:-1]
            self._note_text_from_lines(window.text_from_lines, counted)
            if starts.size:
                yield _spans(whole, starts, ends, line_ends if ends[-1] <= window_end else None)
            kept_line_ends = window.line_ends[np.searchsorted(window.line_ends, start or 0, side="right") :]
            if searched - released > _MAPPED:
                released = release(octets, released, min(searched, len(octets)))
                populate(octets, released, 2 * _MAPPED)
        if start is not None:
            yield _spans(whole, np.array([start]), np.array([len(octets)]), None)

    def first_start(self) -> int:
        """Give where the first message begins; MboxError when this is no mbox."""
        octets = self._octets
        begin = first_from_line(octets)
        end = from_lines.line_end(octets, begin, first=True)
        if end is None:
            raise MboxError(f'expected an mbox in "{self._name}", found {_looks_like(octets, begin)}')
        return end

    def _window(self, whole: NDArray[np.uint8], begin: int, end: int) -> _Window:
        size = len(whole)
        line_ends = np.flatnonzero(whole[begin:end] == 10) + (begin + 1)
        lines = line_ends[: np.searchsorted(line_ends, size - len(FROM), side="right")]
        initials = whole.take(lines)
        named = lines[(initials | 32) == ord("c")]
        named = named[: np.searchsorted(named, size - 15)]
        counts = named[(whole[named + 7] == ord("-")) & (whole[named + 14] == ord(":"))]
        begins = lines[initials == FROM[0]]
        for place in range(1, len(FROM)):
            begins = begins[whole[begins + place] == FROM[place]]
        if not begins.size:
            return _Window(line_ends, begins, begins, counts, begins)
        taken, afters = self._taken(whole, lines, begins)
        return _Window(line_ends, begins[taken], afters[taken], counts, begins[~taken])

    def _taken(
        self, whole: NDArray[np.uint8], lines: NDArray[np.int64], begins: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Tell which lines that begin with "From " begin a message, and where those end."""
        following = np.append(lines, 0)[np.searchsorted(lines, begins) + 1]
        taken = np.zeros(len(begins), dtype=np.bool_)
        known = following > 0
        taken[known] = from_lines.asctime_dated(whole, begins[known], following[known] - 1)
        for at in np.flatnonzero(~taken).tolist():
            after = from_lines.line_end(self._octets, int(begins[at]))
            if after is not None:
                taken[at], following[at] = True, after
        return taken, following

    def _counted(
        self, window: _Window, start: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], int | None, list[tuple[int, int]]]:
        """Give starts and ends of messages where Content-Length may say them, the next start, and what was counted."""
        begins, afters, counts = window.begins.tolist(), window.afters.tolist(), window.counts.tolist()
        found: list[tuple[int, int]] = []
        counted: list[tuple[int, int]] = []
        following: int | None = start
        while following is not None:
            start, at = following, bisect_left(begins, following)
            count = bisect_left(counts, start)
            following = None
            if count < len(counts) and (at == len(begins) or counts[count] < begins[at]):
                after = self._after_content(start)
                if after is not None:
                    found.append((start, after[0]))
                    counted.append((start, after[0]))
                    if after[1] == after[0]:  # the end of the file
                        return (*np.array(found).T, None, counted)
                    following = after[1]
            if following is None and at < len(begins):
                found.append((start, begins[at]))
                following = afters[at]
        columns = np.array(found, dtype=np.int64).reshape(-1, 2).T
        return columns[0], columns[1], start, counted

    def _after_content(self, start: int) -> tuple[int, int] | None:
        """Give the message's end and the next one's start; None when its Content-Length does not lead there."""
        octets = self._octets
        limit = min(len(octets), start + _HEADER_WINDOW)
        blank = _HEADER_END.search(octets, start, limit)
        stated = _CONTENT_LENGTH.search(octets[start : blank.end()]) if blank else None
        end = blank.end() + int(stated[1]) if blank and stated else None
        size = len(octets)
        if end is None or end > size:
            return None
        after = end
        while after < size and octets[after] in b"\r\n" and after < end + MOST_BETWEEN - 2:
            after += 1
        if after == size:
            return size, size
        if octets[after - 1] != ord("\n") or octets[after : after + len(FROM)] != FROM:
            return None
        following = from_lines.line_end(octets, after)
        return None if following is None else (after, following)

    def _note_text_from_lines(self, begins: NDArray[np.int64], counted: list[tuple[int, int]]) -> None:
        for begin, end in counted:
            begins = begins[(begins < begin) | (begins >= end)]
        if begins.size and not self.text_from_lines:
            line = self._octets[int(begins[0]) : int(begins[0]) + 80]
            self.first_text_from_line = line.splitlines()[0].decode("ascii", "backslashreplace")
        self.text_from_lines += int(begins.size)


def first_from_line(octets: mmap.mmap | memoryview) -> int:
    """Give where the first line is that is not blank."""
    before = _BEFORE_FIRST.match(octets)
    return before.end() if before else 0


def _spans(
    whole: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64], line_ends: NDArray[np.int64] | None
) -> Spans:
    """Take the one blank line off that separates a message from the next."""
    last, before = whole[ends - 1], whole[ends - 2]
    blank = (last == 10) & (before == 10)
    blank_crlf = (last == 10) & (before == 13) & (whole[ends - 3] == 10)
    return Spans(starts, ends - blank - 2 * blank_crlf - starts, whole[starts - 2] != 13, line_ends)


def release(octets: mmap.mmap, begin: int, end: int) -> int:
    """Drop mapped pages that were read, so that resident memory stays bounded; the page cache keeps them."""
    if hasattr(mmap, "MADV_DONTNEED"):
        begin -= begin % mmap.PAGESIZE
        if end <= begin:
            return end
        octets.madvise(mmap.MADV_DONTNEED, begin, end - begin)
    return end


def populate(octets: mmap.mmap, begin: int, length: int) -> None:
    """Have octets from a page on mapped before they are read, where the system can."""
    begin -= begin % mmap.PAGESIZE
    if sys.platform == "linux" and begin < len(octets):
        with suppress(OSError):  # an older system maps page by page
            octets.madvise(_MADV_POPULATE_READ, begin, min(length, len(octets) - begin))


def _looks_like(octets: mmap.mmap, begin: int) -> str:
    head = octets[begin : begin + from_lines.LONGEST]
    if head.startswith(b"\1\1\1\1"):
        return r"an MMDF file; make it an mbox first (sed 's/^\x01\x01\x01\x01$//')"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "text in UTF-16; convert it first (iconv -f UTF-16 -t UTF-8)"
    first = head.split(b"\n")[0]
    if head.startswith(FROM):
        if b"\r" in first.rstrip(b"\r"):
            return "lines that end in CR alone, as on old Macs; give them LF first (tr '\\r' '\\n')"
        if first.endswith(b"\r\r"):
            return "lines that end in CR CR LF: it was converted twice; take the CRs off first (tr -d '\\r')"
        if b"\n" not in head and begin + len(first) == len(octets):
            return "one From_ line without a line end, and nothing after it: no message"
    line = first.rstrip(b"\r").decode("ascii", "backslashreplace")
    wanted = 'a first line such as "From user@example.org Fri Nov 21 22:55:00 2025" is needed'
    return f'"{line[:60]}" at its start; {wanted}'

"""What messages have in them, many at a time.

Takes     octets of several messages, and where each begins and ends
Gives     for each its flags, its header's length, how many octets a server receives; every header line
Cost      a few passes of numpy over the octets: 2 ns for each and 1 µs a message (benchmarks/mbox_reading.py)
Not here  where messages begin (scan), checksums (reader), what header fields say (statistics)

A header ends with the first blank line. Whatever in it is neither a field nor the continuation of one (RFC 5322 section
2.2) is something that a server may mend on the way: it ends the header there, or puts a blank line in (ODD_HEADER).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mboxgen.flags import Flag
from mboxgen.mbox.from_lines import FROM

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_LINE = 998  # RFC 5322 section 2.1.1, without the CRLF
CONTINUED, ODD = 0, -1
_MAX_NAME = 200
_ROW = 16
_NOT_NAME = np.ones(256, dtype=np.bool_)  # RFC 5322 section 3.6.8: a name is printable, without the colon
_NOT_NAME[33:127] = False
_NOT_NAME[ord(":")] = True


class HeaderLines(NamedTuple):
    """Every line of the headers: of which message, where it begins and ends (without line end), its name's length.

    The length is CONTINUED where the line goes on with the field before, ODD where it is neither.
    """

    messages: NDArray[np.int64]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    names: NDArray[np.int64]


class Examined(NamedTuple):
    """Of each message.

    Octets of the header with its blank line, flags, line ends in all and those without CR, whether the last one is
    missing, whether the blank line is.
    """

    header_lengths: NDArray[np.int64]
    flags: NDArray[np.uint32]
    line_ends: NDArray[np.int64]
    bare: NDArray[np.int64]
    unterminated: NDArray[np.bool_]
    unended: NDArray[np.bool_]
    header_lines: HeaderLines


class _Lines(NamedTuple):
    """All lines of some octets, and which of them are each message's: from `first` up to `last`."""

    begins: NDArray[np.int64]
    contents: NDArray[np.int64]
    terminated: NDArray[np.bool_]
    crlf: NDArray[np.bool_]
    ends: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    def messages_with(self, lines: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the message of each of these lines, -1 for one between messages."""
        found = np.searchsorted(self.last, lines, side="right")
        inside = np.append(self.first, np.iinfo(np.int64).max)[found] <= lines
        return np.where(inside, found, -1)


def examine(
    octets: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64], *, header: bool = True
) -> Examined:
    """Examine messages that lie at these places in order. `header=False`: they are parts of a body."""
    if not octets.size:  # messages without an octet, all of them: look at one that is in none
        octets = np.zeros(1, dtype=np.uint8)
    unterminated = (ends > starts) & (octets[ends - 1] != 10)
    crs = octets == 13
    lines = _lines(octets, crs, starts, ends, ends[unterminated])
    ended = np.ones(len(starts), dtype=np.bool_)
    if header:
        blank = np.flatnonzero((lines.contents == 0) & lines.terminated)
        first_blank = np.append(blank, len(lines.begins))[np.searchsorted(blank, lines.first)]
        ended = first_blank < lines.last
        header_last = np.where(ended, first_blank, lines.last)
        header_ends = np.where(ended, np.append(lines.ends, 0)[first_blank], ends)
    else:
        header_last, header_ends = lines.first, starts
    bare = np.concatenate(([0], np.cumsum(lines.terminated & ~lines.crlf)))
    header_lines = _header_lines(octets, lines, header_last)
    flags = np.zeros(len(starts), dtype=np.uint32)
    _raise(flags, Flag.ODD_HEADER, header_lines.messages[header_lines.names == ODD])
    initials = octets.take(lines.begins)
    _raise(flags, Flag.LEADING_DOT, lines.messages_with(np.flatnonzero(initials == ord("."))))
    _raise(flags, Flag.LONG_LINE, lines.messages_with(np.flatnonzero(lines.contents > MAX_LINE)))
    _raise(flags, Flag.FROM_LINE, _with_from_line(octets, lines, np.flatnonzero(initials == FROM[0]), header_last))
    _raise(flags, Flag.BARE_CR, _with_bare_cr(octets, crs, lines, starts, ends))
    if octets.max(initial=0) >= 128:
        for flag, begin, end in ((Flag.SMTPUTF8, starts, header_ends), (Flag.EIGHT_BIT, header_ends, ends)):
            _raise(flags, flag, np.flatnonzero(_most(octets, begin, end) >= 128))
    if octets.min(initial=255) == 0:
        _raise(flags, Flag.NUL, np.flatnonzero(_most(255 - octets, starts, ends) == 255))
    line_ends = lines.last - lines.first - unterminated
    bare_ends = bare[lines.last] - bare[lines.first]
    return Examined(header_ends - starts, flags, line_ends, bare_ends, unterminated, ~ended, header_lines)


def _lines(
    octets: NDArray[np.uint8],
    crs: NDArray[np.bool_],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    more_ends: NDArray[np.int64],
) -> _Lines:
    line_ends = np.flatnonzero(octets == 10) + 1
    if more_ends.size:
        line_ends = np.sort(np.concatenate([line_ends, more_ends]))
    first, last = (np.searchsorted(line_ends, places, side="right") for places in (starts, ends))
    begins = np.concatenate(([0], line_ends))[:-1]
    used = first < last
    begins[first[used]] = starts[used]
    terminated = octets.take(line_ends - 1) == 10 if more_ends.size else np.ones(len(line_ends), dtype=np.bool_)
    if crs.any():
        crlf = terminated & (line_ends - begins >= 2) & (octets.take(line_ends - 2, mode="wrap") == 13)
    else:
        crlf = np.zeros(len(line_ends), dtype=np.bool_)
    return _Lines(begins, line_ends - begins - terminated - crlf, terminated, crlf, line_ends, first, last)


def _raise(flags: NDArray[np.uint32], flag: Flag, messages: NDArray[np.int64]) -> None:
    if messages.size:
        flags[messages[messages >= 0]] |= np.uint32(flag)


def _with_from_line(
    octets: NDArray[np.uint8], lines: _Lines, found: NDArray[np.int64], header_last: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Give the messages whose bodies have lines that begin with "From "; `found` are those with its first letter."""
    found = found[lines.begins[found] + len(FROM) <= len(octets)]
    for place in range(1, len(FROM)):
        found = found[octets[lines.begins[found] + place] == FROM[place]]
    messages = lines.messages_with(found)
    return messages[(messages >= 0) & (found >= header_last[messages])]


def _with_bare_cr(
    octets: NDArray[np.uint8],
    crs: NDArray[np.bool_],
    lines: _Lines,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> NDArray[np.int64]:
    if np.count_nonzero(crs) == np.count_nonzero(lines.crlf):
        return np.zeros(0, dtype=np.int64)
    places = np.flatnonzero(crs)
    places = places[np.append(octets, 0)[places + 1] != 10]
    messages = np.searchsorted(ends, places, side="right")
    inside = np.append(starts, np.iinfo(np.int64).max)[messages] <= places
    found: NDArray[np.int64] = messages[inside]
    return found


def _most(octets: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Give the highest octet of each part, 0 for an empty one."""
    most = np.maximum.reduceat(np.append(octets, np.uint8(0)), np.stack([begins, ends], axis=1).ravel())[::2]
    highest: NDArray[np.uint8] = np.where(begins < ends, most, np.uint8(0))
    return highest


def _header_lines(octets: NDArray[np.uint8], lines: _Lines, header_last: NDArray[np.int64]) -> HeaderLines:
    counts = header_last - lines.first
    before = np.cumsum(counts) - counts
    messages = np.repeat(np.arange(len(counts)), counts)
    chosen = np.arange(len(messages)) + np.repeat(lines.first - before, counts)
    begins = lines.begins.take(chosen)
    ends = begins + lines.contents.take(chosen)
    names = _names(octets, begins, ends)
    opening = before[counts > 0]
    names[opening[names[opening] == CONTINUED]] = ODD  # nothing is before it that it could go on with
    return HeaderLines(messages, begins, ends, names)


def _names(octets: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the length of each line's field name; white space before the colon is read (RFC 5322 section 4.5)."""
    names = np.full(len(begins), ODD, dtype=np.int64)
    padded = np.concatenate([octets, np.full(_ROW, 10, dtype=np.uint8)])
    # Octets of no type may lie anywhere, so that one copy of 16 a line does for nearly all names.
    rows = np.ndarray((len(octets),), dtype=f"V{_ROW}", buffer=padded, strides=(1,))[begins]
    stopped = _NOT_NAME.take(rows.view(np.uint8).reshape(-1, _ROW))
    lengths = stopped.argmax(axis=1)
    longer = np.flatnonzero(~stopped[:, 0] & (lengths == 0))
    for at in longer.tolist():
        name = padded[begins[at] : min(ends[at], begins[at] + _MAX_NAME)]
        lengths[at] = np.append(_NOT_NAME.take(name), True).argmax()
    found = padded.take(begins + lengths)
    colon = (found == ord(":")) & (lengths > 0) & (begins + lengths < ends)
    names[colon] = lengths[colon]
    spaces = (found == 32) | (found == 9)
    names[spaces & (lengths == 0)] = CONTINUED
    for at in np.flatnonzero(spaces & (lengths > 0)).tolist():
        rest = padded[begins[at] + lengths[at] : min(ends[at], begins[at] + _MAX_NAME)].tobytes()
        if rest.lstrip(b" \t").startswith(b":"):
            names[at] = lengths[at]
    return names

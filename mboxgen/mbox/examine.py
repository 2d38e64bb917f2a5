"""What messages have in them, many at a time.

Takes     octets of several messages, and where each begins and ends
Gives     for each its flags, its header's length, how many octets a server receives; every header line
Cost      a few passes of numpy over the octets: 2 ns for each and 1 µs a message (benchmarks/mbox_reading.py)
Not here  where messages begin (scan), checksums (reader), what header fields say (statistics)

A header ends with the first blank line. Whatever in it is neither a field nor the continuation of one (RFC 5322 section
2.2) is something that a server may mend on the way: it ends the header there, or puts a blank line in (ODD_HEADER).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from stringzilla import find

from mboxgen.flags import Flag
from mboxgen.mbox.from_lines import FROM

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_LINE = 998  # RFC 5322 section 2.1.1, without the CRLF
CONTINUED, ODD = 0, -1
_MAX_NAME = 200
_ROW = 16


class HeaderLines(NamedTuple):
    """Every line of the headers: of which message, where it begins and ends (without line end), its name's length.

    The length is CONTINUED where the line goes on with the field before, ODD where it is neither. `words` has the first
    16 octets of each line as two integers.
    """

    messages: NDArray[np.int64]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    names: NDArray[np.int64]
    words: NDArray[np.uint64]

    def named(self, name: bytes) -> NDArray[np.int64]:
        """Give which lines are fields of this name (at most 16 octets), in letters of either case."""
        found = np.flatnonzero(self.names == len(name))
        for at, part in enumerate((name[:8], name[8:_ROW])):
            wanted, case, mask = (
                np.uint64(int.from_bytes(octets, "little")) for octets in (part, b" " * len(part), b"\xff" * len(part))
            )
            found = found[((self.words[found, at] | case) & mask) == wanted | case]
        return found


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
    """All lines of some octets, and which of them are each message's: from `first` up to `last`.

    `terminated` and `crlf` tell how each ends; True or False alone: all or none do.
    """

    begins: NDArray[np.int64]
    contents: NDArray[np.int64]
    terminated: NDArray[np.bool_] | bool
    crlf: NDArray[np.bool_] | bool
    ends: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    def messages_with(self, lines: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the message of each of these lines, -1 for one between messages."""
        found = np.searchsorted(self.last, lines, side="right")
        inside = np.append(self.first, np.iinfo(np.int64).max)[found] <= lines
        return np.where(inside, found, -1)


def examine(
    octets: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    *,
    header: bool = True,
    line_ends: NDArray[np.int64] | None = None,
) -> Examined:
    """Examine messages that lie at these places in order. `header=False`: they are parts of a body.

    `line_ends`: where lines end in these octets, after their LF, for whoever knows it already.
    """
    if not octets.size:  # messages without an octet, all of them: look at one that is in none
        octets = np.zeros(1, dtype=np.uint8)
    view = memoryview(cast("Any", octets))  # numpy says so for Python 3.12 and later only
    unterminated = (ends > starts) & (octets[ends - 1] != 10)
    if line_ends is None:
        line_ends = np.flatnonzero(octets == 10) + 1
    crs = octets == 13 if find(view, b"\r") >= 0 else None
    lines = _lines(octets, crs is not None, line_ends, starts, ends, ends[unterminated])
    ended = np.ones(len(starts), dtype=np.bool_)
    if header:
        blank = lines.contents == 0
        blank = np.flatnonzero(blank if lines.terminated is True else blank & lines.terminated)
        first_blank = np.append(blank, len(lines.begins))[np.searchsorted(blank, lines.first)]
        ended = first_blank < lines.last
        header_last = np.where(ended, first_blank, lines.last)
        header_ends = np.where(ended, np.append(lines.ends, 0)[first_blank], ends)
    else:
        header_last, header_ends = lines.first, starts
    header_lines = _header_lines(octets, lines, header_last)
    flags = np.zeros(len(starts), dtype=np.uint32)
    _raise(flags, Flag.ODD_HEADER, header_lines.messages[header_lines.names == ODD])
    initials = octets.take(lines.begins)
    _raise(flags, Flag.LEADING_DOT, lines.messages_with(np.flatnonzero(initials == ord("."))))
    _raise(flags, Flag.LONG_LINE, lines.messages_with(np.flatnonzero(lines.contents > MAX_LINE)))
    _raise(flags, Flag.FROM_LINE, _with_from_line(octets, lines, np.flatnonzero(initials == FROM[0]), header_last))
    if crs is not None:
        _raise(flags, Flag.BARE_CR, _with_bare_cr(octets, crs, lines, starts, ends))
    if octets.max(initial=0) >= 128:
        for flag, begin, end in ((Flag.SMTPUTF8, starts, header_ends), (Flag.EIGHT_BIT, header_ends, ends)):
            _raise(flags, flag, np.flatnonzero(_most(octets, begin, end) >= 128))
    if find(view, b"\0") >= 0:
        _raise(flags, Flag.NUL, np.flatnonzero(_most(255 - octets, starts, ends) == 255))
    counts = lines.last - lines.first - unterminated
    bare = counts
    if lines.crlf is not False:
        with_cr = np.concatenate(([0], np.cumsum(lines.crlf)))
        bare = counts - (with_cr[lines.last] - with_cr[lines.first])
    return Examined(header_ends - starts, flags, counts, bare, unterminated, ~ended, header_lines)


def _lines(
    octets: NDArray[np.uint8],
    has_crs: bool,
    line_ends: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    more_ends: NDArray[np.int64],
) -> _Lines:
    if more_ends.size:
        line_ends = np.sort(np.concatenate([line_ends, more_ends]))
    first, last = (np.searchsorted(line_ends, places, side="right") for places in (starts, ends))
    begins = np.concatenate(([0], line_ends))[:-1]
    used = first < last
    begins[first[used]] = starts[used]
    octets_of_lines = line_ends - begins
    terminated = octets.take(line_ends - 1) == 10 if more_ends.size else True
    crlf = terminated & (octets_of_lines >= 2) & (octets.take(line_ends - 2, mode="wrap") == 13) if has_crs else False
    return _Lines(begins, octets_of_lines - terminated - crlf, terminated, crlf, line_ends, first, last)


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
    rows = _rows(octets, begins)
    names = _names(octets, begins, ends, rows)
    opening = before[counts > 0]
    names[opening[names[opening] == CONTINUED]] = ODD  # nothing is before it that it could go on with
    return HeaderLines(messages, begins, ends, names, rows.view(np.uint64))


def _rows(octets: NDArray[np.uint8], begins: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Give the 16 octets from each of these places on, LF for what is behind the end: they do for nearly all names."""
    inside = np.searchsorted(begins, len(octets) - _ROW, side="right")
    rows = np.full((len(begins), _ROW), 10, dtype=np.uint8)
    if inside:  # octets of no type may lie anywhere: one copy a line
        anywhere = np.ndarray((len(octets) - _ROW + 1,), dtype=f"V{_ROW}", buffer=octets, strides=(1,))
        rows[:inside] = anywhere[begins[:inside]].view(np.uint8).reshape(-1, _ROW)
    for at in range(inside, len(begins)):
        rest = octets[begins[at] :]
        rows[at, : len(rest)] = rest
    return rows


def _names(
    octets: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64], rows: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Give the length of each line's field name; white space before the colon is read (RFC 5322 section 4.5)."""
    names = np.full(len(begins), ODD, dtype=np.int64)
    stopped = _not_name(rows)
    lengths = stopped.argmax(axis=1)
    longer = np.flatnonzero(~stopped[:, 0] & (lengths == 0))
    for at in longer.tolist():
        name = octets[begins[at] : min(ends[at], begins[at] + _MAX_NAME)]
        lengths[at] = np.append(_not_name(name), True).argmax()
    found = octets.take(begins + lengths, mode="clip")
    colon = (found == ord(":")) & (lengths > 0) & (begins + lengths < ends)
    names[colon] = lengths[colon]
    spaces = (found == 32) | (found == 9)
    names[spaces & (lengths == 0)] = CONTINUED
    for at in np.flatnonzero(spaces & (lengths > 0)).tolist():
        rest = octets[begins[at] + lengths[at] : min(ends[at], begins[at] + _MAX_NAME)].tobytes()
        if rest.lstrip(b" \t").startswith(b":"):
            names[at] = lengths[at]
    return names


def _not_name(octets: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which octets end a name: RFC 5322 section 3.6.8 has it printable, without the colon."""
    ends: NDArray[np.bool_] = (octets - np.uint8(33) > 126 - 33) | (octets == ord(":"))
    return ends

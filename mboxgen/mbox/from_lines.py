"""Tell which lines of an mbox begin a message.

Takes     octets, and where lines begin with "From "
Gives     for each whether a message begins after it
Not here  looking for them (scan)

Two kinds do. A line with a sender and a date begins one wherever it stands, since many writers leave out the blank line
before it; the date is in one of the orders that people's programs write, in letters of either case:

    Fri Nov 21 22:55:00 2025             asctime (RFC 4155), with or without seconds, zone, comma
    Sat Apr 12 2025 15:59:28             Thunderbird, JavaScript
    Fri, 21 Nov 2025 22:55:00            RFC 5322
    2025-11-21 22:55:00, 2025-11-21T22:55:00

Any other, even `From ` alone (Thunderbird since 2021), begins one when a blank line or the start of the file is before
it and two lines of a header block follow. Python's mailbox takes every line that begins with "From ", git those with a
time and a year, formail those after a blank line: this is what they agree on, and no sentence in a text is taken.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import mmap

    from numpy.typing import NDArray

FROM = b"From "
LONGEST = 1024
"""Octets of the longest line that is taken for one."""

_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_TIME = rb"\d{1,2}:\d\d(?::\d\d)?"
_ZONE = rb"(?: (?:[A-Z]{1,5}|[+-]\d{4}))"
# A sender without spaces is passed over at once; any other is tried octet by octet, at ten times the cost.
DATED = re.compile(
    rb"From (?:[^ \r\n]{1,397} {1,3}|[^\r\n]{0,400}?)(?:" + _DAY
    + rb"(?:,? +" + _MONTH + rb" +\d{1,2},? +(?:" + _TIME + _ZONE + rb"{0,2} \d{4}|\d{4},? +" + _TIME + rb")"
    + rb"|, ?\d{1,2} " + _MONTH + rb" \d{4} " + _TIME + rb")"
    + rb"|\d{4}-\d\d-\d\d[ T]" + _TIME + rb")[^\r\n]{0,400}\r?\n",
    re.IGNORECASE,
)  # fmt: skip
_FIELD = rb"[!-9;-~]+[ \t]*:[^\n]*\n"
_HEADER_FOLLOWS = re.compile(
    rb"From [^\r\n]{0,1000}\r?\n(?:>From [^\n]*\n)?" + _FIELD + rb"(?:" + _FIELD + rb"|[ \t][^\n]*\n|\r?\n|\Z)"
)
_FOLLOWING = 4096
_DAYS, _MONTHS = (
    np.array([int.from_bytes(name, "little") for name in names])
    for names in (
        (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"),
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"),
    )
)
_ASCTIME = 24  # octets of "Fri Nov 21 22:55:00 2025"
# Of each octet with the space before: 0 any digit, a any letter; a day below 10 has a space for its first digit.
_FORM = b" aaa aaa ?0 00:00:00 0000"
_LEAST, _MOST = (
    np.array([bounds.get(octet, (octet, octet))[end] for octet in _FORM], dtype=np.uint8)
    for end in (0, 1) for bounds in ({ord("0"): (48, 57), ord("a"): (65, 122), ord("?"): (32, 57)},)
)  # fmt: skip
_PLACES = 1 << np.array([0, 8, 16])


def line_end(octets: mmap.mmap, begin: int, *, first: bool = False) -> int | None:
    """Give where the From_ line that begins here ends, with its LF; None when no message begins after it."""
    dated = DATED.match(octets, begin, min(len(octets), begin + LONGEST))
    if dated is not None:
        return dated.end()
    if not first and not octets[max(begin - 3, 0) : begin].replace(b"\r", b"").endswith(b"\n\n"):
        return None
    if _HEADER_FOLLOWS.match(octets, begin, min(len(octets), begin + _FOLLOWING)) is None:
        return None
    return octets.find(b"\n", begin) + 1


def asctime_dated(whole: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which lines, from `begins` up to their LF at `ends`, end in a date as asctime writes it: nearly all do."""
    ends = ends - (whole[ends - 1] == 13)
    begin = ends - _ASCTIME
    fit: NDArray[np.bool_] = (begin >= begins + len(FROM)) & (ends - begins <= LONGEST)
    if len(whole) <= _ASCTIME or not fit.any():
        return np.zeros(len(begins), dtype=np.bool_)
    begin = np.where(fit, begin, 1)
    # Octets of no type may lie anywhere, so that a date is one copy: with the space before it.
    anywhere = np.ndarray((len(whole) - _ASCTIME,), dtype=f"V{_ASCTIME + 1}", buffer=whole, strides=(1,))
    dates = anywhere[begin - 1].view(np.uint8).reshape(-1, _ASCTIME + 1)
    fit &= ((dates >= _LEAST) & (dates <= _MOST)).all(axis=1)
    fit &= (dates[:, 9] == 32) | (dates[:, 9] >= 48)
    return fit & _one_of(dates[:, 1:4], _DAYS) & _one_of(dates[:, 5:8], _MONTHS)


def _one_of(names: NDArray[np.uint8], known: NDArray[np.int64]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = ((names @ _PLACES)[:, None] == known).any(axis=1)
    return found

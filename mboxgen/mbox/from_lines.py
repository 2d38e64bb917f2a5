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
    fit = (begin >= begins + len(FROM)) & (ends - begins <= LONGEST)
    begin = np.where(fit, begin, 0)
    if len(whole) < _ASCTIME:
        return np.zeros(len(begins), dtype=np.bool_)
    for place in (-1, 3, 7, 10, 19):
        fit &= whole.take(begin + place, mode="wrap") == 32
    for place in (13, 16):
        fit &= whole.take(begin + place, mode="wrap") == 58
    for place in (9, 11, 12, 14, 15, 17, 18, 20, 21, 22, 23):
        fit &= (whole.take(begin + place, mode="wrap") - np.uint8(48)) < 10
    tens = whole[begin + 8]
    fit &= (tens == 32) | ((tens - np.uint8(48)) < 10)
    return fit & np.isin(_three(whole, begin), _DAYS) & np.isin(_three(whole, begin + 4), _MONTHS)


def _three(whole: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[np.int64]:
    first, second, third = (whole.take(places + at).astype(np.int64) << (8 * at) for at in range(3))
    return first | second | third

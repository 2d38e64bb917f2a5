"""Time stamps of log lines to nanoseconds since 1970.

Takes     RFC 3164's `Nov 26 21:47:13` (section 4.1.2: no year, no zone, no fraction), RFC 3339's
          `2026-11-26T21:47:13.190775+01:00`, and both without zone, as Dovecot and Exim write them
Gives     nanoseconds, and whether the zone was said; without one the time is read as if it were UTC
Fails     None for octets that are no stamp
Not here  which zone the server is in: `join` finds it from messages of a run, or it is asked for

A stamp without a year gets the one that brings it nearest to a time that is known to be near: that of the run, or the
last change of the file. A log without years that is longer than half a year is dated wrongly; no line says otherwise.
"""

import calendar
from datetime import UTC, datetime
from typing import Final

from trafficgen.clock import NS_PER_S

RFC3164_OCTETS: Final = 15
PLAIN_OCTETS: Final = 19

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), start=1
    )
}


class Stamps:
    """Reads stamps, each different second once."""

    def __init__(self, near_ns: int) -> None:
        """`near_ns`: a time near those of the lines, for stamps that have no year."""
        self._near_ns = near_ns
        self._year = datetime.fromtimestamp(near_ns / NS_PER_S, UTC).year
        self._rfc3164: dict[bytes, int | None] = {}
        self._plain: dict[bytes, int | None] = {}

    def rfc3164(self, stamp: bytes) -> int | None:
        """Of the 15 octets of `Nov 26 21:47:13`."""
        try:
            return self._rfc3164[stamp]
        except KeyError:
            return _kept(self._rfc3164, stamp, self._with_year(stamp))

    def plain(self, stamp: bytes) -> int | None:
        """Of the 19 octets of `2026-11-26 21:47:13`, with a blank or a T between."""
        try:
            return self._plain[stamp]
        except KeyError:
            return _kept(self._plain, stamp, _second(stamp))

    def _with_year(self, stamp: bytes) -> int | None:
        month, day = _MONTHS.get(stamp[:3], 0), stamp[4:6].replace(b" ", b"0")
        candidates = [
            at
            for year in (self._year - 1, self._year, self._year + 1)
            if (at := _second(b"%04d-%02d-%s %s" % (year, month, day, stamp[7:15]))) is not None
        ]
        return min(candidates, key=lambda at: abs(at - self._near_ns), default=None)


def _kept(table: dict[bytes, int | None], stamp: bytes, at_ns: int | None) -> int | None:
    """Remember it; a log has each second many times in a row."""
    if len(table) > 1000:
        table.clear()
    table[stamp] = at_ns
    return at_ns


def _second(stamp: bytes) -> int | None:
    parts = (stamp[0:4], stamp[5:7], stamp[8:10], stamp[11:13], stamp[14:16], stamp[17:19])
    if len(stamp) != PLAIN_OCTETS or not all(map(bytes.isdigit, parts)):
        return None
    if stamp[4:5] + stamp[7:8] + stamp[13:14] + stamp[16:17] != b"--::" or stamp[10:11] not in (b" ", b"T"):
        return None
    year, month, day, hour, minute, second = map(int, parts)
    if not (1970 <= year <= 2261 and 1 <= month <= 12 and hour < 24 and minute < 60 and second <= 60):
        return None
    if not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return calendar.timegm((year, month, day, hour, minute, second)) * NS_PER_S


def fraction_ns(digits: bytes) -> int:
    """Nanoseconds of the digits behind the point; more than nine are cut off."""
    return int(digits[:9].ljust(9, b"0")) if digits else 0


def zone_ns(zone: bytes) -> int | None:
    """What "Z", "+01:00" or "+0100" adds to UTC; None for anything else."""
    if zone == b"Z":
        return 0
    digits = zone[1:3] + zone[-2:]
    if zone[:1] not in (b"+", b"-") or not digits.isdigit() or len(zone) not in (5, 6):
        return None
    if len(zone) == 6 and zone[3:4] != b":":
        return None
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 15 or minutes > 59:
        return None
    seconds = hours * 3600 + minutes * 60
    return (seconds if zone[:1] == b"+" else -seconds) * NS_PER_S

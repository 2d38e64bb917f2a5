"""Numbers as people read them: counts, shares, rates and stretches of time, three digits where three will do.

Not here  durations with their unit (`trafficgen.units.format_duration`)
"""

from collections.abc import Iterable, Sequence
from typing import Final

from mboxgen.enums import table_of
from trafficgen.measure.snapshot import STRETCHES as ALL_STRETCHES
from trafficgen.outcomes import Phase

PHASES: Final = table_of(Phase, {
    Phase.CONNECT: "connect",
    Phase.TLS: "TLS",
    Phase.GREETING: "greeting",
    Phase.EHLO: "EHLO",
    Phase.HELO: "HELO",
    Phase.LHLO: "LHLO",
    Phase.AUTH: "AUTH",
    Phase.MAIL: "MAIL",
    Phase.RCPT: "RCPT",
    Phase.DATA: "DATA",
    Phase.END_OF_DATA: "end of data",
    Phase.RSET: "RSET",
    Phase.QUIT: "QUIT",
    Phase.IDLE: "idle",
})  # fmt: skip
"""Phases of a session as they stand in reports."""

_OF_MESSAGES: Final = {
    "service": "service",
    "response": "response",
    "service_rejected": "service, rejected",
    "response_rejected": "response, rejected",
    "lateness": "lateness",
}
_OF_SESSIONS: Final = {
    "connect": PHASES[Phase.CONNECT],
    "tls": PHASES[Phase.TLS],
    "greeting": PHASES[Phase.GREETING],
    "ehlo": PHASES[Phase.EHLO],
    "auth": PHASES[Phase.AUTH],
    "envelope": "envelope",
    "end_of_data": PHASES[Phase.END_OF_DATA],
}
STRETCHES: Final = table_of(ALL_STRETCHES, _OF_MESSAGES | _OF_SESSIONS)
"""Stretches of time that have a histogram, as they stand in reports and in that order."""

OF_MESSAGES: Final = tuple(_OF_MESSAGES)
OF_SESSIONS: Final = tuple(_OF_SESSIONS)
"""The two groups that are compared within themselves."""

_UNITS: Final = ((1e3, "ns", 1.0), (1e6, "µs", 1e3), (1e9, "ms", 1e6))


def count(number: float) -> str:
    """ "1,234,567"; fractions are rounded."""
    return f"{number:,.0f}"


def share(part: float, whole: float) -> str:
    """ "98.00%"; nothing of nothing is "–". Never "100.00%" or "0.00%" unless it is exactly that."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    text = f"{percent:.2f}%"
    if text == "100.00%" and part < whole:
        return "99.99%"
    return "0.01%" if text == "0.00%" and part > 0 else text


def three_digits(value: float) -> str:
    """ "0.123", "1.23", "12.3", "123", "1,234"."""
    if value < 0.9995:
        return f"{value:.3f}" if value else "0"
    return f"{value:,.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def unit_for(ns: float) -> tuple[str, float]:
    """The unit that suits a duration, and how many ns it has: ("ms", 1e6)."""
    for limit, name, ns_per_unit in _UNITS:
        if ns < limit:
            return name, ns_per_unit
    return "s", 1e9


def unit_for_all(values_ns: Iterable[float]) -> tuple[str, float]:
    """One unit for durations that are meant to be compared: it suits the largest, unless the smallest then shows fewer
    than two digits."""
    shown = [ns for ns in values_ns if ns > 0]
    unit = unit_for(max(shown, default=0))
    while unit[1] > 1 and min(shown) < unit[1] / 100:
        unit = unit_for(unit[1] / 10)
    return unit


def in_unit(ns: float | None, unit: tuple[str, float]) -> str:
    """ "12.3 ms" in that unit; None is "–"."""
    return "–" if ns is None else f"{three_digits(ns / unit[1])} {unit[0]}"


def together(values_ns: Sequence[float | None]) -> tuple[str, ...]:
    """Durations that are meant to be compared, in one unit: ("0.420 ms", "12.0 ms")."""
    unit = unit_for_all(ns for ns in values_ns if ns is not None)
    return tuple(in_unit(ns, unit) for ns in values_ns)


def size(octets: float) -> str:
    """ "512 B", "24.5 MB", "1.20 GB": decimal units, as disks and networks count."""
    for limit, unit, octets_per_unit in ((1e3, "B", 1.0), (1e6, "kB", 1e3), (1e9, "MB", 1e6), (1e12, "GB", 1e9)):
        if octets < limit * 0.9995:
            return f"{octets:.0f} B" if unit == "B" else f"{three_digits(octets / octets_per_unit)} {unit}"
    return f"{three_digits(octets / 1e12)} TB"


def rate(per_s: float) -> str:
    """ "4,897", "12.3": whole numbers from 100 on."""
    return count(per_s) if per_s >= 99.95 else three_digits(per_s)


def shorten(text: str, width: int) -> str:
    """`text` in at most `width` characters."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"

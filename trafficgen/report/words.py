"""Numbers as people read them: counts, shares, rates and stretches of time, three digits where three will do.

Not here  durations with their unit (`trafficgen.units.format_duration`)
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from mboxgen.enums import table_of
from trafficgen.measure.phases import BEFORE_PHASES, BEHIND_PHASES

_BEFORE_PHASES: Final = table_of(BEFORE_PHASES, {
    "service": "service",
    "response": "response",
    "service_rejected": "service, rejected",
    "response_rejected": "response, rejected",
    "lateness": "lateness",
})  # fmt: skip
_BEHIND_PHASES: Final = table_of(BEHIND_PHASES, {"envelope": "envelope", "end_of_data": "end of data"})

_UNITS: Final = ((1e3, "ns", 1.0), (1e6, "µs", 1e3), (1e9, "ms", 1e6))


def stretches(phases: Mapping[str, str]) -> dict[str, str]:
    """Words of every stretch of time that may have a histogram, in the order of reports. `phases`: of the results."""
    return {**_BEFORE_PHASES, **phases, **_BEHIND_PHASES}


def count(number: float) -> str:
    """ "1,234,567"; fractions are rounded."""
    return f"{number:,.0f}"


def share(part: float, whole: float) -> str:
    """ "98.00%"; nothing of nothing is "–". "100.00%" and "0.00%" are exact, what is near ">99.99%", "<0.01%"."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    text = f"{percent:.2f}%"
    if text == "100.00%" and part < whole:
        return ">99.99%"
    return "<0.01%" if text == "0.00%" and part > 0 else text


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


def whole_seconds(seconds: float) -> str:
    """When something was, counted from the run's beginning: a moment before it is "0 s", not "-0 s"."""
    return f"{round(seconds):,} s"


def shorten(text: str, width: int) -> str:
    """`text` in at most `width` characters."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"

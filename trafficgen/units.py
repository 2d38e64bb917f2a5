"""Durations and rates: text to number, and number to text for people.

Takes     "90", "90s", "5m", "1h30m", "250ms"; "100/s", "6000/m", "50/10s", and KumoMTA's "1,000/sec", "local:100/min"
Gives     integer nanoseconds; messages per second
Refuses   anything else with a ValueError that says what was expected; the caller names the flag
Not here  sizes in octets: `mboxgen.recipe.sizes`
"""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Final

_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_MAX_NS: Final = 2**63
"""292 years: what a 64-bit count of nanoseconds can hold."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h|d)")
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
_GROUPED: Final = re.compile(r"\d{1,3}(?:([,_])\d{3})(?:\1\d{3})*(?:\.\d+)?")
"""Thousands apart. KumoMTA takes a separator anywhere; "1,5" would be 15 there, and is nothing here."""

_PERIODS: Final = {"sec": "s", "second": "s", "min": "m", "minute": "m", "hr": "h", "hour": "h", "day": "d"}
"""KumoMTA's other words (its ThrottleSpec)."""


def parse_duration(text: str) -> int:
    """Nanoseconds in `text`; a bare number counts seconds. Zero is a duration, a negative one is not."""
    word = text.strip().lower()
    if _NUMBER.fullmatch(word):
        word += "s"
    if word and not _DURATION_PART.sub("", word):
        ns = sum(float(number) * _NS[unit] for number, unit in _DURATION_PART.findall(word))
        if ns < _MAX_NS:
            return round(ns)
    raise ValueError(f'expected a duration such as 90, 90s, 5m or 1h30m, got "{text}"')


def parse_instant(text: str) -> int:
    """Nanoseconds since 1970 at an ISO 8601 date and time with its zone; whole microseconds."""
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise ValueError(f'expected a time with its zone such as 2026-12-01T10:00:00Z, got "{text}"')
    return (instant - _EPOCH) // timedelta(microseconds=1) * 1_000


def parse_rate(text: str) -> float:
    """Messages per second in `text`: "100/s", "6000/m", "1/h", "50/10s"; a bare number is per second."""
    word = text.strip().lower().removeprefix("local:")  # KumoMTA's: this node alone, which is what a rate is here
    if ",max_burst=" in word:
        raise ValueError(f'expected a rate without max_burst, as messages start evenly here, got "{text}"')
    number, span_ns = split_rate(word if "/" in word else f"{word}/s")
    rate_per_s = float(number) * _NS["s"] / span_ns if span_ns else 0.0
    if not (0.0 < rate_per_s < math.inf):
        raise ValueError(f'expected a rate above zero such as 100/s, 6000/m or 50/10s, got "{text}"')
    return rate_per_s


def split_rate(text: str) -> tuple[str, int]:
    """Number and span of "100/s", "1,000/min" or "50/10s"; the span is 0 where `text` is no rate."""
    number, _, per = text.strip().lower().partition("/")
    number, unit = number.strip(), per.strip()
    if _GROUPED.fullmatch(number):
        number = number.replace(",", "").replace("_", "")
    unit = _PERIODS.get(unit, unit)
    if not unit or not _NUMBER.fullmatch(number):
        return "", 0
    try:
        return number, parse_duration(unit if unit[:1].isdigit() else f"1{unit}")
    except ValueError:
        return "", 0


def format_duration(ns: float) -> str:
    """`ns` for people, three digits at most: "850 ns", "12.3 µs", "4.56 ms", "1.20 s", "12m 05s", "1h 02m"."""
    for limit, unit, word in ((1e3, 1, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms"), (1e11, 1e9, "s")):
        if ns < limit * 0.9995:
            value = ns / unit
            if unit == 1:
                return f"{value:.0f} ns"
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {word}"
    seconds = round(ns / 1e9)
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02d}s"
    return f"{seconds // 3600}h {seconds % 3600 // 60:02d}m"

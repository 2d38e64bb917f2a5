"""Text to octets and back, and the sizes of a corpus from text.

Takes     "60kb", "10KiB", "1.5MB", "100000"; "60kb:5"; "spec2001"; "uniform:1kb-10kb"; "lognormal:8kb,0.7,5MB"
Gives     octets (parse_size, format_size) and distributions (parse_sizes)
Refuses   what is negative, zero, endless, not whole, or not a size: SizeError with one line
Not here  drawing (distributions), the tables with a source (presets), counts (recipe)

kb, mb, gb and bare k, m, g are decimal; kib, mib, gib are binary; upper and lower case mean the same.
"""

from __future__ import annotations

import difflib
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from mboxgen.recipe.distributions import Mix, Sizes, Uniform, lognormal
from mboxgen.recipe.presets import POSTFIX_LIMIT, PRESETS, Preset

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_MESSAGE_OCTETS", "PRESETS", "Preset", "SizeError", "Sizes", "format_size", "parse_size", "parse_sizes"]

MAX_MESSAGE_OCTETS = (1 << 31) - 1  # RFC 1870 allows more, no server does; the index counts in 32 bits
_UNITS = {"": 1, "b": 1} | {
    prefix + unit: base**power
    for power, prefix in enumerate("kmgtpe", start=1)
    for unit, base in (("", 1000), ("b", 1000), ("ib", 1024))
}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([a-z]*)", re.IGNORECASE | re.ASCII)
_LEAST_LOGNORMAL = 512  # a curve has no end below; a message has headers
_NAMES = ("kB", "MB", "GB", "TB", "PB", "EB")
_EXAMPLES = 'such as "60kb", "10KiB" or "1.5MB"'


class SizeError(ValueError):
    """A size or a distribution of sizes that cannot be used; the text is one line for the user."""


def parse_size(text: str) -> int:
    """Give the octets that a text such as "60kb" stands for; a fraction of an octet is rounded."""
    match = _SIZE.fullmatch(text.strip())
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise SizeError(f'expected a size {_EXAMPLES}, got "{text}"')
    octets = round(Decimal(match[1]) * unit) if len(match[1]) < 40 else 1 << 64
    if octets == 0:
        raise SizeError(f'a size must be above zero, got "{text}"')
    if octets >= 1 << 62:
        raise SizeError(f'a size must be below 4 EiB, got "{text}"')
    return octets


def format_size(octets: int) -> str:
    """Give a size for people, decimal, with at most two decimals: 60000 is "60 kB"."""
    if octets < 1000:
        return f"{octets} B"
    power = 1
    while power < len(_NAMES) and round(Decimal(octets) / 1000**power, 2) >= 1000:
        power += 1
    text = f"{Decimal(octets) / 1000**power:.2f}".rstrip("0").rstrip(".")
    return f"{text} {_NAMES[power - 1]}"


def parse_sizes(specs: Sequence[str]) -> Sizes:
    """Make one distribution of texts: sizes with or without weight, or one preset or curve alone."""
    if not specs:
        raise SizeError(f"expected at least one size, {_EXAMPLES}, or a preset such as spec2001")
    whole = [spec for spec in specs if _is_whole(spec)]
    if whole and len(specs) > 1:
        raise SizeError(f'"{whole[0]}" is a whole distribution and stands alone, got {len(specs)} sizes')
    if whole:
        return _whole(whole[0].strip())
    pairs = [_weighted(spec) for spec in specs]
    if all(weight == 0 for _, weight in pairs):
        raise SizeError(f'at least one weight must be above zero, got "{", ".join(specs)}"')
    name = " ".join(spec.strip() for spec in specs)
    return Mix(name, tuple(size for size, _ in pairs), tuple(weight for _, weight in pairs))


def _is_whole(spec: str) -> bool:
    """Tell a preset or a curve from a size with or without weight."""
    head = spec.strip().partition(":")[0].lower()
    return head in PRESETS or (head[:1].isalpha() and head not in ("nan", "inf", "infinity"))


def _whole(spec: str) -> Sizes:
    head, _, rest = spec.partition(":")
    if head.lower() == "uniform":
        return _uniform(spec, rest)
    if head.lower() == "lognormal":
        return _lognormal(spec, rest)
    preset = PRESETS.get(head.lower())
    if preset is None:
        near = difflib.get_close_matches(head.lower(), [*PRESETS, "uniform", "lognormal"], n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"presets are {', '.join(PRESETS)}"
        raise SizeError(f'expected a size {_EXAMPLES}, or a preset, got "{spec}"; {hint}')
    if rest:
        raise SizeError(f'a preset takes no weight, got "{spec}"; try "{preset.name}"')
    return preset.sizes


def _uniform(spec: str, rest: str) -> Sizes:
    low, dash, high = rest.partition("-")
    if not dash:
        raise SizeError(f'expected uniform:MIN-MAX such as "uniform:1kb-10kb", got "{spec}"')
    least, most = parse_message_size(low), parse_message_size(high)
    if least > most:
        raise SizeError(f'the smaller size comes first, got "{spec}"; try "uniform:{high}-{low}"')
    return Uniform(spec, least, most)


def _lognormal(spec: str, rest: str) -> Sizes:
    fields = rest.split(",")
    if len(fields) not in (2, 3):
        raise SizeError(f'expected lognormal:MEDIAN,SIGMA[,CAP] such as "lognormal:8kb,0.7,5MB", got "{spec}"')
    median = parse_message_size(fields[0])
    sigma = _number(fields[1], spec, "sigma")
    cap = parse_message_size(fields[2]) if len(fields) == 3 else max(POSTFIX_LIMIT, 2 * median)
    if not 0 < sigma <= 5:
        raise SizeError(f'sigma must be above 0 and at most 5, got "{fields[1]}" in "{spec}"')
    if median > cap:
        raise SizeError(f'the cap must not be below the median, got "{spec}"')
    return lognormal(spec, median, sigma, min(_LEAST_LOGNORMAL, median), min(cap, MAX_MESSAGE_OCTETS))


def _weighted(spec: str) -> tuple[int, float]:
    text, colon, weight = spec.partition(":")
    number = _number(weight, spec, "weight") if colon else Decimal(1)
    if number < 0:
        raise SizeError(f'a weight must not be negative, got "{spec}"')
    if number > 10**12:
        raise SizeError(f'a weight must be at most 10^12, got "{spec}"')
    return parse_message_size(text), float(number)


def parse_message_size(text: str) -> int:
    """Like parse_size, for one message: refuses what no mail server could hold."""
    octets = parse_size(text)
    if octets > MAX_MESSAGE_OCTETS:
        raise SizeError(f'a message must be below 2 GiB, got "{text}"')
    return octets


def _number(text: str, spec: str, what: str) -> Decimal:
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise SizeError(f'expected a number for the {what}, got "{text}" in "{spec}"')
    return number

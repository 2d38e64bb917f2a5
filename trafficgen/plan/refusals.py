"""How parts of a plan refuse what makes no sense: the field and its flag are named, what was typed is quoted safely.

Takes     a value, its field and its flag
Fails     PlanError: expected, found, what to try; nothing is corrected on the way
Not here  what makes no sense: each part of the plan knows its own limits
"""

from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin

from trafficgen.errors import PlanError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MAX_DURATION_NS: Final = 1_000 * 86_400_000_000_000
"""A thousand days: what nobody waits for, and what every timer underneath can still count."""

MAX_RATE_PER_S: Final = 1e9
"""An arrival a nanosecond, the unit of the schedule."""

MAX_WEIGHT: Final = 1e100
"""Any number of such weights can be added up."""

MAX_MESSAGES: Final = 10**12
"""Message numbers have twelve digits (docs/reference/ledger.md)."""


def wrong(field_name: str, text: str, flag: str) -> PlanError:
    """The error to raise."""
    return PlanError(text, field=field_name, flag=flag)


def shown(text: str) -> str:
    """What was typed, fit for one line of a message."""
    return text.encode("unicode_escape").decode("ascii")[:80]


def shown_number(number: float) -> str:
    """A number that was asked for; Python itself refuses to write a whole one of more than 4,300 digits."""
    if isinstance(number, int) and abs(number) >= 10**20:
        return f"a number of {number.bit_length()} bits"
    return f"{number:g}" if isinstance(number, float) else str(number)


def check_types(part: "DataclassInstance") -> None:
    """PlanError unless every field of `part` has the type that it was declared with."""
    for name, kind in _kinds(type(part)):
        value = getattr(part, name)
        if not _is(value, kind):
            hint = "; parse_target makes one of a text" if name == "target" else ""
            text = f"expected {_words(kind)}, got {shown(repr(value))}{hint}"
            raise wrong(name, text, f"--{name.replace('_', '-')}")


@cache
def _kinds(part: "type[DataclassInstance]") -> tuple[tuple[str, Any], ...]:
    return tuple((field.name, field.type) for field in fields(part))


def _is(value: object, kind: Any) -> bool:
    if isinstance(kind, UnionType):
        return any(_is(value, one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = get_args(kind)
        if kinds[-1] is Ellipsis:
            return all(_is(entry, kinds[0]) for entry in value)
        return len(value) == len(kinds) and all(map(_is, value, kinds))
    if kind in (int, float):  # True is an int to Python, and no count to anybody
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)


def _words(kind: Any) -> str:
    if isinstance(kind, UnionType):
        return " or ".join(map(_words, get_args(kind)))
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        if kinds[-1] is Ellipsis:
            return f"a tuple of which each is {_words(kinds[0])}"
        return f"a tuple of {' and '.join(map(_words, kinds))}"
    plain = {int: "a whole number", float: "a number", str: "a text", bool: "True or False", NoneType: "None"}
    return plain.get(kind) or f"{'an' if kind.__name__[0] in 'AEIO' else 'a'} {kind.__name__}"


def check_duration(duration_ns: int, field_name: str, whose: str, flag: str, *, least_ns: int = 1) -> None:
    """PlanError unless it is `least_ns` (1 or 0) or more, and no longer than anything here can wait."""
    if not least_ns <= duration_ns <= MAX_DURATION_NS:
        least = "above zero" if least_ns else "of zero or more"
        raise wrong(
            field_name, f"expected {whose} {least} and of 1000 days at most, got {shown_number(duration_ns)} ns", flag
        )


def check_rate(rate_per_s: float, field_name: str, whose: str, flag: str, *, above: bool) -> None:
    """PlanError unless it is above zero, or with `above` false zero or more, and not beyond the schedule's unit."""
    if not (rate_per_s > 0.0 if above else rate_per_s >= 0.0) or rate_per_s > MAX_RATE_PER_S:
        least = "above zero" if above else "of zero or more"
        raise wrong(
            field_name,
            f"expected {whose} {least} and of {MAX_RATE_PER_S:g}/s at most, got {shown_number(rate_per_s)}",
            flag,
        )


def check_weight(weight: float, whose: str, flag: str) -> None:
    """PlanError unless it is a number above zero."""
    if not 0.0 < weight <= MAX_WEIGHT:
        raise wrong(
            "weight", f"{whose} must be a number above zero, {MAX_WEIGHT:g} at most, got {shown_number(weight)}", flag
        )


def check_count(count: int, field_name: str, whose: str, flag: str, *, most: int) -> None:
    """PlanError unless it is from 1 to `most`."""
    if not 1 <= count <= most:
        raise wrong(field_name, f"{whose} must be from 1 to {most}, got {shown_number(count)}", flag)

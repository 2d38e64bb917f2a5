"""How parts of a plan refuse what makes no sense: the field and its flag are named, what was typed is quoted safely."""

import math

from trafficgen.errors import PlanError


def wrong(field_name: str, text: str, flag: str) -> PlanError:
    """The error to raise."""
    return PlanError(text, field=field_name, flag=flag)


def shown(text: str) -> str:
    """What was typed, fit for one line of a message."""
    return text.encode("unicode_escape").decode("ascii")[:80]


def check_weight(weight: float, whose: str, flag: str) -> None:
    """PlanError unless it is a number above zero."""
    if not 0.0 < weight < math.inf:
        raise wrong("weight", f"{whose} must be a number above zero, got {weight:g}", flag)


def check_count(count: int, field_name: str, whose: str, flag: str) -> None:
    """PlanError unless it is 1 or more."""
    if count < 1:
        raise wrong(field_name, f"{whose} must be at least 1, got {count}", flag)

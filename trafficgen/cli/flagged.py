"""Any parser's error as one that names the option.

Takes     a parser that raises ValueError, a text, the plan's field and the flag that it came by
Gives     the value
Refuses   what the parser refuses, with a `PlanError`
Not here  parsers that make parts of a plan (parsing): importing those costs a third of the time that help takes
"""

import shlex
from collections.abc import Callable
from typing import TypeVar

from trafficgen.errors import PlanError

T = TypeVar("T")


def parse_with(parser: Callable[[str], T], text: str, field: str, flag: str) -> T:
    """`parser(text)`, its ValueError turned into a PlanError that names `flag`."""
    try:
        return parser(text)
    except ValueError as error:
        raise PlanError(str(error), field=field, flag=flag) from error


def check_command(text: str | None, field: str, flag: str, such_as: str) -> None:
    """PlanError for a text that is no command with its arguments: nothing, or a quotation mark that is not closed."""
    try:
        good = text is None or (bool(shlex.split(text)) and "\0" not in text)
    except ValueError:
        good = False
    if not good:
        raise PlanError(f'expected a command such as {such_as}, got "{text}"', field=field, flag=flag)

"""Options that stand in help under the name of their group, and in the environment under names of ours.

Gives     click's commands, options and texts, as our commands have them; `group` for options of one group
Not here  which options a command has
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_type_hints

import click

from mboxgen.console import HELP_OPTIONS

ENVIRONMENT_PREFIX: Final = "TRAFFIC_GEN_"
_COLUMN: Final = 27  # the same in every group, or help is ragged

_Command = TypeVar("_Command", bound=Callable[..., Any])


if TYPE_CHECKING:
    _TextType = click.ParamType[str]
else:
    _TextType = click.ParamType  # generic since click 8.4 only


class TextPerLine(_TextType):
    """A text; in the environment, one a line."""

    name = "text"

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        return [line for line in rv.splitlines() if line.strip()]


class GroupedOption(click.Option):
    """An option that knows its group in help and its environment variables."""

    def __init__(self, declarations: Sequence[str], group: str, **settings: Any) -> None:
        longs = [name for name in declarations if name.startswith("--")]
        names = [ENVIRONMENT_PREFIX + name[2:].replace("-", "_").upper() for name in longs]
        told = " ".join((settings.pop("help", None) or "").split()) or None
        super().__init__(declarations, help=told, **{"envvar": names, **settings})
        self.group = group


class GroupedCommand(click.Command):
    """A command whose help, asked for by -h as well, shows its options by group, each group under its name."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        # A command keeps its first idea of which options ask for help, so it must not wait for its group to say.
        super().__init__(*given, **{"context_settings": HELP_OPTIONS, **settings})

    def invoke(self, ctx: click.Context) -> Any:
        from trafficgen.cli.own_files import refuse_shared_files

        refuse_shared_files(ctx)
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):  # click >= 8.3 describes arguments as well
                names, words = record
                groups.setdefault(getattr(parameter, "group", "Help"), []).append((f"{names:<{_COLUMN}}", words))
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records, col_max=_COLUMN)


def group(title: str) -> Callable[..., Callable[[_Command], _Command]]:
    """`click.option` for options of this group."""
    return partial(click.option, cls=GroupedOption, group=title)


def all_of(*options: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
    """A decorator that adds these options to a command, in this order."""

    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def options_of(record: type) -> Callable[[_Command], _Command]:
    """The same for a dataclass: the options that its fields are annotated with."""
    hints = get_type_hints(record, include_extras=True).values()
    return all_of(*(option for hint in hints for option in getattr(hint, "__metadata__", ())))

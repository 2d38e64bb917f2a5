"""What is public, in one list: names of the library, options, keys of files, exit codes.

    python -m tests.library.public_api          shows what differs from the recorded list
    python -m tests.library.public_api --write  records it again

Gives     a line for each name, sorted, the same for every version of Python and of the libraries we use
Not here  what they mean (docs), how they may change (docs/reference/compatibility.md)
"""

import dataclasses
import difflib
import enum
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

import mboxgen.cli
import trafficgen
import trafficgen.testing
import trafficgen.testing.pytest_plugin
from trafficgen.cli.program import COMMANDS, program
from trafficgen.cli.schema import scenario_schema
from trafficgen.measure.results import Results

RECORDED: Final = Path(__file__).with_name("public_api.txt")


def listed() -> str:
    """The whole list."""
    lines = {*_module(trafficgen), *_module(trafficgen.testing), *_commands(), *_mboxgen(), *_files()}
    lines.add("pytest fixture mail_sink")
    return "\n".join(sorted(lines)) + "\n"


def difference() -> str:
    """Recorded and found, line by line; "" when they are alike."""
    recorded, found = RECORDED.read_text().splitlines(), listed().splitlines()
    return "\n".join(difflib.unified_diff(recorded, found, "recorded", "found", lineterm="", n=0))


def _module(module: Any) -> Iterator[str]:
    for name in module.__all__:
        yield from _named(f"{module.__name__}.{name}", getattr(module, name))


def _named(name: str, value: Any) -> Iterator[str]:
    if not isinstance(value, type):
        yield f"{name}{_signature(value)}" if callable(value) and not isinstance(value, str) else name
        return
    if issubclass(value, enum.Enum):
        yield from (f"{name}.{member} = {one.value!r}" for member, one in value.__members__.items())
        return
    yield f"{name}{_signature(value)}"
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    yield from (f"{name}.{field.name}" for field in fields)
    for attribute, found in inspect.getmembers_static(value):
        if attribute.startswith("_") or attribute in {field.name for field in fields}:
            continue
        if _ours(value, attribute):
            function = getattr(found, "__func__", found)
            yield f"{name}.{attribute}{_signature(function) if inspect.isfunction(function) else ''}"


def _ours(value: type, attribute: str) -> bool:
    """Not of a class of the standard library, such as what every exception or tuple has."""
    owner = next(one for one in value.__mro__ if attribute in vars(one))
    return owner.__module__.partition(".")[0] in ("trafficgen", "mboxgen")


def _signature(function: Any) -> str:
    """Names, kinds and plain defaults. Types differ in how versions of Python write them; mypy looks after those."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return ""
    plain = [
        one.replace(annotation=inspect.Parameter.empty, default=_plain(one.default))
        for one in parameters
        if one.name not in ("self", "cls")
    ]
    return str(inspect.Signature(plain))


class _Shown(str):
    """A default, as the list shows it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _plain(default: Any) -> Any:
    if default is inspect.Parameter.empty or isinstance(default, bool | int | float | str | None):
        return default
    return _Shown(str(default) if isinstance(default, enum.Enum) else "…")


def _commands() -> Iterator[str]:
    with click.Context(program, info_name="traffic-gen") as parent:
        for name in COMMANDS:
            command = program.get_command(parent, name)
            assert command is not None
            yield from _command(f"traffic-gen {name}", command)


def _mboxgen() -> Iterator[str]:
    main = mboxgen.cli.commands
    with click.Context(main, info_name="mboxgen") as parent:
        for name in main.list_commands(parent):
            command = main.get_command(parent, name)
            assert command is not None
            yield from _command(f"mboxgen {name}", command)


def _command(name: str, command: click.Command) -> Iterator[str]:
    if isinstance(command, click.Group):
        for word, one in command.commands.items():
            yield from _command(f"{name} {word}", one)
    for parameter in command.params:
        if getattr(parameter, "hidden", False):
            continue
        if isinstance(parameter, click.Option):
            names = ", ".join((*parameter.opts, *parameter.secondary_opts))
            yield f"{name} {names}{_takes(parameter)}"
        else:
            yield f"{name} <{parameter.name}>{_takes(parameter)}"


def _takes(parameter: click.Parameter) -> str:
    words = []
    if isinstance(parameter.type, click.Choice):
        words.append(f" one of {', '.join(str(getattr(one, 'value', one)) for one in parameter.type.choices)}")
    elif not getattr(parameter, "is_flag", False):
        words.append(" VALUE")
    if getattr(parameter, "multiple", False) or parameter.nargs == -1:
        words.append("...")
    return "".join(words)


def _files() -> Iterator[str]:
    yield from (f"scenario {key}" for key in _keys(scenario_schema()))
    schema = Results.schema()
    yield from (f"results {key}" for key in _keys(schema))
    for piece, found in schema["$defs"].items():
        yield from (f"results {piece}.{key}" for key in _keys(found))


def _keys(schema: Mapping[str, Any]) -> Iterator[str]:
    for key, value in schema.get("properties", {}).items():
        yield key
        yield from (f"{key}.{below}" for below in _keys(value.get("items", value)))


def main() -> None:
    """See the top."""
    if "--write" in sys.argv[1:]:
        RECORDED.write_text(listed())
    elif found := difference():
        raise SystemExit(found)


if __name__ == "__main__":
    main()

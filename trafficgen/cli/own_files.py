"""Nothing that a command writes is a file that it reads, or writes twice.

Takes     the options and arguments of a command, as given
Gives     nothing, when all files that it writes are files of their own
Fails     PlanError that names both options; before anything is read, connected to or written
Not here  whether a file can be written (host.output); pipes and devices, which may stand behind several options
"""

from pathlib import Path
from typing import Final

import click

from mboxgen.console import FILE, PATH
from trafficgen.errors import PlanError

_WRITTEN: Final = frozenset({"--json", "--junit", "--html", "--csv", "--manifest", "--output"})
"""Options that name a file to write, in every command in which they take a name."""
_FORMED: Final = "--capture"
"""Names its file behind a form and a colon."""
_ALSO_WRITTEN: Final = {"sink": frozenset({"--ledger", _FORMED}), "gate": frozenset({"--history", "--state"})}


def refuse_shared_files(context: click.Context) -> None:
    """Compare each file that is written with all others, however their names are spelt."""
    also_written = _ALSO_WRITTEN.get(context.command.name or "", frozenset())
    written: dict[str, Path] = {}
    read: list[tuple[str, Path]] = []
    for parameter in context.command.params:
        flag = max(parameter.opts, key=len) if isinstance(parameter, click.Option) else "this command"
        given = context.params.get(parameter.name or "")
        if flag == _FORMED:
            given = given.partition(":")[2] if given else None
        elif parameter.type is not FILE and parameter.type is not PATH:
            continue
        for name in given if isinstance(given, tuple) else (given,):
            if not name or str(name) == "-":
                continue
            if flag not in _WRITTEN | also_written:
                read.append((flag, Path(name)))
                continue
            for other, theirs in written.items():
                _refuse_if_same(flag, Path(name), theirs, f"{other} writes as well")
            written[flag] = Path(name)
    for flag, path in written.items():
        for other, theirs in read:
            _refuse_if_same(flag, path, theirs, f"{other} reads")


def _refuse_if_same(flag: str, path: Path, other: Path, why: str) -> None:
    if _is_same(path, other):
        text = f'expected a file of its own, got "{path}", which {why}'
        raise PlanError(text, field=flag.strip("-").replace("-", "_"), flag=flag)


def _is_same(one: Path, other: Path) -> bool:
    """Whether both are one regular file, or would be."""
    try:
        if one.exists() and other.exists():
            return one.is_file() and one.samefile(other)
        return one.resolve() == other.resolve()
    except (OSError, RuntimeError, ValueError):  # what cannot even be looked at is refused when it is opened
        return False

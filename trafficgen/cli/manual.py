"""Man pages of both programs and of each of their commands, from the commands themselves.

Takes     click commands: of their help texts and epilogs a paragraph after \\b is kept as it is, and what begins with
          "Example" or "Exit codes:" goes where man pages have such
Gives     pages in the man macros that groff and mandoc read, in ASCII: `python -m trafficgen.cli.manual FOLDER`
Not here  the same as Markdown (reference), putting them into the wheel (.ci/build_hook.py)
Source    groff_man(7), man-pages(7)
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from inspect import cleandoc
from pathlib import Path
from typing import Final, NamedTuple

import click

from mboxgen.cli import EXIT_WORDS as MBOXGEN_EXIT_WORDS
from mboxgen.cli import commands as mboxgen
from mboxgen.cli import word_tables
from mboxgen.console import HELP_OPTIONS
from trafficgen.cli.grouped import ENVIRONMENT_PREFIX
from trafficgen.cli.program import NAME, program
from trafficgen.cli.reference import EXIT_WORDS
from trafficgen.host.version import VERSION

_ENVIRONMENT: Final = {
    f"{ENVIRONMENT_PREFIX}...": f"every option of `send`, such as {ENVIRONMENT_PREFIX}MESSAGE_COUNT for "
    "`--message-count`; the command line wins",
    "NO_COLOR": "no colour, as with TERM=dumb",
    "XDG_STATE_HOME": "where `calibrate` keeps what it measured; ~/.local/state if not set",
}


class ManPage(NamedTuple):
    """`title`: as in `man TITLE`."""

    title: str
    text: str


class _Words(NamedTuple):
    """What a command says of itself, as lines of roff."""

    description: list[str]
    examples: list[str]
    exits: list[str]


def man_pages(day: date) -> Iterator[ManPage]:
    """All of them; a program's own page comes before those of its commands."""
    codes = {code.value: words for code, words in EXIT_WORDS.items()}
    yield from _Manual(program, NAME, codes, day).pages(["[COMMAND] [OPTIONS]"], {"ENVIRONMENT": _ENVIRONMENT})
    tables = {title.upper(): dict(rows) for title, rows in word_tables().items()}
    usages, make = ["PATH [OPTIONS]", "COMMAND PATH"], mboxgen.commands["make"]
    yield from _Manual(mboxgen, "mboxgen", MBOXGEN_EXIT_WORDS, day).pages(usages, tables, make)


def write_man_pages(folder: Path, day: date) -> list[Path]:
    """Each page as TITLE.1 in `folder`; `day`: of the version."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for page in man_pages(day):
        written.append(folder / f"{page.title}.1")
        written[-1].write_text(page.text, encoding="ascii")
    return written


class _Manual:
    """The pages of one program."""

    def __init__(self, group: click.Group, name: str, codes: Mapping[int, str], day: date) -> None:
        self._name = name
        self._day = day
        self._group = group
        self._exits = list(_tagged((str(code), words) for code, words in codes.items()))
        self._context = click.Context(group, info_name=name, **HELP_OPTIONS)
        found = {one: group.get_command(self._context, one) for one in group.list_commands(self._context)}
        self._commands = {one: command for one, command in found.items() if command is not None and not command.hidden}
        self._titles = [name, *(f"{name}-{one}" for one in self._commands)]

    def pages(
        self, usages: Sequence[str], sections: Mapping[str, Mapping[str, str]], own: click.Command | None = None
    ) -> Iterator[ManPage]:
        """`sections`: titles, with what stands there as terms and words; `own`: the command whose options are those of
        the program itself."""
        options = [] if own is None else _options(own, click.Context(own, info_name=own.name, parent=self._context))
        summaries = {one: _summary(command) for one, command in self._commands.items()}
        titled = ({"COMMANDS": summaries} | dict(sections)).items()
        more = [line for title, rows in titled for line in (f".SH {title}", *_tagged(rows.items()))]
        yield self._page(self._name, self._group, usages, [*options, *more])
        for one, command in self._commands.items():
            inner = click.Context(command, info_name=one, parent=self._context)
            usage = " ".join((one, *command.collect_usage_pieces(inner)))
            yield self._page(f"{self._name}-{one}", command, [usage], _options(command, inner))

    def _page(self, title: str, command: click.Command, usages: Iterable[str], middle: Iterable[str]) -> ManPage:
        words = _words(command)
        lines = [
            f'.TH "{_roff(title.upper())}" 1 {self._day} "{NAME} {VERSION}" "Traffic-gen"',
            ".nh",  # words are names of options, which a hyphen would change
            ".ad l",
            ".SH NAME",
            f"{_roff(title)} \\- {_roff(_summary(command))}",
            ".SH SYNOPSIS",
            *_broken(f"\\fB{_roff(self._name)}\\fR {_roff(usage)}" for usage in usages),
            ".SH DESCRIPTION",
            *words.description,
            *middle,
            *([".SH EXAMPLES", *words.examples] if words.examples else []),
            ".SH EXIT STATUS",
            *(words.exits or self._exits),
            ".SH SEE ALSO",
            ",\n".join(f"\\fB{_roff(one)}\\fR(1)" for one in self._titles if one != title),
        ]
        return ManPage(title, "\n".join(lines) + "\n")


def _summary(command: click.Command) -> str:
    """The first sentence of its help, as NAME has it: no capital, no full stop."""
    first = " ".join(cleandoc(command.help or "").partition("\n\n")[0].split()).partition(". ")[0].rstrip(".")
    return first[:1].lower() + first[1:]


def _words(command: click.Command) -> _Words:
    words = _Words([], [], [])
    for told in (command.help, command.epilog):
        for paragraph in re.split(r"\n\s*\n", cleandoc(told or "")):
            kept = paragraph.startswith("\b\n")
            plain = paragraph.removeprefix("\b\n")
            heading = re.match(r"(Examples?|Exit codes):\s*", plain)
            place = words.exits if heading and heading[1] == "Exit codes" else words.description
            if kept or (heading and heading[1] != "Exit codes"):
                place = words.examples
                kept = True
            if text := plain[heading.end() :] if heading else plain:
                place += [".PP"] * bool(place) + _paragraph(text, kept=kept)
    return words


def _paragraph(text: str, *, kept: bool) -> list[str]:
    """`kept`: with the lines as they are."""
    if kept:
        return [".RS 4", ".nf", *map(_roff, cleandoc(text).splitlines()), ".fi", ".RE"]
    return [_filled(text)]


def _options(command: click.Command, context: click.Context) -> list[str]:
    """All options, each group under its name."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for option in command.get_params(context):
        record = option.get_help_record(context)
        if record is not None and isinstance(option, click.Option):
            groups.setdefault(getattr(option, "group", "Help"), []).append(record)
    lines = [".SH OPTIONS"]
    for title, records in groups.items():
        lines += ([f'.SS "{_roff(title)}"'] if len(groups) > 1 else []) + list(_tagged(records))
    return lines


def _tagged(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for tag, words in rows:
        breakable = _roff(tag).replace("|", "|\\:")
        yield from (".TP", f"\\fB{breakable}\\fR", _filled(words))


def _broken(lines: Iterable[str]) -> Iterator[str]:
    """Each on a line of its own."""
    for place, line in enumerate(lines):
        yield from ([".br"] if place else [])
        yield line


def _filled(text: str) -> str:
    """A paragraph, with what is in backticks in bold."""
    return re.sub(r"`([^`]+)`", r"\\fB\1\\fR", _roff(" ".join(text.split())))


def _roff(text: str) -> str:
    """`text` with nothing in it that roff acts on, in ASCII; hyphens stay such, so that options can be copied."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in text)
    return f"\\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    write_man_pages(Path(sys.argv[1]), datetime.now(UTC).date())

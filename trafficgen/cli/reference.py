"""The reference of all commands, as Markdown, from the commands themselves.

Takes     the commands of `program`
Gives     the text of docs/cli.md: `python -m trafficgen.cli.reference > docs/cli.md`; a test keeps the two alike
Not here  explanations (docs/reference/workload.md)
"""

import re
from collections.abc import Iterator
from inspect import cleandoc
from typing import Final

import click

from mboxgen.console import HELP_OPTIONS
from mboxgen.enums import table_of
from trafficgen.cli.grouped import ENVIRONMENT_PREFIX
from trafficgen.cli.program import COMMANDS, NAME, program
from trafficgen.errors import ExitCode

EXIT_WORDS: Final = table_of(
    ExitCode,
    {
        ExitCode.DONE: "it did what was asked",
        ExitCode.FAILED: "it could not: target unreachable, a message failed without `--keep-going`, none was "
        "accepted, an output or a proof is missing",
        ExitCode.USAGE: "wrong usage: an option or the plan makes no sense",
        ExitCode.VERDICT_FAILED: "a verdict failed: a threshold, a gate, or a ledger with a missing, duplicated or "
        "corrupted message",
        ExitCode.INTERRUPTED: "interrupted; the results were saved",
        ExitCode.INCONCLUSIVE: "inconclusive: there is not enough evidence for a verdict",
        ExitCode.NOT_VALID: "the measurement is not valid: part of the generator was lost, or it was the limit where a "
        "threshold is judged",
        ExitCode.NOT_COMPARABLE: "the results are missing or damaged, or cannot be compared",
    },
)

INTRODUCTION = f"""\
# The command line

Generated from the program (`python -m trafficgen.cli.reference > docs/cli.md`). `{NAME} --help` says the same.

`{NAME}` without a command is `{NAME} send`; `python -m trafficgen` is `{NAME}`.

## Environment

Every option of `send` is also read from an environment variable: its name in capitals, with `_` for `-`, after
`{ENVIRONMENT_PREFIX}`, as `{ENVIRONMENT_PREFIX}MESSAGE_COUNT` for `--message-count`. Flags take 1 or 0. An option
that can be repeated takes several values, separated by spaces or line ends; `{ENVIRONMENT_PREFIX}HEADER` by line ends
alone. The command line wins.

## Shell completion

    eval "$({NAME} completion bash)"      # in ~/.bashrc
    eval "$({NAME} completion zsh)"       # in ~/.zshrc, after compinit
    {NAME} completion fish | source       # in ~/.config/fish/config.fish

For `mboxgen` as well. File names, presets, commands of commands and what follows `gate … --` are completed too.
With the wheel the scripts are installed where shells look for them, and man pages where `man` does (`man {NAME}-sink`).

## Where things go

The summary goes to standard output; notices, the live line and errors go to standard error. An error is one line. With
`--json -` the results go to standard output and the summary to standard error.

Every output file is written beside its place and renamed when it is whole, so that none is ever there by half; one that
cannot be written (a full disk) is named with its option, the summary and all other files are there, and the exit code
is 1. A symbolic link at the path is followed and stays. Pipes and devices (`/dev/stdout`, `/dev/fd/3`) are written to
as they are; start the reader of a named pipe first.

## Exit codes

| code | meaning |
|---|---|
""" + "".join(f"| {code.value} | {words} |\n" for code, words in EXIT_WORDS.items())


def reference() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    with click.Context(program, info_name=NAME, **HELP_OPTIONS) as parent:
        for name in COMMANDS:
            command = program.get_command(parent, name)
            assert command is not None
            parts.append("\n".join(_command(name, command, parent)))
    return "\n".join(parts)


def _command(name: str, command: click.Command, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    yield f"## {NAME} {name}\n"
    yield f"    {NAME} {name} {' '.join(command.collect_usage_pieces(context))}\n"
    yield _paragraphs(command.help or "")
    title = None
    for option in command.get_params(context):
        record = option.get_help_record(context)
        if record is None or not isinstance(option, click.Option):
            continue
        group = getattr(option, "group", "Help")
        if group != title:
            title = group
            yield f"\n### {title}\n\n| option | meaning |\n|---|---|"
        yield f"| `{_cell(record[0])}` | {_cell(record[1])} |"
    yield ""
    yield _paragraphs(command.epilog or "").rstrip() + "\n"


def _paragraphs(text: str) -> str:
    """click's help text as Markdown: what it keeps as it is (a paragraph after \\b) becomes a code block."""

    def indented(kept: re.Match[str]) -> str:
        return re.sub(r"^ *(?=.)", "    ", kept[1], flags=re.MULTILINE)

    return re.sub(r"\x08\n((?:.+\n?)+)", indented, cleandoc(text))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(reference(), end="")

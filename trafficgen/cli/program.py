"""The program: which commands there are, and what its exit code says.

Takes     the arguments; without a command they are those of `send`
Gives     one exit code (`errors.ExitCode`); errors that were foreseen as one line, without a traceback
Not here  what a command does; adding one is a line in `COMMANDS` and a module with a click command called `command`
"""

import errno
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

import click

from mboxgen.console import HELP_OPTIONS, StdoutError, no_such_command, prepare_streams, silence_stdout, usage_line
from trafficgen.cli.grouped import GroupedCommand
from trafficgen.cli.options import OTHERWISE
from trafficgen.errors import ExitCode, OutputError, PlanError, TrafficgenError, reason_of
from trafficgen.host.signals import exit_on_signals, raise_on_signals
from trafficgen.host.version import VERSION
from trafficgen.printable import printable

NAME: Final = "traffic-gen"
DEFAULT_COMMAND: Final = "send"


class Entry(NamedTuple):
    """Where a command is, and the line that help says of it without importing it."""

    module: str
    summary: str


COMMANDS: Final = {
    "send": Entry("trafficgen.cli.send", "Send weighted mail and account for every message (the default)."),
    "sink": Entry("trafficgen.cli.sink", "Receive mail for a server under test to deliver to, and count it."),
    "mailbox": Entry("trafficgen.cli.mailbox", "Let users get mail and read it, as imaptest's profiles say."),
    "verify": Entry("trafficgen.cli.verify", "Compare what arrived with what was sent, message by message."),
    "log": Entry("trafficgen.cli.log", "Find every message of a run in the server's log, or say who used the server."),
    "observe": Entry("trafficgen.cli.observe", "Look at a server's queue, host and processes while a run goes on."),
    "gate": Entry("trafficgen.cli.gate", "Say whether one build of a server is worse than another, with evidence."),
    "find-limit": Entry("trafficgen.cli.find_limit", "Find the highest rate at which a server keeps thresholds."),
    "history": Entry("trafficgen.cli.history", "Find where the numbers of many gates changed, however slowly."),
    "report": Entry("trafficgen.cli.report", "Show results again, in another form or against other thresholds."),
    "check": Entry("trafficgen.cli.check", "Look at how a mail server is set up: TLS, logins, relaying, mailboxes."),
    "compare": Entry("trafficgen.cli.compare", "Show one set of runs as multiples of another."),
    "calibrate": Entry("trafficgen.cli.calibrate", "Measure what this machine's generator is capable of."),
    "doctor": Entry("trafficgen.cli.doctor", "Show versions and limits, and what would hold a big run back here."),
    "merge": Entry("trafficgen.cli.merge", "Add up the results of generators that sent at the same time."),
    "export": Entry("trafficgen.cli.export", "Give latencies to other programs, such as HdrHistogram's."),
    "schema": Entry("trafficgen.cli.schema", "Print the JSON Schema of scenario or results files."),
    "completion": Entry("trafficgen.cli.completion", "Print the script that completes commands in a shell."),
    "help": Entry("trafficgen.cli.help", "Show the help of a command."),
}


class Program(click.Group):
    """A group whose commands are imported when called, and whose options are those of `send`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name].module).command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = args[:1] in (["-h"], ["--help"], ["--version"])
        named = bool(args) and not args[0].startswith("-")
        # While a shell asks for completions, an empty line could still become any command.
        if not own and not named and not (ctx.resilient_parsing and not args):
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            raise no_such_command(args[0], COMMANDS, ctx)
        return super().resolve_command(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(NAME, "[COMMAND] [OPTIONS]")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])
        self._send(ctx).format_options(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self._send(ctx).format_epilog(ctx, formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[click.shell_completion.CompletionItem]":
        found = super().shell_complete(ctx, incomplete)
        return found + (self._send(ctx).shell_complete(ctx, incomplete) if incomplete.startswith("-") else [])

    def _send(self, ctx: click.Context) -> GroupedCommand:
        command = self.get_command(ctx, DEFAULT_COMMAND)
        assert isinstance(command, GroupedCommand)
        return command


@click.group(cls=Program, context_settings=HELP_OPTIONS)
@click.version_option(VERSION, prog_name=NAME)
def program() -> None:
    """Send weighted mail traffic at a server, at the highest speed or at an exact rate, and account for every message.

    Without --target the mail goes to a sink of our own, and the summary proves that all of it arrived. A server must
    be at a loopback or private address, and recipients end in a name reserved for tests, unless you say otherwise.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and end the process with its exit code. SIGTERM and SIGHUP mean what Ctrl-C means."""
    prepare_streams()
    raise_on_signals()
    try:
        code = call(arguments)
    except KeyboardInterrupt:  # once more, while the first was being told
        code = ExitCode.INTERRUPTED
    exit_on_signals(code)
    sys.exit(int(code))


def call(arguments: Sequence[str] | None = None) -> ExitCode:
    """Run the program; the one place where errors become exit codes."""
    try:
        code = program.main(arguments, prog_name=NAME, standalone_mode=False)
        sys.stdout.flush()
    except click.NoSuchOption as error:
        hint = OTHERWISE.get(error.option_name) or _of_a_sibling(error)
        return _fail(ExitCode.USAGE, hint or usage_line(error, NAME))
    except click.ClickException as error:
        return _fail(ExitCode.USAGE, usage_line(error, NAME))
    except PlanError as error:
        return _fail(error.exit_code, error.as_typed)
    except OutputError as error:
        silence_stdout()
        return _fail(error.exit_code, str(error))
    except TrafficgenError as error:
        return _fail(error.exit_code, str(error))
    except (click.Abort, KeyboardInterrupt) as error:
        if isinstance(error.__cause__, EOFError):  # click takes it for Ctrl-D at a prompt, and we have none
            raise error.__cause__ from None
        return _fail(ExitCode.INTERRUPTED, "interrupted")
    except BrokenPipeError:
        silence_stdout()  # whoever read our output has gone
        return ExitCode.FAILED
    except OSError as error:
        silence_stdout()
        return _fail(ExitCode.FAILED, _described(error))
    return ExitCode(code or 0)


def _of_a_sibling(error: click.NoSuchOption) -> str | None:
    """Which other commands have this option, in a line; None where none has."""
    asked = error.ctx.command.name if error.ctx is not None else None
    context = click.Context(program)
    having = [
        name
        for name in COMMANDS
        if name != asked
        and (command := program.get_command(context, name)) is not None
        and any(error.option_name in parameter.opts for parameter in command.params)
    ]
    if not having or asked not in COMMANDS:
        return None
    owners = f"an option of {', '.join(having[:3])}" + (" and others" if len(having) > 3 else "")
    return f'no such option "{error.option_name}" of {asked}; it is {owners}; see {NAME} {asked} --help'


def _fail(code: ExitCode, text: str) -> ExitCode:
    # What was typed is quoted in errors: nothing in it may break the line or command the terminal.
    click.echo(f"{NAME}: {printable(text)}", err=True)
    return code


def _described(error: OSError) -> str:
    if isinstance(error, StdoutError):
        return str(error)
    reason = reason_of(error)
    if error.errno == errno.EMFILE:
        reason += "; raise the limit of this process (ulimit -n)"
    if error.filename:
        return f'"{error.filename}": {reason}'
    return "the current folder is no longer there; go to another one (cd)" if _is_nowhere() else reason


def _is_nowhere() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False

"""What command lines share: text that any terminal can show, usage errors in one line, suggestions, completion.

Takes     streams, errors of click, the names that would have been right
Gives     streams that never fail for their encoding, nor stderr for anything; a line a usage error; types that complete
Not here  what the commands are (cli)
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from click.shell_completion import CompletionItem

    _Text = click.ParamType[Any]
else:
    _Text = click.ParamType  # generic since click 8.4 only

HELP_OPTIONS: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"]}
"""Context settings of a program; its commands inherit them."""

_PLAIN: Final = {"µ": "u", "–": "-", "—": "-", "…": "...", "→": ">", "×": "x", "’": "'", "‘": "'", "“": '"', "”": '"'}
_HANDLER: Final = "plain-or-escaped"


def _plain_or_escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    if (plain := _PLAIN.get(error.object[error.start])) is not None:
        return plain, error.start + 1
    return codecs.backslashreplace_errors(error)


codecs.register_error(_HANDLER, _plain_or_escaped)


class _Talk(io.FileIO):
    """stderr, where a full disk or a reader that has gone costs the words and never the work that they are about."""

    def write(self, octets: Any, /) -> int:
        try:
            written = super().write(octets)
        except OSError:
            written = None
        return len(octets) if written is None else written


class StdoutError(OSError):
    """What stdout was to take, it does not: its disk is full, or a shell has closed it."""

    def __str__(self) -> str:
        return f"cannot write to stdout: {str(self.strerror).lower()}"


class _Output(io.FileIO):
    """stdout, whose errors say that they are its own. A reader that has gone is another matter."""

    def write(self, octets: Any, /) -> int:
        try:
            return super().write(octets)
        except BrokenPipeError:
            raise
        except OSError as error:
            reason = "it is closed" if error.errno == errno.EBADF else error.strerror
            raise StdoutError(error.errno, reason) from None


def prepare_streams() -> None:
    """Let stdout and stderr show anything whatever their encoding, and be there when a shell has closed them.

    What stderr does not take is left out. What a closed stdout is to take fails as on a full disk.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None and name == "stdout":
            # Writes to what is open to be read fail; a file that we open cannot get number 1, and our words, meanwhile.
            nowhere = _Output(os.open(os.devnull, os.O_RDONLY), "w")
            sys.stdout = io.TextIOWrapper(io.BufferedWriter(nowhere), "utf-8", _HANDLER)
        elif stream is None:
            sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  (for as long as we run)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)
    if _is_file(sys.stdout):
        at_once = sys.stdout.line_buffering or sys.stdout.write_through
        output = io.BufferedWriter(_Output(sys.stdout.fileno(), "w", closefd=False))
        sys.stdout = io.TextIOWrapper(output, sys.stdout.encoding, _HANDLER, line_buffering=at_once)
    if _is_file(sys.stderr):
        talk = io.BufferedWriter(_Talk(sys.stderr.fileno(), "w", closefd=False))
        sys.stderr = io.TextIOWrapper(talk, sys.stderr.encoding, _HANDLER, line_buffering=True)


def _is_file(stream: object) -> TypeGuard[io.TextIOWrapper]:
    """Whether nothing of somebody else's, such as a test's, is in its place."""
    binary = getattr(stream, "buffer", None)
    raw = getattr(binary, "raw", binary)  # no buffer: Python has none behind a redirected stderr
    return isinstance(raw, io.FileIO) and not isinstance(raw, (_Output, _Talk))


def silence_stdout() -> None:
    """Show what stdout still takes; where it takes nothing, let Python not complain again when it flushes at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def usage_line(error: click.ClickException, program: str) -> str:
    """What was wrong with a command line and what to try: one line, lower case, no full stop."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, click.NoSuchOption):
        nearest = _nearest_option(error)
        return _with_hint(f'no such option "{error.option_name}"', nearest, context, program)
    text = " ".join(error.format_message().split()).rstrip(".")
    text = text[:1].lower() + text[1:]
    return text if text.endswith("?") else _with_hint(text, None, context, program)


def no_such_command(name: str, known: Iterable[str], context: click.Context) -> click.UsageError:
    """The error to raise; it suggests the nearest name."""
    nearest = nearest_name(name, known)
    return click.UsageError(f'no such command "{name}"' + (f"; did you mean {nearest}?" if nearest else ""), context)


def help_command(example: str, kind: type[click.Command] = click.Command) -> click.Command:
    """`help [COMMAND…]` of a program: what that command says to --help; `kind` of command, with an example."""

    @click.argument("names", nargs=-1, metavar="[COMMAND]...")
    @click.pass_context
    def show(context: click.Context, names: tuple[str, ...]) -> None:
        """Show the help of a command, or of the program."""
        program = context.parent
        assert program is not None
        command, shown = program.command, program
        for name in names:
            if not isinstance(command, click.Group):
                break  # the rest are words that the command tells apart itself
            found = command.get_command(shown, name)
            if found is None:
                raise no_such_command(name, command.list_commands(shown), shown)
            command, shown = found, click.Context(found, info_name=name, parent=shown)
        click.echo(command.get_help(shown))

    return click.command("help", cls=kind, context_settings=HELP_OPTIONS, epilog=f"Example: {example}")(show)


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that somebody who typed `name` may have meant."""
    return next(iter(get_close_matches(name.lower(), list(known), 1, 0.6)), None)


def _nearest_option(error: click.NoSuchOption) -> str | None:
    options = [] if error.ctx is None else [name for p in error.ctx.command.get_params(error.ctx) for name in p.opts]
    # Without the dashes, which make any two options look alike.
    names = [name[2:] for name in options if name.startswith("--")]
    nearest = nearest_name(error.option_name.lstrip("-").replace("_", "-"), names)
    return f"--{nearest}" if nearest else None


def _with_hint(text: str, nearest: str | None, context: click.Context | None, program: str) -> str:
    if nearest:
        return f"{text}; did you mean {nearest}?"
    return f"{text}; see {context.command_path if context else program} --help"


class Names(_Text):
    """A text that shells complete to one of some names; what else it may be is for others to say."""

    name = "text"

    def __init__(self, names: Callable[[], Iterable[str]], *, file: bool = False) -> None:
        self._names = names
        self._file = file

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names that begin so; files where none does and one may stand here."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name) for name in self._names() if name.startswith(incomplete)]
        return found or [CompletionItem(incomplete, type="file")] * self._file


class WholeNumber(click.types.IntParamType):
    """A whole number, maybe from `least` to `most`; what is none is refused in a line."""

    def __init__(self, least: int | None = None, most: int | None = None) -> None:
        self._least, self._most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        # int() takes digits of any script, and 1_000: other options here do not, nor does whoever reads a log.
        if isinstance(value, str) and not (value.isascii() and "_" not in value):
            raise self._unfit(value, param, ctx)
        try:
            number = super().convert(value, param, ctx)
        except click.BadParameter:
            raise self._unfit(value, param, ctx) from None
        if (self._least is not None and number < self._least) or (self._most is not None and number > self._most):
            raise self._unfit(value, param, ctx)
        return number

    def _unfit(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> click.UsageError:
        if self._most is not None:
            return _unfit(f"a whole number from {self._least} to {self._most}", value, param, ctx)
        least = "" if self._least is None else f" of at least {self._least}"
        return _unfit(f"a whole number{least} such as 100", value, param, ctx)


class ShareNumber(click.types.FloatParamType):
    """A number from 0 to 1, refused in the same way; who takes it says what else is wrong with it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            raise _unfit("a share from 0 to 1 such as 0.2", value, param, ctx) from None


def _unfit(wanted: str, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> click.UsageError:
    flag = f" ({max(param.opts, key=len)})" if param is not None else ""
    return click.UsageError(f'expected {wanted}, got "{value}"{flag}', ctx)


WHOLE: Final = WholeNumber()


def _none() -> Sequence[str]:
    return ()


FILE: Final = Names(_none, file=True)
"""The path of a file, as text."""


class _Path(click.Path):
    """What no system takes for a path is refused here; click asks the system and passes on what Python raises."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if "\0" in os.fspath(value):
            self.fail("a path has no NUL in it", param, ctx)
        return super().convert(value, param, ctx)


PATH: Final = _Path(path_type=Path)

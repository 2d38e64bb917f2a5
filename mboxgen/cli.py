"""The command `mboxgen`.

Takes     arguments
Gives     a corpus, a picture of an mbox, or a verdict
Exits     0 done, 1 could not, 2 usage, 99 broken, 105 interrupted
Not here  everything else: options become a Recipe, one call does the work, one renderer shows it (display)
"""

from __future__ import annotations

import datetime as dt
import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from mboxgen.console import (
    HELP_OPTIONS,
    PATH,
    WHOLE,
    Names,
    ShareNumber,
    StdoutError,
    WholeNumber,
    help_command,
    nearest_name,
    no_such_command,
    prepare_streams,
    silence_stdout,
    usage_line,
)
from mboxgen.counted import number_of
from mboxgen.recipe.faults import FAULTS, FaultError, parse_fault
from mboxgen.recipe.profiles import PROFILES
from mboxgen.recipe.sizes import PRESETS, SizeError, format_size, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.shell_completion import CompletionItem

    from mboxgen.corpus.generate import GenerateProgress

    _SizeType = click.ParamType[int]
    _FaultType = click.ParamType[tuple[str, float]]
else:
    _SizeType = _FaultType = click.ParamType  # generic since click 8.4 only

EXIT_FAILED = 1
EXIT_BROKEN = 99
EXIT_INTERRUPTED = 105
EXIT_WORDS = {
    0: "it did what was asked",
    EXIT_FAILED: "it could not: no such file, no space, or it is no corpus",
    2: "wrong usage: an option or the recipe makes no sense",
    EXIT_BROKEN: "the corpus is broken: a message is not what its index says",
    EXIT_INTERRUPTED: "interrupted; nothing half-made was left behind",
}

_SIZES_FROM = ("--size", "--preset", "--recipe", "--count", "--total-size")

_EXAMPLES = """\b
Examples:
  mboxgen testmbox --size 10kb:5 --size 80kb:5 --size 150kb:5 --size 250kb:5
  mboxgen corpus.mbox --preset spec2001 --count 100000 --seed 7 --workers 2
  mboxgen corpus.mbox --preset list-2017 --total-size 10GB
  mboxgen corpus.mbox --size 4kb:3 --size 60kb:1 --count 1000 --look personal
  mboxgen corpus.mbox --recipe corpus.toml
  mboxgen info corpus.mbox
  mboxgen verify corpus.mbox
  mboxgen index corpus.mbox"""


class _StopRequest:
    """Ctrl-C or SIGTERM, remembered: what is raised while numpy's C modules are imported can get lost there."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, *_: object) -> None:
        self.asked = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise again what was asked for before."""
        if self.asked:
            raise KeyboardInterrupt


_STOP_REQUEST = _StopRequest()


class _Size(_SizeType):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else parse_size(value)
        except SizeError as error:
            self.fail(str(error), param, ctx)


class _Fault(_FaultType):
    name = "fault:rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        try:
            return value if isinstance(value, tuple) else parse_fault(value)
        except FaultError as error:
            self.fail(str(error), param, ctx)


class _Commands(click.Group):
    """`mboxgen PATH …` makes a corpus; info and verify are commands. A corpus may be called ./info."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            args = ["--help"]
        elif args and args[0] not in self.commands and args[0] not in ("-h", "--help", "--version"):
            named = [name for name, command in self.commands.items() if not command.hidden]
            # Nothing can be made without one of these: it was to be a command.
            made = any(word.startswith(_SIZES_FROM) for word in args)
            if not made and not ctx.resilient_parsing and nearest_name(args[0], named):
                raise no_such_command(args[0], named, ctx)
            args = ["make", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """A command, or the path of a corpus to be made."""
        from click.shell_completion import CompletionItem

        found = super().shell_complete(ctx, incomplete)
        return found or [CompletionItem(incomplete, type="file")]

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "PATH [OPTIONS]")
        formatter.write_usage(ctx.command_path, "info|verify|index PATH")
        formatter.write_usage(ctx.command_path, "help [COMMAND]")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        make = self.commands["make"]
        make.format_options(click.Context(make, ctx, "make"), formatter)
        for title, rows in word_tables().items():
            with formatter.section(title):
                formatter.write_dl(rows)
        self.format_commands(ctx, formatter)


def word_tables() -> dict[str, list[tuple[str, str]]]:
    """What options name, in words: by title, each with its name."""
    return {
        "Presets": [(preset.name, f"{preset.words} ({preset.source})") for preset in PRESETS.values()],
        "Mail profiles": [(profile.name, f"{profile.words} ({profile.source})") for profile in PROFILES.values()],
        "Faults": [(fault.name, fault.words) for fault in FAULTS.values()],
    }


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"mboxgen {version('traffic-gen')}")
        ctx.exit()


@click.group(cls=_Commands, epilog=_EXAMPLES, context_settings=HELP_OPTIONS)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show it.")
def commands() -> None:
    """Make a mail corpus of exact sizes, or look at one.

    A size is what a server receives: octets with CRLF, headers included. The same options give the same octets on any
    machine with any number of workers. Domains are reserved ones, so no such mail reaches anybody.
    """


@commands.command(hidden=True, context_settings=HELP_OPTIONS)
@click.argument("path", type=PATH)
@click.option(
    "--size",
    "sizes",
    type=Names(lambda: PRESETS),
    multiple=True,
    metavar="SIZE[:N]",
    help="60kb, 10KiB; with :N that many of them, or with --count that weight. Also uniform:1kb-10kb "
    "or lognormal:MEDIAN,SIGMA[,CAP]. Repeat for a mix.",
)
@click.option(
    "--preset",
    type=Names(lambda: PRESETS),
    metavar="NAME",
    help="Sizes and mail profile measured elsewhere, see below.",
)
@click.option("--count", type=WHOLE, help="How many messages.")
@click.option("--total-size", type=_Size(), help="As many messages as fit, such as 10GB.")
@click.option("--seed", type=WHOLE, help="Another seed is another corpus.  [default: 0]")
@click.option(
    "--look", type=click.Choice(list(PROFILES)), help="The mail profile, see below.  [default: the preset's, or plain]"
)
@click.option(
    "--body",
    type=click.Choice(["prose", "noise"]),
    help="Text that deflates to about 0.55, or noise.  [default: prose]",
)
@click.option(
    "--unique-share", type=ShareNumber(), help="Share of attachments that occur once.  [default: the profile's]"
)
@click.option(
    "--smtputf8", type=ShareNumber(), help="Share of messages with addresses in UTF-8 (RFC 6532).  [default: 0]"
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    type=_Fault(),
    shell_complete=lambda _context, _option, begun: [name for name in FAULTS if name.startswith(begun)],
    help="A fault and the share of messages with it, such as leading-dot:0.03.",
)
@click.option("--format", type=click.Choice(["mbox", "eml-dir", "maildir"]), help="[default: mbox]")
@click.option(
    "--eol", type=click.Choice(["crlf", "lf"]), help="Line ends in the file.  [default: crlf, lf in a Maildir]"
)
@click.option(
    "--order",
    type=click.Choice(["shuffled", "as-given"]),
    help="Order of sizes given with counts.  [default: shuffled]",
)
@click.option("--start", type=click.DateTime(["%Y-%m-%d"]), help="Date of the first message.  [default: the profile's]")
@click.option("--days", type=WHOLE, help="Span of the dates.  [default: the profile's]")
@click.option("--id-domain", metavar="NAME", help="Domain of the Message-IDs.  [default: mboxgen.example]")
@click.option(
    "--recipe",
    type=PATH,
    help="A TOML file with these options, or a corpus's manifest to make it again; options given here win.",
)
@click.option(
    "--workers",
    type=WholeNumber(1, 256),
    help="The most processes; fewer where more would not be sooner done.  [default: the processors here]",
)
@click.option("--force", is_flag=True, help="Replace a corpus that is there.")
@click.option("--quiet", is_flag=True, help="No progress, no summary.")
def make(path: Path, recipe: Path | None, workers: int | None, force: bool, quiet: bool, **options: Any) -> None:
    """Make a corpus."""
    from mboxgen.corpus.generate import generate
    from mboxgen.corpus.worker_pool import processors

    made_from = _recipe(recipe, options)
    with _progress(quiet) as update:

        def progress(made: GenerateProgress) -> None:
            _STOP_REQUEST.check()
            update(made.messages, made.of_messages, made.octets)

        made = generate(made_from, path, workers=workers or processors(), force=force, progress=progress)
    if not quiet:
        rate = format_size(round(made.octets / max(made.seconds, 1e-9)))
        click.echo(
            f"{click.format_filename(path)}: {number_of(made.messages, 'message')}, "
            f"{format_size(made.delivered_octets)} delivered, {made.seconds:.1f} s, {rate}/s",
            err=True,
        )
        if workers and made.workers < workers:
            click.echo(
                f"made by {made.workers} of {number_of(workers, 'worker')}: more would not have been done sooner",
                err=True,
            )
        for name, missed in made.missed.items():
            if missed:
                click.echo(
                    f"fault {name}: {number_of(missed, 'message')} drawn for it had no room for it and went without",
                    err=True,
                )


def _progress(quiet: bool) -> AbstractContextManager[Callable[..., None]]:
    """Give a bar when somebody sees it: rich takes longer to import than a small corpus to make."""
    if quiet or not sys.stderr.isatty():
        return nullcontext(lambda *_: None)
    from mboxgen import display

    return display.progress("messages", quiet)


@commands.command(context_settings=HELP_OPTIONS)
@click.argument("path", type=PATH)
def info(path: Path) -> None:
    """Show count, sizes, MIME shapes and faults of any mbox, Maildir or folder of .eml files; - reads a pipe.

    Example: mboxgen info corpus.mbox
    """
    from mboxgen import display
    from mboxgen.mbox.statistics import collect_statistics

    with display.progress("messages", False) as update:
        found = collect_statistics(path, lambda messages, octets: update(messages, None, octets))
    display.show_statistics(path, found)


@commands.command(context_settings=HELP_OPTIONS)
@click.argument("path", type=PATH)
def verify(path: Path) -> int:
    """Check every message of a corpus against its index.

    Example: mboxgen verify corpus.mbox
    """
    from mboxgen import display
    from mboxgen.corpus import manifest
    from mboxgen.corpus.verify import verify as verified

    with display.progress("messages", False) as update:
        verdict = verified(path, update)
    display.show_verdict(path, verdict)
    difference = manifest.difference(path)
    if difference:
        click.echo(f"note: making it again would give another corpus here: {difference}", err=True)
    return 0 if verdict.sound else EXIT_BROKEN


@commands.command()
@click.argument("path", type=PATH)
def index(path: Path) -> None:
    """Write the index of any mbox beside it, so that no reader has to read it through first.

    Example: mboxgen index corpus.mbox
    """
    from mboxgen import display
    from mboxgen.mbox.reader import write_index

    with display.progress("messages", False) as update, write_index(path, update) as mbox:
        display.show_index(path, mbox)


commands.add_command(help_command("mboxgen help info"))


def _recipe(path: Path | None, options: dict[str, Any]) -> Any:
    """Turn options into a Recipe; what the recipe file says holds where no option was given."""
    from mboxgen.corpus import manifest
    from mboxgen.recipe import recipe as recipes

    given = {name: value for name, value in options.items() if value not in (None, ())}
    if "preset" in given:
        if "sizes" in given:
            raise click.UsageError("--preset and --size both say the sizes; give one of them")
        name = given.pop("preset")
        if name not in PRESETS:
            raise recipes.RecipeError(recipes.unknown_preset(name))
        given["sizes"] = (name,)
    choices: dict[str, Callable[[str], object]] = {
        "body": recipes.Body, "format": recipes.Format, "eol": recipes.Eol, "order": recipes.Order,
    }  # fmt: skip
    fields: dict[str, Any] = {name: choices[name](value) if name in choices else value for name, value in given.items()}
    if "start" in fields:
        fields["start"] = dt.datetime.date(fields["start"])
    if "total_size" in fields:
        fields["total_octets"] = fields.pop("total_size")
    if path is not None:
        read = manifest.load_recipe if path.suffix == ".json" else recipes.load
        fields = recipes.merged(read(path), fields)
    if "sizes" not in fields:
        raise click.UsageError("which sizes? give --size 60kb, --preset spec2001 or --recipe FILE")
    return recipes.Recipe(**fields)


def main() -> None:
    """Run the command line; the only place that maps what happened to an exit code."""
    prepare_streams()
    # Nothing here multiplies matrices. OpenBLAS's threads cost 0.1 s, and a process with threads cannot fork workers.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _STOP_REQUEST.asked = False
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # stop as after Ctrl-C: clean up, say so
        if signal.getsignal(number) is not signal.SIG_IGN:  # as by nohup, or in the background of a script
            signal.signal(number, _STOP_REQUEST)
    try:
        code = commands.main(standalone_mode=False, prog_name="mboxgen")
    except click.ClickException as error:
        click.echo(f"mboxgen: {usage_line(error, 'mboxgen')}", err=True)
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("mboxgen: interrupted; nothing half-made was left behind", err=True)
        code = EXIT_INTERRUPTED
    except (ValueError, RuntimeError, OSError) as error:
        silence_stdout()
        code = _failure(error)
    sys.exit(code if isinstance(code, int) else 0)


def _failure(error: Exception) -> int:
    """Say in one line what could not be done; our own bugs keep their traceback."""
    from mboxgen.corpus.generate import GenerateError
    from mboxgen.mbox.sources import MboxError
    from mboxgen.recipe.recipe import RecipeError

    if isinstance(error, (RecipeError, SizeError, FaultError)):
        click.echo(f"mboxgen: {error}", err=True)
        return 2
    if isinstance(error, OSError) and not isinstance(error, StdoutError):
        reason = error.strerror or str(error)
        click.echo(
            f'mboxgen: cannot use "{error.filename}": {reason}' if error.filename else f"mboxgen: {reason}", err=True
        )
        return EXIT_FAILED
    if isinstance(error, (GenerateError, MboxError, StdoutError)):
        click.echo(f"mboxgen: {error}", err=True)
        return EXIT_FAILED
    raise error

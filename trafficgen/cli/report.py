"""`traffic-gen report`: results files to something to read.

Takes     results files; one format; thresholds to hold them to, also long after the run
Gives     the report; the exit code of the thresholds
"""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mboxgen.console import PATH
from trafficgen.cli.flagged import parse_with
from trafficgen.cli.grouped import GroupedCommand
from trafficgen.errors import ExitCode, PlanError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trafficgen.measure.results import Results

EPILOG: Final = """\
Examples:

\b
  traffic-gen report run.json
  traffic-gen report monday.json tuesday.json --html -o runs.html
  traffic-gen report run.json --threshold 'p99<250ms' --junit -o run.xml

Exit codes: 0 done, 99 a threshold given here failed, 121 it cannot be judged because the measurement is not valid, 122
a file is missing or damaged.
"""


@click.command("report", cls=GroupedCommand, epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=PATH)
@click.option("--text", "form", flag_value="text", default=True, help="The summary. [default]")
@click.option("--json", "form", flag_value="json", help="The results; of several files, a list.")
@click.option("--csv", "form", flag_value="csv", help="One row a run, for spreadsheets.")
@click.option("--html", "form", flag_value="html", help="One page with charts that opens offline, runs overlaid.")
@click.option("--junit", "form", flag_value="junit", help="JUnit XML, for CI systems.")
@click.option("--markdown", "form", flag_value="markdown", help="A table for a pull request or a job's summary.")
@click.option("--output", "-o", metavar="FILE", type=PATH, help="Write to FILE, not to stdout.")
@click.option("--threshold", multiple=True, metavar="EXPR", help="Hold the runs to this, such as 'p99<250ms'.")
def command(files: tuple[Path, ...], form: str, output: Path | None, threshold: tuple[str, ...]) -> ExitCode:
    """Show the results in FILE again, or several beside each other, in another form or against other thresholds."""
    from trafficgen.measure.results import read_results
    from trafficgen.verdict.thresholds import parse_threshold, rejudge

    _refuse_file_as_format(files, form, output)
    asked = [parse_with(parse_threshold, text, "thresholds", "--threshold") for text in threshold]
    runs = [read_results(path) for path in files]
    if asked:
        runs = [rejudge(asked, run) for run in runs]
    write(_renderer(form)(runs), output)
    return max((run.verdict_code for run in runs), default=ExitCode.DONE) if asked else ExitCode.DONE


_ENDINGS: Final = {"html": (".html", ".htm"), "csv": (".csv",), "junit": (".xml",), "markdown": (".md",)}


def _refuse_file_as_format(files: tuple[Path, ...], form: str, output: Path | None) -> None:
    """send has --html FILE; here the formats take no file, and the name would be one of results."""
    for path in files:
        if output is None and path.suffix.lower() in _ENDINGS.get(form, ()) and not path.exists():
            text = f'expected results, got "{path}", which is not there; to write to it: --{form} -o {path}'
            raise PlanError(text, field="files", flag=f"--{form}")


def write(text: str, output: Path | None) -> None:
    """To the file, or to stdout with nothing in it that stdout could not show."""
    from trafficgen.host.output import Output
    from trafficgen.report.to_text import encodable

    if output is None:
        click.echo(encodable(text, sys.stdout), nl=False)
    else:
        Output(output, "--output").write(text)


def _renderer(form: str) -> "Callable[[Sequence[Results]], str]":
    from trafficgen.report import tables
    from trafficgen.report.to_html import to_html
    from trafficgen.report.to_text import to_text

    renderers: dict[str, Callable[[Sequence[Results]], str]] = {
        "text": lambda runs: "\n\n".join(to_text(run, _width()) for run in runs),
        "json": _as_json,
        "csv": tables.to_csv,
        "html": to_html,
        "junit": tables.to_junit,
        "markdown": tables.to_markdown,
    }
    return renderers[form]


def _width() -> int:
    """Of the terminal, where there is one."""
    from trafficgen.report.to_text import MAX_WIDTH, MIN_WIDTH

    if not sys.stdout.isatty():
        return MAX_WIDTH
    return max(MIN_WIDTH, min(shutil.get_terminal_size().columns, MAX_WIDTH))


def _as_json(runs: "Sequence[Results]") -> str:
    if len(runs) == 1:
        return runs[0].to_json()
    return "[\n" + ",\n".join(run.to_json().rstrip("\n") for run in runs) + "\n]\n"

"""`traffic-gen compare`: runs of A beside runs of B."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mboxgen.console import PATH
from trafficgen.cli.grouped import GroupedCommand
from trafficgen.errors import ExitCode, ResultsError

if TYPE_CHECKING:
    from trafficgen.measure.results import Results

EPILOG: Final = """\
Examples:

\b
  traffic-gen compare before.json after.json
  traffic-gen compare runs-of-a/ runs-of-b/ --json

Exit codes: 0 compared, 122 not comparable: another plan, seed or kind of machine, or a run that is not valid.
"""


@click.command("compare", cls=GroupedCommand, epilog=EPILOG)
@click.argument("a", metavar="A", type=PATH)
@click.argument("b", metavar="B", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Numbers as JSON.")
def command(a: Path, b: Path, as_json: bool) -> ExitCode:
    """Show B's numbers as multiples of A's; each is a results file, or a directory of them.

    With the same number of runs on both sides, six or more, each ratio has a 95% interval.
    """
    from trafficgen.report.compared import comparison_json, comparison_section
    from trafficgen.report.to_text import write_sections
    from trafficgen.verdict.comparing import compare_runs

    compared = compare_runs(_runs(a), _runs(b))
    if as_json:
        click.echo(comparison_json(compared), nl=False)
    else:
        write_sections([comparison_section(compared)], sys.stdout)
    return ExitCode.DONE


def _runs(path: Path) -> "list[Results]":
    from trafficgen.measure.results import read_results

    if not path.is_dir():
        return [read_results(path)]
    if not (found := sorted(path.glob("*.json"))):
        raise ResultsError(f'expected results files in "{path}", got none')
    return [read_results(file) for file in found]

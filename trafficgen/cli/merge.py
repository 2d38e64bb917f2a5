"""`traffic-gen merge`: the results of several generators to those of one run."""

from pathlib import Path
from typing import Final

import click

from mboxgen.console import PATH
from trafficgen.cli.options import GroupedCommand
from trafficgen.errors import ExitCode

EPILOG: Final = """\
Example:

\b
  traffic-gen merge host1.json host2.json -o both.json

Exit codes: 0 done, 122 a file is missing or damaged, or the runs are not parts of one load.
"""


@click.command("merge", cls=GroupedCommand, epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=PATH)
@click.option("--output", "-o", metavar="FILE", type=PATH, help="Write to FILE, not to stdout.")
def command(files: tuple[Path, ...], output: Path | None) -> ExitCode:
    """Add up the results of generators that sent at the same time: every count and every histogram, exactly."""
    from trafficgen.cli.report import write
    from trafficgen.measure.merging import merge_results
    from trafficgen.measure.results import read_results

    write(merge_results([read_results(path) for path in files]).to_json(), output)
    return ExitCode.DONE

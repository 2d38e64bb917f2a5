"""`traffic-gen export`: results in the format of somebody else's tools."""

from pathlib import Path
from typing import Final

import click

from mboxgen.console import PATH
from trafficgen.cli.grouped import GroupedCommand
from trafficgen.errors import ExitCode

EPILOG: Final = """\
Example:

\b
  traffic-gen export run.json --hdr -o run.hlog
"""


@click.command("export", cls=GroupedCommand, epilog=EPILOG)
@click.argument("file", metavar="FILE", type=PATH)
@click.option(
    "--hdr",
    is_flag=True,
    required=True,
    expose_value=False,
    help="Latencies as an HdrHistogram log, one tag a stretch, in ns.",
)
@click.option("--output", "-o", metavar="FILE", type=PATH, help="Write to FILE, not to stdout.")
def command(file: Path, output: Path | None) -> ExitCode:
    """Give the latencies in a results FILE to other programs, such as the plotters made for HdrHistogram."""
    from trafficgen.cli.report import write
    from trafficgen.measure.results import read_results
    from trafficgen.report.to_hdr import to_hdr_log

    write(to_hdr_log(read_results(file)), output)
    return ExitCode.DONE

"""`traffic-gen merge`: the results of several generators, or of the shards of one run, to those of one run."""

from pathlib import Path
from typing import Final

import click

from mboxgen.console import PATH
from trafficgen.cli.grouped import GroupedCommand
from trafficgen.errors import ExitCode

EPILOG: Final = """\
Example:

\b
  traffic-gen merge host1.json host2.json -o both.json
  traffic-gen merge shard-*.json -o run.json

Exit codes: 122 a file is missing or damaged, or the runs are not parts of one load. Otherwise 0 for different runs, and
for shards what the run would have ended with on one machine: 121 when one is missing, 99 when a threshold fails.
"""


@click.command("merge", cls=GroupedCommand, epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=PATH)
@click.option("--output", "-o", metavar="FILE", type=PATH, help="Write to FILE, not to stdout.")
@click.option("--partial", is_flag=True, help="Take the shards that are there for the whole.")
def command(files: tuple[Path, ...], output: Path | None, partial: bool) -> ExitCode:
    """Add up the results of generators that sent at the same time: every count and every histogram, exactly.

    Files of send --shard give the results that one machine would have given; their thresholds are judged anew.
    """
    from trafficgen.cli.report import write
    from trafficgen.measure.merging_runs import merge_results
    from trafficgen.measure.results import read_results
    from trafficgen.verdict.shards import merged_shards

    parts = [read_results(path) for path in files]
    if not any(part.shards for part in parts):
        write(merge_results(parts).to_json(), output)
        return ExitCode.DONE
    merged = merged_shards(parts, partial=partial)
    write(merged.to_json(), output)
    for caveat in merged.caveats:
        click.echo(f"{caveat.text}: {caveat.advice}", err=True)
    return merged.exit_code(keep_going=bool(merged.plan.get("keep_going")))

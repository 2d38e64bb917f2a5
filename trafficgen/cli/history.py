"""`traffic-gen history`: what the gates of months say together."""

import sys
from pathlib import Path
from typing import Final

import click

from mboxgen.console import PATH
from trafficgen.cli.grouped import GroupedCommand
from trafficgen.cli.notices import show_notice
from trafficgen.errors import ExitCode, PlanError, ResultsError

_MANY: Final = 300
"""Gates of a metric that take long enough to say what is being done: half a second and more with a few changes."""

EPILOG: Final = """\
Examples:

\b
  traffic-gen history gate.csv
  traffic-gen history gate.csv --metric throughput --html history.html --fail

A loss of 1 % is within any margin, and ten of them are not. Gates append to FILE with --history; here stretches are
found between which nothing changed, and what each comes to.

Exit codes: 0 shown, 99 with --fail when the newest stretch of a metric is worse beyond chance, 122 no history of gates.
"""


@click.command("history", cls=GroupedCommand, epilog=EPILOG)
@click.argument("file", metavar="FILE", type=PATH)
@click.option("--metric", multiple=True, metavar="NAME", help="These metrics only. [default: all]")
@click.option("--html", metavar="FILE", type=PATH, help="Write a page with a chart for each metric.")
@click.option("--csv", "csv_file", metavar="FILE", type=PATH, help="Write the stretches as CSV.")
@click.option("--fail", is_flag=True, help="End with 99 when the newest stretch of a metric is worse beyond chance.")
def command(file: Path, metric: tuple[str, ...], html: Path | None, csv_file: Path | None, fail: bool) -> ExitCode:
    """Find where the numbers of many gates changed, and what small losses come to."""
    from trafficgen.host.output import Output, attempt_all
    from trafficgen.report import past_gates
    from trafficgen.report.gated import read_history
    from trafficgen.report.to_text import write_sections

    gates = read_history(file)
    if unknown := [name for name in metric if name not in gates]:
        known = ", ".join(gates) or "nothing"
        raise PlanError(f'"{unknown[0]}" is not in "{file}"; it holds {known}', field="metric", flag="--metric")
    gates = {name: past for name, past in gates.items() if not metric or name in metric}
    if not gates:
        raise ResultsError(f'"{file}" holds no gate yet')
    try:
        eras: dict[str, list[past_gates.GateEra]] = {}
        for name, past in gates.items():
            if len(past) >= _MANY:
                show_notice(f"{name}: looking for changes in {len(past):,} gates ({len(eras) + 1} of {len(gates)})")
            eras[name] = past_gates.eras_of(name, past)
    except ValueError as error:
        raise ResultsError(f'cannot use "{file}": {error}; keep the newest rows') from error
    steps = [("stdout", lambda: write_sections(past_gates.history_sections(eras), sys.stdout))]
    if html is not None:
        page = Output(html, "--html")
        steps.append(("--html", lambda: page.write(past_gates.history_page(gates, eras))))
    if csv_file is not None:
        rows = Output(csv_file, "--csv")
        steps.append(("--csv", lambda: rows.write(past_gates.history_csv(eras))))
    attempt_all(steps)
    return ExitCode.VERDICT_FAILED if fail and any(found[-1].worse for found in eras.values()) else ExitCode.DONE

"""`traffic-gen calibrate`: what is this machine's generator capable of?"""

from typing import TYPE_CHECKING, Final

import click

from mboxgen.console import WHOLE
from mboxgen.counted import plural
from trafficgen import units
from trafficgen.cli.flagged import parse_with
from trafficgen.cli.grouped import GroupedCommand
from trafficgen.errors import ExitCode, PlanError

if TYPE_CHECKING:
    from trafficgen.verdict.ceiling import CeilingPoint

EPILOG: Final = """\
Example:

\b
  traffic-gen calibrate --duration 2s
"""


@click.command("calibrate", cls=GroupedCommand, epilog=EPILOG)
@click.option("--size", multiple=True, metavar="SIZE", help="Body sizes to measure with. [default: 5kb 100kb]")
@click.option("--sessions", multiple=True, type=WHOLE, metavar="N", help="Numbers of sessions. [default: 1 20 200]")
@click.option("--duration", default="3s", metavar="TIME", help="How long each run lasts. [default: 3s]")
def command(size: tuple[str, ...], sessions: tuple[int, ...], duration: str) -> ExitCode:
    """Measure how fast this machine sends to a sink of its own; later runs say what share of that they used."""
    from trafficgen.runs.calibration import ceiling_path, measure_ceiling, save_ceiling

    duration_ns = parse_with(units.parse_duration, duration, "duration_ns", "--duration")
    counts = sessions or (1, 20, 200)
    if min(counts) < 1:
        raise PlanError(f"expected at least one session, got {min(counts)}", field="sessions", flag="--sessions")
    ceiling = measure_ceiling(size or ("5kb", "100kb"), counts, duration_ns, notice=_show)
    save_ceiling(ceiling, ceiling_path())
    click.echo(f"kept in {ceiling_path()}", err=True)
    return ExitCode.DONE


def _show(point: "CeilingPoint") -> None:
    from trafficgen.report import words

    size, sessions = words.size(point.size_bytes), f"{plural(point.sessions, 'session')}:"
    click.echo(
        f"{size:>9} a message, {point.sessions:>4} {sessions:<9} {words.rate(point.messages_per_s):>9} messages/s"
    )

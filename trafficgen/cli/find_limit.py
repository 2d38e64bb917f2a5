"""`traffic-gen find-limit`: the highest rate at which a server keeps what was promised.

Takes     a target, thresholds, options of send behind --
Gives     a rate that was kept and one that was not, with how often each was tried; steps on stderr as they are made
Not here  the search (trafficgen.verdict.limit), its runs (trafficgen.runs.limit)
"""

import json
from typing import TYPE_CHECKING, Final

import click

from mboxgen.console import FILE
from trafficgen.cli.flagged import parse_with
from trafficgen.cli.gate import SendWords
from trafficgen.cli.gate_plan import refuse_options
from trafficgen.cli.grouped import GroupedCommand
from trafficgen.cli.notices import show_notice
from trafficgen.errors import ExitCode, PlanError
from trafficgen.units import parse_duration

if TYPE_CHECKING:
    from trafficgen.plan import Plan
    from trafficgen.runs.limit import Limit, LimitOptions

EPILOG: Final = """\
Example:

\b
  traffic-gen find-limit --target 10.0.0.7:25 --threshold 'p99<250ms' -- --concurrency 100

What follows -- are options of send. A step holds when every threshold is kept and the server keeps up with the rate.

Exit codes: 0 found, 105 interrupted, 120 the time was up before it was found, 121 the generator was the limit.
"""

_NOT_HERE: Final = {
    "message_count": "a step lasts as long as --step says",
    "duration": "a step lasts as long as --step says",
    "rate": "the rate is what is looked for; begin at one with --start",
    "stage": "the rate is what is looked for; begin at one with --start",
    "warm_up": "the first quarter of each step is not judged",
    "wait_for_delivery": "many runs are made, and none waits for its mail",
    "abort_on_fail": "a step lasts as long as --step says",
    "before": "the server must be up",
    "after": "the server must be up",
    "json": "many runs are made; write what was found with --json before the --",
    "html": "many runs are made, and none has a page",
    "junit": "many runs are made, and none has a verdict",
    "manifest": "many runs are made, each with messages of its own",
    "cluster": "one machine looks for what a server can take",
    "shard": "one machine looks for what a server can take",
    "start_at": "many runs are made, one after the other",
    "live_port": "many runs are made and none is shown while it goes on",
    "metrics_port": "many runs are made and none is shown while it goes on",
}


@click.command("find-limit", cls=GroupedCommand, epilog=EPILOG)
@click.option("--target", metavar="HOST[:PORT]", required=True, help="The server whose limit is looked for.")
@click.option("--threshold", multiple=True, required=True, metavar="EXPR", help="What must be kept, as for send.")
@click.option("--start", metavar="RATE", help="Where to begin. [default: what it accepts without a rate in 5 s]")
@click.option("--step", default="8s", metavar="TIME", help="How long each step lasts. [default: 8s]")
@click.option("--precision", default=5.0, metavar="PERCENT", help="How far apart the two rates may be. [default: 5]")
@click.option("--budget", default="10m", metavar="TIME", help="Begin no step that could end later. [default: 10m]")
@click.option("--json", "json_file", metavar="FILE", type=FILE, help="Write what was found, and every step, as JSON.")
@click.argument("send", nargs=-1, type=SendWords(list), metavar="[-- SEND OPTIONS]")
def command(
    target: str,
    threshold: tuple[str, ...],
    start: str | None,
    step: str,
    precision: float,
    budget: str,
    json_file: str | None,
    send: tuple[str, ...],
) -> ExitCode:
    """Find the highest rate at which a server keeps thresholds, by steps at one rate each.

    The rate is doubled or halved until the limit lies between two, and the distance is then halved again and again.
    Each rate is tried until two steps agree, the last two until three do.
    """
    from pathlib import Path

    from trafficgen.host.output import Output
    from trafficgen.runs.limit import find_limit

    output = Output(Path(json_file), "--json") if json_file is not None else None
    if output:
        output.check()
    plan = _plan(target, send)
    options = _options(plan, threshold, start, step, precision, budget)
    limit = find_limit(plan, options, show_notice)
    click.echo(_words(limit))
    if output:
        output.write(_json(limit, threshold))
    if limit.whole:
        return ExitCode.DONE
    return ExitCode.NOT_VALID if limit.limited else ExitCode.INCONCLUSIVE


def _plan(target: str, send: tuple[str, ...]) -> "Plan":
    from trafficgen.cli.options import SendOptions
    from trafficgen.cli.planning import make_plan
    from trafficgen.cli.send import command as send_command

    told = SendOptions(**send_command.make_context("traffic-gen send", ["--target", target, *send]).params)
    refuse_options(told, {**_NOT_HERE, "threshold": "give thresholds before the --"})
    return make_plan(told).plan


def _options(
    plan: "Plan", thresholds: tuple[str, ...], start: str | None, step: str, precision: float, budget: str
) -> "LimitOptions":
    from dataclasses import replace

    from trafficgen.plan import OpenLoop
    from trafficgen.runs.limit import LimitOptions
    from trafficgen.units import parse_rate
    from trafficgen.verdict.limit import LimitDesign
    from trafficgen.verdict.thresholds import check_threshold, parse_threshold

    parsed = [parse_with(parse_threshold, text, "thresholds", "--threshold") for text in thresholds]
    for one in parsed:
        try:
            check_threshold(one, replace(plan, load=OpenLoop(1.0)))
        except ValueError as error:
            raise PlanError(str(error), field="thresholds", flag="--threshold") from error
    begin = None if start is None else parse_with(parse_rate, start, "rate", "--start")
    try:
        LimitDesign(1.0 if begin is None else begin, precision / 100)
    except ValueError as error:
        raise PlanError(str(error), field="limit", flag="--start, --precision") from error
    step_ns = parse_with(parse_duration, step, "duration_ns", "--step")
    if not step_ns:
        raise PlanError(f'expected a time above zero, got "{step}"', field="duration_ns", flag="--step")
    return LimitOptions(
        parsed, precision / 100, begin, step_ns, parse_with(parse_duration, budget, "budget", "--budget")
    )


def _words(limit: "Limit") -> str:
    found = limit.bracket.words(limit.steps)
    if limit.limited:
        return f"{found}; the search ended {limit.limited}"
    return found if limit.whole else f"the time was up: {found}"


def _json(limit: "Limit", thresholds: tuple[str, ...]) -> str:
    from trafficgen.measure.codec import to_plain

    plain = to_plain(limit)
    return json.dumps({"schema_version": 1, "thresholds": list(thresholds), **plain}, indent=1) + "\n"

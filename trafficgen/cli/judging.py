"""What a run is held to, and where its results go besides the screen.

Gives     the options that `send` has for it; from them a `MonitorOptions` for the library
Not here  the plan itself (planning), the verdicts (trafficgen.verdict)
"""

import shlex
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from mboxgen.console import FILE, WholeNumber
from trafficgen import units
from trafficgen.cli.flagged import parse_with
from trafficgen.cli.grouped import GroupedOption, TextPerLine
from trafficgen.cli.scenario import use_scenario
from trafficgen.errors import PlanError, SetupError, reason_of

if TYPE_CHECKING:
    from types import SimpleNamespace

    from trafficgen.cli.options import SendOptions
    from trafficgen.plan import Plan
    from trafficgen.runs.monitor import MonitorOptions, Observer
    from trafficgen.runs.observation import Observation
    from trafficgen.verdict.thresholds import Threshold

ABORT_AFTER: Final = "10s"

_Command = TypeVar("_Command", bound=Callable[..., Any])


def judging_options(command: _Command, without: Collection[str] = ()) -> _Command:
    """Add the options of this module to a click command."""
    for declarations, settings in reversed(_OPTIONS):
        if declarations[0] in without:
            continue
        settings = {"group": "Verdict", **settings}
        command = click.option(*declarations, cls=GroupedOption, **settings)(command)
    return command


# fmt: off
_OPTIONS: Final[list[tuple[tuple[str, ...], dict[str, Any]]]] = [
    (("--scenario",), {
        "metavar": "FILE", "type": FILE, "is_eager": True, "expose_value": False, "callback": use_scenario,
        "help": """
        Take options from this TOML file, each under its own name, and phases; traffic-gen schema scenario describes
        it. Options given here and in the environment win."""}),
    (("--threshold",), {"multiple": True, "type": TextPerLine(), "metavar": "EXPR", "help": """
        What the run must keep to: 'p99<250ms', 'accepted.rate>0.999', 'throughput>5000', 'domain{gmail.com}.p95<1s'.
        Repeat for more. One that fails ends the command with 99."""}),
    (("--abort-on-fail",), {"is_flag": False, "flag_value": ABORT_AFTER, "metavar": "[TIME]", "help": f"""
        End the run as soon as a threshold fails, looking once a second after this much judged time.
        [{ABORT_AFTER} if no time is given]"""}),
    (("--warm-up",), {"metavar": "TIME", "help": """
        Leave what ended in this time out of thresholds and comparisons. The account of messages is always whole."""}),
    (("--junit",), {"metavar": "FILE", "type": FILE, "help": "Write verdicts as JUnit XML, for CI systems."}),
    (("--html",), {"metavar": "FILE", "type": FILE, "help": """
        Write the results as one page with charts that opens offline."""}),
    (("--live-port",), {"type": WholeNumber(0, 65535), "metavar": "PORT", "help": """
        Show that page while the run goes on, at http://127.0.0.1:PORT/; 0 takes a free port and says which."""}),
    (("--metrics-port",), {"type": WholeNumber(0, 65535), "metavar": "PORT", "help": """
        Let Prometheus scrape the run at http://127.0.0.1:PORT/metrics; needs the extra "prometheus"."""}),
    (("--before",), {"metavar": "CMD", "help": "Run this command before the run, without a shell; it must succeed."}),
    (("--after",), {"metavar": "CMD", "help": "Run this command after the run, however that went."}),
    (("--observe",), {"group": "Server", "metavar": "WHERE", "help": """
        Look at the server meanwhile, by a process of ours there: local, or ssh:HOST with traffic-gen installed. See
        traffic-gen observe."""}),
    (("--observe-queue",), {"group": "Server", "metavar": "DIR", "help": "Its queue, such as /var/spool/postfix."}),
    (("--observe-cgroup",), {"group": "Server", "metavar": "DIR", "help": "Its cgroup (v2): CPU, octets written."}),
    (("--observe-metrics",), {"group": "Server", "multiple": True, "metavar": "URL=NAMES", "help": """
        Metrics that it publishes: http://127.0.0.1:8000/metrics=ready_count,scheduled_count."""}),
    (("--observe-doveadm",), {"group": "Server", "metavar": "COMMAND", "help": """
        Dovecot's own numbers, by "doveadm" or "doveadm -c FILE"."""}),
    (("--observe-drain",), {"group": "Server", "metavar": "TIME", "help": """
        Wait so long after the run for its queue to be back where it was."""}),
]
# fmt: on


def monitor_options(options: "SendOptions", plan: "Plan") -> "MonitorOptions":
    """The options understood. Refuses thresholds that this plan can never be judged by."""
    from trafficgen.runs.calibration import ceiling_path
    from trafficgen.verdict.ceiling import read_ceiling
    from trafficgen.verdict.thresholds import check_threshold, parse_threshold

    thresholds = [parse_with(parse_threshold, text, "thresholds", "--threshold") for text in options.threshold]
    for threshold in thresholds:
        try:
            check_threshold(threshold, plan)
        except ValueError as error:
            raise PlanError(str(error), field="thresholds", flag="--threshold") from error
    refuse_unseen(thresholds, options.observe, sink=options.wait_for_delivery is not None)
    judged = judged_by(thresholds, options.abort_on_fail, options.warm_up, plan.duration_ns)
    return replace(judged, ceiling=read_ceiling(ceiling_path()))


def refuse_unseen(thresholds: "Sequence[Threshold]", observe: str | None, *, sink: bool) -> None:
    """PlanError for a threshold on the server when nobody looks at it, or at the `sink` behind it."""
    from trafficgen.verdict.server_quantities import SERVER, UNDELIVERED

    of_server = [one.quantity.name for one in thresholds if one.quantity.subject == SERVER]
    undelivered = [name for name in of_server if name.startswith(UNDELIVERED)]
    if observe is None and len(undelivered) < len(of_server):
        raise PlanError("a threshold on what an observer sees needs one", field="observe", flag="--observe")
    if undelivered and not sink:
        text = f"{UNDELIVERED} is counted at a sink behind the server"
        raise PlanError(text, field="wait_for_delivery", flag="--wait-for-delivery")


def judged_by(
    thresholds: "Sequence[Threshold]", abort_on_fail: str | None, warm_up: str | None, duration_ns: int | None
) -> "MonitorOptions":
    """What a run of any kind is held to. PlanError for what makes no sense together."""
    from trafficgen.runs.monitor import MonitorOptions

    if abort_on_fail is not None and not thresholds:
        raise PlanError("expected a threshold that can fail", field="thresholds", flag="--abort-on-fail")
    from_ns = _duration(warm_up, "--warm-up") or 0
    if duration_ns is not None and from_ns >= duration_ns:
        raise PlanError("expected a warm-up shorter than the run", field="warm_up", flag="--warm-up")
    return MonitorOptions(
        thresholds=thresholds,
        from_ns=from_ns,
        abort_after_ns=_duration(abort_on_fail, "--abort-on-fail"),
        command=("traffic-gen", *sys.argv[1:]),
    )


@contextmanager
def observers_for(
    live_port: int | None, metrics_port: int | None, say: Callable[[str], None]
) -> "Iterator[list[Observer]]":
    """Who looks on while the run goes; their addresses are said."""
    with ExitStack() as stack:
        observers: list[Observer] = []
        if live_port is not None:
            from trafficgen.publish.live_page import LivePage

            page = stack.enter_context(LivePage(live_port))
            say(f"live page at http://127.0.0.1:{page.port}/")
            observers.append(page)
        if metrics_port is not None:
            from trafficgen.publish.prometheus import Prometheus

            metrics = stack.enter_context(Prometheus(metrics_port))
            say(f"metrics at http://127.0.0.1:{metrics.port}/metrics")
            observers.append(metrics)
        yield observers


def observation_of(options: "SendOptions | SimpleNamespace") -> "Observation | None":
    """Who looks at the server; None when nobody was asked to. PlanError for options that need one."""
    asked = {
        "--observe-queue": options.observe_queue, "--observe-cgroup": options.observe_cgroup,
        "--observe-metrics": options.observe_metrics, "--observe-doveadm": options.observe_doveadm,
        "--observe-drain": options.observe_drain,
    }  # fmt: skip
    if options.observe is None:
        for flag, value in asked.items():
            if value:
                raise PlanError("expected --observe local or ssh:HOST with it", field="observe", flag=flag)
        return None
    from trafficgen.runs.observation import Observation, options_of

    what = options_of(
        options.observe_queue, options.observe_cgroup, options.observe_metrics, doveadm=options.observe_doveadm
    )
    return Observation(options.observe, what, drain_ns=_duration(options.observe_drain, "--observe-drain") or 0)


def run_hook(command: str | None, flag: str) -> None:
    """Run a hook; SetupError when it cannot be run or does not succeed."""
    if command is None:
        return
    try:
        done = subprocess.run(shlex.split(command), check=False)
    except (OSError, ValueError) as error:
        raise SetupError(f'cannot run "{command}" ({flag}): {reason_of(error)}') from error
    if done.returncode:
        raise SetupError(f'"{command}" ended with code {done.returncode} ({flag})')


def _duration(text: str | None, flag: str) -> int | None:
    return None if text is None else parse_with(units.parse_duration, text, "duration_ns", flag)

"""`traffic-gen gate`: is build B worse than build A?

Takes     two addresses, or commands that bring each build up fresh; a scenario
Gives     a verdict, its reason in a sentence, an exit code; runs on stderr as they are made
Not here  how it is decided (trafficgen.verdict), how runs are made (trafficgen.gate)
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mboxgen.console import FILE, PATH, Names
from trafficgen.cli.options import GroupedCommand
from trafficgen.cli.parsing import parse_with
from trafficgen.errors import ExitCode, OutputError, PlanError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from trafficgen.gate.builds import Build
    from trafficgen.gate.trials import TrialFile
    from trafficgen.host.output import Output
    from trafficgen.plan import Plan
    from trafficgen.proof.waiting import DeliveryWait
    from trafficgen.runs.monitor import MonitorOptions
    from trafficgen.verdict.gating import Design, Ended

EPILOG: Final = """\
Examples:

\b
  traffic-gen gate --a 10.0.0.7:25 --b 10.0.0.8:25 --scenario release.toml
  traffic-gen gate --a localhost:2525 --a-start './up old' --a-stop ./down --b-start './up new' --b-stop ./down
  traffic-gen gate --a 10.0.0.7 --b 10.0.0.8 --state gate.jsonl -- --message-count 20000 --concurrency 50
  traffic-gen gate --a 10.0.0.7 --b 10.0.0.8 -- --message-count 20000 --wait-for-delivery 2m --sink-api 8026

What follows -- are options of send. With --wait-for-delivery and --sink-api there, each run waits until its mail has
come out at a sink behind the builds, and what is lost, doubled or damaged on the way fails B at once.

Exit codes: 0 pass, 99 fail, 105 interrupted, 120 warn or inconclusive, 121 nothing could be judged, 122 the file of
--state belongs to another gate, or that of --history is no history.
"""

_PATH: Final = PATH


class _GateOption(click.Option):
    """One with a group in help. The environment is left to the options of send, some of which have the same names."""

    def __init__(self, *given: Any, group: str, **settings: Any) -> None:
        super().__init__(*given, **{**settings, "help": " ".join(settings["help"].split())})
        self.group = group


class _SendWords(Names):
    """Words of a command line of `send`, completed as there."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import ShellComplete

        from trafficgen.cli.send import command as send

        words = list(ctx.params.get("send") or ())
        return ShellComplete(send, {}, "send", "").get_completions(words, incomplete)


_LOAD, _BUILDS, _VERDICT, _FILES = (
    partial(click.option, cls=_GateOption, group=title) for title in ("Load", "Builds", "Verdict", "Files")
)

_NOT_HERE: Final = {
    "threshold": "a gate compares and has margins in place of thresholds",
    "abort_on_fail": "a gate has no threshold to abort on",
    "before": "a gate brings builds up with --a-start and --b-start",
    "after": "a gate takes builds down with --a-stop and --b-stop",
    "json": "a gate makes many runs and keeps their results with --keep",
    "html": "a gate makes many runs: keep their results with --keep, for traffic-gen report --html",
    "junit": "a gate writes its own verdict with --junit before the --",
    "manifest": "a gate makes many runs, each with messages of its own",
    "live_port": "a gate makes many runs and shows none of them while it goes on",
    "metrics_port": "a gate makes many runs and shows none of them while it goes on",
}
"""Options of send that would be passed over in silence, and what to do instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOptions:
    """What `traffic-gen gate` was told, by parameter name."""

    scenario: str | None
    a: str | None
    b: str | None
    a_start: str | None
    a_stop: str | None
    b_start: str | None
    b_stop: str | None
    a_cgroup: str | None
    b_cgroup: str | None
    metric: tuple[str, ...]
    looks: str
    control: int
    on_inconclusive: str
    tolerate_refusals: bool
    state: Path | None
    keep: Path | None
    history: Path | None
    label: str
    json: Path | None
    junit: Path | None
    send: tuple[str, ...]


@click.command("gate", cls=GroupedCommand, epilog=EPILOG)
@_LOAD("--scenario", metavar="FILE", type=FILE, help="The load of every run, as for send.")
@_BUILDS("--a", metavar="HOST[:PORT]", help="Where the build to compare with is, or comes up.")
@_BUILDS("--b", metavar="HOST[:PORT]", help="Where the build under test is, or comes up. [default: as --a]")
@_BUILDS("--a-start", metavar="CMD", help="Bring A up before each of its runs, without a shell; waits for a 220.")
@_BUILDS("--a-stop", metavar="CMD", help="Take A down after each of its runs; waits until it is gone.")
@_BUILDS("--b-start", metavar="CMD", help="The same for B.")
@_BUILDS("--b-stop", metavar="CMD", help="The same for B.")
@_BUILDS(
    "--a-cgroup",
    metavar="DIR",
    type=FILE,
    help="A's cgroup, to read what A used; else its process tree, if it is here.",
)
@_BUILDS("--b-cgroup", metavar="DIR", type=FILE, help="The same for B.")
@_VERDICT(
    "--metric",
    multiple=True,
    metavar="NAME[:PERCENT%[+TIME]]",
    help="""
    What must not get worse, and by how much it may, such as throughput:5%, p99:10%+2ms (10 %, or 2 ms if that is more),
    server.cpu:3%. At most three. [default: throughput:5% p99:10%+2ms]""",
)
@_VERDICT("--looks", default="8,16,24", metavar="N,N…", help="Judge after so many pairs. [default: 8,16,24]")
@_VERDICT("--control", default=8, metavar="N", help="Pairs of A against A first; 0: trust this machine. [default: 8]")
@_VERDICT(
    "--on-inconclusive",
    type=click.Choice(["inconclusive", "fail", "pass"]),
    default="inconclusive",
    help="How warn and inconclusive end: 120, 99 or 0. [default: inconclusive]",
)
@_VERDICT("--tolerate-refusals", is_flag=True, help="Rejected and failed messages are part of this load.")
@_FILES(
    "--state",
    metavar="FILE",
    type=_PATH,
    help="Keep trials here; called again with the same file, an interrupted gate goes on.",
)
@_FILES("--keep", metavar="DIR", type=_PATH, help="Keep the results of every run here.")
@_FILES(
    "--history", metavar="FILE", type=_PATH, help="Append ratios and medians to this CSV file, to watch slow drift."
)
@_FILES("--label", default="", metavar="TEXT", help="What to call this gate in the history: a commit, a branch.")
@_FILES("--json", metavar="FILE", type=_PATH, help="Write all numbers as JSON.")
@_FILES("--junit", metavar="FILE", type=_PATH, help="Write the verdict as JUnit XML.")
@click.argument("send", nargs=-1, type=_SendWords(list), metavar="[-- SEND OPTIONS]")
def command(**given: Any) -> ExitCode:
    """Say whether build B is worse than build A by more than a margin, with the evidence for it.

    Pairs of runs in random order, judged after 8, 16 and 24 pairs by an exact test: 34 to 66 runs of the load, eight
    pairs of which are of A alone, to see what this machine can tell. docs/gate.md explains it.
    """
    from trafficgen.gate.gate import BuildRunner, run_gate
    from trafficgen.gate.trials import TrialFile, seed_in
    from trafficgen.plan import draw_seed
    from trafficgen.report.gated import check_history
    from trafficgen.verdict.gating import Side

    options = GateOptions(**given)
    _check_outputs(options)
    if options.history:
        check_history(options.history)
    seeds = seed_in(options.state)
    builds = {side: _build(options, side) for side in Side}
    plan, monitor, delivery_wait = _load(options, seeds[0] if seeds else None)
    design = _design(options, seeds[1] if seeds else draw_seed())
    file = TrialFile(options.state, _identity(plan, design, builds, delivery_wait))
    runner = BuildRunner(plan, builds, design.metrics, monitor, options.keep, options.tolerate_refusals, delivery_wait)
    started_at = datetime.now(UTC)
    say = partial(click.echo, err=True)
    ended = run_gate(design, runner, file, notice=say, why_absent=runner.unavailable)
    _write(options, design, ended, file, started_at, runner.failed)
    return _code(options, ended)


def _load(options: GateOptions, seed: int | None) -> "tuple[Plan, MonitorOptions, DeliveryWait | None]":
    """The plan of every run, which part of it counts, and the sink behind the builds, if there is one."""
    from trafficgen.cli.judging import monitor_options
    from trafficgen.cli.planning import SendOptions, make_plan
    from trafficgen.cli.send import command as send

    arguments = [*(("--scenario", options.scenario) if options.scenario else ()), *options.send]
    told = SendOptions(**send.make_context("traffic-gen send", arguments).params)
    if told.target is not None:
        raise PlanError("expected the targets as --a and --b", field="target", flag="--target")
    for name, reason in _NOT_HERE.items():
        if getattr(told, name) not in (None, (), ""):
            flag = f"--{name.replace('_', '-')}"
            raise PlanError(f"{reason}; leave it out, here and in the scenario", field=name, flag=flag)
    if seed is not None and told.seed is None:
        told = replace(told, seed=seed)
    told = replace(told, target=options.a)
    planned = make_plan(told)
    plan = replace(planned.plan, target=None)
    return plan, monitor_options(told, plan), planned.delivery_wait


def _design(options: GateOptions, seed: int) -> "Design":
    from trafficgen.verdict.gating import Design
    from trafficgen.verdict.reading import DEFAULT_METRICS, parse_metric

    texts = options.metric or DEFAULT_METRICS
    metrics = tuple(parse_with(parse_metric, text, "metrics", "--metric") for text in texts)
    try:
        looks = tuple(int(word) for word in options.looks.split(","))
    except ValueError:
        text = f'expected numbers of pairs such as 8,16,24, got "{options.looks}"'
        raise PlanError(text, field="looks", flag="--looks") from None
    try:
        return Design(metrics, looks, options.control, seed)
    except ValueError as error:
        raise PlanError(str(error), field="looks", flag="--looks") from error


def _build(options: GateOptions, side: "Any") -> "Build":
    from trafficgen.gate.builds import Build
    from trafficgen.plan import parse_target

    name = side.value
    flag = f"--{name}" if getattr(options, name) else "--a"
    where = getattr(options, name) or options.a
    if where is None:
        raise PlanError("expected the address of the build to compare with", field="target", flag="--a")
    start, stop = getattr(options, f"{name}_start"), getattr(options, f"{name}_stop")
    if (start is None) != (stop is None):
        missing = f"--{name}-{'stop' if stop is None else 'start'}"
        raise PlanError("expected commands to start and to stop, or neither", field="build", flag=missing)
    return Build(parse_target(where, "target", flag), start, stop, getattr(options, f"{name}_cgroup"))


def _identity(
    plan: "Plan", design: "Design", builds: "dict[Any, Build]", delivery_wait: "DeliveryWait | None"
) -> dict[str, Any]:
    """What makes a gate the same gate."""
    from trafficgen.measure.document import to_plain

    without_id = {key: value for key, value in plan.to_dict().items() if key != "run_id"}
    sides = {side.value: [str(build.target), build.start, build.stop] for side, build in builds.items()}
    return {
        "plan": without_id,
        "design": to_plain(design),
        "builds": sides,
        "drain": delivery_wait and str(delivery_wait.sink),
    }


def _write(
    options: GateOptions,
    design: "Design",
    ended: "Ended",
    file: "TrialFile",
    started_at: datetime,
    failed: Sequence[OutputError],
) -> None:
    from trafficgen.cli.send import job_summary
    from trafficgen.host.output import attempt_all
    from trafficgen.report import gated
    from trafficgen.report.to_text import write_sections

    now = datetime.now(UTC)
    begin, end = (moment.isoformat(timespec="seconds") for moment in (started_at, now))
    seconds = (now - started_at).total_seconds()
    steps: list[tuple[str, Callable[[], None]]] = [
        ("stdout", lambda: write_sections(gated.gate_sections(ended), sys.stdout))
    ]
    if json := _output(options.json, "--json"):
        steps.append(("--json", lambda: json.write(gated.gate_json(ended, design, file.trials))))
    if junit := _output(options.junit, "--junit"):
        steps.append(("--junit", lambda: junit.write(gated.gate_junit(ended, design, begin, seconds))))
    if history := _output(options.history, "--history"):
        header = not history.path.exists() or not history.path.stat().st_size
        rows = partial(gated.history_rows, ended, time=end, label=options.label, header=header)
        steps.append(("--history", lambda: history.append(rows())))
    if page := job_summary():
        steps.append((page.option, lambda: page.append(gated.gate_markdown(ended))))
    attempt_all(steps, failed=[*failed, *((file.failed,) if file.failed else ())])


def _check_outputs(options: GateOptions) -> None:
    """Before hours of runs whose verdict could not be written."""
    for path, flag in ((options.json, "--json"), (options.junit, "--junit"), (options.history, "--history")):
        if output := _output(path, flag):
            output.check()


def _output(path: Path | None, option: str) -> "Output | None":
    from trafficgen.host.output import Output

    return Output(path, option) if path is not None else None


def _code(options: GateOptions, ended: "Ended") -> ExitCode:
    if ended.code is not ExitCode.INCONCLUSIVE:
        return ended.code
    return {
        "fail": ExitCode.VERDICT_FAILED, "pass": ExitCode.DONE, "inconclusive": ExitCode.INCONCLUSIVE,
    }[options.on_inconclusive]  # fmt: skip

"""`traffic-gen gate`: is build B worse than build A?

Takes     two addresses, or commands that bring each build up fresh; a scenario
Gives     a verdict, its reason in a sentence, an exit code; blocks or runs on stderr as they are made
Not here  how it is decided (trafficgen.verdict), how runs are made (trafficgen.gate), what is particular to slices
          (gate_slices)
"""

import sys
from collections.abc import Callable, Mapping, Sequence
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

    from trafficgen.cli.send_options import SendOptions
    from trafficgen.gate.builds import Build
    from trafficgen.host.output import Output
    from trafficgen.plan import Plan
    from trafficgen.proof.waiting import DeliveryWait
    from trafficgen.report.gated import GateEnd
    from trafficgen.verdict.gating import Design, Side
    from trafficgen.verdict.rule import Metric
    from trafficgen.verdict.sequence import SliceDesign

EPILOG: Final = """\
Examples:

\b
  traffic-gen gate --a 10.0.0.7:25 --b 10.0.0.8:25 --html gate.html -- --concurrency 50
  traffic-gen gate --a 10.0.0.7:25 --b 10.0.0.8:25 --rate half --metric p95:10%+2ms
  traffic-gen gate --a 10.0.0.7 --b 10.0.0.8 --state gate.jsonl -- --wait-for-delivery 2m --sink-api 8026
  traffic-gen gate --a localhost:2525 --a-start './up old' --a-stop ./down --b-start './up new' --b-stop ./down

What follows -- are options of send. With --wait-for-delivery and --sink-api there, the gate waits until all mail has
come out at a sink behind the builds, and what is lost, doubled or damaged on the way fails B.

Exit codes: 0 pass, 99 fail, 105 interrupted, 120 warn or inconclusive, 121 nothing could be judged, 122 the file of
--state belongs to another gate, or that of --history is no history.
"""

_PATH: Final = PATH


class _GateOption(click.Option):
    """One with a group in help. The environment is left to the options of send, some of which have the same names."""

    def __init__(self, *given: Any, group: str, **settings: Any) -> None:
        super().__init__(*given, **{**settings, "help": " ".join(settings["help"].split())})
        self.group = group


class SendWords(Names):
    """Words of a command line of `send`, completed as there."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import ShellComplete

        from trafficgen.cli.send import command as send

        words = list(ctx.params.get("send") or ())
        return ShellComplete(send, {}, "send", "").get_completions(words, incomplete)


_LOAD, _BUILDS, _VERDICT, _SLICES, _RUNS, _FILES = (
    partial(click.option, cls=_GateOption, group=title)
    for title in ("Load", "Builds", "Verdict", "Slices", "Whole runs", "Files")
)

_NOT_OBSERVED: Final = "a gate reads what its builds' processes use, and looks at no queue or host"
_NOT_HERE: Final = {
    "threshold": "a gate compares and has margins in place of thresholds",
    "abort_on_fail": "a gate has no threshold to abort on",
    "before": "a gate brings builds up with --a-start and --b-start",
    "after": "a gate takes builds down with --a-stop and --b-stop",
    "json": "a gate makes many runs and keeps their results with --keep",
    "html": "a gate makes many runs: keep their results with --keep, for traffic-gen report --html",
    "junit": "a gate writes its own verdict with --junit before the --",
    "manifest": "a gate makes many runs, each with messages of its own",
    "cluster": "a gate compares two builds on one machine",
    "shard": "a gate compares two builds on one machine",
    "start_at": "a gate makes many runs, one after the other",
    "live_port": "a gate makes many runs and shows none of them while it goes on",
    "metrics_port": "a gate makes many runs and shows none of them while it goes on",
    "observe": _NOT_OBSERVED,
    "observe_queue": _NOT_OBSERVED,
    "observe_cgroup": _NOT_OBSERVED,
    "observe_metrics": _NOT_OBSERVED,
    "observe_doveadm": _NOT_OBSERVED,
    "observe_drain": _NOT_OBSERVED,
}
"""Options of send that would be passed over in silence, and what to do instead."""

_NOT_BY_SLICES: Final = {"stage": "a gate by slices has one rate (--rate), or give --whole-runs"}


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
    a_queue: Path | None
    b_queue: Path | None
    rate: str | None
    threshold: tuple[str, ...]
    metric: tuple[str, ...]
    budget: str | None
    slice: str | None
    whole_runs: bool
    looks: str | None
    control: int | None
    on_inconclusive: str
    tolerate_refusals: bool
    state: Path | None
    keep: Path | None
    history: Path | None
    label: str
    json: Path | None
    junit: Path | None
    html: Path | None
    send: tuple[str, ...]

    @property
    def by_slices(self) -> bool:
        """Whether both builds are up at the same time."""
        commands = (self.a_start, self.a_stop, self.b_start, self.b_stop)
        return self.b is not None and not self.whole_runs and not any(commands)


@click.command("gate", cls=GroupedCommand, epilog=EPILOG)
@_LOAD("--scenario", metavar="FILE", type=FILE, help="The load, as for send.")
@_LOAD(
    "--rate",
    metavar="RATE|half",
    help="""
    Gate latency in the open model, at this many messages a second such as 200/s, the same for both builds; half: half
    of what A accepts in a short run without a rate. By slices only.""",
)
@_LOAD(
    "--threshold",
    multiple=True,
    metavar="EXPR",
    help="With --rate half: half of the highest rate at which A keeps this, such as p99<250ms, as find-limit finds it.",
)
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
@_BUILDS("--a-queue", metavar="DIR", type=_PATH, help="A's Postfix queue: whose queue grew is said. By slices only.")
@_BUILDS("--b-queue", metavar="DIR", type=_PATH, help="The same for B.")
@_VERDICT(
    "--metric",
    multiple=True,
    metavar="NAME[:PERCENT%[+TIME]]",
    help="""
    What must not get worse, and by how much it may, such as throughput:5%, p99:10%+2ms (10 %, or 2 ms if that is more),
    server.cpu:3%. At most three. [default: throughput:5%; with --rate p50:10%+2ms p95:10%+2ms; of whole runs
    throughput:5% p99:10%+2ms]""",
)
@_VERDICT(
    "--on-inconclusive",
    type=click.Choice(["inconclusive", "fail", "pass"]),
    default="inconclusive",
    help="How warn and inconclusive end: 120, 99 or 0. [default: inconclusive]",
)
@_VERDICT("--tolerate-refusals", is_flag=True, help="Rejected and failed messages are part of this load.")
@_SLICES("--budget", metavar="TIME", help="Decide within this time. [default: 10m]")
@_SLICES(
    "--slice",
    metavar="TIME",
    help="How long a slice is measured, after a third as long that is not. [default: 1500ms]",
)
@_RUNS("--whole-runs", is_flag=True, help="Make whole runs in turns, as is done where only one build can be up.")
@_RUNS("--looks", metavar="N,N…", help="Judge after so many pairs. [default: 8,16,24]")
@_RUNS("--control", type=int, metavar="N", help="Pairs of A against A first; 0: trust this machine. [default: 8]")
@_RUNS("--keep", metavar="DIR", type=_PATH, help="Keep the results of every run here.")
@_FILES(
    "--state",
    metavar="FILE",
    type=_PATH,
    help="Keep what was measured here; called again with the same file, an interrupted gate goes on.",
)
@_FILES(
    "--history", metavar="FILE", type=_PATH, help="Append ratios and medians to this CSV file, to watch slow drift."
)
@_FILES("--label", default="", metavar="TEXT", help="What to call this gate in the history: a commit, a branch.")
@_FILES("--json", metavar="FILE", type=_PATH, help="Write all numbers as JSON.")
@_FILES("--junit", metavar="FILE", type=_PATH, help="Write the verdict as JUnit XML.")
@_FILES("--html", metavar="FILE", type=_PATH, help="Write one page with the slices and the verdict. By slices only.")
@click.argument("send", nargs=-1, type=SendWords(list), metavar="[-- SEND OPTIONS]")
def command(**given: Any) -> ExitCode:
    """Say whether build B is worse than build A by more than a margin, with the evidence for it.

    With --a and --b both builds are up, and the load goes to one at a time in slices of seconds, in random order, until
    the difference is known or --budget is spent; slices in which the machine was disturbed do not count. With --a-start
    and --b-start, pairs of whole runs: 34 to 66 of them. docs/explained/gate.md explains both.
    """
    from trafficgen.cli import gate_slices

    options = GateOptions(**given)
    _check_outputs(options)
    if options.history:
        from trafficgen.report.gated import check_history

        check_history(options.history)
    if options.by_slices:
        return _code(options, gate_slices.run(options))
    gate_slices.refuse(options)
    return _code(options, _whole_runs(options))


def _whole_runs(options: GateOptions) -> "ExitCode":
    from trafficgen.gate.gate import BuildRunner, run_gate
    from trafficgen.gate.trials import TrialFile, seed_in
    from trafficgen.plan import draw_seed
    from trafficgen.report import gated
    from trafficgen.report.to_text import write_sections
    from trafficgen.verdict.gating import Side

    seeds = seed_in(options.state)
    builds = {side: build_of(options, side) for side in Side}
    told, plan, delivery_wait = load_of(options, seeds[0] if seeds else None)
    from trafficgen.cli.judging import monitor_options

    monitor = monitor_options(told, plan)
    design = _design(options, seeds[1] if seeds else draw_seed())
    file = TrialFile(options.state, identity(plan, design, builds, delivery_wait))
    runner = BuildRunner(plan, builds, design.metrics, monitor, options.keep, options.tolerate_refusals, delivery_wait)
    started_at = datetime.now(UTC)
    say = partial(click.echo, err=True)
    ended = run_gate(design, runner, file, notice=say, why_absent=runner.unavailable)
    failed = [*runner.failed, *((file.failed,) if file.failed else ())]
    documents = [(options.json, "--json", lambda: gated.gate_json(ended, design, file.trials))]
    show = partial(write_sections, gated.gate_sections(ended), sys.stdout)
    write(options, ended, design.metrics, started_at, show, documents, failed)
    return ended.code


def load_of(options: GateOptions, seed: int | None) -> "tuple[SendOptions, Plan, DeliveryWait | None]":
    """The plan of every run, what was said of it, and the sink behind the builds, if there is one."""
    from trafficgen.cli.planning import make_plan
    from trafficgen.cli.send import command as send
    from trafficgen.cli.send_options import SendOptions

    arguments = [*(("--scenario", options.scenario) if options.scenario else ()), *options.send]
    told = SendOptions(**send.make_context("traffic-gen send", arguments).params)
    if told.target:
        raise PlanError(
            "the builds are named by --a and --b; leave it out, here and in the scenario",
            field="target",
            flag="--target",
        )
    refuse_options(told, {**_NOT_HERE, **(_NOT_BY_SLICES if options.by_slices else {})})
    if seed is not None and told.seed is None:
        told = replace(told, seed=seed)
    told = replace(
        told,
        target=(options.a,) if options.a else (),
        rate=told.rate if options.rate in (None, "half") else options.rate,
    )
    planned = make_plan(told)
    return told, replace(planned.plan, target=None), planned.delivery_wait


def refuse_options(told: "SendOptions", reasons: Mapping[str, str]) -> None:
    """PlanError for an option of send that would be passed over in silence."""
    for name, reason in reasons.items():
        if getattr(told, name) not in (None, (), ""):
            flag = f"--{name.replace('_', '-')}"
            raise PlanError(f"{reason}; leave it out, here and in the scenario", field=name, flag=flag)


def _design(options: GateOptions, seed: int) -> "Design":
    from trafficgen.verdict.gating import DEFAULT_CONTROL_PAIRS, Design
    from trafficgen.verdict.reading import DEFAULT_METRICS, parse_metric
    from trafficgen.verdict.rule import DEFAULT_LOOKS
    from trafficgen.verdict.server_metrics import DELIVERED

    texts = options.metric or DEFAULT_METRICS
    metrics = tuple(parse_with(parse_metric, text, "metrics", "--metric") for text in texts)
    if any(metric.name == DELIVERED for metric in metrics):
        raise PlanError(f"whole runs look at no queue ({DELIVERED})", field="metrics", flag="--metric")
    try:
        looks = tuple(int(word) for word in options.looks.split(",")) if options.looks is not None else DEFAULT_LOOKS
    except ValueError:
        text = f'expected numbers of pairs such as 8,16,24, got "{options.looks}"'
        raise PlanError(text, field="looks", flag="--looks") from None
    try:
        control = DEFAULT_CONTROL_PAIRS if options.control is None else options.control
        return Design(metrics, looks, control, seed)
    except ValueError as error:
        raise PlanError(str(error), field="looks", flag="--looks") from error


def build_of(options: GateOptions, side: "Side") -> "Build":
    """One side, as it was told of."""
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
    cgroup, queue = getattr(options, f"{name}_cgroup"), getattr(options, f"{name}_queue")
    return Build(parse_target(where, "target", flag), start, stop, cgroup, queue)


def identity(
    plan: "Plan", design: "Design | SliceDesign", builds: "dict[Side, Build]", delivery_wait: "DeliveryWait | None"
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


def write(
    options: GateOptions,
    ended: "GateEnd",
    metrics: "Sequence[Metric]",
    started_at: datetime,
    show: Callable[[], None],
    documents: Sequence[tuple[Path | None, str, Callable[[], str]]],
    failed: Sequence[OutputError],
) -> None:
    """All that was asked for, whatever becomes of any of it; then OutputError for what failed."""
    from trafficgen.cli.send import job_summary
    from trafficgen.host.output import attempt_all
    from trafficgen.report import gated

    now = datetime.now(UTC)
    begin, end = (moment.isoformat(timespec="seconds") for moment in (started_at, now))
    seconds = (now - started_at).total_seconds()
    steps: list[tuple[str, Callable[[], None]]] = [("stdout", show)]
    for path, flag, text in documents:
        if output := _output(path, flag):
            steps.append((flag, lambda output=output, text=text: output.write(text())))  # type: ignore[misc]
    if junit := _output(options.junit, "--junit"):
        steps.append(("--junit", lambda: junit.write(gated.gate_junit(ended, metrics, begin, seconds))))
    if history := _output(options.history, "--history"):
        header = not history.path.exists() or not history.path.stat().st_size
        rows = partial(gated.history_rows, ended, time=end, label=options.label, header=header)
        steps.append(("--history", lambda: history.append(rows())))
    if page := job_summary():
        steps.append((page.option, lambda: page.append(gated.gate_markdown(ended))))
    attempt_all(steps, failed=failed)


def _check_outputs(options: GateOptions) -> None:
    """Before hours of runs whose verdict could not be written."""
    for flag in ("--json", "--junit", "--history", "--html"):
        path: Path | None = getattr(options, flag.removeprefix("--"))
        if output := _output(path, flag):
            output.check()


def _output(path: Path | None, option: str) -> "Output | None":
    from trafficgen.host.output import Output

    return Output(path, option) if path is not None else None


def _code(options: GateOptions, code: ExitCode) -> ExitCode:
    if code is not ExitCode.INCONCLUSIVE:
        return code
    return {
        "fail": ExitCode.VERDICT_FAILED, "pass": ExitCode.DONE, "inconclusive": ExitCode.INCONCLUSIVE,
    }[options.on_inconclusive]  # fmt: skip

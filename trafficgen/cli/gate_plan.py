"""What a gate was asked for: its load, its builds, where to write.

Takes     the options of `traffic-gen gate`, and those of send behind `--`
Gives     a plan, builds, the identity of a gate that goes on; everything written at the end
Refuses   options of send that would be passed over in silence
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trafficgen.errors import OutputError, PlanError

if TYPE_CHECKING:
    from trafficgen.cli.gate_options import GateOptions
    from trafficgen.cli.options import SendOptions
    from trafficgen.gate.builds import Build
    from trafficgen.gate.gate import Load
    from trafficgen.host.output import Output
    from trafficgen.mailbox.plan import MailboxPlan
    from trafficgen.plan import Plan, Target
    from trafficgen.proof.waiting import DeliveryWait
    from trafficgen.report.gated import GateEnd
    from trafficgen.verdict.gating import Design, Side
    from trafficgen.verdict.rule import Metric
    from trafficgen.verdict.sequence import SliceDesign

_NOT_OBSERVED: Final = "a gate reads what its builds' processes use, and looks at no queue or host"
NOT_HERE: Final = {
    "threshold": "a gate compares and has margins in place of thresholds",
    "abort_on_fail": "a gate has no threshold to abort on",
    "before": "a gate brings builds up with --a-start and --b-start",
    "after": "a gate takes builds down with --a-stop and --b-stop",
    "json": "a gate makes many runs and keeps their results with --keep",
    "html": "a gate makes many runs: keep their results with --keep, for traffic-gen report --html",
    "junit": "a gate writes its own verdict with --junit before the --",
    "manifest": "a gate makes many runs, each with messages of its own",
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

_NOT_BY_SLICES: Final = {
    "stage": "a gate by slices has one rate (--rate), or give --whole-runs",
}


@dataclass(frozen=True, slots=True)
class RunsLoad:
    """What each run does, and what it is told apart by from the runs of another gate."""

    load: "Load"
    builds: "Mapping[Side, Build]"
    plan: "Plan | MailboxPlan"
    delivery_wait: "DeliveryWait | None" = None


def load_of(options: "GateOptions", seed: int | None) -> "tuple[SendOptions, Plan, DeliveryWait | None]":
    """The plan of every run, what was said of it, and the sink behind the builds, if there is one."""
    from trafficgen.cli.options import SendOptions
    from trafficgen.cli.planning import make_plan
    from trafficgen.cli.send import command as send

    arguments = [*(("--scenario", options.scenario) if options.scenario else ()), *options.send]
    told = SendOptions(**send.make_context("traffic-gen send", arguments).params)
    if told.target:
        raise PlanError(
            "the builds are named by --a and --b; leave it out, here and in the scenario",
            field="target",
            flag="--target",
        )
    refuse_options(told, {**NOT_HERE, **(_NOT_BY_SLICES if options.by_slices else {})})
    if seed is not None and told.seed is None:
        told = replace(told, seed=seed)
    told = replace(
        told,
        target=(options.a,) if options.a else (),
        rate=told.rate if options.rate in (None, "half") else options.rate,
    )
    planned = make_plan(told)
    return told, replace(planned.plan, target=None), planned.delivery_wait


def metrics_of(options: "GateOptions", usual: Sequence[str]) -> "tuple[Metric, ...]":
    """What is compared, the `usual` where nothing is named. PlanError for what this load does not have.

    Losses of mail are held to zero whether or not they are named, and have no ratio.
    """
    from trafficgen.cli.flagged import parse_with
    from trafficgen.verdict.reading import HELD_TO_ZERO, parse_metric

    named = [text for text in options.metric if not (options.of_mailboxes and text in HELD_TO_ZERO)]
    metrics = tuple(parse_with(parse_metric, text, "metrics", "--metric") for text in named or usual)
    names = [metric.name for metric in metrics]
    if twice := [name for name in names if names.count(name) > 1]:
        raise PlanError(f"expected {twice[0]} once, got it {len(twice)} times", field="metrics", flag="--metric")
    for metric in () if options.of_mailboxes else metrics:
        if (reason := _not_here(metric.name, by_slices=options.by_slices)) is not None:
            raise PlanError(reason, field="metrics", flag="--metric")
    return metrics


def check_measured(metrics: "Sequence[Metric]", plan: "Plan", builds: "Mapping[Side, Build]") -> None:
    """PlanError for a metric that no run by this plan has a value for."""
    from trafficgen.verdict.measurable import why_never
    from trafficgen.verdict.quantities import parse_quantity
    from trafficgen.verdict.server_metrics import is_of_server

    for metric in metrics:
        for build in builds.values():
            if is_of_server(metric.name):
                continue
            if (reason := why_never(parse_quantity(metric.name), replace(plan, target=build.target))) is not None:
                raise PlanError(reason, field="metrics", flag="--metric")


def _not_here(name: str, *, by_slices: bool) -> str | None:
    """Why a gate that sends mail has no such metric, with those that it has; None when it has."""
    from trafficgen.engine.account import PHASES
    from trafficgen.verdict.quantities import QuantityKind, parse_quantity
    from trafficgen.verdict.server_metrics import DELIVERED, SERVER_METRICS, is_of_server
    from trafficgen.verdict.server_quantities import SERVER

    if is_of_server(name):
        return None
    quantity = parse_quantity(name)
    if quantity.subject == SERVER and by_slices:
        own = ", ".join((*SERVER_METRICS, DELIVERED))
        return f'"{name}" is read in whole runs only (--whole-runs); of the server, slices have {own}'
    timed = quantity.kind is QuantityKind.DURATION or quantity.command is not None
    if not timed or quantity.subject in ("latency", *PHASES.stretches, SERVER):
        return None
    steps = ", ".join(PHASES.stretches)
    return (
        f'"{name}" is of users of mailboxes (-- mailbox profile=FILE), and this gate sends mail: '
        f"it times {steps}, as in end_of_data.p95"
    )


def refuse_options(told: object, reasons: Mapping[str, str]) -> None:
    """PlanError for an option of the load that would be passed over in silence."""
    for name, reason in reasons.items():
        value = getattr(told, name)
        if value is not False and value not in (None, (), ""):
            flag = f"--{name.replace('_', '-')}"
            raise PlanError(f"{reason}; leave it out, here and in the scenario", field=name, flag=flag)


def place_of(options: "GateOptions", side: "Side") -> tuple[str, str]:
    """Where one side is, as it was told, and by which option."""
    name = side.value
    flag = f"--{name}" if getattr(options, name) else "--a"
    where = getattr(options, name) or options.a
    if where is None:
        raise PlanError("expected the address of the build to compare with", field="target", flag="--a")
    return where, flag


def build_of(options: "GateOptions", side: "Side", target: "Target | None" = None) -> "Build":
    """One side, as it was told of. `target`: where it was found to be, if that is no address of its own."""
    from trafficgen.cli.flagged import check_command
    from trafficgen.gate.builds import Build
    from trafficgen.plan import parse_target

    name = side.value
    where, flag = place_of(options, side)
    start, stop = getattr(options, f"{name}_start"), getattr(options, f"{name}_stop")
    if (start is None) != (stop is None):
        missing = f"--{name}-{'stop' if stop is None else 'start'}"
        raise PlanError("expected commands to start and to stop, or neither", field="build", flag=missing)
    check_command(start, "build", f"--{name}-start", "./up")
    check_command(stop, "build", f"--{name}-stop", "./down")
    cgroup, queue = getattr(options, f"{name}_cgroup"), getattr(options, f"{name}_queue")
    return Build(target or parse_target(where, "target", flag), start, stop, cgroup, queue)


def identity(
    plan: "Plan | MailboxPlan",
    design: "Design | SliceDesign",
    builds: "Mapping[Side, Build]",
    delivery_wait: "DeliveryWait | None",
) -> dict[str, Any]:
    """What makes a gate the same gate."""
    from trafficgen.measure.codec import to_plain

    without_id = {key: value for key, value in plan.to_dict().items() if key != "run_id"}
    sides = {
        side.value: [str(build.target), build.start, build.stop, *(str(other.target) for other in build.others)]
        for side, build in builds.items()
    }
    return {
        "plan": without_id,
        "design": to_plain(design),
        "builds": sides,
        "drain": delivery_wait and ", ".join(map(str, delivery_wait.sinks)),
    }


def check_outputs(options: "GateOptions") -> None:
    """Before hours of runs whose verdict could not be written."""
    for flag in ("--json", "--junit", "--history", "--html"):
        path: Path | None = getattr(options, flag.removeprefix("--"))
        if output := _output(path, flag):
            output.check()
    if options.history:
        from trafficgen.report.gated import check_history

        check_history(options.history)


def write(
    options: "GateOptions",
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
        steps.append(("--history", lambda: history.append(gated.line_end(history.path) + rows())))
    if page := job_summary():
        steps.append((page.option, lambda: page.append(gated.gate_markdown(ended))))
    attempt_all(steps, failed=failed)


def _output(path: Path | None, option: str) -> "Output | None":
    from trafficgen.host.output import Output

    return Output(path, option) if path is not None else None

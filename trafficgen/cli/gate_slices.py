"""`traffic-gen gate` where both builds are up: by slices.

Takes     the options of the gate
Gives     its exit code, with everything written that was asked for
Not here  options and help (gate), how slices are served (trafficgen.gate.slicing), what they mean (verdict.sequence)
"""

import sys
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from mboxgen.counted import number_of
from trafficgen.cli.flagged import parse_with
from trafficgen.cli.notices import show_notice
from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.errors import ExitCode, PlanError, SetupError
from trafficgen.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trafficgen.cli.gate_options import GateOptions
    from trafficgen.cli.options import SendOptions
    from trafficgen.cluster.slices import ClusterSlices
    from trafficgen.host.signals import RunControl
    from trafficgen.plan import Plan, Target
    from trafficgen.proof.waiting import DeliveryWait
    from trafficgen.verdict.gating import Side
    from trafficgen.verdict.sequence import SliceDesign

BUDGET: Final = "10m"
SLICE: Final = "1500ms"
_SEARCHED: Final = 4
"""Of the budget, so large a part at most goes to the search for a rate."""
_ROUGH: Final = 0.25
_STEP_NS: Final = 3 * NS_PER_S
_SKIPPED: Final = 3
"""Of a slice, a third as long is served before it and not measured."""

METRICS: Final = ("throughput:5%",)
"""With a fixed number of sessions and no pause, throughput and mean latency are one number (Little's law)."""
METRICS_AT_A_RATE: Final = ("p50:10%+2ms", "p95:10%+2ms")

_SLICES_ONLY: Final = {
    "rate": ("--rate", "give it behind -- for whole runs"),
    "threshold": ("--threshold", "it is for --rate half, by slices only"),
    "html": ("--html", "whole runs have no page: keep their results with --keep, for traffic-gen report --html"),
    "a_queue": ("--a-queue", "whole runs look at no queue"),
    "b_queue": ("--b-queue", "whole runs look at no queue"),
    "budget": ("--budget", "whole runs end after --looks"),
    "slice": ("--slice", "whole runs have no slices"),
}
_RUNS_ONLY: Final = {
    "looks": ("--looks", "a gate by slices looks by itself, within --budget; or give --whole-runs"),
    "control": ("--control", "a gate by slices needs no control; or give --whole-runs"),
    "keep": ("--keep", "a gate by slices has no results of runs: --json holds its slices; or give --whole-runs"),
}

_PASSED_OVER: Final = {
    "message_count": "a gate by slices sends until it has decided, within --budget",
    "duration": "a gate by slices lasts until it has decided, within --budget",
    "warm_up": "the first part of each slice is left out",
}
"""What a scenario says for runs of their own; it is said that it plays no part."""


def refuse(options: "GateOptions") -> None:
    """PlanError for an option of the kind of gate that this one is not."""
    for name, (flag, reason) in (_RUNS_ONLY if options.by_slices else _SLICES_ONLY).items():
        if getattr(options, name) not in (None, ()):
            raise PlanError(reason, field=name, flag=flag)


def run(options: "GateOptions") -> ExitCode:
    """From options to everything that was asked for."""
    from trafficgen.cli.gate_plan import build_of, check_measured, identity, load_of, write
    from trafficgen.gate.slicing import SlicedLoad, run_slices
    from trafficgen.gate.trials import RecordFile, seed_in
    from trafficgen.plan import OpenLoop, draw_seed
    from trafficgen.report.sliced import slices_json, slices_sections
    from trafficgen.report.slices_page import slices_page
    from trafficgen.report.to_text import write_sections
    from trafficgen.verdict.gating import Side
    from trafficgen.verdict.slices import Block

    began_ns = now_ns()
    if options.threshold and options.rate != "half":
        raise PlanError("expected --rate half with it", field="thresholds", flag="--threshold")
    seeds = seed_in(options.state)
    builds = {side: build_of(options, side) for side in Side}
    told, plan, delivery_wait = load_of(options, seeds[0] if seeds else None)
    for name, reason in _PASSED_OVER.items():
        if getattr(told, name) is not None:
            show_notice(f"--{name.replace('_', '-')} plays no part: {reason} (--whole-runs makes whole runs)")
    design = design_of_slices(options, plan, seeds[1] if seeds else draw_seed(), clustered=told.cluster is not None)
    check_measured(design.metrics, replace(plan, load=OpenLoop(1.0)) if options.rate == "half" else plan, builds)
    known = identity(plan, design, builds, delivery_wait)
    known |= {"rate": options.rate, "cluster": told.cluster and [told.cluster, told.cluster_hosts]}
    file = RecordFile(options.state, known, Block)
    if options.rate == "half":
        if told.cluster is not None:
            text = "one machine looks for what A accepts: expected a rate, such as 200/s"
            raise PlanError(text, field="rate", flag="--rate")
        target = builds[Side.A].target
        assert target is not None
        plan = _at_half(plan, target, options.threshold, design.budget_ns // _SEARCHED)
    started_at = datetime.now(UTC)
    load = SlicedLoad(plan, builds, delivery_wait, options.tolerate_refusals)
    given = {} if told.cluster is None else {"generators": partial(_by_cluster, told)}
    ended = run_slices(design, load, file, notice=show_notice, began_ns=began_ns, **given)
    show = partial(write_sections, slices_sections(ended, design), sys.stdout)
    documents = [
        (options.json, "--json", lambda: slices_json(ended, design)),
        (options.html, "--html", lambda: slices_page(ended, design)),
    ]
    write(options, ended, design.metrics, started_at, show, documents, [file.failed] if file.failed else [])
    return ended.code


@contextmanager
def _by_cluster(
    told: "SendOptions",
    design: "SliceDesign",
    plans: "Mapping[Side, Plan]",
    delivery_wait: "DeliveryWait | None",
    gate: "RunControl",
) -> "Iterator[ClusterSlices]":
    """Hosts of a cluster that serve slices together."""
    from trafficgen.cli.cluster import cluster_of
    from trafficgen.cluster.slices import ClusterSlices

    assert told.cluster is not None
    with (
        cluster_of(told.cluster, told.cluster_hosts, told.clock_error, gate) as cluster,
        ClusterSlices(cluster, design, plans, delivery_wait, gate) as slices,
    ):
        yield slices


def design_of_slices(options: "GateOptions", plan: "Plan", seed: int, *, clustered: bool = False) -> "SliceDesign":
    """What is fixed before the first slice. PlanError for metrics and times that make no sense. `clustered`: several
    machines send, by a common clock."""
    from trafficgen.cli.gate_plan import metrics_of
    from trafficgen.verdict.sequence import SliceDesign
    from trafficgen.verdict.server_metrics import DELIVERED
    from trafficgen.verdict.slices import Bounds, most_late_ns

    at_a_rate = options.rate is not None or plan.load is not None
    metrics = metrics_of(options, METRICS_AT_A_RATE if at_a_rate else METRICS)
    if any(metric.name == DELIVERED for metric in metrics) and not (options.a_queue and options.b_queue):
        text = f"expected the queues of both builds, to see what leaves them ({DELIVERED})"
        raise PlanError(text, field="queue", flag="--a-queue, --b-queue")
    budget_ns = parse_with(parse_duration, options.budget or BUDGET, "budget", "--budget")
    slice_ns = parse_with(parse_duration, options.slice or SLICE, "slice", "--slice")
    skip_ns = slice_ns // _SKIPPED
    try:
        return SliceDesign(
            metrics, seed, budget_ns, slice_ns, skip_ns, Bounds(late_ns=most_late_ns(skip_ns) if clustered else None)
        )
    except ValueError as error:
        raise PlanError(str(error), field="slices", flag="--budget, --slice, --metric") from error


def _at_half(plan: "Plan", target: "Target", texts: tuple[str, ...], budget_ns: int) -> "Plan":
    """The plan at half of what A accepts as fast as it can, or of the rate at which it keeps thresholds."""
    from trafficgen.plan import OpenLoop
    from trafficgen.runs.limit import capacity

    aimed = replace(plan, target=target)
    if texts:
        most, words = _limit(aimed, texts, budget_ns), f"while it keeps {', '.join(texts)}"
    else:
        most, words = capacity(aimed), "without a rate"
    rate = float(f"{most / 2:.3g}")
    show_notice(f"A accepts {most:,.0f} messages/s {words}; both builds are served at {rate:g}/s")
    return replace(plan, load=OpenLoop(rate))


def _limit(plan: "Plan", texts: tuple[str, ...], budget_ns: int) -> float:
    """A rough search: half of it is served, and 25 % are near enough. SetupError when A keeps them at no rate."""
    from trafficgen.plan import OpenLoop
    from trafficgen.runs.limit import LimitOptions, find_limit
    from trafficgen.verdict.thresholds import check_threshold, parse_threshold

    thresholds = [parse_with(parse_threshold, text, "thresholds", "--threshold") for text in texts]
    for threshold in thresholds:
        try:
            check_threshold(threshold, replace(plan, load=OpenLoop(1.0)))
        except ValueError as error:
            raise PlanError(str(error), field="thresholds", flag="--threshold") from error
    search = LimitOptions(thresholds, precision=_ROUGH, step_ns=_STEP_NS, budget_ns=budget_ns)
    found = find_limit(plan, search, show_notice)
    if found.bracket.kept is None:
        why = (
            found.limited or f"there was time for {number_of(len(found.steps), 'step')} in {budget_ns / NS_PER_S:.0f} s"
        )
        raise SetupError(f"no rate was found at which A keeps {', '.join(texts)}: {why}")
    return found.bracket.kept

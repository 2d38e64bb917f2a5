"""`traffic-gen gate` by whole runs in turns, where only one build can be up.

Takes     the options of the gate
Gives     its exit code, with everything written that was asked for
Not here  options and help (gate), how runs are made (trafficgen.gate.gate), what they mean (verdict.gating)
"""

import sys
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from trafficgen.cli.cluster import cluster_of
from trafficgen.cli.flagged import parse_with
from trafficgen.errors import PlanError

if TYPE_CHECKING:
    from trafficgen.cli.gate_options import GateOptions
    from trafficgen.errors import ExitCode
    from trafficgen.verdict.gating import Design


def run(options: "GateOptions") -> "ExitCode":
    """A gate by pairs of whole runs, as it was asked for."""
    from trafficgen.cli.gate_options import build_of, identity, load_of, write
    from trafficgen.cli.judging import monitor_options
    from trafficgen.gate.gate import BuildRunner, run_gate
    from trafficgen.gate.trials import TrialFile, seed_in
    from trafficgen.plan import draw_seed
    from trafficgen.report import gated
    from trafficgen.report.to_text import write_sections
    from trafficgen.verdict.gating import Side

    seeds = seed_in(options.state)
    builds = {side: build_of(options, side) for side in Side}
    told, plan, delivery_wait = load_of(options, seeds[0] if seeds else None)
    monitor = monitor_options(told, plan)
    design = design_of_runs(options, seeds[1] if seeds else draw_seed())
    file = TrialFile(options.state, identity(plan, design, builds, delivery_wait))
    runner = BuildRunner(plan, builds, design.metrics, monitor, options.keep, options.tolerate_refusals, delivery_wait)
    started_at = datetime.now(UTC)
    say = partial(click.echo, err=True)
    with ExitStack() as stack:
        if told.cluster is not None:
            cluster = stack.enter_context(cluster_of(told.cluster, told.cluster_hosts, told.clock_error))
            runner = replace(runner, runner=cluster.run)
        ended = run_gate(design, runner, file, notice=say, why_absent=runner.unavailable)
    failed = [*runner.failed, *((file.failed,) if file.failed else ())]
    documents = [(options.json, "--json", lambda: gated.gate_json(ended, design, file.trials))]
    show = partial(write_sections, gated.gate_sections(ended), sys.stdout)
    write(options, ended, design.metrics, started_at, show, documents, failed)
    return ended.code


def design_of_runs(options: "GateOptions", seed: int) -> "Design":
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

"""`traffic-gen gate` by whole runs in turns, where only one build can be up.

Takes     the options of the gate
Gives     its exit code, with everything written that was asked for
Not here  options and help (gate), users of mailboxes as the load (gate_mailbox), how runs are made
          (trafficgen.gate.gate), what they mean (verdict.gating)
"""

import sys
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from trafficgen.cli.cluster import cluster_of
from trafficgen.cli.gate_plan import RunsLoad
from trafficgen.cli.notices import show_notice
from trafficgen.errors import PlanError

if TYPE_CHECKING:
    from trafficgen.cli.gate_options import GateOptions
    from trafficgen.errors import ExitCode
    from trafficgen.verdict.gating import Design


def run(options: "GateOptions") -> "ExitCode":
    """A gate by pairs of whole runs, as it was asked for."""
    from trafficgen.cli import gate_mailbox
    from trafficgen.cli.gate_plan import check_measured, identity, write
    from trafficgen.gate.gate import BuildRunner, run_gate
    from trafficgen.gate.trials import TrialFile, seed_in
    from trafficgen.plan import Plan, draw_seed
    from trafficgen.report import gated
    from trafficgen.report.to_text import write_sections

    seeds = seed_in(options.state)
    with ExitStack() as stack:
        asked = (
            gate_mailbox.load_of(options, stack, show_notice)
            if options.of_mailboxes
            else _of_mail(options, seeds, stack)
        )
        design = design_of_runs(options, seeds[1] if seeds else draw_seed())
        if isinstance(asked.plan, Plan):
            check_measured(design.metrics, asked.plan, asked.builds)
        file = TrialFile(options.state, identity(asked.plan, design, asked.builds, asked.delivery_wait))
        runner = BuildRunner(asked.load, asked.builds, design.metrics, options.keep, options.tolerate_refusals)
        started_at = datetime.now(UTC)
        ended = run_gate(design, runner, file, notice=show_notice, why_absent=runner.unavailable)
    failed = [*runner.failed, *((file.failed,) if file.failed else ())]
    documents = [(options.json, "--json", lambda: gated.gate_json(ended, design, file.trials))]
    show = partial(write_sections, gated.gate_sections(ended), sys.stdout)
    write(options, ended, design.metrics, started_at, show, documents, failed)
    return ended.code


def _of_mail(options: "GateOptions", seeds: tuple[int, int] | None, stack: ExitStack) -> RunsLoad:
    from trafficgen.cli.gate_plan import build_of, load_of
    from trafficgen.cli.judging import monitor_options
    from trafficgen.gate.gate import SentMail
    from trafficgen.plan import Security
    from trafficgen.verdict.gating import Side

    builds = {side: build_of(options, side) for side in Side}
    told, plan, delivery_wait = load_of(options, seeds[0] if seeds else None)
    builds = {side: replace(build, tls=plan.session.security is Security.TLS) for side, build in builds.items()}
    load = SentMail(plan, builds, monitor_options(told, plan), delivery_wait)
    if told.cluster is not None:
        cluster = stack.enter_context(cluster_of(told.cluster, told.cluster_hosts, told.clock_error))
        load = replace(load, runner=cluster.run)
    return RunsLoad(load, builds, plan, delivery_wait)


def design_of_runs(options: "GateOptions", seed: int) -> "Design":
    from trafficgen.cli.gate_plan import metrics_of
    from trafficgen.verdict.gating import DEFAULT_CONTROL_PAIRS, Design
    from trafficgen.verdict.reading import DEFAULT_METRICS, DEFAULT_METRICS_OF_MAILBOXES
    from trafficgen.verdict.rule import DEFAULT_LOOKS
    from trafficgen.verdict.server_metrics import DELIVERED

    metrics = metrics_of(options, DEFAULT_METRICS_OF_MAILBOXES if options.of_mailboxes else DEFAULT_METRICS)
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
        of_control = "control" in str(error)
        field, flag = ("control", "--control") if of_control else ("looks", "--looks")
        raise PlanError(str(error), field=field, flag=flag) from error

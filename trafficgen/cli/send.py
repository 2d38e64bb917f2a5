"""`traffic-gen send`: options to a plan, one run, its summary, an exit code.

Takes     the options of `options`
Gives     summary to stdout, notices and the live line to stderr, results as JSON and JUnit where asked
Not here  the run itself (`trafficgen.run`), the words of the summary (report)
"""

import os
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from trafficgen.cli.grouped import GroupedCommand
from trafficgen.cli.judging import judging_options, monitor_options, observation_of, observers_for, run_hook
from trafficgen.cli.notices import show_notice
from trafficgen.cli.options import send_options
from trafficgen.errors import ExitCode
from trafficgen.host.signals import CountedSignals, RunControl

if TYPE_CHECKING:
    from collections.abc import Callable

    from trafficgen.cli.options import SendOptions
    from trafficgen.cli.planning import Planned
    from trafficgen.engine.resolved import ResolvedPlan
    from trafficgen.host.output import Output
    from trafficgen.measure.journal import Journal
    from trafficgen.measure.results import Results
    from trafficgen.runs.monitor import MonitorOptions

EPILOG: Final = """\
Examples:

\b
  traffic-gen --message-count 100000 --domain gmail.com:67.4 --domain yahoo.com:5.9
  traffic-gen --target localhost:2025 --keep-going --concurrency 400 --body-size 60kb --duration 25m
  traffic-gen --target 10.0.0.7 --stage 30s:200 --stage 5m:1000 --domain-preset mapp2019-us --json run.json
  traffic-gen --target 10.0.0.7 --rate 500/s --duration 5m --warm-up 30s --threshold 'p99<250ms' --junit run.xml
  traffic-gen --mbox corpus.mbox --shuffle --rate 100/s --header 'X-Tenant: {a:3|b:1}' --dry-run

Every option is also read from the environment: --message-count from TRAFFIC_GEN_MESSAGE_COUNT and so on; several
values of one option are separated by spaces, several headers by line ends.

Exit codes: 0 done, 1 not possible, a message failed without --keep-going, none was accepted, or an output or a proof is
missing, 2 wrong usage, 99 a threshold failed or the sink misses a message or has one twice or damaged, 105 interrupted,
121 the measurement is not valid.
"""


@click.command("send", cls=GroupedCommand, epilog=EPILOG)
@send_options
@judging_options
@click.option(
    "--list-presets",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _, wanted: _list_presets(context, wanted),
    help="Show all presets of domains, recipients and sizes, with their sources.",
)
def command(**given: Any) -> ExitCode:
    """Send weighted mail at a server, or at a sink of our own, and account for every message.

    Every message ends as accepted (the server answered 250), rejected, failed, or in doubt; the summary adds up.
    """
    if not given["dry_run"] and not given["cluster"]:
        from trafficgen.host import processes

        processes.prepare()  # what takes longest to import, beside the rest
    from trafficgen.cli.options import SendOptions
    from trafficgen.cli.planning import make_plan
    from trafficgen.engine.resolved import ResolvedPlan

    options = SendOptions(**given)
    planned = make_plan(options)
    observation_of(options)
    monitor = monitor_options(options, planned.plan)  # refuses what no run could be judged by
    resolved = ResolvedPlan.of(planned.plan)
    notices = planned.notices + _read_as(resolved)
    if options.dry_run:
        from trafficgen.cli.dry_run import describe

        _tell(notices, options)
        click.echo(describe(resolved))
        return ExitCode.DONE
    outputs = _outputs(options)
    for output in outputs.values():
        output.check()
    _tell(notices, options)  # when nothing can be refused any more that is known before the run
    run_hook(options.before, "--before")
    journal, control = _journal(options), RunControl()
    try:
        with CountedSignals(control):  # also while results are written: Ctrl-C would only lose what the run was for
            results = _run(resolved, planned, monitor, options, journal, control)
            _write(results, options, outputs, journal)
    finally:
        run_hook(options.after, "--after")
    return results.exit_code(keep_going=resolved.plan.keep_going)


def _run(
    resolved: "ResolvedPlan",
    planned: "Planned",
    monitor: "MonitorOptions",
    options: "SendOptions",
    journal: "Journal | None",
    control: RunControl,
) -> "Results":
    from trafficgen.report.live import LinesBetween, Live
    from trafficgen.runs.monitor import run_monitored

    say = (lambda _line: None) if options.quiet else show_notice
    with ExitStack() as stack:
        observation = observation_of(options)
        if observation:
            stack.enter_context(observation)
        run = partial(
            run_monitored,
            resolved,
            monitor,
            journal=journal,
            observers=stack.enter_context(observers_for(options.live_port, options.metrics_port, say)),
            manifest=planned.manifest,
            delivery_wait=planned.delivery_wait,
            control=control,
            observation=observation,
            trace=LinesBetween(),
        )
        if options.cluster is not None:
            from trafficgen.cli.cluster import cluster_of

            cluster = cluster_of(options.cluster, options.cluster_hosts, options.clock_error, control)
            run = partial(run, runner=stack.enter_context(cluster).run)
        if options.quiet:
            return run()
        live = stack.enter_context(Live(planned=resolved.planned, duration_ns=resolved.sending_ns))
        return run(progress=lambda now: live.update(now.snapshot, now.elapsed_ns), notice=say)


def _read_as(resolved: "ResolvedPlan") -> list[str]:
    """KumoMTA's body files are whole messages, and which way one was taken shows in every number."""
    from trafficgen.plan import BodyFile
    from trafficgen.workload.bodies import is_whole_message

    content = resolved.plan.workload.content
    if not isinstance(content, BodyFile) or resolved.body is None:
        return []
    if content.binary:
        return []
    if is_whole_message(resolved.body):
        return [f'"{content.path}" begins with a header block: it is sent as a whole message']
    return [f'"{content.path}" begins with no header block: it is sent as a body, under generated headers']


def _journal(options: "SendOptions") -> "Journal | None":
    from trafficgen.measure.journal import Journal

    return None if options.json in (None, "-") else Journal(Path(str(options.json)))


def _write(results: "Results", options: "SendOptions", outputs: "dict[str, Output]", journal: "Journal | None") -> None:
    """Every output, whatever becomes of the others; the summary is always shown."""
    from trafficgen.host.output import attempt_all
    from trafficgen.report import tables
    from trafficgen.report.to_html import to_html
    from trafficgen.report.to_text import write_summary

    steps: list[tuple[str, Callable[[], None]]] = []
    if options.json == "-":
        steps.append(("stdout", lambda: _print(results.to_json())))
    elif journal:
        steps.append(("--json", lambda: journal.close(results)))
    if junit := outputs.get("--junit"):
        steps.append(("--junit", lambda: junit.write(tables.to_junit([results]))))
    if html := outputs.get("--html"):
        steps.append(("--html", lambda: html.write(to_html([results]))))
    if page := job_summary():
        steps.append((page.option, lambda: page.append(tables.to_markdown([results]))))
    stream = sys.stderr if options.json == "-" else sys.stdout
    steps.append(("stdout", lambda: write_summary(results, stream)))
    attempt_all(steps)


def job_summary() -> "Output | None":
    """Where a CI system wants a summary in Markdown appended, if it runs us."""
    from trafficgen.host.output import Output

    variable = "GITHUB_STEP_SUMMARY"
    return Output(Path(page), variable) if (page := os.environ.get(variable)) else None


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _outputs(options: "SendOptions") -> "dict[str, Output]":
    """The files that were asked for, by option."""
    from trafficgen.host.output import Output

    named = {"--json": options.json, "--junit": options.junit, "--html": options.html}
    return {flag: Output(Path(name), flag) for flag, name in named.items() if name is not None and name != "-"}


def _tell(notices: list[str], options: "SendOptions") -> None:
    for notice in notices if not options.quiet else ():
        show_notice(notice)


def _list_presets(context: click.Context, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from trafficgen.cli.presets import describe_presets

        click.echo(describe_presets())
        context.exit()

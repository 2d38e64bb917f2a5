"""`traffic-gen observe`: look at a server under load, on the server itself; later, put it into the run's results.

Takes     what to look at; or results and the samples of their time
Gives     NDJSON until Ctrl-C or its time is over; or the results with a section on the server
Not here  looking (server), clocks (measure.observed)
"""

import json
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import click

from mboxgen.console import PATH
from trafficgen.cli.flagged import check_command
from trafficgen.cli.grouped import GroupedCommand, group, options_of
from trafficgen.errors import ExitCode, PlanError, ResultsError

if TYPE_CHECKING:
    from trafficgen.server.agent import Observed

EPILOG: Final = """\
Examples:

\b
  traffic-gen observe --write samples.ndjson --queue /var/spool/postfix
  traffic-gen observe --write - --for 10m --cgroup /sys/fs/cgroup/system.slice/dovecot.service
  traffic-gen observe attach run.json samples.ndjson

Exit codes: 0 done; 1 nothing could be written; 122 a file is missing, damaged, or of another time than the run.
"""

_output = group("Output")
_pace = group("Pace")
_what = group("What")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveOptions:
    """What `traffic-gen observe` was told, by parameter name."""

    # An option is its field: one, a few lines; a table, which the formatter would take apart.
    # fmt: off
    write: Annotated[str | None, _output("--write", metavar="FILE",
        help="Where the samples go, a line each; - is stdout.")]
    output: Annotated[Path | None, _output("--output", "-o", metavar="FILE", type=PATH,
        help="With attach: where the results go. [default: over RESULTS]")]
    every: Annotated[str, _pace("--every", metavar="TIME", default="1s", show_default=True,
        help="How often to look; what is costly is looked at less often, so that all takes 1% of a core.")]
    for_: Annotated[str | None, _pace("--for", "for_", metavar="TIME", help="End after this.")]
    queue: Annotated[Path | None, _what("--queue", metavar="DIR", type=PATH,
        help="Postfix's queue directory, such as /var/spool/postfix: depth and age by queue, its processes.")]
    postfix_config: Annotated[Path | None, _what("--postfix-config", metavar="DIR", type=PATH,
        help="Postfix's configuration, for postqueue -j where the queue may not be read. [default: Postfix's own]")]
    exim_spool: Annotated[Path | None, _what("--exim-spool", metavar="DIR", type=PATH, help="Exim's spool directory.")]
    cgroup: Annotated[Path | None, _what("--cgroup", metavar="DIR", type=PATH,
        help="The server's cgroup (v2): its CPU, octets written, page faults.")]
    pid_file: Annotated[Path | None, _what("--pid-file", metavar="FILE", type=PATH,
        help="The server's first process: the same of it and all that it started.")]
    metrics: Annotated[tuple[str, ...], _what("--metrics", metavar="URL=NAMES", multiple=True,
        help="Metrics in Prometheus' format: http://127.0.0.1:8000/metrics=scheduled_count,ready_count.")]
    doveadm: Annotated[str | None, _what("--doveadm", metavar="COMMAND",
        help="Dovecot's own numbers, by \"doveadm\" or \"doveadm -c FILE\": what its metric {} blocks count.")]
    on_stdin: Annotated[bool, click.option("--on-stdin", is_flag=True, hidden=True)]
    # fmt: on


@click.command("observe", cls=GroupedCommand, epilog=EPILOG)
@click.argument("words", nargs=-1, metavar="[attach RESULTS SAMPLES]")
@options_of(ObserveOptions)
def command(words: tuple[str, ...], **given: Any) -> ExitCode:
    """Look at a server's queue, host and processes; or attach what was seen to the results of a run.

    The host is always looked at: CPU, pressure, disks with their flushes, memory, refused connections.
    """
    options = ObserveOptions(**given)
    if words:
        if len(words) != 3 or words[0] != "attach":
            raise PlanError("expected attach RESULTS SAMPLES", field="words", flag="observe")
        return _attach(Path(words[1]), Path(words[2]), options.output)
    if options.write is None:
        raise PlanError("expected a file for the samples, or - for stdout", field="write", flag="--write")
    check_command(options.doveadm, "doveadm", "--doveadm", "doveadm")
    what = _observed(options)
    for_ns = _duration(options.for_, "--for") if options.for_ else None
    return _observe(what, options.write, _duration(options.every, "--every"), for_ns, on_stdin=options.on_stdin)


def _observed(options: ObserveOptions) -> "Observed":
    """What to look at. PlanError for two spools, or a metric without names."""
    from trafficgen.server.agent import Observed

    if options.queue and options.exim_spool:
        raise PlanError("expected one queue to look at", field="exim_spool", flag="--exim-spool")
    pages = []
    for text in options.metrics:
        url, _, names = text.rpartition("=")
        if not url.startswith(("http://", "https://")) or not all(names.split(",")):
            words = f'expected URL=NAME,NAME such as http://127.0.0.1:8000/metrics=ready_count, got "{text}"'
            raise PlanError(words, field="metrics", flag="--metrics")
        pages.append((url, tuple(names.split(","))))
    return Observed(
        postfix_queue=options.queue, postfix_config=options.postfix_config, exim_spool=options.exim_spool,
        cgroup=options.cgroup, pid_file=options.pid_file, metrics=tuple(pages), doveadm=options.doveadm,
    )  # fmt: skip


def _observe(what: "Observed", write: str, every_ns: int, for_ns: int | None, *, on_stdin: bool) -> ExitCode:
    from trafficgen.server.agent import Observer, answer_clock_questions, observe

    try:
        file = sys.stdout if write == "-" else Path(write).open("w", encoding="ascii")  # noqa: SIM115  (closed below)
    except (OSError, ValueError) as error:  # also for a name with NUL
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
        raise PlanError(f'cannot write "{write}": {reason}', field="write", flag="--write") from error
    over, lock = threading.Event(), threading.Lock()

    def put(line: str) -> None:
        with lock:
            file.write(line + "\n")
            file.flush()  # whoever reads it, or a machine that is killed, has all but what is being seen
        missing = json.loads(line).get("missing")
        if missing and not on_stdin:  # over ssh the other side says it
            click.echo(f"could not be looked at: {', '.join(missing)}", err=True)

    if on_stdin:  # whoever started us asks for our clock, and ends us by closing it
        threading.Thread(target=answer_clock_questions, args=(sys.stdin.buffer, put, over.set), daemon=True).start()

    try:
        observe(Observer(what.samplers(), every_ns), put, every_ns=every_ns, for_ns=for_ns, wait=over.wait)
    except KeyboardInterrupt:
        click.echo(f"samples are in {write}", err=True)
    finally:
        if file is not sys.stdout:
            file.close()
    return ExitCode.DONE


def _attach(results_path: Path, samples_path: Path, output: Path | None) -> ExitCode:
    from trafficgen.host.output import Output
    from trafficgen.measure.observed import on_the_runs_clock, read_recording
    from trafficgen.measure.results import read_results

    results, recording = read_results(results_path), read_recording(samples_path)
    if results.run.clock is None:
        raise ResultsError(f'expected results that say when the run began, "{results_path}" has no clock')
    samples = on_the_runs_clock(recording, results.run.clock, str(samples_path))
    if not any(0 <= at <= results.run.ended_s for at in samples.at_s):
        raise ResultsError(f'no sample of "{samples_path}" is of the time of the run in "{results_path}"')
    Output(output or results_path, "--output").write(replace(results, server=samples).to_json())
    return ExitCode.DONE


def _duration(text: str, flag: str) -> int:
    from trafficgen.units import parse_duration

    try:
        found = parse_duration(text)
    except ValueError as error:
        raise PlanError(str(error), field=flag[2:], flag=flag) from error
    if not found:
        raise PlanError("expected a time above zero", field=flag[2:], flag=flag)
    return found

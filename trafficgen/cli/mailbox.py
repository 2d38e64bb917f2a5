"""`traffic-gen mailbox`: imaptest's words or our options to a plan, one run, its table and summary, an exit code.

Takes     imaptest's `key=value` words and bare words, and options for the same; where both say something, the option
Gives     the table on stdout, notices on stderr, then the summary; results as JSON, JUnit and HTML where asked
Not here  the run itself (`trafficgen.mailbox`)
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, TextIO

import click
from click.core import ParameterSource

from trafficgen.cli.cluster import cluster_of
from trafficgen.cli.grouped import GroupedCommand
from trafficgen.cli.judging import judged_by, observation_of, observers_for, refuse_unseen, run_hook
from trafficgen.cli.mailbox_options import mailbox_options
from trafficgen.cli.mailbox_plan import WORDS_OF, make_plan, read_words, wrong
from trafficgen.cli.notices import show_notice
from trafficgen.errors import ExitCode, OutputError, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from trafficgen.host.signals import RunControl
    from trafficgen.mailbox.plan import MailboxPlan
    from trafficgen.measure.results import Results
    from trafficgen.runs.monitor import MonitorOptions
    from trafficgen.verdict.thresholds import Threshold

EPILOG: Final = """\
imaptest's words: host= port= pass= user= userfile= mbox= profile= clients= secs=N[,FINAL] seed= output= mech=
stalled_disconnect_timeout= ssl[=any-cert] no_pipelining error_quit disconnect_quit rawlog. Those of its other modes are
not known here.

Examples:

\b
  traffic-gen mailbox pass=testpass host=127.0.0.1 mbox=testmbox profile=pop3-profile.conf clients=100 secs=20
  traffic-gen mailbox --host 10.0.0.9 --profile advanced.conf --password-file secret --duration 10m --json run.json

Exit codes: 0 done, 1 not possible, or commands or sessions failed without --keep-going, 2 wrong usage, 99 a threshold
failed or mail is missing, doubled, damaged or in somebody else's mailbox, 105 interrupted, 121 the measurement is not
valid.
"""


@click.command("mailbox", cls=GroupedCommand, epilog=EPILOG)
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@mailbox_options
def command(words: tuple[str, ...], **given: Any) -> ExitCode:
    """Let users get mail by LMTP, and read it and throw it away by POP3 and IMAP, as a profile of imaptest says.

    Every mail carries a trace header, and is followed from its delivery to the user who reads it; the account adds up.
    """
    from trafficgen.host.output import Output
    from trafficgen.host.signals import CountedSignals, RunControl

    said, notices = read_words(words)
    plan, more = make_plan(said, without_overruled(given, said))
    thresholds = _thresholds(given["threshold"])
    refuse_unseen(thresholds, given["observe"], sink=False)
    observation_of(SimpleNamespace(**given))
    monitor = judged_by(thresholds, given["abort_on_fail"], given["warm_up"], plan.duration_ns)
    files = {f"--{name}": given[name] for name in ("json", "junit", "html") if given[name]}
    outputs = {flag: Output(Path(str(name)), flag) for flag, name in files.items() if name != "-"}
    for output in outputs.values():
        output.check()
    say = (lambda _line: None) if given["quiet"] else show_notice
    for notice in (*notices, *more):
        say(notice)
    run_hook(given["before"], "--before")
    control = RunControl()
    lost: dict[str, OutputError] = {}
    try:
        with CountedSignals(control):
            results = _run(plan, monitor, control, given, rows=said.get("output"), lost=lost)
            _write(results, outputs, to_stdout=given["json"] == "-", lost=lost)
    finally:
        run_hook(given["after"], "--after")
    return results.exit_code(keep_going=given["keep_going"])


def without_overruled(given: dict[str, Any], said: dict[str, str]) -> dict[str, Any]:
    """Options of a scenario file lose against imaptest's words, which are typed."""
    source = click.get_current_context().get_parameter_source
    overruled = {
        option for option, word in WORDS_OF.items() if word in said and source(option) is ParameterSource.DEFAULT_MAP
    }
    return {option: None if option in overruled else value for option, value in given.items()}


def _thresholds(texts: tuple[str, ...]) -> "list[Threshold]":
    from trafficgen.cli.flagged import parse_with
    from trafficgen.mailbox.operations import PHASES
    from trafficgen.verdict.thresholds import parse_threshold

    found = [
        parse_with(lambda text: parse_threshold(text, PHASES), text, "thresholds", "--threshold") for text in texts
    ]
    for threshold in found:
        name = threshold.quantity.command
        if name is not None and name not in PHASES.commands:
            raise wrong(f'expected a command among {", ".join(PHASES.commands)}, got "{name}"', "--threshold")
    return found


def _run(
    plan: "MailboxPlan",
    monitor: "MonitorOptions",
    control: "RunControl",
    given: dict[str, Any],
    *,
    rows: str | None,
    lost: dict[str, OutputError],
) -> "Results":
    """`lost` gets the rows that could not be written, by where: a full disk ends no run."""
    from trafficgen.mailbox.table import ConsoleTable, Second, tabbed, tabbed_header
    from trafficgen.measure.journal import Journal
    from trafficgen.report.live import Live
    from trafficgen.runs.mailbox import run_mailbox, run_mailbox_monitored

    say = (lambda _line: None) if given["quiet"] else show_notice
    table = ConsoleTable(plan.connections)
    stream = sys.stderr if given["json"] == "-" else sys.stdout
    with ExitStack() as stack:
        file = _opened(rows) if rows else None
        stack.callback(_put, file, rows, lost, last=True)
        _put(file, rows, lost, tabbed_header())
        live = None
        if not given["quiet"] and stream.isatty():
            live = stack.enter_context(Live(planned=None, duration_ns=plan.duration_ns, stream=stream))

        def tell(line: str) -> None:
            if live is not None:
                live.line(line)
            elif not given["quiet"]:
                with _or_lost(lost, "stdout"):
                    click.echo(line, file=stream)

        def show(second: Second) -> None:
            _put(file, rows, lost, tabbed(second))
            for line in table.row(second):
                tell(line)

        runner = run_mailbox
        if (where := given["cluster"]) is not None:
            cluster = cluster_of(where, given["cluster_hosts"], given["clock_error"], control)
            runner = stack.enter_context(cluster).run_mailbox
        observation = observation_of(SimpleNamespace(**given))
        if observation is not None:
            stack.enter_context(observation)
        results = run_mailbox_monitored(
            plan,
            monitor,
            observation=observation,
            journal=Journal(Path(given["json"])) if given["json"] not in (None, "-") else None,
            observers=stack.enter_context(observers_for(given["live_port"], given["metrics_port"], say)),
            on_second=show,
            progress=live.update if live is not None else None,
            say=say,
            control=control,
            runner=runner,
        )
        for line in (*table.totals(), "") if given["cluster"] is None else ():
            tell(line)
    return results


@contextmanager
def _or_lost(lost: dict[str, OutputError], name: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # nobody reads any more
    except OSError as error:
        lost.setdefault(name, OutputError(f"cannot write rows to {name}: {reason_of(error)}"))


def _put(
    file: TextIO | None, path: str | None, lost: dict[str, OutputError], row: str = "", *, last: bool = False
) -> None:
    """A row into imaptest's `output=`, if there is one."""
    if file is None:
        return
    with _or_lost(lost, f'"{path}"'):
        if last:
            file.close()
        else:
            file.write(row)
            file.flush()


def _write(results: "Results", outputs: dict[str, Any], *, to_stdout: bool, lost: dict[str, OutputError]) -> None:
    from trafficgen.host.output import attempt_all
    from trafficgen.report import tables
    from trafficgen.report.to_html import to_html
    from trafficgen.report.to_text import write_summary

    made: dict[str, Callable[[], str]] = {
        "--json": results.to_json,
        "--junit": lambda: tables.to_junit([results]),
        "--html": lambda: to_html([results]),
    }
    steps: list[tuple[str, Callable[[], None]]] = [
        (flag, lambda flag=flag, output=output: output.write(made[flag]()))  # type: ignore[misc]
        for flag, output in outputs.items()
    ]
    if to_stdout:
        steps.append(("stdout", lambda: click.echo(results.to_json(), nl=False)))
    stream = sys.stderr if to_stdout else sys.stdout
    steps.append(("stdout", lambda: write_summary(results, stream)))
    attempt_all(steps, failed=list(lost.values()))


def _opened(path: str) -> TextIO:
    try:
        return Path(path).open("w", encoding="utf-8")
    except OSError as error:
        raise wrong(f'cannot write "{path}": {error.strerror}', "output=") from error

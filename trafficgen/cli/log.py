"""`traffic-gen log`: what the server's log says of a run's messages, or of who used it.

Takes     a manifest of `send --manifest` and logs; with --report, logs alone
Gives     what became of every message, or the session report, to stdout; exit code 0, 99 or 120
Not here  reading lines and joining them (logs), words (report.logged)
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import click

from mboxgen.console import PATH
from trafficgen.cli.grouped import GroupedCommand, group, options_of
from trafficgen.errors import ExitCode, PlanError, ResultsError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from trafficgen.logs.account import LogAccount, SentSide
    from trafficgen.logs.join import Join
    from trafficgen.logs.reading import LogReading
    from trafficgen.report.logged_client import ClientSide
    from trafficgen.report.section import Section

EPILOG: Final = """\
Examples:

\b
  traffic-gen log run.manifest /var/log/mail.log*
  traffic-gen log run.manifest mail.log --ledger sink.ledger --csv messages.csv
  traffic-gen log --report /var/log/dovecot.log --accounts accounts.txt

Understood: Postfix, Dovecot, Exim, kumod; syslog files with both kinds of time stamps, Dovecot's and Exim's own, the
output of `journalctl -o json`; packed with gzip, bzip2, xz or zstd; in any order.

Exit codes: 0 every accepted message is in the log; 99 one is not, and the log is whole, or one that was sent on is
missing at the sink; 120 some are not in the log, and it is not whole.
"""

_what = group("What")
_output = group("Output")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """What `traffic-gen log` was told, by parameter name."""

    # An option is its field: one, a few lines; a table, which the formatter would take apart.
    # fmt: off
    report: Annotated[bool, _what("--report", is_flag=True,
        help="Users, hosts, sessions and failures of these logs; no manifest.")]
    ledger: Annotated[tuple[Path, ...], _what("--ledger", multiple=True, metavar="PATH", type=PATH,
        help="What a sink received behind the server: held against what the log says was sent.")]
    results: Annotated[Path | None, _what("--results", metavar="FILE", type=PATH,
        help="What the run wrote with --json: the client's latency beside the server's delays, refusals of both.")]
    accounts: Annotated[Path | None, _what("--accounts", metavar="FILE", type=PATH,
        help="All accounts, one a line, such as doveadm user '*' lists them.")]
    log_zone: Annotated[str | None, _what("--log-zone", metavar="±HH:MM",
        help="Zone of stamps that say none. [default: as the run's messages tell]")]
    follow: Annotated[str | None, _what("--follow", metavar="TIME",
        help="Go on reading the last LOG for as long as this, or until every message has its end.")]
    csv_file: Annotated[Path | None, _output("--csv", "csv_file", metavar="FILE", type=PATH, help="One row a message.")]
    as_json: Annotated[bool, _output("--json", "as_json", is_flag=True, help="JSON instead of text.")]
    # fmt: on


@click.command("log", cls=GroupedCommand, epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="[MANIFEST] LOG…", type=PATH)
@options_of(LogOptions)
def command(files: tuple[Path, ...], **given: Any) -> ExitCode:
    """Find every message of a run in the server's log, or say who used the server."""
    options = LogOptions(**given)
    if options.report:
        if options.ledger or options.csv_file or options.log_zone or options.results:
            raise PlanError("expected no manifest's options with it", field="report", flag="--report")
        return _report(files, options)
    if len(files) < 2:
        text = "expected a manifest and at least one log; or --report"
        raise PlanError(text, field="files", flag="LOG")
    if options.accounts:
        raise PlanError("expected --report with it", field="accounts", flag="--accounts")
    return _account(files[0], files[1:], options)


def _account(manifest: Path, logs: tuple[Path, ...], options: LogOptions) -> ExitCode:
    from trafficgen.host.output import Output
    from trafficgen.logs.account import SentSide, account_of
    from trafficgen.logs.files import in_order
    from trafficgen.logs.join import Join
    from trafficgen.logs.reading import LogReading
    from trafficgen.proof import sent as manifests
    from trafficgen.report.logged import account_plain, account_sections

    output = Output(options.csv_file, "--csv") if options.csv_file else None
    if output:
        output.check()
    zone_ns = _zone_ns(options.log_zone)
    sent = SentSide.of(manifests.read(manifest))
    client = _client(options.results, sent.run_id)
    join = Join(sent.run_id, sent.accepted.size)
    reading = LogReading(join.handlers)
    near_ns = int(sent.began_ns.max(initial=0)) or None
    if options.follow is None:
        reading.read_files(in_order(logs, near_ns))
    else:
        reading.read_files(in_order(logs[:-1], near_ns))
        _follow(reading, logs[-1], near_ns, options.follow, lambda: _all_ended(sent, join))
    account = account_of(sent, join, reading.about, zone_ns=zone_ns, at_sink=_at_sink(options.ledger, sent))
    if output:
        from trafficgen.report.logged_csv import messages_csv

        with output.replacing() as file:
            file.writelines(messages_csv(account, join))
    shown = account_plain if options.as_json else account_sections
    _show(shown(account, join, reading.about, client))
    return _code(account)


def _report(logs: tuple[Path, ...], options: LogOptions) -> ExitCode:
    from trafficgen.logs.files import in_order
    from trafficgen.logs.reading import LogReading
    from trafficgen.logs.sessions import Sessions
    from trafficgen.report.logged import session_plain, session_sections

    known = _accounts(options.accounts)
    sessions = Sessions()
    reading = LogReading(sessions.handlers)
    if options.follow is None:
        reading.read_files(in_order(logs))
    else:
        reading.read_files(in_order(logs[:-1]))
        _follow(reading, logs[-1], None, options.follow, lambda: False)
    shown = session_plain if options.as_json else session_sections
    _show(shown(sessions, reading.about, known))
    return ExitCode.DONE


def _client(path: Path | None, run_id: str) -> "ClientSide | None":
    from trafficgen.measure.results import read_results
    from trafficgen.report.logged_client import ClientSide

    if path is None:
        return None
    results = read_results(path)
    if results.run.id != run_id:
        raise ResultsError(f'expected results of run {run_id}, "{path}" is of run {results.run.id}')
    if results.run.clock is None:
        raise ResultsError(f'expected results that say when the run began, "{path}" has no clock')
    return ClientSide(results, results.run.clock.began_ns + results.run.clock.wall_offset_ns)


def _code(account: "LogAccount") -> ExitCode:
    from trafficgen.logs.account import Contradiction, Fate, Whole

    if account.contradictions[Contradiction.NOT_AT_SINK].messages:
        return ExitCode.VERDICT_FAILED
    if not account.fates[Fate.NOT_LOGGED].messages:
        return ExitCode.DONE
    return ExitCode.VERDICT_FAILED if account.whole is Whole.YES else ExitCode.INCONCLUSIVE


def _show(what: "dict[str, Any] | tuple[Section, ...]") -> None:
    from trafficgen.report.to_text import write_sections

    if isinstance(what, dict):
        click.echo(json.dumps(what, indent=1))
    else:
        write_sections(what, sys.stdout)


def _at_sink(ledgers: tuple[Path, ...], sent: "SentSide") -> "NDArray[np.int64] | None":
    """Recipients that got each message."""
    import numpy as np

    from trafficgen.proof import ledger_reader

    if not ledgers:
        return None
    copies = ledger_reader.read(ledgers, sent.run_id).copies
    ours = copies.numbers < sent.accepted.size
    counts = np.zeros(sent.accepted.size, np.int64)
    np.add.at(counts, copies.numbers[ours], copies.recipients[ours])
    return counts


def _zone_ns(text: str | None) -> int | None:
    from trafficgen.logs.stamps import zone_ns

    found = zone_ns(text.encode("ascii", "replace")) if text is not None else None
    if text is not None and found is None:
        raise PlanError(f'expected a zone such as +01:00, got "{text}"', field="log_zone", flag="--log-zone")
    return found


def _accounts(path: Path | None) -> set[str] | None:
    if path is None:
        return None
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else "it is not UTF-8 text"
        raise PlanError(f'cannot read "{path}": {reason}', field="accounts", flag="--accounts") from error
    return {line.strip().lower() for line in lines if line.strip()}


def _follow(reading: "LogReading", path: Path, near_ns: int | None, text: str, ended: "Callable[[], bool]") -> None:
    """Read what is written to `path` until `ended` says so or the time is over; Ctrl-C ends it with what there is."""
    import time

    from trafficgen.logs.files import Growing
    from trafficgen.logs.lines import LineReader
    from trafficgen.units import parse_duration

    try:
        until = time.monotonic_ns() + parse_duration(text)
    except ValueError as error:
        raise PlanError(str(error), field="follow", flag="--follow") from error
    growing = Growing(path)
    reader = LineReader(near_ns if near_ns is not None else time.time_ns())
    reading.about.files += 1
    try:
        while True:
            reading.read_lines(growing.new_lines(), reader)
            if ended() or time.monotonic_ns() >= until:
                break
            time.sleep(0.25)
    except KeyboardInterrupt:
        click.echo("interrupted: this is what the log says so far", err=True)
    finally:
        growing.close()


def _all_ended(sent: "SentSide", join: "Join") -> bool:
    import numpy as np

    from trafficgen.logs.join import LEFT

    flags = np.frombuffer(join.flags, np.uint8)
    return bool((((flags & LEFT) > 0) | ~sent.accepted).all())

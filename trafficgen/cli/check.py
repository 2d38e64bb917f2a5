"""`traffic-gen check`: is a mail server set up right?

Takes     a server and its services; an account, a mailbox and our own sink outside for what needs them
Gives     findings to stdout or a file; exit code 0, 99 when one failed, 120 when nothing could be told
Not here  what is looked at (check.cases), what the words of options mean (check_options)
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mboxgen.console import FILE, PATH
from trafficgen.cli.grouped import GroupedCommand, all_of, group
from trafficgen.errors import ExitCode, PlanError, SetupError, TrafficgenError

if TYPE_CHECKING:
    from trafficgen.report.checked import Checked
    from trafficgen.verdict.findings import Grade

EPILOG: Final = """\
Examples:

\b
  traffic-gen check mail.lab.internal --login-user ann --password-file secret --expect 25,465,587,993
  traffic-gen check 127.0.0.1:2525 --prove 127.0.0.1:2526
  traffic-gen check mail.lab.internal --deliver ann@lab.internal --login-user ann --password-file secret

Nothing is sent without --deliver or --prove. Exit codes: 0 nothing failed, 99 something did, 120 nothing could be told.
"""

_where = group("Where")
_who = group("As whom")
_what = group("What")
_output = group("Output")

# One option, a few lines: a table, which the formatter would take apart.
# fmt: off
_OPTIONS: Final = (
    _where("--service", multiple=True, metavar="NAME=PORT",
        help="A service and its port: smtp, submission, smtps, pop3, pop3s, imap or imaps; repeat for more. "
             "[default: with HOST:PORT smtp there, otherwise those whose standard ports answer]"),
    _where("--name", metavar="NAME", help="The name its certificates must have. [default: HOST]"),
    _where("--expect", metavar="PORTS", help="Ports that must answer, and no others: 25,465,587,993."),
    _where("--dns", multiple=True, metavar="DOMAIN",
        help="Ask the DNS about this domain of the server's, too: MX, SPF, DKIM, DMARC, MTA-STS, reports, and the "
             "server's own names; repeat for more."),
    _where("--dkim-selector", multiple=True, metavar="NAME", help="A selector of DKIM keys, for --dns."),
    _where("--resolver", metavar="ADDRESS[:PORT]", help="Whom to ask, for --dns. [default: the system's resolver]"),
    _where("--tls-ca", metavar="FILE", type=PATH, help="Certificates to trust in place of the system's."),
    _where("--timeout", default="10s", metavar="TIME", help="How long any answer may take. [default: 10s]"),
    _where("--allow-public-target", is_flag=True, help="Check a server at a public address, if it is yours."),
    _who("--login-user", metavar="NAME", help="An account to log in with."),
    _who("--password-file", metavar="FILE", type=PATH, help="Its password: the first line of FILE."),
    _who("--xclient-as", metavar="ADDRESS", help="Come from this address, by Postfix's XCLIENT: what strangers see."),
    _who("--proxy-as", metavar="ADDRESS", help="The same by the PROXY protocol, on ports that take it."),
    _what("--deliver", metavar="ADDRESS",
        help="A mailbox of the server's. Messages are sent to it by every service, and looked for by IMAP and POP3 "
             "with the account; needed for smuggling, too."),
    _what("--prove", metavar="HOST:PORT",
        help="Listen here as the world outside, to which the server hands mail for --outside: an open relay is what"
             " comes out."),
    _what("--outside", default="outside.traffic-gen.test", metavar="DOMAIN",
        help="A domain that the server must not take mail for. [default: outside.traffic-gen.test]"),
    _what("--patience", default="10s", metavar="TIME", help="How long mail may take to come out. [default: 10s]"),
    _what("--log", metavar="FILE", type=PATH,
        help="The server's log, readable here: what --deliver sent is followed in it, too."),
    _what("--tls-scan", is_flag=True,
        help="Scan TLS in depth with testssl.sh or sslyze, whichever is installed: minutes, and hundreds of "
             "connections."),
    _what("--tls-report", multiple=True, metavar="FILE", type=PATH,
        help="What testssl.sh --jsonfile or sslyze --json_out wrote of this server; repeat for more."),
    _what("--slow", metavar="TIME",
        help="Wait before each connection, such as 5s, where the server slows down whoever comes often."),
    _what("--only", multiple=True, metavar="ID", help="Only these cases: tls.*, relay.envelopes; repeat for more."),
    _what("--skip", multiple=True, metavar="ID", help="Not these cases."),
    _output("--format", "form", type=click.Choice(["text", "json", "junit", "html", "nagios"]), default="text",
        help="With nagios the exit code is that of monitoring plugins, too. [default: text]"),
    _output("--transcript", is_flag=True, help="With text: what was said, where it did not pass."),
    _output("--output", "-o", metavar="FILE", type=FILE, help="Write to FILE, not to stdout."),
)
# fmt: on


@click.command("check", cls=GroupedCommand, epilog=EPILOG)
@click.argument("server", metavar="HOST[:PORT]")
@all_of(*_OPTIONS)
def command(
    server: str, service: tuple[str, ...], name: str | None, expect: str | None, dns: tuple[str, ...],
    dkim_selector: tuple[str, ...], resolver: str | None, tls_ca: Path | None, timeout: str, allow_public_target: bool,
    login_user: str | None, password_file: Path | None, xclient_as: str | None,
    proxy_as: str | None, deliver: str | None, prove: str | None, outside: str, patience: str, log: Path | None,
    tls_scan: bool, tls_report: tuple[Path, ...], slow: str | None, only: tuple[str, ...],
    skip: tuple[str, ...], form: str, transcript: bool, output: str | None,
) -> ExitCode:  # fmt: skip
    """Look at how a mail server is set up: SMTP, TLS, logins, relaying, smuggling, POP3 and IMAP, ports."""
    from trafficgen.check.arrivals import Outside
    from trafficgen.check.service import CheckedServer, vantage
    from trafficgen.check.walks import check
    from trafficgen.cli.check_options import (
        account,
        answering,
        domain_names,
        ip,
        matches,
        port_list,
        readable,
        refuse_unknown_cases,
        route_to,
        scans,
        seconds_of,
        services_of,
    )
    from trafficgen.plan import UnixTarget, parse_listen, parse_target
    from trafficgen.report.checked import Checked
    from trafficgen.verdict.findings import Grade

    with _plugin(form, Grade.INCONCLUSIVE, TrafficgenError):
        refuse_unknown_cases(only, "--only")
        refuse_unknown_cases(skip, "--skip")
        target = parse_target(server, "server", "HOST[:PORT]")
        port_given = isinstance(target, UnixTarget) or server.endswith(f":{target.port}")
        route = route_to(target, allow_public=allow_public_target)
        asked = CheckedServer(
            route=route, ports=services_of(target, service, port_given=port_given), name=name or route.name,
            foreign=outside, mailbox=deliver, login=account(login_user, password_file),
            authorities=str(tls_ca) if tls_ca else None, timeout_s=seconds_of(timeout, "--timeout"),
            patience_s=seconds_of(patience, "--patience"), pretend=ip(xclient_as, "--xclient-as"),
            proxied=ip(proxy_as, "--proxy-as"), expected_ports=port_list(expect),
            pause_s=seconds_of(slow, "--slow") if slow is not None else 0.0, log=readable(log),
            dns=domain_names(dns, dkim_selector, resolver, allow_public=allow_public_target),
            scans=scans(tls_report), scan=tls_scan,
        )  # fmt: skip
        with _plugin(form, Grade.FAIL, SetupError):
            checked = answering(asked, all_must=port_given or bool(service), none_may=expect is not None)
        listening = Outside(parse_listen(prove, "prove", "--prove")) if prove is not None else nullcontext()
        seen_from: list[str] = []
        started_at, began = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()

        def wished(case: str) -> bool:
            return (not only or matches(case, only)) and not matches(case, skip)

        with listening as world:
            findings = tuple(check(checked, world, wished, seen_from))
        seconds = time.monotonic() - began
        return _show(
            Checked(server, vantage(checked, seen_from), started_at, seconds, findings),
            form,
            output,
            transcript=transcript,
        )


@contextmanager
def _plugin(form: str, grade: "Grade", errors: type[TrafficgenError]) -> Iterator[None]:
    """With nagios an error is a line and a code of monitoring plugins as well: our 1 and 2 mean other things there."""
    from trafficgen.report.checked import nagios_error

    try:
        yield
    except errors as error:
        if form != "nagios":
            raise
        line, code = nagios_error(grade, error.as_typed if isinstance(error, PlanError) else str(error))
        click.echo(line)
        raise SystemExit(code) from error


def _show(checked: "Checked", form: str, output: str | None, *, transcript: bool) -> ExitCode:
    from trafficgen.cli.report import write
    from trafficgen.report import checked as forms
    from trafficgen.report.to_text import sections_to_text, write_sections
    from trafficgen.verdict.findings import exit_code

    path = Path(output) if output is not None else None
    if form == "nagios":
        line, code = forms.to_nagios(checked)
        write(line + "\n", path)
        raise SystemExit(code)  # another table than ours
    if form == "text":
        shown = forms.to_sections(checked, transcripts=transcript)
        if path is None:
            write_sections(shown, sys.stdout)
        else:
            write(sections_to_text(shown), path)
    else:
        write({"json": forms.to_json, "junit": forms.to_junit, "html": forms.to_html}[form](checked), path)
    return exit_code(checked.findings)

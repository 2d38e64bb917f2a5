"""The options of `traffic-gen mailbox`: those of its own, and those of any run.

Gives     `mailbox_options`, which adds them to a click command
Not here  what they mean (`mailbox_plan`), the options of any run (`judging`)
"""

from collections.abc import Callable
from typing import Any, Final

import click

from mboxgen.console import FILE, WholeNumber
from trafficgen.cli.grouped import TextPerLine, all_of, group
from trafficgen.cli.judging import judging_options

LOGINS: Final = ("password", "plain", "login", "scram-sha-256", "cram-md5", "xoauth2")
_PROTECTIONS: Final = ("none", "tls", "starttls")

_servers = group("Servers")
_users = group("Users")
_load = group("Load")
_output = group("Output")
_verdict = group("Verdict")

# One option, a few lines: a table, which the formatter would take apart.
# fmt: off
_OPTIONS: Final = (
    _servers("--host", metavar="HOST", help="Where IMAP, POP3 and LMTP are served.  [127.0.0.1]"),
    _servers("--imap", metavar="HOST:PORT", help="Where IMAP is served, if not at --host.  [port 143, with TLS 993]"),
    _servers("--pop3", metavar="HOST:PORT", help="Where POP3 is served.  [port 110, with TLS 995]"),
    _servers("--lmtp", metavar="HOST:PORT", help="Where mail is delivered by LMTP.  [the profile's lmtp_port]"),
    _servers("--smtp", metavar="HOST:PORT", help="Deliver by SMTP to this server instead."),
    _servers("--imap-tls", type=click.Choice(_PROTECTIONS), help="How IMAP is protected.  [none]"),
    _servers("--pop3-tls", type=click.Choice(_PROTECTIONS), help="How POP3 is protected; starttls is STLS.  [none]"),
    _servers("--lmtp-tls", type=click.Choice(_PROTECTIONS), help="How deliveries are protected.  [none]"),
    _servers("--any-certificate", is_flag=True, help="Do not check certificates."),
    _servers("--allow-public-target", is_flag=True, help="Allow servers outside of private networks: yours."),
    _servers("--allow-real-domains", is_flag=True,
        help="Deliver to users on any domain, not only on reserved ones (.test, .example)."),
    _users("--profile", type=FILE, metavar="FILE", help="imaptest's profile: who the users are, and what they do."),
    _users("--password", metavar="TEXT", help="Of all users that have none of their own.  [pass]"),
    _users("--password-file", type=FILE, metavar="FILE", help="Read it from the first line of this file."),
    _users("--login", type=click.Choice(LOGINS, case_sensitive=False),
        help="The command LOGIN, or USER and PASS; or a mechanism of SASL.  [password]"),
    _users("--mbox", type=FILE, metavar="FILE", help="The mail that is delivered.  [small mail made on the spot]"),
    _users("--delete-foreign", is_flag=True, help="Also delete and move mail that is not ours, as the profile says."),
    _users("--seed", type=WholeNumber(0), metavar="N", help="The same seed, the same behaviour.  [0]"),
    _load("--clients", type=WholeNumber(1, 1_000_000), metavar="N", help="Sessions at a time.  [10]"),
    _load("--workers", type=WholeNumber(1, 1024), metavar="N", help="Processes.  [1]"),
    _load("--run-id", metavar="HEX", help="16 hexadecimal digits that mark this run's mail.  [random]"),
    _load("--start-at", metavar="TIME", help="Begin at this time, such as 2026-12-01T10:00:00Z.  [now]"),
    _load("--shard", metavar="I/N",
        help="Be part I of N that are started on as many machines with the same options, with its part of the "
             "users. Needs --start-at and --run-id; traffic-gen merge makes one run of the results."),
    _load("--cluster", metavar="WHERE",
        help="Have the users on several hosts, as one: local:4, tcp://SCHEDULER:8786 of Dask, or ssh:FILE with a "
             'host a line; needs the extra "cluster" there and here.'),
    _load("--cluster-hosts", metavar="N", type=WholeNumber(2, 10_000),
        help="Wait for so many of its workers, and use no more.  [all that are there]"),
    _load("--clock-error", metavar="TIME", default="50ms",
        help="The most by which a host's clock may be uncertain.  [50ms]"),
    _load("--duration", metavar="TIME", help="Begin nothing more after this.  [until Ctrl-C]"),
    _load("--final", metavar="TIME", help="For sessions to end by themselves after that.  [30s]"),
    _load("--timeout", metavar="TIME", help="For every answer, and for a whole delivery.  [60s]"),
    _load("--no-pipelining", is_flag=True, help="One command at a time, in LMTP and IMAP."),
    _load("--keep-going", is_flag=True, help="Exit with 0 also when commands or sessions failed."),
    _output("--json", metavar="FILE", type=FILE, help="Write all results as JSON."),
    _verdict("--threshold", multiple=True, type=TextPerLine(), metavar="EXPR",
        help="What the run must keep to: 'command{fetch}.p99<200ms', 'seen.p95<1s', 'delivery.lost==0'."),
    _output("--rawlog", is_flag=True,
        help="Write all that is said by IMAP and POP3 to files rawlog.N here; with passwords."),
    _output("--quiet", is_flag=True, help="No table and no notices."),
)
# fmt: on


def mailbox_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add them."""
    return all_of(*_OPTIONS)(judging_options(command, without=["--threshold"]))

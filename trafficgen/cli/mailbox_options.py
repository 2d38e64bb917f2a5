"""The options of `traffic-gen mailbox`: those of its own, and those of any run.

Gives     `mailbox_options`, which adds them to a click command
Not here  what they mean (`mailbox_plan`), the options of any run (`judging`)
"""

from collections.abc import Callable
from typing import Any, Final

import click

from mboxgen.console import FILE
from trafficgen.cli.grouped import GroupedOption, TextPerLine
from trafficgen.cli.judging import judging_options

LOGINS: Final = ("password", "plain", "login", "scram-sha-256", "cram-md5", "xoauth2")
_PROTECTIONS: Final = ("none", "tls", "starttls")

_OPTIONS: Final[list[tuple[str, tuple[str, ...], dict[str, Any]]]] = [
    ("Servers", ("--host",), {"metavar": "HOST", "help": "Where IMAP, POP3 and LMTP are served.  [127.0.0.1]"}),
    (
        "Servers",
        ("--imap",),
        {"metavar": "HOST:PORT", "help": "Where IMAP is served, if not at --host.  [port 143, with TLS 993]"},
    ),
    ("Servers", ("--pop3",), {"metavar": "HOST:PORT", "help": "Where POP3 is served.  [port 110, with TLS 995]"}),
    (
        "Servers",
        ("--lmtp",),
        {"metavar": "HOST:PORT", "help": "Where mail is delivered by LMTP.  [the profile's lmtp_port]"},
    ),
    ("Servers", ("--smtp",), {"metavar": "HOST:PORT", "help": "Deliver by SMTP to this server instead."}),
    ("Servers", ("--imap-tls",), {"type": click.Choice(_PROTECTIONS), "help": "How IMAP is protected.  [none]"}),
    (
        "Servers",
        ("--pop3-tls",),
        {"type": click.Choice(_PROTECTIONS), "help": "How POP3 is protected; starttls is STLS.  [none]"},
    ),
    ("Servers", ("--lmtp-tls",), {"type": click.Choice(_PROTECTIONS), "help": "How deliveries are protected.  [none]"}),
    ("Servers", ("--any-certificate",), {"is_flag": True, "help": "Do not check certificates."}),
    (
        "Servers",
        ("--allow-public-target",),
        {"is_flag": True, "help": "Allow servers outside of private networks: yours."},
    ),
    (
        "Servers",
        ("--allow-real-domains",),
        {"is_flag": True, "help": "Deliver to users on any domain, not only on reserved ones (.test, .example)."},
    ),
    (
        "Users",
        ("--profile",),
        {"type": FILE, "metavar": "FILE", "help": "imaptest's profile: who the users are, and what they do."},
    ),
    ("Users", ("--password",), {"metavar": "TEXT", "help": "Of all users that have none of their own.  [pass]"}),
    (
        "Users",
        ("--password-file",),
        {"type": FILE, "metavar": "FILE", "help": "Read it from the first line of this file."},
    ),
    (
        "Users",
        ("--login",),
        {
            "type": click.Choice(LOGINS, case_sensitive=False),
            "help": "The command LOGIN, or USER and PASS; or a mechanism of SASL.  [password]",
        },
    ),
    (
        "Users",
        ("--mbox",),
        {"type": FILE, "metavar": "FILE", "help": "The mail that is delivered.  [small mail made on the spot]"},
    ),
    (
        "Users",
        ("--delete-foreign",),
        {"is_flag": True, "help": "Also delete and move mail that is not ours, as the profile says."},
    ),
    (
        "Users",
        ("--seed",),
        {"type": click.IntRange(0), "metavar": "N", "help": "The same seed, the same behaviour.  [0]"},
    ),
    (
        "Load",
        ("--clients",),
        {"type": click.IntRange(1, 1_000_000), "metavar": "N", "help": "Sessions at a time.  [10]"},
    ),
    ("Load", ("--workers",), {"type": click.IntRange(1, 1024), "metavar": "N", "help": "Processes.  [1]"}),
    ("Load", ("--run-id",), {"metavar": "HEX", "help": "16 hexadecimal digits that mark this run's mail.  [random]"}),
    ("Load", ("--start-at",), {"metavar": "TIME", "help": "Begin at this time, such as 2026-12-01T10:00:00Z.  [now]"}),
    (
        "Load",
        ("--shard",),
        {
            "metavar": "I/N",
            "help": "Be part I of N that are started on as many machines with the same options, with its part of the "
            "users. Needs --start-at and --run-id; traffic-gen merge makes one run of the results.",
        },
    ),
    (
        "Load",
        ("--cluster",),
        {
            "metavar": "WHERE",
            "help": "Have the users on several hosts, as one: local:4, tcp://SCHEDULER:8786 of Dask, or ssh:FILE with "
            'a host a line; needs the extra "cluster" there and here.',
        },
    ),
    (
        "Load",
        ("--cluster-hosts",),
        {
            "metavar": "N",
            "type": click.IntRange(2, 10_000),
            "help": "Wait for so many of its workers, and use no more.  [all that are there]",
        },
    ),
    (
        "Load",
        ("--clock-error",),
        {"metavar": "TIME", "default": "50ms", "help": "The most by which a host's clock may be uncertain.  [50ms]"},
    ),
    ("Load", ("--duration",), {"metavar": "TIME", "help": "Begin nothing more after this.  [until Ctrl-C]"}),
    ("Load", ("--final",), {"metavar": "TIME", "help": "For sessions to end by themselves after that.  [30s]"}),
    ("Load", ("--timeout",), {"metavar": "TIME", "help": "For every answer, and for a whole delivery.  [60s]"}),
    ("Load", ("--no-pipelining",), {"is_flag": True, "help": "One command at a time, in LMTP and IMAP."}),
    ("Load", ("--keep-going",), {"is_flag": True, "help": "Exit with 0 also when commands or sessions failed."}),
    ("Output", ("--json",), {"metavar": "FILE", "type": FILE, "help": "Write all results as JSON."}),
    (
        "Verdict",
        ("--threshold",),
        {
            "multiple": True,
            "type": TextPerLine(),
            "metavar": "EXPR",
            "help": "What the run must keep to: 'command{fetch}.p99<200ms', 'seen.p95<1s', 'delivery.lost==0'.",
        },
    ),
    (
        "Output",
        ("--rawlog",),
        {"is_flag": True, "help": "Write all that is said by IMAP and POP3 to files rawlog.N here; with passwords."},
    ),
    ("Output", ("--quiet",), {"is_flag": True, "help": "No table and no notices."}),
]


def mailbox_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add them."""
    command = judging_options(command, without=["--threshold"])
    for group, names, settings in reversed(_OPTIONS):
        command = click.option(*names, cls=GroupedOption, group=group, **settings)(command)
    return command

"""What `traffic-gen sink` can be told.

Gives     click options in groups, in the order of help; each also from an environment variable
Not here  what their texts mean (sink), the kinds of faults (sink/policy/fault_kinds)
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from mboxgen.console import PATH, Names
from trafficgen.cli.grouped import GroupedOption
from trafficgen.sink.policy.fault_kinds import FaultKind

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FILE: Final = {"type": PATH, "metavar": "FILE"}

_OPTIONS: Final[tuple[tuple[str, str, dict[str, Any], str], ...]] = (
    ("Sessions", "--lmtp", {"is_flag": True}, "Speak LMTP (RFC 2033): one reply for each recipient."),
    (
        "Sessions",
        "--starttls",
        {"is_flag": True},
        "Offer STARTTLS, with a certificate made on the spot if none is given.",
    ),
    ("Sessions", "--tls", {"is_flag": True}, "Speak TLS from the first octet."),
    ("Sessions", "--certificate", _FILE, "Certificate chain in PEM, for --starttls or --tls."),
    ("Sessions", "--key", _FILE, "Its private key, if that is in a file of its own."),
    ("Sessions", "--auth", {"is_flag": True}, "Offer AUTH; any name and password are right."),
    (
        "Sessions",
        "--auth-password-file",
        _FILE,
        "The right password, for all names: the file's first line. Offers SCRAM-SHA-256 as well.",
    ),
    ("Sessions", "--require-auth", {"is_flag": True}, "Refuse MAIL before AUTH."),
    ("Sessions", "--require-tls", {"is_flag": True}, "Refuse MAIL before STARTTLS."),
    ("Sessions", "--xclient", {"is_flag": True}, "Let clients say with XCLIENT whose address counts for limits."),
    ("Sessions", "--xforward", {"is_flag": True}, "Let clients say with XFORWARD where each message came from."),
    (
        "Sessions",
        "--proxy-protocol",
        {"is_flag": True},
        "Expect a PROXY header, v1 or v2, before each session; its client is who counts for limits.",
    ),
    (
        "Sessions",
        "--hide",
        {"multiple": True, "metavar": "EXTENSION"},
        "Leave an extension such as PIPELINING out of EHLO.",
    ),
    (
        "Sessions",
        "--hostname",
        {"metavar": "NAME"},
        "What the sink calls itself: a domain or an [address]. [default: sink.traffic-gen.test]",
    ),
    ("Sessions", "--idle-timeout", {"metavar": "TIME", "default": "5m"}, "Hang up on silent clients. [default: 5m]"),
    (
        "Sessions",
        "--message-count",
        # What a send is told by TRAFFIC_GEN_MESSAGE_COUNT must not end the sink beside it.
        {"type": click.IntRange(1), "metavar": "N", "envvar": "TRAFFIC_GEN_SINK_MESSAGE_COUNT"},
        "End once N messages were accepted; with --workers, by all. In the environment TRAFFIC_GEN_SINK_MESSAGE_COUNT.",
    ),
    (
        "Sessions",
        "--workers",
        {"type": click.IntRange(1, 1024), "default": 1, "metavar": "N"},
        (
            "Processes that share the port; each counts its own limits and writes its own ledger, and verify reads "
            "them together. [default: 1]"
        ),
    ),
    (
        "Responses",
        "--responses",
        {"metavar": "FILE", "type": Names(lambda: ["providers"], file=True)},
        (
            "Refuse by this table: KumoMTA's responses.toml as it is, or the shipped one, providers. Read again "
            "when it changes, or on SIGHUP."
        ),
    ),
    ("Responses", "--kumo-odds", {"is_flag": True}, "Take percentages as KumoMTA's sink does: one too few."),
    (
        "Responses",
        "--domain-suffix",
        {"multiple": True, "metavar": "DOMAIN"},
        (
            "Taken off recipient domains before the table is asked. [default: whatever must go until a name of "
            "the table is left]"
        ),
    ),
    (
        "Responses",
        "--seed",
        {"type": click.IntRange(0, 2**64 - 1), "default": 0},
        "The same seed refuses in the same order. [default: 0]",
    ),
    (
        "Limits",
        "--connections-per-client",
        {"type": click.IntRange(1), "metavar": "N"},
        "421 to a connection beyond N from one address.",
    ),
    ("Limits", "--client-rate", {"metavar": "RATE"}, "421 to a client that sends more: 600/m, 20/10s."),
    (
        "Limits",
        "--domain-rate",
        {"multiple": True, "metavar": "[DOMAIN=]RATE"},
        "451 when a recipient domain gets more: 100/m for each, gmail.com=600/m for one.",
    ),
    (
        "Limits",
        "--messages-per-session",
        {"type": click.IntRange(1), "metavar": "N"},
        "421 to a message beyond N in one session.",
    ),
    (
        "Limits",
        "--max-recipients",
        {"type": click.IntRange(1), "metavar": "N"},
        "452 to a recipient beyond N of one message.",
    ),
    ("Limits", "--max-size", {"metavar": "SIZE"}, "552 to a larger message: 10MB, 256KiB."),
    *(("Faults", kind.option, {"multiple": True, "metavar": kind.metavar}, kind.help_text) for kind in FaultKind),
    ("Faults", "--tarpit", {"metavar": "TIME"}, "Wait so long at every stage."),
    (
        "Bounces back",
        "--bounce-to",
        {"metavar": "HOST:PORT"},
        "Where bounces and complaints go, and the only place that anything ever goes to; unix:/path as well.",
    ),
    (
        "Bounces back",
        "--bounce-share",
        {"metavar": "SHARE"},
        "Take this share of recipients and send a bounce (RFC 3464) to the sender afterwards: 2%.",
    ),
    (
        "Bounces back",
        "--complaint-share",
        {"metavar": "SHARE"},
        "The same with complaints in the abuse reporting format (RFC 5965): 0.1%.",
    ),
    ("Bounces back", "--allow-public-target", {"is_flag": True}, "Let --bounce-to be a public address."),
    (
        "Bounces back",
        "--allow-real-domains",
        {"is_flag": True},
        "Report to senders on any domain, not only on reserved ones (.test, .example) and --domain-suffix.",
    ),
    ("Account", "--ledger", _FILE, "Write a line for every message, before it is answered; see traffic-gen verify."),
    ("Account", "--no-ledger", {"is_flag": True}, "Only count: faster."),
    (
        "Account",
        "--capture",
        {"metavar": "FORM:PATH", "type": Names(lambda: ["mbox:", "maildir:", "files:", "digests:"])},
        "Keep messages: mbox:FILE, maildir:FOLDER, files:FOLDER (one a message), or digests:FILE.",
    ),
    ("Account", "--capture-limit", {"metavar": "SIZE"}, "452 to everything once so much is kept: 10GB."),
    (
        "Account",
        "--api",
        {"metavar": "[HOST:]PORT"},
        "Serve totals, runs and faults over HTTP, to look at and to change; also takes KumoMTA's injections.",
    ),
)


def sink_options(command: _Command) -> _Command:
    """Add every option of `sink` to a click command."""
    for group, name, settings, words in reversed(_OPTIONS):
        # `api` is the address behind `status`.
        names = (name, "serve_api") if name == "--api" else (name,)
        command = click.option(*names, cls=GroupedOption, group=group, help=words, **settings)(command)
    return command

"""What `traffic-gen sink` can be told.

Gives     click options in groups, in the order of help; each also from an environment variable
Not here  what their texts mean (sink), the kinds of faults (sink/policy/fault_kinds)
"""

from typing import Final

from mboxgen.console import PATH, Names, WholeNumber
from trafficgen.cli.grouped import all_of, group
from trafficgen.sink.policy.fault_kinds import FaultKind

_sessions = group("Sessions")
_responses = group("Responses")
_limits = group("Limits")
_faults = group("Faults")
_bounces = group("Bounces back")
_account = group("Account")

# One option, a few lines: a table, which the formatter would take apart.
# fmt: off
_OPTIONS: Final = (
    _sessions("--lmtp", is_flag=True, help="Speak LMTP (RFC 2033): one reply for each recipient."),
    _sessions("--starttls", is_flag=True, help="Offer STARTTLS, with a certificate made on the spot if none is given."),
    _sessions("--tls", is_flag=True, help="Speak TLS from the first octet."),
    _sessions("--certificate", type=PATH, metavar="FILE", help="Certificate chain in PEM, for --starttls or --tls."),
    _sessions("--key", type=PATH, metavar="FILE", help="Its private key, if that is in a file of its own."),
    _sessions("--auth", is_flag=True, help="Offer AUTH; any name and password are right."),
    _sessions("--auth-password-file", type=PATH, metavar="FILE",
        help="The right password, for all names: the file's first line. Offers SCRAM-SHA-256 as well."),
    _sessions("--require-auth", is_flag=True, help="Refuse MAIL before AUTH."),
    _sessions("--require-tls", is_flag=True, help="Refuse MAIL before STARTTLS."),
    _sessions("--xclient", is_flag=True, help="Let clients say with XCLIENT whose address counts for limits."),
    _sessions("--xforward", is_flag=True, help="Let clients say with XFORWARD where each message came from."),
    _sessions("--proxy-protocol", is_flag=True,
        help="Expect a PROXY header, v1 or v2, before each session; its client is who counts for limits."),
    _sessions("--hide", multiple=True, metavar="EXTENSION", help="Leave an extension such as PIPELINING out of EHLO."),
    _sessions("--hostname", metavar="NAME",
        help="What the sink calls itself: a domain or an [address]. [default: sink.traffic-gen.test]"),
    _sessions("--idle-timeout", metavar="TIME", default="5m",
        help="Hang up on silent clients, to within 5s. [default: 5m]"),
    # What a send is told by TRAFFIC_GEN_MESSAGE_COUNT must not end the sink beside it.
    _sessions("--message-count", type=WholeNumber(1), metavar="N", envvar="TRAFFIC_GEN_SINK_MESSAGE_COUNT",
        help="End once N messages were accepted; with --workers, by all. In the environment "
             "TRAFFIC_GEN_SINK_MESSAGE_COUNT."),
    _sessions("--workers", type=WholeNumber(1, 1024), default=1, metavar="N",
        help="Processes that share the port; each counts its own limits and writes its own ledger, and verify reads"
             " them together. [default: 1]"),
    _responses("--responses", metavar="FILE", type=Names(lambda: ["providers"], file=True),
        help="Refuse by this table: KumoMTA's responses.toml as it is, or the shipped one, providers. Read again "
             "when it changes, or on SIGHUP."),
    _responses("--kumo-odds", is_flag=True, help="Take percentages as KumoMTA's sink does: one too few."),
    _responses("--domain-suffix", multiple=True, metavar="DOMAIN",
        help="Taken off recipient domains before the table is asked. [default: whatever must go until a name of the"
             " table is left]"),
    _responses("--seed", type=WholeNumber(0, 2**64 - 1), default=0,
        help="The same seed refuses in the same order. [default: 0]"),
    _limits("--connections-per-client", type=WholeNumber(1), metavar="N",
        help="421 to a connection beyond N from one address."),
    _limits("--client-rate", metavar="RATE", help="421 to a client that sends more: 600/m, 20/10s."),
    _limits("--domain-rate", multiple=True, metavar="[DOMAIN=]RATE",
        help="451 when a recipient domain gets more: 100/m for each, gmail.com=600/m for one."),
    _limits("--messages-per-session", type=WholeNumber(1), metavar="N",
        help="421 to a message beyond N in one session."),
    _limits("--max-recipients", type=WholeNumber(1), metavar="N",
        help="452 to a recipient beyond N of one message."),
    _limits("--max-size", metavar="SIZE", help="552 to a larger message: 10MB, 256KiB."),
    *(_faults(kind.option, multiple=True, metavar=kind.metavar, help=kind.help_text) for kind in FaultKind),
    _faults("--tarpit", metavar="TIME", help="Wait so long at every stage."),
    _bounces("--bounce-to", metavar="HOST:PORT",
        help="Where bounces and complaints go, and the only place that anything ever goes to; unix:/path as well."),
    _bounces("--bounce-share", metavar="SHARE",
        help="Take this share of recipients and send a bounce (RFC 3464) to the sender afterwards: 2%."),
    _bounces("--complaint-share", metavar="SHARE",
        help="The same with complaints in the abuse reporting format (RFC 5965): 0.1%."),
    _bounces("--allow-public-target", is_flag=True, help="Let --bounce-to be a public address."),
    _bounces("--allow-real-domains", is_flag=True,
        help="Report to senders on any domain, not only on reserved ones (.test, .example) and --domain-suffix."),
    _account("--ledger", type=PATH, metavar="FILE",
        help="Write a line for every message, before it is answered; see traffic-gen verify."),
    _account("--no-ledger", is_flag=True, help="Only count: faster."),
    _account("--capture", metavar="FORM:PATH", type=Names(lambda: ["mbox:", "maildir:", "files:", "digests:"]),
        help="Keep messages: mbox:FILE, maildir:FOLDER, files:FOLDER (one a message), or digests:FILE."),
    _account("--capture-limit", metavar="SIZE", help="452 to everything once so much is kept: 10GB."),
    # `api` is the address behind `status`.
    _account("--api", "serve_api", metavar="[HOST:]PORT",
        help="Serve totals, runs and faults over HTTP, to look at and to change; also takes KumoMTA's injections."),
)
# fmt: on

sink_options: Final = all_of(*_OPTIONS)
"""Adds every option of `sink` to a click command."""

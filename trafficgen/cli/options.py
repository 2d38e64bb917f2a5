"""What `traffic-gen send` can be told.

Gives     click options in groups, in the order of help; each also from an environment variable
Not here  what their texts mean (parsing), how they go together (planning), how help groups them (grouped)

Names and meanings are those of KumoMTA's traffic-gen where it has them. `--message-count` is read from
TRAFFIC_GEN_MESSAGE_COUNT and so on. Options that can be repeated take several values from one variable: separated by
spaces or line ends, and headers, which contain spaces, by line ends alone.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import click

from mboxgen.console import FILE, WHOLE, Names, Whole
from trafficgen.cli.grouped import TextPerLine, all_of, group

OTHERWISE: Final = {
    "--http": 'no such option "--http"; injection is asked for by its URL: --target http://HOST:8000/api/inject/v1',
}
"""What stands for an option of KumoMTA's traffic-gen that somebody who comes from there will try."""

_MECHANISMS: Final = ("PLAIN", "LOGIN", "SCRAM-SHA-256", "CRAM-MD5", "XOAUTH2")
_TLS_VERSIONS: Final = ("1.0", "1.1", "1.2", "1.3")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def send_options(command: _Command) -> _Command:
    """Add every option of `send` to a click command."""
    return all_of(*_OPTIONS)(command)


def _domain_presets() -> Iterable[str]:
    from trafficgen.workload.presets import DOMAINS

    return DOMAINS


def _recipient_presets() -> Iterable[str]:
    from trafficgen.workload.presets import RECIPIENTS

    return RECIPIENTS


def _size_presets() -> Iterable[str]:
    from mboxgen.recipe.presets import PRESETS

    return PRESETS


_OPTIONS: Final[list[Callable[[Any], Any]]] = []


def _group(title: str) -> Callable[..., None]:
    def add(*declarations: str, **settings: Any) -> None:
        settings["help"] = " ".join(settings["help"].split())
        _OPTIONS.append(group(title)(*declarations, **settings))

    return add


# One option, one or a few lines: a table, which the formatter would take apart.
# fmt: off
def _add_target() -> None:
    add = _group("Target")
    add("--target", multiple=True, metavar="HOST[:PORT][=WEIGHT]", help="""
        Server to send to: name, IPv4, [IPv6]:port or unix:/path; port 25 if none is given. lmtp://HOST[:PORT] or
        lmtp:unix:/path speaks LMTP, port 24 if none is given. http(s)://HOST[:PORT]/api/inject/v1 injects by HTTP, as
        KumoMTA has it. Repeat it for several servers, each with its weight, such as a:25=3 b:25=1: sessions go to each
        in turn, and results have the numbers of each. Without it, mail goes to a sink that is started for the run, and
        the summary proves that every message arrived.""")
    add("--ip-version", type=click.Choice(["4", "6"]), help="""
        Connect over this version of IP only, where a name has addresses of both. [default: both]""")
    add("--mx", is_flag=True, help="""
        In place of --target: send mail for each domain where its MX records say, looked up before the run, which needs
        a session for each domain. Results have the numbers of each. Needs the extra dns.""")
    add("--mx-port", metavar="PORT", type=WHOLE, help="Port of mail exchangers. [default: 25]")
    add("--resolver", metavar="ADDRESS[:PORT]", help="Whom to ask, for --mx. [default: the system's resolver]")
    add("--allow-public-target", is_flag=True, help="""
        Send even if the target is not at a loopback, private or link-local address. Only for servers that are
        yours.""")
    add("--allow-real-domains", is_flag=True, help="""
        Send to real domains (--domain-suffix '' or com), though the server under test may relay the mail to real
        people.""")


def _add_amount() -> None:
    add = _group("How much")
    add("--message-count", metavar="N", type=WHOLE, help="Send exactly N messages, however long it takes.")
    add("--duration", metavar="TIME", help="""
        Send for this long: 90, 90s, 5m, 1h30m. With --message-count, whichever comes first; with neither, 60 s or
        until the last --stage ends.""")
    add("--concurrency", metavar="N", type=WHOLE, help="""
        Sessions open at a time, over all workers. [default: 10 per core]""")
    add("--messages-per-session", metavar="N|LIST", default="0", help="""
        Close a session after N messages and open another; 0 keeps it open; weighted numbers such as 1:5,20:1 give each
        session one of them. [default: 0]""")
    add("--workers", metavar="N", type=WHOLE, help="""
        Processes to send from. [default: one per core, a core left for the embedded sink]""")
    add("--grace", metavar="TIME", default="10s", help="""
        How long messages on their way may take to finish after the end of the run or Ctrl-C. [default: 10s]""")


def _add_rate() -> None:
    add = _group("How fast")
    add("--rate", "--throttle", "rate", metavar="RATE", help="""
        Start messages at this rate, whether or not the server keeps up: 100/s, 6000/m, 50/10s. Evenly from the first
        second, without a burst. Without it, each session sends as fast as it is answered.""")
    add("--arrivals", type=click.Choice(["constant", "poisson"]), default="constant", help="""
        Evenly spaced, or at random as independent senders make them. [default: constant]""")
    add("--stage", multiple=True, metavar="TIME:RATE", help="""
        Go to this rate in a straight line within this time, starting from --rate or 0; repeat for more: --stage
        30s:200 --stage 1m:1000. A time of 0s jumps. The run ends with the last stage.""")


def _add_recipients() -> None:
    add = _group("To whom")
    add("--domain", multiple=True, metavar="NAME[:WEIGHT]", help="""
        Recipient domain and its weight, such as gmail.com:67.4; repeat for more. Weights are relative. [default:
        aol.com gmail.com hotmail.com yahoo.com, equally]""")
    add("--domains-from", multiple=True, metavar="FILE", type=FILE, help="""
        Read recipient domains from a file, one NAME[:WEIGHT] a line; # begins a comment.""")
    add("--domain-preset", multiple=True, metavar="NAME", type=Names(_domain_presets), help="""
        A published mix of domains, such as kumo-doc or mapp2019-us; --list-presets shows all with their sources. What
        the source calls "the rest" goes to 1000 synthetic domains.""")
    add("--long-tail", metavar="N:WEIGHT", help="""
        N synthetic domains that share WEIGHT by Zipf's law, such as 5000:10.2: the many small domains that fill a
        server's queues.""")
    add("--domain-suffix", metavar="DOMAIN", default="traffic-gen.test", help="""
        Append this to every recipient and sender domain, so that no mail can reach a real mailbox; '' for none.
        [default: traffic-gen.test, a name reserved for tests]""")
    add("--users", metavar="N[,zipf[:S]][,tag]", default="100000", help="""
        Mailboxes per domain, user-000000 and on: all alike, or popular by Zipf's law with exponent S; tag makes every
        address new (user-000000+1@…) for the same mailboxes. [default: 100000]""")
    add("--recipients", metavar="N|LIST|PRESET", type=Names(_recipient_presets), default="1", help="""
        Recipients per message: a number, weighted numbers such as 1:85,2:10,20:5, or the preset spec2001 or rcpt-cam.
        [default: 1]""")
    add("--to", multiple=True, metavar="ADDRESS[:WEIGHT]", help="""
        Write to this address in place of users and domains; repeat for more. It is used as it is, and needs
        --allow-real-domains unless its domain is reserved for tests, such as lab.test.""")
    add("--recipients-from", metavar="FILE", type=FILE, help="""
        Write to the addresses in a CSV file with a header row: a column address, perhaps one called weight, and any
        others. All can stand in --header and --subject as {column}; a brace is written {{ or }} there.""")
    add("--from", "from_address", multiple=True, metavar="ADDRESS[:WEIGHT]", help="""
        Write from this address, used as it is, in place of --senders; repeat for more.""")
    add("--senders-from", multiple=True, metavar="FILE", type=FILE, help="""
        The same for the addresses in a file, one ADDRESS[:WEIGHT] a line; # begins a comment.""")
    add("--smtputf8-share", metavar="SHARE", help="""
        Write this share of messages, such as 20%, to users whose names are beyond ASCII, with SMTPUTF8. Domains such as
        bücher.test go as they are then, and as A-labels (xn--…) in all other messages. Addresses of --to, --from and
        --recipients-from that are beyond ASCII have SMTPUTF8 without this option.""")
    add("--senders", metavar="N", type=WHOLE, help="""
        Different sender addresses, spread over the recipient domains. [default: 1000, with --dkim-key 100]""")


def _add_content() -> None:
    add = _group("What")
    add("--body-size", multiple=True, metavar="SIZE[:WEIGHT]", type=Names(_size_presets), help="""
        Octets of body: 60kb (60,000), 10KiB (10,240), 100000; repeat with weights for a mix: 10kb:5 80kb:5. Or one
        curve: uniform:1kb-10kb, lognormal:8kb,0.7. Or one preset such as spec2001, whose sizes are those of whole
        messages with their headers. [default: 5kb]""")
    add("--body-file", metavar="FILE", type=FILE, help="""
        Use this file as the body of every message, under generated headers; or, where it begins with a header block,
        as the whole message. Line ends become CRLF.""")
    add("--mbox", metavar="FILE", type=FILE, help="""
        Send the messages of an mbox as they are, in their order, again from the start at its end. Any size: the file
        is mapped, not loaded. Also packed (gzip, bzip2, xz, zstd), a Maildir, a folder of .eml files, or - for a
        pipe.""")
    add("--mbox-recipe", metavar="FILE", type=FILE, help="""
        Make the mbox where it is not there, on every host of a cluster: a recipe of mboxgen's, or a corpus's
        .manifest.json.""")
    add("--shuffle", is_flag=True, help="Send the messages of --mbox in random order, another one each time round.")
    add("--subject", multiple=True, metavar="TEXT[:WEIGHT]", type=TextPerLine(), help="""
        The subject; repeat for several, of which each message gets one by weight.""")
    add("--header", multiple=True, type=TextPerLine(), metavar="'NAME: VALUE'", help="""
        Add a header to every message; repeat for more. 'X-Tenant: {a:3|b:1}' gives each message one of the values, by
        weight. Replaces a generated header of the same name.""")
    add("--dkim-key", multiple=True, metavar="DOMAIN=SELECTOR:FILE", type=TextPerLine(), help="""
        Sign mail of senders at DOMAIN and below it (DKIM) with an RSA or Ed25519 key in PEM; repeat for more domains,
        and for more keys of one, which all sign. A pool is
        signed before the run begins, a message or more for each sender, and sent again and again: To, Message-ID and
        the trace header are each message's own and not signed. Needs the extra dkim.""")


def _add_session() -> None:
    add = _group("Sessions")
    add("--pipelining", type=click.Choice(["auto", "off"]), default="auto", help="""
        Send commands in groups when the server offers it, or wait for every reply. [default: auto]""")
    add("--chunking", type=WHOLE, metavar="N", default=0, help="""
        Where the server offers CHUNKING, send a message as one BDAT instead of DATA, and have N messages of a session
        on their way at once. A message's time then holds its wait behind the others. [default: 0, DATA]""")
    add("--ehlo-name", multiple=True, metavar="NAME[=WEIGHT]", help="""
        What EHLO says; repeat for several, of which each session says one by weight. [default: the address that the
        session comes from, such as [127.0.0.1]]""")
    add("--think-time", metavar="TIME", default="0", help="""
        How long a session rests between two messages. [default: 0]""")
    add("--rset-between", is_flag=True, help="Send RSET between two messages of a session.")
    add("--idle-sessions", type=WHOLE, metavar="N", default=0, help="""
        Hold N more sessions open that carry no message, as mail programs and connection caches do. [default: 0]""")
    add("--noop-every", metavar="TIME", default="60s", help="""
        How often each of them says NOOP; 0 for never. [default: 60s]""")
    add("--leave-share", multiple=True, metavar="[STEP:]SHARE", help="""
        This share of sessions greets and leaves with QUIT, without a message: 5%; or once connect, helo, mail or rcpt
        is answered: rcpt:5%. Repeat for more steps.""")
    add("--drop-share", multiple=True, metavar="[STEP[:sent]:]SHARE", help="""
        This share of sessions greets, and then closes the connection without a word: 5%; or once connect, helo, mail,
        rcpt or data is answered, or, as data:sent:5%, sent; or in the middle of a message: body:1%. Repeat for more
        steps. No message is lost with them: others hand it over.""")
    add("--slow-senders", metavar="SHARE:OCTETS", help="""
        This share of sessions sends no more than so many octets a second, as over a bad line: 5%:200. To loopback,
        private and link-local addresses only.""")
    add("--connect-timeout", metavar="TIME", default="30s", help="""
        How long TCP and TLS may take to come up. [default: 30s]""")
    add("--timeout", metavar="TIME", default="60s", help="""
        How long any one reply may take; 0 for as long as RFC 5321 asks for at each step. [default: 60s]""")


def _add_extensions() -> None:
    add = _group("Extensions of SMTP; a server that does not offer one that is asked for fails the session")
    add("--declare-size", is_flag=True, help="Declare the SIZE of each message with MAIL, where the server offers it.")
    add("--notify", metavar="LIST", help="""
        Ask for reports of every recipient (DSN): NEVER, or some of SUCCESS,FAILURE,DELAY. Each message has an ENVID,
        its run's id and its number.""")
    add("--ret", type=click.Choice(["FULL", "HDRS"], case_sensitive=False), help="""
        What such a report returns: the whole message or its headers.""")
    add("--orcpt", is_flag=True, help="""
        Name each recipient once more with ORCPT, which such a report repeats: rfc822;user+2Btag@…, beyond ASCII
        utf-8;….""")
    add("--mt-priority", type=WHOLE, metavar="N", help="Ask for this priority, -9 to 9 (RFC 6710).")
    add("--deliver-by", metavar="TIME[:MODE]", help="""
        Ask for delivery within this time (RFC 2852), such as 2h:R: R returns a message that is late, N reports it; RT
        and NT have every server on the way report. [mode: N]""")
    add("--requiretls", is_flag=True, help="""
        Ask for TLS on the whole way (RFC 8689). Needs --starttls or --tls.""")
    add("--binarymime", is_flag=True, help="""
        Send bodies as BINARYMIME; the octets of --body-file then go as they are. Needs --chunking.""")


def _add_injection() -> None:
    add = _group("Injection by HTTP")
    add("--http-batch-size", metavar="N", type=WHOLE, help="""
        Recipients of a request, all different; the server makes a message for each. In place of --recipients.
        [default: 1]""")
    add("--http-defer-spool", is_flag=True, help="""
        Have the server write a message down only when its first delivery fails for now.""")
    add("--http-defer-generation", is_flag=True, help="""
        Have the server answer before it makes messages of a request.""")
    add("--http-authorization-file", metavar="FILE", type=FILE, help="""
        File whose first line is the value of every request's Authorization header, such as 'Bearer …'; it goes to
        loopback addresses only.""")


def _add_client() -> None:
    add = _group("Who the client is")
    add("--source-ip", multiple=True, metavar="RANGE[=WEIGHT]", help="""
        Connect from these addresses of this machine: 10.0.0.5, 10.0.0.0/28 or 10.0.0.5-10.0.0.9. Repeat for more; each
        session takes the next one, or with different weights one by weight.""")
    add("--proxy-protocol", type=click.Choice(["v1", "v2"]), help="""
        Begin each connection with a PROXY header, as a load balancer before the server does; needs --proxy-from.""")
    add("--proxy-from", multiple=True, metavar="RANGE[=WEIGHT]", help="""
        Client addresses that PROXY headers name, one for each session; repeat for more.""")
    add("--xclient-from", multiple=True, metavar="RANGE[,NAME][=WEIGHT]", help="""
        Say with Postfix's XCLIENT that the client has one of these addresses, and the host name NAME, in which * is the
        address: 192.0.2.0/24,*.dyn.test=3. A server that does not offer it fails the session.""")
    add("--xclient", multiple=True, metavar="NAME=VALUE[=WEIGHT]", help="""
        Say this with XCLIENT as well, such as LOGIN=joe=3: NAME, REVERSE_NAME, PORT, PROTO, HELO, LOGIN, DESTADDR or
        DESTPORT. Repeat for more, and for several values of one, of which each session says one by weight. A server
        that does not offer it fails the session.""")
    add("--xforward-from", multiple=True, metavar="RANGE[,NAME][=WEIGHT]", help="""
        The same as --xclient-from with XFORWARD, as a content filter does; needs --messages-per-session 1.""")
    add("--xforward", multiple=True, metavar="NAME=VALUE[=WEIGHT]", help="""
        The same as --xclient with XFORWARD: NAME, PORT, PROTO, HELO, IDENT or SOURCE.""")


def _add_protection() -> None:
    add = _group("TLS and login")
    add("--starttls", is_flag=True, help="""
        Start TLS after EHLO. A server that does not offer it fails the session: never silently plain.""")
    add("--starttls-if-offered", is_flag=True, help="Start TLS after EHLO where the server offers it.")
    add("--tls", is_flag=True, help="Speak TLS from the first octet.")
    add("--tls-share", metavar="SHARE", help="""
        Protect this share of the sessions, such as 60% or 0.6; the others are plain. [default: 100%]""")
    add("--tls-ca", metavar="FILE", type=FILE, help="""
        Trust the certificates in this PEM file, in place of the system's. Certificates are verified, except, without
        this option, those of servers at a loopback address.""")
    add("--insecure", is_flag=True, help="Accept any certificate.")
    add("--tls-cert", metavar="FILE", type=FILE, help="Show this certificate (PEM) to a server that asks for one.")
    add("--tls-key", metavar="FILE", type=FILE, help="Its key, if that is in another file; without a passphrase.")
    add("--sni", metavar="NAME", help="""
        Ask for the certificate of this name, and verify it by this name. [default: the target's]""")
    add("--tls-min", type=click.Choice(_TLS_VERSIONS), help="""
        Lowest version. 1.0 and 1.1 need --tls-ciphers ALL:@SECLEVEL=0 as well. [default: OpenSSL's own]""")
    add("--tls-max", type=click.Choice(_TLS_VERSIONS), help="Highest version. [default: OpenSSL's own]")
    add("--tls-ciphers", metavar="LIST", help="""
        Ciphers as OpenSSL writes them, such as ECDHE+AESGCM, for versions up to 1.2; those of 1.3 are OpenSSL's.""")
    add("--tls-resume", is_flag=True, help="""
        Resume an earlier session of the same worker where the server lets us: without a full handshake.""")
    add("--auth-user", metavar="NAME", help="""
        Log in to every session as this user. Needs --starttls or --tls, but for servers at a loopback address.""")
    add("--auth-password-file", metavar="FILE", type=FILE, help="""
        File whose first line is the password; a password itself is never typed here.""")
    add("--auth-users", metavar="FILE.csv", type=FILE, help="""
        Log in to each session as one of these, drawn by weight: rows of user,password or user,password,weight under a
        row of these names.""")
    add("--auth-mechanism", type=click.Choice(_MECHANISMS, case_sensitive=False), help="""
        How; with XOAUTH2 the password is an access token. [default: the first offered, in this order, without
        XOAUTH2]""")


def _add_run() -> None:
    add = _group("The run")
    add("--keep-going", is_flag=True, help="""
        Count errors and carry on, reconnecting with growing pauses, and end with 0 unless nothing at all was accepted
        and no --threshold says what is wanted. Without it the first error ends the run in good order.""")
    add("--retry", metavar="4xx:N:TIME", help="""
        Send a message that is refused for now again, up to N times, so long after each try, as a small MTA does:
        4xx:3:5s; any in place of 4xx: one that failed or is in doubt as well. Needs --keep-going.""")
    add("--seed", metavar="N", type=WHOLE, help="""
        The same seed sends the same messages, whatever the number of workers. [default: chosen and shown]""")
    add("--run-id", metavar="HEX", help="16 hexadecimal digits that mark this run's messages. [default: random]")
    add("--start-at", metavar="TIME", help="""
        Begin at this time, such as 2026-12-01T10:00:00Z. [default: at once]""")
    add("--shard", metavar="I/N", help="""
        Be part I of N that are started on as many machines with the same options: it sends its share of messages,
        rate and sessions, and no other. Needs --start-at, --seed, --run-id and --concurrency; traffic-gen merge makes
        one run of the results.""")
    add("--cluster", metavar="WHERE", help="""
        Send from several hosts as one: local:4, tcp://SCHEDULER:8786 of Dask, or ssh:FILE with a host a line; needs
        the extra "cluster" there and here.""")
    add("--cluster-hosts", metavar="N", type=Whole(2, 10_000), help="""
        Wait for so many of its workers, and use no more. [default: all that are there]""")
    add("--clock-error", metavar="TIME", default="50ms", show_default=True, help="""
        The most by which the clock of a host of the cluster may be uncertain.""")
    add("--no-ledger", is_flag=True, help="Let the embedded sink count only, without proof of every message: faster.")
    add("--manifest", metavar="FILE", type=FILE, help="""
        Write down what was sent, message by message, to hold a sink's ledger or mailboxes against: see
        traffic-gen verify.""")
    add("--wait-for-delivery", metavar="TIME", help="""
        After the last message, wait so long for all of them to come out at a sink of ours behind the server under
        test, and prove it: needs --sink-api.""")
    add("--sink-api", metavar="[HOST:]PORT", multiple=True, help="""
        Where that sink has its --api; a local or private address, as for --target. Repeat it where mail comes out at
        several.""")
    add("--json", metavar="FILE", type=FILE, help="""
        Write the results as JSON; - for standard output, the summary then goes to standard error.""")
    add("--trace", metavar="N", type=WHOLE, default=0, help="""
        Show on standard error what the first N sessions say, as swaks does, with the seconds since each began;
        passwords are masked. [default: 0]""")
    add("--quiet", is_flag=True, help="No live line and no notices; only the summary, and errors.")
    add("--dry-run", is_flag=True, help="Show the plan and the first two messages; connect to nothing.")
# fmt: on


for _add in (
    _add_target,
    _add_amount,
    _add_rate,
    _add_recipients,
    _add_content,
    _add_session,
    _add_extensions,
    _add_protection,
    _add_client,
    _add_injection,
    _add_run,
):
    _add()

"""What `traffic-gen send` can be told, and a record of all that it was told, as it was typed.

Gives     click options in groups, in the order of help; each also from an environment variable. `SendOptions`, a frozen
          record with a field for each, not yet understood; a scenario has the same names
Not here  what their texts mean (parsing), how they go together (planning), how help groups them (grouped)

Names and meanings are those of KumoMTA's traffic-gen where it has them. `--message-count` is read from
TRAFFIC_GEN_MESSAGE_COUNT and so on. Options that can be repeated take several values from one variable: separated by
spaces or line ends, and headers, which contain spaces, by line ends alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final

import click

from mboxgen.console import FILE, WHOLE, Names, WholeNumber
from trafficgen.cli.grouped import TextPerLine, group, options_of

OTHERWISE: Final = {
    "--http": 'no such option "--http"; injection is asked for by its URL: --target http://HOST:8000/api/inject/v1',
}
"""What stands for an option of KumoMTA's traffic-gen that somebody who comes from there will try."""

_MECHANISMS: Final = ("PLAIN", "LOGIN", "SCRAM-SHA-256", "CRAM-MD5", "XOAUTH2")
_TLS_VERSIONS: Final = ("1.0", "1.1", "1.2", "1.3")
_Text = str | None
_Texts = tuple[str, ...]
_Number = int | None


def _domain_presets() -> Iterable[str]:
    from trafficgen.workload.presets import DOMAINS

    return DOMAINS


def _recipient_presets() -> Iterable[str]:
    from trafficgen.workload.presets import RECIPIENTS

    return RECIPIENTS


def _size_presets() -> Iterable[str]:
    from mboxgen.recipe.presets import PRESETS

    return PRESETS


_target = group("Target")
_amount = group("How much")
_rate = group("How fast")
_recipients = group("To whom")
_content = group("What")
_session = group("Sessions")
_extensions = group("Extensions of SMTP; a server that does not offer one that is asked for fails the session")
_protection = group("TLS and login")
_client = group("Who the client is")
_injection = group("Injection by HTTP")
_run = group("The run")


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOptions:
    """What `traffic-gen send` was told, by parameter name. None or empty: not given.

    The last ones are those of every run that is judged (`judging`), which has their texts.
    """

    # An option is its field: one, one or a few lines; a table, which the formatter would take apart.
    # fmt: off
    target: Annotated[_Texts, _target("--target", multiple=True, metavar="HOST[:PORT][=WEIGHT]", help="""
        Server to send to: name, IPv4, [IPv6]:port or unix:/path; port 25 if none is given. lmtp://HOST[:PORT] or
        lmtp:unix:/path speaks LMTP, port 24 if none is given. http(s)://HOST[:PORT]/api/inject/v1 injects by HTTP, as
        KumoMTA has it. Repeat it for several servers, each with its weight, such as a:25=3 b:25=1: sessions go to each
        in turn, and results have the numbers of each. Without it, mail goes to a sink that is started for the run, and
        the summary proves that every message arrived.""")]
    ip_version: Annotated[_Text, _target("--ip-version", type=click.Choice(["4", "6"]), help="""
        Connect over this version of IP only, where a name has addresses of both. [default: both]""")]
    mx: Annotated[bool, _target("--mx", is_flag=True, help="""
        In place of --target: send mail for each domain where its MX records say, looked up before the run, which needs
        a session for each domain. Results have the numbers of each. Needs the extra dns.""")]
    mx_port: Annotated[_Number, _target("--mx-port", metavar="PORT", type=WHOLE,
        help="Port of mail exchangers. [default: 25]")]
    resolver: Annotated[_Text, _target("--resolver", metavar="ADDRESS[:PORT]",
        help="Whom to ask, for --mx. [default: the system's resolver]")]
    allow_public_target: Annotated[bool, _target("--allow-public-target", is_flag=True, help="""
        Send even if the target is not at a loopback, private or link-local address. Only for servers that are
        yours.""")]
    allow_real_domains: Annotated[bool, _target("--allow-real-domains", is_flag=True, help="""
        Send to real domains (--domain-suffix '' or com), though the server under test may relay the mail to real
        people.""")]

    message_count: Annotated[_Number, _amount("--message-count", metavar="N", type=WHOLE,
        help="Send exactly N messages, however long it takes.")]
    duration: Annotated[_Text, _amount("--duration", metavar="TIME", help="""
        Send for this long: 90, 90s, 5m, 1h30m. With --message-count, whichever comes first; with neither, 60 s or
        until the last --stage ends.""")]
    concurrency: Annotated[_Number, _amount("--concurrency", metavar="N", type=WHOLE, help="""
        Sessions open at a time, over all workers. [default: 10 per core]""")]
    messages_per_session: Annotated[str, _amount("--messages-per-session", metavar="N|LIST", default="0", help="""
        Close a session after N messages and open another; 0 keeps it open; weighted numbers such as 1:5,20:1 give each
        session one of them. [default: 0]""")]
    workers: Annotated[_Number, _amount("--workers", metavar="N", type=WHOLE, help="""
        Processes to send from. [default: one per core, a core left for the embedded sink]""")]
    grace: Annotated[str, _amount("--grace", metavar="TIME", default="10s", help="""
        How long messages on their way may take to finish after the end of the run or Ctrl-C. [default: 10s]""")]

    rate: Annotated[_Text, _rate("--rate", "--throttle", "rate", metavar="RATE", help="""
        Start messages at this rate, whether or not the server keeps up: 100/s, 6000/m, 50/10s. Evenly from the first
        second, without a burst. Without it, each session sends as fast as it is answered.""")]
    arrivals: Annotated[str, _rate("--arrivals", default="constant",
        type=click.Choice(["constant", "poisson"]), help="""
        Evenly spaced, or at random as independent senders make them. [default: constant]""")]
    stage: Annotated[_Texts, _rate("--stage", multiple=True, metavar="TIME:RATE", help="""
        Go to this rate in a straight line within this time, starting from --rate or 0; repeat for more: --stage
        30s:200 --stage 1m:1000. A time of 0s jumps. The run ends with the last stage.""")]

    domain: Annotated[_Texts, _recipients("--domain", multiple=True, metavar="NAME[:WEIGHT]", help="""
        Recipient domain and its weight, such as gmail.com:67.4; repeat for more. Weights are relative. [default:
        aol.com gmail.com hotmail.com yahoo.com, equally]""")]
    domains_from: Annotated[_Texts, _recipients("--domains-from", multiple=True, metavar="FILE", type=FILE, help="""
        Read recipient domains from a file, one NAME[:WEIGHT] a line; # begins a comment.""")]
    domain_preset: Annotated[_Texts, _recipients("--domain-preset", multiple=True, metavar="NAME",
        type=Names(_domain_presets), help="""
        A published mix of domains, such as kumo-doc or mapp2019-us; --list-presets shows all with their sources. What
        the source calls "the rest" goes to 1000 synthetic domains.""")]
    long_tail: Annotated[_Text, _recipients("--long-tail", metavar="N:WEIGHT", help="""
        N synthetic domains that share WEIGHT by Zipf's law, such as 5000:10.2: the many small domains that fill a
        server's queues.""")]
    domain_suffix: Annotated[str, _recipients("--domain-suffix", metavar="DOMAIN", default="traffic-gen.test", help="""
        Append this to every recipient and sender domain, so that no mail can reach a real mailbox; '' for none.
        [default: traffic-gen.test, a name reserved for tests]""")]
    users: Annotated[str, _recipients("--users", metavar="N[,zipf[:S]][,tag]", default="100000", help="""
        Mailboxes per domain, user-000000 and on: all alike, or popular by Zipf's law with exponent S; tag makes every
        address new (user-000000+1@…) for the same mailboxes. [default: 100000]""")]
    recipients: Annotated[str, _recipients("--recipients", metavar="N|LIST|PRESET", type=Names(_recipient_presets),
        default="1", help="""
        Recipients per message: a number, weighted numbers such as 1:85,2:10,20:5, or the preset spec2001 or rcpt-cam.
        [default: 1]""")]
    to: Annotated[_Texts, _recipients("--to", multiple=True, metavar="ADDRESS[:WEIGHT]", help="""
        Write to this address in place of users and domains; repeat for more. It is used as it is, and needs
        --allow-real-domains unless its domain is reserved for tests, such as lab.test.""")]
    recipients_from: Annotated[_Text, _recipients("--recipients-from", metavar="FILE", type=FILE, help="""
        Write to the addresses in a CSV file with a header row: a column address, perhaps one called weight, and any
        others. All can stand in --header and --subject as {column}; a brace is written {{ or }} there.""")]
    from_address: Annotated[_Texts, _recipients("--from", "from_address", multiple=True, metavar="ADDRESS[:WEIGHT]",
        help="""
        Write from this address, used as it is, in place of --senders; repeat for more.""")]
    senders_from: Annotated[_Texts, _recipients("--senders-from", multiple=True, metavar="FILE", type=FILE, help="""
        The same for the addresses in a file, one ADDRESS[:WEIGHT] a line; # begins a comment.""")]
    smtputf8_share: Annotated[_Text, _recipients("--smtputf8-share", metavar="SHARE", help="""
        Write this share of messages, such as 20%, to users whose names are beyond ASCII, with SMTPUTF8. Domains such as
        bücher.test go as they are then, and as A-labels (xn--…) in all other messages. Addresses of --to, --from and
        --recipients-from that are beyond ASCII have SMTPUTF8 without this option.""")]
    senders: Annotated[_Number, _recipients("--senders", metavar="N", type=WHOLE, help="""
        Different sender addresses, spread over the recipient domains. [default: 1000, with --dkim-key 100]""")]

    body_size: Annotated[_Texts, _content("--body-size", multiple=True, metavar="SIZE[:WEIGHT]",
        type=Names(_size_presets), help="""
        Octets of body: 60kb (60,000), 10KiB (10,240), 100000; repeat with weights for a mix: 10kb:5 80kb:5. Or one
        curve: uniform:1kb-10kb, lognormal:8kb,0.7. Or one preset such as spec2001, whose sizes are those of whole
        messages with their headers. [default: 5kb]""")]
    body_file: Annotated[_Text, _content("--body-file", metavar="FILE", type=FILE, help="""
        Use this file as the body of every message, under generated headers; or, where it begins with a header block,
        as the whole message. Line ends become CRLF.""")]
    mbox: Annotated[_Text, _content("--mbox", metavar="FILE", type=FILE, help="""
        Send the messages of an mbox as they are, in their order, again from the start at its end. Any size: the file
        is mapped, not loaded. Also packed (gzip, bzip2, xz, zstd), a Maildir, a folder of .eml files, or - for a
        pipe.""")]
    mbox_recipe: Annotated[_Text, _content("--mbox-recipe", metavar="FILE", type=FILE, help="""
        Make the mbox where it is not there, on every host of a cluster: a recipe of mboxgen's, or a corpus's
        .manifest.json.""")]
    shuffle: Annotated[bool, _content("--shuffle", is_flag=True,
        help="Send the messages of --mbox in random order, another one each time round.")]
    subject: Annotated[_Texts, _content("--subject", multiple=True, metavar="TEXT[:WEIGHT]", type=TextPerLine(),
        help="""
        The subject; repeat for several, of which each message gets one by weight.""")]
    header: Annotated[_Texts, _content("--header", multiple=True, type=TextPerLine(), metavar="'NAME: VALUE'", help="""
        Add a header to every message; repeat for more. 'X-Tenant: {a:3|b:1}' gives each message one of the values, by
        weight. Replaces a generated header of the same name.""")]
    dkim_key: Annotated[_Texts, _content("--dkim-key", multiple=True, metavar="DOMAIN=SELECTOR:FILE",
        type=TextPerLine(), help="""
        Sign mail of senders at DOMAIN and below it (DKIM) with an RSA or Ed25519 key in PEM; repeat for more domains,
        and for more keys of one, which all sign. A pool is
        signed before the run begins, a message or more for each sender, and sent again and again: To, Message-ID and
        the trace header are each message's own and not signed. Needs the extra dkim.""")]

    pipelining: Annotated[str, _session("--pipelining", type=click.Choice(["auto", "off"]), default="auto", help="""
        Send commands in groups when the server offers it, or wait for every reply. [default: auto]""")]
    chunking: Annotated[int, _session("--chunking", type=WHOLE, metavar="N", default=0, help="""
        Where the server offers CHUNKING, send a message as one BDAT instead of DATA, and have N messages of a session
        on their way at once. A message's time then holds its wait behind the others. [default: 0, DATA]""")]
    ehlo_name: Annotated[_Texts, _session("--ehlo-name", multiple=True, metavar="NAME[=WEIGHT]", help="""
        What EHLO says; repeat for several, of which each session says one by weight. [default: the address that the
        session comes from, such as [127.0.0.1]]""")]
    think_time: Annotated[str, _session("--think-time", metavar="TIME", default="0", help="""
        How long a session rests between two messages. [default: 0]""")]
    rset_between: Annotated[bool, _session("--rset-between", is_flag=True,
        help="Send RSET between two messages of a session.")]
    idle_sessions: Annotated[int, _session("--idle-sessions", type=WHOLE, metavar="N", default=0, help="""
        Hold N more sessions open that carry no message, as mail programs and connection caches do. [default: 0]""")]
    noop_every: Annotated[str, _session("--noop-every", metavar="TIME", default="60s", help="""
        How often each of them says NOOP; 0 for never. [default: 60s]""")]
    leave_share: Annotated[_Texts, _session("--leave-share", multiple=True, metavar="[STEP:]SHARE", help="""
        This share of sessions greets and leaves with QUIT, without a message: 5%; or once connect, helo, mail or rcpt
        is answered: rcpt:5%. Repeat for more steps.""")]
    drop_share: Annotated[_Texts, _session("--drop-share", multiple=True, metavar="[STEP[:sent]:]SHARE", help="""
        This share of sessions greets, and then closes the connection without a word: 5%; or once connect, helo, mail,
        rcpt or data is answered, or, as data:sent:5%, sent; or in the middle of a message: body:1%. Repeat for more
        steps. No message is lost with them: others hand it over.""")]
    slow_senders: Annotated[_Text, _session("--slow-senders", metavar="SHARE:OCTETS", help="""
        This share of sessions sends no more than so many octets a second, as over a bad line: 5%:200. To loopback,
        private and link-local addresses only.""")]
    connect_timeout: Annotated[str, _session("--connect-timeout", metavar="TIME", default="30s", help="""
        How long TCP and TLS may take to come up. [default: 30s]""")]
    timeout: Annotated[str, _session("--timeout", metavar="TIME", default="60s", help="""
        How long any one reply may take; 0 for as long as RFC 5321 asks for at each step. [default: 60s]""")]

    declare_size: Annotated[bool, _extensions("--declare-size", is_flag=True,
        help="Declare the SIZE of each message with MAIL, where the server offers it.")]
    notify: Annotated[_Text, _extensions("--notify", metavar="LIST", help="""
        Ask for reports of every recipient (DSN): NEVER, or some of SUCCESS,FAILURE,DELAY. Each message has an ENVID,
        its run's id and its number.""")]
    ret: Annotated[_Text, _extensions("--ret", type=click.Choice(["FULL", "HDRS"], case_sensitive=False), help="""
        What such a report returns: the whole message or its headers.""")]
    orcpt: Annotated[bool, _extensions("--orcpt", is_flag=True, help="""
        Name each recipient once more with ORCPT, which such a report repeats: rfc822;user+2Btag@…, beyond ASCII
        utf-8;….""")]
    mt_priority: Annotated[_Number, _extensions("--mt-priority", type=WHOLE, metavar="N",
        help="Ask for this priority, -9 to 9 (RFC 6710).")]
    deliver_by: Annotated[_Text, _extensions("--deliver-by", metavar="TIME[:MODE]", help="""
        Ask for delivery within this time (RFC 2852), such as 2h:R: R returns a message that is late, N reports it; RT
        and NT have every server on the way report. [mode: N]""")]
    requiretls: Annotated[bool, _extensions("--requiretls", is_flag=True, help="""
        Ask for TLS on the whole way (RFC 8689). Needs --starttls or --tls.""")]
    binarymime: Annotated[bool, _extensions("--binarymime", is_flag=True, help="""
        Send bodies as BINARYMIME; the octets of --body-file then go as they are. Needs --chunking.""")]

    starttls: Annotated[bool, _protection("--starttls", is_flag=True, help="""
        Start TLS after EHLO. A server that does not offer it fails the session: never silently plain.""")]
    starttls_if_offered: Annotated[bool, _protection("--starttls-if-offered", is_flag=True,
        help="Start TLS after EHLO where the server offers it.")]
    tls: Annotated[bool, _protection("--tls", is_flag=True, help="Speak TLS from the first octet.")]
    tls_share: Annotated[_Text, _protection("--tls-share", metavar="SHARE", help="""
        Protect this share of the sessions, such as 60% or 0.6; the others are plain. [default: 100%]""")]
    tls_ca: Annotated[_Text, _protection("--tls-ca", metavar="FILE", type=FILE, help="""
        Trust the certificates in this PEM file, in place of the system's. Certificates are verified, except, without
        this option, those of servers at a loopback address.""")]
    insecure: Annotated[bool, _protection("--insecure", is_flag=True, help="Accept any certificate.")]
    tls_cert: Annotated[_Text, _protection("--tls-cert", metavar="FILE", type=FILE,
        help="Show this certificate (PEM) to a server that asks for one.")]
    tls_key: Annotated[_Text, _protection("--tls-key", metavar="FILE", type=FILE,
        help="Its key, if that is in another file; without a passphrase.")]
    sni: Annotated[_Text, _protection("--sni", metavar="NAME", help="""
        Ask for the certificate of this name, and verify it by this name. [default: the target's]""")]
    tls_min: Annotated[_Text, _protection("--tls-min", type=click.Choice(_TLS_VERSIONS), help="""
        Lowest version. 1.0 and 1.1 need --tls-ciphers ALL:@SECLEVEL=0 as well. [default: OpenSSL's own]""")]
    tls_max: Annotated[_Text, _protection("--tls-max", type=click.Choice(_TLS_VERSIONS),
        help="Highest version. [default: OpenSSL's own]")]
    tls_ciphers: Annotated[_Text, _protection("--tls-ciphers", metavar="LIST", help="""
        Ciphers as OpenSSL writes them, such as ECDHE+AESGCM, for versions up to 1.2; those of 1.3 are OpenSSL's.""")]
    tls_resume: Annotated[bool, _protection("--tls-resume", is_flag=True, help="""
        Resume an earlier session of the same worker where the server lets us: without a full handshake.""")]
    auth_user: Annotated[_Text, _protection("--auth-user", metavar="NAME", help="""
        Log in to every session as this user. Needs --starttls or --tls, but for servers at a loopback address.""")]
    auth_password_file: Annotated[_Text, _protection("--auth-password-file", metavar="FILE", type=FILE, help="""
        File whose first line is the password; a password itself is never typed here.""")]
    auth_users: Annotated[_Text, _protection("--auth-users", metavar="FILE.csv", type=FILE, help="""
        Log in to each session as one of these, drawn by weight: rows of user,password or user,password,weight under a
        row of these names.""")]
    auth_mechanism: Annotated[_Text, _protection("--auth-mechanism", type=click.Choice(_MECHANISMS,
        case_sensitive=False), help="""
        How; with XOAUTH2 the password is an access token. [default: the first offered, in this order, without
        XOAUTH2]""")]

    source_ip: Annotated[_Texts, _client("--source-ip", multiple=True, metavar="RANGE[=WEIGHT]", help="""
        Connect from these addresses of this machine: 10.0.0.5, 10.0.0.0/28 or 10.0.0.5-10.0.0.9. Repeat for more; each
        session takes the next one, or with different weights one by weight.""")]
    proxy_protocol: Annotated[_Text, _client("--proxy-protocol", type=click.Choice(["v1", "v2"]), help="""
        Begin each connection with a PROXY header, as a load balancer before the server does; needs --proxy-from.""")]
    proxy_from: Annotated[_Texts, _client("--proxy-from", multiple=True, metavar="RANGE[=WEIGHT]", help="""
        Client addresses that PROXY headers name, one for each session; repeat for more.""")]
    xclient_from: Annotated[_Texts, _client("--xclient-from", multiple=True, metavar="RANGE[,NAME][=WEIGHT]", help="""
        Say with Postfix's XCLIENT that the client has one of these addresses, and the host name NAME, in which * is the
        address: 192.0.2.0/24,*.dyn.test=3. A server that does not offer it fails the session.""")]
    xclient: Annotated[_Texts, _client("--xclient", multiple=True, metavar="NAME=VALUE[=WEIGHT]", help="""
        Say this with XCLIENT as well, such as LOGIN=joe=3: NAME, REVERSE_NAME, PORT, PROTO, HELO, LOGIN, DESTADDR or
        DESTPORT. Repeat for more, and for several values of one, of which each session says one by weight. A server
        that does not offer it fails the session.""")]
    xforward_from: Annotated[_Texts, _client("--xforward-from", multiple=True, metavar="RANGE[,NAME][=WEIGHT]", help="""
        The same as --xclient-from with XFORWARD, as a content filter does; needs --messages-per-session 1.""")]
    xforward: Annotated[_Texts, _client("--xforward", multiple=True, metavar="NAME=VALUE[=WEIGHT]", help="""
        The same as --xclient with XFORWARD: NAME, PORT, PROTO, HELO, IDENT or SOURCE.""")]

    http_batch_size: Annotated[_Number, _injection("--http-batch-size", metavar="N", type=WHOLE, help="""
        Recipients of a request, all different; the server makes a message for each. In place of --recipients.
        [default: 1]""")]
    http_defer_spool: Annotated[bool, _injection("--http-defer-spool", is_flag=True, help="""
        Have the server write a message down only when its first delivery fails for now.""")]
    http_defer_generation: Annotated[bool, _injection("--http-defer-generation", is_flag=True, help="""
        Have the server answer before it makes messages of a request.""")]
    http_authorization_file: Annotated[_Text, _injection("--http-authorization-file", metavar="FILE", type=FILE,
        help="""
        File whose first line is the value of every request's Authorization header, such as 'Bearer …'; it goes to
        loopback addresses only.""")]

    keep_going: Annotated[bool, _run("--keep-going", is_flag=True, help="""
        Count errors and carry on, reconnecting with growing pauses, and end with 0 unless nothing at all was accepted
        and no --threshold says what is wanted. Without it the first error ends the run in good order.""")]
    retry: Annotated[_Text, _run("--retry", metavar="4xx:N:TIME", help="""
        Send a message that is refused for now again, up to N times, so long after each try, as a small MTA does:
        4xx:3:5s; any in place of 4xx: one that failed or is in doubt as well. Needs --keep-going.""")]
    seed: Annotated[_Number, _run("--seed", metavar="N", type=WHOLE, help="""
        The same seed sends the same messages, whatever the number of workers. [default: chosen and shown]""")]
    run_id: Annotated[_Text, _run("--run-id", metavar="HEX",
        help="16 hexadecimal digits that mark this run's messages. [default: random]")]
    start_at: Annotated[_Text, _run("--start-at", metavar="TIME", help="""
        Begin at this time, such as 2026-12-01T10:00:00Z. [default: at once]""")]
    shard: Annotated[_Text, _run("--shard", metavar="I/N", help="""
        Be part I of N that are started on as many machines with the same options: it sends its share of messages,
        rate and sessions, and no other. Needs --start-at, --seed, --run-id and --concurrency; traffic-gen merge makes
        one run of the results.""")]
    cluster: Annotated[_Text, _run("--cluster", metavar="WHERE", help="""
        Send from several hosts as one: local:4, tcp://SCHEDULER:8786 of Dask, or ssh:FILE with a host a line; needs
        the extra "cluster" there and here.""")]
    cluster_hosts: Annotated[_Number, _run("--cluster-hosts", metavar="N", type=WholeNumber(2, 10_000), help="""
        Wait for so many of its workers, and use no more. [default: all that are there]""")]
    clock_error: Annotated[str, _run("--clock-error", metavar="TIME", default="50ms", show_default=True, help="""
        The most by which the clock of a host of the cluster may be uncertain.""")]
    no_ledger: Annotated[bool, _run("--no-ledger", is_flag=True,
        help="Let the embedded sink count only, without proof of every message: faster.")]
    manifest: Annotated[_Text, _run("--manifest", metavar="FILE", type=FILE, help="""
        Write down what was sent, message by message, to hold a sink's ledger or mailboxes against: see
        traffic-gen verify.""")]
    wait_for_delivery: Annotated[_Text, _run("--wait-for-delivery", metavar="TIME", help="""
        After the last message, wait so long for all of them to come out at a sink of ours behind the server under
        test, and prove it: needs --sink-api.""")]
    sink_api: Annotated[_Texts, _run("--sink-api", metavar="[HOST:]PORT", multiple=True, help="""
        Where that sink has its --api; a local or private address, as for --target. Repeat it where mail comes out at
        several.""")]
    json: Annotated[_Text, _run("--json", metavar="FILE", type=FILE, help="""
        Write the results as JSON; - for standard output, the summary then goes to standard error.""")]
    trace: Annotated[int, _run("--trace", metavar="N", type=WHOLE, default=0, help="""
        Show on standard error what the first N sessions say, as swaks does, with the seconds since each began;
        passwords are masked. [default: 0]""")]
    quiet: Annotated[bool, _run("--quiet", is_flag=True,
        help="No live line and no notices; only the summary, and errors.")]
    dry_run: Annotated[bool, _run("--dry-run", is_flag=True,
        help="Show the plan and the first two messages; connect to nothing.")]
    # fmt: on

    threshold: _Texts
    warm_up: _Text
    abort_on_fail: _Text
    junit: _Text
    html: _Text
    live_port: _Number
    metrics_port: _Number
    before: _Text
    after: _Text
    observe: _Text
    observe_queue: _Text
    observe_cgroup: _Text
    observe_metrics: _Texts
    observe_doveadm: _Text
    observe_drain: _Text


send_options: Final = options_of(SendOptions)
"""Adds every option of `send` to a click command, but those of every run that is judged."""

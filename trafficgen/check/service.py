"""What is checked: the services of a mail server, and what the operator says of it.

Gives     `ServiceKind` with its standard port; `CheckedServer`: addresses and ports, accounts, names; `Probe`: what a
          walk gets
"""

import ssl
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Final, Self

from mboxgen.enums import table_of
from trafficgen.check.conversation import ConnectionEnded, NotOffered, SmtpReply, TextConnection
from trafficgen.guard import Route
from trafficgen.plan import Target, TcpTarget
from trafficgen.verdict.findings import TlsScan


class ServiceKind(Enum):
    """RFC 5321, 6409, 8314, 1939, 9051."""

    SMTP = "smtp"
    SUBMISSION = "submission"
    SMTPS = "smtps"
    POP3 = "pop3"
    POP3S = "pop3s"
    IMAP = "imap"
    IMAPS = "imaps"


STANDARD_PORTS: Final = table_of(
    ServiceKind,
    {
        ServiceKind.SMTP: 25,
        ServiceKind.SUBMISSION: 587,
        ServiceKind.SMTPS: 465,
        ServiceKind.POP3: 110,
        ServiceKind.POP3S: 995,
        ServiceKind.IMAP: 143,
        ServiceKind.IMAPS: 993,
    },
)
SMTP_KINDS: Final = (ServiceKind.SMTP, ServiceKind.SUBMISSION, ServiceKind.SMTPS)
POP3_KINDS: Final = (ServiceKind.POP3, ServiceKind.POP3S)
IMAP_KINDS: Final = (ServiceKind.IMAP, ServiceKind.IMAPS)
IMPLICIT_TLS: Final = (ServiceKind.SMTPS, ServiceKind.POP3S, ServiceKind.IMAPS)


@dataclass(frozen=True, slots=True)
class CheckLogin:
    """One account. The password is in no `repr`."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DomainNames:
    """What the DNS is asked for: domains whose mail the server takes, and selectors of their DKIM keys."""

    domains: tuple[str, ...]
    selectors: tuple[str, ...] = ()
    resolver: TcpTarget | None = None
    """None: the system's."""
    allow_public: bool = False
    """Whether the policy of MTA-STS may be fetched from a public address."""


@dataclass(frozen=True, slots=True)
class CheckedServer:
    """The server under test. `name`: what its certificate must be for; `foreign`: a domain that it must not serve;
    `mailbox`: an address that it delivers to, None where none was given."""

    route: Route
    ports: dict[ServiceKind, int]
    name: str
    ehlo_name: str = "check.traffic-gen.test"
    foreign: str = "outside.traffic-gen.test"
    mailbox: str | None = None
    login: CheckLogin | None = None
    authorities: str | None = None
    """A file of certificates to trust in place of the system's."""
    timeout_s: float = 10.0
    patience_s: float = 10.0
    """How long mail may take to come out."""
    pretend: str | None = None
    """An address to come from, by XCLIENT."""
    proxied: str | None = None
    """An address to come from, by the PROXY protocol, version 1."""
    expected_ports: tuple[int, ...] = ()
    pause_s: float = 0.0
    """Before each connection, for servers that slow down whoever comes often."""
    log: Path | None = None
    """The server's own log, where it can be read here."""
    dns: DomainNames | None = None
    scans: tuple[TlsScan, ...] = ()
    """Reports of deep scans of TLS."""
    scan: bool = False
    """Make one of each service that no report is of."""

    def address(self, service: ServiceKind) -> Target:
        """Where a service listens. What has no port, as a UNIX socket, is itself."""
        first = self.route.addresses[0]
        return TcpTarget(first.host, self.ports[service]) if isinstance(first, TcpTarget) else first

    def verifying(self) -> ssl.SSLContext:
        """TLS with the certificate verified."""
        context = ssl.create_default_context(cafile=self.authorities)
        # Python 3.13 and later also ask what servers and mail programs do not: key usage of authorities and the like.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


def anything_goes() -> ssl.SSLContext:
    """TLS as permissive as this machine's OpenSSL can: what the server accepts is the question."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@dataclass
class Probe:
    """What a walk gets: the server, one of its services, and a transcript that goes on over its sessions."""

    server: CheckedServer
    service: ServiceKind
    transcript: list[str] = field(default_factory=list)
    seen_from: str = ""

    def at(self, service: ServiceKind) -> Self:
        """The same for another service, with the same transcript."""
        return replace(self, service=service)

    @property
    def at_home(self) -> bool:
        """Whether the server sees us at an address of its own."""
        address = self.server.route.addresses[0]
        return not isinstance(address, TcpTarget) or self.seen_from == address.host

    def connect(self) -> TextConnection:
        """A connection on which nothing has been read yet, as PROXY wishes (haproxy's proxy-protocol.txt, 2.1)."""
        address = self.server.address(self.service)
        time.sleep(self.server.pause_s)
        talk = TextConnection(address, self.server.timeout_s, self.transcript)
        if self.server.proxied is not None:
            family = "TCP6" if ":" in self.server.proxied else "TCP4"
            destination = address.host if isinstance(address, TcpTarget) else self.server.proxied
            talk.say(f"PROXY {family} {self.server.proxied} {destination} 40000 {self.server.ports[self.service]}")
        self.seen_from = talk.seen_from
        return talk

    def secured(self) -> TextConnection:
        """`connect`, and TLS at once where the service has it so."""
        talk = self.connect()
        if self.service in IMPLICIT_TLS:
            talk.start_tls(anything_goes(), self.server.name)
        return talk

    def greeted(self) -> TextConnection:
        """`secured`, and greeted with 220. A refusal proves something behind this, or beside a session like it."""
        with ExitStack() as undo:
            talk = undo.enter_context(self.secured())
            greeting = talk.reply()
            if greeting.code != 220:
                raise ConnectionEnded(f"greeted with {greeting.text}")
            undo.pop_all()
        return talk

    def smtp(self) -> tuple[TextConnection, SmtpReply]:
        """A session of SMTP that was greeted and has said EHLO; what EHLO was answered."""
        talk = self.greeted()
        return talk, self.ehlo(talk)

    def ehlo(self, talk: TextConnection) -> SmtpReply:
        """Say EHLO, and become a stranger where that is wished."""
        offered = talk.command(f"EHLO {self.server.ehlo_name}")
        if self.server.pretend is not None and talk.tls is None:
            told = talk.command(f"XCLIENT ADDR={self.server.pretend} NAME=[UNAVAILABLE]")
            if told.code != 220:
                raise ConnectionEnded(f"XCLIENT was answered {told.text}")
            offered = talk.command(f"EHLO {self.server.ehlo_name}")
        return offered

    def protected_smtp(self) -> tuple[TextConnection, SmtpReply]:
        """`smtp`, inside TLS. NotOffered when STARTTLS is refused."""
        talk, offered = self.smtp()
        if talk.tls is None:
            answer = talk.command("STARTTLS")
            if answer.code != 220:
                raise NotOffered(f"STARTTLS was answered {answer.text}")
            talk.start_tls(anything_goes(), self.server.name)
            offered = talk.command(f"EHLO {self.server.ehlo_name}")
        return talk, offered


def from_address(server: CheckedServer) -> str:
    """A sender outside of the server's domains."""
    return f"check@{server.foreign}"


def vantage(server: CheckedServer, seen_from: Sequence[str]) -> str:
    """From where the server was looked at, in one sentence."""
    if server.proxied is not None:
        return f"as {server.proxied}, by the PROXY protocol"
    if server.pretend is not None:
        return f"as {server.pretend}, by XCLIENT, where the service is SMTP"
    places = ", ".join(sorted(set(filter(None, seen_from))))
    if not places:
        return "without a connection of our own"
    return f"from {places}, which the server may trust more than strangers (--proxy-as, --xclient-as)"

"""How a session talks.

Gives     a frozen `SessionPlan`: messages a session, pipelining, chunks, protection, login, extensions, time limits
Refuses   choices that exclude each other, with PlanError
Not here  the conversation (protocol.smtp), how many sessions there are (run)
"""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from trafficgen.clock import NS_PER_S
from trafficgen.plan.extensions import ExtensionPlan
from trafficgen.plan.identity import ClientPlan, check_ehlo_name
from trafficgen.plan.login import Auth, AuthUsers
from trafficgen.plan.refusals import MAX_MESSAGES, check_duration, check_types, shown_number, wrong
from trafficgen.plan.shape import ShapePlan
from trafficgen.plan.tls import Security, TlsOptions

MAX_CHUNKS: Final = 64


class Pipelining(Enum):
    """Whether commands may be sent in groups (RFC 2920): when the server offers it, or never."""

    AUTO = "auto"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Injection:
    """How a session injects by HTTP, in KumoMTA's words (https://docs.kumomta.com/reference/http/api_inject_v1/).

    `defer_spool`: the server does not write a message down before its first delivery fails for now. `defer_generation`:
    it answers before it makes messages of a request. `authorization_file`: its first line is the value of every
    request's Authorization header; it is read when a run begins and is shown nowhere.
    """

    defer_spool: bool = False
    defer_generation: bool = False
    authorization_file: Path | None = None

    def __post_init__(self) -> None:
        check_types(self)


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """How one session talks.

    `ehlo_name` is what EHLO says; "" is the literal of the address that a session comes from, which needs no DNS (RFC
    5321 section 4.1.3), and over a UNIX socket [127.0.0.1].
    `max_messages` 0 = as many as the run has. `chunks` 0 = DATA, one message at a time; N = where the server offers
    CHUNKING and PIPELINING (RFC 3030, RFC 2920), BDAT, and N messages of a session on their way at once. Time limits
    are for one wait each: `connect` for TCP and TLS, `reply` for the answer to any command or to the end of data;
    0 = as long as RFC 5321 section 4.5.3.2 asks for at each step, 2 to 10 minutes.
    """

    ehlo_name: str = ""
    max_messages: int = 0
    pipelining: Pipelining = Pipelining.AUTO
    chunks: int = 0
    security: Security = Security.PLAIN
    verify_certificate: bool = True
    tls: TlsOptions = TlsOptions()  # noqa: RUF009  (frozen)
    auth: Auth | AuthUsers | None = None
    injection: Injection = Injection()
    client: ClientPlan = ClientPlan()  # noqa: RUF009  (frozen)
    shape: ShapePlan = ShapePlan()  # noqa: RUF009  (frozen)
    extensions: ExtensionPlan = ExtensionPlan()  # noqa: RUF009  (frozen)
    connect_timeout_ns: int = 30 * NS_PER_S
    reply_timeout_ns: int = 60 * NS_PER_S

    def __post_init__(self) -> None:
        check_types(self)
        if self.ehlo_name:
            check_ehlo_name(self.ehlo_name)
        if not 0 <= self.max_messages <= MAX_MESSAGES:
            text = f"expected 0 (no limit) to 10^12 messages a session, got {shown_number(self.max_messages)}"
            raise wrong("max_messages", text, "--messages-per-session")
        if not 0 <= self.chunks <= MAX_CHUNKS:
            text = f"expected 0 (DATA) to {MAX_CHUNKS} messages on their way at once, got {shown_number(self.chunks)}"
            raise wrong("chunks", text, "--chunking")
        check_duration(self.connect_timeout_ns, "connect_timeout_ns", "a time limit", "--connect-timeout")
        check_duration(self.reply_timeout_ns, "reply_timeout_ns", "a time limit", "--timeout", least_ns=0)
        if self.tls != TlsOptions() and self.security is Security.PLAIN:
            raise wrong("tls", "expected a session that is protected: add --starttls or --tls", "--tls")
        self._check_client()
        self._check_extensions()

    def _check_client(self) -> None:
        if self.client.announced and (self.security is not Security.PLAIN or self.auth):
            text = "expected plain sessions without a login: after XCLIENT a server begins anew, with a greeting"
            raise wrong("client", text, self.client.announced)
        if any(one.early for one in self.shape.leaving) and (self.security is not Security.PLAIN or self.auth):
            text = "expected plain sessions without a login where some go before EHLO is answered"
            raise wrong("shape", text, "--drop-share")
        if self.shape.messages and self.max_messages:
            raise wrong("max_messages", "expected a number or a distribution of messages", "--messages-per-session")
        if (self.client.xforward_from or self.client.xforward) and self.max_messages != 1:
            text = "XFORWARD is about one message: add --messages-per-session 1"
            raise wrong("client", text, "--xforward-from" if self.client.xforward_from else "--xforward")

    def _check_extensions(self) -> None:
        if self.extensions.binary and not (self.chunks and self.pipelining is Pipelining.AUTO):
            raise wrong("binary", "BINARYMIME goes in chunks: add --chunking 1 or more", "--binarymime")
        if self.extensions.require_tls and not self.surely_protected:
            text = "REQUIRETLS is offered in protected sessions only (RFC 8689): add --starttls or --tls"
            raise wrong("require_tls", text, "--requiretls")

    @property
    def surely_protected(self) -> bool:
        """Whether no session goes on in the clear, whatever the server offers."""
        return self.security in (Security.STARTTLS, Security.TLS) and self.tls.share == 1

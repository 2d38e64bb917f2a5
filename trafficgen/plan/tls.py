"""How sessions are protected, and what a client shows and accepts in the handshake.

Gives     `Security` and a frozen `TlsOptions`
Refuses   an order of versions or a share that makes no sense, with PlanError
Not here  the context made from it, and certificates read from files (engine)
"""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from trafficgen.plan.refusals import check_types, shown, shown_number, wrong


class Security(Enum):
    """How a session is protected. With STARTTLS never silently plain: a server that lacks it fails the session."""

    PLAIN = "plain"
    STARTTLS = "starttls"
    STARTTLS_IF_OFFERED = "starttls_if_offered"
    """Plain where the server does not offer it; how many sessions were protected is in the results."""
    TLS = "tls"


class TlsVersion(Enum):
    """Versions of the protocol, lowest first."""

    TLS_1_0 = "1.0"
    TLS_1_1 = "1.1"
    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """The client's side of the handshake.

    `share`: of all sessions, 0 (exclusive) to 1; the others are plain. `authority`: PEM file of those whose
    certificates are trusted, None for the system's. `certificate` and `key`: PEM files of the client's own.
    `server_name` is sent (SNI, RFC 6066 section 3) and must stand in the certificate; "" for the target's. `least` and
    `most`: versions, None for OpenSSL's own limits. `ciphers`: an OpenSSL cipher list, of versions up to 1.2.
    `resume`: offer the session ticket of an earlier session of the same worker.
    """

    share: float = 1.0
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""
    least: TlsVersion | None = None
    most: TlsVersion | None = None
    ciphers: str = ""
    resume: bool = False

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 < self.share <= 1:
            text = f"expected a share of sessions above 0 and up to 1, got {shown_number(self.share)}"
            raise wrong("share", text, "--tls-share")
        if self.key is not None and self.certificate is None:
            raise wrong("key", "expected the certificate that the key belongs to: add --tls-cert", "--tls-key")
        if self.server_name and not (self.server_name.isascii() and self.server_name.isprintable()):
            raise wrong("server_name", f'expected a host name, got "{shown(self.server_name)}"', "--sni")
        if self.server_name.endswith("."):
            text = (
                f'expected a host name without a dot at its end (RFC 6066 section 3), got "{shown(self.server_name)}"'
            )
            raise wrong("server_name", text, "--sni")
        if self.least and self.most and self.least.value > self.most.value:
            text = f"expected a lowest version up to the highest, got {self.least.value} and {self.most.value}"
            raise wrong("least", text, "--tls-min")

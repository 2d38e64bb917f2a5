"""Where mail goes: targets, and names that can stand behind an @.

Gives     `parse_target`, `parse_listen`; what is a domain name; which names belong to nobody
Refuses   by its shape, before anybody asks a resolver, what is no address of a server: a URL, a path, a mailbox
Not here  looking names up (guard)
"""

import ipaddress
import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from trafficgen.errors import PlanError
from trafficgen.plan.refusals import check_types, check_weight, shown, wrong

RESERVED_SUFFIXES: Final = (
    "test", "example", "invalid", "localhost", "example.com", "example.net", "example.org",
)  # fmt: skip
"""Names that can never be somebody's mail domain (RFC 2606 sections 2 and 3, RFC 6761)."""

LOOPBACK: Final = "127.0.0.1"
"""Where a sink listens when only a port is given."""

_FORM: Final = "HOST[:PORT], [IPv6]:PORT or unix:/path"
_LMTP_FORM: Final = "LMTP is written lmtp://HOST[:PORT] or lmtp:unix:/path"
_HTTP_FORM: Final = "injection is written http://HOST[:PORT]/api/inject/v1 or https://…"
_WITHOUT: Final = "write it without"
_NOT_YET: Final = "is not there yet: mail goes by SMTP"
_SCHEMES: Final = {
    "inet": _WITHOUT, "tcp": _WITHOUT, "smtp": _WITHOUT, "esmtp": _WITHOUT, "dns": _WITHOUT, "mx": _WITHOUT,
    "smtps": f"add --tls and {_WITHOUT}", "ssl": f"add --tls and {_WITHOUT}", "tls": f"add --tls and {_WITHOUT}",
    "submission": f"the port is 587, {_WITHOUT}", "submissions": f"the port is 465, add --tls and {_WITHOUT}",
    "lmtp": _LMTP_FORM, "lmtps": f"add --tls; {_LMTP_FORM}",
    "http": _HTTP_FORM, "https": _HTTP_FORM,
    "imap": f"IMAP {_NOT_YET}", "imaps": f"IMAP {_NOT_YET}", "pop3": f"POP3 {_NOT_YET}", "pop3s": f"POP3 {_NOT_YET}",
}  # fmt: skip
"""What stands before a colon in other tools' addresses, and what to do about it."""

A_DOMAIN: Final = "a domain name"
"""What is expected where `domain_wanted` knows no reason."""

_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


def is_domain(name: str) -> bool:
    """Whether `name` can stand after the @ on the wire: letters, digits, hyphens, dots (RFC 5321 4.1.2)."""
    return 0 < len(name) <= 255 and all(_LABEL.fullmatch(label) for label in name.split("."))


def domain_wanted(name: str) -> str:
    """What is expected in place of `name`, which is no domain: with the reason, where it is easily overlooked."""
    if name.endswith(".") and is_domain(name[:-1]):
        return "a domain name without a dot at its end"
    if name.startswith(".") and is_domain(name[1:]):
        return "a domain name without a dot at its beginning"
    if max(map(len, name.split("."))) > 63:
        return "a domain name whose labels have at most 63 octets (RFC 1035 section 2.3.4)"
    return "a domain name of at most 255 octets" if len(name) > 255 else A_DOMAIN


def port_hint(host: str, port_read: int) -> str:
    """What may be meant by an IPv6 address without a port of its own, whose last group could be one; otherwise ""."""
    address, _, port = host.rpartition(":")
    if port_read != SMTP_PORT or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        return ""
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return ""
    return f"; did you mean [{address}]:{port}?"


def is_reserved(domain: str) -> bool:
    """Whether `domain` lies under a name reserved for tests and documentation, so that no person has mail there."""
    lowered = domain.lower()
    return any(lowered == name or lowered.endswith("." + name) for name in RESERVED_SUFFIXES)


def may_be_a_registry(domain: str) -> bool:
    """Whether people may have domains of their own right under `domain`, as under com and co.uk.

    By its shape, and rather too often than too seldom: the list of all such names (publicsuffix.org) changes weekly,
    and what looks like one only costs a word (docs/reference/workload.md).
    """
    first, *rest = domain.lower().split(".")
    country = len(rest) == 1 and len(rest[0]) == 2 and len(first) <= 3
    return not is_reserved(domain) and (not rest or country)


class Dialect(Enum):
    """What is spoken at a target."""

    SMTP = "smtp"
    LMTP = "lmtp"
    """RFC 2033: into the mail store, a reply for each recipient."""
    HTTP = "http"
    """KumoMTA's injection: a request with a message and its recipients."""
    HTTPS = "https"
    """The same over TLS."""

    @property
    def injects(self) -> bool:
        """Whether mail goes in requests of HTTP."""
        return self in (Dialect.HTTP, Dialect.HTTPS)


SMTP_PORT: Final = 25
LMTP_PORT: Final = 24
"""IANA's "any private mail system", where stores are configured to listen. RFC 2033 section 5 forbids port 25."""

HTTP_PORT: Final = 80
HTTPS_PORT: Final = 443
"""Of a URL without one (RFC 9110 sections 4.2.1 and 4.2.2); KumoMTA listens on 8000."""

_PATH: Final = re.compile(r"/[!-~]+")


@dataclass(frozen=True, slots=True)
class TcpTarget:
    """A host name or address literal, and a port; where HTTP is spoken, also a path."""

    host: str
    port: int = SMTP_PORT
    dialect: Dialect = Dialect.SMTP
    path: str = ""

    def __post_init__(self) -> None:
        check_types(self)
        if self.dialect.injects and not self.host.isascii():
            raise wrong("target", f'expected a host in ASCII for HTTP, got "{shown(self.host)}"', "--target")
        if self.dialect.injects is not bool(_PATH.fullmatch(self.path)):
            raise wrong("target", f'expected a path where HTTP is spoken, got "{shown(self.path)}"', "--target")
        if not 0 <= self.port < 65536:
            raise wrong("port", f"expected a port from 0 to 65535, got {self.port}", "--target")
        if self.dialect is Dialect.LMTP and self.port == SMTP_PORT:
            text = f"expected another port than {SMTP_PORT} for LMTP (RFC 2033 section 5), such as {LMTP_PORT}"
            raise wrong("port", text, "--target")

    @property
    def authority(self) -> str:
        """HOST:PORT, an IPv6 address in brackets (RFC 3986 section 3.2)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        address = self.authority
        return address if self.dialect is Dialect.SMTP else f"{self.dialect.value}://{address}{self.path}"


@dataclass(frozen=True, slots=True)
class UnixTarget:
    """A UNIX domain socket."""

    path: str
    dialect: Dialect = Dialect.SMTP

    def __post_init__(self) -> None:
        check_types(self)
        if self.dialect.injects:
            raise wrong("target", f"expected a host: {_HTTP_FORM}", "--target")

    def __str__(self) -> str:
        return f"lmtp:unix:{self.path}" if self.dialect is Dialect.LMTP else f"unix:{self.path}"


Target = TcpTarget | UnixTarget


@dataclass(frozen=True, slots=True)
class WeightedTarget:
    """One of several targets, and how many of the sessions go there. Weights are relative."""

    target: Target
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_types(self)
        check_weight(self.weight, f'the weight of "{self.target}"', "--target")

    def __str__(self) -> str:
        return f"{self.target}={self.weight:g}"


def parse_target(text: str, field: str = "target", flag: str = "--target") -> Target:
    """ "HOST", "HOST:PORT", "[IPv6]", "[IPv6]:PORT", a bare IPv6 address, or "unix:/path"; port 25 if none is given.

    The same behind "lmtp://", or "lmtp:unix:/path", for LMTP; port 24 if none is given. Behind "http://" and with a
    path, for injection; port 80 if none is given. Behind "https://" the same over TLS, port 443.
    PlanError, which names `field` and `flag`, for anything else. No name is looked up.
    """
    if isinstance(text, str) and text.startswith("lmtp:unix:"):
        return replace(_parse(text.removeprefix("lmtp:"), field, flag, least_port=1), dialect=Dialect.LMTP)
    if isinstance(text, str) and text.startswith("lmtp://") and not text.startswith("lmtp://unix:"):
        found = _parse(text.removeprefix("lmtp://"), field, flag, least_port=1, port=LMTP_PORT)
        return replace(found, dialect=Dialect.LMTP)
    if isinstance(text, str) and text.startswith(("http://", "https://")):
        scheme, _, rest = text.partition("://")
        place, slash, path = rest.partition("/")
        if not place or place.startswith("unix:") or "@" in place or not _PATH.fullmatch(slash + path) or "#" in path:
            raise wrong(field, f'expected {_FORM}; {_HTTP_FORM}, got "{shown(text)}"', flag)
        dialect = Dialect(scheme)
        found = _parse(place, field, flag, least_port=1, port=HTTP_PORT if dialect is Dialect.HTTP else HTTPS_PORT)
        return replace(found, dialect=dialect, path=slash + path)
    return _parse(text, field, flag, least_port=1)


def parse_listen(text: str, field: str = "listen", flag: str = "[HOST:]PORT") -> Target:
    """A target; a bare number is a port on the loopback address, and 0 takes a free one."""
    return _parse(_on_loopback(text), field, flag, least_port=0)


def parse_service(text: str, field: str, flag: str) -> Target:
    """A target that may be on this machine: a bare number is a port on the loopback address."""
    return _parse(_on_loopback(text), field, flag, least_port=1)


def _on_loopback(text: str) -> str:
    return f"{LOOPBACK}:{text}" if isinstance(text, str) and text.isascii() and text.isdigit() else text


def _parse(text: str, field: str, flag: str, least_port: int, port: int = SMTP_PORT) -> Target:
    def refused(why: str = f"expected {_FORM}") -> PlanError:
        return wrong(field, f'{why}, got "{shown(str(text))}"', flag)

    if not isinstance(text, str):
        raise refused(f"expected {_FORM} as text")
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path or "\0" in path or path.startswith("//"):
            raise refused('expected a path after "unix:", such as unix:/run/smtp.sock')
        return UnixTarget(path)
    if why := _of_another_kind(text):
        raise refused(why)
    host, port_text = _divided(text)
    if port_text is None or not _is_host(host):
        raise refused()
    if not port_text:
        return TcpTarget(host, port)
    if not (
        port_text.isascii() and port_text.isdigit() and len(port_text) < 6 and least_port <= int(port_text) < 65536
    ):
        raise refused(f'expected a port from {least_port} to 65535 instead of "{shown(port_text)}"')
    return TcpTarget(host, int(port_text))


def _divided(text: str) -> tuple[str, str | None]:
    """Host and port as text: "" where none is given, None where something else stands in its place."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        return host, rest[1:] or None if rest.startswith(":") else None if rest or not bracket else ""
    if text.count(":") > 1:
        return text, ""
    host, colon, port_text = text.partition(":")
    return host, port_text or None if colon else ""


def _is_host(host: str) -> bool:
    """Whether `host` is an address literal or could be a name that a resolver knows, also one in other letters."""
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            return False
        return host.isprintable() and not any(c.isspace() for c in host)
    if re.fullmatch(r"[\d.]+", host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return False
        return True
    labels = host.removesuffix(".").split(".")
    return len(host) < 256 and all(re.fullmatch(r"(?!-)[\w-]{1,63}(?<!-)", label) for label in labels)


def _of_another_kind(text: str) -> str | None:
    """What is meant, and what to write, where the shape of `text` shows that it is no address of a server."""
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if colon and scheme == "unix":
        return 'expected "unix:" in small letters'
    # "smtp:25" may be a host that is called so.
    if colon and scheme in _SCHEMES and (scheme == "inet" or not rest.isdigit()):
        advice = _SCHEMES[scheme]
        return f"expected {_FORM}; {advice}" + (f' "{scheme}:"' if advice.endswith(_WITHOUT) else "")
    if "://" in text:
        return f"expected {_FORM}, not a URL"
    if "/" in text or text.startswith(("~", ".")):
        return f"expected {_FORM}; a UNIX socket is written unix:/path"
    if "@" in text:
        return f"expected {_FORM}, which is a server and not a mailbox; recipients are set by --domain and --users"
    if "," in text:
        return f"expected one server, {_FORM}"
    if text.isascii() and text.isdigit():
        return f"expected a host before the port, such as {LOOPBACK}:{text[:5]}"
    return None

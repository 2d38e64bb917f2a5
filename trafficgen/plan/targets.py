"""Where mail goes: targets, and names that can stand behind an @.

Gives     `parse_target`; what is a domain name; which names belong to nobody
Not here  looking names up (engine.address)
"""

import re
from dataclasses import dataclass
from typing import Final

from trafficgen.plan.refusals import wrong

RESERVED_SUFFIXES: Final = (
    "test", "example", "invalid", "localhost", "example.com", "example.net", "example.org",
)  # fmt: skip
"""Names that can never be somebody's mail domain (RFC 2606 sections 2 and 3, RFC 6761)."""

_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


def is_domain(name: str) -> bool:
    """Whether `name` can stand after the @ on the wire: letters, digits, hyphens, dots (RFC 5321 4.1.2)."""
    return 0 < len(name) <= 255 and all(_LABEL.fullmatch(label) for label in name.split("."))


def is_reserved(domain: str) -> bool:
    """Whether `domain` lies under a name reserved for tests and documentation, so that no person has mail there."""
    lowered = domain.lower()
    return any(lowered == name or lowered.endswith("." + name) for name in RESERVED_SUFFIXES)


@dataclass(frozen=True, slots=True)
class TcpTarget:
    """A host name or address literal, and a port."""

    host: str
    port: int = 25

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixTarget:
    """A UNIX domain socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


Target = TcpTarget | UnixTarget


def parse_target(text: str) -> Target:
    """ "HOST", "HOST:PORT", "[IPv6]", "[IPv6]:PORT", a bare IPv6 address, or "unix:/path"; port 25 if none is given."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path or "\0" in path:
            raise wrong("target", f'expected a path after "unix:", got "{text}"', "--target")
        return UnixTarget(path)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        port_text = rest.removeprefix(":") if bracket and (not rest or rest.startswith(":")) else None
    elif text.count(":") > 1:
        host, port_text = text, ""
    else:
        host, _, port_text = text.partition(":")
    if not host or port_text is None or any(c.isspace() or not c.isprintable() for c in host):
        raise wrong("target", f'expected HOST[:PORT], [IPv6]:PORT or unix:/path, got "{text}"', "--target")
    if not port_text and not text.endswith(":"):
        return TcpTarget(host)
    if not (port_text.isascii() and port_text.isdigit() and 0 < int(port_text) < 65536):
        raise wrong("target", f'expected a port from 1 to 65535, got "{port_text}" in "{text}"', "--target")
    return TcpTarget(host, int(port_text))

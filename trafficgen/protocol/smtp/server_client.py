"""What XCLIENT and XFORWARD say to a server (Postfix's XCLIENT_README and XFORWARD_README).

Takes     the line of a command
Gives     attributes by name, in capitals, or None for what is neither attributes nor their values; an IP address
Not here  when a command is legal (server_table), what becomes of the address (server)
"""

import ipaddress
import re
from typing import Final

XCLIENT_NAMES: Final = (
    b"NAME", b"ADDR", b"PORT", b"PROTO", b"HELO", b"REVERSE_NAME", b"LOGIN", b"DESTADDR", b"DESTPORT",
)  # fmt: skip
XFORWARD_NAMES: Final = (b"NAME", b"ADDR", b"PORT", b"PROTO", b"HELO", b"IDENT", b"SOURCE")
UNKNOWN: Final = (b"[UNAVAILABLE]", b"[TEMPUNAVAIL]")

_XTEXT: Final = re.compile(rb"(?:[!-*,-<>-~]|\+[0-9A-Fa-f]{2})+")  # RFC 3461 section 4


def attributes(line: bytes, names: tuple[bytes, ...]) -> dict[bytes, bytes] | None:
    """Of XCLIENT: those of `names`; None where something else stands among them, or nothing at all."""
    words = [word.partition(b"=") for word in line.split()[1:]]
    found = {name.upper(): value for name, _, value in words if value}
    return found if found and len(found) == len(words) and found.keys() <= set(names) else None


def origin(line: bytes) -> dict[bytes, bytes] | None:
    """Of XFORWARD; None also for a value that is no xtext, and for a SOURCE that is none."""
    found = attributes(line, XFORWARD_NAMES)
    if found is None or not all(_XTEXT.fullmatch(value) for value in found.values()):
        return None
    return found if found.get(b"SOURCE", UNKNOWN[0]).upper() in (b"LOCAL", b"REMOTE", *UNKNOWN) else None


def ip_address(value: bytes) -> bytes:
    """The address in XCLIENT's ADDR as it is written elsewhere, without a zone. ValueError for anything else."""
    address = ipaddress.ip_address(value.upper().removeprefix(b"IPV6:").decode("ascii", "replace"))
    return address.compressed.lower().partition("%")[0].encode("ascii")

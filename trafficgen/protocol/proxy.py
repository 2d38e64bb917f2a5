"""The header that a proxy puts before a connection: who the client is (HAProxy's PROXY protocol, versions 1 and 2).

    v1    PROXY TCP4 192.0.2.7 127.0.0.1 40000 25 CR LF
    v2    twelve octets, version and command, family, length, both addresses and ports, more that we skip

Takes     addresses and ports; or the first octets of a connection
Gives     the header; or the client's address and how many octets the header had
Fails     `Malformed` for octets that cannot begin a header
Not here  sockets (engine, sink)
"""

import ipaddress
import struct
from typing import Final

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_LONGEST_V1: Final = 107
_FAMILIES: Final = {0x1: (4, 4), 0x2: (6, 16)}  # family nibble: IP version, octets of an address
_PROXIED, _LOCAL = 0x21, 0x20


class Malformed(ValueError):  # noqa: N818  (a peer's fault, on its way to who closes the connection)
    """Octets that begin no PROXY header."""


def header_v1(client: str, client_port: int, server: str, server_port: int) -> bytes:
    """Section 2.1; both addresses of one family."""
    family = b"TCP%d" % ipaddress.ip_address(client).version
    return b"PROXY %b %b %b %d %d\r\n" % (family, client.encode(), server.encode(), client_port, server_port)


def header_v2(client: str, client_port: int, server: str, server_port: int) -> bytes:
    """Section 2.2; both addresses of one family."""
    where = ipaddress.ip_address(client)
    addresses = where.packed + ipaddress.ip_address(server).packed + struct.pack(">HH", client_port, server_port)
    family = 0x11 if where.version == 4 else 0x21
    return SIGNATURE + struct.pack(">BBH", _PROXIED, family, len(addresses)) + addresses


def read_header(octets: bytes) -> tuple[str, int] | None:
    """The client's address, "" when it is not told, and the header's length; None while the header is not whole."""
    if octets.startswith(SIGNATURE):
        return _read_v2(octets)
    if SIGNATURE.startswith(octets) or (b"PROXY ".startswith(octets[:6]) and len(octets) < 6):
        return None
    if not octets.startswith(b"PROXY "):
        raise Malformed("expected a PROXY header")
    line, end, _ = octets[:_LONGEST_V1].partition(b"\r\n")
    if not end:
        if len(octets) >= _LONGEST_V1:
            raise Malformed("a PROXY line of more than 107 octets")
        return None
    return _read_v1(line), len(line) + 2


def _read_v1(line: bytes) -> str:
    words = line.decode("ascii", "replace").split(" ")
    if words[1] == "UNKNOWN":
        return ""
    try:
        kind, client, server, client_port, server_port = words[1:]
        found = ipaddress.ip_address(client)
        right = kind == f"TCP{found.version}" and ipaddress.ip_address(server).version == found.version
        right = right and all(port.isdecimal() and int(port) < 65536 for port in (client_port, server_port))
    except ValueError:
        right = False
    if not right:
        raise Malformed("expected PROXY TCP4 or TCP6, two addresses and two ports")
    return str(found)


def _read_v2(octets: bytes) -> tuple[str, int] | None:
    begin = len(SIGNATURE)
    if len(octets) < begin + 4:
        return None
    command, family, length = struct.unpack_from(">BBH", octets, begin)
    if command not in (_PROXIED, _LOCAL):
        raise Malformed(f"expected version 2 and PROXY or LOCAL, got {command:#04x}")
    end = begin + 4 + length
    if len(octets) < end:
        return None
    version, size = _FAMILIES.get(family >> 4, (0, 0))
    if command == _LOCAL or not version:
        return "", end
    if length < 2 * size + 4:
        raise Malformed(f"expected two addresses and two ports, got {length} octets")
    return str(ipaddress.ip_address(octets[begin + 4 : begin + 4 + size])), end

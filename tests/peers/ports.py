"""Ports for servers that are told where to listen.

Never from the range that the system gives to clients (net.ipv4.ip_local_port_range; RFC 6335 section 6): a port that is
free there now may be the local end of anybody's connection when its server starts.
"""

import random
import socket
from typing import Final

_PORTS: Final = range(10_240, 32_768)
_RANDOM: Final = random.SystemRandom()  # tests run in several processes, and some seed the other one


def free_ports(count: int) -> list[int]:
    """So many different ports of 127.0.0.1 that nobody listens on."""
    found: list[int] = []
    while len(found) < count:
        port = _RANDOM.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]

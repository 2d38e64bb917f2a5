"""Addresses to listen on: what the resolver makes of one, and the words where it cannot be had.

Takes     a target as its user wrote it
Gives     the first address that it has; SetupError with the reason, and with what may be meant
Not here  sockets: who listens makes his own
"""

import socket
from typing import Any, Final

from trafficgen.errors import SetupError, reason_of
from trafficgen.plan import Target, TcpTarget
from trafficgen.plan.targets import port_hint

CANNOT_LISTEN: Final = (OSError, UnicodeError)
"""What resolving and binding raise: a name with a letter beyond ASCII may be too long once it is encoded."""


def address_of(target: TcpTarget) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """Family and socket address. Raises `CANNOT_LISTEN`."""
    family, _, _, _, address = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)[0]
    return family, address


def cannot_listen(target: Target, error: Exception, *, why: str = "", option: str = "") -> SetupError:
    """The error to raise; `why` in place of the system's reason, `option` where that is not plain."""
    reason = why or reason_of(error).partition(" (")[0]  # socket.create_server adds words of its own in brackets
    hint = port_hint(target.host, target.port) if isinstance(target, TcpTarget) else ""
    return SetupError(f"cannot listen on {target}: {reason}{hint}" + (f" ({option})" if option else ""))

"""A port that several processes of a sink share (SO_REUSEPORT), held before the first of them listens."""

import socket

from trafficgen.errors import SetupError
from trafficgen.plan import TcpTarget
from trafficgen.plan.targets import port_hint


def reserve(address: TcpTarget) -> socket.socket:
    """Bind a port without listening, so that processes can share it and no other program takes it.

    Raises SetupError when that fails.
    """
    found = None
    try:
        family, _, _, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        found.bind(where)
    except OSError as error:
        if found is not None:
            found.close()
        reason = f"{error.strerror or error}{port_hint(address.host, address.port)}"
        raise SetupError(f"cannot listen on {address}: {reason}") from error
    return found

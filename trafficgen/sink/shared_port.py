"""A port that several processes of a sink share (SO_REUSEPORT), held before the first of them listens."""

import socket

from trafficgen.host.listening import CANNOT_LISTEN, address_of, cannot_listen
from trafficgen.plan import TcpTarget


def reserve(address: TcpTarget) -> socket.socket:
    """Bind a port without listening, so that processes can share it and no other program takes it.

    Raises SetupError when that fails.
    """
    found = None
    try:
        family, where = address_of(address)
        found = socket.socket(family)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        found.bind(where)
    except CANNOT_LISTEN as error:
        if found is not None:
            found.close()
        raise cannot_listen(address, error) from error
    return found

"""What this machine lets a process have: open files and ephemeral ports.

Takes     how many sessions a process is to hold
Gives     a raised limit, or a SetupError that names the limit and the way out, before the first connection
"""

import socket
import sys
from typing import Final

from trafficgen.engine.address import Route
from trafficgen.errors import SetupError
from trafficgen.host.limits import SPARE_FILES, ephemeral_ports, raise_open_files
from trafficgen.plan import Plan, TcpTarget


def check_open_files(sessions: int) -> None:
    """Make room for `sessions` in one process. Raises SetupError when the system will not have it."""
    room = raise_open_files(sessions)
    if room < sessions:
        raise SetupError(
            f"cannot hold {sessions} sessions in one process: it may open {room + SPARE_FILES} files; "
            "raise the hard limit (ulimit -Hn), use more --workers, or lower --concurrency"
        )


_BIND_ADDRESS_NO_PORT: Final = 24
"""Linux, ip(7): choose the port when connecting, so that it need be free towards that one server only."""


def bind_source(peer: socket.socket, source: str) -> None:
    """Let a socket connect from this address of ours. Raises OSError when it is none."""
    if sys.platform == "linux":
        peer.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
    peer.bind((source, 0))


def check_sources(plan: Plan, route: Route) -> None:
    """Raise SetupError when one of the plan's source addresses cannot be connected from."""
    sources = [one.address(index) for one in plan.session.client.sources for index in range(one.size)]
    hosts = [one.host for one in route.addresses if isinstance(one, TcpTarget)]
    for source in sources:
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        if not all((":" in host) == (family is socket.AF_INET6) for host in hosts) or not hosts:
            where = ", ".join(map(str, route.addresses))
            raise SetupError(f"cannot connect from {source} to {where}: the kinds of address differ (--source-ip)")
        try:
            with socket.socket(family) as peer:
                bind_source(peer, source)
        except OSError as error:
            raise SetupError(
                f"cannot send from {source}: {(error.strerror or str(error)).lower()}; expected addresses of this "
                "machine (ip addr add) or of 127.0.0.0/8 (--source-ip)"
            ) from error


def check_ports(plan: Plan, sessions: int, route: Route) -> None:
    """Raise SetupError when more sessions are asked for than there are local ports towards the target."""
    ports = ephemeral_ports()
    ports = ports and ports * max(sum(one.size for one in plan.session.client.sources), 1)
    if ports is not None and sessions > ports and any(isinstance(a, TcpTarget) for a in route.addresses):
        raise SetupError(
            f"cannot hold {sessions} sessions: this machine has {ports} ephemeral ports towards one address; "
            "widen net.ipv4.ip_local_port_range, add --source-ip, or lower --concurrency"
        )

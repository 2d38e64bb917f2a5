"""What this machine lets a process have: open files, memory and ephemeral ports.

Takes     how many sessions a process is to hold
Gives     a raised limit, or a SetupError that names the limit and the way out, before the first connection
"""

import socket
import sys
from typing import Final

from mboxgen.counted import number_of, plural
from trafficgen.engine.address import Route
from trafficgen.errors import SetupError, reason_of
from trafficgen.host.limits import SPARE_FILES, ephemeral_ports, raise_open_files
from trafficgen.host.machine import memory_of
from trafficgen.plan import Plan, TcpTarget


def check_open_files(sessions: int) -> None:
    """Make room for `sessions` in one process. Raises SetupError when the system will not have it."""
    room = raise_open_files(sessions)
    if room < sessions:
        raise SetupError(
            f"cannot hold {sessions} {plural(sessions, 'session')} in one process: it may open "
            f"{room + SPARE_FILES} files; raise the hard limit (ulimit -Hn), use more --workers, or lower --concurrency"
        )


_PROCESS_OCTETS: Final = 60_000_000
_SESSION_OCTETS: Final = 12_000
_MESSAGE_OCTETS: Final = 120
"""A run of 2 workers with the embedded sink took 127 MB with 20 sessions and 143 MB with 4,000 (proportional set size,
2026-11-27, 2 cores), and the kernel's end of a socket takes as much again; a message that is written down takes 49
octets in its file, and about 70 in columns."""


def check_memory(sessions: int, workers: int, written_down: int = 0, available: int | None = None) -> None:
    """Raise SetupError when this machine has less memory to be had than that takes. `written_down`: messages of which
    it is kept when they were sent. `available` in octets; None: as the system says, and no check where it says nothing.
    """
    if available is None:
        _, available = memory_of()
    needed = (workers + 1) * _PROCESS_OCTETS + sessions * _SESSION_OCTETS + written_down * _MESSAGE_OCTETS
    if available is not None and available < needed:
        raise SetupError(
            f"{number_of(workers, 'worker')} with {number_of(sessions, 'session')} need about {needed / 1e6:,.0f} MB "
            f"of memory, and this machine has {available / 1e6:,.0f} MB to be had: expected more, more machines, or "
            "lower --concurrency"
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
                f"cannot send from {source}: {reason_of(error)}; expected addresses of this "
                "machine (ip addr add) or of 127.0.0.0/8 (--source-ip)"
            ) from error


def check_ports(plan: Plan, sessions: int, route: Route) -> None:
    """Raise SetupError when more sessions are asked for than there are local ports towards the target."""
    ports = ephemeral_ports()
    ports = ports and ports * max(sum(one.size for one in plan.session.client.sources), 1)
    if ports is not None and sessions > ports and any(isinstance(a, TcpTarget) for a in route.addresses):
        raise SetupError(
            f"cannot hold {sessions} {plural(sessions, 'session')}: this machine has {ports} ephemeral "
            "ports towards one address; widen net.ipv4.ip_local_port_range, add --source-ip, or lower --concurrency"
        )

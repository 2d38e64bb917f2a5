"""What this machine lets a process have: open files and ephemeral ports.

Takes     how many sessions a process is to hold
Gives     a raised limit, or a SetupError that names the limit and the way out, before the first connection
"""

from pathlib import Path
from typing import Final

from trafficgen.engine.address import Route
from trafficgen.errors import SetupError
from trafficgen.host.limits import SPARE_FILES, raise_open_files
from trafficgen.plan import Plan, TcpTarget

_PORT_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def check_open_files(sessions: int) -> None:
    """Make room for `sessions` in one process. Raises SetupError when the system will not have it."""
    room = raise_open_files(sessions)
    if room < sessions:
        raise SetupError(
            f"cannot hold {sessions} sessions in one process: it may open {room + SPARE_FILES} files; "
            "raise the hard limit (ulimit -Hn), use more --workers, or lower --concurrency"
        )


def check_ports(plan: Plan, route: Route) -> None:
    """Raise SetupError when more sessions are asked for than there are local ports towards the target."""
    ports = ephemeral_ports()
    if ports is not None and plan.sessions > ports and any(isinstance(a, TcpTarget) for a in route.addresses):
        raise SetupError(
            f"cannot hold {plan.sessions} sessions: this machine has {ports} ephemeral ports towards one address; "
            "widen net.ipv4.ip_local_port_range or lower --concurrency"
        )


def ephemeral_ports() -> int | None:
    """How many local ports the system gives out (ip(7), ip_local_port_range); None where it does not say."""
    try:
        first, last = _PORT_RANGE.read_text().split()
    except (OSError, ValueError):
        return None
    return int(last) - int(first) + 1

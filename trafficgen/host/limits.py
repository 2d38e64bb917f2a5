"""What the system lets a process have: open files (getrlimit(2), RLIMIT_NOFILE), cores, ephemeral ports."""

import os
import resource
from pathlib import Path
from typing import Final

from trafficgen.errors import SetupError

SPARE_FILES: Final = 64
"""Open files that are not sessions: pipes, the event loop, modules, a corpus."""

_PORT_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def raise_open_files(sessions: int) -> int:
    """Make room for `sessions` connections as far as the system allows; returns for how many there is room."""
    needed = sessions + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        for limits in ((needed, max(needed, hard)), (min(needed, hard), hard)):
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            except (ValueError, OSError):
                continue  # only root may raise the hard limit
            soft = limits[0]
            break
    return soft - SPARE_FILES


def files_for_a_sink(sessions: int) -> int:
    """`raise_open_files`, and SetupError where a sink could not even begin."""
    room = raise_open_files(sessions)
    if room < 1:
        files = room + SPARE_FILES
        raise SetupError(f"cannot start a sink: a process may open {files} files; raise the limit (ulimit -n)")
    return room


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ephemeral_ports(range_file: Path = _PORT_RANGE) -> int | None:
    """How many local ports the system gives out (ip(7), ip_local_port_range); None where it does not say."""
    try:
        first, last = range_file.read_text().split()
    except (OSError, ValueError):
        return None
    return int(last) - int(first) + 1

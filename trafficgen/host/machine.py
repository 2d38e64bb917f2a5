"""What this machine is and what it lets a run have: the facts that hold back or vary a big run.

Takes     the root of the file system, where a test puts another machine's files
Gives     `Machine`: cores, CPU and memory limits of control groups, open files, ports, listen queue, clock source
Fails     never: what a system does not say is None
Sources   proc(5), sysfs; of the kernel admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst, networking/ip-sysctl.rst
Not here  what is too little and what mends it (cli.doctor); the same while a run goes on (server.host)
"""

import os
import platform
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from trafficgen.host.limits import SPARE_FILES, cores, ephemeral_ports, raise_open_files

_NO_LIMIT: Final = 1 << 60
"""cgroup v1 says "no limit" by the largest number of whole pages; no machine has so much memory."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Cores are counted, memory is in octets. `load`: tasks that ran or waited for the disk, mean of the last minute.

    `cpu_limit` is in cores, of the control group named `cpu_group`; `open_files_room`: as many as a process may come to
    have here when it asks; `tracked`: connections that the firewall keeps track of, and may at most.
    """

    system: str
    cores: int
    cores_online: int
    cpu_limit: float | None
    cpu_group: str | None
    governor: str | None
    load: float | None
    memory: int | None
    memory_available: int | None
    open_files: int
    open_files_hard: int
    open_files_room: int
    ports: int | None
    listen_queue: int | None
    tracked: tuple[int, int] | None
    clock_source: str | None
    clock_sources: tuple[str, ...]


def read_machine(sessions: int, root: Path = Path("/")) -> Machine:
    """This machine as it is now; `sessions`: so many open files are asked for, to see whether they are granted."""
    net, clock = root / "proc/sys/net", root / "sys/devices/system/clocksource/clocksource0"
    cpu_limit, cpu_group = _cpu_limit(root)
    memory, available = memory_of(root)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    tracked = tuple(_number(net / f"netfilter/nf_conntrack_{word}") for word in ("count", "max"))
    return Machine(
        system=platform.platform(),
        cores=cores(),
        cores_online=os.cpu_count() or 1,
        cpu_limit=cpu_limit,
        cpu_group=cpu_group,
        governor=_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        load=_load(root),
        memory=memory,
        memory_available=available,
        open_files=soft,
        open_files_hard=hard,
        open_files_room=_open_files_room(sessions),
        ports=ephemeral_ports(net / "ipv4/ip_local_port_range"),
        listen_queue=_number(net / "core/somaxconn"),
        tracked=(tracked[0], tracked[1]) if tracked[0] is not None and tracked[1] is not None else None,
        clock_source=_text(clock / "current_clocksource"),
        clock_sources=tuple((_text(clock / "available_clocksource") or "").split()),
    )


def _open_files_room(sessions: int) -> int:
    """Ask as a worker would, and leave the limits as they were."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        return raise_open_files(sessions) + SPARE_FILES
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _load(root: Path) -> float | None:
    text = _text(root / "proc/loadavg")
    return float(text.split()[0]) if text else None


def _cpu_limit(root: Path) -> tuple[float | None, str | None]:
    """The narrowest of the limits of this process's group and of those around it, with the group's name."""
    limits = []
    for name, folder in _groups(root, "cpu"):
        quota, period = (_text(folder / "cpu.max") or "max 1").split()
        if quota == "max":
            quota, period = (_text(folder / f"cpu.cfs_{word}_us") or "0" for word in ("quota", "period"))
        if int(quota) > 0:  # v1: -1 is no limit
            limits.append((int(quota) / int(period), name))
    return min(limits, default=(None, None))


def memory_of(root: Path = Path("/")) -> tuple[int | None, int | None]:
    """Octets there are, and octets to be had: of the machine, or of a control group where that is less."""
    fields = dict(line.split(":", 1) for line in (_text(root / "proc/meminfo") or "").splitlines())
    kibibytes = [int(fields[key].split()[0]) if key in fields else None for key in ("MemTotal", "MemAvailable")]
    total, available = (None if number is None else number << 10 for number in kibibytes)
    for _, folder in _groups(root, "memory"):
        for limit_file, used_file, cache in _MEMORY_FILES:
            limit, used = _number(folder / limit_file), _number(folder / used_file)
            if limit is not None and used is not None and limit < _NO_LIMIT:
                stat = dict(line.split() for line in (_text(folder / "memory.stat") or "").splitlines())
                room = limit - used + int(stat.get(cache, 0))  # what was read and not used lately can be dropped
                total = limit if total is None else min(total, limit)
                available = room if available is None else min(available, room)
    return total, available


_MEMORY_FILES: Final = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def _groups(root: Path, controller: str) -> Iterator[tuple[str, Path]]:
    """This process's control group and those around it, by name: of cgroup v2 and, where it has the controller, of v1.

    In a container the names may be those that the host has; then only the outermost folder is there, and it is ours.
    """
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / (controller if controllers else "")
        for inner in (PurePosixPath(name), *PurePosixPath(name).parents):
            yield str(inner), mount / inner.relative_to("/")


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text is not None and text.isdecimal() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return None

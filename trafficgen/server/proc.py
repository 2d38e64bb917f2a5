"""Files of /proc and of a cgroup to numbers.

Takes     the text of a file
Gives     counters as the kernel has them, in seconds and octets where it counts in ticks, µs or sectors
Fails     ValueError for a text of another shape; what a kernel does not have is left out
Sources   proc(5); Documentation/accounting/psi.rst, admin-guide/iostats.rst, admin-guide/cgroup-v2.rst of the kernel
Not here  reading the files and what changed between two readings (host)
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

SECTOR_OCTETS: Final = 512
"""Whatever the device's own is (iostats.rst)."""

_CPU: Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_WHOLE_DISKS: Final = ("loop", "ram", "zram", "sr", "fd")


class Cpu(NamedTuple):
    """All cores together: ticks by what they were spent on, and tasks that run or wait for I/O now."""

    ticks: dict[str, int]
    running: int
    blocked: int
    cores: int


class Disk(NamedTuple):
    """Since the machine started, but for `in_flight`. `flushes` is None before Linux 5.5."""

    reads: int
    read_octets: int
    writes: int
    written_octets: int
    waited_s: float
    """Of all reads, writes and flushes together."""
    in_flight: int
    busy_s: float
    queued_s: float
    flushes: int | None
    flushing_s: float | None


class Process(NamedTuple):
    """One process, or one thread of it: its state by one letter (R runs or would, D waits without being interruptible,
    as for the disk), its parent, CPU ticks of itself and of the children it waited for, page faults that needed the
    disk; how many threads the process has."""

    pid: int
    state: str
    parent: int
    ticks: int
    major_faults: int
    threads: int


class Scheduled(NamedTuple):
    """Since a thread began: seconds on a core, and seconds in which it would have run and had none."""

    ran_s: float
    waited_s: float


def cpu(stat: str) -> Cpu:
    """/proc/stat."""
    lines = dict(line.split(None, 1) for line in stat.splitlines() if " " in line)
    numbers = list(map(int, lines["cpu"].split())) if "cpu" in lines else []
    if len(numbers) < len(_CPU):
        raise ValueError("expected a line of cpu ticks in /proc/stat")
    cores = sum(name.startswith("cpu") for name in lines) - 1
    running, blocked = (int(lines.get(name, 0)) for name in ("procs_running", "procs_blocked"))
    return Cpu(dict(zip(_CPU, numbers, strict=False)), running, blocked, cores)


def pressure(text: str) -> dict[str, float]:
    """/proc/pressure/*: seconds in which some, or all, tasks waited, by "some" and "full"."""
    found = {}
    for line in text.splitlines():
        word, *fields = line.split()
        total = next(field for field in fields if field.startswith("total="))
        found[word] = int(total[6:]) / 1e6
    if "some" not in found:
        raise ValueError("expected a line that begins with some")
    return found


def disks(diskstats: str) -> dict[str, Disk]:
    """/proc/diskstats, whole disks that were ever used: partitions and loop devices would count the same twice."""
    found: dict[str, Disk] = {}
    for line in diskstats.splitlines():
        fields = line.split()
        if len(fields) < 14:
            raise ValueError("expected 14 fields or more in a line of /proc/diskstats")
        name, numbers = fields[2], list(map(int, fields[3:]))
        if name.startswith(_WHOLE_DISKS) or not (numbers[0] or numbers[4]) or _is_part(name, found):
            continue
        flushes = numbers[15:17] if len(numbers) >= 17 else None
        waited_ms = numbers[3] + numbers[7] + (flushes[1] if flushes else 0)
        found[name] = Disk(
            reads=numbers[0],
            read_octets=numbers[2] * SECTOR_OCTETS,
            writes=numbers[4],
            written_octets=numbers[6] * SECTOR_OCTETS,
            waited_s=waited_ms / 1e3,
            in_flight=numbers[8],
            busy_s=numbers[9] / 1e3,
            queued_s=numbers[10] / 1e3,
            flushes=flushes[0] if flushes else None,
            flushing_s=flushes[1] / 1e3 if flushes else None,
        )
    return found


def _is_part(name: str, found: dict[str, Disk]) -> bool:
    """Of a disk that is listed before it: sda1 of sda, nvme0n1p1 of nvme0n1."""
    whole = name.rstrip("0123456789")
    return name != whole and (whole in found or (whole[-1:] == "p" and whole[:-1] in found))


def memory(meminfo: str) -> dict[str, int]:
    """/proc/meminfo in octets."""
    found = {}
    for line in meminfo.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdecimal():
            found[name] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return found


def tcp(netstat: str) -> dict[str, int]:
    """/proc/net/netstat's TcpExt: a line of names, then a line of numbers."""
    lines = netstat.splitlines()
    for names, numbers in zip(lines[::2], lines[1::2], strict=False):
        if names.startswith("TcpExt:") and numbers.startswith("TcpExt:"):
            return dict(zip(names.split()[1:], map(int, numbers.split()[1:]), strict=True))
    raise ValueError("expected TcpExt in /proc/net/netstat")


def process(stat: str) -> Process:
    """/proc/PID/stat. A process may call itself anything, also "a) R 1": its name ends at the last parenthesis."""
    pid, _, rest = stat.partition(" (")
    fields = rest.rpartition(") ")[2].split()
    if len(fields) < 18:
        raise ValueError("expected 18 fields or more behind the name in /proc/PID/stat")
    ticks, faults = sum(map(int, fields[11:15])), int(fields[9]) + int(fields[10])
    return Process(int(pid), fields[0], int(fields[1]), ticks, faults, int(fields[17]))


def scheduled(schedstat: str) -> Scheduled:
    """/proc/PID/schedstat (Documentation/scheduler/sched-stats.rst)."""
    fields = schedstat.split()
    if len(fields) < 2:
        raise ValueError("expected two fields or more in /proc/PID/schedstat")
    return Scheduled(int(fields[0]) / 1e9, int(fields[1]) / 1e9)


def tree(parents: Mapping[int, int], root: int) -> list[int]:
    """`root` and all that it is an ancestor of, by the parent of each process."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    waiting = [root] if root in parents else []
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += [child for child in children.get(pid, ()) if child != pid]
    return found


def cgroup_cpu_s(cpu_stat: str) -> float:
    """cpu.stat of a cgroup v2, children that have ended included."""
    return int(_key(cpu_stat, "usage_usec")) / 1e6


def cgroup_written(io_stat: str) -> int:
    """Octets, by io.stat of a cgroup v2; a line a device."""
    fields = (field.partition("=") for line in io_stat.splitlines() for field in line.split()[1:])
    return sum(int(value) for name, _, value in fields if name == "wbytes")


def cgroup_faults(memory_stat: str) -> int:
    """Page faults that needed the disk, by memory.stat of a cgroup v2."""
    return int(_key(memory_stat, "pgmajfault"))


def _key(text: str, key: str) -> str:
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return value
    raise ValueError(f'expected a line "{key}"')

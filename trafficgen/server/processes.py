"""What the server's own processes use: CPU, octets written, page faults.

Takes     their cgroup (v2), or the process that is the ancestor of all of them
Gives     series by name, from the second look on
Exact     by cgroup, also for children that have ended. By tree, CPU comes in ticks of 10 ms, that of a child that
          ended counts when its parent has waited for it, and octets are those of processes that may be read (root, or
          the same user)
Fails     never: a cgroup or a process that is gone gives nothing, and is said once (`missing`)
Cost      a file a process of the machine by tree, three files by cgroup
"""

import os
from collections.abc import Callable
from pathlib import Path

from trafficgen.server import proc


class CgroupSampler:
    """Of a directory under /sys/fs/cgroup."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._rates = _Rates()
        self.missing: set[str] = set()

    def sample(self, now_s: float) -> dict[str, float]:
        """Cores in use, octets written and page faults a second; how many processes."""
        counters: dict[str, float] = {}
        readers: dict[str, tuple[str, Callable[[str], float]]] = {
            "server.cpu": ("cpu.stat", proc.cgroup_cpu_s),
            "server.written": ("io.stat", proc.cgroup_written),
            "server.faults": ("memory.stat", proc.cgroup_faults),
        }
        for name, (file, read) in readers.items():
            try:
                counters[name] = read((self._directory / file).read_text())
            except (OSError, ValueError):
                self.missing.add(str(self._directory / file))
        values = self._rates.of(counters, now_s)
        try:
            values["server.processes"] = float(len((self._directory / "cgroup.procs").read_text().split()))
        except OSError:
            self.missing.add(str(self._directory / "cgroup.procs"))
        return values


class TreeSampler:
    """Of a process and all that it is an ancestor of. `root` is asked for at every look: servers are started again."""

    def __init__(self, root: Callable[[], int | None], proc_directory: Path = Path("/proc")) -> None:
        self._root = root
        self._proc = proc_directory
        self._rates = _Rates()
        self._ticks_s = os.sysconf("SC_CLK_TCK")
        self.missing: set[str] = set()

    def sample(self, now_s: float) -> dict[str, float]:
        """Cores in use, octets written and page faults a second; how many processes."""
        root = self._root()
        members = proc.tree(self._processes(), root) if root is not None else []
        if not members:
            self.missing.add("the server's processes")
            return {}
        counters = {
            "server.cpu": sum(one.ticks for one in members) / self._ticks_s,
            "server.faults": float(sum(one.major_faults for one in members)),
        }
        written = [self._written(one.pid) for one in members]
        if None not in written:
            counters["server.written"] = float(sum(filter(None, written)))
        return self._rates.of(counters, now_s) | {"server.processes": float(len(members))}

    def _processes(self) -> dict[int, proc.Process]:
        found = {}
        with os.scandir(self._proc) as entries:
            for entry in entries:
                if entry.name.isdecimal():
                    try:
                        one = proc.process((self._proc / entry.name / "stat").read_text("ascii", "replace"))
                    except (OSError, ValueError):  # it has just ended
                        continue
                    found[one.pid] = one
        return found

    def _written(self, pid: int) -> int | None:
        try:
            lines = (self._proc / str(pid) / "io").read_text().splitlines()
            return next(int(line.partition(":")[2]) for line in lines if line.startswith("write_bytes:"))
        except (OSError, StopIteration):
            return None


def pid_in(path: Path) -> Callable[[], int | None]:
    """The process whose number is in a file, such as Postfix's pid/master.pid."""

    def read() -> int | None:
        try:
            return int(path.read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None

    return read


class _Rates:
    """Counters to numbers a second. One that went back (processes that ended took theirs along) gives nothing."""

    def __init__(self) -> None:
        self._before: dict[str, float] = {}
        self._before_s = 0.0

    def of(self, counters: dict[str, float], now_s: float) -> dict[str, float]:
        passed_s, before = now_s - self._before_s, self._before
        self._before, self._before_s = counters, now_s
        if passed_s <= 0:
            return {}
        return {
            name: (now - before[name]) / passed_s
            for name, now in counters.items()
            if name in before and now >= before[name]
        }

"""What the server's own processes use and wait for: CPU, octets written, page faults, a core, the disk.

Takes     their cgroup (v2), or the process that is the ancestor of all of them
Gives     series by name, most from the second look on
Exact     by cgroup, also for children that have ended. By tree, CPU comes in ticks of 10 ms, that of a child that
          ended counts when its parent has waited for it, and octets are those of processes that may be read (root, or
          the same user). What a process that ended between two looks waited for is not known. Whoever waits without
          being interruptible (D) is counted at each look; it is the disk nearly always
Fails     never: a cgroup or a process that is gone gives nothing, and is said once (`missing`)
Cost      four small files a process of the server, 40 µs. Where the kernel does not list children, a file more for
          each process of the machine
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from trafficgen.server import proc
from trafficgen.server.files import text_of


class CgroupSampler:
    """Of a directory under /sys/fs/cgroup."""

    def __init__(self, directory: Path, proc_directory: Path = Path("/proc")) -> None:
        self._directory = directory
        self._rates = _Rates()
        self._threads = _Threads(proc_directory)
        self.missing: set[str] = set()

    def sample(self, now_s: float) -> dict[str, float]:
        """Cores in use, octets written and page faults a second; how many processes, and what they wait for."""
        counters: dict[str, float] = {}
        readers: dict[str, tuple[str, Callable[[str], float]]] = {
            "server.cpu": ("cpu.stat", proc.cgroup_cpu_s),
            "server.written": ("io.stat", proc.cgroup_written),
            "server.faults": ("memory.stat", proc.cgroup_faults),
        }
        for name, (file, read) in readers.items():
            try:
                counters[name] = read(text_of(f"{self._directory}/{file}"))
            except (OSError, ValueError):
                self.missing.add(str(self._directory / file))
        values = self._rates.of(counters, now_s)
        try:
            pids = list(map(int, text_of(f"{self._directory}/cgroup.procs").split()))
        except (OSError, ValueError):
            self.missing.add(str(self._directory / "cgroup.procs"))
            return values
        found = filter(None, map(self._threads.process, pids))
        return values | self._threads.waits(found, now_s) | {"server.processes": float(len(pids))}


class TreeSampler:
    """Of a process and all that it is an ancestor of. `root` is asked for at every look: servers are started again."""

    def __init__(
        self, root: Callable[[], int | None], proc_directory: Path = Path("/proc"), *, named_by: Path | None = None
    ) -> None:
        """`named_by`: the file that `root` reads, for what is said when there is no such process."""
        self._root = root
        self._named_by = named_by
        self._proc = proc_directory
        self._rates = _Rates()
        self._threads = _Threads(proc_directory)
        self._children_listed = True
        self._ticks_s = os.sysconf("SC_CLK_TCK")
        self.missing: set[str] = set()

    def sample(self, now_s: float) -> dict[str, float]:
        """Cores in use, octets written and page faults a second; how many processes, and what they wait for."""
        root = self._root()
        members = self._members(root) if root is not None else []
        if not members:
            why = "holds no process id, or cannot be read" if root is None else "names one that is gone"
            named = f": {self._named_by} {why}" if self._named_by else ""
            self.missing.add(f"the server's processes{named}")
            return {}
        counters = {
            "server.cpu": sum(one.ticks for one in members) / self._ticks_s,
            "server.faults": float(sum(one.major_faults for one in members)),
        }
        written = [self._written(one.pid) for one in members]
        if None not in written:
            counters["server.written"] = float(sum(filter(None, written)))
        waits = self._threads.waits(members, now_s)
        return self._rates.of(counters, now_s) | waits | {"server.processes": float(len(members))}

    def _members(self, root: int) -> list[proc.Process]:
        """Root first. By the lists of children (CONFIG_PROC_CHILDREN): by far cheaper where much else runs."""
        if not self._children_listed:
            return self._members_of_all(root)
        found: list[proc.Process] = []
        waiting = [root]
        while waiting:
            one = self._threads.process(waiting.pop())
            if one is None:
                continue
            found.append(one)
            for thread in self._threads.ids(one):
                try:
                    children = text_of(f"{self._proc}/{one.pid}/task/{thread}/children")
                except FileNotFoundError:
                    if one.pid == root and self._threads.process(root) is not None:
                        self._children_listed = False
                        return self._members_of_all(root)
                except OSError:  # it has just ended
                    pass
                else:
                    waiting += map(int, children.split())
        return found

    def _members_of_all(self, root: int) -> list[proc.Process]:
        with os.scandir(self._proc) as entries:
            read = [self._threads.process(int(entry.name)) for entry in entries if entry.name.isdecimal()]
        processes = {one.pid: one for one in read if one is not None}
        parents = {pid: one.parent for pid, one in processes.items()}
        return [processes[pid] for pid in proc.tree(parents, root)]

    def _written(self, pid: int) -> int | None:
        try:
            text = text_of(f"{self._proc}/{pid}/io")
        except OSError:
            return None
        _, found, rest = text.partition("\nwrite_bytes: ")
        return int(rest.split(None, 1)[0]) if found else None


class _Threads:
    """What each thread of the server did since the last look. A process with one thread is that thread."""

    def __init__(self, proc_directory: Path) -> None:
        self._proc = str(proc_directory)
        self._before: dict[int, proc.Scheduled] = {}
        self._before_s: float | None = None

    def process(self, pid: int) -> proc.Process | None:
        """None when it has just ended."""
        return self._stat(f"{self._proc}/{pid}/stat")

    def ids(self, process: proc.Process) -> list[int]:
        """Of its threads; none when it has just ended."""
        if process.threads == 1:
            return [process.pid]
        try:
            with os.scandir(f"{self._proc}/{process.pid}/task") as entries:
                return [int(entry.name) for entry in entries]
        except OSError:
            return []

    def waits(self, processes: Iterable[proc.Process], now_s: float) -> dict[str, float]:
        """How many threads run or would, and how many wait for the disk, now. Since the last look: how many would have
        run and had no core, on average; and the share of a core of the one that ran most."""
        states: list[str] = []
        now: dict[int, proc.Scheduled] = {}
        for process in processes:
            for thread in self.ids(process):
                at = f"{self._proc}/{process.pid}/task/{thread}"
                one = process if process.threads == 1 else self._stat(f"{at}/stat")
                states += [one.state] if one else []
                try:
                    now[thread] = proc.scheduled(text_of(f"{at}/schedstat"))
                except (OSError, ValueError):  # it has just ended, or this kernel has none
                    continue
        values = {"server.running": float(states.count("R")), "server.blocked": float(states.count("D"))}
        passed_s = None if self._before_s is None else now_s - self._before_s
        before, self._before, self._before_s = self._before, now, now_s
        if passed_s and now:
            began = proc.Scheduled(0.0, 0.0)
            pairs = [(one, before.get(thread, began)) for thread, one in now.items()]
            values["server.cpu_wait"] = sum(max(one.waited_s - last.waited_s, 0.0) for one, last in pairs) / passed_s
            values["server.busiest"] = max(one.ran_s - last.ran_s for one, last in pairs) / passed_s
        return values

    def _stat(self, path: str) -> proc.Process | None:
        try:
            return proc.process(text_of(path))
        except (OSError, ValueError):
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

"""Whose CPU time it was: this program's, the builds', the host's, somebody else's.

Takes     /proc (Linux, proc(5)) at two moments; the outermost processes of the builds
Gives     the share of the machine's CPU time between the two that was stolen, and the share that went to foreign
          processes; None where the builds' processes are not known, as they would be foreign, too
Limits    ticks of 10 ms: of a slice of a second on two cores, half a per cent. Time in interrupts is nobody's here:
          most of it carries the load's own packets. Elsewhere than on Linux nothing is known, and nothing stolen
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trafficgen.host.machine_clock import boot_id

_STAT: Final = Path("/proc/stat")
_NAMESPACE: Final = Path("/proc/self/ns/pid")
_STEAL: Final = 7


def place() -> str:
    """Where this process is: those with the same place see the same processes, by the same numbers
    (pid_namespaces(7))."""
    return f"{boot_id()}/{_NAMESPACE.stat().st_ino if _NAMESPACE.exists() else 0}"


@dataclass(frozen=True, slots=True)
class CpuReading:
    """Clock ticks since the machine started: of all CPUs, of them in processes, stolen; and of each process."""

    all: int
    used: int
    stolen: int
    processes: Mapping[int, tuple[int, int]]
    """By process id: its parent, and its ticks with those of children it has waited for."""

    @classmethod
    def now(cls) -> "CpuReading | None":
        """None where there is no /proc."""
        try:
            ticks = [int(word) for word in _STAT.read_text().partition("\n")[0].split()[1 : _STEAL + 2]]
        except OSError:
            return None
        processes = {}
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                text = (directory / "stat").read_text()
            except OSError:  # it has ended meanwhile
                continue
            fields = text[text.rindex(")") + 2 :].split()  # a program's name may hold anything, also brackets
            processes[int(directory.name)] = int(fields[1]), sum(map(int, fields[11:15]))
        return cls(sum(ticks), sum(ticks[:3]), ticks[_STEAL], processes)

    def of(self, roots: Collection[int]) -> int:
        """Ticks of these processes and of all that come from them."""
        children: dict[int, list[int]] = {}
        for pid, (parent, _) in self.processes.items():
            children.setdefault(parent, []).append(pid)
        waiting, seen = list(roots), set[int]()
        while waiting:
            pid = waiting.pop()
            if pid in self.processes and pid not in seen:
                seen.add(pid)
                waiting += children.get(pid, ())
        return sum(self.processes[pid][1] for pid in seen)


def shares(
    before: CpuReading | None, after: CpuReading | None, roots: Collection[int] | None
) -> tuple[float, float | None]:
    """The share stolen, and the share of foreign processes: those that are neither ours nor come from `roots`."""
    if before is None or after is None or after.all == before.all:
        return 0.0, None
    passed = after.all - before.all
    stolen = (after.stolen - before.stolen) / passed
    if roots is None:
        return stolen, None
    ours = {os.getpid(), *roots}
    return stolen, (after.used - before.used - (after.of(ours) - before.of(ours))) / passed

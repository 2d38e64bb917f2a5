"""A machine under load, from what its kernel counts: CPU, pressure, disks, memory, refused connections, room.

Takes     where /proc is; a path whose file system matters
Gives     series by name: shares of the time since the last look, numbers a second, or what is so now
Fails     never: what this kernel does not have is left out, and said once (`missing`)
Cost      eight small files, about 1 ms
Not here  the files' shapes (proc), the server's own processes (processes)

PSI totals are read, not its averages: those forget in 10 s (Documentation/accounting/psi.rst). The load average mixes
tasks that run with tasks that wait for the disk and forgets in a minute; `host.running` and `host.blocked` are the
two, now.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from trafficgen.server import proc
from trafficgen.server.files import text_of

if TYPE_CHECKING:
    from collections.abc import Callable

_PRESSURES: Final = ("cpu", "io", "memory")
_CPU_SHARES: Final = {
    "host.cpu_user": ("user", "nice"),
    "host.cpu_system": ("system",),
    "host.cpu_irq": ("irq", "softirq"),
    "host.cpu_iowait": ("iowait",),
    "host.cpu_steal": ("steal",),
}
_Read = TypeVar("_Read")


class HostSampler:
    """Look at a machine again and again; the first look has nothing to compare with."""

    def __init__(self, proc_directory: Path = Path("/proc"), room: Path | None = None) -> None:
        self._proc = proc_directory
        self._room = room
        self._before: dict[str, float] = {}
        self._before_s: float | None = None
        self.missing: set[str] = set()
        """What could not be read, by name of its file."""

    def sample(self, now_s: float) -> dict[str, float]:
        """Everything, at `now_s` on a clock that never goes back."""
        passed_s = None if self._before_s is None else now_s - self._before_s
        self._before_s = now_s
        values: dict[str, float] = {}
        counters: dict[str, float] = {}
        if stat := self._read("stat", proc.cpu):
            values |= {"host.running": float(stat.running), "host.blocked": float(stat.blocked)}
            values["host.cores"] = float(stat.cores)
            values |= self._cpu_shares(stat)
        for name in _PRESSURES:
            if stalled := self._read(f"pressure/{name}", proc.pressure):
                counters[f"host.{name}_pressure"] = stalled["some"]
                if name != "cpu":  # of the whole machine it is always 0
                    counters[f"host.{name}_pressure_full"] = stalled.get("full", 0.0)
        if memory := self._read("meminfo", proc.memory):
            for name, key in (("available", "MemAvailable"), ("dirty", "Dirty")):
                if key in memory:
                    values[f"host.memory_{name}"] = float(memory[key])
        if tcp := self._read("net/netstat", proc.tcp):
            counters |= {
                f"host.listen_{name}": float(tcp[key])
                for name, key in (("overflows", "ListenOverflows"), ("drops", "ListenDrops"))
                if key in tcp
            }
        for name, disk in (self._read("diskstats", proc.disks) or {}).items():
            values |= self._disk(name, disk, passed_s)
        values |= self._free()
        return values | self._rates(counters, passed_s)

    def _read(self, name: str, parse: "Callable[[str], _Read]") -> "_Read | None":
        try:
            return parse(text_of(f"{self._proc}/{name}"))
        except (OSError, ValueError, StopIteration):
            self.missing.add(name)
            return None

    def _rates(self, counters: dict[str, float], passed_s: float | None) -> dict[str, float]:
        """Of counters, how much a second; one that went back has been started again and gives nothing."""
        found = {}
        for name, now in counters.items():
            before = self._before.get(name)
            self._before[name] = now
            if before is not None and passed_s and now >= before:
                found[name] = (now - before) / passed_s
        return found

    def _cpu_shares(self, stat: proc.Cpu) -> dict[str, float]:
        """Of all cores. iowait may go back (proc(5)); then there is none this time."""
        deltas = {}
        for name, ticks in stat.ticks.items():
            key = f"ticks.{name}"
            deltas[name] = ticks - self._before.get(key, ticks)
            self._before[key] = ticks
        whole = sum(deltas.values())
        if whole <= 0 or min(deltas.values()) < 0:
            return {}
        shares = {name: sum(deltas[part] for part in parts) / whole for name, parts in _CPU_SHARES.items()}
        return shares | {"host.cpu_busy": 1 - (deltas["idle"] + deltas["iowait"]) / whole}

    def _disk(self, name: str, disk: proc.Disk, passed_s: float | None) -> dict[str, float]:
        prefix = f"disk.{name}"
        counters = {
            "reads": disk.reads, "read": disk.read_octets, "writes": disk.writes, "written": disk.written_octets,
            "waited": disk.waited_s, "busy": disk.busy_s, "queue": disk.queued_s,
        }  # fmt: skip
        if disk.flushes is not None and disk.flushing_s is not None:
            counters |= {"flushes": disk.flushes, "flushing": disk.flushing_s}
        rates = self._rates({f"{prefix}.{key}": float(value) for key, value in counters.items()}, passed_s)
        values = {f"{prefix}.in_flight": float(disk.in_flight)}
        if f"{prefix}.waited" in rates:
            waited = rates.pop(f"{prefix}.waited")
            operations = sum(rates[f"{prefix}.{key}"] for key in ("reads", "writes"))
            operations += rates.get(f"{prefix}.flushes", 0.0)
            values[f"{prefix}.await"] = waited / operations if operations else 0.0
        return values | rates

    def _free(self) -> dict[str, float]:
        if self._room is None:
            return {}
        try:
            found = os.statvfs(self._room)
        except OSError:
            self.missing.add(str(self._room))
            return {}
        return {"space.free": float(found.f_bavail * found.f_frsize), "space.inodes_free": float(found.f_favail)}

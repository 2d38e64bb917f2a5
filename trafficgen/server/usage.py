"""What the server's processes used: CPU, octets written, context switches; with `counters`, what perf counts.

Takes     a build at an address of this machine; or its cgroup (v2)
Gives     readings to subtract; per 1,000 messages. Nothing where they cannot be had: another machine, no psutil,
          processes of another user
Exact     CPU by cgroup; by process tree it counts in ticks of 10 ms, and holds children that ended as soon as their
          parent has waited for them.
          Octets written are those of living processes, so they are left out when one of them ended meanwhile
Not here  calls of fsync and instructions: neither /proc nor a cgroup counts them (counters)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from trafficgen.host.extras import advice
from trafficgen.plan import Target, TcpTarget


class ServerUnderTest(Protocol):
    """Whose processes: who listens at `target`, or all of `cgroup`, a directory under /sys/fs/cgroup."""

    @property
    def target(self) -> Target | None: ...
    @property
    def cgroup(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Usage:
    """Since the processes began. None: not known. `pids`: whose it is."""

    cpu_s: float
    written: int | None
    switches: int | None
    pids: frozenset[int] = frozenset()


def read_usage(server: ServerUnderTest) -> Usage | None:
    """Now; None where it cannot be had."""
    if server.cgroup:
        return _of_cgroup(Path(server.cgroup))
    if not isinstance(server.target, TcpTarget):
        return None
    try:
        psutil: Any = import_module("psutil")
    except ImportError:
        return None
    try:
        return _of_tree(psutil, _listeners(psutil, server.target.port))
    except psutil.Error:
        return None


class UsageReader:
    """Reads one server's usage again and again. Its listeners are looked for once: that costs 0.15 s of CPU where a
    hundred processes run, and the rest a hundredth."""

    def __init__(self, server: ServerUnderTest) -> None:
        self._server = server
        self._listening: list[Any] = []

    def read(self) -> Usage | None:
        """As `read_usage`."""
        server = self._server
        if server.cgroup or not isinstance(server.target, TcpTarget):
            return read_usage(server)
        try:
            psutil: Any = import_module("psutil")
        except ImportError:
            return None
        try:
            if not self._listening or not all(one.is_running() for one in self._listening):
                self._listening = _listeners(psutil, server.target.port)
            return _of_tree(psutil, self._listening)
        except psutil.Error:
            return None


def why_not(server: ServerUnderTest) -> str | None:
    """What has to change before anything can be read of this build; None where nothing is known to."""
    if server.cgroup:
        return (
            None if _of_cgroup(Path(server.cgroup)) else f'there is no cgroup v2 with a cpu.stat at "{server.cgroup}"'
        )
    if not isinstance(server.target, TcpTarget):
        return "the processes behind a UNIX socket are not looked for; name their cgroup (--a-cgroup, --b-cgroup)"
    try:
        import_module("psutil")
    except ImportError:
        return f"psutil is missing: {advice('server')}"
    return None


def pids_of(server: ServerUnderTest, usage: Usage | None) -> frozenset[int]:
    """Its processes on this machine, as far as they can be known."""
    if not server.cgroup:
        return usage.pids if usage else frozenset()
    try:
        return frozenset(map(int, (Path(server.cgroup) / "cgroup.procs").read_text().split()))
    except (OSError, ValueError):
        return frozenset()


def used(before: Usage | None, after: Usage | None, counts: Mapping[str, int]) -> Mapping[str, float]:
    """Between the two, by the names of `verdict.server_metrics`, with `counts`; what is not known is left out."""
    if before is None or after is None:
        return {}
    amounts: dict[str, float] = {"server.cpu": after.cpu_s - before.cpu_s}
    if after.written is not None and before.written is not None and before.pids <= after.pids:
        amounts["server.written"] = after.written - before.written
    if after.switches is not None and before.switches is not None and before.pids <= after.pids:
        amounts["server.switches"] = after.switches - before.switches
    return amounts | dict(counts)


def used_per_1000(
    before: Usage | None, after: Usage | None, messages: int, counts: Mapping[str, int]
) -> Mapping[str, float]:
    """The same per 1,000 messages; what is zero is left out, for it has no ratio."""
    if not messages:
        return {}
    return {name: 1000 * amount / messages for name, amount in used(before, after, counts).items() if amount > 0}


def _of_cgroup(directory: Path) -> Usage | None:
    """cpu.stat and io.stat (Linux, Documentation/admin-guide/cgroup-v2.rst)."""
    try:
        cpu = dict(line.split() for line in (directory / "cpu.stat").read_text().splitlines())
        cpu_s = int(cpu["usage_usec"]) / 1e6
    except (OSError, KeyError, ValueError):
        return None
    try:
        devices = (directory / "io.stat").read_text().splitlines()
        fields = (field.partition("=") for device in devices for field in device.split()[1:])
        written: int | None = sum(int(value) for name, _, value in fields if name == "wbytes")
    except (OSError, ValueError):
        written = None
    return Usage(cpu_s, written, None)


def _listeners(psutil: Any, port: int) -> list[Any]:
    """The outermost processes that listen there: a server's children hold the same socket."""
    listening = {one.pid for one in psutil.net_connections(kind="tcp") if _listens(psutil, one, port) and one.pid}
    outermost = {}
    for process in map(psutil.Process, listening):
        while (parent := process.parent()) and _holds(psutil, parent, port):
            process = parent
        outermost[process.pid] = process
    return [outermost[pid] for pid in sorted(outermost)]


def _holds(psutil: Any, process: Any, port: int) -> bool:
    try:
        return any(_listens(psutil, one, port) for one in process.net_connections(kind="tcp"))
    except psutil.Error:
        return False


def _listens(psutil: Any, connection: Any, port: int) -> bool:
    return bool(connection.status == psutil.CONN_LISTEN and connection.laddr.port == port)


def _of_tree(psutil: Any, listeners: Iterable[Any]) -> Usage | None:
    tree = {process.pid: process for one in listeners for process in (one, *one.children(recursive=True))}
    if not tree:
        return None
    cpu_s, written, switches = 0.0, 0, 0
    for process in tree.values():
        try:
            with process.oneshot():
                times, changes = process.cpu_times(), process.num_ctx_switches()
                cpu_s += sum(times[:4])  # own and waited-for children's, user and system
                switches += changes.voluntary + changes.involuntary
                written += process.io_counters().write_bytes
        except psutil.NoSuchProcess:
            continue
    return Usage(cpu_s, written, switches, frozenset(tree))

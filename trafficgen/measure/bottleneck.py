"""What the server was short of while mail was sent, in one word; and how its queue drained afterwards.

Takes     `ServerSamples`; from when to when mail was sent; what the clients saw, where that is known
Gives     `Shortage` with the numbers that say so; `Drain`
Not here  the sentence (report.observed)

The server's processes are asked before its machine: what did they wait for, a core or the disk? A generator on the same
machine makes all cores busy whatever the server does. In order of cause, the first that fits:

    memory          some task of the machine waits for it: reclaim and swap make both CPU and disk busy
    disk, CPU       what its processes wait for longer; CPU, too, where they keep the cores busy, or one thread a core.
                    CPU that others used is told apart, and the generator among them
    connections     refused, for longer than a moment
    queues          which one grew: it delivers more slowly than it accepts
    something else  clients wait, and its processes neither work nor wait for a core or the disk: a sleep, a lock, DNS,
                    a filter, another server. From outside nobody can say which
Where its processes were not seen (another machine without --cgroup), its machine's tasks are asked in their place.
"""

from dataclasses import dataclass
from enum import Enum
from statistics import fmean
from typing import Final

from trafficgen.clock import NS_PER_S
from trafficgen.measure.observed import ServerSamples
from trafficgen.measure.results import Results


class Shortage(Enum):
    """What a server was short of."""

    CPU = "CPU"
    CPU_OF_GENERATOR = "CPU that the generator used"
    CPU_OF_OTHERS = "CPU that others used"
    MEMORY = "memory"
    DISK = "disk"
    CONNECTIONS = "connections"
    SLOTS = "delivery slots"
    QUEUE_MANAGER = "queue manager"
    NEXT_HOP = "next hop"
    ELSEWHERE = "something else"
    NOTHING = "nothing"
    UNKNOWN = "unknown"


BUSY_CPU: Final = 0.9
"""Of all cores: above, no core has time left in some moments of every second. Of one core, for a thread."""

STALLED_MEMORY: Final = 0.1
"""Some task waits for memory in this share of the time (PSI): reclaim or swap has begun."""

STALLED_IO: Final = 0.2
"""The same for I/O, where no process was seen. A server that calls fsync for each message waits some time always."""

WAITING: Final = 0.5
"""Threads that wait at a time, on average: at every second moment there is one."""

LASTING: Final = 0.1
"""Of all looks. Connections are refused for a moment whenever many clients begin at once."""

GROWN: Final = 100
"""Messages by which a queue must have grown to speak of it."""

IN_HAND: Final = 1.0
"""Messages at a time for which clients wait: with fewer, the server is idle in between."""

UNEXPLAINED: Final = 0.5
"""Of what it has in hand: what is less than this may be the network, or processes that ended between two looks."""

ROUND_TRIPS: Final = 4
"""That a message takes without PIPELINING: MAIL, RCPT, DATA, end of data."""

_GROWING: Final = {
    "queue.active": Shortage.SLOTS,
    "queue.incoming": Shortage.QUEUE_MANAGER,
    "queue.deferred": Shortage.NEXT_HOP,
    "queue.depth": Shortage.SLOTS,
}
"""The last where a server has one queue."""


@dataclass(frozen=True, slots=True)
class ClientView:
    """What the other side knows. `in_hand`: messages at a time that the server had been given and had not answered,
    without the time on the wire; at most the sessions. `generator_cpu`: cores that the generator used; None on another
    machine."""

    in_hand: float
    generator_cpu: float | None

    @classmethod
    def of(cls, results: Results) -> "ClientView":
        """By Little's law: how many came a second, times how long each took."""
        service, connect = (results.latency_ns.get(phase) for phase in ("service", "connect"))
        took_ns = service.mean - ROUND_TRIPS * (connect.p50 if connect else 0) if service else 0.0
        in_hand = (results.rate.messages_per_s or 0.0) * max(took_ns, 0.0) / NS_PER_S
        here = results.server is not None and results.server.clock == "same"
        cores = sum(worker.cpu_share for worker in results.generator.workers)
        return cls(min(in_hand, float(results.plan.get("sessions") or in_hand)), cores if here else None)


@dataclass(frozen=True, slots=True)
class Shortfall:
    """`numbers` by series: means over the time in which mail was sent, but what a queue grew by."""

    shortage: Shortage
    numbers: dict[str, float]


@dataclass(frozen=True, slots=True)
class Drain:
    """The queue after the sending. `took_s` None: what was added was not gone when the observer ended."""

    before: float
    at_end_of_sending: float
    left: float
    took_s: float | None
    per_s: float | None


def find(samples: ServerSamples, from_s: float, to_s: float, clients: ClientView | None = None) -> Shortfall:
    """What it was short of between these times."""
    means = {
        name: fmean(values) for name in samples.series if (values := samples.within(name, from_s, to_s))
    }  # fmt: skip
    if "host.cpu_busy" not in means and not any(name.startswith(("queue.", "server.")) for name in means):
        return Shortfall(Shortage.UNKNOWN, {})
    if means.get("host.memory_pressure", 0.0) >= STALLED_MEMORY:
        return _finding(Shortage.MEMORY, means, "host.memory_pressure")
    found = _of_processes(means, clients) if "server.blocked" in means else _of_machine(means)
    if found is not None:
        return found
    overflows = samples.within("host.listen_overflows", from_s, to_s)
    if sum(value > 0 for value in overflows) > LASTING * len(overflows):
        return _finding(Shortage.CONNECTIONS, means, "host.listen_overflows")
    for name, shortage in _GROWING.items():
        if name == "queue.depth" and "queue.active" in means:
            continue
        if (grown := _grown(samples, name, from_s, to_s)) >= GROWN:
            return Shortfall(shortage, {name: grown})
    if clients is not None and _waits_elsewhere(means, clients):
        numbers = {"clients.in_hand": clients.in_hand}
        return Shortfall(Shortage.ELSEWHERE, numbers | {name: means.get(name, 0.0) for name in _OF_PROCESSES})
    return _finding(Shortage.NOTHING, means, "host.cpu_busy", "host.io_pressure")


_OF_PROCESSES: Final = ("server.cpu", "server.cpu_wait", "server.blocked")
"""Threads that work, that wait for a core, that wait for the disk; at a time."""


def _of_processes(means: dict[str, float], clients: ClientView | None) -> Shortfall | None:
    """Disk or CPU, by what the server's processes waited for."""
    cpu, disk = means.get("server.cpu", 0.0), means["server.blocked"]
    cpu_wait = means.get("server.cpu_wait", max(means.get("server.running", 0.0) - cpu, 0.0))
    if disk >= WAITING and disk >= cpu + cpu_wait:
        return _finding(Shortage.DISK, means, *_OF_PROCESSES, "host.io_pressure", *_disk_parts(means))
    busy = means.get("host.cpu_busy", 0.0)
    used = busy * means.get("host.cores", 0.0)
    full = busy >= BUSY_CPU
    if (full and cpu >= used / 2) or means.get("server.busiest", 0.0) >= BUSY_CPU:
        return _finding(Shortage.CPU, means, "server.cpu", "server.cpu_wait", "server.busiest", "host.cpu_busy")
    if cpu_wait < WAITING or not (full or cpu_wait >= cpu) or _waits_elsewhere(means, clients):
        return None
    shown = ("server.cpu", "server.cpu_wait", "host.cpu_busy", "host.cpu_steal")
    others = used - cpu
    if others <= cpu:
        return _finding(Shortage.CPU, means, *shown)
    generator = clients.generator_cpu if clients else None
    if generator is not None and generator >= others / 2:
        found = _finding(Shortage.CPU_OF_GENERATOR, means, *shown)
        return Shortfall(found.shortage, {"generator.cpu": generator} | found.numbers)
    return _finding(Shortage.CPU_OF_OTHERS, means, *shown)


def _waits_elsewhere(means: dict[str, float], clients: ClientView | None) -> bool:
    """Whether what its processes did and waited for is too little for what clients waited for."""
    if clients is None or clients.in_hand < IN_HAND or "server.blocked" not in means:
        return False
    return sum(means.get(name, 0.0) for name in _OF_PROCESSES) < UNEXPLAINED * clients.in_hand


def _of_machine(means: dict[str, float]) -> Shortfall | None:
    """The same by all tasks of its machine: less sure, as others' are among them, the observer's own at least."""
    disk = means.get("host.blocked", 0.0)
    cpu_wait = means.get("host.running", 0.0) - 1 - means.get("host.cores", 0.0)
    stalled = means.get("host.io_pressure", 0.0) >= STALLED_IO
    full = means.get("host.cpu_busy", 0.0) >= BUSY_CPU
    if stalled and (not full or disk >= max(cpu_wait, WAITING)):
        return _finding(Shortage.DISK, means, "host.io_pressure", "host.blocked", *_disk_parts(means))
    if full:
        return _finding(Shortage.CPU, means, "host.cpu_busy", "host.cpu_pressure", "host.cpu_steal")
    return None


def _disk_parts(means: dict[str, float]) -> list[str]:
    """Of the busiest disk."""
    disk = max((name for name in means if name.endswith(".busy")), key=means.__getitem__, default="")
    return [f"{disk.removesuffix('.busy')}.{part}" for part in ("flushes", "await", "busy")] if disk else []


def drain(samples: ServerSamples, ended_s: float) -> Drain | None:
    """How the queue went back to where it was before the run; None when no queue was seen before and after."""
    depth = samples.series.get("queue.depth", ())
    seen = [(at, value) for at, value in zip(samples.at_s, depth, strict=False) if value is not None]
    after = [(at, value) for at, value in seen if at >= ended_s]
    if not seen or not after:
        return None
    before = max((value for at, value in seen if at <= 0), default=seen[0][1])
    at_end = after[0][1]
    gone = next((at for at, value in after if value <= before), None)
    left = after[-1][1] if gone is None else before
    until_s = after[-1][0] if gone is None else gone
    took_s = until_s - after[0][0]
    per_s = (at_end - left) / took_s if took_s > 0 else None
    return Drain(before, at_end, left, None if gone is None else max(gone - ended_s, 0.0), per_s)


def _grown(samples: ServerSamples, name: str, from_s: float, to_s: float) -> float:
    """From the first third to the last, by means: a queue that swings has not grown."""
    values = samples.within(name, from_s, to_s)
    third = len(values) // 3
    return fmean(values[-third:]) - fmean(values[:third]) if third else 0.0


def _finding(shortage: Shortage, means: dict[str, float], *names: str) -> Shortfall:
    return Shortfall(shortage, {name: means[name] for name in names if name in means})

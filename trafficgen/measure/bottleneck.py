"""What the server was short of while mail was sent, in one word; and how its queue drained afterwards.

Takes     `ServerSamples`; from when to when mail was sent
Gives     `Shortage` with the numbers that say so; `Drain`
Not here  the sentence (report.observed)

In order of cause, the first that fits: full cores make everything else late, so CPU comes before the disk, and the disk
before the queue. Each limit is named with its reason. On the generator's own machine, its CPU time is among the host's.
"""

from dataclasses import dataclass
from enum import Enum
from statistics import fmean
from typing import Final

from trafficgen.measure.observed import ServerSamples


class Shortage(Enum):
    """What a server was short of."""

    CPU = "CPU"
    MEMORY = "memory"
    DISK = "disk"
    CONNECTIONS = "connections"
    SLOTS = "delivery slots"
    QUEUE_MANAGER = "queue manager"
    NOTHING = "nothing"
    UNKNOWN = "unknown"


BUSY_CPU: Final = 0.9
"""Of all cores: above, no core has time left in some moments of every second."""

STALLED_MEMORY: Final = 0.1
"""Some task waits for memory in this share of the time (PSI): reclaim or swap has begun."""

STALLED_IO: Final = 0.2
"""The same for I/O. A server that calls fsync for each message waits some time always; here it is a fifth of it."""

GROWN: Final = 100
"""Messages by which a queue must have grown to speak of it."""


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


def find(samples: ServerSamples, from_s: float, to_s: float) -> Shortfall:
    """What it was short of between these times."""
    means = {
        name: fmean(values) for name in samples.series if (values := samples.within(name, from_s, to_s))
    }  # fmt: skip
    grown = {name: _grown(samples, name, from_s, to_s) for name in ("queue.incoming", "queue.active")}
    if "host.cpu_busy" not in means and not any(name.startswith("queue.") for name in means):
        return Shortfall(Shortage.UNKNOWN, {})
    if means.get("host.cpu_busy", 0.0) >= BUSY_CPU:
        return _finding(Shortage.CPU, means, "host.cpu_busy", "host.cpu_pressure", "host.cpu_steal", "server.cpu")
    if means.get("host.memory_pressure", 0.0) >= STALLED_MEMORY:
        return _finding(Shortage.MEMORY, means, "host.memory_pressure")
    if means.get("host.io_pressure", 0.0) >= STALLED_IO:
        disk = max((name for name in means if name.endswith(".busy")), key=means.__getitem__, default="")
        shown = [f"{disk.removesuffix('.busy')}.{part}" for part in ("flushes", "await", "busy")] if disk else []
        return _finding(Shortage.DISK, means, "host.io_pressure", *shown)
    if means.get("host.listen_overflows", 0.0) > 0:
        return _finding(Shortage.CONNECTIONS, means, "host.listen_overflows")
    if grown["queue.active"] >= GROWN:
        return Shortfall(Shortage.SLOTS, {"queue.active": grown["queue.active"]})
    if grown["queue.incoming"] >= GROWN:
        return Shortfall(Shortage.QUEUE_MANAGER, {"queue.incoming": grown["queue.incoming"]})
    return _finding(Shortage.NOTHING, means, "host.cpu_busy", "host.io_pressure")


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

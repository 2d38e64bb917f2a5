"""Which run a file's results are of, and who generated its load: the machine, its worker processes, shards of others.

Takes     a worker's snapshot where a piece is made from one (`of`)
Gives     frozen pieces of results; docs/reference/results.md says each key's meaning and unit
Not here  what became of the messages (counts), the whole and how it is built (results)
"""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from trafficgen.measure.codec import Amount, Count, Nanoseconds, Seconds
from trafficgen.measure.counts import Latency
from trafficgen.measure.observed import RunClock
from trafficgen.measure.snapshot import WorkerSnapshot

RunId = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
Date = Annotated[str, Meta(pattern=r"^2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*[+-]\d\d:\d\d$")]
"""ISO 8601 with an offset from UTC."""


@dataclass(frozen=True, slots=True)
class Run:
    """Which run it was."""

    id: RunId
    seed: Annotated[int, Meta(ge=0)]
    started_at: Date
    duration_s: Seconds
    tool_version: str
    target: str | None = None
    addresses: tuple[str, ...] = ()
    model: Literal["open", "closed"] = "closed"
    command: tuple[str, ...] | None = None
    clock: RunClock | None = None
    """None in results of earlier versions, and in merged ones."""
    last_end_s: Seconds | None = None
    """When the last message ended, since the run began; None in results of earlier versions. A first message that
    starts late, as on a ramp, makes it more than `duration_s`."""
    stopped_after_s: Seconds | None = None
    """How long the run had gone on when it was stopped, 0 where that was before it began; None where it ended by
    itself, and in results of earlier versions. (`duration_s` is the time from the first start to the last end of a
    message.)"""

    @property
    def ended_s(self) -> float:
        """When it was over, since it began, as far as is known: on the clock of the timeline and of observers."""
        return self.duration_s if self.last_end_s is None else self.last_end_s


@dataclass(frozen=True, slots=True)
class Host:
    """The machine that generated the load."""

    python: str
    platform: str
    cpus: Count

    @classmethod
    def here(cls) -> "Host":
        """This machine."""
        return cls(platform.python_version(), platform.platform(), os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """How one generator process fared."""

    worker: Count
    cpu_share: Amount
    loop_lag_ns: Latency | None
    lateness_ns: Latency | None
    sessions_opened: Count

    @classmethod
    def of(cls, worker: WorkerSnapshot) -> "WorkerHealth":
        return cls(
            worker.worker,
            worker.cpu_share,
            Latency.of(worker.loop_lag),
            Latency.of(worker.lateness),
            worker.sessions_opened,
        )


@dataclass(frozen=True, slots=True)
class Generator:
    """Whether the generator, not the server, was the limit, and why."""

    limited: bool
    sentences: tuple[str, ...]
    workers: tuple[WorkerHealth, ...]
    lost_workers: tuple[Count, ...]
    sessions_opened: Count
    ceiling_share: Amount | None = None
    """Of the rate that this machine was found capable of; None: not calibrated."""


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """One shard of a run that several machines sent together; times in ns since the run's common time zero.

    `planned_by_all`: messages of all shards; None where only time ends the run in the closed model. `files`: SHA-256 of
    each file that messages are made from, by its path. `clock_offset_ns`: what this machine's clock was found to be
    ahead of the coordinator's, known to `clock_error_ns`, and allowed for; None without a coordinator.
    """

    number: Annotated[int, Meta(ge=1)]
    of: Annotated[int, Meta(ge=1)]
    start_at: Date | None
    planned_by_all: Count | None
    host: str
    first_start_ns: int | None
    last_start_ns: int | None
    last_end_ns: int | None
    last_answered_ns: int | None
    files: Mapping[str, str]
    clock_offset_ns: int | None = None
    clock_error_ns: Nanoseconds | None = None

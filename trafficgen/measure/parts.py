"""What a run's results are made of, piece by piece; docs/results.md says each key's meaning and unit.

Takes     histograms and worker accounts where a piece is made from one (`of`)
Gives     frozen pieces that `document` turns into JSON and back, field by field: a field's name is a key's name
Not here  the whole and how it is built (results)
"""

import os
import platform
from dataclasses import dataclass

from trafficgen.measure.histogram import Histogram
from trafficgen.measure.snapshot import Worker
from trafficgen.outcomes import StoppedBy as StoppedBy


@dataclass(frozen=True, slots=True)
class Run:
    """Which run it was."""

    id: str
    seed: int
    started_at: str
    duration_s: float
    tool_version: str
    target: str | None = None
    addresses: tuple[str, ...] = ()
    model: str = "closed"
    command: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """The machine that generated the load."""

    python: str
    platform: str
    cpus: int

    @classmethod
    def here(cls) -> "Host":
        """This machine."""
        return cls(platform.python_version(), platform.platform(), os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class Messages:
    """What became of them. `bytes` counts the octets of accepted messages."""

    planned: int
    started: int
    accepted: int
    rejected_temporary: int
    rejected_permanent: int
    failed: int
    in_doubt: int
    not_started: int
    bytes: int

    @property
    def unsuccessful(self) -> int:
        """Rejected or failed. Messages in doubt are neither."""
        return self.rejected_temporary + self.rejected_permanent + self.failed

    @property
    def add_up(self) -> bool:
        """Whether the two equations hold."""
        outcomes = self.accepted + self.unsuccessful + self.in_doubt
        return self.started == outcomes and self.planned == self.started + self.not_started


@dataclass(frozen=True, slots=True)
class Rate:
    """Accepted messages over the time from the first start to the last end.

    `started_per_s` counts starts from the first to the last; `wanted_per_s` is what the plan asked for, None in the
    closed loop and with stages.
    """

    messages_per_s: float
    messages_per_hour: float
    bytes_per_s: float
    started_per_s: float
    wanted_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """One histogram in a few numbers, all ns but `count`. Percentiles are never low and high by at most 0.1 %."""

    count: int
    min: int
    mean: float
    p50: int
    p75: int
    p90: int
    p95: int
    p99: int
    p99_9: int
    max: int

    @classmethod
    def of(cls, histogram: Histogram) -> "Latency | None":
        """None when nothing was recorded."""
        if histogram.min_ns is None or histogram.max_ns is None or histogram.mean_ns is None:
            return None
        quantiles = histogram.quantiles_ns((0.5, 0.75, 0.9, 0.95, 0.99, 0.999))
        p50, p75, p90, p95, p99, p99_9 = (value or 0 for value in quantiles)
        return cls(
            histogram.count, histogram.min_ns, histogram.mean_ns, p50, p75, p90, p95, p99, p99_9, histogram.max_ns
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """One kind of reply; `enhanced` is "" when it had no enhanced status code (RFC 3463)."""

    phase: str
    code: int
    enhanced: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class Failure:
    """One kind of end that was not a reply."""

    phase: str
    reason: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class Domain:
    """A recipient domain; `weight` is the wanted share.

    `started` and `accepted` count recipients, a message's all alike; latencies are by its first one.
    """

    weight: float
    started: int
    accepted: int
    latency_ns: Latency | None = None
    """Response time in the open model, service time in the closed one; None for domains that are not timed."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the sink has, held against what was accepted.

    `expected` accepted messages; `received` of them are in the sink; `missing` are not; `duplicated` came more than
    once; `corrupted` came with a body whose checksum is wrong.
    """

    expected: int
    received: int
    missing: int
    duplicated: int
    corrupted: int

    @property
    def clean(self) -> bool:
        """Whether every message is there once and whole."""
        return not (self.missing or self.duplicated or self.corrupted)


@dataclass(frozen=True, slots=True)
class Delivery:
    """How mail came out at the other end of the server it was handed to.

    `drained_ns`: from the last message handed over to the last one delivered, 0 when that was before. `in_time`: all
    came before the wait was over. `explained` messages came more than once because a reply was lost; `unexpected` ones
    though nobody took them over. `latency_ns`: from the (intended) start to the arrival; None when the sink's clock is
    not ours.
    """

    drained_ns: int
    inject_per_s: float
    delivered_per_s: float
    in_time: bool
    explained: int
    unexpected: int
    latency_ns: Latency | None


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """How one generator process fared."""

    worker: int
    cpu_share: float
    loop_lag_ns: Latency | None
    lateness_ns: Latency | None
    sessions_opened: int

    @classmethod
    def of(cls, worker: Worker) -> "WorkerHealth":
        return cls(
            worker.worker,
            worker.cpu_share,
            Latency.of(worker.loop_lag),
            Latency.of(worker.lateness),
            worker.sessions_opened,
        )


@dataclass(frozen=True, slots=True)
class ThresholdVerdict:
    """What became of one threshold: `value` in ns, a share, a rate per second or a count; None when nothing was
    measured, which is not passing."""

    expression: str
    value: float | None
    limit: float
    passed: bool


@dataclass(frozen=True, slots=True)
class Generator:
    """Whether the generator, not the server, was the limit, and why."""

    limited: bool
    sentences: tuple[str, ...]
    workers: tuple[WorkerHealth, ...]
    lost_workers: tuple[int, ...]
    sessions_opened: int
    ceiling_share: float | None = None
    """Of the rate that this machine was found capable of; None: not calibrated."""

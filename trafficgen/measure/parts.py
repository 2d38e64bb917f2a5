"""What a run's results are made of, piece by piece; docs/reference/results.md says each key's meaning and unit.

Takes     histograms and worker accounts where a piece is made from one (`of`)
Gives     frozen pieces that `document` turns into JSON and back, field by field: a field's name is a key's name
Not here  the whole and how it is built (results)
"""

import os
import platform
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from typing import Annotated, Literal

from msgspec import Meta

from trafficgen.measure.commands import CommandAccount
from trafficgen.measure.document import Amount, Count, Nanoseconds, Seconds
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.observed import RunClock
from trafficgen.measure.snapshot import TargetSnapshot, WorkerSnapshot

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
    """None in results of before, and in merged ones."""


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
class MessageCounts:
    """What became of them. `bytes` counts the octets of accepted messages."""

    planned: Count
    started: Count
    accepted: Count
    rejected_temporary: Count
    rejected_permanent: Count
    failed: Count
    in_doubt: Count
    not_started: Count
    bytes: Count

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
class RecipientCounts:
    """What became of the recipients of all messages that were started.

    `partly_accepted` counts messages: accepted for some of their recipients, and not for all.
    """

    started: Count
    accepted: Count
    rejected_temporary: Count
    rejected_permanent: Count
    failed: Count
    in_doubt: Count
    partly_accepted: Count

    @property
    def add_up(self) -> bool:
        """Whether every recipient ended as exactly one of these."""
        return self.started == (
            self.accepted + self.rejected_temporary + self.rejected_permanent + self.failed + self.in_doubt
        )


@dataclass(frozen=True, slots=True)
class Rate:
    """Accepted messages over the time in which mail was sent, `over_s`: from the first start to the last start or
    the last reply that accepted or rejected a message, and to the end of the time asked for where there was more to
    send then. What is only waited for after that, such as a reply that never comes, does not stretch it. None in
    results of 0.1.0, whose rates are over `run.duration_s`.

    `started_per_s` counts starts from the first to the last; `wanted_per_s` is what the plan asked for, None in the
    closed loop and with stages.
    """

    messages_per_s: Amount
    messages_per_hour: Amount
    bytes_per_s: Amount
    started_per_s: Amount
    wanted_per_s: Amount | None = None
    over_s: Amount | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """One histogram in a few numbers, all ns but `count`. Percentiles are never low and high by at most 0.1 %."""

    count: Count
    min: Nanoseconds
    mean: Amount
    p50: Nanoseconds
    p75: Nanoseconds
    p90: Nanoseconds
    p95: Nanoseconds
    p99: Nanoseconds
    p99_9: Nanoseconds
    max: Nanoseconds

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
class ReplyCount:
    """One kind of reply; `enhanced` is "" when it had no enhanced status code (RFC 3463)."""

    phase: str
    code: Annotated[int, Meta(ge=0, le=999)]
    enhanced: str
    count: Count
    example: str


@dataclass(frozen=True, slots=True)
class FailureCount:
    """One kind of end that was not a reply."""

    phase: str
    reason: str
    count: Count
    example: str


@dataclass(frozen=True, slots=True)
class TlsCount:
    """Sessions that came to be protected by this version and cipher, as OpenSSL names them, and the resumed ones."""

    version: str
    cipher: str
    sessions: Count
    resumed: Count


@dataclass(frozen=True, slots=True)
class Domain:
    """A recipient domain; `weight` is the wanted share.

    `started` and `accepted` count recipients, a message's all alike; latencies are by its first one.
    """

    weight: Amount
    started: Count
    accepted: Count
    latency_ns: Latency | None = None
    """Response time in the open model, service time in the closed one; None for domains that are not timed."""


@dataclass(frozen=True, slots=True)
class CommandCounts:
    """What became of the commands of one kind, besides sending a message.

    `refused`: the server said no. `failed`: no answer came. `bytes` and `latency_ns` are of those carried out, latency
    from the intended start where there is one. `per_s`: carried out, over the time that the counts are of.
    """

    count: Count
    refused: Count
    failed: Count
    bytes: Count
    per_s: Amount
    latency_ns: Latency | None

    @property
    def errors(self) -> int:
        return self.refused + self.failed

    @classmethod
    def of(cls, account: CommandAccount, over_s: float) -> "CommandCounts":
        """`over_s`: how long it took; nothing happens in no time."""
        done, temporary, permanent, failed, in_doubt = account.outcomes.tolist()
        return cls(
            count=account.count,
            refused=temporary + permanent,
            failed=failed + in_doubt,
            bytes=account.octets,
            per_s=done / over_s if over_s > 0 else 0.0,
            latency_ns=Latency.of(account.latency),
        )

    def account(self, latency: Histogram) -> CommandAccount:
        """What they were counted from, with the histogram that is kept beside; `of` gives the same again."""
        return CommandAccount.of(self.count - self.errors, self.refused, self.failed, self.bytes, latency)


@dataclass(frozen=True, slots=True)
class TargetCounts:
    """One of several targets: `weight` its wanted share of sessions, `sessions` that were begun, and what became of the
    messages that they `started`; of a client that tries again, of the tries. `latency_ns` as in the results."""

    target: str
    weight: Amount
    sessions: Count
    started: Count
    accepted: Count
    rejected_temporary: Count
    rejected_permanent: Count
    failed: Count
    in_doubt: Count
    latency_ns: Latency | None

    @classmethod
    def of(cls, target: str, weight: float, found: TargetSnapshot) -> "TargetCounts":
        """From what was counted."""
        accepted, rejected_temporary, rejected_permanent, failed, in_doubt = found.outcomes
        return cls(
            target=target,
            weight=weight,
            sessions=found.sessions,
            started=sum(found.outcomes),
            accepted=accepted,
            rejected_temporary=rejected_temporary,
            rejected_permanent=rejected_permanent,
            failed=failed,
            in_doubt=in_doubt,
            latency_ns=Latency.of(found.latency),
        )

    @property
    def adds_up(self) -> bool:
        """Whether each that was started ended once."""
        rejected = self.rejected_temporary + self.rejected_permanent
        return self.started == self.accepted + rejected + self.failed + self.in_doubt


@dataclass(frozen=True, slots=True)
class LedgerCounts:
    """What the sink has, held against what was accepted.

    `expected` accepted messages; `received` of them are in the sink; `missing` are not; `duplicated` came more than
    once; `corrupted` came with a body whose checksum is wrong; `mended` as well, but a server may end their header
    early, since a line of it is no field. `explained` came more than once, as an earlier try was in doubt.
    """

    expected: Count
    received: Count
    missing: Count
    duplicated: Count
    corrupted: Count
    mended: Count = 0
    explained: Count = 0

    @property
    def clean(self) -> bool:
        """Whether every message is there once and whole."""
        return not (self.missing or self.duplicated or self.corrupted)


@dataclass(frozen=True, slots=True)
class Delivery:
    """How mail came out at the other end of the server it was handed to.

    `drained_ns`: from the last message sent to the last one delivered, 0 when that was before. `in_time`: all
    came before the wait was over. `explained` messages came more than once because a reply was lost; `unexpected` ones
    though nobody took them over. `latency_ns`: from the (intended) start to the arrival; None when the sink's clock is
    not ours. `undelivered`: each `every_s` since the run began, how many of the messages that the server accepted had
    been begun and had not arrived: its queue, whatever the server; empty when the sink's clock is not ours.
    """

    drained_ns: Nanoseconds
    inject_per_s: Amount
    delivered_per_s: Amount
    in_time: bool
    explained: Count
    unexpected: Count
    latency_ns: Latency | None
    every_s: Seconds = 1.0
    undelivered: tuple[Count, ...] = ()


@dataclass(frozen=True, slots=True)
class MailboxCounts:
    """Mail that was delivered to users, held against what they read.

    `delivered` = `read` + `spam` + `not_yet_due` + `missing`: `read` to its end; `spam` delivered to a folder that
    nobody reads; `not_yet_due` for its reader has not come to it; `missing` though its reader was shown all there is.
    `seen`: shown to its reader. `doubled` is in the inbox more than once, `damaged` has a body whose checksum is wrong,
    `misplaced` was found in somebody else's mailbox. `in_doubt`: the server did not answer its delivery; `dropped`:
    not delivered, as there were as many deliveries at work as there may be. `foreign` mail has no mark of ours,
    `earlier` one of another run. `deleted` and `moved` by us, of any run.
    """

    delivered: Count
    in_doubt: Count
    dropped: Count
    seen: Count
    read: Count
    spam: Count
    not_yet_due: Count
    missing: Count
    doubled: Count
    damaged: Count
    misplaced: Count
    foreign: Count
    earlier: Count
    deleted: Count
    moved: Count

    @classmethod
    def none(cls) -> "MailboxCounts":
        """Of a run that has not begun."""
        return cls(*(0 for _ in fields(cls)))

    @property
    def clean(self) -> bool:
        """Whether nothing is missing, doubled, damaged or in the wrong place."""
        return not (self.missing or self.doubled or self.damaged or self.misplaced)

    @property
    def adds_up(self) -> bool:
        """Whether each delivered message is in one place of the account."""
        return self.delivered == self.read + self.spam + self.not_yet_due + self.missing

    def __add__(self, other: "MailboxCounts") -> "MailboxCounts":
        return MailboxCounts(*(mine + yours for mine, yours in zip(astuple(self), astuple(other), strict=True)))


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


@dataclass(frozen=True, slots=True)
class ThresholdVerdict:
    """What became of one threshold: `value` in ns, a share, a rate per second or a count; None when nothing was
    measured, which is not passing."""

    expression: str
    value: Amount | None
    limit: Amount
    passed: bool


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

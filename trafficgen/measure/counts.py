"""What became of messages, recipients, commands and sessions, as results have it, piece by piece.

Takes     histograms and accounts where a piece is made from one (`of`)
Gives     frozen pieces that `codec` turns into JSON and back, field by field: a field's name is a key's name, and
          docs/reference/results.md says its meaning and unit
Not here  whose load it was (generator), what came out behind the server (delivered), the whole (results)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from trafficgen.measure.codec import Amount, Count, Nanoseconds
from trafficgen.measure.commands import CommandAccount
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.snapshot import TargetSnapshot


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

    @classmethod
    def of(cls, outcomes: Sequence[int], octets: int, not_started: int = 0) -> "MessageCounts":
        """From what was counted, by `Outcome`."""
        started = sum(outcomes)
        counts = started + not_started, started, *outcomes, not_started, octets
        return cls(*counts)

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
    send then; in the open model at one rate from time zero to where one message more would be due, or the time asked
    for ends. What is only waited for after that, such as a reply that never comes, does not stretch it. None in
    results of 0.1.0, whose rates are over `run.duration_s`.

    `started_per_s` counts starts from the first to the last (a single one over `over_s`); `wanted_per_s` is what the
    plan asked for, None in the closed loop and with stages.
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
class ThresholdVerdict:
    """What became of one threshold: `value` in ns, a share, a rate per second or a count; None when nothing was
    measured, which is not passing."""

    expression: str
    value: Amount | None
    limit: Amount
    passed: bool

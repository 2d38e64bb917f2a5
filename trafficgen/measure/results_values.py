"""The values of one run, in the order in which its file has them (docs/reference/results.md).

Takes     nothing
Gives     `ResultsValues`, which `Results` adds to: how they come about, and what follows from them
Not here  what must hold between them (soundness), the pieces (counts, delivered, generator)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from trafficgen.measure.counts import (
    CommandCounts,
    Domain,
    FailureCount,
    Latency,
    MessageCounts,
    Rate,
    RecipientCounts,
    ReplyCount,
    TargetCounts,
    ThresholdVerdict,
    TlsCount,
)
from trafficgen.measure.delivered import Delivery, LedgerCounts, MailboxCounts
from trafficgen.measure.generator import Generator, Host, Run, ShardRecord
from trafficgen.measure.health import Caveat
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.observed import ServerSamples
from trafficgen.measure.phases import OF_OLD_FILES
from trafficgen.measure.snapshot import IdleCounts, RetryCounts
from trafficgen.measure.timeline import Interval
from trafficgen.measure.window import Window
from trafficgen.outcomes import StoppedBy


@dataclass(frozen=True, slots=True)
class ResultsValues:
    """Times in ns, sizes in octets, rates a second unless a name says otherwise."""

    schema_version: Literal[1]
    complete: bool
    """False while the run goes on, and in the file of a run that was killed."""
    valid: bool
    """False when part of the measurement was lost: then no number here may be judged."""
    stopped_by: StoppedBy
    run: Run
    plan: Mapping[str, Any]
    host: Host
    messages: MessageCounts
    rate: Rate
    latency_ns: Mapping[str, Latency | None]
    replies: tuple[ReplyCount, ...]
    failures: tuple[FailureCount, ...]
    domains: Mapping[str, Domain]
    ledger: LedgerCounts | None
    generator: Generator
    caveats: tuple[Caveat, ...]
    timeline: tuple[Interval, ...]
    histograms: Mapping[str, Histogram]
    domain_histograms: Mapping[str, Histogram] = field(default_factory=dict)
    """Latencies of accepted messages by domain, for the first `recorder.MAX_TIMED_DOMAINS` domains of the plan."""
    window: Window | None = None
    """The part that verdicts are made from; None: the whole run."""
    thresholds: tuple[ThresholdVerdict, ...] = ()
    delivery: Delivery | None = None
    """With a wait for delivery; None without."""
    phases: Mapping[str, str] = field(default_factory=lambda: OF_OLD_FILES.phases)
    """Steps of the sessions of this run, in the order of events, with their words for reports."""
    commands: Mapping[str, CommandCounts] = field(default_factory=dict)
    """By kind, besides sending a message."""
    command_histograms: Mapping[str, Histogram] = field(default_factory=dict)
    """Latencies of commands that were carried out, without the empty ones."""
    mailboxes: MailboxCounts | None = None
    """Of a run with users of mailboxes: what was delivered against what they read."""
    recipients: RecipientCounts | None = None
    """Where messages may have several; None where each has one, and in results of 0.1.0."""
    server: ServerSamples | None = None
    """What an observer saw of the server; None without one."""
    targets: tuple[TargetCounts, ...] = ()
    """Where there are several; empty with one, and in results of earlier versions."""
    target_histograms: Mapping[str, Histogram] = field(default_factory=dict)
    """Latencies of accepted messages by target, where there are several."""
    retries: RetryCounts | None = None
    """Of a client that tries again; None of one that does not, and in results of earlier versions."""
    idle: IdleCounts | None = None
    """Of sessions that carry no message; None without any, and in results of earlier versions."""
    tls: tuple[TlsCount, ...] = ()
    """By version and cipher; empty where no session was protected, and in results of earlier versions."""
    shards: tuple[ShardRecord, ...] = ()
    """Of a run that several machines sent together: this shard, or all in merged results. Empty for any other."""

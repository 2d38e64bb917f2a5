"""What a coordinator, the hosts and their shards say to each other.

coordinator: prepare(ShardOrder)        host starts a process for the shard; it looks at target, files and limits
shard: ShardPrepared | ShardRefused     coordinator: begin(time) once all are prepared and all clocks known, or end
shard: ShardProgress…                   coordinator: look… (what is new since its last look), stop…
shard: ShardEnded | ShardRefused
"""

from collections.abc import Mapping
from dataclasses import dataclass

from trafficgen.mailbox.plan import MailboxPlan
from trafficgen.measure.delivered import MailboxCounts
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import Snapshot
from trafficgen.measure.timeline_changes import TimelineChanges
from trafficgen.plan import Plan


@dataclass(frozen=True, slots=True)
class ShardOrder:
    """One shard of a run. `manifest`: whether to keep one. Nothing secret is in a plan: it has paths."""

    token: str
    """Of this shard of this run: a host takes it once."""
    plan: Plan | MailboxPlan
    manifest: bool


@dataclass(frozen=True, slots=True)
class ShardPrepared:
    """What a host found for its shard before anything was sent."""

    version: str
    name: str
    addresses: tuple[str, ...]
    files: Mapping[str, str]
    planned: int | None
    """Messages of this shard; None where only time ends it."""


@dataclass(frozen=True, slots=True)
class ShardRefused:
    """A shard that cannot be sent; it has sent nothing."""

    words: str


@dataclass(frozen=True, slots=True)
class BeginShard:
    """Begin at this time of the host's own system clock, ns since 1970."""

    start_at_ns: int


@dataclass(frozen=True, slots=True)
class StopShard:
    """End in good order; said again, at once."""


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """How a shard is doing; times on its host's clock. `planned`: messages that it has to send, or has taken up so far.
    `changes`: of the timeline, since the last of these that was heard; the snapshot has none. `mailboxes`: where it has
    users of mailboxes."""

    snapshot: Snapshot
    planned: int
    changes: tuple[TimelineChanges, ...]
    mailboxes: MailboxCounts | None = None


@dataclass(frozen=True, slots=True)
class ShardEnded:
    """A shard's results, and its manifest if one was kept."""

    results: Results
    manifest: bytes | None


@dataclass(frozen=True, slots=True)
class ShardGone:
    """The shard's process ended without a last word."""

    words: str


@dataclass(frozen=True, slots=True)
class ShardNotBegun:
    """The run was stopped before its start: the shard has sent nothing, and that is nobody's fault."""

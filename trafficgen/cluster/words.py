"""What a coordinator, the hosts and their shards say to each other.

coordinator: prepare(ShardOrder)        host starts a process for the shard; it looks at target, files and limits
shard: ShardPrepared | ShardRefused     coordinator: begin(time) once all are prepared and all clocks known, or end
shard: ShardProgress…                   coordinator: look… (what is new since its last look), stop…
shard: ShardEnded | ShardRefused

A shard of a gate by slices is held once it has begun; then, again and again,
coordinator: serve(ServeSlices)
shard: ShardServed
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from trafficgen.mailbox.plan import MailboxPlan
from trafficgen.measure.delivered import MailboxCounts
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import Snapshot
from trafficgen.measure.timeline_changes import TimelineChanges
from trafficgen.plan import Plan
from trafficgen.runs.slices import SideCounts, SliceTimes
from trafficgen.verdict.gating import Side
from trafficgen.verdict.slices import Slice


@dataclass(frozen=True, slots=True)
class ShardOrder:
    """One shard of a run. `manifest`: whether to keep one; `turns`: whether it is held, and takes turns with that of
    another run. Nothing secret is in a plan: it has paths."""

    token: str
    """Of this shard of this run: a host takes it once."""
    plan: Plan | MailboxPlan
    manifest: bool
    turns: bool = False


@dataclass(frozen=True, slots=True)
class ShardPrepared:
    """What a host found for its shard before anything was sent."""

    version: str
    name: str
    addresses: tuple[str, ...]
    files: Mapping[str, str]
    planned: int | None
    """Messages of this shard; None where only time ends it."""
    place: str = ""
    """Where its processes are seen (host.cpu_time), and the id of the outermost of this program there: of its host."""
    parent: int = 0


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
    """End in good order; said again, at once. `why`, where that is not the coordinator's wish."""

    why: str = ""


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
class ServeSlices:
    """Slices of both sides, one after the other without a pause, from `begin_at_ns` by the host's system clock on; the
    shard serves those that are `mine`. `metrics`: whose histograms are wanted. `roots`: processes that are not foreign
    there (host.cpu_time); None: not known."""

    serial: int
    begin_at_ns: int
    sides: tuple[Side, ...]
    mine: Side
    times: SliceTimes
    metrics: tuple[str, ...]
    roots: Collection[int] | None


@dataclass(frozen=True, slots=True)
class ShardServed:
    """The slices of its side that a shard served, and its messages before and after all of both sides.
    `wall_offset_ns` of the host when it heard of them (host.machine_clock): another one than before tells of a system
    clock that was set. `ahead_ns`: how long before the first slice that was; negative when it was too late."""

    serial: int
    slices: tuple[Slice, ...]
    before: SideCounts
    after: SideCounts
    wall_offset_ns: int
    ahead_ns: int


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

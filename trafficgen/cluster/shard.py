"""One shard of a run, and all that the coordinator knows of it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trafficgen.cluster import words
from trafficgen.cluster.clocks import Clock
from trafficgen.measure.timeline_changes import PartTimeline

if TYPE_CHECKING:
    from concurrent.futures import Future


@dataclass(slots=True)
class HostShard:
    """`running` and `last` are its latest words, `serial` the number of the latest; `timeline` is what they said of its
    timeline. `asked`: a look that is on its way, since `asked_ns`; `answered_ns`: when the host last answered one;
    `said_ns`: when an answer last had a word in it."""

    host: str
    order: words.ShardOrder
    answered_ns: int
    clock: Clock = field(default_factory=lambda: Clock(0, 0))
    prepared: words.ShardPrepared | None = None
    running: words.ShardProgress | None = None
    timeline: PartTimeline = field(default_factory=PartTimeline)
    last: words.ShardEnded | words.ShardRefused | words.ShardGone | words.ShardNotBegun | None = None
    serial: int = 0
    asked: "Future[Any] | None" = None
    asked_ns: int = 0
    said_ns: int = 0

    @property
    def over(self) -> bool:
        return self.last is not None

    @property
    def number(self) -> int:
        return self.order.plan.shard.number

    @property
    def who(self) -> str:
        return f"shard {self.number} ({self.prepared.name if self.prepared else self.host})"

    @property
    def found(self) -> words.ShardPrepared:
        """What its host found before the start."""
        assert self.prepared is not None
        return self.prepared

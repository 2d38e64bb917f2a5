"""All numbers of a run at one moment.

Takes     what each worker has recorded since the run began: a snapshot is cumulative, never a difference
Gives     the same for the whole run: `a + b` in any order, `merge` for many; cheap to pickle
Promises  started is the sum of all outcomes; what is still on its way is `in_flight` and counted nowhere else
Not here  what the numbers mean for a reader (results), how they came in (recorder)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import zip_longest
from operator import add
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from trafficgen.measure.codec import Count
from trafficgen.measure.commands import CommandAccount
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.phases import MESSAGE_STRETCHES
from trafficgen.measure.timeline import Timeline
from trafficgen.outcomes import Outcome

_Key = TypeVar("_Key")
_Sum = TypeVar("_Sum", "Tally", Histogram, CommandAccount)


@dataclass(frozen=True, slots=True)
class Tally:
    """How often something was seen, and its text the first time."""

    count: int
    example: str

    def __add__(self, other: "Tally") -> "Tally":
        # Whichever was seen more often lends its text; the text itself breaks a tie, so that any order gives the same.
        spoken = max(self, other, key=lambda tally: (tally.example != "", tally.count, tally.example))
        return Tally(self.count + other.count, spoken.example)


ReplyKey = tuple[str, int, str]
"""Phase, reply code, enhanced status code ("" when the reply had none)."""

FailureKey = tuple[str, str]
"""Phase, and what happened there in a word or two."""


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """How one generator process fared: CPU and wall time in ns since it began, and how promptly it acted."""

    worker: int
    cpu_ns: int
    wall_ns: int
    loop_lag: Histogram
    lateness: Histogram
    sessions_open: int
    sessions_opened: int
    in_flight: int

    @property
    def cpu_share(self) -> float:
        """Share of one core that this worker used, 0 to 1 (a little above when the clocks are coarse)."""
        return self.cpu_ns / self.wall_ns if self.wall_ns else 0.0


@dataclass(frozen=True, slots=True)
class RetryCounts:
    """Of a client that tries again: tries beyond the first of each message, messages that had some, and how many of
    those were accepted in the end."""

    retries: Count = 0
    messages: Count = 0
    accepted: Count = 0

    def __add__(self, other: "RetryCounts") -> "RetryCounts":
        return RetryCounts(self.retries + other.retries, self.messages + other.messages, self.accepted + other.accepted)


@dataclass(frozen=True, slots=True)
class IdleCounts:
    """Of sessions that hold a connection and carry no message: opened, how many were held at once (the most of each
    worker, added up), lost while they were held, and NOOPs said."""

    opened: Count = 0
    most_held: Count = 0
    lost: Count = 0
    noops: Count = 0

    def __add__(self, other: "IdleCounts") -> "IdleCounts":
        return IdleCounts(
            self.opened + other.opened, self.most_held + other.most_held, self.lost + other.lost,
            self.noops + other.noops,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class TargetSnapshot:
    """Of one of several targets: sessions begun, messages by `Outcome`, latencies of those accepted."""

    sessions: int
    outcomes: tuple[int, ...]
    latency: Histogram

    def __add__(self, other: "TargetSnapshot") -> "TargetSnapshot":
        outcomes = tuple(a + b for a, b in zip(self.outcomes, other.outcomes, strict=True))
        return TargetSnapshot(self.sessions + other.sessions, outcomes, self.latency + other.latency)


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The state of a run, or of one worker's part of it, at `taken_ns`. Treat what it holds as read-only."""

    taken_ns: int
    open_loop: bool
    outcomes: tuple[int, ...]
    """Messages by `Outcome`, in the order of its codes."""
    octets: int
    """Octets of accepted messages."""
    first_start_ns: int | None
    last_start_ns: int | None
    last_end_ns: int | None
    last_answered_ns: int | None
    histograms: Mapping[str, Histogram]
    """By the names in `PhaseTable.stretches`; those of messages are always there."""
    replies: Mapping[ReplyKey, Tally]
    failures: Mapping[FailureKey, Tally]
    domains_started: NDArray[np.int64]
    domains_accepted: NDArray[np.int64]
    timeline: Timeline
    workers: tuple[WorkerSnapshot, ...]
    domain_latencies: Mapping[int, Histogram] = field(default_factory=dict)
    """Of accepted messages, by domain index; only the first `recorder.MAX_TIMED_DOMAINS` domains are timed."""
    commands: Mapping[str, CommandAccount] = field(default_factory=dict)
    """By kind, all that the protocol has."""
    recipients: tuple[int, ...] = ()
    """Recipients by `Outcome`, in the order of its codes; empty where every message has one."""
    partly_accepted: int = 0
    """Accepted messages that some of their recipients did not get."""
    targets: tuple[TargetSnapshot, ...] = ()
    """Where there are several, in the order of the plan."""
    retries: RetryCounts | None = None
    """Of a client that tries again; None of one that does not."""
    idle: IdleCounts | None = None
    """Of sessions that carry no message; None without any."""
    protected: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """By TLS version and cipher: sessions, and how many of them were resumed."""

    @classmethod
    def empty(cls, *, open_loop: bool = False) -> "Snapshot":
        """A run that has not begun; adding it to another changes nothing."""
        return cls(
            taken_ns=0,
            open_loop=open_loop,
            outcomes=(0,) * len(Outcome),
            octets=0,
            first_start_ns=None,
            last_start_ns=None,
            last_end_ns=None,
            last_answered_ns=None,
            histograms={name: Histogram() for name in MESSAGE_STRETCHES},
            replies={},
            failures={},
            domains_started=np.zeros(0, np.int64),
            domains_accepted=np.zeros(0, np.int64),
            timeline=Timeline(),
            workers=(),
        )

    @property
    def started(self) -> int:
        """Messages that have an outcome."""
        return sum(self.outcomes)

    @property
    def accepted(self) -> int:
        return self.outcomes[Outcome.ACCEPTED]

    @property
    def rejected(self) -> int:
        """Refused for now or for good."""
        return self.outcomes[Outcome.REJECTED_TEMPORARY] + self.outcomes[Outcome.REJECTED_PERMANENT]

    @property
    def failed(self) -> int:
        return self.outcomes[Outcome.FAILED]

    @property
    def in_doubt(self) -> int:
        return self.outcomes[Outcome.IN_DOUBT]

    @property
    def in_flight(self) -> int:
        """Messages a session has turned to that have no outcome yet."""
        return sum(worker.in_flight for worker in self.workers)

    @property
    def sessions_open(self) -> int:
        return sum(worker.sessions_open for worker in self.workers)

    @property
    def sessions_opened(self) -> int:
        """Sessions opened since the run began."""
        return sum(worker.sessions_opened for worker in self.workers)

    @property
    def latency(self) -> Histogram:
        """What a user of the server feels: response time in the open loop, service time in the closed one."""
        return self.histograms["response" if self.open_loop else "service"]

    @property
    def began_ns(self) -> int:
        """The run's time zero, which all workers share; meaningless before the first one has reported."""
        return self.taken_ns - max((worker.wall_ns for worker in self.workers), default=0)

    def with_lost(self, in_doubt: int) -> "Snapshot":
        """The same with `in_doubt` more messages in doubt: what a worker that died still had in hand."""
        outcomes = list(self.outcomes)
        outcomes[Outcome.IN_DOUBT] += in_doubt
        return replace(self, outcomes=tuple(outcomes))

    def moved(self, by_ns: int, first_worker: int) -> "Snapshot":
        """The same on a clock that shows `by_ns` more; its workers numbered from `first_worker`."""
        first, last, end, answered = (
            None if at_ns is None else at_ns + by_ns
            for at_ns in (self.first_start_ns, self.last_start_ns, self.last_end_ns, self.last_answered_ns)
        )
        return replace(
            self,
            taken_ns=self.taken_ns + by_ns,
            first_start_ns=first,
            last_start_ns=last,
            last_end_ns=end,
            last_answered_ns=answered,
            workers=tuple(replace(one, worker=first_worker + index) for index, one in enumerate(self.workers)),
        )

    def __add__(self, other: "Snapshot") -> "Snapshot":
        return merge((self, other))


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """One snapshot of all; the empty one when there are none.

    All at once: what is large is copied once, however many there are.
    """
    parts = [Snapshot.empty(), *snapshots]
    timeline = Timeline()
    for part in parts:
        timeline += part.timeline
    return Snapshot(
        taken_ns=max(part.taken_ns for part in parts),
        open_loop=any(part.open_loop for part in parts),
        outcomes=tuple(map(sum, zip(*(part.outcomes for part in parts), strict=True))),
        octets=sum(part.octets for part in parts),
        first_start_ns=earliest(*(part.first_start_ns for part in parts)),
        last_start_ns=latest(*(part.last_start_ns for part in parts)),
        last_end_ns=latest(*(part.last_end_ns for part in parts)),
        last_answered_ns=latest(*(part.last_answered_ns for part in parts)),
        histograms=_added(part.histograms for part in parts),
        replies=_added(part.replies for part in parts),
        failures=_added(part.failures for part in parts),
        domains_started=_padded_sum([part.domains_started for part in parts]),
        domains_accepted=_padded_sum([part.domains_accepted for part in parts]),
        timeline=timeline,
        workers=tuple(sorted((one for part in parts for one in part.workers), key=lambda one: one.worker)),
        domain_latencies=_added(part.domain_latencies for part in parts),
        commands=_added(part.commands for part in parts),
        recipients=tuple(map(sum, zip_longest(*(part.recipients for part in parts), fillvalue=0))),
        partly_accepted=sum(part.partly_accepted for part in parts),
        targets=_added_targets([part.targets for part in parts if part.targets]),
        retries=added(part.retries for part in parts),
        idle=added(part.idle for part in parts),
        protected=_pairs_added(part.protected for part in parts),
    )


def earliest(*times: int | None) -> int | None:
    """The smallest; None is no time at all."""
    return min((value for value in times if value is not None), default=None)


def latest(*times: int | None) -> int | None:
    """The largest; None is no time at all."""
    return max((value for value in times if value is not None), default=None)


def _added(parts: Iterable[Mapping[_Key, _Sum]]) -> dict[_Key, _Sum]:
    """All, added up where a key is in several; only sums that were made here are added to in place."""
    merged: dict[_Key, _Sum] = {}
    ours: set[_Key] = set()
    for part in parts:
        for key, more in part.items():
            if key not in merged:
                merged[key] = more
            elif key in ours:
                merged[key] += more
            else:
                ours.add(key)
                merged[key] = merged[key] + more
    return merged


def _added_targets(parts: Sequence[tuple[TargetSnapshot, ...]]) -> tuple[TargetSnapshot, ...]:
    return tuple(reduce(TargetSnapshot.__add__, found) for found in zip(*parts, strict=True))


_Counts = TypeVar("_Counts", RetryCounts, IdleCounts)


def added(parts: Iterable[_Counts | None]) -> _Counts | None:
    """Together; None when no part has any."""
    given = [part for part in parts if part is not None]
    return reduce(add, given) if given else None


def _pairs_added(parts: Iterable[Mapping[tuple[str, str], tuple[int, int]]]) -> dict[tuple[str, str], tuple[int, int]]:
    merged: dict[tuple[str, str], tuple[int, int]] = {}
    for part in parts:
        for kind, (one, other) in part.items():
            so_far = merged.get(kind, (0, 0))
            merged[kind] = so_far[0] + one, so_far[1] + other
    return merged


def _padded_sum(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    total = np.zeros(max(part.size for part in parts), np.int64)
    for part in parts:
        total[: part.size] += part
    return total

"""What a supervisor and its workers say to each other, over one pipe each.

worker: Ready | SetupFailed   supervisor: Begin, AssignRange…
worker: RangeBegun…            supervisor: AssignRange…     (closed loop: a new range for each one begun)
worker: WorkerProgress, FirstError, Traced…
                         supervisor: TakeTurn…          (runs that take turns with another one)
worker: TurnTaken…
                         supervisor: Stop               (deadline, interruption, first error)
worker: WorkerFinished | LastWords
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.errors import TrafficgenError
from trafficgen.measure.snapshot import Snapshot
from trafficgen.plan import Plan


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What one worker is started with. `slots` and `idle` are its share of the plan's sessions."""

    resolved: ResolvedPlan
    date: str
    index: int
    slots: int
    idle: int = 0

    @property
    def plan(self) -> Plan:
        return self.resolved.plan


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker has built its messages and can begin."""


@dataclass(frozen=True, slots=True)
class SetupFailed:
    """The worker cannot build its messages: a file that is no mbox, sizes that make no sense."""

    error: TrafficgenError


@dataclass(frozen=True, slots=True)
class Begin:
    """The run's time zero. `held`: no message starts before the first turn."""

    began_ns: int
    held: bool = False


class Turn(Enum):
    """What a run is told that takes turns with another one. Each is answered with all numbers up to that moment."""

    GO = "go"
    """Start messages from now on."""
    LOOK = "look"
    """Go on as before."""
    HOLD = "hold"
    """Start no more for now; sessions stay open, messages at work finish."""


@dataclass(frozen=True, slots=True)
class TakeTurn:
    """One turn for all workers, by its number."""

    serial: int
    turn: Turn


@dataclass(frozen=True, slots=True)
class AssignRange:
    """Send the messages `first` … `last`-1; an empty range means that no more will come."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Start no more messages; those at work have this long to finish."""

    grace_ns: int


@dataclass(frozen=True, slots=True)
class RangeBegun:
    """The worker has begun the range that starts at `first`."""

    first: int


@dataclass(frozen=True, slots=True)
class FirstError:
    """The first refusal or failure this worker met, in words."""

    words: str


@dataclass(frozen=True, slots=True)
class WorkerProgress:
    """The worker's account so far.

    `taken`: messages its source has handed to sessions and not got back; `held`: those of them that sessions still
    have. The others have an outcome.
    """

    snapshot: Snapshot
    taken: int
    held: int


@dataclass(frozen=True, slots=True)
class Traced:
    """What sessions that are shown have said since the last time: the number of each, and a line."""

    lines: list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class TurnTaken:
    """The worker's account at the moment it took this turn."""

    serial: int
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class WorkerFinished:
    """The worker's final account. `partial`: recipients that took a message which others of it were refused.

    `begins`: two rows, numbers and when they began, if the plan asks. `ranges_assigned`: how many it got before
    it handed in. `taken` as in `WorkerProgress`; `unsent`:
    messages that were its to send and that no session had, or gave back unharmed; `returned`: how many were given back.
    `doubtful` as in `Retrying`. `cut_short`: that it was stopped ended messages at work, or tries that were to come.
    """

    snapshot: Snapshot
    ranges_assigned: int
    taken: int
    unsent: int
    returned: int
    accepted: NDArray[np.int64]
    in_doubt: NDArray[np.int64]
    partial: dict[int, int]
    begins: NDArray[np.int64]
    doubtful: NDArray[np.int64]
    cut_short: bool


@dataclass(frozen=True, slots=True)
class LastWords:
    """The worker ends for a bug of ours, whose traceback it writes to stderr."""

    words: str

    def __str__(self) -> str:
        return self.words

"""Hand out messages when they are due.

Takes     in the closed loop: ranges of message numbers as the supervisor assigns them;
          in the open loop: a schedule, of which this worker has every `step`-th arrival
Gives     work to whichever session asks, at once or when its intended start has come
Counts    what it was to send, by what became of it here: handed out, or unsent; rows of outcomes play no part in that
Limits    builds a few hundred messages at a time, so that no session waits long behind the building
Not here  which session gets it (worker), what a message holds (workload), when it is due (schedule)
"""

from collections import deque
from collections.abc import Callable
from itertools import repeat
from typing import Final, Protocol

from trafficgen.engine.lane import TimedSource
from trafficgen.protocol.smtp.interfaces import Source, Work
from trafficgen.schedule import Schedule
from trafficgen.workload import Messages

_PIECE: Final = 512
"""At full speed, building half as many at a time takes a tenth more CPU a message; building twice as many takes a tenth
less, and lets sessions wait for two milliseconds in place of one (CPU time of `_build` in runs of 100,000 messages of
5 kB over 20 sessions; 2026-11-22, two shared cores, Python 3.11)."""

_OPEN_PIECE: Final = 64
"""Less, as whatever is due while it is built starts late: with 256, and progress reported in one turn of the loop, the
lateness of --rate 10000/s --duration 4 --concurrency 100 --workers 1 had twice the p90 (median of seven runs of each in
turns; 2026-11-22, two shared cores, Python 3.11)."""


class WorkerSource(TimedSource, Protocol):
    """What a worker asks of the source that its slots share."""

    def hold(self, now_ns: int) -> None:
        """Hand out nothing until `go`."""

    def go(self, now_ns: int) -> None:
        """Hand out messages again."""

    def stop(self) -> None:
        """Hand out nothing more."""


class SourceBehind:
    """Takes messages from another source, and keeps some of them itself. `_held`: hands out nothing for now."""

    def __init__(self, source: WorkerSource) -> None:
        self._source = source
        self._held = False

    def hold(self, now_ns: int) -> None:
        """Hand out nothing until `go`."""
        self._held = True
        self._source.hold(now_ns)

    def go(self, now_ns: int) -> None:
        """Hand out messages again."""
        self._held = False
        self._source.go(now_ns)


class OneAtATime:
    """Gives sessions no message behind another: each comes by its slot, when that is its turn.

    Implements `protocol.smtp.interfaces.Source`.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    def take(self, _now_ns: int) -> Work | None:
        return None

    def give_back(self, work: Work) -> None:
        self._source.give_back(work)


class ClosedSource:
    """Every session takes its next message as soon as it is free. Implements `protocol.smtp.interfaces.Source`."""

    next_due_ns: int | None = None

    def __init__(self, messages: Messages, on_range_begun: Callable[[int], None]) -> None:
        self._messages = messages
        self._on_range_begun = on_range_begun
        self._ranges: deque[tuple[int, int]] = deque()
        self._first = self._last = 0  # of the range at work, what is not built yet
        self._built: list[Work] = []  # in reverse order; what is given back comes first
        self._more_to_come = True
        self._stopped = False
        self._kept: list[Work] | None = None  # what is built, while nothing is handed out
        self._made = 0
        self._dropped = 0  # built and never handed out, as the run was stopped
        self.returned = 0
        """Messages given back after the stop: a session had them and had not begun."""

    def assign(self, first: int, last: int) -> None:
        """One more range to send; an empty one means that there will be no more."""
        if first == last:
            self._more_to_come = False
        else:
            self._ranges.append((first, last))

    def hold(self, _now_ns: int) -> None:
        """Hand out nothing until `go`."""
        if self._kept is None:
            self._kept, self._built = self._built, []

    def go(self, _now_ns: int) -> None:
        """Hand out messages again."""
        if self._kept is not None:
            self._built, self._kept = self._kept + self._built, None

    def stop(self) -> None:
        """Hand out nothing more."""
        self.go(0)
        self._stopped = True
        self._dropped += len(self._built)
        self._built.clear()

    @property
    def taken(self) -> int:
        """Messages that sessions got and did not give back."""
        return self._made - len(self._built) - len(self._kept or ()) - self._dropped - self.returned

    @property
    def unsent(self) -> int:
        """Messages assigned and not handed out, or given back."""
        left = self._last - self._first + sum(last - first for first, last in self._ranges)
        return left + len(self._built) + len(self._kept or ()) + self._dropped + self.returned

    @property
    def exhausted(self) -> bool:
        """Whether no session will ever get another message."""
        waiting = self._built or self._kept or self._first < self._last or self._ranges or self._more_to_come
        return self._stopped or not waiting

    def take(self, now_ns: int) -> Work | None:
        if self._built:
            return self._built.pop()
        return None if self._stopped or self._kept is not None else self._build()

    def give_back(self, work: Work) -> None:
        if self._stopped:
            self.returned += 1
        else:
            (self._built if self._kept is None else self._kept).append(work)

    def _build(self) -> Work | None:
        if self._first >= self._last:
            if not self._ranges:
                return None
            self._first, self._last = self._ranges.popleft()
            self._on_range_begun(self._first)
        first, self._first = self._first, min(self._first + _PIECE, self._last)
        self._built = list(zip(self._messages.block(first, self._first), repeat(-1)))
        self._made += len(self._built)
        self._built.reverse()
        return self._built.pop()


class OpenSource:
    """Messages start when the schedule says. Implements `protocol.smtp.interfaces.Source`.

    Arrivals that are due while every session is busy wait: no list of them is kept, only the number of the next one.
    While the run is held, the schedule's clock stands still.
    """

    def __init__(self, messages: Messages, schedule: Schedule, *, began_ns: int, index: int, step: int) -> None:
        self._messages = messages
        self._schedule = schedule
        self._began_ns = began_ns
        self._next = index  # number of the first arrival that is not built yet
        self._step = step
        self._planned = schedule.planned
        self._built: list[Work] = []  # in reverse order
        self._returned: list[Work] = []
        self._held_ns: int | None = None  # since when nothing is handed out
        self._stopped = False
        self._made = 0
        self._dropped = 0  # due, given back and never handed out again, as the run was stopped
        self.returned = 0
        """Messages given back after the stop: a session had them and had not begun."""
        self.next_due_ns: int | None = None
        self._build()

    def hold(self, now_ns: int) -> None:
        """Hand out nothing until `go`."""
        if self._held_ns is None and not self._stopped:
            self._held_ns, self.next_due_ns = now_ns, None

    def go(self, now_ns: int) -> None:
        """Hand out messages again; what was to come after the hold comes that much later."""
        if self._held_ns is None:
            return
        later_ns, self._held_ns = now_ns - self._held_ns, None
        self._began_ns += later_ns
        self._built = [(message, due_ns + later_ns) for message, due_ns in self._built]
        self._returned = [(message, due_ns + later_ns) for message, due_ns in self._returned]
        self.next_due_ns = self._built[-1][1] if self._built else None

    def stop(self) -> None:
        """Hand out nothing more."""
        self._stopped = True
        self._held_ns = None
        self.next_due_ns = None
        self._dropped += len(self._returned)
        self._returned.clear()

    @property
    def taken(self) -> int:
        """Messages that sessions got and did not give back."""
        return self._made - len(self._built) - len(self._returned) - self._dropped - self.returned

    @property
    def unsent(self) -> int:
        """Messages of this worker's share that were not handed out, or given back."""
        assert self._planned is not None
        left = len(range(self._next, self._planned, self._step))
        return left + len(self._built) + len(self._returned) + self._dropped + self.returned

    @property
    def exhausted(self) -> bool:
        """Whether no session will ever get another message."""
        return self._stopped or (not self._built and not self._returned)

    def take(self, now_ns: int) -> Work | None:
        if self._returned and self._held_ns is None:
            return self._returned.pop()
        if self.next_due_ns is None or self.next_due_ns > now_ns:
            return None
        work = self._built.pop()
        if self._built:
            self.next_due_ns = self._built[-1][1]
        else:
            self._build()
        return work

    def give_back(self, work: Work) -> None:
        if self._stopped:
            self.returned += 1
        else:
            self._returned.append(work)

    def _build(self) -> None:
        first, last = self._next, self._next + _OPEN_PIECE * self._step
        if self._planned is not None:
            last = max(min(last, self._planned), first)
        due_ns = self._schedule.due_ns(first, last, self._step)
        messages = self._messages.block(first, min(first + len(due_ns) * self._step, last), self._step)
        starts_ns = map(self._began_ns.__add__, due_ns.tolist())
        self._built = list(zip(messages, starts_ns, strict=True))
        self._built.reverse()
        self._made += len(self._built)
        self._next += len(messages) * self._step
        self.next_due_ns = self._built[-1][1] if self._built else None

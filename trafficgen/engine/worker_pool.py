"""The worker processes of a run: started, told, heard, ended.

Takes     orders, one for each worker
Gives     `Member`s, with what each has said; a member whose pipe breaks is lost
Never     waits for a worker longer than it is told to: one that is suspended or stuck holds up nobody
Not here  what is said to whom (supervisor), what a worker does (worker)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from trafficgen.clock import now_ns
from trafficgen.engine import control
from trafficgen.engine.worker import main
from trafficgen.host import processes
from trafficgen.host.pipes import END, Inbox, Outbox
from trafficgen.host.processes import Child
from trafficgen.measure.snapshot import Snapshot


@dataclass(slots=True)
class Member:
    """One worker, as it is known from outside."""

    index: int
    child: Child
    outbox: Outbox
    ready: bool = False
    snapshot: Snapshot | None = None
    handed: int = 0
    """Messages its source has handed to sessions and not got back, by its last word."""
    finished: control.WorkerFinished | None = None
    granted: list[control.AssignRange] = field(default_factory=list)
    begun: int = 0  # how many of them it has begun
    lost_ns: int | None = None  # when its pipe broke, or when it was ended
    silent_ns: int = 0  # since its last word
    ended: bool = False  # by us, as it did not end by itself

    @property
    def lost(self) -> bool:
        """Whether it will never hand in its account."""
        return self.lost_ns is not None

    @property
    def over(self) -> bool:
        """Whether it will say nothing more."""
        return self.lost or self.finished is not None

    @property
    def started(self) -> int:
        """Messages with an outcome that are known of."""
        return self.snapshot.started if self.snapshot is not None else 0

    def say(self, word: object) -> None:
        """Tell it, as soon as it reads; nothing happens when it is over."""
        if not self.over:
            self.outbox.send(word)


class WorkerPool:
    """All workers of a run, in the order of their orders."""

    def __init__(self) -> None:
        self.members: list[Member] = []
        self._inbox: Inbox[Member] = Inbox()

    def start(self, orders: Sequence[control.WorkerConfig]) -> None:
        """Start one worker for each."""
        for order in orders:
            child = processes.start(main, order)
            member = Member(order.index, child, Outbox(child.pipe))
            self.members.append(member)
            self._inbox.add(member, child.pipe)

    @property
    def over(self) -> bool:
        """Whether all workers are."""
        return all(member.over for member in self.members)

    def say(self, word: object) -> None:
        """Tell all."""
        for member in self.members:
            member.say(word)

    def hear(self, patience_s: float) -> list[tuple[Member, object]]:
        """What was said since the last time; None comes from a member that is lost."""
        for member in self.members:
            member.outbox.flush()
        heard: list[tuple[Member, object]] = []
        for member, word in self._inbox.hear(patience_s):
            if member.over:
                continue
            member.silent_ns = 0
            if word is END:
                member.lost_ns = now_ns()
                member.child.process.join(1.0)
            elif isinstance(word, control.WorkerFinished):
                member.finished = word
            heard.append((member, None if word is END else word))
        return heard

    def kill(self) -> None:
        """End the workers that are not over; they are lost."""
        for member in self.members:
            if not member.over:
                _kill(member)

    def kill_silent(self, elapsed_ns: int, limit_ns: int) -> bool:
        """So much time has passed; end those that have said nothing for too long. Whether there were any.

        Time is counted in the steps in which this is called: after a pause of the whole program nobody is late.
        """
        silent = []
        for member in self.members:
            member.silent_ns += elapsed_ns
            if member.silent_ns > limit_ns and not member.over:
                silent.append(member)
        for member in silent:
            _kill(member)
        return bool(silent)

    def end(self, patience_s: float) -> None:
        """Leave no process behind; those that have handed in their accounts get so long to end by themselves."""
        for member in self.members:
            if member.finished is None:
                member.child.process.kill()
        processes.end([member.child for member in self.members], patience_s)
        self._inbox.close()
        for member in self.members:
            member.child.pipe.close()


def _kill(member: Member) -> None:
    member.child.process.kill()
    member.ended = True
    member.lost_ns = now_ns()

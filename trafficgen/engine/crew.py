"""The worker processes of a run: started, told, heard, ended.

Takes     orders, one for each worker
Gives     `Member`s, with what each has said; a member whose pipe breaks is lost
Not here  what is said to whom (supervisor), what a worker does (worker)
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from trafficgen import children
from trafficgen.engine import control
from trafficgen.engine.worker import main
from trafficgen.measure.snapshot import Snapshot


@dataclass(slots=True)
class Member:
    """One worker, as it is known from outside."""

    index: int
    process: BaseProcess
    pipe: Connection
    ready: bool = False
    snapshot: Snapshot | None = None
    finished: control.Finished | None = None
    granted: list[control.Grant] = field(default_factory=list)
    begun: int = 0  # how many of them it has begun
    lost: bool = False

    @property
    def over(self) -> bool:
        """Whether it will say nothing more."""
        return self.lost or self.finished is not None

    def say(self, word: object) -> None:
        """Tell it; nothing happens when it is over."""
        if not self.over:
            with suppress(OSError):  # it is dead; the next look at its pipe says so
                self.pipe.send(word)


class Crew:
    """All workers of a run, in the order of their orders."""

    def __init__(self) -> None:
        self.members: list[Member] = []

    def start(self, orders: Sequence[control.Orders]) -> None:
        """Start one worker for each."""
        for order in orders:
            self.members.append(Member(order.index, *children.start(main, order)))

    @property
    def over(self) -> bool:
        """Whether all workers are."""
        return all(member.over for member in self.members)

    def say(self, word: object) -> None:
        """Tell all."""
        for member in self.members:
            member.say(word)

    def hear(self, patience_s: float) -> list[tuple[Member, object]]:
        """What was said, one word of each that spoke; None comes from a member that is lost."""
        by_pipe = {member.pipe: member for member in self.members if not member.over}
        heard: list[tuple[Member, object]] = []
        for pipe in wait(list(by_pipe), patience_s):
            member = by_pipe[pipe]  # type: ignore[index]
            try:
                heard.append((member, member.pipe.recv()))
            except (EOFError, OSError):
                member.lost = True
                member.process.join(1.0)
                heard.append((member, None))
        return heard

    def end(self) -> None:
        """Leave no process behind."""
        for member in self.members:
            if member.finished is None:
                member.process.kill()
            member.process.join(5.0)
            member.pipe.close()

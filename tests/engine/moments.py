"""Moments of a run that come when a test says so, however long the machine lets a process wait.

Takes     the progress of a run
Gives     `Deadline`: a plan's time is up when it is told to come; `not_before`: nor earlier than enough has happened;
          `Heard`: whether a worker has read what came to it
Why       of a time limit of 0.3 s a busy machine may leave a worker nothing, and whether an order or an answer is read
          first is luck
"""

from collections import defaultdict
from collections.abc import Callable

import pytest

from trafficgen.clock import now_ns
from trafficgen.engine import supervisor
from trafficgen.engine.supervisor import Supervisor
from trafficgen.measure.snapshot import Snapshot
from trafficgen.outcomes import StoppedBy

FAR_S = 3600.0
"""The duration of a plan whose deadline is told to come."""


class Deadline:
    """The supervisor's clock jumps beyond `FAR_S` when the deadline is told to come."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.came = False
        monkeypatch.setattr(supervisor, "now_ns", lambda: now_ns() + self.came * round(2 * FAR_S * 10**9))

    def come(self) -> None:
        self.came = True


def not_before(monkeypatch: pytest.MonkeyPatch, enough: Callable[[Snapshot], bool]) -> None:
    """A run whose time is up goes on until `enough` is true of its numbers."""
    stop, patience_s = Supervisor._stop, Supervisor._patience_s

    def wait(supervisor: Supervisor, why: StoppedBy) -> None:
        if why is not StoppedBy.DEADLINE or enough(supervisor._merged()):
            stop(supervisor, why)

    monkeypatch.setattr(Supervisor, "_stop", wait)
    monkeypatch.setattr(Supervisor, "_patience_s", lambda supervisor: patience_s(supervisor) or 0.1)


class Heard:
    """Since this was made: whether a worker has read what had come to it by then, orders and answers alike.

    An account is made at a moment of its own. Between two of them a worker reads all that waits for it, so that the
    second one of a later moment is from a worker that has read it.
    """

    def __init__(self) -> None:
        self._since_ns = now_ns()
        self._moments: defaultdict[int, set[int]] = defaultdict(set)

    def by(self, snapshot: Snapshot) -> bool:
        """Of any worker that goes on giving accounts. Ask with every snapshot."""
        for worker in snapshot.workers:
            at_ns = snapshot.began_ns + worker.wall_ns
            if at_ns > self._since_ns:
                self._moments[worker.worker].add(worker.wall_ns)
        return any(len(moments) >= 2 for moments in self._moments.values())

"""Start the workers, hand out messages, add up what they report, and end the run in good order.

Takes     a plan that has passed the guard, and the route to its target
Gives     `Account`: one snapshot of the whole run, which messages were accepted, why the run ended
Fails     with PlanError or SetupError when a worker cannot be set up. A worker that dies later is counted, not raised:
          what it had begun is in doubt, the run stops and is not valid
Interrupt the first SIGINT or SIGTERM lets messages at work finish within the plan's grace period, the second does not;
          before time zero either ends it at once, with an account of nothing
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trafficgen.clock import NS_PER_MS, NS_PER_S, now_ns
from trafficgen.engine import control
from trafficgen.engine.address import Route
from trafficgen.engine.crew import Crew, Member
from trafficgen.engine.limits import check_open_files, check_ports
from trafficgen.errors import SetupError, TrafficgenError
from trafficgen.interrupts import Interrupts
from trafficgen.measure.results import StoppedBy
from trafficgen.measure.snapshot import Snapshot, merge
from trafficgen.plan import Plan
from trafficgen.schedule import Schedule

_LEAD_NS: Final = 20 * NS_PER_MS
"""Between the order to begin and an open-model run's time zero, so that all workers have read it. In the closed loop a
worker starts at once, and time zero must lie before its first start."""

_log: Final = logging.getLogger(__name__)

_TICK_S: Final = 0.1
_START_NS: Final = 60 * NS_PER_S
_LARGEST_RANGE: Final = 4096


@dataclass(slots=True)
class Account:
    """The whole run. Numbers are message numbers; `partial`: recipients of messages that some of theirs refused.

    `begins`: two rows, numbers and when they began, if the plan asks for that.
    """

    snapshot: Snapshot
    planned: int
    stopped_by: StoppedBy
    lost_workers: list[int]
    accepted: NDArray[np.int64]
    in_doubt: NDArray[np.int64]
    partial: dict[int, int]
    began_ns: int
    begins: NDArray[np.int64]


class Supervisor:
    """One run."""

    def __init__(
        self,
        plan: Plan,
        route: Route,
        *,
        workers: int,
        date: str,
        on_progress: Callable[[Snapshot, int], None],
        interrupts: Interrupts,
    ) -> None:
        """`interrupts` must be entered while this runs."""
        self._plan = plan
        self._route = route
        self._date = date
        self._on_progress = on_progress
        self._interrupts = interrupts
        self._crew = Crew()
        self._count = min(workers, plan.sessions)
        self._next_number = 0
        self._range = _range_size(plan, self._count)
        self._planned = plan.max_messages if plan.load is None else Schedule(plan).planned
        self._began_ns: int | None = None
        self._stopped_by: StoppedBy | None = None
        self._hurried = False  # the workers were told to stop at once

    def run(self) -> Account:
        """Send everything; returns when all workers have handed in their accounts or are lost."""
        check_open_files(-(-self._plan.sessions // self._count))
        check_ports(self._plan, self._route)
        try:
            if self._start():
                began_ns = self._begin()
                while not self._crew.over:
                    self._turn(began_ns)
        finally:
            self._crew.end()
        return self._total()

    # -- start ------------------------------------------------------------------------------------------

    def _start(self) -> bool:
        """Whether all workers are ready; if not, an interruption came first, and nobody has been told to begin."""
        self._crew.start([self._orders(index) for index in range(self._count)])
        deadline_ns = now_ns() + _START_NS
        while not all(member.ready for member in self._crew.members):
            if self._interrupts.count:
                break
            if now_ns() > deadline_ns:
                raise SetupError(
                    f"a worker was not ready within {_START_NS // NS_PER_S} s; is this machine overloaded?"
                )
            for member in self._listen():
                if member.lost:
                    raise SetupError(f"a worker could not start: it ended with code {member.process.exitcode}")
        if self._interrupts.count:
            self._stopped_by = StoppedBy.INTERRUPTED
        return not self._interrupts.count

    def _orders(self, index: int) -> control.Orders:
        slots = self._plan.sessions // self._count + (index < self._plan.sessions % self._count)
        return control.Orders(self._plan, self._route, self._date, index, self._count, slots)

    def _begin(self) -> int:
        self._began_ns = now_ns() + (_LEAD_NS if self._plan.load else 0)
        self._crew.say(control.Begin(self._began_ns))
        if self._plan.load is None:
            for member in self._crew.members * 2:  # one range to send, and one to go on with
                self._grant(member)
        return self._began_ns

    def _grant(self, worker: Member) -> None:
        first = self._next_number
        last = first + self._range if self._planned is None else min(first + self._range, self._planned)
        self._next_number = last
        grant = control.Grant(first, last)
        worker.granted.append(grant)
        worker.say(grant)

    # -- while it runs ----------------------------------------------------------------------------------

    def _turn(self, began_ns: int) -> None:
        """One look at the pipes, the clock and the signals."""
        heard = self._listen()
        now = now_ns()
        if self._interrupts.count:
            self._stop(StoppedBy.INTERRUPTED, 0 if self._interrupts.count > 1 else self._plan.grace_ns)
        elif self._plan.duration_ns is not None and now >= began_ns + self._plan.duration_ns:
            self._stop(StoppedBy.DEADLINE, self._plan.grace_ns)
        if any(worker.lost for worker in heard):
            self._stop(StoppedBy.WORKER_LOST, self._plan.grace_ns)
        if heard:
            self._on_progress(self._merged(), now - began_ns)

    def _listen(self) -> list[Member]:
        """Hear what workers say; returns those with news worth showing."""
        return [worker for worker, word in self._crew.hear(self._patience_s()) if self._hear(worker, word)]

    def _patience_s(self) -> float:
        if self._plan.duration_ns is None or self._stopped_by or self._began_ns is None:
            return _TICK_S
        return min(_TICK_S, max((self._began_ns + self._plan.duration_ns - now_ns()) / NS_PER_S, 0.0))

    def _hear(self, worker: Member, word: object) -> bool:
        match word:
            case None:
                return True
            case control.Ready():
                worker.ready = True
            case control.Unable():
                raise word.error
            case TrafficgenError():  # the last word of a process that could not go on
                if self._began_ns is None:
                    raise word
                _log.warning("worker %d cannot go on: %s", worker.index, word)
            case control.RangeBegun():
                worker.begun += 1
                self._grant(worker)
            case control.Progress():
                worker.snapshot = word.snapshot
                return True
            case control.Finished():
                worker.finished = word
                worker.snapshot = word.snapshot
                return True
            case control.Trouble():
                if not self._plan.keep_going:
                    self._stop(StoppedBy.FIRST_ERROR, self._plan.grace_ns)
        return False

    def _stop(self, why: StoppedBy, grace_ns: int) -> None:
        """Tell all workers; a second time only to shorten the grace."""
        hurry = why is StoppedBy.INTERRUPTED and grace_ns == 0
        if self._stopped_by is None or (hurry and not self._hurried):
            self._crew.say(control.Stop(grace_ns))
        self._hurried = self._hurried or hurry
        self._stopped_by = self._stopped_by or why

    # -- the end ----------------------------------------------------------------------------------------

    def _merged(self) -> Snapshot:
        return merge(worker.snapshot for worker in self._crew.members if worker.snapshot is not None)

    def _total(self) -> Account:
        snapshot = self._merged()
        finished = [worker.finished for worker in self._crew.members if worker.finished is not None]
        in_doubt = [account.in_doubt for account in finished]
        lost = []
        for worker in self._crew.members:
            if worker.lost and self._began_ns is not None:
                unfinished, numbers = self._left_behind(worker, self._began_ns)
                snapshot = snapshot.with_lost(unfinished)
                in_doubt.append(numbers)
                lost.append(worker.index)
        return Account(
            snapshot=snapshot,
            planned=snapshot.started if self._planned is None else self._planned,
            stopped_by=self._stopped_by or StoppedBy.FINISHED,
            lost_workers=lost,
            accepted=_joined([account.accepted for account in finished]),
            in_doubt=_joined(in_doubt),
            partial={number: count for account in finished for number, count in account.partial.items()},
            began_ns=now_ns() if self._began_ns is None else self._began_ns,
            begins=np.concatenate([np.zeros((2, 0), np.int64), *(account.begins for account in finished)], axis=1),
        )

    def _left_behind(self, worker: Member, began_ns: int) -> tuple[int, NDArray[np.int64]]:
        """Of a worker that died: how many messages it may have had at work, and all numbers it may have sent.

        What it finished after its last snapshot is unknown, so everything it had begun counts as in doubt.
        """
        if self._plan.load is None:
            begun = worker.granted[: worker.begun]
            numbers = _joined([np.arange(grant.first, grant.last) for grant in begun])
        else:
            due = Schedule(self._plan).count_within(now_ns() - began_ns)
            numbers = np.arange(worker.index, due if self._planned is None else min(due, self._planned), self._count)
        known = worker.snapshot.started if worker.snapshot is not None else 0
        return max(numbers.size - known, 0), numbers


def _range_size(plan: Plan, workers: int) -> int:
    """Small enough that all workers end together, large enough that asking costs nothing."""
    if plan.max_messages is None:
        return _LARGEST_RANGE
    return min(max(plan.max_messages // (workers * 8), 1), _LARGEST_RANGE)


def _joined(arrays: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(arrays) if arrays else np.zeros(0, np.int64)

"""Start the workers, hand out messages, add up what they report, and end the run in good order.

Takes     a plan that has passed the guard, and the route to its target
Gives     `Account`: one snapshot of the whole run, which messages were accepted, why the run ended
Fails     with PlanError or SetupError when a worker cannot be set up. A worker that dies later is counted, not raised:
          what it had begun is in doubt, the run stops and is not valid
Interrupt the first SIGINT or SIGTERM lets messages at work finish within the plan's grace period, the second does not
"""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trafficgen.clock import NS_PER_MS, NS_PER_S, now_ns
from trafficgen.engine import control
from trafficgen.engine.address import Route
from trafficgen.engine.limits import check_open_files, check_ports
from trafficgen.engine.worker import main as worker_main
from trafficgen.errors import SetupError
from trafficgen.measure.results import StoppedBy
from trafficgen.measure.snapshot import Snapshot, merge
from trafficgen.plan import Plan
from trafficgen.schedule import Schedule

_LEAD_NS: Final = 20 * NS_PER_MS
"""Between the order to begin and an open-model run's time zero, so that all workers have read it. In the closed loop a
worker starts at once, and time zero must lie before its first start."""

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
    domains: tuple[str, ...]
    shares: tuple[float, ...]
    stopped_by: StoppedBy
    trouble: str | None
    lost_workers: list[int]
    accepted: NDArray[np.int64]
    in_doubt: NDArray[np.int64]
    partial: dict[int, int]
    began_ns: int
    begins: NDArray[np.int64]


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    ready: control.Ready | None = None
    snapshot: Snapshot | None = None
    finished: control.Finished | None = None
    granted: list[control.Grant] = field(default_factory=list)
    begun: int = 0  # how many of them it has begun
    lost: bool = False

    @property
    def over(self) -> bool:
        return self.lost or self.finished is not None


class Supervisor:
    """One run."""

    def __init__(
        self, plan: Plan, route: Route, *, workers: int, date: str, on_progress: Callable[[Snapshot, int], None]
    ) -> None:
        self._plan = plan
        self._route = route
        self._date = date
        self._on_progress = on_progress
        self._workers: list[_Worker] = []
        self._count = min(workers, plan.sessions)
        self._next_number = 0
        self._range = _range_size(plan, self._count)
        self._planned = plan.max_messages if plan.load is None else Schedule(plan).planned
        self._began_ns = 0
        self._signals = 0
        self._stopped_by: StoppedBy | None = None
        self._trouble: str | None = None

    def run(self) -> Account:
        """Send everything; returns when all workers have handed in their accounts or are lost."""
        check_open_files(-(-self._plan.sessions // self._count))
        check_ports(self._plan, self._route)
        try:
            with self._interruptible():
                self._start()
                self._begin()
                while not all(worker.over for worker in self._workers):
                    self._turn()
        finally:
            self._clean_up()
        return self._total()

    # -- start ------------------------------------------------------------------------------------------

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        for index in range(self._count):
            ours, theirs = context.Pipe()
            slots = self._plan.sessions // self._count + (index < self._plan.sessions % self._count)
            orders = control.Orders(self._plan, self._route, self._date, index, self._count, slots)
            process = context.Process(target=worker_main, args=(theirs, orders), daemon=True)
            process.start()
            theirs.close()
            self._workers.append(_Worker(process, ours))
        deadline_ns = now_ns() + _START_NS
        while not all(worker.ready for worker in self._workers):
            if now_ns() > deadline_ns:
                raise SetupError(
                    f"a worker was not ready within {_START_NS // NS_PER_S} s; is this machine overloaded?"
                )
            for worker in self._listen():
                if worker.lost:
                    raise SetupError(f"a worker could not start: it ended with code {worker.process.exitcode}")
            if self._signals > 1:
                raise KeyboardInterrupt

    def _begin(self) -> None:
        self._began_ns = now_ns() + (_LEAD_NS if self._plan.load else 0)
        for worker in self._workers:
            self._say(worker, control.Begin(self._began_ns))
        if self._plan.load is None and not self._signals:  # interrupted by now: hand out nothing, and stop in order
            for worker in self._workers * 2:  # one to send, and one to go on with
                self._grant(worker)

    def _grant(self, worker: _Worker) -> None:
        first = self._next_number
        last = first + self._range if self._planned is None else min(first + self._range, self._planned)
        self._next_number = last
        grant = control.Grant(first, last)
        worker.granted.append(grant)
        self._say(worker, grant)

    # -- while it runs ----------------------------------------------------------------------------------

    def _turn(self) -> None:
        """One look at the pipes, the clock and the signals."""
        heard = self._listen()
        now = now_ns()
        if self._signals:
            self._stop(StoppedBy.INTERRUPTED, 0 if self._signals > 1 else self._plan.grace_ns)
        elif self._plan.duration_ns is not None and now >= self._began_ns + self._plan.duration_ns:
            self._stop(StoppedBy.DEADLINE, self._plan.grace_ns)
        if any(worker.lost for worker in heard):
            self._stop(StoppedBy.WORKER_LOST, self._plan.grace_ns)
        if heard:
            self._on_progress(self._merged(), now - self._began_ns)

    def _listen(self) -> list[_Worker]:
        """Read what workers have said; returns those with news worth showing."""
        by_pipe = {worker.pipe: worker for worker in self._workers if not worker.over}
        news = []
        for pipe in wait(list(by_pipe), self._patience_s()):
            worker = by_pipe[pipe]  # type: ignore[index]
            try:
                word = worker.pipe.recv()
            except (EOFError, OSError):
                worker.lost = True
                worker.process.join(1.0)
                news.append(worker)
                continue
            if self._hear(worker, word):
                news.append(worker)
        return news

    def _patience_s(self) -> float:
        if self._plan.duration_ns is None or self._stopped_by or not self._began_ns:
            return _TICK_S
        return min(_TICK_S, max((self._began_ns + self._plan.duration_ns - now_ns()) / NS_PER_S, 0.0))

    def _hear(self, worker: _Worker, word: object) -> bool:
        match word:
            case control.Ready():
                worker.ready = word
            case control.Unable():
                raise word.error
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
                self._trouble = self._trouble or word.words
                if not self._plan.keep_going:
                    self._stop(StoppedBy.FIRST_ERROR, self._plan.grace_ns)
        return False

    def _stop(self, why: StoppedBy, grace_ns: int) -> None:
        """Tell all workers; a second time only to shorten the grace."""
        if self._stopped_by is None or (grace_ns == 0 and why is StoppedBy.INTERRUPTED):
            for worker in self._workers:
                self._say(worker, control.Stop(grace_ns))
        if grace_ns == 0:
            self._signals = 0
        self._stopped_by = self._stopped_by or why

    def _say(self, worker: _Worker, word: object) -> None:
        if not worker.over:
            with suppress(OSError):  # it is dead; the next look at its pipe says so
                worker.pipe.send(word)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Count SIGINT and SIGTERM instead of dying of them; elsewhere than in the main thread Python forbids it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def count(_signal: int, _frame: object) -> None:
            self._signals += 1

        before = {number: signal.signal(number, count) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # -- the end ----------------------------------------------------------------------------------------

    def _clean_up(self) -> None:
        for worker in self._workers:
            if worker.finished is None:
                worker.process.kill()
            worker.process.join(5.0)
            worker.pipe.close()

    def _merged(self) -> Snapshot:
        return merge(worker.snapshot for worker in self._workers if worker.snapshot is not None)

    def _total(self) -> Account:
        snapshot = self._merged()
        finished = [worker.finished for worker in self._workers if worker.finished is not None]
        in_doubt = [account.in_doubt for account in finished]
        lost = []
        for index, worker in enumerate(self._workers):
            if worker.lost:
                unfinished, numbers = self._left_behind(index, worker)
                snapshot = snapshot.with_lost(unfinished)
                in_doubt.append(numbers)
                lost.append(index)
        ready = next(worker.ready for worker in self._workers if worker.ready is not None)
        return Account(
            snapshot=snapshot,
            planned=snapshot.started if self._planned is None else self._planned,
            domains=ready.domains,
            shares=ready.shares,
            stopped_by=self._stopped_by or StoppedBy.FINISHED,
            trouble=self._trouble,
            lost_workers=lost,
            accepted=_joined([account.accepted for account in finished]),
            in_doubt=_joined(in_doubt),
            partial={number: count for account in finished for number, count in account.partial.items()},
            began_ns=self._began_ns,
            begins=np.concatenate([np.zeros((2, 0), np.int64), *(account.begins for account in finished)], axis=1),
        )

    def _left_behind(self, index: int, worker: _Worker) -> tuple[int, NDArray[np.int64]]:
        """Of a worker that died: how many messages it may have had at work, and all numbers it may have sent.

        What it finished after its last snapshot is unknown, so everything it had begun counts as in doubt.
        """
        if self._plan.load is None:
            begun = worker.granted[: worker.begun]
            numbers = _joined([np.arange(grant.first, grant.last) for grant in begun])
        else:
            due = Schedule(self._plan).count_within(now_ns() - self._began_ns)
            numbers = np.arange(index, due if self._planned is None else min(due, self._planned), self._count)
        known = worker.snapshot.started if worker.snapshot is not None else 0
        return max(numbers.size - known, 0), numbers


def _range_size(plan: Plan, workers: int) -> int:
    """Small enough that all workers end together, large enough that asking costs nothing."""
    if plan.max_messages is None:
        return _LARGEST_RANGE
    return min(max(plan.max_messages // (workers * 8), 1), _LARGEST_RANGE)


def _joined(arrays: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(arrays) if arrays else np.zeros(0, np.int64)

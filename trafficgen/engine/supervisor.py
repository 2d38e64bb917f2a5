"""Start the workers, hand out messages, hear what they report, and end the run in good order.

Takes     a resolved plan whose route has passed the guard
Gives     `RunAccount`: one snapshot of the whole run, which messages were accepted, why the run ended
Fails     with PlanError or SetupError when a worker cannot be set up. A worker that dies later is counted, not raised:
          what it had begun is in doubt, the run stops and is not valid
Stop      the first wish lets messages at work finish within the plan's grace period, the second does not; before time
          zero either ends it at once, with an account of nothing
Limits    a worker that has not ended `_PATIENCE_NS` after the grace period, or `_HURRY_NS` after the second wish, is
          ended and counted as one that died, whatever it is doing; so is one that says nothing for `_SILENCE_NS`
Not here  what all of it comes to (run_account), processes and pipes (worker_pool)
"""

from collections.abc import Callable
from typing import Final

from trafficgen.clock import NS_PER_MS, NS_PER_S, now_ns
from trafficgen.engine import control
from trafficgen.engine.limits import check_open_files, check_ports, check_sources
from trafficgen.engine.ranges import Ranges
from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.engine.run_account import Differences, RunAccount, account_of
from trafficgen.engine.traced_lines import TracedLines
from trafficgen.engine.turns import TurnControl
from trafficgen.engine.worker_pool import WorkerHandle, WorkerPool
from trafficgen.errors import SetupError, TrafficgenError
from trafficgen.host.machine_clock import wall_offset_ns
from trafficgen.host.signals import RunControl
from trafficgen.measure.snapshot import Snapshot, merge
from trafficgen.outcomes import StoppedBy

_LEAD_NS: Final = 20 * NS_PER_MS
"""Between the order to begin and an open-model run's time zero, so that all workers have read it. In the closed loop a
worker starts at once, and time zero must lie before its first start."""


_TICK_S: Final = 0.1
_TURN_S: Final = 0.02
"""How long an order of a run that takes turns may lie here; its numbers are of the moment when a worker reads it."""

_START_NS: Final = 60 * NS_PER_S
_PATIENCE_NS: Final = 5 * NS_PER_S
_HURRY_NS: Final = 700 * NS_PER_MS
_SILENCE_NS: Final = 60 * NS_PER_S
"""A worker reports four times a second; one that has said nothing for so long says nothing any more."""

_END_S: Final = 5.0


class Supervisor:
    """One run."""

    def __init__(
        self,
        resolved: ResolvedPlan,
        *,
        date: str,
        on_progress: Callable[[Snapshot, int, int], None],
        say: Callable[[str], None],
        show: Callable[[str], None] = lambda _line: None,
        stop: RunControl,
        turns: TurnControl | None = None,
    ) -> None:
        """`on_progress` gets all numbers so far, the time since the run began, and how many messages are planned.

        With a duration alone, those are the messages that sessions have got so far. `turns`: nothing starts before
        the first one says so. `show` gets what sessions say that the plan has shown, a line each.
        """
        assert resolved.route is not None
        self._resolved, self._plan, self._route = resolved, resolved.plan, resolved.route
        self._date = date
        self._on_progress = on_progress
        self._say = say
        self._show = show
        self._traced = TracedLines()
        self._shown = 0  # the session whose lines were shown last
        self._control = stop
        self._turns = turns
        self._pool = WorkerPool()
        self._count = resolved.workers
        self._ranges = Ranges(self._plan.shard, self._plan.max_messages, self._count)
        self._planned = resolved.planned
        self._began_ns: int | None = None
        self._stopped_by: StoppedBy | None = None
        self._stopped_ns: int | None = None
        self._error_ns: int | None = None  # when a first error was heard of that ends the run
        self._hurried = False  # the workers were told to stop at once
        self._announced = False
        self._last_ns: int | None = None  # when those that have not ended are ended
        self._differences = Differences()

    def run(self) -> RunAccount:
        """Send everything; returns when all workers have handed in their accounts or are lost."""
        sessions = self._resolved.sessions + self._resolved.idle_sessions
        check_open_files(-(-sessions // self._count))
        for route in self._resolved.routes:
            check_ports(self._plan, sessions, route)
            check_sources(self._plan, route)
        try:
            if self._start():
                began_ns = self._begin()
                while not self._pool.over:
                    self._turn(began_ns)
                self._show_traced(self._traced.take(()))
        finally:
            if self._turns is not None:
                self._turns.close()
            self._pool.end(0.1 if self._control.at_once else _END_S)
        return self._total()

    # -- start ------------------------------------------------------------------------------------------

    def _start(self) -> bool:
        """Whether all workers are ready; if not, an interruption came first, and nobody has been told to begin."""
        self._pool.start([self._config(index) for index in range(self._count)])
        deadline_ns = now_ns() + _START_NS
        while not all(worker.ready for worker in self._pool.workers):
            if self._control.count:
                break
            if now_ns() > deadline_ns:
                raise SetupError(
                    f"a worker was not ready within {_START_NS // NS_PER_S} s; is this machine overloaded?"
                )
            for worker in self._listen():
                if worker.lost:
                    raise SetupError(f"a worker could not start: it ended with code {worker.child.process.exitcode}")
        self._wait_for_start()
        if self._control.count:
            self._stopped_by, self._stopped_ns = self._control.why, now_ns()
        return not self._control.count

    def _wait_for_start(self) -> None:
        """Until the time zero that the plan names, or an interruption. SetupError when that is past."""
        if (start_ns := self._start_ns()) is None:
            return
        if (late_ns := now_ns() - start_ns) > 0 and not self._control.count:
            raise SetupError(
                f"the start was {late_ns / NS_PER_S:.1f} s ago when the workers were ready: "
                "expected it later (--start-at)"
            )
        while not self._control.count and (left_ns := start_ns - self._lead_ns - now_ns()) > 0:
            for worker in self._pool.hear(min(left_ns / NS_PER_S, _TICK_S)):
                if worker[0].lost:
                    raise SetupError(f"a worker ended before the start, with code {worker[0].child.process.exitcode}")

    def _start_ns(self) -> int | None:
        """The time zero that the plan names, on our clock."""
        at_ns = self._plan.shard.start_at_ns
        return None if at_ns is None else at_ns - wall_offset_ns()

    @property
    def _lead_ns(self) -> int:
        return _LEAD_NS if self._plan.load else 0

    def _config(self, index: int) -> control.WorkerConfig:
        sessions = self._resolved.sessions
        slots = sessions // self._count + (index < sessions % self._count)
        held = self._resolved.idle_sessions
        idle = held // self._count + (index < held % self._count)
        return control.WorkerConfig(self._resolved, self._date, index, slots, idle)

    def _begin(self) -> int:
        self._began_ns = self._start_ns() or now_ns() + self._lead_ns
        self._pool.say(control.Begin(self._began_ns, held=self._turns is not None))
        if self._plan.load is None:
            for worker in self._pool.workers * 2:  # one range to send, and one to go on with
                self._assign(worker)
        return self._began_ns

    def _assign(self, worker: WorkerHandle) -> None:
        dealt = self._ranges.next()
        assign = control.AssignRange(dealt.start, dealt.stop)
        worker.assigned.append(assign)
        worker.say(assign)

    # -- while it runs ----------------------------------------------------------------------------------

    def _turn(self, began_ns: int) -> None:
        """One look at the pipes, the clock and the signals."""
        turned_ns = now_ns()
        if self._turns is not None:
            for order in self._turns.orders():
                self._pool.say(order)
        heard = self._listen()
        self._show_traced(self._traced.take({worker.index for worker in self._pool.workers if not worker.over}))
        now = now_ns()
        if (why := self._control.why) is not None:
            self._announce()
            self._stop(why)
        elif self._plan.duration_ns is not None and now >= began_ns + self._plan.duration_ns:
            self._stop(StoppedBy.DEADLINE)
        if any(worker.lost for worker in heard):
            self._stop(StoppedBy.WORKER_LOST)
        if self._last_ns is not None and now >= self._last_ns:
            self._pool.kill()
        elif self._pool.kill_silent(min(now - turned_ns, NS_PER_S), _SILENCE_NS):
            self._stop(StoppedBy.WORKER_LOST)
        if heard:
            self._on_progress(self._merged(), now - began_ns, self._planned_so_far())

    def _planned_so_far(self) -> int:
        """What is planned; where only time ends the run, what sessions have got so far."""
        return sum(worker.taken for worker in self._pool.workers) if self._planned is None else self._planned

    def _listen(self) -> list[WorkerHandle]:
        """Hear what workers say; returns those with news worth showing."""
        return [worker for worker, word in self._pool.hear(self._patience_s()) if self._hear(worker, word)]

    def _patience_s(self) -> float:
        if self._turns is not None:
            return _TURN_S
        if self._plan.duration_ns is None or self._stopped_by or self._began_ns is None:
            return _TICK_S
        return min(_TICK_S, max((self._began_ns + self._plan.duration_ns - now_ns()) / NS_PER_S, 0.0))

    def _hear(self, worker: WorkerHandle, word: object) -> bool:
        match word:
            case None:
                return True
            case control.Ready():
                worker.ready = True
            case control.SetupFailed():
                raise word.error
            case TrafficgenError() if self._began_ns is None:
                raise word
            case control.RangeBegun():
                worker.begun += 1
                self._assign(worker)
            case control.WorkerProgress():
                self._traced.told(worker.index)
                worker.snapshot, worker.taken = word.snapshot, word.taken
                self._differences.compare_rows(worker, word.held)
                return True
            case control.Traced():
                self._traced.hear(word.lines)
            case control.TurnTaken():
                assert self._turns is not None
                self._turns.taken(word, worker.index, self._count)
            case control.WorkerFinished():
                self._traced.told(worker.index)
                worker.snapshot, worker.taken = word.snapshot, word.taken
                self._differences.compare_rows(worker, 0)
                return True
            case control.FirstError():
                if not self._plan.keep_going:
                    self._error_ns = self._error_ns or now_ns()
                    self._stop(StoppedBy.FIRST_ERROR)
        return False

    def _show_traced(self, lines: list[tuple[int, str]]) -> None:
        """Under the number of their session, where several are shown, whenever it is another one."""
        for session, line in lines:
            if self._plan.trace_sessions > 1 and self._shown != session + 1:
                self._show(f"session {session + 1}:")
            self._shown = session + 1
            self._show(line)

    def _announce(self) -> None:
        """Say once how long the end may take."""
        if not self._announced and not self._control.at_once:
            self._say(f"stopping: up to {self._plan.grace_ns / NS_PER_S:g} s; again = now")
        self._announced = True

    def _stop(self, why: StoppedBy) -> None:
        """Tell all workers; a second time only to shorten the grace."""
        hurry = self._control.at_once
        if self._stopped_by is None or (hurry and not self._hurried):
            grace_ns = 0 if hurry else self._plan.grace_ns
            self._pool.say(control.Stop(grace_ns))
            self._last_ns = now_ns() + (_HURRY_NS if hurry else grace_ns + _PATIENCE_NS)
        self._hurried = self._hurried or hurry
        self._stopped_by, self._stopped_ns = self._stopped_by or why, self._stopped_ns or now_ns()

    # -- the end ----------------------------------------------------------------------------------------

    def _merged(self) -> Snapshot:
        return merge(worker.snapshot for worker in self._pool.workers if worker.snapshot is not None)

    def _total(self) -> RunAccount:
        return account_of(
            self._resolved, self._pool.workers, self._merged(), self._began_ns, self._stopped_by, self._stopped_ns,
            self._differences, error_ns=self._error_ns,
        )  # fmt: skip

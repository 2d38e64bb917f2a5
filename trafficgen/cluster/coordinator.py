"""One run by all hosts of a cluster: prepare, one start, watch, one account.

Takes     a resolved plan of the whole run, an engine
Gives     `Results` as `runs.run.run` does, and progress of the whole meanwhile
Fails     PlanError or SetupError before anything begins: a host refuses its shard, versions, files or addresses differ,
          a clock is not known well enough. Later nothing fails: a shard that is lost is in the account
Stop      the first wish lets all shards end in good order, the second at once; a lost shard ends the others in good
          order, as the run is not valid any more
Limits    a shard is lost whose host does not answer for `_LOST_NS`, which itself says nothing for `_SILENCE_NS`, or has
          not ended `_PATIENCE_NS` after its grace period or `_HURRY_NS` after the second wish: no result waits for it
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import sleep, time_ns
from typing import TYPE_CHECKING, Any, Final

from mboxgen.counted import number_of
from trafficgen.clock import NS_PER_MS, NS_PER_S, now_ns
from trafficgen.cluster import account, agreement, kinds, words
from trafficgen.cluster.clocks import clock_of
from trafficgen.cluster.engine import Engine
from trafficgen.cluster.shard import HostShard
from trafficgen.cluster.turns import ClusterTurns
from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.errors import SetupError, TrafficgenError, reason_of
from trafficgen.host.machine_clock import boot_id, wall_offset_ns
from trafficgen.host.signals import CountedSignals, RunControl
from trafficgen.mailbox.plan import MailboxPlan
from trafficgen.measure.observed import RunClock
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import Snapshot, merge
from trafficgen.measure.timeline_changes import TimelineSum
from trafficgen.outcomes import StoppedBy
from trafficgen.plan import Plan
from trafficgen.proof import sent
from trafficgen.proof.waiting import DeliveryWait
from trafficgen.runs.run import Progress

if TYPE_CHECKING:
    from concurrent.futures import Future

MAX_CLOCK_ERROR_NS: Final = 50 * NS_PER_MS
_LOST_NS: Final = 10 * NS_PER_S
_SILENCE_NS: Final = 60 * NS_PER_S
"""Of a shard whose host answers: as long as a supervisor waits for a word of its worker. Shards tell twice a second."""
_PATIENCE_NS: Final = 20 * NS_PER_S
_HURRY_NS: Final = 5 * NS_PER_S
_PREPARE_NS: Final = 120 * NS_PER_S
_MAKING_NS: Final = 3600 * NS_PER_S
_LEAD_NS: Final = 3 * NS_PER_S
_MOST_LEAD_NS: Final = 30 * NS_PER_S
_TURN_S: Final = 0.1
_LOOK_NS: Final = NS_PER_S
_LOOK_EACH_NS: Final = 150 * NS_PER_MS
_LOOK_MOST_NS: Final = 3 * NS_PER_S
"""Asking, reading and adding up is what a coordinator costs, and it grows with the shards (benchmarks/cluster.py)."""


@dataclass(slots=True)
class Cluster:
    """An engine, and what is asked of its hosts."""

    engine: Engine
    max_clock_error_ns: int = MAX_CLOCK_ERROR_NS
    wall_ns: Callable[[], int] = field(default=time_ns)

    def run(
        self,
        plan: Plan | ResolvedPlan,
        *,
        progress: Callable[[Progress], None] | None = None,
        notice: Callable[[str], None] | None = None,
        manifest: Path | None = None,
        delivery_wait: DeliveryWait | None = None,
        control: RunControl | None = None,
        turns: ClusterTurns | None = None,
        **_alone: object,
    ) -> Results:
        """As `trafficgen.run`, by all hosts together; what only a run on one machine is told has no meaning here. With
        `turns`, messages start in the slices that those say."""
        resolved = ResolvedPlan.of(plan)
        if manifest is not None:
            sent.check_writable(manifest)
        kept = manifest is not None or delivery_wait is not None
        kind = kinds.of_sending(resolved, self._count(), progress, begins=kept)
        return self._run(kind, notice, account.Proofs(manifest, delivery_wait, resolved.plan), control, turns)

    def run_mailbox(
        self,
        plan: MailboxPlan,
        *,
        say: Callable[[str], None] | None = None,
        progress: Callable[[Snapshot, int, Callable[[], Results]], None] | None = None,
        control: RunControl | None = None,
        **_alone: object,
    ) -> Results:
        """As `runs.mailbox.run_mailbox`, by all hosts together; the table of seconds is left out."""
        return self._run(kinds.of_mailboxes(plan.identified(), self._count(), progress), say, account.Proofs(), control)

    def _count(self) -> int:
        if (count := len(self.engine.hosts)) < 2:
            raise SetupError("expected two hosts at least: one needs no --cluster")
        return count

    def _run(
        self,
        kind: kinds.KindOfRun,
        say: Callable[[str], None] | None,
        proofs: account.Proofs,
        control: RunControl | None,
        turns: ClusterTurns | None = None,
    ) -> Results:
        control = control or RunControl()
        with CountedSignals(control):
            run = _ClusterRun(self, kind, say or (lambda _line: None), proofs, control, turns)
            try:
                return run.results()
            finally:
                run.end()


class _ClusterRun:
    def __init__(
        self,
        cluster: Cluster,
        kind: kinds.KindOfRun,
        say: Callable[[str], None],
        proofs: account.Proofs,
        control: RunControl,
        turns: ClusterTurns | None,
    ) -> None:
        self._cluster = cluster
        self._engine = cluster.engine
        self._kind = kind
        self._say = say
        self._proofs = proofs
        self._control = control
        self._turns = turns
        self._zero_ns = 0  # the run's time zero on our clock.now_ns
        self._zero_wall_ns = 0
        self._stopped_by: StoppedBy | None = None
        self._stops = 0
        self._look_ns = min(max(_LOOK_NS, _LOOK_EACH_NS * len(cluster.engine.hosts)), _LOOK_MOST_NS)
        self._timeline = TimelineSum()
        self._news = False
        self._shown_ns = 0
        self._last_ns: int | None = None  # when those that have not ended are lost
        keep, held = proofs.wanted, turns is not None
        self._shards = [
            HostShard(host, words.ShardOrder(f"{plan.run_id}/{plan.shard.number}", plan, keep, held), now_ns())
            for host, plan in zip(self._engine.hosts, kind.shards, strict=True)
        ]

    def results(self) -> Results:
        self._proofs.check()
        began_ns = now_ns()
        if self._prepare():
            self._begin(now_ns() - began_ns)
            while not all(shard.over for shard in self._shards):
                self._turn()
        return self._account()

    def end(self) -> None:
        """Leave no process of a shard behind, as far as hosts still answer."""
        for shard in self._shards:
            self._engine.ask(shard.host, "end", shard.order.token)

    # -- before the start -------------------------------------------------------------------------------

    def _prepare(self) -> bool:
        """Let every host get ready. False when the run is stopped before it begins: then nothing was sent."""
        calls = [self._engine.ask(one.host, "prepare", one.order) for one in self._shards]
        patience_ns = _MAKING_NS if self._kind.makes_files else _PREPARE_NS
        deadline_ns = now_ns() + patience_ns
        while not (all(call.done() for call in calls) and all(shard.prepared for shard in self._shards)):
            if self._control.count:
                return self._not_begun()
            for call in calls:
                _refuse_failed(call, "cannot start a shard")
            if all(call.done() for call in calls):
                self._look()
            self._refuse_ended()
            if now_ns() > deadline_ns:
                late = ", ".join(shard.who for shard in self._shards if not shard.prepared)
                raise SetupError(f"not ready within {patience_ns // NS_PER_S} s: {late}")
            sleep(_TURN_S)
        if (line := agreement.check(self._kind.plan.destination, self._shards)) is not None:
            self._say(line)
        for shard in self._shards:
            if self._control.count:
                return self._not_begun()
            self._ask_clock(shard)
            self._look()  # a minute, with a hundred hosts 80 ms away: a shard that nobody asks after would end itself
            self._refuse_ended()
        return True

    def _refuse_ended(self) -> None:
        for shard in self._shards:
            if shard.last is not None:
                raise SetupError(f"{shard.who}: {getattr(shard.last, 'words', 'it ended before it began')}")

    def _ask_clock(self, shard: HostShard) -> None:
        try:
            shard.clock = clock_of(self._engine, shard.host, self._cluster.wall_ns)
        except OSError as error:
            raise SetupError(
                f"{shard.who} does not answer when it is asked for its clock: {reason_of(error)}"
            ) from error
        if shard.clock.error_ns > self._cluster.max_clock_error_ns:
            raise SetupError(
                f"{shard.who}: its clock is known to {shard.clock.error_ns / NS_PER_MS:.1f} ms only, expected "
                f"{self._cluster.max_clock_error_ns / NS_PER_MS:g} ms; allow more with --clock-error"
            )

    def _not_begun(self) -> bool:
        self._say("stopped before the start: nothing was sent")
        self._zero_wall_ns = self._cluster.wall_ns()
        for shard in self._shards:
            shard.last = words.ShardNotBegun()
        return False

    def _begin(self, prepared_in_ns: int) -> None:
        """One time zero; far enough ahead for hosts that are as busy as they were when they prepared."""
        ahead_ns = min(_LEAD_NS + prepared_in_ns, _MOST_LEAD_NS)
        self._zero_wall_ns = self._cluster.wall_ns() + ahead_ns
        self._zero_ns = now_ns() + ahead_ns
        calls = [
            self._engine.ask(one.host, "begin", one.order.token, self._zero_wall_ns + one.clock.offset_ns)
            for one in self._shards
        ]
        off_ns = max(abs(one.clock.offset_ns) for one in self._shards)
        error_ns = max(one.clock.error_ns for one in self._shards)
        self._say(
            f"{number_of(len(self._shards), 'shard')} to begin in {ahead_ns / NS_PER_S:.1f} s; their clocks are up to "
            f"{off_ns / NS_PER_MS:.1f} ms off, known to {error_ns / NS_PER_MS:.1f} ms and allowed for"
        )
        for shard, call in zip(self._shards, calls, strict=True):
            while not (call.done() or shard.over or self._control.count):
                self._look()
                sleep(_TURN_S)
            if call.done() and not shard.over and (error := call.exception()) is not None:
                shard.last = words.ShardGone(f"it was not told to begin: {str(error) or type(error).__name__}")

    # -- while it runs ----------------------------------------------------------------------------------

    def _turn(self) -> None:
        if self._turns is not None:
            self._take_turns(self._turns)
        self._news = self._look() or self._news
        if self._control.why is not None:
            self._stop(self._control.why)
        for shard in self._shards:
            if isinstance(shard.last, words.ShardGone | words.ShardRefused):
                self._stop(StoppedBy.WORKER_LOST)
            elif isinstance(shard.last, words.ShardEnded) and not self._stops:
                self._stop_as(shard.last)
        if self._last_ns is not None and now_ns() > self._last_ns:
            for shard in self._shards:
                if not shard.over:
                    shard.last = words.ShardGone("it did not end in time")
        if self._news and self._kind.show and now_ns() - self._shown_ns >= self._look_ns:
            self._news, self._shown_ns = False, now_ns()
            self._kind.show(self._now())
        sleep(_TURN_S)

    def _take_turns(self, turns: ClusterTurns) -> None:
        if not turns.begun.is_set() and all(shard.running is not None for shard in self._shards):
            turns.begin({shard.host: shard.found for shard in self._shards})
        for orders in turns.orders():
            for shard in self._shards:
                self._engine.ask(shard.host, "serve", shard.order.token, orders[shard.host])

    def _stop_as(self, ended: words.ShardEnded) -> None:
        """A shard that met the first error ends the others as well; so does any that takes turns no more."""
        why = ended.results.stopped_by
        if self._turns is not None or (self._kind.first_error_ends and why is StoppedBy.FIRST_ERROR):
            self._stop(why)

    def _look(self) -> bool:
        """Ask each shard that was not asked for a while; whether one has said something new."""
        news = False
        wanted = self._stops == 2 or (self._turns is not None and self._turns.due)
        pause_ns = 0 if wanted else self._look_ns
        for shard in self._shards:
            if shard.over:
                continue
            if shard.asked is None:
                if now_ns() - shard.asked_ns >= pause_ns:
                    if shard.answered_ns >= shard.asked_ns:
                        shard.answered_ns = now_ns()  # how long we ourselves did not ask is not its silence
                    shard.asked_ns = now_ns()
                    shard.asked = self._engine.ask(shard.host, "look", shard.order.token, shard.serial)
            elif shard.asked.done():
                news = self._hear(shard, shard.asked) or news
                shard.asked = None
            if not shard.over and now_ns() - max(shard.answered_ns, 0) > _LOST_NS:
                shard.last = words.ShardGone("its host does not answer")
        return news

    def _hear(self, shard: HostShard, call: "Future[Any]") -> bool:
        if (error := call.exception()) is not None:
            if not isinstance(error, OSError):
                shard.last = words.ShardGone(f"its host is gone: {str(error) or type(error).__name__}")
            return not isinstance(error, OSError)
        shard.answered_ns = now_ns()
        shard.serial, said = call.result()
        if said is None:
            if self._zero_ns and shard.asked_ns - max(shard.said_ns, self._zero_ns) > _SILENCE_NS:
                shard.last = words.ShardGone(f"its process said nothing for {_SILENCE_NS / NS_PER_S:g} s")
            return shard.over
        shard.said_ns = now_ns()
        for word in pickle.loads(said):  # noqa: S301  (from a process of the same cluster, which runs what we tell it)
            match word:
                case words.ShardPrepared() as prepared:
                    shard.prepared = prepared
                case words.ShardProgress() as running:
                    for changes in running.changes:
                        self._timeline.tell(shard.timeline, changes)
                    shard.running = replace(running, changes=())
                case words.ShardServed():
                    assert self._turns is not None
                    self._turns.served(shard.host, word)
                case words.ShardEnded() | words.ShardRefused() | words.ShardGone() as last:
                    shard.last = last
        return True

    def _stop(self, why: StoppedBy) -> None:
        """Tell all; a second time only to hurry."""
        wanted = 2 if self._control.at_once else 1
        if self._stops >= wanted:
            return
        self._stopped_by = self._stopped_by or why
        if self._turns is not None:
            self._turns.close()
        self._last_ns = now_ns() + (_HURRY_NS if wanted == 2 else self._kind.grace_ns + _PATIENCE_NS)
        for _ in range(wanted - self._stops):
            for shard in self._shards:
                if not shard.over:
                    self._engine.ask(shard.host, "stop", shard.order.token)
        self._stops = wanted

    def _merged(self) -> Snapshot:
        """All numbers so far on our clock; workers are numbered through."""
        moved, first = [], 0
        for shard in self._shards:
            if shard.running is not None:
                snapshot = shard.running.snapshot
                moved.append(snapshot.moved(self._zero_ns - snapshot.began_ns, first))
                first += len(snapshot.workers)
        return replace(merge(moved), timeline=self._timeline.timeline())

    def _now(self) -> kinds.ClusterProgress:
        said = [shard.running for shard in self._shards if shard.running is not None]
        elapsed_ns = max(now_ns() - self._zero_ns, 0)
        return kinds.ClusterProgress(self._merged(), elapsed_ns, said, account.instant(self._zero_wall_ns))

    # -- the end ----------------------------------------------------------------------------------------

    def _account(self) -> Results:
        merged = account.closed(self._kind, self._shards, self._zero_wall_ns)
        stopped_by = self._stopped_by or merged.stopped_by
        if any(isinstance(shard.last, words.ShardGone | words.ShardRefused) for shard in self._shards):
            stopped_by = StoppedBy.WORKER_LOST
        elif self._control.why is not None:
            stopped_by = self._control.why
        clock = RunClock(boot_id(), self._zero_ns, wall_offset_ns())
        merged = replace(merged, stopped_by=stopped_by, run=replace(merged.run, clock=clock))
        return self._proofs.add(merged, self._shards, self._say, self._control)


def _refuse_failed(call: "Future[Any]", what: str) -> None:
    """SetupError in our own words when a call is over and failed."""
    error = call.exception() if call.done() else None
    if isinstance(error, TrafficgenError):
        raise error
    if error is not None:
        raise SetupError(f"{what}: {str(error) or type(error).__name__}; is traffic-gen installed there?") from error

"""One run by all hosts of a cluster: prepare, one start, watch, one account.

Takes     a resolved plan of the whole run, an engine
Gives     `Results` as `runs.run.run` does, and progress of the whole meanwhile
Fails     PlanError or SetupError before anything begins: a host refuses its shard, versions, files or addresses differ,
          a clock is not known well enough. Later nothing fails: a shard that is lost is in the account
Stop      the first wish lets all shards end in good order, the second at once; a lost shard ends the others in good
          order, as the run is not valid any more
Limits    a shard whose host does not answer for `_LOST_NS`, or that has not ended `_PATIENCE_NS` after its grace
          period, is lost: no result waits for it
"""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from time import sleep, time_ns
from typing import TYPE_CHECKING, Any, Final

from trafficgen.clock import NS_PER_MS, NS_PER_S, now_ns
from trafficgen.cluster import words
from trafficgen.cluster.clocks import Clock, clock_of
from trafficgen.cluster.engine import Engine
from trafficgen.engine.account import PHASES
from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.errors import PlanError, SetupError, TrafficgenError
from trafficgen.host.machine_clock import boot_id, wall_offset_ns
from trafficgen.host.signals import CountedSignals, RunControl
from trafficgen.host.version import VERSION
from trafficgen.measure.health import Caveat, CaveatKind
from trafficgen.measure.merging_shards import merge_shards
from trafficgen.measure.observed import RunClock
from trafficgen.measure.parts import Host, ShardRecord
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import Snapshot, merge
from trafficgen.outcomes import StoppedBy
from trafficgen.plan import Plan, Shard
from trafficgen.proof import sent
from trafficgen.proof.waiting import DeliveryWait
from trafficgen.runs.run import Progress

if TYPE_CHECKING:
    from concurrent.futures import Future

MAX_CLOCK_ERROR_NS: Final = 50 * NS_PER_MS
_LOST_NS: Final = 10 * NS_PER_S
_PATIENCE_NS: Final = 20 * NS_PER_S
_PREPARE_NS: Final = 120 * NS_PER_S
_LEAD_NS: Final = NS_PER_S
_TURN_S: Final = 0.1
_LOOK_NS: Final = NS_PER_S
_LOOK_EACH_NS: Final = 100 * NS_PER_MS
_LOOK_MOST_NS: Final = 3 * NS_PER_S
"""Asking, reading and adding up is what a coordinator costs, and it grows with the shards (benchmarks/cluster.py)."""


@dataclass(slots=True)
class _HostShard:
    """One shard and all that is known of it. `word`: its latest."""

    host: str
    order: words.ShardOrder
    answered_ns: int
    clock: Clock = field(default_factory=lambda: Clock(0, 0))
    prepared: words.ShardPrepared | None = None
    running: words.ShardProgress | None = None
    last: words.ShardEnded | words.ShardRefused | words.ShardGone | None = None
    serial: int = 0
    asked: "Future[Any] | None" = None
    asked_ns: int = 0

    @property
    def over(self) -> bool:
        return self.last is not None

    @property
    def number(self) -> int:
        return self.order.plan.shard.number

    @property
    def who(self) -> str:
        return f"shard {self.number} ({self.prepared.name if self.prepared else self.host})"


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
        **_alone: object,
    ) -> Results:
        """As `trafficgen.run`, by all hosts together; what only a run on one machine is told has no meaning here."""
        resolved = ResolvedPlan.of(plan)
        if len(self.engine.hosts) < 2:
            raise SetupError("expected two hosts at least: one needs no --cluster")
        if delivery_wait is not None:
            text = "a cluster does not wait for delivery: use --manifest, and traffic-gen verify"
            raise PlanError(text, field="drain", flag="--wait-for-delivery")
        if manifest is not None:
            sent.check_writable(manifest)
        control = control or RunControl()
        with CountedSignals(control):
            run = _ClusterRun(self, resolved, progress, notice or (lambda _line: None), manifest, control)
            try:
                return run.results()
            finally:
                run.end()


class _ClusterRun:
    def __init__(
        self,
        cluster: Cluster,
        resolved: ResolvedPlan,
        progress: Callable[[Progress], None] | None,
        say: Callable[[str], None],
        manifest: Path | None,
        control: RunControl,
    ) -> None:
        self._cluster = cluster
        self._engine = cluster.engine
        self._resolved = resolved
        self._plan = resolved.plan
        self._progress = progress
        self._say = say
        self._manifest = manifest
        self._control = control
        self._zero_ns = 0  # the run's time zero on our clock.now_ns
        self._zero_wall_ns = 0
        self._stopped_by: StoppedBy | None = None
        self._stops = 0
        self._look_ns = min(max(_LOOK_NS, _LOOK_EACH_NS * len(cluster.engine.hosts)), _LOOK_MOST_NS)
        self._news = False
        self._shown_ns = 0
        self._last_ns: int | None = None  # when those that have not ended are lost
        hosts = self._engine.hosts
        self._shards = [
            _HostShard(
                host, words.ShardOrder(f"{self._plan.run_id}/{number}", shard_plan, manifest is not None), now_ns()
            )
            for number, (host, shard_plan) in enumerate(zip(hosts, _plans(self._plan, len(hosts)), strict=True), 1)
        ]

    def results(self) -> Results:
        began_ns = now_ns()
        self._prepare()
        self._begin(now_ns() - began_ns)
        while not all(shard.over for shard in self._shards):
            self._turn()
        return self._account()

    def end(self) -> None:
        """Leave no process of a shard behind, as far as hosts still answer."""
        for shard in self._shards:
            if not isinstance(shard.last, words.ShardEnded):
                self._engine.ask(shard.host, "end", shard.order.token)

    # -- before the start -------------------------------------------------------------------------------

    def _prepare(self) -> None:
        for call in [self._engine.ask(one.host, "prepare", one.order) for one in self._shards]:
            _done(call, "cannot start a shard")
        deadline_ns = now_ns() + _PREPARE_NS
        while not all(shard.prepared for shard in self._shards):
            self._look()
            for shard in self._shards:
                if shard.last is not None:
                    raise SetupError(f"{shard.who}: {getattr(shard.last, 'words', 'it ended before it began')}")
            if now_ns() > deadline_ns:
                late = ", ".join(shard.who for shard in self._shards if not shard.prepared)
                raise SetupError(f"not ready within {_PREPARE_NS // NS_PER_S} s: {late}")
            if self._control.count:
                raise SetupError("stopped before the start: nothing was sent")
            sleep(_TURN_S)
        self._compare()
        for shard in self._shards:
            shard.clock = clock_of(self._engine, shard.host, self._cluster.wall_ns)
            if shard.clock.error_ns > self._cluster.max_clock_error_ns:
                raise SetupError(
                    f"{shard.who}: its clock is known to {shard.clock.error_ns / NS_PER_MS:.1f} ms only, expected "
                    f"{self._cluster.max_clock_error_ns / NS_PER_MS:g} ms; allow more with --clock-error"
                )

    def _compare(self) -> None:
        """What all hosts must agree in."""
        first, *others = self._shards
        assert first.prepared is not None
        for shard in others:
            found = shard.prepared
            assert found is not None
            for path, digest in first.prepared.files.items():
                if found.files.get(path) != digest:
                    raise SetupError(f'{first.who} and {shard.who} have different files: "{path}"')
            if set(found.addresses) != set(first.prepared.addresses):
                ours, theirs = ", ".join(first.prepared.addresses), ", ".join(found.addresses)
                raise SetupError(
                    f"{self._plan.target} is {ours} for {first.who} and {theirs} for {shard.who}: "
                    "expected one answer everywhere"
                )
        for shard in self._shards:
            if shard.prepared and shard.prepared.version != VERSION:
                raise SetupError(f"{shard.who} has traffic-gen {shard.prepared.version}, and this is {VERSION}")
        if first.prepared.addresses:
            self._say(f"target {self._plan.target} is at {', '.join(first.prepared.addresses)} for all shards")

    def _begin(self, prepared_in_ns: int) -> None:
        """One time zero; far enough ahead for hosts that are as busy as they were when they prepared."""
        ahead_ns = _LEAD_NS + prepared_in_ns
        self._zero_wall_ns = self._cluster.wall_ns() + ahead_ns
        self._zero_ns = now_ns() + ahead_ns
        calls = [
            self._engine.ask(one.host, "begin", one.order.token, self._zero_wall_ns + one.clock.offset_ns)
            for one in self._shards
        ]
        off_ns = max(abs(one.clock.offset_ns) for one in self._shards)
        error_ns = max(one.clock.error_ns for one in self._shards)
        self._say(
            f"{len(self._shards)} shards begin in {ahead_ns / NS_PER_S:.1f} s; their clocks are up to "
            f"{off_ns / NS_PER_MS:.1f} ms off, known to {error_ns / NS_PER_MS:.1f} ms and allowed for"
        )
        for call in calls:
            if call.exception(_LOST_NS / NS_PER_S) is not None:
                return  # it shows as lost when it is looked at

    # -- while it runs ----------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._news = self._look() or self._news
        if self._control.why is not None:
            self._stop(self._control.why)
        for shard in self._shards:
            if isinstance(shard.last, words.ShardGone | words.ShardRefused):
                self._stop(StoppedBy.WORKER_LOST)
            elif isinstance(shard.last, words.ShardEnded) and not self._plan.keep_going and not self._stops:
                self._stop_as(shard.last)
        if self._last_ns is not None and now_ns() > self._last_ns:
            for shard in self._shards:
                if not shard.over:
                    shard.last = words.ShardGone("it did not end in time")
        if self._news and self._progress and now_ns() - self._shown_ns >= self._look_ns:
            self._news, self._shown_ns = False, now_ns()
            snapshot = self._merged()
            planned = sum(shard.running.planned for shard in self._shards if shard.running)
            self._progress(Progress(snapshot, max(now_ns() - self._zero_ns, 0), max(planned, snapshot.started)))
        sleep(_TURN_S)

    def _stop_as(self, ended: words.ShardEnded) -> None:
        """A shard that met the first error ends the others as well."""
        if (why := ended.results.stopped_by) is StoppedBy.FIRST_ERROR:
            self._stop(why)

    def _look(self) -> bool:
        """Ask each shard that was not asked for a while; whether one has said something new."""
        news = False
        for shard in self._shards:
            if shard.over:
                continue
            if shard.asked is None:
                if now_ns() - shard.asked_ns >= self._look_ns:
                    shard.asked_ns = now_ns()
                    shard.asked = self._engine.ask(shard.host, "look", shard.order.token, shard.serial)
            elif shard.asked.done():
                news = self._hear(shard, shard.asked) or news
                shard.asked = None
            if not shard.over and now_ns() - max(shard.answered_ns, 0) > _LOST_NS:
                shard.last = words.ShardGone("its host does not answer")
        return news

    def _hear(self, shard: _HostShard, call: "Future[Any]") -> bool:
        if (error := call.exception()) is not None:
            if not isinstance(error, OSError):
                shard.last = words.ShardGone(f"its host is gone: {str(error) or type(error).__name__}")
            return not isinstance(error, OSError)
        shard.answered_ns = now_ns()
        shard.serial, said = call.result()
        if said is None:
            return False
        match pickle.loads(said):  # noqa: S301  (from a process of the same cluster, which runs what we tell it)
            case words.ShardPrepared() as prepared:
                shard.prepared = prepared
            case words.ShardProgress() as running:
                shard.running = running
            case words.ShardEnded() | words.ShardRefused() | words.ShardGone() as last:
                shard.last = last
        return True

    def _stop(self, why: StoppedBy) -> None:
        """Tell all; a second time only to hurry."""
        wanted = 2 if self._control.at_once else 1
        if self._stops >= wanted:
            return
        self._stopped_by = self._stopped_by or why
        grace_ns = 0 if wanted == 2 else self._plan.grace_ns
        self._last_ns = now_ns() + grace_ns + _PATIENCE_NS
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
        return merge(moved)

    # -- the end ----------------------------------------------------------------------------------------

    def _account(self) -> Results:
        lost = [shard for shard in self._shards if not isinstance(shard.last, words.ShardEnded)]
        parts = [self._part(shard) for shard in self._shards]
        caveats = self._write_manifest(lost)
        merged = merge_shards(parts)
        stopped_by = self._stopped_by or merged.stopped_by
        if lost:
            stopped_by = StoppedBy.WORKER_LOST
        elif self._control.why is not None:
            stopped_by = self._control.why
        clock = RunClock(boot_id(), self._zero_ns, wall_offset_ns())
        merged = replace(merged, stopped_by=stopped_by, run=replace(merged.run, clock=clock))
        return merged.with_caveats((*merged.caveats, *caveats)) if caveats else merged

    def _part(self, shard: _HostShard) -> Results:
        zero = datetime.fromtimestamp(self._zero_wall_ns / NS_PER_S, UTC).isoformat(timespec="milliseconds")
        last = shard.last
        results = last.results if isinstance(last, words.ShardEnded) else self._of_lost(shard)
        record = replace(
            results.shards[0], start_at=zero, clock_offset_ns=shard.clock.offset_ns, clock_error_ns=shard.clock.error_ns
        )
        plan = dict(results.plan)
        plan["shard"] = dict(plan["shard"]) | {"start_at_ns": self._zero_wall_ns}
        return replace(results, run=replace(results.run, started_at=zero), shards=(record,), plan=plan)

    def _of_lost(self, shard: _HostShard) -> Results:
        """What it last said; the rest of what it had to send is in doubt, unless it never began."""
        resolved, last = self._resolved, shard.last
        plan = replace(shard.order.plan, keep_begins=shard.order.manifest or self._plan.keep_begins)
        assert shard.prepared is not None
        snapshot = Snapshot.empty(open_loop=plan.load is not None)
        planned = shard.prepared.planned or 0
        if shard.running is not None:
            said = shard.running.snapshot
            snapshot, planned = said.moved(-said.began_ns, 0), max(shard.running.planned, said.started)
        not_started = planned - snapshot.started
        if not isinstance(last, words.ShardRefused):
            snapshot, not_started = snapshot.with_lost(not_started), 0
        reason = getattr(last, "words", "")
        text = f"the measurement is not valid: {shard.who} was lost: {reason}"
        if resolved.planned_by_all is None:
            text += "; how much it sent after its last word is not known"
        return Results.build(
            plan,
            snapshot,
            phases=PHASES,
            domains=resolved.weighted_domains,
            targets=plan.target_shares,
            planned=snapshot.started + not_started,
            not_started=not_started,
            started_at=datetime.fromtimestamp(self._zero_wall_ns / NS_PER_S, UTC),
            duration_ns=(snapshot.last_end_ns or 0) - (snapshot.first_start_ns or 0),
            host=Host.here(),
            tool_version=shard.prepared.version,
            stopped_by=StoppedBy.WORKER_LOST,
            addresses=shard.prepared.addresses,
            caveats=[Caveat.of(CaveatKind.SHARD_LOST, text)],
            shards=[
                ShardRecord(
                    number=shard.number,
                    of=plan.shard.of,
                    start_at=None,
                    planned_by_all=resolved.planned_by_all,
                    host=shard.prepared.name,
                    first_start_ns=snapshot.first_start_ns,
                    last_start_ns=snapshot.last_start_ns,
                    last_end_ns=snapshot.last_end_ns,
                    last_answered_ns=snapshot.last_answered_ns,
                    files=shard.prepared.files,
                )
            ],
        )

    def _write_manifest(self, lost: Sequence[_HostShard]) -> list[Caveat]:
        """What all shards sent, in one file; a caveat where it cannot be whole."""
        if self._manifest is None:
            return []
        kept = [shard.last.manifest for shard in self._shards if isinstance(shard.last, words.ShardEnded)]
        problems = [f"what {shard.who} sent is not in it" for shard in lost]
        try:
            sent.join([sent.from_octets(octets) for octets in kept if octets is not None]).write(self._manifest)
        except TrafficgenError as error:
            problems.append(str(error))
        if not problems:
            return []
        return [Caveat.of(CaveatKind.OUTPUT_FAILED, f'the manifest "{self._manifest}": {"; ".join(problems)}')]


def _plans(plan: Plan, count: int) -> list[Plan]:
    """The plan of each shard."""
    return [replace(plan, shard=Shard(number, count)) for number in range(1, count + 1)]


def _done(call: "Future[Any]", what: str) -> None:
    """Wait for a call to return. SetupError in our own words otherwise."""
    try:
        call.result(_PREPARE_NS / NS_PER_S)
    except TrafficgenError:
        raise
    except Exception as error:
        raise SetupError(f"{what}: {str(error) or type(error).__name__}; is traffic-gen installed there?") from error

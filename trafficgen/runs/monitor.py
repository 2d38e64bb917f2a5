"""Monitor a run: keep its file, cut out its window, judge its thresholds.

Takes     a plan, and a `MonitorOptions`: where results go, what they must keep to, which part of the run counts
Gives     `Results` with their window and the verdict of each threshold
Ends      the run early when it was asked to abort and a threshold fails
Not here  the run (runs.run), what thresholds mean (verdict), who looks on (report, observers)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from trafficgen.clock import NS_PER_S
from trafficgen.engine.account import PHASES
from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.host.signals import RunControl
from trafficgen.host.version import VERSION
from trafficgen.measure.generator import Host
from trafficgen.measure.health import assess, diagnose
from trafficgen.measure.host import CpuTime
from trafficgen.measure.journal import Journal
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import Snapshot
from trafficgen.measure.window import WindowTracker
from trafficgen.outcomes import StoppedBy
from trafficgen.plan import Plan
from trafficgen.proof.waiting import DeliveryWait
from trafficgen.publish.isolated import Isolation
from trafficgen.runs import shards
from trafficgen.runs.observation import Observation
from trafficgen.runs.run import Progress, run
from trafficgen.verdict.ceiling import Ceiling
from trafficgen.verdict.thresholds import Threshold, judge_all


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorOptions:
    """What to look for. Times in ns since the run began.

    `from_ns`, `to_ns`: the window that verdicts are made from; 0 and None: the whole run. `abort_after_ns`: from then
    on, a threshold that fails ends the run; None: never. `ceiling`: what this machine was found capable of.
    """

    thresholds: Sequence[Threshold] = ()
    from_ns: int = 0
    to_ns: int | None = None
    abort_after_ns: int | None = None
    ceiling: Ceiling | None = None
    command: tuple[str, ...] | None = None


Observer = Callable[[Results], None]
"""Sees the results so far about once a second, and the whole ones at the end."""


def run_monitored(
    plan: Plan | ResolvedPlan,
    options: MonitorOptions,
    *,
    journal: Journal | None = None,
    observers: Sequence[Observer] = (),
    progress: Callable[[Progress], None] | None = None,
    notice: Callable[[str], None] | None = None,
    trace: Callable[[str], None] | None = None,
    manifest: Path | None = None,
    delivery_wait: DeliveryWait | None = None,
    control: RunControl | None = None,
    observation: Observation | None = None,
    runner: Callable[..., Results] = run,
) -> Results:
    """Run `plan` as `trafficgen.run` does, with a monitor. `journal` keeps the results so far; whoever made it writes
    the whole ones. `trace`, `manifest`, `delivery_wait` and `control` are the run's. `observation` looks at the server
    meanwhile, and until its queue is back where it was. `runner` runs it in place of `run`."""
    resolved, control = ResolvedPlan.of(plan), control or RunControl()
    isolation = Isolation(notice or (lambda _line: None))
    monitor = Monitor(options, journal, observers, control, isolation, observation)
    started_at = shards.time_zero(resolved.plan.shard) or datetime.now(UTC)

    def see(now: Progress) -> None:
        monitor.see(now.snapshot, now.elapsed_ns, lambda: _so_far(resolved, started_at, now))
        if progress:
            isolation.call("the live line", lambda: progress(now))

    cpu_before = CpuTime.now()
    results = monitor.close(
        runner(
            resolved,
            progress=see,
            notice=notice,
            trace=trace and (lambda line: isolation.call("the trace", lambda: trace(line))),
            manifest=manifest,
            delivery_wait=delivery_wait,
            control=control,
        ),
        cpu_before,
    )
    monitor.show(results)
    return results.with_caveats((*results.caveats, *isolation.caveats)) if isolation.caveats else results


class Monitor:
    """What looks at one run of any kind: `see` whenever there is a new state, `close` and `show` at the end."""

    def __init__(
        self,
        options: MonitorOptions,
        journal: Journal | None,
        observers: Sequence[Observer],
        control: RunControl,
        isolation: Isolation,
        observation: Observation | None = None,
    ) -> None:
        self._observation = observation
        self._control = control
        self._options = options
        self._journal = journal
        self._observers = observers
        self._isolation = isolation
        whole = options.from_ns == 0 and options.to_ns is None
        self._window = None if whole else WindowTracker(options.from_ns, options.to_ns)
        self._seen_s = 0
        self._last = Snapshot.empty()
        self._build: Callable[[], Results] | None = None

    def see(self, snapshot: Snapshot, elapsed_ns: int, build: Callable[[], Results]) -> None:
        """The state of the run. `build` makes results of it, when they are needed."""
        self._last, self._build = snapshot, build
        if self._window:
            self._window.see(snapshot)
        if journal := self._journal:
            self._isolation.call("the results file so far", lambda: journal.keep(self._so_far))
        if elapsed_ns // NS_PER_S > self._seen_s:
            self._seen_s = elapsed_ns // NS_PER_S
            if self._observers:
                self._isolation.call("the results so far", lambda: self.show(self._so_far()))
            self._isolation.call("the look at thresholds", lambda: self._abort_if_failed(elapsed_ns))

    def show(self, results: Results) -> None:
        """Let every observer see them."""
        for observer in self._observers:
            name = getattr(observer, "name", getattr(observer, "__qualname__", type(observer).__qualname__))
            self._isolation.call(str(name), partial(observer, results))

    def close(self, results: Results, cpu_before: CpuTime) -> Results:
        """The whole results, with all that only the monitor knows."""
        ceiling = self._options.ceiling
        results = _with_caveats(
            results,
            stolen_share=CpuTime.now().stolen_share_since(cpu_before),
            ceiling_share=ceiling.share_used(results) if ceiling else None,
        )
        if self._observation and results.run.clock:
            asked = self._control.count
            self._observation.wait_for_drain(
                results.run.clock, results.run.ended_s, lambda: self._control.count > asked
            )
        return self._judged(replace(results, run=replace(results.run, command=self._options.command)))

    def _judged(self, results: Results) -> Results:
        if self._window:
            ended_ns = self._sending_ended_ns(results) if results.complete else None
            results = replace(results, window=self._window.window(tuple(results.domains), ended_ns))
        if self._observation and results.run.clock:
            results = replace(results, server=self._observation.samples(results.run.clock))
        return replace(results, thresholds=judge_all(self._options.thresholds, results))

    def _sending_ended_ns(self, results: Results) -> int | None:
        """Since the run's start; None when nothing was sent."""
        snapshot = self._last
        if snapshot.first_start_ns is None or results.rate.over_s is None:
            return None
        return snapshot.first_start_ns - snapshot.began_ns + round(results.rate.over_s * NS_PER_S)

    def _so_far(self) -> Results:
        assert self._build is not None
        results = self._build()
        return self._judged(replace(results, run=replace(results.run, command=self._options.command)))

    def _abort_if_failed(self, elapsed_ns: int) -> None:
        after_ns = self._options.abort_after_ns
        if after_ns is None or self._control.count or elapsed_ns < self._options.from_ns + after_ns:
            return
        if not all(verdict.passed for verdict in self._so_far().thresholds):
            self._control.stop(StoppedBy.THRESHOLD)


def _so_far(resolved: ResolvedPlan, started_at: datetime, now: Progress) -> Results:
    return Results.build(
        resolved.plan,
        now.snapshot,
        phases=PHASES,
        domains=resolved.weighted_domains,
        targets=resolved.plan.target_shares,
        planned=now.planned,
        not_started=now.planned - now.snapshot.started,
        started_at=started_at,
        duration_ns=now.elapsed_ns,
        host=Host.here(),
        tool_version=VERSION,
        shards=shards.record(resolved.plan.shard, resolved.planned_by_all, now.snapshot, {}),
        complete=False,
        sessions=resolved.sessions_of_all,
    )


def _with_caveats(results: Results, *, stolen_share: float, ceiling_share: float | None) -> Results:
    """`results` with what the machine around the run has to say; its other caveats stay as they are."""
    results = replace(results, generator=replace(results.generator, ceiling_share=ceiling_share))
    every = assess(Snapshot.empty(), stolen_share=stolen_share, ceiling_share=ceiling_share)
    return results.with_caveats(diagnose({caveat.kind: caveat.text for caveat in (*every, *results.caveats)}))

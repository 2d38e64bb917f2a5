"""A gate from the first run to the verdict.

Takes     a design, a plan, two builds; or in place of those any `Runner`
Gives     `Ended`, with every trial behind it
Ends      early with KeyboardInterrupt when a run was interrupted; the trials are on disk and the gate can go on
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from trafficgen.engine.address import check, resolve
from trafficgen.errors import OutputError, PlanError, reason_of
from trafficgen.gate.builds import Build, running
from trafficgen.gate.trials import TrialFile
from trafficgen.host.output import Output
from trafficgen.measure.results import Results
from trafficgen.outcomes import StoppedBy
from trafficgen.plan import Plan, draw_run_id
from trafficgen.proof.waiting import DeliveryWait
from trafficgen.report.gated import values_in_words
from trafficgen.runs.monitor import MonitorOptions, run_monitored
from trafficgen.runs.run import run
from trafficgen.server.counters import counted, not_counted
from trafficgen.server.usage import pids_of, read_usage, used_per_1000, why_not
from trafficgen.verdict.gating import Design, Ended, PlannedRun, Side, Trial, advance, steps
from trafficgen.verdict.reading import trial_of
from trafficgen.verdict.rule import Metric
from trafficgen.verdict.server_metrics import SERVER_METRICS


class Runner(Protocol):
    """Makes one run of a step."""

    def run(self, step: PlannedRun) -> Trial: ...


class Load(Protocol):
    """What every run of a gate does to the build that is up. Every run is the same; only its id is new."""

    def check(self, side: Side) -> None:
        """Before anything here connects to that build: PlanError or SetupError for one that may not be."""

    def run(self, side: Side) -> Results:
        """One run against that build, which is up."""


@dataclass(frozen=True, slots=True)
class SentMail:
    """Messages that are sent. `delivery_wait`: our sink behind both builds; each run then waits until its mail has
    arrived there, and its results hold what was lost, doubled or damaged on the way. `runner` makes a run in place of
    `runs.run.run`."""

    plan: Plan
    builds: Mapping[Side, Build]
    monitor: MonitorOptions
    delivery_wait: DeliveryWait | None = None
    runner: Callable[..., Results] = run

    def check(self, side: Side) -> None:
        plan = self._plan(side)
        if plan.target is not None:
            check(plan, resolve(plan.target))

    def run(self, side: Side) -> Results:
        return run_monitored(self._plan(side), self.monitor, delivery_wait=self.delivery_wait, runner=self.runner)

    def _plan(self, side: Side) -> Plan:
        return replace(self.plan, target=self.builds[side].target, run_id=draw_run_id(), keep_going=True)


@dataclass(frozen=True, slots=True)
class BuildRunner:
    """Runs a load against the builds.

    `keep`: a directory for the results of every run. `tolerate_refusals`: rejected and failed messages and commands are
    no harm.
    """

    load: Load
    builds: Mapping[Side, Build]
    metrics: Sequence[Metric]
    keep: Path | None = None
    tolerate_refusals: bool = False
    failed: list[OutputError] = field(default_factory=list)
    """Results that could not be kept; the gate goes on without."""

    def __post_init__(self) -> None:
        if self.keep is not None:
            try:
                self.keep.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                reason = reason_of(error)
                text = f'cannot make the folder "{self.keep}": {reason}'
                raise PlanError(text, field="keep", flag="--keep") from error

    def run(self, step: PlannedRun) -> Trial:
        build = self.builds[step.side]
        self.load.check(step.side)
        with running(build):
            before = read_usage(build)
            with counted(pids_of(build, before)) as counts:
                results = self.load.run(step.side)
            after = read_usage(build)
        if results.stopped_by is StoppedBy.INTERRUPTED:
            raise KeyboardInterrupt
        if self.keep:
            name = f"{step.index + 1:03}-{step.side.value}-{results.run.id}.json"
            try:
                Output(self.keep / name, "--keep").write(results.to_json())
            except OutputError as error:
                self.failed.append(error)
        server = used_per_1000(before, after, results.messages.accepted, counts)
        trial = trial_of(step, results, self.metrics, server, tolerate_refusals=self.tolerate_refusals)
        if trial.spoiled and not server and (reason := why_not(build)) and self._asks_for_the_server():
            return replace(trial, spoiled=f"{trial.spoiled}: {reason}")
        return trial

    def unavailable(self) -> str | None:
        """Why nothing can be read of a build's processes, where that is known."""
        whole = next(filter(None, map(why_not, self.builds.values())), None)
        return whole or "; ".join(f"{name}: {why}" for name, why in not_counted().items()) or None

    def _asks_for_the_server(self) -> bool:
        return any(metric.name in SERVER_METRICS for metric in self.metrics)


def run_gate(
    design: Design,
    runner: Runner,
    file: TrialFile,
    *,
    notice: Callable[[str], None] = lambda _line: None,
    why_absent: Callable[[], str | None] = lambda: None,
) -> Ended:
    """Make runs until there is a verdict. `notice` gets a line for each run; `why_absent` knows why metrics of the
    server are not there."""
    at_most = len(steps(design))
    while not isinstance(following := advance(design, file.trials), Ended):
        trial = runner.run(following)
        if lost := file.add(trial):
            notice(f"{lost}; the gate goes on, and cannot be gone on with later")
        notice(_told(following, trial, design, at_most))
        if len(file.trials) == 1 and (absent := [name for name in SERVER_METRICS if name not in trial.values]):
            reason = f": {why}" if (why := why_absent()) else ""
            notice(f"not available for this server, here, or zero: {', '.join(absent)}{reason}")
    return following


def _told(step: PlannedRun, trial: Trial, design: Design, at_most: int) -> str:
    numbers = ", ".join(
        f"{metric.name} {values_in_words(metric.name, [trial.values[metric.name]])[0]}"
        for metric in design.metrics
        if metric.name in trial.values
    )
    what = f"run {step.index + 1} of at most {at_most}, {step.purpose.value} pair {step.pair + 1}, {step.side.name}"
    trouble = f"; {trial.harm}" if trial.harm else f"; spoiled: {trial.spoiled}" if trial.spoiled else ""
    return f"{what}: {numbers}{trouble}"

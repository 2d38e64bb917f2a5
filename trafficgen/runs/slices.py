"""One side of a gate by slices: its run, held in a thread of its own, and what a slice of it measures.

Takes     a run that takes turns; how long a slice is, and which histograms are wanted of it
Gives     `HeldRun`; `serve`: one slice, measured; `Served`: several of them, and the messages of both sides around them
Fails     SetupError when a run ends by itself, RunLostError when it is not valid any more: each with what it said last
Not here  whose turn it is (gate.slicing), turns by the clock of several hosts (cluster.slices), what slices mean
          (verdict)
"""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

from trafficgen.clock import NS_PER_S
from trafficgen.engine.control import Turn
from trafficgen.errors import PlanError, SetupError, StoppedError
from trafficgen.host.cpu_time import CpuReading, shares
from trafficgen.host.signals import RunControl
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.recorder import MAX_TIMED_DOMAINS
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import Snapshot
from trafficgen.plan import Plan
from trafficgen.verdict.gating import Side
from trafficgen.verdict.quantities import QuantityKind, matching_domain, parse_quantity
from trafficgen.verdict.server_metrics import is_of_server
from trafficgen.verdict.slices import Disturbance, Slice, stretch_of

Stretches = Mapping[str, Callable[[Snapshot], Histogram]]

_Answer = TypeVar("_Answer")
_LOOK_S: Final = 0.05


class RunLostError(StoppedError):
    """A run that took turns lost a worker or a shard: what was measured with it is not valid."""


@dataclass(frozen=True, slots=True)
class SliceTimes:
    """Each slice lasts `skip_ns`, which is not measured, and then `slice_ns`."""

    skip_ns: int
    slice_ns: int

    @property
    def whole_ns(self) -> int:
        """Of both parts."""
        return self.skip_ns + self.slice_ns


@dataclass(frozen=True, slots=True)
class SideCounts:
    """Messages of one side so far."""

    started: int
    accepted: int
    rejected: int
    failed: int
    in_doubt: int

    @classmethod
    def of(cls, now: Snapshot) -> "SideCounts":
        """As a snapshot has them."""
        return cls(now.started, now.accepted, now.rejected, now.failed, now.in_doubt)

    def __add__(self, other: "SideCounts") -> "SideCounts":
        return SideCounts(
            self.started + other.started,
            self.accepted + other.accepted,
            self.rejected + other.rejected,
            self.failed + other.failed,
            self.in_doubt + other.in_doubt,
        )


@dataclass(frozen=True, slots=True)
class Served:
    """Slices in the order in which they were served, and the messages of both sides before the first and after the
    last."""

    slices: Sequence[Slice]
    before: Mapping[Side, SideCounts]
    after: Mapping[Side, SideCounts]


class TurnTaker(Protocol):
    """The handle to a run that takes turns (engine.turns, cluster.turns)."""

    begun: threading.Event

    def close(self) -> None:
        """Nobody will answer any more."""


class HeldRun:
    """One side's run, in a thread of its own; `gate` stops what waits for it."""

    def __init__(self, work: Callable[[RunControl], Results], turns: TurnTaker, gate: RunControl) -> None:
        self._turns = turns
        self._control = RunControl()
        self._gate = gate
        self._outcome: list[Results | BaseException] = []
        self._thread = threading.Thread(target=self._work, args=(work,), name="run", daemon=True)
        self._thread.start()

    def _work(self, work: Callable[[RunControl], Results]) -> None:
        try:
            self._outcome.append(work(self._control))
        except BaseException as error:
            self._outcome.append(error)
        self._turns.close()

    def wait_until_begun(self) -> None:
        """Raises what the run did, if it could not begin; KeyboardInterrupt when the gate was interrupted."""
        while not self._turns.begun.wait(_LOOK_S):
            if self._gate.count:
                raise KeyboardInterrupt
        if self._outcome or not self._thread.is_alive():
            self.end()

    def ask(self, call: Callable[[], _Answer]) -> _Answer:
        """What the run answers; KeyboardInterrupt when the gate was interrupted."""
        if self._gate.count:
            raise KeyboardInterrupt
        try:
            return call()
        except StoppedError as error:
            results = self.end()
            words = "; ".join(caveat.text for caveat in results.caveats) or str(error)
            kind = SetupError if results.valid else RunLostError
            raise kind(f"the run to {results.run.target or 'the sink'} ended by itself: {words}") from error

    def stop(self) -> None:
        """Begin nothing more; asked for again it changes nothing."""
        if not self._control.count:
            self._control.stop()

    def wait(self) -> None:
        """Stop it, if it goes on, and wait for its end; a gate that is to end at once hurries it."""
        self.stop()
        while self._thread.is_alive():
            self._thread.join(_LOOK_S)
            if self._gate.at_once and not self._control.at_once:
                self._control.stop()

    def end(self) -> Results:
        """The same; its results, or what it raised."""
        self.wait()
        outcome = self._outcome[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def serve(
    side: Side,
    take: Callable[[int, Turn], Snapshot],
    times: SliceTimes,
    stretches: Stretches,
    roots: Collection[int] | None,
) -> Slice:
    """The load goes to this side; its first part, in which the other one may still be busy, is not measured.

    `take`: a turn, so long after the one before. `roots`: processes that are not foreign (host.cpu_time).
    """
    take(0, Turn.GO)
    begin, cpu_begin = take(times.skip_ns, Turn.LOOK), CpuReading.now()
    end, cpu_end = take(times.slice_ns, Turn.HOLD), CpuReading.now()
    stolen, foreign = shares(cpu_begin, cpu_end, roots)
    workers = list(zip(begin.workers, end.workers, strict=True))
    lags = [(b.loop_lag.since(a.loop_lag).quantile_ns(0.9) or 0) for a, b in workers]
    return Slice(
        side,
        seconds=sum(b.wall_ns - a.wall_ns for a, b in workers) / len(workers) / NS_PER_S,
        accepted=end.accepted - begin.accepted,
        disturbance=Disturbance(
            stolen, foreign, max(lags), max((b.cpu_ns - a.cpu_ns) / (b.wall_ns - a.wall_ns) for a, b in workers)
        ),
        latencies={name: read(end).since(read(begin)) for name, read in stretches.items()},
    )


def stretches_of(names: Iterable[str], plan: Plan) -> Stretches:
    """Whose histograms are kept, and where they are in a snapshot: of latency, and what else is gated."""
    found: dict[str, Callable[[Snapshot], Histogram]] = {"latency": lambda snapshot: snapshot.latency}
    for name in names:
        if is_of_server(name) or (quantity := parse_quantity(name)).kind is not QuantityKind.DURATION:
            continue
        if quantity.domain is not None:
            index = domain_index(plan, name, quantity.domain)
            found[stretch_of(quantity)] = partial(_of_domain, index)
        elif quantity.subject != "latency":
            found[quantity.subject] = partial(_of_stretch, quantity.subject)
    return found


def _of_domain(index: int, snapshot: Snapshot) -> Histogram:
    return snapshot.domain_latencies.get(index, Histogram())


def _of_stretch(name: str, snapshot: Snapshot) -> Histogram:
    return snapshot.histograms[name]


def domain_index(plan: Plan, metric: str, domain: str) -> int:
    """Which of the plan's domains is meant. PlanError for one that gets no mail, or whose latency nobody keeps."""
    workload = plan.workload
    names = tuple(dict.fromkeys(one.domain for one in workload.recipients))
    names = names or tuple(workload.with_suffix(one.name) for one in workload.domains)
    found = matching_domain(domain, names) if workload.recipients_file is None else None
    if found is None or names.index(found) >= MAX_TIMED_DOMAINS:
        text = f'expected one of the first {MAX_TIMED_DOMAINS} domains that mail goes to, got "{metric}"'
        raise PlanError(text, field="metrics", flag="--metric")
    return names.index(found)

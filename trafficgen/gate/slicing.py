"""A gate by slices at work: both builds up, sessions to both open, the load on one at a time.

Takes     a design, a plan, two builds that are up; a file for the blocks
Gives     `SlicesEnded`, with every block behind it
Fails     SetupError when a run ends by itself, with what it said last
Ends      early with KeyboardInterrupt; the blocks are on disk and the gate can go on
Not here  what counts and when it ends (verdict.sequence), how a run is held (engine.turns)
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.engine.address import check, resolve
from trafficgen.engine.control import Turn
from trafficgen.engine.turns import TurnControl
from trafficgen.errors import PlanError, SetupError, StoppedError
from trafficgen.gate.builds import Build
from trafficgen.gate.cpu_time import CpuReading, shares
from trafficgen.gate.trials import RecordFile
from trafficgen.host.signals import CountedSignals, RunControl
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.recorder import MAX_TIMED_DOMAINS
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import Snapshot
from trafficgen.plan import Plan, draw_run_id
from trafficgen.proof.waiting import DeliveryWait
from trafficgen.report.gated import values_in_words
from trafficgen.runs.run import run
from trafficgen.server.counters import counted, not_counted
from trafficgen.server.spool import depth_of
from trafficgen.server.usage import Usage, UsageReader, pids_of, used, why_not
from trafficgen.verdict.gating import Side
from trafficgen.verdict.quantities import QuantityKind, matching_domain, parse_quantity
from trafficgen.verdict.reading import harm_of
from trafficgen.verdict.sequence import SliceDesign, SlicesEnded, advance, harmed, why_nothing
from trafficgen.verdict.server_metrics import DELIVERED, is_of_server
from trafficgen.verdict.slices import REASONS, Block, Disturbance, Slice, count, stretch_of, value

Stretches = Mapping[str, Callable[[Snapshot], Histogram]]

_LOOK_S: Final = 0.05
_OVER_NS: Final = 600 * NS_PER_S
"""A run's own limit of time lies so far beyond the gate's: the last slices, a build that drains."""


@dataclass(frozen=True, slots=True)
class SlicedLoad:
    """What is sent, to whom. `delivery_wait`: our sink behind both builds; at the end all mail must have come there."""

    plan: Plan
    builds: Mapping[Side, Build]
    delivery_wait: DeliveryWait | None = None
    tolerate_refusals: bool = False


def run_slices(
    design: SliceDesign,
    load: SlicedLoad,
    file: RecordFile[Block],
    *,
    notice: Callable[[str], None] = lambda _line: None,
    began_ns: int | None = None,
) -> SlicesEnded:
    """Serve blocks until there is a verdict. `notice` gets the rule, and a line for each block. `began_ns`: since when
    the time counts (clock.now_ns); None: since now."""
    clock = _Budget(design, file.records, now_ns() if began_ns is None else began_ns)
    for build in load.builds.values():
        if build.target is not None:
            check(load.plan, resolve(build.target))  # before anything here connects
    queues = _Queues(load.builds)
    for side, many in queues.depths.items():
        notice(f"{side.name}'s queue holds {many:,} messages before the first slice")
    notice(str(design.bounds))
    stretches = _stretches(design, load.plan)
    ended = advance(design, file.records, time_is_up=clock.is_up)
    if ended is not None:
        return ended
    control = RunControl()
    with CountedSignals(control), _both(design, load, control) as runs:
        server = _Server(load.builds, notice)
        server.say_what_is_missing(load.builds)
        for side in (Side.A, Side.B):  # the first slices open sessions: they are served, and thrown away
            _slice(design, runs, side, stretches, server)
        queues.look()
        while ended is None:
            block = _block(design, runs, len(file.records), stretches, server, queues, load)
            if lost := file.add(replace(block, spent_s=clock.now_s)):
                notice(f"{lost}; the gate goes on, and cannot be gone on with later")
            notice(_told(design, file.records))
            ended = advance(design, file.records, time_is_up=clock.is_up)
        for one in runs.values():
            one.stop()  # both, before either is waited for
        results = {side: one.end() for side, one in runs.items()}
    return _with_account(ended, results, tolerate_refusals=load.tolerate_refusals)


class _Budget:
    """How much of the time is spent: of a gate that goes on what it spent before, and all that passed since it began.

    Whether it is up is told by the blocks alone, so that a gate that has ended, called again, has ended.
    """

    def __init__(self, design: SliceDesign, blocks: Sequence[Block], began_ns: int) -> None:
        self._design = design
        self._blocks = blocks
        self._began_ns = began_ns - round((blocks[-1].spent_s if blocks else 0.0) * NS_PER_S)

    @property
    def now_s(self) -> float:
        """Spent so far."""
        return (now_ns() - self._began_ns) / NS_PER_S

    @property
    def is_up(self) -> bool:
        """Whether another block, as long as the longest of the last four, would end too late."""
        longest_s = max((block.lasted_s for block in self._blocks[-4:]), default=0.0)
        next_s = max(self._design.block_ns / NS_PER_S, longest_s)
        spent_s = self._blocks[-1].spent_s if self._blocks else self.now_s
        return spent_s + next_s > self._design.budget_ns / NS_PER_S


def _with_account(ended: SlicesEnded, results: Mapping[Side, Results], *, tolerate_refusals: bool) -> SlicesEnded:
    """What the whole account of both runs says outranks what slices do."""
    for side, one in results.items():
        if not one.valid:
            text = "; ".join(caveat.text for caveat in one.caveats if caveat.invalidates) or "a worker was lost"
            return harmed(ended, None, f"{side.name}: {text}")
    for side, one in results.items():
        if harm := harm_of(one, tolerate_refusals=tolerate_refusals):
            return harmed(ended, side, f"{side.name}: {harm}")
    return ended


class _Run:
    """One side's run, in a thread of its own."""

    def __init__(self, plan: Plan, delivery_wait: DeliveryWait | None, gate: RunControl) -> None:
        self.turns = TurnControl()
        self._control = RunControl()
        self._gate = gate
        self._outcome: list[Results | BaseException] = []
        self._thread = threading.Thread(target=self._work, args=(plan, delivery_wait), name="run", daemon=True)
        self._thread.start()
        self.turns.begun.wait()
        if self._outcome or not self._thread.is_alive():
            self.end()

    def _work(self, plan: Plan, delivery_wait: DeliveryWait | None) -> None:
        try:
            self._outcome.append(run(plan, control=self._control, turns=self.turns, delivery_wait=delivery_wait))
        except BaseException as error:
            self._outcome.append(error)
            self.turns.close()

    def take(self, turn: Turn) -> Snapshot:
        """KeyboardInterrupt when the gate was interrupted, SetupError when the run is over."""
        if self._gate.count:
            raise KeyboardInterrupt
        try:
            return self.turns.take(turn)
        except StoppedError as error:
            results = self.end()
            words = "; ".join(caveat.text for caveat in results.caveats) or str(error)
            raise SetupError(f"the run to {results.run.target or 'the sink'} ended by itself: {words}") from error

    def stop(self) -> None:
        """Begin nothing more; asked for again it changes nothing."""
        if not self._control.count:
            self._control.stop()

    def end(self) -> Results:
        """Stop it, if it goes on; its results, or what it raised."""
        self.stop()
        while self._thread.is_alive():
            self._thread.join(_LOOK_S)
            if self._gate.at_once:
                self._control.stop()
        outcome = self._outcome[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


@contextmanager
def _both(design: SliceDesign, load: SlicedLoad, gate: RunControl) -> Iterator[dict[Side, _Run]]:
    """Both runs, held; whatever happens, none of them is left."""
    plan = replace(
        load.plan, max_messages=None, duration_ns=design.budget_ns + _OVER_NS, keep_going=True, ledger=False,
    )  # fmt: skip
    runs: dict[Side, _Run] = {}
    with ExitStack() as stack:
        for side, build in load.builds.items():
            runs[side] = _Run(replace(plan, target=build.target, run_id=draw_run_id()), load.delivery_wait, gate)
            stack.callback(runs[side].stop)
        yield runs


class _Server:
    """What the builds' processes use, and who they are."""

    def __init__(self, builds: Mapping[Side, Build], notice: Callable[[str], None]) -> None:
        self._builds = builds
        self._readers = {side: UsageReader(build) for side, build in builds.items()}
        self._notice = notice
        self._usage = self.read()

    def read(self) -> dict[Side, Usage | None]:
        """Now, for both."""
        self._usage = {side: reader.read() for side, reader in self._readers.items()}
        return self._usage

    @property
    def roots(self) -> set[int] | None:
        """Process ids of both builds; None when those of one are not known."""
        found = [pids_of(self._builds[side], usage) for side, usage in self._usage.items()]
        return set().union(*found) if all(found) else None

    def pids(self, side: Side) -> frozenset[int]:
        return pids_of(self._builds[side], self._usage[side])

    def say_what_is_missing(self, builds: Mapping[Side, Build]) -> None:
        """Once, with what mends it where that is known."""
        if self.roots is None:
            why = next(filter(None, map(why_not, builds.values())), "nobody on this machine listens there")
            self._notice(f"nothing can be read of the builds' processes, nor whether others take CPU time: {why}")
            return
        for name, why in not_counted().items():
            self._notice(f"{name} is not counted: {why}")


class _Queues:
    """How many messages wait in the builds' queues, of those that were named, when it was looked at last."""

    def __init__(self, builds: Mapping[Side, Build]) -> None:
        self._queues = {side: build.queue for side, build in builds.items() if build.queue is not None}
        self.depths: Mapping[Side, int] = {}
        self.look()

    def look(self) -> Mapping[Side, int]:
        """Now. SetupError where that cannot be."""
        self.depths = {side: _depth(queue) for side, queue in self._queues.items()}
        return self.depths


def _block(
    design: SliceDesign,
    runs: Mapping[Side, _Run],
    index: int,
    stretches: Stretches,
    server: _Server,
    queues: _Queues,
    load: SlicedLoad,
) -> Block:
    began_ns = now_ns()
    before, sent, queued = server.read(), _accepted(runs), queues.depths
    with ExitStack() as stack:
        counts = {side: stack.enter_context(counted(server.pids(side))) for side in Side}
        slices = [_slice(design, runs, side, stretches, server) for side in design.order(index)]
    after = server.read()
    ends = {side: one.take(Turn.LOOK) for side, one in runs.items()}
    messages = {side: ends[side].accepted - sent[side] for side in Side}
    grew = {side: many - queued[side] for side, many in queues.look().items()}
    delivered = {side: {DELIVERED: messages[side] - more} for side, more in grew.items()}
    harm = {side.value: _harm(end, tolerate_refusals=load.tolerate_refusals) for side, end in ends.items()}
    first, second, third, fourth = slices
    return Block(
        (first, second, third, fourth),
        used={
            side.value: {**used(before[side], after[side], counts[side]), **delivered.get(side, {})} for side in Side
        },
        messages={side.value: many for side, many in messages.items()},
        harm={side: words for side, words in harm.items() if words},
        lasted_s=(now_ns() - began_ns) / NS_PER_S,
        queued={side.value: many for side, many in queues.depths.items()},
    )


def _slice(design: SliceDesign, runs: Mapping[Side, _Run], side: Side, stretches: Stretches, server: _Server) -> Slice:
    """The load goes to this side; its first part, in which the other one may still be busy, is not measured."""
    mine = runs[side]
    mine.take(Turn.GO)
    _pass(design.skip_ns)
    begin, cpu_begin = mine.take(Turn.LOOK), CpuReading.now()
    _pass(design.slice_ns)
    cpu_end, end = CpuReading.now(), mine.take(Turn.HOLD)
    stolen, foreign = shares(cpu_begin, cpu_end, server.roots)
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


def _pass(time_ns: int) -> None:
    time.sleep(time_ns / NS_PER_S)


def _depth(queue: Path) -> int:
    try:
        return depth_of(queue)
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        raise SetupError(f'cannot look at the queue "{error.filename or queue}": {words}') from error


def _accepted(runs: Mapping[Side, _Run]) -> dict[Side, int]:
    return {side: one.take(Turn.LOOK).accepted for side, one in runs.items()}


def _stretches(design: SliceDesign, plan: Plan) -> dict[str, Callable[[Snapshot], Histogram]]:
    """Whose histograms are kept, and where they are in a snapshot: of latency, and what else is gated."""
    found: dict[str, Callable[[Snapshot], Histogram]] = {"latency": lambda snapshot: snapshot.latency}
    for metric in design.metrics:
        if is_of_server(metric.name) or (quantity := parse_quantity(metric.name)).kind is not QuantityKind.DURATION:
            continue
        if quantity.domain is not None:
            index = domain_index(plan, metric.name, quantity.domain)
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


def _harm(snapshot: Snapshot, *, tolerate_refusals: bool) -> str | None:
    """What must be zero so far."""
    counts = [("in doubt", snapshot.in_doubt)]
    if not tolerate_refusals:
        counts += [("refused", snapshot.rejected), ("failed", snapshot.failed)]
    words = ", ".join(f"{number:,} {what}" for what, number in counts if number)
    return f"of {snapshot.started:,} messages {words}" if words else None


def _told(design: SliceDesign, blocks: Sequence[Block]) -> str:
    """A line for the newest block."""
    *_, newest = count(blocks, design.bounds)
    numbers = []
    for metric in design.metrics:
        sides = [value(metric.name, side, [newest]) for side in Side]
        if None not in sides:
            words = " and ".join(values_in_words(metric.name, [one for one in sides if one is not None]))
            numbers.append(f"{metric.name} {words}")
        elif newest.kept:
            numbers.append(
                f"nothing measured for {metric.name}{why_nothing([metric.name]) if len(blocks) == 1 else ''}"
            )
    spent_s = sum(block.lasted_s for block in blocks)
    out = [f"pair {pair} left out: {REASONS[why]}" for pair, why in enumerate(newest.why, 1) if why]
    order = " ".join(one.side.name for one in newest.block.slices)
    return f"block {len(blocks)}, {order}, {spent_s:.0f} s: {'; '.join([', '.join(numbers) or 'not measured', *out])}"

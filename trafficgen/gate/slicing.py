"""A gate by slices at work: both builds up, sessions to both open, the load on one at a time.

Takes     a design, a plan, two builds that are up; a file for the blocks
Gives     `SlicesEnded`, with every block behind it
Fails     SetupError when a run ends by itself, with what it said last; one that lost a worker or a shard ends the gate
          as not valid
Ends      early with KeyboardInterrupt; the blocks are on disk and the gate can go on
Not here  what counts and when it ends (verdict.sequence), one slice of one run (runs.slices), how a run is held
          (engine.turns), slices by several hosts (cluster.slices)
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Protocol, Self

from mboxgen.counted import number_of
from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.engine.address import check, resolve
from trafficgen.engine.control import Turn
from trafficgen.engine.turns import TurnControl
from trafficgen.errors import ExitCode, SetupError, reason_of
from trafficgen.gate.builds import Build
from trafficgen.gate.trials import RecordFile
from trafficgen.host.signals import CountedSignals, RunControl
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import Snapshot
from trafficgen.plan import Plan, draw_run_id
from trafficgen.proof.waiting import DeliveryWait
from trafficgen.report.gated import values_in_words
from trafficgen.runs.run import run
from trafficgen.runs.slices import HeldRun, RunLostError, Served, SideCounts, SliceTimes, serve, stretches_of
from trafficgen.server.counters import counted, not_counted
from trafficgen.server.spool import depth_of
from trafficgen.server.usage import Usage, UsageReader, pids_of, used, why_not
from trafficgen.verdict.gating import Side
from trafficgen.verdict.reading import harm_of
from trafficgen.verdict.sequence import SliceDesign, SlicesEnded, advance, harmed, why_nothing
from trafficgen.verdict.server_metrics import DELIVERED
from trafficgen.verdict.slices import REASONS, Block, count, no_messages, value

_OVER_NS: Final = 600 * NS_PER_S
"""A run's own limit of time lies so far beyond the gate's: the last slices, a build that drains."""


@dataclass(frozen=True, slots=True)
class SlicedLoad:
    """What is sent, to whom. `delivery_wait`: our sink behind both builds; at the end all mail must have come there."""

    plan: Plan
    builds: Mapping[Side, Build]
    delivery_wait: DeliveryWait | None = None
    tolerate_refusals: bool = False


class SliceGenerator(Protocol):
    """Whoever sends the load of both sides: this machine, or several together (cluster.slices)."""

    def serve(self, sides: Sequence[Side], roots: Collection[int] | None) -> Served:
        """Slices of these sides, one after the other. `roots`: the builds' processes here; None: not known.

        KeyboardInterrupt when the gate was interrupted, SetupError when a run is over, RunLostError when it is not
        valid."""

    def end(self) -> Mapping[Side, Results]:
        """Stop both, and their whole accounts."""


SliceGenerators = Callable[[SliceDesign, Mapping[Side, Plan], DeliveryWait | None, RunControl],
                           AbstractContextManager[SliceGenerator]]  # fmt: skip
"""What makes one for a gate: its design, the plan of each side, the sink behind both; the handle that interrupts it."""


class _ThisMachine:
    """Both runs here, taking turns; whatever happens, none of them is left."""

    def __init__(self, design: SliceDesign, plans: Mapping[Side, Plan], wait: DeliveryWait | None, gate: RunControl):
        self._times = SliceTimes(design.skip_ns, design.slice_ns)
        self._stretches = stretches_of((metric.name for metric in design.metrics), plans[Side.A])
        self._turns = {side: TurnControl() for side in plans}
        self._runs = {}
        for side, plan in plans.items():
            work = partial(self._run, plan, self._turns[side], wait)
            self._runs[side] = HeldRun(work, self._turns[side], gate)

    @staticmethod
    def _run(plan: Plan, turns: TurnControl, wait: DeliveryWait | None, control: RunControl) -> Results:
        return run(plan, control=control, turns=turns, delivery_wait=wait)

    def __enter__(self) -> Self:
        try:
            for one in self._runs.values():
                one.wait_until_begun()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        for one in self._runs.values():
            one.stop()

    def serve(self, sides: Sequence[Side], roots: Collection[int] | None) -> Served:
        before = self._counts()
        slices = [serve(side, partial(self._take, side), self._times, self._stretches, roots) for side in sides]
        return Served(slices, before, self._counts())

    def end(self) -> Mapping[Side, Results]:
        self._stop()  # both, before either is waited for
        return {side: one.end() for side, one in self._runs.items()}

    def _take(self, side: Side, pause_ns: int, turn: Turn) -> Snapshot:
        if pause_ns:
            time.sleep(pause_ns / NS_PER_S)
        return self._runs[side].ask(lambda: self._turns[side].take(turn))

    def _counts(self) -> dict[Side, SideCounts]:
        return {side: SideCounts.of(self._take(side, 0, Turn.LOOK)) for side in self._runs}


def run_slices(
    design: SliceDesign,
    load: SlicedLoad,
    file: RecordFile[Block],
    *,
    notice: Callable[[str], None] = lambda _line: None,
    began_ns: int | None = None,
    generators: SliceGenerators = _ThisMachine,
) -> SlicesEnded:
    """Serve blocks until there is a verdict. `notice` gets the rule, and a line for each block. `began_ns`: since when
    the time counts (clock.now_ns); None: since now. `generators`: who sends, if not this machine."""
    clock = _Budget(design, file.records, now_ns() if began_ns is None else began_ns)
    for build in load.builds.values():
        if build.target is not None:
            check(load.plan, resolve(build.target))  # before anything here connects
    queues = _Queues(load.builds)
    for side, many in queues.depths.items():
        notice(f"{side.name}'s queue holds {number_of(many, 'message')} before the first slice")
    notice(str(design.bounds))
    ended = advance(design, file.records, time_is_up=clock.is_up)
    if ended is not None:
        return ended
    control = RunControl()
    try:
        with ExitStack() as stack:
            stack.enter_context(CountedSignals(control))
            generator = stack.enter_context(generators(design, _plans(design, load), load.delivery_wait, control))
            server = _Server(load.builds, notice)
            server.say_what_is_missing(load.builds)
            generator.serve((Side.A, Side.B), server.roots)  # the first slices open sessions, and are thrown away
            queues.look()
            while ended is None:
                block = _block(design, generator, len(file.records), server, queues, load)
                if lost := file.add(replace(block, spent_s=clock.now_s)):
                    notice(f"{lost}; the gate goes on, and cannot be gone on with later")
                notice(_told(design, file.records))
                ended = advance(design, file.records, time_is_up=clock.is_up)
            results = generator.end()
    except RunLostError as error:
        return SlicesEnded(None, ExitCode.NOT_VALID, str(error), tuple(count(file.records, design.bounds)))
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


def _plans(design: SliceDesign, load: SlicedLoad) -> dict[Side, Plan]:
    """Of both runs: only the gate ends them."""
    plan = replace(
        load.plan, max_messages=None, duration_ns=design.budget_ns + _OVER_NS, keep_going=True, ledger=False,
    )  # fmt: skip
    return {side: replace(plan, target=build.target, run_id=draw_run_id()) for side, build in load.builds.items()}


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
    generator: SliceGenerator,
    index: int,
    server: _Server,
    queues: _Queues,
    load: SlicedLoad,
) -> Block:
    began_ns = now_ns()
    before, queued = server.read(), queues.depths
    with ExitStack() as stack:
        counts = {side: stack.enter_context(counted(server.pids(side))) for side in Side}
        served = generator.serve(design.order(index), server.roots)
    after = server.read()
    messages = {side: served.after[side].accepted - served.before[side].accepted for side in Side}
    grew = {side: many - queued[side] for side, many in queues.look().items()}
    delivered = {side: {DELIVERED: messages[side] - more} for side, more in grew.items()}
    harm = {side.value: _harm(served.after[side], tolerate_refusals=load.tolerate_refusals) for side in Side}
    first, second, third, fourth = served.slices
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


def _depth(queue: Path) -> int:
    try:
        return depth_of(queue)
    except OSError as error:
        raise SetupError(f'cannot look at the queue "{error.filename or queue}": {reason_of(error)}') from error


def _harm(so_far: SideCounts, *, tolerate_refusals: bool) -> str | None:
    """What must be zero so far."""
    counts = [("in doubt", so_far.in_doubt)]
    if not tolerate_refusals:
        counts += [("refused", so_far.rejected), ("failed", so_far.failed)]
    words = ", ".join(f"{number:,} {what}" for what, number in counts if number)
    return f"of {number_of(so_far.started, 'message')} {words}" if words else None


def _told(design: SliceDesign, blocks: Sequence[Block]) -> str:
    """A line for the newest block."""
    *_, newest = count(blocks, design.bounds)
    numbers = []
    for metric in design.metrics:
        sides = [value(metric.name, side, [newest]) for side in Side]
        if None not in sides:
            words = values_in_words(metric.name, [one for one in sides if one is not None])
            none = [no_messages(metric.name, side, [newest]) for side in Side]
            told = (f"none (taken for {one})" if nothing else one for one, nothing in zip(words, none, strict=True))
            numbers.append(f"{metric.name} {' and '.join(told)}")
        elif newest.kept:
            numbers.append(
                f"nothing measured for {metric.name}{why_nothing([metric.name]) if len(blocks) == 1 else ''}"
            )
    spent_s = sum(block.lasted_s for block in blocks)
    out = [f"pair {pair} left out: {REASONS[why]}" for pair, why in enumerate(newest.why, 1) if why]
    order = " ".join(one.side.name for one in newest.block.slices)
    return f"block {len(blocks)}, {order}, {spent_s:.0f} s: {'; '.join([', '.join(numbers) or 'not measured', *out])}"

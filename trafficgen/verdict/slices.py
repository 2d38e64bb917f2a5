"""Slices of load on two builds in turn: what was measured in each, which pairs count, and what a block of four says.

Takes     blocks of four slices, A B B A or B A A B; bounds that were fixed before the first one
Gives     for each pair of neighbours whether it counts; for a block, or several, each side's value of a metric
Rule      a pair is left out when in either of its slices the machine was disturbed beyond a bound, whatever was
          measured in it: both slices go, so that neither side gains. A bound gives way to twice the median of all
          slices so far: on a machine that is always busy, the usual is no disturbance. Where several machines send,
          one that was disturbed is enough, each by what is usual for it
Blocks    A B B A cancels every change of the machine that goes in a straight line, and a coin says which side is first,
          so that without a difference a block's sign is random whatever the machine does
Not here  when enough blocks have been made (sequence), who serves them (gate.slicing)
"""

from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cache, cached_property, reduce
from statistics import fmean
from typing import Final

from mboxgen.enums import table_of
from trafficgen.clock import NS_PER_MS
from trafficgen.measure.codec import Amount, Count, Nanoseconds, Seconds
from trafficgen.measure.health import MAX_CPU_SHARE
from trafficgen.measure.histogram import Histogram
from trafficgen.verdict.gating import Side, SideName
from trafficgen.verdict.quantities import Quantity, QuantityKind, aggregate, parse_quantity
from trafficgen.verdict.server_metrics import DELIVERED, is_of_server

RELATIVE: Final = 2.0
"""A bound is never below this many times the usual disturbance of this gate's slices."""

PAIRS: Final = ((0, 1), (2, 3))
"""The slices of a block that are compared with each other: neighbours, one of each side."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What the machine did to a slice. Shares are of all CPU time of the machine.

    `stolen`: by its host. `foreign`: by processes that are neither the generator's nor a build's; None: not known.
    `lag_ns`: how late the generator's loop was, p90. `generator`: share of its core that the busiest worker used.
    `late_ns`: how late a shard of several took its turns at most, and what its clock may be wrong by.
    """

    stolen: float = 0.0
    foreign: float | None = None
    lag_ns: Nanoseconds = 0
    generator: Amount = 0.0
    late_ns: Nanoseconds = 0

    @property
    def others(self) -> float:
        """Share of the machine's CPU time that went to anybody else."""
        return self.stolen + (self.foreign or 0.0)


class LeftOut(Enum):
    """Why a pair does not count."""

    GENERATOR = "generator"
    OTHERS = "others"
    LAG = "lag"
    LATE = "late"


REASONS: Final = table_of(LeftOut, {
    LeftOut.GENERATOR: "the generator was busy",
    LeftOut.OTHERS: "CPU time went to others",
    LeftOut.LAG: "the generator was woken late",
    LeftOut.LATE: "a shard took its turn late",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bounds:
    """The rule's numbers, as in `Disturbance`. `late_ns` None: one machine takes its turns by itself."""

    others: float = 0.10
    lag_ns: int = 20 * NS_PER_MS
    generator: float = MAX_CPU_SHARE
    late_ns: int | None = None

    def __str__(self) -> str:
        late = ""
        if self.late_ns is not None:
            late = f", or a shard took its turn more than {self.late_ns / NS_PER_MS:g} ms late by the common clock"
        return (
            f"a pair of slices is left out when in either of them more than {self.others:.0%} of the machine's CPU "
            f"time went to others, or the generator's loop was late by more than {self.lag_ns / NS_PER_MS:g} ms at p90 "
            f"(or {RELATIVE:g} times the median of all slices so far, if that is more), or a generator process used "
            f"more than {self.generator:.0%} of a core{late}; what was measured in it plays no part"
        )


def most_late_ns(skip_ns: int) -> int:
    """How late a shard may take a turn, where `skip_ns` of a slice are not measured: then of any two, one late and one
    early by so much, none is in the other one's measured part."""
    return skip_ns // 2


@dataclass(frozen=True, slots=True)
class Slice:
    """The measured part of one slice. `latencies` by stretch, as far as metrics ask for them. `shards`: what disturbed
    each of several machines that sent it, in their order; `disturbance` is the worst of each."""

    side: Side
    seconds: Amount
    accepted: Amount
    disturbance: Disturbance
    latencies: Mapping[str, Histogram] = field(default_factory=dict)
    shards: tuple[Disturbance, ...] = ()

    @property
    def disturbances(self) -> tuple[Disturbance, ...]:
        """Of each machine that sent it."""
        return self.shards or (self.disturbance,)


def added(parts: Sequence[Slice]) -> Slice:
    """One slice that several shards served at the same time; the same in any order but for that of `shards`."""
    every = [one.disturbance for one in parts]
    most = max(every, key=lambda one: (one.others, one.stolen, one.foreign is not None, one.foreign or 0.0))
    names = parts[0].latencies
    return Slice(
        parts[0].side,
        fmean(one.seconds for one in parts),
        sum(one.accepted for one in parts),
        Disturbance(
            most.stolen,
            most.foreign,
            max(one.lag_ns for one in every),
            max(one.generator for one in every),
            max(one.late_ns for one in every),
        ),
        {name: reduce(Histogram.__add__, (one.latencies[name] for one in parts)) for name in names},
        tuple(every),
    )


@dataclass(frozen=True, slots=True)
class Block:
    """Four slices, and what each build's processes used from the beginning of the first to the end of the last.

    By `Side.value`: `used`, by the names of `verdict.server_metrics`; the accepted `messages` it was used for;
    `harm`, what must never happen and did; `queued`, how many messages waited in its queue at the end, where that was
    looked at. `lasted_s`: from beginning to end; `spent_s`: of the gate's time, until the end of this block.
    """

    slices: tuple[Slice, Slice, Slice, Slice]
    used: Mapping[SideName, Mapping[str, float]] = field(default_factory=dict)
    messages: Mapping[SideName, Count] = field(default_factory=dict)
    harm: Mapping[SideName, str] = field(default_factory=dict)
    lasted_s: Seconds = 0.0
    spent_s: Seconds = 0.0
    queued: Mapping[SideName, Count] = field(default_factory=dict)


@dataclass(frozen=True)
class Counted:
    """A block and which of its pairs count; `why`: one for each pair, None where it does."""

    block: Block
    why: tuple[LeftOut | None, LeftOut | None]

    @cached_property
    def kept(self) -> tuple[Slice, ...]:
        """The slices that count."""
        return tuple(
            self.block.slices[place] for pair, why in zip(PAIRS, self.why, strict=True) if why is None for place in pair
        )

    @property
    def whole(self) -> "Counted":
        """The same with nothing left out."""
        return Counted(self.block, (None, None))


def count(blocks: Iterable[Block], bounds: Bounds) -> Iterator[Counted]:
    """Which pairs count, block by block. What was decided for a block stays so, however many follow it."""
    usual: defaultdict[int, _Usual] = defaultdict(_Usual)  # by machine
    for block in blocks:
        for one in block.slices:
            for machine, disturbance in enumerate(one.disturbances):
                usual[machine].add(disturbance)
        first, second = (_why((block.slices[a], block.slices[b]), bounds, usual) for a, b in PAIRS)
        yield Counted(block, (first, second))


class _Usual:
    """What one machine's slices were disturbed by so far."""

    __slots__ = ("_lags", "_others")

    def __init__(self) -> None:
        self._others: list[float] = []
        self._lags: list[int] = []

    def add(self, one: Disturbance) -> None:
        insort(self._others, one.others)
        insort(self._lags, one.lag_ns)

    def why(self, one: Disturbance, bounds: Bounds) -> LeftOut | None:
        """Why a slice that this disturbed does not count."""
        if one.generator > bounds.generator:
            return LeftOut.GENERATOR
        if one.others > max(bounds.others, RELATIVE * _middle(self._others)):
            return LeftOut.OTHERS
        if one.lag_ns > max(bounds.lag_ns, RELATIVE * _middle(self._lags)):
            return LeftOut.LAG
        return LeftOut.LATE if bounds.late_ns is not None and one.late_ns > bounds.late_ns else None


def _why(pair: Sequence[Slice], bounds: Bounds, usual: Mapping[int, _Usual]) -> LeftOut | None:
    """Why a pair does not count: the first reason, in the order of `LeftOut`, that any machine has in any slice."""
    found = {usual[machine].why(one, bounds) for place in pair for machine, one in enumerate(place.disturbances)}
    return next((why for why in LeftOut if why in found), None)


def _middle(ascending: Sequence[float]) -> float:
    """The median of an even number of values."""
    half = len(ascending) // 2
    return (ascending[half - 1] + ascending[half]) / 2


def value(name: str, side: Side, blocks: Sequence[Counted]) -> float | None:
    """A metric of one side over all slices of these blocks that count; None when it cannot be taken from them.

    Neither a throughput nor what left a queue is ever zero: half a message stands for none, so that it has a logarithm.
    """
    if is_of_server(name):
        messages = sum(one.block.messages.get(side.value, 0) for one in blocks)
        amounts = [one.block.used.get(side.value, {}).get(name) for one in blocks]
        known = [amount for amount in amounts if amount is not None]
        if not messages or len(known) < len(blocks):
            return None
        if name == DELIVERED:
            return max(sum(known), 0.5) / messages
        return 1000 * sum(known) / messages if sum(known) > 0 else None
    slices = [one for counted in blocks for one in counted.kept if one.side is side]
    quantity = _quantity(name)
    if quantity.kind is QuantityKind.RATE:
        seconds = sum(one.seconds for one in slices)
        return max(sum(one.accepted for one in slices), 0.5) / seconds if seconds else None
    stretch = stretch_of(quantity)
    histograms = [one.latencies[stretch] for one in slices if stretch in one.latencies]
    pooled = reduce(Histogram.__add__, histograms, Histogram())
    return aggregate(pooled, quantity.form) if pooled.count else None


def no_messages(name: str, side: Side, blocks: Sequence[Counted]) -> bool:
    """Whether a throughput counts no message here, so that its value is that of half a one."""
    if is_of_server(name) or _quantity(name).kind is not QuantityKind.RATE:
        return False
    return not any(one.accepted for counted in blocks for one in counted.kept if one.side is side)


_quantity: Final = cache(parse_quantity)
"""A gate asks for a handful of names, and for each in every block at every look."""


def stretch_of(quantity: Quantity) -> str:
    """Under which name a slice holds the histogram of such a metric."""
    return quantity.subject if quantity.domain is None else f"domain{{{quantity.domain}}}"


@dataclass(frozen=True, slots=True)
class Unit:
    """One observation: blocks that are taken together, and both sides' values of each metric, by its name."""

    blocks: tuple[Counted, ...]
    values: Mapping[str, tuple[float, float]]


def unit(names: Iterable[str], blocks: tuple[Counted, ...]) -> Unit | None:
    """These blocks as one; None when a metric has no value in them, or is a throughput and neither build accepted a
    message: two halves of a message are equal, and say nothing about two builds."""
    values = {}
    for name in names:
        a, b = value(name, Side.A, blocks), value(name, Side.B, blocks)
        if a is None or b is None or all(no_messages(name, side, blocks) for side in Side):
            return None
        values[name] = a, b
    return Unit(blocks, values)


def units(names: Sequence[str], counted: Iterable[Counted]) -> list[Unit]:
    """Blocks of which some pair counts, each by itself; one in which a metric has no value goes with the next.

    One in which it is not known what a build used is left out: with it no later one would have a value either.
    """
    made: list[Unit] = []
    waiting: tuple[Counted, ...] = ()
    for one in counted:
        if not one.kept or unknown(names, one.block):
            continue
        waiting += (one,)
        if (whole := unit(names, waiting)) is not None:
            made.append(whole)
            waiting = ()
    return made


def unknown(names: Iterable[str], block: Block) -> list[str]:
    """Metrics of the server that could not be read in this block, of one build or both."""
    used = [block.used.get(side.value, {}) for side in Side]
    return [name for name in names if is_of_server(name) and not all(name in one for one in used)]


def joined(groups: Sequence[Unit]) -> list[Unit]:
    """Neighbours together, two by two; an odd one at the end goes with the last two."""
    pairs = [(*a.blocks, *b.blocks) for a, b in zip(groups[::2], groups[1::2], strict=False)]
    if len(groups) % 2 and pairs:
        pairs[-1] += groups[-1].blocks
    made = []
    for blocks in pairs:
        whole = unit(groups[0].values, blocks)
        assert whole is not None  # each of them had all its values
        made.append(whole)
    return made


def disturbed(counted: Sequence[Counted]) -> Iterator[tuple[int, int, LeftOut]]:
    """Block, pair and reason of all that was left out."""
    for index, one in enumerate(counted):
        for pair, why in enumerate(one.why):
            if why is not None:
                yield index, pair, why

"""When enough slices have been served for a verdict, and what it is.

Takes     what was fixed before the first slice; the blocks so far; whether the time is up
Gives     the order of each block's slices; None as long as more blocks are wanted; then `SlicesEnded`
Looks     after 8, 12, 16, 24, 32 … blocks that count, and once more when the time is up. Each is taken at the nominal
          level of `LEVELS`, so that all of them together keep 5 %
Promises  with no change, FAIL comes at most once in twenty gates. The coin that orders each block makes the signed-rank
          test exact then, whatever the machine does and however long it remembers (python -m benchmarks.slice_power)
Depends   what a coin cannot undo is a *difference* that comes and goes slowly. It shows as blocks like their neighbours
          (lag-1 autocorrelation): then neighbours are joined, and are one observation
"""

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean
from typing import Final

from mboxgen.counted import number_of
from trafficgen.clock import NS_PER_MS, NS_PER_S
from trafficgen.errors import ExitCode
from trafficgen.verdict.gating import CODES, NO_BASELINE, NOT_GATED, Side
from trafficgen.verdict.measurable import OPENING
from trafficgen.verdict.quantities import parse_quantity
from trafficgen.verdict.rule import (
    MAX_METRICS,
    Better,
    Comparison,
    Judgement,
    Metric,
    Values,
    Verdict,
    compare,
    judge,
)
from trafficgen.verdict.server_metrics import better_of, is_of_server
from trafficgen.verdict.slices import (
    Block,
    Bounds,
    Counted,
    LeftOut,
    Unit,
    count,
    disturbed,
    joined,
    unit,
    units,
    unknown,
)

LOOKS: Final = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Half as many again or a third more each time: a look that adds little is a look wasted."""

LEVELS: Final = (0.05, 0.0317, 0.0245, 0.0192, 0.0162, 0.0137, 0.0121, 0.0105, 0.0095, 0.0086, 0.0079)
"""Nominal two-sided level of each look, by how many there may be, for 5 % over all: the sums of n blocks at these looks
are a random walk, whose chance to leave ±z√n at any of them is integrated numerically (Armitage, McPherson and Rowe,
JRSS A 132, 1969); tests/verdict/test_sequence.py does it again. Pocock's levels are for looks at equal distances."""

LEAST: Final = LOOKS[0]
_JUDGED_BY_GENERATOR: Final = 16
"""Pairs after which a generator that was the limit in more than half of them ends the gate."""


@dataclass(frozen=True, slots=True)
class SliceDesign:
    """What is fixed before the first slice. Each lasts `skip_ns`, which is not measured, and then `slice_ns`."""

    metrics: tuple[Metric, ...]
    seed: int = 0
    budget_ns: int = 600 * NS_PER_S
    slice_ns: int = 1_500 * NS_PER_MS
    skip_ns: int = 500 * NS_PER_MS
    bounds: Bounds = Bounds()  # noqa: RUF009  (frozen)

    def __post_init__(self) -> None:
        if not 1 <= len(self.metrics) <= MAX_METRICS:
            raise ValueError(f"expected 1 to {MAX_METRICS} metrics, got {len(self.metrics)}")
        if self.budget_ns < (needed_ns := LEAST * self.block_ns * 6 // 5):
            raise ValueError(
                f"{LEAST} blocks of slices, and what is around them, take {needed_ns / NS_PER_S:.3g} s: "
                "allow more time or serve shorter slices"
            )

    @property
    def block_ns(self) -> int:
        """How long a block takes at least."""
        return 4 * (self.skip_ns + self.slice_ns)

    @property
    def capacity(self) -> int:
        """How many blocks there is time for at most."""
        return self.budget_ns // self.block_ns

    @property
    def give_up_after(self) -> int:
        """After so many blocks without a value of some metric there is no time for `LEAST` that have one."""
        return max(LEAST, self.capacity // LEAST)

    @property
    def looks(self) -> tuple[int, ...]:
        """After how many blocks to judge, if none is left out; the last is when the time is up."""
        before = tuple(look for look in LOOKS[: len(LEVELS) - 1] if look < self.capacity)
        return (*before, self.capacity)

    @property
    def alpha(self) -> float:
        """The nominal level of each look."""
        return LEVELS[len(self.looks) - 1]

    def order(self, index: int) -> tuple[Side, Side, Side, Side]:
        """Whose turn it is in a block's four slices."""
        a, b = (Side.A, Side.B) if random.Random(f"{self.seed} {index}").random() < 0.5 else (Side.B, Side.A)
        return a, b, b, a


@dataclass(frozen=True, slots=True)
class SlicesEnded:
    """How a gate by slices ended. `verdict` None: nothing could be judged.

    `with_all`: what would have been judged with nothing left out, if anything was. `joined`: how many blocks make one
    observation. `correlation`: lag-1 autocorrelation of the first metric's blocks. `others`: what was not gated.
    """

    verdict: Verdict | None
    code: ExitCode
    reason: str
    counted: tuple[Counted, ...]
    judgement: Judgement | None = None
    with_all: Judgement | None = None
    joined: int = 1
    correlation: float = 0.0
    others: tuple[Comparison, ...] = ()

    @property
    def left_out(self) -> tuple[tuple[int, int, LeftOut], ...]:
        """Block, pair and reason."""
        return tuple(disturbed(self.counted))


def advance(design: SliceDesign, blocks: Sequence[Block], *, time_is_up: bool) -> SlicesEnded | None:
    """How the gate ended; None: serve another block."""
    return decide(design, tuple(count(blocks, design.bounds)), time_is_up=time_is_up)


def decide(design: SliceDesign, counted: tuple[Counted, ...], *, time_is_up: bool) -> SlicesEnded | None:
    """The same, when it is known which pairs count."""
    if ended := _harmed(counted) or _limited(counted):
        return ended
    names = [metric.name for metric in design.metrics]
    groups = units(names, counted)
    if not groups and sum(bool(one.kept) for one in counted) >= design.give_up_after:
        return _too_few(design, counted, groups)
    if not (time_is_up or (len(groups) in design.looks and counted[-1].kept)):
        return None
    if len(groups) < LEAST:
        return _too_few(design, counted, groups) if time_is_up else None
    alpha = design.alpha
    groups, size, correlation = independent(names, groups)
    judged = judge(_values(design, groups), alpha=alpha, last=time_is_up)
    if (verdict := judged.verdict) is None:
        return None
    judged = replace(judged, unit=_unit(size))
    with_all = None
    if any(disturbed(counted)):
        everything = units(names, [one.whole for one in counted])
        with_all = replace(judge(_values(design, everything), alpha=alpha, last=True), unit=_unit(1))
    return SlicesEnded(
        verdict=verdict,
        code=CODES[verdict],
        reason=f"{judged.reason}; {could_show(judged)}",
        counted=counted,
        judgement=judged,
        with_all=with_all,
        joined=size,
        correlation=correlation,
        others=_others(design, groups),
    )


def resolvable(one: Comparison) -> float:
    """The smallest difference, as a share of A, that these blocks could have shown beyond chance."""
    low, high = one.interval
    return math.exp(math.log(high / low) / 2) - 1


def could_show(judged: Judgement) -> str:
    """What this machine could have told apart in the time it had."""
    parts = ", ".join(f"{resolvable(one):.1%} of {one.metric.name}" for one in judged.comparisons)
    return f"in this time this machine could show a difference of {parts}"


def independent(names: Sequence[str], groups: list[Unit]) -> tuple[list[Unit], int, float]:
    """Observations that are not like their neighbours, how many blocks make one of them, and the first metric's lag-1
    autocorrelation of single blocks."""
    size, first = 1, 0.0
    while True:
        correlations = [autocorrelation(_differences(name, groups)) for name in names]
        first = correlations[0] if size == 1 else first
        if len(groups) < 2 * LEAST or max(correlations) <= 1.96 / math.sqrt(len(groups)):
            return groups, size, first
        groups, size = joined(groups), 2 * size


def autocorrelation(values: Sequence[float]) -> float:
    """Of neighbours; 0 when nothing varies."""
    middle = fmean(values)
    spread = sum((one - middle) ** 2 for one in values)
    return sum((a - middle) * (b - middle) for a, b in pairwise(values)) / spread if spread else 0.0


@dataclass(frozen=True, slots=True)
class IntervalHistory:
    """How an interval closed in: each block's ratio, and from the first look's number of blocks on how many there were,
    the ratio and the ends of the interval."""

    ratios: tuple[float, ...]
    intervals: tuple[tuple[int, float, float, float], ...]


def interval_history(design: SliceDesign, ended: SlicesEnded, name: str) -> IntervalHistory:
    """Of one metric, block by block."""
    groups = units([metric.name for metric in design.metrics], ended.counted)
    whole = _pairs(Metric(name, Better.LOWER, NOT_GATED), groups)
    made = []
    for many in range(LEAST, len(groups) + 1):
        one = compare(Values(whole.metric, whole.a[:many], whole.b[:many]), design.alpha)
        made.append((many, one.ratio, *one.interval))
    return IntervalHistory(tuple(b / a for a, b in zip(whole.a, whole.b, strict=True)), tuple(made))


def harmed(ended: SlicesEnded, side: Side | None, reason: str) -> SlicesEnded:
    """The same gate, and `reason` is all that counts: B's harm is a FAIL; A's, or nobody's, is not valid."""
    fails = side is Side.B
    if side is Side.A:
        reason = f"{reason}; {NO_BASELINE}"
    verdict = Verdict.FAIL if fails else None
    return replace(ended, verdict=verdict, code=ExitCode.VERDICT_FAILED if fails else ExitCode.NOT_VALID, reason=reason)


# -- parts of it ----------------------------------------------------------------------------------------


def _harmed(counted: tuple[Counted, ...]) -> SlicesEnded | None:
    for number, harm in ((number, one.block.harm) for number, one in enumerate(counted, 1) if one.block.harm):
        if words := harm.get(Side.A.value):
            reason = f"block {number}, A: {words}; {NO_BASELINE}"
            return SlicesEnded(None, ExitCode.NOT_VALID, reason, counted)
        if words := harm.get(Side.B.value):
            return SlicesEnded(Verdict.FAIL, ExitCode.VERDICT_FAILED, f"block {number}, B: {words}", counted)
    return None


def _limited(counted: tuple[Counted, ...]) -> SlicesEnded | None:
    pairs = [why for one in counted for why in one.why]
    busy = sum(why is LeftOut.GENERATOR for why in pairs)
    if len(pairs) < _JUDGED_BY_GENERATOR or 2 * busy <= len(pairs):
        return None
    reason = (
        f"the generator was the limit in {busy} of {len(pairs)} pairs of slices: what was measured is the generator. "
        "Use fewer sessions, more workers, or a rate (-- --rate)"
    )
    return SlicesEnded(None, ExitCode.NOT_VALID, reason, counted)


def _too_few(design: SliceDesign, counted: tuple[Counted, ...], groups: Sequence[object]) -> SlicesEnded:
    if any(one.kept for one in counted) and not groups:
        names = [metric.name for metric in design.metrics if _missing(metric.name, counted)]
        blocks = number_of(sum(bool(one.kept) for one in counted), "block")
        reason = f"nothing was measured for {', '.join(names)} in {blocks}"
        return SlicesEnded(None, ExitCode.NOT_VALID, f"{reason}{why_nothing(names)}", counted)
    reason = f"the time was up after {number_of(len(groups), 'block')} to count, of {len(counted)}; {LEAST} are needed"
    for name, many in not_read(design, counted).items():
        reason += f"; {name} could not be read in {many}"
    return SlicesEnded(Verdict.INCONCLUSIVE, ExitCode.INCONCLUSIVE, reason, counted)


def not_read(design: SliceDesign, counted: Sequence[Counted]) -> Mapping[str, int]:
    """Gated metrics of the server that could not be read in blocks which else count, and in how many."""
    names = [metric.name for metric in design.metrics]
    return Counter(name for one in counted if one.kept for name in unknown(names, one.block))


def why_nothing(names: Sequence[str]) -> str:
    """What mends it where slices measured nothing of these metrics, where that is known; ready to be appended."""
    if not any(not is_of_server(name) and parse_quantity(name).subject in OPENING for name in names):
        return ""
    return ": sessions open before the first slice and stay; end them with -- --messages-per-session N, or --whole-runs"


def _missing(name: str, counted: Sequence[Counted]) -> bool:
    return unit([name], tuple(one for one in counted if one.kept)) is None


def _others(design: SliceDesign, groups: Sequence[Unit]) -> tuple[Comparison, ...]:
    gated = {metric.name for metric in design.metrics}
    one = groups[0].blocks[0].block
    stretches = [name for name in ("p50", "p99") if "latency" in one.slices[0].latencies]
    names = ("throughput", *stretches, *one.used.get(Side.A.value, {}))
    made = []
    for name in dict.fromkeys(names):
        known = [whole for group in groups if (whole := unit([name], group.blocks)) is not None]
        if name not in gated and len(known) == len(groups):
            made.append(compare(_pairs(Metric(name, better_of(name), NOT_GATED), known), design.alpha))
    return tuple(made)


def _values(design: SliceDesign, groups: Sequence[Unit]) -> list[Values]:
    return [_pairs(metric, groups) for metric in design.metrics]


def _pairs(metric: Metric, groups: Sequence[Unit]) -> Values:
    values = [group.values[metric.name] for group in groups]
    return Values(metric, tuple(a for a, _ in values), tuple(b for _, b in values))


def _differences(name: str, groups: Sequence[Unit]) -> list[float]:
    return [math.log(b / a) for a, b in (group.values[name] for group in groups)]


def _unit(size: int) -> str:
    return "blocks" if size == 1 else f"groups of {size} blocks"

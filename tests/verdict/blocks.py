"""Blocks of slices, as a gate measures them."""

import math
import random
from collections.abc import Callable, Sequence

from trafficgen.clock import NS_PER_S
from trafficgen.verdict.gating import Side
from trafficgen.verdict.reading import parse_metric
from trafficgen.verdict.sequence import SliceDesign
from trafficgen.verdict.slices import Block, Disturbance, Slice

THROUGHPUT = parse_metric("throughput:5%")
DESIGN = SliceDesign((THROUGHPUT,), seed=1, budget_ns=96 * 8 * NS_PER_S)
QUIET = Disturbance()

Rate = Callable[[int, Side], float]


def block(rates: Sequence[float], disturbances: Sequence[Disturbance] = (QUIET,) * 4, *, first: Side = Side.A) -> Block:
    """One whose slices have these rates, in their order."""
    second = Side.B if first is Side.A else Side.A
    sides = (first, second, second, first)
    a, b, c, d = (
        Slice(side, 2.0, 2 * rate, disturbance)
        for side, rate, disturbance in zip(sides, rates, disturbances, strict=True)
    )
    return Block((a, b, c, d))


def served(blocks: int, rate: Rate, design: SliceDesign = DESIGN) -> list[Block]:
    """Blocks in the order of the design; `rate` gets the number of a slice and its side."""
    return [
        block([rate(4 * index + place, side) for place, side in enumerate(sides)], first=sides[0])
        for index, sides in ((index, design.order(index)) for index in range(blocks))
    ]


def noisy(ratio: float, spread: float, seed: int = 7) -> Rate:
    rng = random.Random(seed)
    return lambda _number, side: 1000 * math.exp(rng.gauss(0, spread)) * (ratio if side is Side.B else 1.0)

"""Measure sides in turns, and say what the rounds come to: a middle, and how far they lie apart.

Takes     what measures a message of each side once, and how many rounds; another side is first in every round
Gives     medians of figures, medians of ratios with the lowest and the highest of the rounds: `**0.36** [0.34–0.39]`
Paired    A ratio is of two figures of one round, seconds apart. The host's speed moved by a third between two runs of
          2026-11-27, both sides alike, and goes out of such a ratio; the ratio of two medians may be of a fast round
          of one side and a slow one of the other. Where rounds share nothing, pairing costs nothing: of normal noise
          (of logarithms) both have the same variance
None      in place of a ratio where in some round more messages took no longer than fewer (--scale too low)
"""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

from benchmarks.cost import Cost

Measured = Callable[[], Cost]
"""Seconds of one message or connection."""

Rounds = Sequence[Sequence[Cost]]
"""Of each round what each side cost, in the order of the sides."""

MEANING: Final = (
    "Figures are medians of {rounds} rounds. A ratio is the median of the rounds' own ratios, with [the lowest–the "
    "highest]. Rounds apart: by how much a side's highest figure is above its lowest, of the side where that is most."
)


def in_turns(sides: Sequence[Measured], rounds: int) -> Rounds:
    """Measure every side once in each round."""
    found = []
    for turn in range(rounds):
        places = [(turn + step) % len(sides) for step in range(len(sides))]
        costs = {place: sides[place]() for place in places}
        found.append([costs[place] for place in sorted(costs)])
    return found


def cpu_us(rounds: Rounds) -> list[float]:
    """Of each side, the median."""
    return [median(1e6 * one.cpu_s for one in side) for side in zip(*rounds, strict=True)]


def per_s(rounds: Rounds) -> list[float]:
    """Of each side, the median."""
    return [median(1 / one.wall_s for one in side) for side in zip(*rounds, strict=True)]


def cpu_ratio(rounds: Rounds, one: int, other: int) -> str:
    """CPU time of one side by that of another, in words."""
    return _ratio([(each[one].cpu_s, each[other].cpu_s) for each in rounds])


def rate_ratio(rounds: Rounds, one: int, other: int) -> str:
    """The rate of one side by that of another, in words."""
    return _ratio([(each[other].wall_s, each[one].wall_s) for each in rounds])


def apart(rounds: Rounds) -> str:
    """By how much the highest figure of a side is above its lowest, of the side where that is most: CPU time, rate."""
    sides = list(zip(*rounds, strict=True))
    cpu, wall = ([[getattr(one, name) for one in side] for side in sides] for name in ("cpu_s", "wall_s"))
    return f"{_apart(cpu)} / {_apart(wall)}"


def _apart(sides: Sequence[Sequence[float]]) -> str:
    if min(map(min, sides)) <= 0:
        return "none"
    return f"{max(max(one) / min(one) for one in sides) - 1:.0%}"


def _ratio(pairs: Sequence[tuple[float, float]]) -> str:
    if min(map(min, pairs)) <= 0:
        return "none"
    ratios = [one / other for one, other in pairs]
    return f"**{median(ratios):.2f}** [{min(ratios):.2f}–{max(ratios):.2f}]"

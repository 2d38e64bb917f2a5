"""The highest rate at which something holds, when each try may go either way: which rate to try next, and when to stop.

Takes     where to begin, how close to come; the steps so far, each a rate and whether it held there
Gives     the next rate; in the end a rate that was kept and a higher one that was not
Search    doubling or halving until the limit lies between two rates, then their geometric mean, until they are close
Repeats   a rate is decided by the first two steps that agree; the two that are left must each have three that agree.
          When a later step turns a decision over, the search goes on from there
Not here  runs (runs.limit)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mboxgen.counted import number_of

_AGREEING: Final = 2
_CONFIRMED: Final = 3
_FARTHEST: Final = 2.0**20


@dataclass(frozen=True, slots=True)
class LimitDesign:
    """`start`: messages a second; `precision`: how far apart, as a share, the two rates in the end may lie. A rate of
    `lowest` or less that is not kept ends the search."""

    start: float
    precision: float = 0.05
    lowest: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.start < math.inf and 0.005 <= self.precision <= 1):
            raise ValueError("expected a rate above zero to begin with, and a precision of 0.5% to 100%")


@dataclass(frozen=True, slots=True)
class LimitStep:
    """One try."""

    rate: float
    held: bool


@dataclass(frozen=True, slots=True)
class Bracket:
    """Where the limit lies. None: nothing was kept, or nothing was too much, as far as was tried."""

    kept: float | None
    missed: float | None

    def words(self, steps: Sequence[LimitStep]) -> str:
        """One sentence, with how sure it is."""
        parts = []
        if self.kept is not None:
            parts.append(f"kept at {self.kept:,.4g}/s ({_tally(steps, self.kept)})")
        if self.missed is not None:
            parts.append(f"not at {self.missed:,.4g}/s ({_tally(steps, self.missed)})")
        if open_rates := {step.rate for step in steps if _decided(steps, step.rate, _AGREEING) is None}:
            parts.append(f"undecided at {max(open_rates):,.4g}/s (kept in {_tally(steps, max(open_rates))})")
        if self.kept is not None and self.missed is not None:
            parts.append(f"the limit is {math.sqrt(self.kept * self.missed):,.4g}/s ± {self.half:.1%}")
        return ", ".join(parts) or "nothing was decided"

    @property
    def half(self) -> float:
        """Half of the distance between the two, as a share."""
        assert self.kept is not None
        assert self.missed is not None
        return math.sqrt(self.missed / self.kept) - 1


def advance(design: LimitDesign, steps: Sequence[LimitStep]) -> float | Bracket:
    """The next rate to try, or what was found."""
    for rate in dict.fromkeys(step.rate for step in steps):
        if _decided(steps, rate, _AGREEING) is None:
            return rate
    found = bracket(steps)
    if found.kept is None and found.missed is None:
        return design.start
    if found.missed is None:
        assert found.kept is not None
        return found if found.kept >= design.start * _FARTHEST else 2 * found.kept
    if found.kept is None:
        return found if found.missed <= max(design.lowest, design.start / _FARTHEST) else found.missed / 2
    if found.missed / found.kept > 1 + design.precision:
        return math.sqrt(found.kept * found.missed)
    for rate in (found.kept, found.missed):
        if _decided(steps, rate, _CONFIRMED) is None:
            return rate
    return found


def bracket(steps: Sequence[LimitStep]) -> Bracket:
    """The lowest rate that was missed, and the highest below it that was kept, as far as anything is decided."""
    decided = {rate: _decided(steps, rate, _AGREEING) for rate in {step.rate for step in steps}}
    missed = min((rate for rate, held in decided.items() if held is False), default=None)
    below = math.inf if missed is None else missed
    return Bracket(max((rate for rate, held in decided.items() if held and rate < below), default=None), missed)


def _decided(steps: Sequence[LimitStep], rate: float, agreeing: int) -> bool | None:
    """What most steps at this rate say, once so many agree and the others are fewer; None: try again."""
    held = sum(step.held for step in steps if step.rate == rate)
    missed = sum(not step.held for step in steps if step.rate == rate)
    return None if max(held, missed) < agreeing or held == missed else held > missed


def _tally(steps: Sequence[LimitStep], rate: float) -> str:
    tries = [step.held for step in steps if step.rate == rate]
    return f"{sum(tries)} of {number_of(len(tries), 'step')}"

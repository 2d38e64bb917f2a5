"""Can this machine tell what the gate is asked to tell? Runs of A against A say so.

Takes     for each metric the values of pairs in which both runs were of A
Gives     the margin this machine can resolve by the last look; a reason not to judge when that is more than was asked,
          or when A differs from itself, beyond chance and by half the margin or more

The interval of n pairs, narrowed by the root of n over the pairs of the last look, is the margin: a build equal to A
then passes by the last look four times in five (`python -m benchmarks.gate_power` measures it).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from trafficgen.verdict.rule import Better, Comparison, Values, compare
from trafficgen.verdict.signed_rank import critical


class ControlTrouble(Enum):
    """Why nothing is judged."""

    BIASED = "biased"
    """A differs from itself beyond chance: something other than the build makes the second side differ."""
    NOISY = "noisy"
    """Runs scatter too widely for the margin."""


@dataclass(frozen=True, slots=True)
class Control:
    """One metric of A against A. `resolvable` is the smallest margin, as a share, that this machine could judge."""

    comparison: Comparison
    resolvable: float
    trouble: ControlTrouble | None

    @property
    def reason(self) -> str:
        """One sentence."""
        one, low_high = self.comparison, self.comparison.interval
        measured = f"{one.metric.name} of A against A is {one.ratio:.3f}× [{low_high.low:.3f}, {low_high.high:.3f}]"
        asked = abs(one.margin_ratio - 1)
        match self.trouble:
            case ControlTrouble.BIASED:
                return f"{measured}: A differs from itself, so a difference of B would say nothing"
            case ControlTrouble.NOISY:
                return (
                    f"{measured}: this machine is too noisy for a margin of {asked:.2%}; it could resolve "
                    f"{self.resolvable:.2%}, or this margin with longer runs or more pairs"
                )
            case None:
                return f"{measured}: this machine can resolve {self.resolvable:.2%}, the margin is {asked:.2%}"


def check(values: Values, *, alpha: float, last_look: int) -> Control:
    """What A against A says, at the level at which B is going to be judged."""
    one = compare(values, alpha)
    if critical(one.pairs, alpha) is None:
        raise ValueError(f"{one.pairs} pairs of A against A can never show anything: use 8 or more")
    low, high = map(math.log, one.interval)
    half = (high - low) / 2 * min(1.0, math.sqrt(one.pairs / last_look))
    lower = one.metric.better is Better.LOWER
    resolvable = math.exp(half) - 1 if lower else 1 - math.exp(-half)
    trouble = None
    if not low <= 0 <= high and abs(one.ratio - 1) >= abs(one.margin_ratio - 1) / 2:
        trouble = ControlTrouble.BIASED
    elif resolvable > abs(one.margin_ratio - 1):
        trouble = ControlTrouble.NOISY
    return Control(one, resolvable, trouble)


def worst(controls: Sequence[Control]) -> Control | None:
    """The one that forbids a judgement, if any."""
    return next((control for control in controls if control.trouble), None)

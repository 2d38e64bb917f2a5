"""When messages start, in the open model."""

import math
from dataclasses import dataclass
from enum import Enum

from trafficgen.plan.refusals import wrong


class Arrivals(Enum):
    """How arrivals lie around their rate: evenly spaced, or as independent users make them."""

    CONSTANT = "constant"
    POISSON = "poisson"


@dataclass(frozen=True, slots=True)
class Stage:
    """Go in a straight line to `rate_per_s` within `duration_ns`; a duration of zero jumps there (k6's stages)."""

    duration_ns: int
    rate_per_s: float


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Messages start when the schedule says, whether or not the server keeps up.

    `rate_per_s` holds from the first second; with `stages` it is where the first stage starts from.
    """

    rate_per_s: float
    stages: tuple[Stage, ...] = ()
    arrivals: Arrivals = Arrivals.CONSTANT

    def __post_init__(self) -> None:
        if self.stages:
            if not 0.0 <= self.rate_per_s < math.inf:
                raise wrong("rate", f"expected a starting rate of zero or more, got {self.rate_per_s}", "--rate")
            if any(s.duration_ns < 0 or not 0.0 <= s.rate_per_s < math.inf for s in self.stages):
                text = "expected stages with a duration and a rate of zero or more"
                raise wrong("stages", text, "--stage")
            starts = (self.rate_per_s, *(stage.rate_per_s for stage in self.stages))
            if not any(s.duration_ns and start + s.rate_per_s for start, s in zip(starts, self.stages, strict=False)):
                text = "expected a stage with a duration and a rate above zero: nothing would ever start"
                raise wrong("stages", text, "--stage")
        elif not 0.0 < self.rate_per_s < math.inf:
            raise wrong("rate", f"expected a rate above zero, got {self.rate_per_s}", "--rate")

    @property
    def stages_duration_ns(self) -> int | None:
        """How long all stages take together; None when there are none."""
        return sum(stage.duration_ns for stage in self.stages) or None

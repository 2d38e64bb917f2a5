"""When messages start, in the open model."""

from dataclasses import dataclass
from enum import Enum

from trafficgen.clock import NS_PER_S
from trafficgen.plan.refusals import MAX_DURATION_NS, check_duration, check_rate, check_types, wrong


class Arrivals(Enum):
    """How arrivals lie around their rate: evenly spaced, or as independent users make them."""

    CONSTANT = "constant"
    POISSON = "poisson"


@dataclass(frozen=True, slots=True)
class Stage:
    """Go in a straight line to `rate_per_s` within `duration_ns`; a duration of zero jumps there (k6's stages)."""

    duration_ns: int
    rate_per_s: float

    def __post_init__(self) -> None:
        check_types(self)
        check_duration(self.duration_ns, "stages", "stages with a duration", "--stage", least_ns=0)
        check_rate(self.rate_per_s, "stages", "stages with a rate", "--stage", above=False)


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Messages start when the schedule says, whether or not the server keeps up.

    `rate_per_s` holds from the first second; with `stages` it is where the first stage starts from.
    """

    rate_per_s: float
    stages: tuple[Stage, ...] = ()
    arrivals: Arrivals = Arrivals.CONSTANT

    def __post_init__(self) -> None:
        check_types(self)
        if not self.stages:
            check_rate(self.rate_per_s, "rate", "a rate", "--rate", above=True)
            return
        check_rate(self.rate_per_s, "rate", "a starting rate", "--rate", above=False)
        starts = (self.rate_per_s, *(stage.rate_per_s for stage in self.stages))
        if not any(s.duration_ns and start + s.rate_per_s for start, s in zip(starts, self.stages, strict=False)):
            text = "expected a stage with a duration and a rate above zero: nothing would ever start"
            raise wrong("stages", text, "--stage")
        if sum(stage.duration_ns for stage in self.stages) > MAX_DURATION_NS:
            raise wrong("stages", "expected stages of 1000 days at most together", "--stage")

    @property
    def stages_duration_ns(self) -> int | None:
        """How long all stages take together; None when there are none."""
        return sum(stage.duration_ns for stage in self.stages) or None

    def fills_ns(self, max_messages: int | None, duration_ns: int | None) -> int | None:
        """The time from zero that so many messages, or so much time, fill at one rate; None with stages, or where
        chance says when the last one goes.

        The last message's part of it lasts until one more would be due: two messages at 1/s fill two seconds, though
        the second may be answered after one second and a millisecond.
        """
        if self.stages or (max_messages is not None and self.arrivals is not Arrivals.CONSTANT):
            return None
        count_ns = None if max_messages is None else round(max_messages / self.rate_per_s * NS_PER_S)
        return min((ns for ns in (count_ns, duration_ns) if ns is not None), default=None)

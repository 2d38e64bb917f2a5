"""Arrival numbers to intended start times.

Takes     a plan with a load: a constant rate or stages, evenly spaced or Poisson arrivals
Gives     `due_ns`, a pure function of the plan and the arrival's number; how many arrivals fit into a time
Refuses   a plan without a load: the closed loop has no intended starts
Not here  sleeping until then and the lateness of doing so (engine), what arrival k carries: message k (workload)

An arrival has a *position* on the axis of expected arrivals: k itself when they are evenly spaced, the k-th point of
a Poisson process of rate 1 otherwise. The integral of the rate over time turns times into positions; its inverse
turns positions into times (time change of a Poisson process, Cinlar, "Introduction to Stochastic Processes", 4.7).
"""

from bisect import bisect_left
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trafficgen.errors import PlanError
from trafficgen.plan import Arrivals, Plan
from trafficgen.schedule.positions import EvenPositions, PoissonPositions
from trafficgen.schedule.rates import ConstantRate, Ramps

FAR_NS: Final = 2**62
"""146 years: later than any run, and still far from the end of int64."""


class Schedule:
    """Intended starts of a run; cheap to build, the same in every process."""

    def __init__(self, plan: Plan) -> None:
        if plan.load is None:
            text = "a schedule needs a rate or stages; without them sessions send as fast as they can"
            raise PlanError(text, field="load", flag="--rate")
        load = plan.load
        self._rate = Ramps(load.rate_per_s, load.stages) if load.stages else ConstantRate(load.rate_per_s)
        poisson = load.arrivals is Arrivals.POISSON
        self._positions = PoissonPositions(plan.seed) if poisson else EvenPositions()
        limits = [limit for limit in (plan.duration_ns, load.stages_duration_ns) if limit is not None]
        self._max_arrivals = plan.max_messages
        self.duration_ns: int | None = min(limits, default=None)
        """No arrival is due at this time or later; None when only a message count ends the run."""

    def due_ns(self, first: int, last: int, step: int = 1) -> NDArray[np.int64]:
        """Intended starts of every `step`-th of the arrivals `first` … `last`-1.

        In ns after the run's start, never falling. Shorter than asked for when the last stage ends before: later
        arrivals do not exist. `plan.max_messages` and `plan.duration_ns` do not shorten it.
        """
        if not 0 <= first <= last:
            raise ValueError(f"expected 0 <= first <= last, got {first} and {last}")
        if isinstance(self._rate, ConstantRate) and isinstance(self._positions, EvenPositions):
            return self._rate.due_ns_of_numbers(first, last, step)
        return self._rate.due_ns(self._positions.between(first, last)[::step])

    def count_within(self, duration_ns: int) -> int:
        """How many arrivals are due before `duration_ns`: those of the half-open [0, duration)."""
        if duration_ns <= 0:
            return 0
        # The integral is off by rounding alone when arrivals are even, and by chance when they are Poisson.
        guess = self._positions.count_below(self._rate.integral(duration_ns))
        low, high = max(0, guess - 2), guess + 2
        return bisect_left(range(low, high), duration_ns, key=self._due_or_never) + low

    @property
    def planned(self) -> int | None:
        """How many messages this run will start if nothing stops it."""
        within = None if self.duration_ns is None else self.count_within(self.duration_ns)
        counts = [count for count in (within, self._max_arrivals) if count is not None]
        return min(counts, default=None)

    def _due_or_never(self, number: int) -> int:
        due = self.due_ns(number, number + 1)
        return int(due[0]) if len(due) else FAR_NS

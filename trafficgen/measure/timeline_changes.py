"""What is new in a timeline since it was last told of, so that telling costs the same after an hour as at first.

Takes     the timeline of one part of a run, again and again
Gives     `TimelineTeller.changes`: the intervals that are not as they were, whole
          `PartTimeline`: that timeline again, from its changes; `TimelineSum`: that of all parts
Promises  the sum is what adding up whole timelines gives, in whatever order parts speak. The changes of one part have
          to come in order, each once
Limits    a part takes about a kB for each of at most 1,800 intervals, twice as many for a while after they double:
          nothing is told again for that, and what is packed stays as it is until its interval changes
"""

import pickle
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trafficgen.measure.timeline import Timeline


@dataclass(frozen=True, slots=True, eq=False)
class TimelineChanges:
    """Intervals as they are now: `rows` are their places, `part` has them one after the other. `length`: of all."""

    length: int
    rows: NDArray[np.int64]
    part: Timeline


class TimelineTeller:
    """Tells of one part of a run."""

    def __init__(self) -> None:
        self._told = Timeline().counts
        self._span_s = 1

    def changes(self, timeline: Timeline) -> TimelineChanges:
        """Since it was last asked. No latency is recorded without a count, so counts say what has changed."""
        now, told = timeline.counts, np.zeros_like(timeline.counts)
        while self._span_s < timeline.span_s:
            self._told = np.pad(self._told, ((0, len(self._told) % 2), (0, 0)))
            self._told, self._span_s = self._told[0::2] + self._told[1::2], self._span_s * 2
        told[: len(self._told)] = self._told
        rows = np.flatnonzero((now != told).any(axis=1))
        self._told = now.copy()
        return TimelineChanges(len(now), rows, timeline.only(rows))


@dataclass(slots=True)
class PartTimeline:
    """The timeline of one part as far as it was told; what has settled is packed, as there may be many parts."""

    span_s: int = 1
    length: int = 0
    intervals: dict[int, Timeline | bytes] = field(default_factory=dict)
    """By the second where it begins; those that have not changed since intervals doubled are as long as they were."""
    recent: list[int] = field(default_factory=list)
    """Those that were told of last: they are the ones that most likely change again, and are not packed yet."""

    def timeline(self) -> Timeline:
        """All of it."""
        made = Timeline()
        made.coarsen_to(self.span_s)
        made.grow_to(self.length)
        for at_s, one in self.intervals.items():
            _add(made, at_s, one)
        return made

    def settle(self) -> None:
        """Pack what was told of last."""
        for at_s in self.recent:
            if isinstance(one := self.intervals.get(at_s), Timeline):
                self.intervals[at_s] = pickle.dumps(one)
        self.recent.clear()


class TimelineSum:
    """The timeline of all parts."""

    def __init__(self) -> None:
        self._whole = Timeline()

    def tell(self, part: PartTimeline, changes: TimelineChanges) -> None:
        """Bring `part` up to date, and the sum with it."""
        told = changes.part
        part.length, part.span_s = changes.length, told.span_s
        self._whole.coarsen_to(told.span_s)
        begins = (changes.rows * told.span_s).tolist()
        for begin_s in begins:
            for at_s in range(begin_s, begin_s + told.span_s):
                if (outdated := part.intervals.pop(at_s, None)) is not None:
                    _add(self._whole, at_s, outdated, take_away=True)
        part.settle()
        for index, begin_s in enumerate(begins):
            part.intervals[begin_s] = told.only(np.array([index]))
        part.recent = begins
        self._whole.add_rows(changes.rows, told)
        self._whole.grow_to(-(-part.length * part.span_s // self._whole.span_s))

    def timeline(self) -> Timeline:
        """As it is now."""
        return self._whole.copy()


def _add(timeline: Timeline, at_s: int, one: Timeline | bytes, *, take_away: bool = False) -> None:
    interval: Timeline = pickle.loads(one) if isinstance(one, bytes) else one  # noqa: S301  (packed above)
    timeline.add_rows(np.array([at_s // interval.span_s]), interval, take_away=take_away)

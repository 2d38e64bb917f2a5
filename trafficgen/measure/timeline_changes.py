"""What is new in a timeline since it was last told of, so that telling costs the same after an hour as at first.

Takes     the timeline of one part of a run, again and again
Gives     `TimelineTeller.changes`: the intervals that are not as they were, whole
          `PartTimeline`: that timeline again, from its changes; `TimelineSum`: that of all parts
Promises  the sum is what adding up whole timelines gives, in whatever order parts speak. The changes of one part have
          to come in order, each once
Limits    a part takes less than a kB for each of at most 1,800 intervals; all are told once more when intervals double
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
        if timeline.span_s == self._span_s:
            told[: len(self._told)] = self._told
        rows = np.flatnonzero((now != told).any(axis=1))
        self._told, self._span_s = now.copy(), timeline.span_s
        return TimelineChanges(len(now), rows, timeline.only(rows))


@dataclass(slots=True)
class PartTimeline:
    """The timeline of one part as far as it was told; each interval packed, as there may be many parts."""

    span_s: int = 1
    length: int = 0
    packed: dict[int, bytes] = field(default_factory=dict)

    def timeline(self) -> Timeline:
        """All of it."""
        made = Timeline()
        made.coarsen_to(self.span_s)
        made.grow_to(self.length)
        for row, packed in self.packed.items():
            made.add_rows(np.array([row]), pickle.loads(packed))  # noqa: S301  (packed below)
        return made


class TimelineSum:
    """The timeline of all parts."""

    def __init__(self) -> None:
        self._whole = Timeline()

    def tell(self, part: PartTimeline, changes: TimelineChanges) -> None:
        """Bring `part` up to date, and the sum with it."""
        told = changes.part
        self._whole.coarsen_to(told.span_s)
        if told.span_s != part.span_s:
            outdated, part.packed, part.span_s = part.packed, {}, told.span_s
        else:
            outdated = {row: part.packed[row] for row in changes.rows.tolist() if row in part.packed}
        for row, packed in outdated.items():
            self._whole.add_rows(np.array([row]), pickle.loads(packed), take_away=True)  # noqa: S301
        self._whole.add_rows(changes.rows, told)
        part.length = changes.length
        self._whole.grow_to(-(-part.length * part.span_s // self._whole.span_s))
        for index, row in enumerate(changes.rows.tolist()):
            part.packed[row] = pickle.dumps(told.only(np.array([index])))

    def timeline(self) -> Timeline:
        """As it is now."""
        return self._whole.copy()

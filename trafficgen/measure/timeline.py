"""What happened in each second of a run.

Takes     finished messages in bulk: when they started and ended (ns since the run's start), outcome, octets, latency
Gives     per interval the counts, the octets of accepted messages, and a median and 99th percentile
Merges    with `+=`, in any order, also when the two have intervals of different length
Limits    1,800 intervals: a run beyond half an hour has them doubled to 2 s, beyond an hour to 4 s, and so on, so that
          a timeline takes at most 14 MB, and pickled about 1 MB, however long the run
Not here  the percentiles of the whole run: those come from `histogram`, thirty times finer

A latency here is known to 2^-5, 3.1 %: never low, as in `histogram`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from trafficgen.clock import NS_PER_S
from trafficgen.measure.codec import Count, Nanoseconds
from trafficgen.measure.histogram import bucket_of, highest_of, rank_of
from trafficgen.outcomes import Outcome

MAX_INTERVALS: Final = 1800
SUB_BITS: Final = 5
MAX_BUCKETS: Final = (63 - SUB_BITS + 1) << SUB_BITS

_STARTED: Final = 0
_OUTCOMES: Final = slice(1, 1 + len(Outcome))
_OCTETS: Final = 1 + len(Outcome)
_COLUMNS: Final = 2 + len(Outcome)


@dataclass(frozen=True, slots=True)
class Interval:
    """One stretch of the run. A message counts as started where it started, and with its outcome where it ended.

    `bytes` are those of accepted messages. The quantiles are of accepted messages that ended here: service time in
    the closed loop, response time in the open one; None when there was none.
    """

    at_s: Count
    span_s: Count
    started: Count
    accepted: Count
    rejected_temporary: Count
    rejected_permanent: Count
    failed: Count
    in_doubt: Count
    bytes: Count
    p50_ns: Nanoseconds | None
    p99_ns: Nanoseconds | None
    latencies: tuple[Count, ...] = ()
    """The histogram behind the quantiles: bucket, count, bucket, count… (`SUB_BITS` bits a power of two)."""


def latencies_between(intervals: Sequence[Interval], from_s: float, to_s: float) -> int | None:
    """p99 of what was accepted in the intervals whose middle is there, ns; None when nothing was.

    Where no middle is, of those that are partly there: a run of less than a second has one interval.
    """
    within = [one for one in intervals if from_s <= one.at_s + one.span_s / 2 < to_s]
    within = within or [one for one in intervals if one.at_s < to_s and from_s < one.at_s + one.span_s]
    counts: dict[int, int] = {}
    for one in within:
        for bucket, count in zip(one.latencies[::2], one.latencies[1::2], strict=True):
            counts[bucket] = counts.get(bucket, 0) + count
    if not counts:
        return None
    row = np.zeros(max(counts) + 1, np.uint32)
    row[list(counts)] = list(counts.values())
    return _quantiles(row)[1]


class Timeline:
    """Counts and coarse latency histograms, one row an interval."""

    __slots__ = ("_counts", "_latencies", "span_s")

    span_s: int
    """Length of an interval in seconds, a power of two."""

    def __init__(self) -> None:
        self.span_s = 1
        self._counts: NDArray[np.int64] = np.zeros((0, _COLUMNS), np.int64)
        self._latencies: NDArray[np.uint32] = np.zeros((0, 0), np.uint32)

    def __len__(self) -> int:
        return len(self._counts)

    def record(
        self,
        starts_ns: NDArray[np.int64],
        ends_ns: NDArray[np.int64],
        outcomes: NDArray[np.int64],
        octets: NDArray[np.int64],
        latencies_ns: NDArray[np.int64],
    ) -> None:
        """Count finished messages; all five describe the same messages in the same order.

        Times before the run's start count into its first interval. Octets and latencies are taken from accepted
        messages only.
        """
        if not ends_ns.size:
            return
        self._make_room(int(ends_ns.max()))
        starts, ends = self._intervals(starts_ns), self._intervals(ends_ns)
        first = int(ends.min())
        here = ends - first
        accepted = outcomes == Outcome.ACCEPTED
        started = np.bincount(starts)
        self._counts[: started.size, _STARTED] += started
        by_outcome = np.bincount(here * len(Outcome) + outcomes, minlength=(int(here.max()) + 1) * len(Outcome))
        rows = slice(first, first + int(here.max()) + 1)
        self._counts[rows, _OUTCOMES] += by_outcome.reshape(-1, len(Outcome))
        # Float sums are exact up to 2^53 octets, 9 PB in one fold.
        size = np.bincount(here, weights=np.where(accepted, octets, 0))
        self._counts[rows, _OCTETS] += size.astype(np.int64)
        self._record_latencies(ends[accepted], latencies_ns[accepted])

    def intervals(self) -> list[Interval]:
        """All intervals from the run's start to the last message that ended, empty ones included."""
        rows: list[Interval] = []
        latencies = self._latencies
        for index, counts in enumerate(self._counts.tolist()):
            p50, p99 = _quantiles(latencies[index]) if latencies.size else (None, None)
            used = np.flatnonzero(latencies[index])
            started, accepted, temporary, permanent, failed, in_doubt, octets = counts
            rows.append(
                Interval(
                    at_s=index * self.span_s,
                    span_s=self.span_s,
                    started=started,
                    accepted=accepted,
                    rejected_temporary=temporary,
                    rejected_permanent=permanent,
                    failed=failed,
                    in_doubt=in_doubt,
                    bytes=octets,
                    p50_ns=p50,
                    p99_ns=p99,
                    latencies=tuple(np.column_stack((used, latencies[index][used])).ravel().tolist()),
                )
            )
        return rows

    @classmethod
    def of(cls, intervals: Sequence[Interval], *, shift_s: int = 0) -> "Timeline":
        """The timeline that gave `intervals`, begun `shift_s` later."""
        made = cls()
        made.span_s = intervals[0].span_s if intervals else 1
        end_s = shift_s + len(intervals) * made.span_s
        while end_s > MAX_INTERVALS * made.span_s:
            made.span_s *= 2
        width = max((bucket + 1 for one in intervals for bucket in one.latencies[::2]), default=0)
        made._grow(-(-end_s // made.span_s), width)
        for one in intervals:
            row = (shift_s + one.at_s) // made.span_s
            made._counts[row] += (
                one.started, one.accepted, one.rejected_temporary, one.rejected_permanent, one.failed, one.in_doubt,
                one.bytes,
            )  # fmt: skip
            made._latencies[row, list(one.latencies[::2])] += np.array(one.latencies[1::2], np.uint32)
        return made

    def __iadd__(self, other: "Timeline") -> Self:
        self.coarsen_to(other.span_s)
        if other.span_s < self.span_s:
            other = other.copy()
            other.coarsen_to(self.span_s)
        self._grow(len(other), other._latencies.shape[1])
        self._counts[: len(other)] += other._counts
        self._latencies[: len(other), : other._latencies.shape[1]] += other._latencies
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timeline) and self.intervals() == other.intervals()

    __hash__ = None  # type: ignore[assignment]  # it changes with every message

    @property
    def counts(self) -> NDArray[np.int64]:
        """Counts and octets of each interval. Read-only."""
        return self._counts

    def only(self, rows: NDArray[np.int64]) -> "Timeline":
        """These intervals, one after the other, as if they were all."""
        made = Timeline()
        made.span_s, made._counts = self.span_s, self._counts[rows]
        latencies = self._latencies[rows]
        width = int(np.flatnonzero(latencies.any(axis=0)).max(initial=-1)) + 1
        made._latencies = np.ascontiguousarray(latencies[:, :width])
        return made

    def add_rows(self, rows: NDArray[np.int64], part: "Timeline", *, take_away: bool = False) -> None:
        """Add the intervals of `part`, which have their places at `rows` of intervals as long as its own, and no longer
        than ours; or take them away again."""
        if not rows.size:
            return
        places = rows * part.span_s // self.span_s
        self._grow(int(places.max()) + 1, part._latencies.shape[1])
        add = np.subtract if take_away else np.add
        ours = self._latencies[:, : part._latencies.shape[1]]
        if (np.diff(places) > 0).all():  # each once, which is a tenth of the time (benchmarks.cluster coordinator)
            self._counts[places] = add(self._counts[places], part._counts)
            ours[places] = add(ours[places], part._latencies)
        else:
            add.at(self._counts, places, part._counts)
            add.at(ours, places, part._latencies)

    def coarsen_to(self, span_s: int) -> None:
        """Intervals at least so long."""
        while self.span_s < span_s:
            self._coarsen()

    def grow_to(self, length: int) -> None:
        """So many intervals at least, however empty."""
        self._grow(length, 0)

    def copy(self) -> "Timeline":
        """An independent copy."""
        twin = Timeline()
        twin.span_s, twin._counts, twin._latencies = self.span_s, self._counts.copy(), self._latencies.copy()
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        # A bitmap of the buckets in use, and their counts: a third of the size of indexes and counts, in half the time.
        used = self._latencies != 0
        counts = self._latencies.ravel()[np.flatnonzero(used)]
        narrow = counts.astype(np.min_scalar_type(int(counts.max(initial=0))))
        return (_restore, (self.span_s, self._counts, self._latencies.shape, np.packbits(used), narrow))

    def _intervals(self, times_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.maximum(times_ns, 0) // (self.span_s * NS_PER_S)

    def _record_latencies(self, intervals: NDArray[np.int64], latencies_ns: NDArray[np.int64]) -> None:
        if not intervals.size:
            return
        buckets = bucket_of(latencies_ns, SUB_BITS)
        first, width = int(intervals.min()), int(buckets.max()) + 1
        self._grow(len(self), width)
        flat = np.bincount((intervals - first) * width + buckets)
        counts = np.pad(flat, (0, -flat.size % width)).reshape(-1, width)
        self._latencies[first : first + len(counts), :width] += counts.astype(np.uint32)

    def _make_room(self, last_ns: int) -> None:
        while last_ns // (self.span_s * NS_PER_S) >= MAX_INTERVALS:
            self._coarsen()
        self._grow(max(last_ns, 0) // (self.span_s * NS_PER_S) + 1, 0)

    def _grow(self, intervals: int, buckets: int) -> None:
        more = max(intervals - len(self._counts), 0)
        wider = max(buckets - self._latencies.shape[1], 0)
        if more:
            self._counts = np.pad(self._counts, ((0, more), (0, 0)))
        if more or wider:
            self._latencies = np.pad(self._latencies, ((0, more), (0, wider)))

    def _coarsen(self) -> None:
        odd = len(self._counts) % 2
        self._grow(len(self._counts) + odd, 0)
        self._counts = self._counts[0::2] + self._counts[1::2]
        self._latencies = self._latencies[0::2] + self._latencies[1::2]
        self.span_s *= 2


def _restore(
    span_s: int, counts: NDArray[np.int64], shape: tuple[int, int], used: NDArray[np.uint8], latencies: NDArray[Any]
) -> Timeline:
    made = Timeline()
    made.span_s, made._counts = span_s, counts
    made._latencies = np.zeros(shape, np.uint32)
    made._latencies.ravel()[np.unpackbits(used, count=made._latencies.size).view(np.bool_)] = latencies
    return made


def _quantiles(counts: NDArray[np.uint32]) -> tuple[int | None, int | None]:
    below = np.cumsum(counts, dtype=np.int64)
    count = int(below[-1])
    if not count:
        return None, None
    p50, p99 = np.searchsorted(below, [rank_of(0.5, count), rank_of(0.99, count)]).tolist()
    return highest_of(p50, SUB_BITS), highest_of(p99, SUB_BITS)

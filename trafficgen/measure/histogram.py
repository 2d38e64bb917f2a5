"""Count latencies so that every percentile is known to 0.1 %, in memory that does not grow with their number.

Takes     integer nanoseconds from 0 to 2^63 - 1 (292 years), in bulk
Gives     exact count, sum, minimum and maximum; quantiles that are never low and high by at most 2^-`SUB_BITS`
Merges    with `+=`, in any order: the sum of two histograms is the histogram of all their values
Fails     ValueError on a negative value or on a stored form that no histogram has
Not here  which stretch of time a value measures (recorder), words and tables (report)

Values below 2^11 have a bucket of their own. Above, each power of two is cut into 2^10 buckets of equal width, the
layout of HdrHistogram. A value v in a bucket of width 2^s is at least 2^(10+s); the bucket's highest value is above v
by at most 2^s - 1; so the relative error is below 2^s / 2^(10+s) = 2^-10.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Annotated, Any, Final, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from trafficgen.measure.codec import Count, Nanoseconds, from_plain, schema_of

SUB_BITS: Final = 10
"""A quantile lies above the recorded value that it stands for by at most 2^-10 of it, 0.098 %."""

_MAX_NS: Final = 2**63 - 1
_MAX_BUCKETS: Final = (63 - SUB_BITS + 1) << SUB_BITS


def bucket_of(values: NDArray[np.int64], sub_bits: int = SUB_BITS) -> NDArray[np.int64]:
    """The bucket each value falls into, each power of two cut into 2^`sub_bits`; values must not be negative."""
    # frexp gives the bit length. From 2^53 on a value may round up to the next power of two and so get a shift of one
    # too many; the sum below then names the last bucket of the power before, which is where the value belongs.
    shift = np.maximum(np.frexp(values)[1] - (sub_bits + 1), 0).astype(np.int64)
    buckets: NDArray[np.int64] = (shift << sub_bits) + (values >> shift)
    return buckets


def bucket_index(value: int) -> int:
    """`bucket_of` for one value."""
    return int(bucket_of(np.array([value], np.int64))[0])


def highest_of(bucket: int, sub_bits: int = SUB_BITS) -> int:
    """The largest value that falls into `bucket`."""
    shift = max((bucket >> sub_bits) - 1, 0)
    return ((bucket - (shift << sub_bits) + 1) << shift) - 1


def lowest_of(bucket: int, sub_bits: int = SUB_BITS) -> int:
    """The smallest value that falls into `bucket`."""
    return highest_of(bucket - 1, sub_bits) + 1 if bucket else 0


def rank_of(q: float, count: int) -> int:
    """Which of `count` sorted values, from 1, is the first that a share `q` of all does not exceed."""
    if not 0.0 <= q <= 1.0:
        raise ValueError(f"expected a share from 0 to 1, got {q}")
    # In floats 0.07 * 100 is above 7, and the rank would be one too high; as the decimal it was written as, it is 7.
    return max(1, ceil(Fraction(repr(float(q))) * count))


_Bucket = Annotated[int, msgspec.Meta(ge=0, lt=_MAX_BUCKETS)]
_Filled = Annotated[int, msgspec.Meta(ge=1, le=2**53)]


@dataclass(frozen=True, slots=True)
class _Stored:
    """Totals, and two lists of the same length: the buckets that hold something, ascending, and how many values each
    holds."""

    sub_bits: Literal[10]
    count: Count
    sum: Annotated[int, msgspec.Meta(ge=0)]
    min: Nanoseconds | None
    max: Nanoseconds | None
    buckets: tuple[_Bucket, ...]
    counts: tuple[_Filled, ...]


class Histogram:
    """Latencies of one kind."""

    __slots__ = ("_dense", "_sparse", "count", "max_ns", "min_ns", "sum_ns")

    count: int
    """Recorded values."""
    sum_ns: int
    """Their exact sum."""
    min_ns: int | None
    """The exact smallest; None when nothing was recorded."""
    max_ns: int | None
    """The exact largest; None when nothing was recorded."""

    def __init__(self) -> None:
        self._dense: NDArray[np.int64] = np.zeros(0, np.int64)
        self._sparse: tuple[NDArray[Any], NDArray[Any]] | None = None
        self.count = 0
        self.sum_ns = 0
        self.min_ns = None
        self.max_ns = None

    @property
    def _counts(self) -> NDArray[np.int64]:
        """How many values each bucket holds. A histogram that came from elsewhere has only those in use until this is
        asked: most are added to another and thrown away, and their zeros took most of a coordinator's time."""
        if self._sparse is not None:
            used, counts = self._sparse
            self._dense = np.zeros(int(used[-1]) + 1 if used.size else 0, np.int64)
            self._dense[used] = counts
            self._sparse = None
        return self._dense

    @_counts.setter
    def _counts(self, counts: NDArray[np.int64]) -> None:
        self._dense, self._sparse = counts, None

    def _used(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Buckets that hold something, ascending, and how many values each holds."""
        if self._sparse is not None:
            return self._sparse
        used = np.flatnonzero(self._dense != 0)
        return used, self._dense[used]

    def record_many(self, values_ns: NDArray[np.int64]) -> None:
        """Count all `values_ns`."""
        if not values_ns.size:
            return
        low, high = int(values_ns.min()), int(values_ns.max())
        if low < 0:
            raise ValueError(f"a latency cannot be negative, got {low} ns")
        self._add_counts(np.bincount(bucket_of(values_ns)))
        fits = high <= _MAX_NS // values_ns.size
        self._add_totals(values_ns.size, int(values_ns.sum()) if fits else sum(values_ns.tolist()), low, high)

    def record(self, value_ns: int) -> None:
        """Count one value; a hundred times dearer than its place in `record_many`."""
        self.record_many(np.array([value_ns], np.int64))

    def quantile_ns(self, q: float) -> int | None:
        """Latency in ns that a share `q` (0 to 1) of recorded values does not exceed.

        Never low; high by at most 2^-`SUB_BITS` of it. None when nothing was recorded.
        """
        return self.quantiles_ns((q,))[0]

    def quantiles_ns(self, qs: Sequence[float]) -> tuple[int | None, ...]:
        """`quantile_ns` for several shares in one pass."""
        if self.max_ns is None:
            return (None,) * len(qs)
        ranks = [rank_of(q, self.count) for q in qs]
        buckets = np.searchsorted(np.cumsum(self._counts), ranks)
        return tuple(min(highest_of(int(bucket)), self.max_ns) for bucket in buckets)

    @property
    def mean_ns(self) -> float | None:
        """The exact mean; None when nothing was recorded."""
        return self.sum_ns / self.count if self.count else None

    def __iadd__(self, other: "Histogram") -> Self:
        if other.min_ns is not None and other.max_ns is not None:
            if other._sparse is None:
                self._add_counts(other._counts)
            else:
                self._add_buckets(*other._sparse)
            self._add_totals(other.count, other.sum_ns, other.min_ns, other.max_ns)
        return self

    def __add__(self, other: "Histogram") -> "Histogram":
        merged = self.copy()
        merged += other
        return merged

    def since(self, earlier: "Histogram") -> "Histogram":
        """What was recorded after this histogram was `earlier`: exact but for minimum and maximum, which are those of
        their buckets."""
        counts = self._counts.copy()
        counts[: earlier._counts.size] -= earlier._counts
        used = np.flatnonzero(counts)
        made = Histogram()
        if used.size and self.min_ns is not None and self.max_ns is not None:
            made._counts = counts[: int(used[-1]) + 1]
            low, high = lowest_of(int(used[0])), highest_of(int(used[-1]))
            totals = self.count - earlier.count, self.sum_ns - earlier.sum_ns
            made._add_totals(*totals, max(low, self.min_ns), min(high, self.max_ns))
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # it changes with every value

    def __repr__(self) -> str:
        return f"<Histogram of {self.count} values, {self.min_ns} to {self.max_ns} ns>"

    def copy(self) -> "Histogram":
        """An independent copy."""
        twin = Histogram()
        if self._sparse is None:
            twin._counts = self._counts.copy()
        else:
            twin._sparse = self._sparse  # nobody changes it
        twin.count, twin.sum_ns, twin.min_ns, twin.max_ns = self.count, self.sum_ns, self.min_ns, self.max_ns
        return twin

    def buckets(self) -> list[tuple[int, int]]:
        """(highest value in ns, count) of every bucket that is not empty, in ascending order."""
        used, counts = self._used()
        return [(highest_of(int(bucket)), int(count)) for bucket, count in zip(used, counts, strict=True)]

    # -- stored forms: only the buckets that hold something -----------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the totals, and two lists of the same length, `buckets` and their `counts`."""
        used, counts = self._used()
        return {
            "sub_bits": SUB_BITS,
            "count": self.count,
            "sum": self.sum_ns,
            "min": self.min_ns,
            "max": self.max_ns,
            "buckets": used.tolist(),
            "counts": counts.tolist(),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Histogram":
        """What `to_dict` gave. ValueError when it cannot have come from there."""
        try:
            stored = from_plain(_Stored, plain)
            made = cls._restore(
                np.array(stored.buckets, np.int64),
                np.array(stored.counts, np.int64),
                (stored.count, stored.sum, stored.min, stored.max),
            )
        except ValueError as error:
            raise ValueError(f"not a stored histogram: {error}") from error
        if not made._is_sound():
            raise ValueError("not a stored histogram: its totals and its buckets do not agree")
        return made

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """What JSON Schema says of the stored form."""
        return {key: value for key, value in schema_of(_Stored, "Histogram").items() if not key.startswith("$")}

    def __reduce__(self) -> tuple[Any, ...]:
        used, counts = self._used()
        narrow = counts.astype(np.min_scalar_type(int(counts.max(initial=0))))
        totals = (self.count, self.sum_ns, self.min_ns, self.max_ns)
        return (Histogram._restore, (used.astype(np.uint16), narrow, totals))

    @classmethod
    def _restore(
        cls, used: NDArray[Any], counts: NDArray[Any], totals: tuple[int, int, int | None, int | None]
    ) -> "Histogram":
        if used.shape != counts.shape or used.ndim != 1:
            raise ValueError("buckets and counts differ in length")
        if used.size and not (used[0] >= 0 and used[-1] < _MAX_BUCKETS and np.all(used[1:] > used[:-1])):
            raise ValueError("buckets do not ascend within the layout")
        made = cls()
        made._sparse = (used, counts)
        made.count, made.sum_ns, made.min_ns, made.max_ns = totals
        return made

    def _is_sound(self) -> bool:
        used, counts = self._used()
        if not used.size:
            return (self.count, self.sum_ns, self.min_ns, self.max_ns) == (0, 0, None, None)
        if self.min_ns is None or self.max_ns is None:
            return False
        ends = bucket_of(np.array([self.min_ns, self.max_ns], np.int64))
        return (
            sum(counts.tolist()) == self.count
            and ends.tolist() == [used[0], used[-1]]
            and self.min_ns * self.count <= self.sum_ns <= self.max_ns * self.count
        )

    def _add_counts(self, counts: NDArray[np.int64]) -> None:
        if counts.size > self._counts.size:
            grown = counts.astype(np.int64)
            grown[: self._counts.size] += self._counts
            self._counts = grown
        else:
            self._counts[: counts.size] += counts

    def _add_buckets(self, used: NDArray[Any], counts: NDArray[Any]) -> None:
        if (more := int(used[-1]) + 1 - self._counts.size) > 0:
            self._counts = np.pad(self._counts, (0, more))
        self._counts[used] += counts.astype(np.int64)

    def _add_totals(self, count: int, sum_ns: int, min_ns: int, max_ns: int) -> None:
        self.count += count
        self.sum_ns += sum_ns
        self.min_ns = min_ns if self.min_ns is None else min(self.min_ns, min_ns)
        self.max_ns = max_ns if self.max_ns is None else max(self.max_ns, max_ns)

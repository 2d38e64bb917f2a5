"""How long deliveries took, as percentiles over time, in memory that does not grow with their number.

Takes     when each was delivered, and its delays in seconds
Gives     a histogram for each part of the delay and each stretch of time
Limits    `MAX_STRETCHES` stretches; when time goes on beyond them, two become one
Not here  what a growing part means (report)
"""

from array import array
from typing import Final

import numpy as np

from trafficgen.clock import NS_PER_S
from trafficgen.measure.histogram import Histogram

PARTS: Final = ("before", "queued", "connecting", "sending", "delay")
"""Postfix's a, b, c, d (`records.Delays`), and all together."""

MAX_STRETCHES: Final = 120
_AT_ONCE: Final = 1 << 16


class DelaysOverTime:
    """One run's deliveries."""

    def __init__(self) -> None:
        self.stretch_ns = NS_PER_S
        self.first_ns: int | None = None
        """When the first stretch begins."""
        self._at = array("q")
        self._values = array("d")
        self._stretches: dict[int, dict[str, Histogram]] = {}

    def add(self, at_ns: int, before: float, queued: float, connecting: float, sending: float, delay: float) -> None:
        """One delivery; a part that is not known is negative."""
        self._at.append(at_ns)
        self._values.extend((before, queued, connecting, sending, delay))
        if len(self._at) >= _AT_ONCE:
            self._fold()

    def stretches(self) -> list[tuple[int, dict[str, Histogram]]]:
        """(when it begins, a histogram of ns for each part) in order."""
        self._fold()
        first_ns = self.first_ns or 0
        return [(first_ns + number * self.stretch_ns, one) for number, one in sorted(self._stretches.items())]

    def total(self) -> dict[str, Histogram]:
        """Of all deliveries."""
        sums = {part: Histogram() for part in PARTS}
        for _, stretch in self.stretches():
            for part in PARTS:
                sums[part] += stretch[part]
        return sums

    def _fold(self) -> None:
        if not self._at:
            return
        at = np.frombuffer(self._at, np.int64)
        values = np.rint(np.frombuffer(self._values, np.float64).reshape(-1, len(PARTS)) * NS_PER_S).astype(np.int64)
        low, high = int(at.min()), int(at.max())
        if self.first_ns is None:
            self.first_ns = low
        if low < self.first_ns:  # another file's, from before: whole stretches earlier, so that none is cut
            self._shift(-(-(self.first_ns - low) // self.stretch_ns))
        while (max(high, self._end_ns()) - self.first_ns) // self.stretch_ns >= MAX_STRETCHES:
            self._halve()
        numbers = (at - self.first_ns) // self.stretch_ns
        for number in np.unique(numbers).tolist():
            stretch = self._stretches.setdefault(number, {part: Histogram() for part in PARTS})
            mine = values[numbers == number]
            for column, part in enumerate(PARTS):
                known = mine[:, column]
                stretch[part].record_many(known[known >= 0])
        del at
        self._at, self._values = array("q"), array("d")

    def _end_ns(self) -> int:
        return (self.first_ns or 0) + max(self._stretches, default=0) * self.stretch_ns

    def _shift(self, by: int) -> None:
        self.first_ns = (self.first_ns or 0) - by * self.stretch_ns
        self._stretches = {number + by: one for number, one in self._stretches.items()}

    def _halve(self) -> None:
        self.stretch_ns *= 2
        merged: dict[int, dict[str, Histogram]] = {}
        for number, one in sorted(self._stretches.items()):
            there = merged.setdefault(number // 2, {part: Histogram() for part in PARTS})
            for part in PARTS:
                there[part] += one[part]
        self._stretches = merged

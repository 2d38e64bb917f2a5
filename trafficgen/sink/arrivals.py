"""What arrived of each run, by message number: marks in bulk to counts.

Takes     the marks of many messages at once, which bodies were damaged, recipients, times
Gives     an `Arrivals` for every run
Limits    `MAX_RUNS` runs, and numbers within reach of those before: a forged mark must not ask for terabytes
Fails     never; what is no mark of ours, or beyond the limits, is counted
Cost      one pass of numpy over thousands of messages
"""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trafficgen import decimals, mark

MAX_RUNS: Final = 1000

_REACH: Final = 1 << 26
"""How far beyond all numbers so far the next one may lie: a run's numbers come nearly in order, and one damaged digit
must not ask for terabytes."""


@dataclass(slots=True)
class Arrivals:
    """What arrived of one run.

    `recipients[n]`: recipients that got message n. `first_ns[n]`: when the first of them did; 0 when none.
    `damaged`: numbers with a wrong CRC. `unanswered[n]`: recipients of n whose sender was never told that they got it.
    """

    recipients: NDArray[np.uint32] = field(default_factory=lambda: np.zeros(1024, np.uint32))
    damaged: list[int] = field(default_factory=list)
    first_ns: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1024, np.int64))
    unanswered: dict[int, int] = field(default_factory=dict)
    digests: NDArray[np.uint32] | None = None
    """`digests[n]`: who got message n, the sum of `mark.digest` of its copies; None when that was not noted."""

    @property
    def messages(self) -> int:
        """How many different messages arrived."""
        return int(np.count_nonzero(self.recipients))

    def add(self, other: "Arrivals") -> None:
        """What arrived at another sink as well."""
        numbers = np.flatnonzero(other.recipients)
        self._grow(other.recipients.size)
        self.recipients[numbers] += other.recipients[numbers]
        if other.digests is not None:
            self._noted()[numbers] += other.digests[numbers]
        self._first(numbers, other.first_ns[numbers])
        self.damaged.extend(other.damaged)
        for number, recipients in other.unanswered.items():
            self.unanswered[number] = self.unanswered.get(number, 0) + recipients

    def enter(
        self,
        numbers: NDArray[np.int64],
        recipients: NDArray[np.uint32],
        damaged: NDArray[np.bool_],
        taken_ns: NDArray[np.int64],
        digests: NDArray[np.uint32] | None = None,
    ) -> int:
        """More messages; returns how many of the numbers are out of all reach, and so not ours."""
        near = numbers < self.recipients.size + _REACH
        strays = int(np.count_nonzero(~near))
        if strays:
            numbers, recipients, damaged, taken_ns = numbers[near], recipients[near], damaged[near], taken_ns[near]
            digests = digests[near] if digests is not None else None
        if numbers.size:
            self._grow(int(numbers.max()) + 1)
            np.add.at(self.recipients, numbers, recipients)
            if digests is not None:
                np.add.at(self._noted(), numbers, digests)
            self._first(numbers[::-1], taken_ns[::-1])  # of the same number, the last one written stays: the earliest
            self.damaged.extend(numbers[damaged].tolist())
        return strays

    def _first(self, numbers: NDArray[np.int64], taken_ns: NDArray[np.int64]) -> None:
        before = self.first_ns[numbers]
        self.first_ns[numbers] = np.where((before == 0) | (taken_ns < before), taken_ns, before)

    def _noted(self) -> NDArray[np.uint32]:
        if self.digests is None:
            self.digests = np.zeros(self.recipients.size, np.uint32)
        return self.digests

    def _grow(self, size: int) -> None:
        if size > self.recipients.size:
            room = max(size, 2 * self.recipients.size)
            recipients, first_ns = np.zeros(room, np.uint32), np.zeros(room, np.int64)
            recipients[: self.recipients.size] = self.recipients
            first_ns[: self.first_ns.size] = self.first_ns
            self.recipients, self.first_ns = recipients, first_ns
            if self.digests is not None:
                self.digests = np.concatenate([self.digests, np.zeros(room - self.digests.size, np.uint32)])


class Runs:
    """All runs of one sink."""

    def __init__(self) -> None:
        self.unmarked = 0
        self._arrivals: dict[str, Arrivals] = {}

    def of(self, run_id: str) -> Arrivals:
        """What arrived of this run; empty when nothing did."""
        return self._arrivals.get(run_id) or Arrivals()

    @property
    def ids(self) -> list[str]:
        """All runs of which something arrived."""
        return list(self._arrivals)

    def enter(
        self,
        octets: decimals.Text,
        recipients: NDArray[Any],
        damaged: NDArray[np.bool_],
        taken_ns: NDArray[np.int64],
        digests: NDArray[Any] | None,
    ) -> None:
        """Messages in the order they came; all of the same length, a row of `octets` their mark.

        `digests` None: nobody noted who the recipients were.
        """
        ours = well_formed(octets)
        self.unmarked += int(np.count_nonzero(~ours))
        octets = octets[ours]
        columns: tuple[NDArray[Any], ...] = (
            decimals.from_text(octets[:, 17:29]),
            recipients[ours].astype(np.uint32),
            damaged[ours],
            taken_ns[ours],
            *([digests[ours].astype(np.uint32)] if digests is not None else ()),
        )
        while octets.size:  # one turn for each run, so nearly always one
            rows = (octets[:, :16] == octets[0, :16]).all(axis=1)
            arrivals = self._run(octets[0, :16].tobytes().decode("ascii"))
            of_run = [column[rows] for column in columns]
            self.unmarked += arrivals.enter(*of_run) if arrivals else of_run[0].size
            octets, columns = octets[~rows], tuple(column[~rows] for column in columns)

    def unanswered(self, value: bytes, recipients: int) -> None:
        """The reply to this message was never sent."""
        if (parsed := mark.parse(value)) is not None and (arrivals := self._run(parsed[0])) is not None:
            arrivals.unanswered[parsed[1]] = arrivals.unanswered.get(parsed[1], 0) + recipients

    def _run(self, run_id: str) -> Arrivals | None:
        arrivals = self._arrivals.get(run_id)
        if arrivals is None and len(self._arrivals) < MAX_RUNS:
            arrivals = self._arrivals[run_id] = Arrivals()
        return arrivals


def well_formed(octets: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which rows are marks: digits and spaces where they belong (see `mark.parse`)."""
    ours: NDArray[np.bool_] = (
        decimals.all_hexadecimal(octets[:, :16])
        & decimals.all_digits(octets[:, 17:29])
        & decimals.all_hexadecimal(octets[:, 30:38])
        & (octets[:, 16] == 32)
        & (octets[:, 29] == 32)
    )
    return ours

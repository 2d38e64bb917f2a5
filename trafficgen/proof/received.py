"""What arrived of each run, by message number: trace headers in bulk to counts.

Takes     the trace headers of many messages at once, which bodies were damaged, recipients, times
Gives     an `Received` for every run
Limits    `MAX_RUNS` runs; 28 octets of memory a message that arrived, whatever number it claims
Fails     never; what is no trace header of ours, or claims a number that its run cannot have reached, is counted
Cost      a few passes of numpy over thousands of messages; numbers that come in order are never sorted again
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trafficgen.proof import digits, trace_header

MAX_RUNS: Final = 1000
_FORGOTTEN_AT_ONCE: Final = 250
_FEW: Final = 16
"""Runs with fewer messages are forgotten first: run ids cost a stranger nothing, messages do."""

_REACH: Final = 1 << 24
_REACH_A_MESSAGE: Final = 1024
"""A run's numbers come nearly in order. One further on than this, and this much more for every message of the run that
has arrived (a sink may get a small share of them), is a damaged digit or a forgery, and no message of the run."""


class _Part(NamedTuple):
    """Messages, each number once, in ascending order."""

    numbers: NDArray[np.int64]
    recipients: NDArray[np.uint32]
    first_ns: NDArray[np.int64]
    damaged: NDArray[np.uint32]
    digests: NDArray[np.uint32]


_NOTHING: Final = _Part(
    np.zeros(0, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.uint32)
)


class Received:
    """What arrived of one run. All columns are of one length, a row for each different message, by ascending number."""

    __slots__ = ("_parts", "copies", "digests_noted", "unanswered")

    def __init__(self) -> None:
        # The first is the longest, and each at least twice the next: so a message is merged log2(n) times at most.
        self._parts: list[_Part] = []
        self.copies = 0
        """Messages so far, copies included."""
        self.digests_noted = False
        self.unanswered: dict[int, int] = {}
        """Recipients of a message, by its number, whose sender was never told that they got it."""

    def columns(self) -> dict[str, NDArray[np.int64]]:
        """All of it, for another process; "damaged" and "unanswered" have rows of their own."""
        found = {
            "numbers": self.numbers,
            "recipients": self.counts.astype(np.int64),
            "first_ns": self.first_ns,
            "damaged": np.array(self.damaged, np.int64),
            "unanswered": np.array(sorted(self.unanswered.items()), np.int64).reshape(-1, 2),
        }
        return found if self.digests is None else found | {"digests": self.digests.astype(np.int64)}

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Which messages arrived."""
        return self._whole().numbers

    @property
    def counts(self) -> NDArray[np.uint32]:
        """How many recipients got each of them."""
        return self._whole().recipients

    @property
    def recipients(self) -> "ByNumber":
        """`recipients[n]`: recipients that got message n."""
        return ByNumber(self._whole())

    @property
    def first_ns(self) -> NDArray[np.int64]:
        """When the first of them did."""
        return self._whole().first_ns

    @property
    def digests(self) -> NDArray[np.uint32] | None:
        """Who got each message, the sum of `trace_header.digest` of its copies; None when that was not noted."""
        return self._whole().digests if self.digests_noted else None

    @property
    def damaged(self) -> list[int]:
        """Numbers of messages of which a copy has a wrong checksum."""
        whole = self._whole()
        found: list[int] = whole.numbers[whole.damaged > 0].tolist()
        return found

    @property
    def messages(self) -> int:
        """How many different messages arrived."""
        return int(self.numbers.size)

    def reaches(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these numbers may be messages of this run."""
        return numbers < _REACH + _REACH_A_MESSAGE * self.copies

    def add(self, other: "Received") -> None:
        """What arrived at another sink as well."""
        whole = other._whole()
        self._append(whole.numbers, whole.recipients, whole.damaged, whole.first_ns, other.digests)
        self.copies += other.copies - whole.numbers.size
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
        near = self.reaches(numbers)
        strays = int(np.count_nonzero(~near))
        if strays:
            numbers, recipients, damaged, taken_ns = numbers[near], recipients[near], damaged[near], taken_ns[near]
            digests = digests[near] if digests is not None else None
        self._append(numbers, recipients, damaged, taken_ns, digests)
        return strays

    def _append(
        self,
        numbers: NDArray[np.int64],
        recipients: NDArray[Any],
        damaged: NDArray[Any],
        taken_ns: NDArray[np.int64],
        digests: NDArray[Any] | None,
    ) -> None:
        if not numbers.size:
            return
        self.copies += numbers.size
        self.digests_noted |= digests is not None
        noted = np.zeros(numbers.size, np.uint32) if digests is None else digests.astype(np.uint32)
        self._parts.append(
            _summed(_Part(numbers, recipients.astype(np.uint32), taken_ns, damaged.astype(np.uint32), noted))
        )
        while len(self._parts) > 1 and self._parts[-2].numbers.size < 2 * self._parts[-1].numbers.size:
            self._merge_last()

    def _whole(self) -> _Part:
        while len(self._parts) > 1:
            self._merge_last()
        return self._parts[0] if self._parts else _NOTHING

    def _merge_last(self) -> None:
        later = self._parts.pop()
        self._parts[-1] = _merged(self._parts[-1], later)


def _summed(part: _Part) -> _Part:
    """In order, and what there is of one number added up."""
    numbers = part.numbers
    if (numbers[1:] > numbers[:-1]).all():
        return part
    order = np.argsort(numbers, kind="stable")
    part = _Part._make(column[order] for column in part)
    numbers = part.numbers
    new = numbers[1:] != numbers[:-1]
    if new.all():
        return part
    begins = np.flatnonzero(np.concatenate(([True], new)))
    return _Part(
        numbers[begins],
        np.add.reduceat(part.recipients, begins, dtype=np.uint32),
        np.minimum.reduceat(part.first_ns, begins),
        np.add.reduceat(part.damaged, begins, dtype=np.uint32),
        np.add.reduceat(part.digests, begins, dtype=np.uint32),
    )


def _merged(one: _Part, other: _Part) -> _Part:
    """Both. Only where they overlap is there anything to sort: where one ends and the other begins, as a rule."""
    first, last = int(np.searchsorted(one.numbers, other.numbers[0])), one.numbers[-1]
    end = int(np.searchsorted(other.numbers, last, side="right"))
    pieces = [_cut(one, slice(first)), _summed(_joined(_cut(one, slice(first, None)), _cut(other, slice(end))))]
    return _joined(*pieces, _cut(other, slice(end, None)))


def _cut(part: _Part, rows: slice) -> _Part:
    return _Part._make(column[rows] for column in part)


def _joined(*parts: _Part) -> _Part:
    return _Part._make(np.concatenate(columns) for columns in zip(*parts, strict=True))


class ByNumber:
    """Recipients by message number, 0 for what did not arrive."""

    def __init__(self, part: _Part) -> None:
        self._part = part

    def __getitem__(self, number: int) -> int:
        at = int(np.searchsorted(self._part.numbers, number))
        return int(self._part.recipients[at]) if at < self.size and self._part.numbers[at] == number else 0

    @property
    def size(self) -> int:
        """How many different messages arrived."""
        return int(self._part.numbers.size)


class Runs:
    """All runs of one sink."""

    def __init__(self) -> None:
        self.unmarked = 0
        self._arrivals: dict[str, Received] = {}
        """The one that got something last is the last."""

    def of(self, run_id: str) -> Received:
        """What arrived of this run; empty when nothing did."""
        return self._arrivals.get(run_id) or Received()

    @property
    def ids(self) -> list[str]:
        """All runs of which something arrived."""
        return list(self._arrivals)

    def enter(
        self,
        octets: digits.Text,
        recipients: NDArray[Any],
        damaged: NDArray[np.bool_],
        taken_ns: NDArray[np.int64],
        digests: NDArray[Any] | None,
    ) -> None:
        """Messages in the order they came; all of the same length, a row of `octets` their trace header.

        `digests` None: nobody noted who the recipients were.
        """
        ours = well_formed(octets)
        self.unmarked += int(np.count_nonzero(~ours))
        octets = octets[ours]
        columns: tuple[NDArray[Any], ...] = (
            digits.from_text(octets[:, 17:29]),
            recipients[ours].astype(np.uint32),
            damaged[ours],
            taken_ns[ours],
            *([digests[ours].astype(np.uint32)] if digests is not None else ()),
        )
        for run_id, rows in _by_run(octets):
            self._enter(run_id, *(column[rows] for column in columns))

    def _enter(self, run_id: str, *columns: NDArray[Any]) -> None:
        arrivals = self._arrivals.get(run_id) or Received()
        self.unmarked += arrivals.enter(*columns)
        if arrivals.copies:
            if self._arrivals.pop(run_id, None) is None and len(self._arrivals) >= MAX_RUNS:
                self._forget()
            self._arrivals[run_id] = arrivals

    def _forget(self) -> None:
        """Make room: those that have hardly a message first, then those of which nothing came for longest."""
        by_worth = sorted(self._arrivals, key=lambda run_id: self._arrivals[run_id].copies >= _FEW)
        for run_id in by_worth[:_FORGOTTEN_AT_ONCE]:
            del self._arrivals[run_id]

    def unanswered(self, value: bytes, recipients: int) -> None:
        """The reply to this message, which was entered, was never sent."""
        if (parsed := trace_header.parse(value)) is not None and (
            arrivals := self._arrivals.get(parsed[0])
        ) is not None:
            number = parsed[1]
            if arrivals.reaches(np.array([number]))[0]:
                arrivals.unanswered[number] = arrivals.unanswered.get(number, 0) + recipients


def _by_run(octets: digits.Text) -> "list[tuple[str, slice | NDArray[np.int64]]]":
    """The run ids in these rows, and which rows each has."""
    if not octets.size:
        return []
    if (octets[:, :16] == octets[0, :16]).all():  # nearly always
        return [(octets[0, :16].tobytes().decode("ascii"), slice(None))]
    ids, which = np.unique(np.ascontiguousarray(octets[:, :16]).view("S16").ravel(), return_inverse=True)
    rows = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])
    return [(run_id.decode("ascii"), mine) for run_id, mine in zip(ids.tolist(), rows, strict=True)]


def well_formed(octets: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which rows are trace headers: digits and spaces where they belong (see `trace_header.parse`)."""
    octets = np.asfortranarray(octets)  # column by column, at a quarter of the cost
    ours: NDArray[np.bool_] = (
        digits.all_hexadecimal(octets[:, :16])
        & digits.all_digits(octets[:, 17:29])
        & digits.all_hexadecimal(octets[:, 30:38])
        & (octets[:, 16] == 32)
        & (octets[:, 29] == 32)
    )
    return ours

"""Hold what arrived against what was accepted.

Takes     the numbers of accepted and doubtful messages, how many recipients each has; arrivals by number or by copy
Gives     a `LedgerCounts` for a sink that is sent to directly: expected, received, missing, duplicated, corrupted
          a `DeliveryProof` for mail that goes through servers: the same, duplicates explained or not, latencies

A message is missing when fewer of its recipients got it than the server accepted, duplicated when more did. One in
doubt may have arrived or not, but not twice; one that was tried again may have come once more for each try in doubt,
which explains the copy. What was refused or failed must not have arrived at all: if it did,
somebody has mail of which we were told that it was not taken, and it counts as duplicated.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mboxgen.columns import once_each
from trafficgen.measure.delivered import LedgerCounts
from trafficgen.proof.ledger_reader import Copies
from trafficgen.proof.sent import SentRecords

_NONE: Final = np.zeros(0, np.int64)
_SHOWN: Final = 10
"""Numbers shown of messages that are missing, for people to look for in their server's log."""


def compare(
    *,
    accepted: NDArray[np.int64],
    recipients: NDArray[np.int64],
    in_doubt: NDArray[np.int64],
    in_doubt_recipients: NDArray[np.int64],
    arrived: NDArray[np.int64],
    arrived_recipients: NDArray[np.uint32],
    damaged: list[int],
    doubtful: NDArray[np.int64] = _NONE,
    doubtful_recipients: NDArray[np.int64] = _NONE,
) -> LedgerCounts:
    """`recipients[i]` belongs to `accepted[i]`, and so on; no number is in `arrived` twice. `doubtful`: a number for
    each try in doubt besides the outcome of its message."""
    top = max((int(numbers.max()) + 1 for numbers in (accepted, in_doubt) if numbers.size), default=0)
    known = arrived < top  # what arrives may claim any number: none of them sizes an array
    got = np.zeros(top, np.int64)
    got[arrived[known]] = arrived_recipients[known]
    least = np.zeros(top, np.int64)
    least[accepted] = recipients
    most = least.copy()
    most[in_doubt] = np.maximum(most[in_doubt], in_doubt_recipients)
    once = most.copy()
    np.add.at(most, doubtful, doubtful_recipients)
    return LedgerCounts(
        expected=int(accepted.size),
        received=int(np.count_nonzero(got[accepted] >= recipients)),
        missing=int(np.count_nonzero(got < least)),
        duplicated=int(np.count_nonzero(got > most)) + int(np.count_nonzero(~known)),
        corrupted=len(set(damaged)),
        explained=int(np.count_nonzero((got > once) & (got <= most))),
    )


@dataclass(frozen=True, slots=True)
class DeliveryProof:
    """What became of every message that was sent, at the places where it should have arrived.

    `expected` accepted messages, of which `delivered` reached all their recipients and `missing` did not.
    `in_doubt` messages whose sender never heard, of which `in_doubt_delivered` arrived.
    `duplicated` messages reached a recipient more than once: `explained` when a reply to an earlier copy was lost, so
    that sending again was right (RFC 5321 section 4.5.4.1), be it by a server on the way or by the sender itself, whose
    tries in doubt are all in `Sent`; `unexplained` otherwise.
    `corrupted` messages have a copy with a wrong checksum. In `mended` ones, whose header has a line that is no field,
    a server ended the header there: the body is whole behind it, or nobody could look (a ledger has checksums only).
    `unexpected` ones arrived though nobody took them over.
    `misdelivered` ones have as many copies as recipients, but for others: one recipient got two, another none. That is
    told when both sides noted who the recipients were.
    `late` ones took longer than was allowed. `latencies_ns`: from the (intended) start to the first arrival, of each
    message both of whose times are known; None when they are from different clocks.
    """

    expected: int
    delivered: int
    missing: int
    in_doubt: int
    in_doubt_delivered: int
    explained: int
    unexplained: int
    corrupted: int
    unexpected: int
    late: int
    latencies_ns: NDArray[np.int64] | None
    missing_numbers: tuple[int, ...]
    """The first few."""
    unexplained_numbers: tuple[int, ...]
    misdelivered: int = 0
    mended: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing is missing, corrupted, or there without a reason."""
        return not (self.missing or self.unexplained or self.corrupted or self.unexpected or self.misdelivered)


def verify(
    accepted: SentRecords, in_doubt: SentRecords, copies: Copies, *, one_clock: bool, late_after_ns: int | None = None
) -> DeliveryProof:
    """Hold copies against what was sent. `one_clock`: began and taken are times of the same clock."""
    # Numbers may be any; everything below is in places of this sorted list.
    numbers = once_each(np.concatenate([accepted.numbers, in_doubt.numbers, copies.numbers]))
    here, doubt, copy = (np.searchsorted(numbers, part.numbers) for part in (accepted, in_doubt, copies))
    least = _sums(here, accepted.recipients, numbers.size)
    once = np.maximum(least, _once(doubt, in_doubt.recipients, numbers.size))
    most = least + _sums(doubt, in_doubt.recipients, numbers.size)
    arrived = _sums(copy, copies.recipients, numbers.size)
    excused = _sums(copy, copies.unanswered, numbers.size)
    unexpected = (most == 0) & (arrived > 0)
    double = (arrived > once) & ~unexpected
    unexplained = double & (arrived - excused > most)
    missing = arrived < least
    undecided = (once > 0) & (least == 0)
    misdelivered = _misdelivered(accepted, copies, here, copy, (arrived == least) & (least > 0))
    damaged = once_each(copies.numbers[copies.damaged])
    mended = np.isin(damaged, np.concatenate([_mendable(accepted), _mendable(in_doubt)]))
    if copies.intact is not None:
        mended &= ~np.isin(damaged, copies.numbers[copies.damaged & ~copies.intact])
    latencies = _latencies(numbers.size, (here, accepted), (doubt, in_doubt), (copy, copies))
    return DeliveryProof(
        expected=int(accepted.numbers.size),
        delivered=int(np.count_nonzero((arrived[here] >= accepted.recipients) & ~misdelivered[here])),
        missing=int(np.count_nonzero(missing)),
        in_doubt=int(np.count_nonzero(undecided)),
        in_doubt_delivered=int(np.count_nonzero(arrived[undecided])),
        explained=int(np.count_nonzero(double & ~unexplained)),
        unexplained=int(np.count_nonzero(unexplained)),
        corrupted=int(np.count_nonzero(~mended)),
        unexpected=int(np.count_nonzero(unexpected)),
        late=int(np.count_nonzero(latencies > late_after_ns)) if one_clock and late_after_ns is not None else 0,
        latencies_ns=latencies if one_clock else None,
        missing_numbers=tuple(numbers[missing][:_SHOWN].tolist()),
        unexplained_numbers=tuple(numbers[unexplained][:_SHOWN].tolist()),
        misdelivered=int(np.count_nonzero(misdelivered)),
        mended=int(np.count_nonzero(mended)),
    )


def _mendable(sent: SentRecords) -> NDArray[np.int64]:
    return sent.numbers[sent.mendable] if sent.mendable is not None else np.empty(0, np.int64)


def _misdelivered(
    accepted: SentRecords, copies: Copies, here: NDArray[np.int64], copy: NDArray[np.int64], complete: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which complete messages went to other recipients than they were for, as far as that is known."""
    wanted = np.full(complete.size, -1, np.int64)
    wanted[here] = accepted.digests
    known = complete & (wanted >= 0)
    known[copy[copies.digests < 0]] = False
    others: NDArray[np.bool_] = _sums(copy, copies.digests, complete.size) & 0xFFFFFFFF != wanted
    return known & others


def _sums(places: NDArray[np.int64], weights: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    sums = np.zeros(size, np.int64)
    np.add.at(sums, places, weights)
    return sums


def _once(places: NDArray[np.int64], weights: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Recipients of each message, however many tries of it there were."""
    once = np.zeros(size, np.int64)
    once[places] = weights
    return once


def _latencies(
    size: int,
    accepted: tuple[NDArray[np.int64], SentRecords],
    in_doubt: tuple[NDArray[np.int64], SentRecords],
    copies: tuple[NDArray[np.int64], Copies],
) -> NDArray[np.int64]:
    began, first = np.zeros(size, np.int64), np.full(size, np.iinfo(np.int64).max)
    for places, sent in (accepted, in_doubt):
        began[places] = sent.began_ns
    np.minimum.at(first, copies[0], copies[1].taken_ns)
    arrived = np.zeros(size, np.bool_)
    arrived[copies[0]] = True
    known = arrived & (began > 0) & (first > 0)
    return np.maximum(first[known] - began[known], 0)

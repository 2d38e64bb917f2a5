"""What arrived, by message number: the receiving half of the proof.

Takes     messages as a session receives them, whole or in pieces
Gives     for every run, how many recipients got each message, and which bodies were damaged
Fails     never; mail without a mark of ours is counted as `unmarked`
Cost      one find, one CRC and three appends a message; everything else in bulk, `_FOLD` messages at a time

Counting recipients, not transactions, makes the proof hold through a relay that splits one message by recipient.
"""

from dataclasses import dataclass, field
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from trafficgen import mark
from trafficgen.smtp.dots import unstuff

_FOLD: Final = 8192
_MAX_HEADER_OCTETS: Final = 256 * 1024
_REACH: Final = 1 << 26
"""How far beyond all numbers so far the next one may lie: a run's numbers come nearly in order, and one damaged digit
must not ask for terabytes."""

_NO_MARK: Final = b" " * mark.VALUE_OCTETS


@dataclass(slots=True)
class Arrivals:
    """What arrived of one run. `recipients[n]`: recipients that got message n; `damaged`: numbers with a wrong CRC."""

    recipients: NDArray[np.uint32] = field(default_factory=lambda: np.zeros(1024, np.uint32))
    damaged: list[int] = field(default_factory=list)

    @property
    def messages(self) -> int:
        """How many different messages arrived."""
        return int(np.count_nonzero(self.recipients))


class Ledger:
    """All arrivals of one sink."""

    def __init__(self) -> None:
        self.received = 0
        self.octets = 0
        self._runs: dict[str, Arrivals] = {}
        self._unmarked = 0
        self._marks: list[bytes] = []
        self._crcs: list[int] = []
        self._recipients: list[int] = []

    @property
    def unmarked(self) -> int:
        """Messages that are not ours."""
        self._fold()
        return self._unmarked

    def arrivals(self, run_id: str) -> Arrivals:
        """What arrived of this run; empty when nothing did."""
        self._fold()
        return self._runs.get(run_id) or Arrivals()

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        """Enter a message that came in one piece, `data[:end]`, still dot-stuffed."""
        header_end = data.find(b"\r\n\r\n", 0, end) + 4
        found = data.find(mark.HEADER, 0, header_end) + len(mark.HEADER)
        if header_end < 4 or found < len(mark.HEADER):
            self._enter(_NO_MARK, 0, end, recipients)
            return
        value = data[found : found + mark.VALUE_OCTETS]
        crc = crc32(memoryview(data)[header_end:end])
        if b"%08x" % crc != value[30:]:
            # Stuffed dots are rare, so looking for them waits until the CRC asks.
            crc = crc32(unstuff(data[:end]).partition(b"\r\n\r\n")[2])
            value = value.ljust(mark.VALUE_OCTETS)  # a mark that is cut off ends up here, too
        self._enter(value, crc, end, recipients)

    def _enter(self, value: bytes, crc: int, octets: int, recipients: int) -> None:
        self._marks.append(value)
        self._crcs.append(crc)
        self._recipients.append(recipients)
        self.received += 1
        self.octets += octets
        if len(self._marks) >= _FOLD:
            self._fold()

    def _fold(self) -> None:
        """Parse the collected marks in bulk."""
        if not self._marks:
            return
        octets = np.frombuffer(b"".join(self._marks), np.uint8).reshape(-1, mark.VALUE_OCTETS)
        crcs = np.array(self._crcs, np.int64)
        recipients = np.array(self._recipients, np.uint32)
        self._marks.clear()
        self._crcs.clear()
        self._recipients.clear()
        ours = _well_formed(octets)
        self._unmarked += int(np.count_nonzero(~ours))
        octets, crcs, recipients = octets[ours], crcs[ours], recipients[ours]
        numbers = (octets[:, 17:29] - np.int64(48)) @ (10 ** np.arange(11, -1, -1, dtype=np.int64))
        claimed = _hexadecimal(octets[:, 30:38])
        damaged = claimed != crcs
        while octets.size:  # one turn for each run, so nearly always one
            run_id = octets[0, :16]
            rows = (octets[:, :16] == run_id).all(axis=1)
            arrivals = self._runs.setdefault(run_id.tobytes().decode("ascii"), Arrivals())
            self._unmarked += _add(arrivals, numbers[rows], recipients[rows], damaged[rows])
            octets, numbers, recipients, damaged = octets[~rows], numbers[~rows], recipients[~rows], damaged[~rows]


class SessionReceiver:
    """Puts the pieces of one session's messages together for the ledger; holds a header at most."""

    __slots__ = ("_crc", "_header", "_in_body", "_ledger", "_octets", "whole")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.whole = ledger.whole
        self._header = b""
        self._crc = 0
        self._octets = 0
        self._in_body = False

    def piece(self, octets: bytes) -> None:
        """The next piece, dot-stuffing undone."""
        self._octets += len(octets)
        if self._in_body:
            self._crc = crc32(octets, self._crc)
            return
        self._header += octets
        end = self._header.find(b"\r\n\r\n")
        if end >= 0 or len(self._header) > _MAX_HEADER_OCTETS:
            self._in_body = True
            self._crc = crc32(self._header[end + 4 :]) if end >= 0 else 0
            self._header = self._header[: end + 4] if end >= 0 else b""

    def ended(self, recipients: int) -> None:
        """The message is complete."""
        found = self._header.find(mark.HEADER)
        begin = found + len(mark.HEADER)
        value = self._header[begin : begin + mark.VALUE_OCTETS] if found >= 0 and self._in_body else _NO_MARK
        self._ledger._enter(value.ljust(mark.VALUE_OCTETS), self._crc, self._octets, recipients)
        self.dropped()

    def dropped(self) -> None:
        """Forget the pieces so far."""
        self._header = b""
        self._crc = 0
        self._octets = 0
        self._in_body = False


def _add(
    arrivals: Arrivals, numbers: NDArray[np.int64], recipients: NDArray[np.uint32], damaged: NDArray[np.bool_]
) -> int:
    """Returns how many of the numbers are out of all reach, and so not ours."""
    near = numbers < arrivals.recipients.size + _REACH
    strays = int(np.count_nonzero(~near))
    if strays:
        numbers, recipients, damaged = numbers[near], recipients[near], damaged[near]
    if numbers.size and (top := int(numbers.max())) >= arrivals.recipients.size:
        grown = np.zeros(max(top + 1, 2 * arrivals.recipients.size), np.uint32)
        grown[: arrivals.recipients.size] = arrivals.recipients
        arrivals.recipients = grown
    np.add.at(arrivals.recipients, numbers, recipients)
    arrivals.damaged.extend(numbers[damaged].tolist())
    return strays


def _well_formed(octets: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which rows are marks: digits and spaces where they belong (see `mark.parse`)."""
    digit = (octets >= 48) & (octets <= 57)
    hexadecimal = digit | ((octets >= 97) & (octets <= 102))
    ours: NDArray[np.bool_] = (
        hexadecimal[:, :16].all(axis=1)
        & digit[:, 17:29].all(axis=1)
        & hexadecimal[:, 30:].all(axis=1)
        & (octets[:, 16] == 32)
        & (octets[:, 29] == 32)
    )
    return ours


def _hexadecimal(octets: NDArray[np.uint8]) -> NDArray[np.int64]:
    digits = octets.astype(np.int64)
    digits -= np.where(digits >= 97, 87, 48)
    result: NDArray[np.int64] = digits @ (16 ** np.arange(octets.shape[1] - 1, -1, -1, dtype=np.int64))
    return result

"""A store that only counts.

Takes     the messages of one session
Gives     their number and octets, added to totals that all sessions of a sink share
Not here  what arrived, message by message (ledger)
"""

from dataclasses import dataclass

from trafficgen.sink.store.ledger import Receipt


@dataclass(slots=True)
class Totals:
    """Messages that were accepted."""

    received: int = 0
    octets: int = 0


class CountingStore:
    """Counts the messages of one session: what a sink without a ledger keeps of them."""

    __slots__ = ("_octets", "_totals")

    def __init__(self, totals: Totals | None = None) -> None:
        self._totals = totals or Totals()
        self._octets = 0  # of the message under way

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        totals = self._totals
        totals.received += 1
        totals.octets += end

    def piece(self, octets: bytes) -> None:
        self._octets += len(octets)

    def ended(self, recipients: int) -> None:
        self._totals.received += 1
        self._totals.octets += self._octets
        self._octets = 0

    def dropped(self) -> None:
        self._octets = 0

    @property
    def receipt(self) -> Receipt:
        return Receipt(b"", 0)

    def unanswered(self, receipt: Receipt) -> None:
        pass

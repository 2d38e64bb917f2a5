"""A store in front of another that sees every message of a session.

Takes     a store, and the session once it has begun
Gives     a store that passes everything on
Not here  what is done with the messages (capture, bounces)
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trafficgen.protocol.smtp.server import ServerSession
    from trafficgen.sink.store.interface import Store
    from trafficgen.sink.store.ledger import Receipt


class Tee:
    """Implements `Store`. `session` has the envelope; set it before the first octet arrives."""

    __slots__ = ("session", "store")

    def __init__(self, store: "Store") -> None:
        self.store = store
        self.session: ServerSession | None = None

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        self.store.whole(data, end, recipients)

    def piece(self, octets: bytes) -> None:
        self.store.piece(octets)

    def ended(self, recipients: int) -> None:
        self.store.ended(recipients)

    def dropped(self) -> None:
        self.store.dropped()

    @property
    def receipt(self) -> "Receipt":
        return self.store.receipt

    def unanswered(self, receipt: "Receipt") -> None:
        self.store.unanswered(receipt)

    @property
    def _envelope(self) -> "ServerSession":
        assert self.session is not None
        return self.session

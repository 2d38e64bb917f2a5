"""What a session needs from the store of its messages.

Gives     `Store`: a session's part of the ledger, or a tee in front of it that captures or bounces messages
Not here  what is stored (ledger, capture), the sessions (listen)
"""

from typing import Protocol

from trafficgen.protocol.smtp.receiver import Receiver
from trafficgen.sink.store.ledger import Receipt


class Store(Receiver, Protocol):
    """Where the messages of one session go."""

    @property
    def receipt(self) -> Receipt: ...

    def unanswered(self, receipt: Receipt) -> None: ...

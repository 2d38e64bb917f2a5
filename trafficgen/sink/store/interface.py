"""What a session needs of whatever keeps its messages.

Gives     `Store`: the ledger's side of a session, or what captures, bounces or watches messages on their way to it
Not here  what is kept (ledger, capture), and the sessions that bring it (listen)
"""

from typing import Protocol

from trafficgen.protocol.smtp.framing import Receiver
from trafficgen.sink.store.ledger import Receipt


class Store(Receiver, Protocol):
    """Where the messages of one session go, and how to say later that one was never answered."""

    @property
    def receipt(self) -> Receipt: ...

    def unanswered(self, receipt: Receipt) -> None: ...

"""A receiver that loses the end of a message.

Takes     the pieces of one message; how many octets to pass on
Gives     the first octets to another receiver, as if they were the whole message
Not here  when that happens (fault_kinds)
"""

from trafficgen.protocol.smtp.dots import unstuff
from trafficgen.protocol.smtp.receiver import Receiver


class Truncated:
    """Implements `Receiver` for one message."""

    __slots__ = ("_left", "_receiver")

    def __init__(self, octets: int, receiver: Receiver) -> None:
        self._left = octets
        self._receiver = receiver

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        self.piece(unstuff(data[:end]))
        self.ended(recipients)

    def piece(self, octets: bytes) -> None:
        if self._left:
            self._receiver.piece(octets[: self._left])
            self._left -= min(self._left, len(octets))

    def ended(self, recipients: int) -> None:
        self._receiver.ended(recipients)

    def dropped(self) -> None:
        self._receiver.dropped()

"""Where the messages of a server session go.

Gives     `Receiver`, what a session calls for each message
Not here  what is done with a message (sink/store), when it is accepted (server)
"""

from typing import Protocol


class Receiver(Protocol):
    """The receiver of one session's messages.

    `whole` and `ended` raise OSError when there is no room; then the message is refused with 452.
    """

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        """A message that arrived in one piece, `data[:end]`, still dot-stuffed."""

    def piece(self, octets: bytes) -> None:
        """The next piece of a message, dot-stuffing undone."""

    def ended(self, recipients: int) -> None:
        """The message made of the pieces so far is complete."""

    def dropped(self) -> None:
        """The pieces so far will not become a message."""

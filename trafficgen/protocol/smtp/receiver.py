"""Where the messages of a server session go.

Gives     `Receiver`, what a session calls for each message; the reply to one that cannot be stored, and what that means
Not here  what is done with a message (sink/store), when it is accepted (server)
"""

import errno
from typing import Final, Protocol

from trafficgen.errors import reason_of

_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Receiver(Protocol):
    """The receiver of one session's messages.

    `whole` and `ended` raise OSError when it cannot be stored; then it is refused, see `not_stored`.
    """

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        """A message that arrived in one piece, `data[:end]`, still dot-stuffed."""

    def piece(self, octets: bytes) -> None:
        """The next piece of a message, dot-stuffing undone."""

    def ended(self, recipients: int) -> None:
        """The message made of the pieces so far is complete."""

    def dropped(self) -> None:
        """The pieces so far will not become a message."""


def not_stored(error: OSError) -> bytes:
    """The reply to a message that could not be stored, with the system's words: 452 where there is no space, else 451.

    RFC 5321 section 4.2.2, RFC 3463 section 3.4.
    """
    code = b"452 4.3.1" if error.errno in _NO_SPACE else b"451 4.3.0"
    return b"%b %b, the message is not taken\r\n" % (code, reason_of(error).encode("ascii", "replace"))


def consequence(error: OSError) -> str:
    """The same for whoever runs the sink."""
    hint = "; raise the limit (ulimit -n)" if error.errno == errno.EMFILE else ""
    return f"{reason_of(error)}; messages are answered {not_stored(error)[:3].decode()}{hint}"

"""What a server has said, as events: what a session gives to whoever holds it.

Gives     `Done` for each command's answer and for the greeting, `Untagged` and `Said` for what comes unasked (RFC 9051
          section 7), `Idling`; `Goodbye` or `ImapFault` as the last one
Not here  how they come about: `client`
"""

from typing import NamedTuple

from trafficgen.protocol.imap.commands import ImapCommand
from trafficgen.protocol.imap.reader import Value


class Done(NamedTuple):
    """The tagged answer to a command, or the greeting. `code` is what stands in brackets, upper case its first word."""

    command: ImapCommand
    status: bytes
    """OK, NO or BAD; of a greeting, OK, PREAUTH or BYE."""
    code: tuple[bytes, bytes]
    text: bytes
    elapsed_ns: int
    """From the command's first octets to this; of the greeting, from the connection."""
    argument: str = ""
    """What the command was about, as `send` was told."""

    @property
    def ok(self) -> bool:
        """Whether the server did what was asked."""
        return self.status in (b"OK", b"PREAUTH")


class Untagged(NamedTuple):
    """Data of the server. `name` is upper case: EXISTS, EXPUNGE, FETCH, LIST, STATUS, FLAGS, SEARCH …"""

    name: bytes
    number: int | None
    values: tuple[Value, ...]


class Said(NamedTuple):
    """An untagged OK, NO or BAD, or the BYE of a LOGOUT."""

    status: bytes
    code: tuple[bytes, bytes]
    text: bytes


class Goodbye(NamedTuple):
    """A BYE that nobody asked for: the server ends the session. Nothing is read any more."""

    code: tuple[bytes, bytes]
    text: bytes


class Idling(NamedTuple):
    """The server has taken up IDLE."""


class ImapFault(NamedTuple):
    """The server said what is no IMAP. Nothing is read any more."""

    text: str


Event = Done | Untagged | Said | Goodbye | Idling | ImapFault

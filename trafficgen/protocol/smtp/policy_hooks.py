"""Who may make a receiving session behave otherwise than it would: refuse, wait, fall silent, hang up.

Takes     what a session is about to do, by stage
Gives     the words between a session and its judge, and between a session and whoever holds its connection
Not here  reasons: limits, response tables and faults are the sink's
"""

from enum import Enum
from typing import Final, NamedTuple, Protocol

from mboxgen.enums import table_of


class SessionStage(Enum):
    """Where in a session a judge is asked, in the order of events."""

    CONNECT = "connect"
    HELO = "helo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"
    QUIT = "quit"


class Disposition(Enum):
    """What follows a command and its reply."""

    GO_ON = "go on"
    CLOSE = "close"
    """Hang up, with what has been said."""
    RESET = "reset"
    """Hang up so that the other side sees a reset connection; what was said may be lost with it."""
    STALL = "stall"
    """Keep the connection, say nothing more, and swallow whatever comes."""
    DEAFEN = "deafen"
    """Keep the connection and read nothing more, so that the other side cannot go on sending."""


class Answer(NamedTuple):
    """What to do instead of the usual.

    `reply` None: deal with the command as usual. Otherwise it is refused with these octets, b"" for no word at all.
    `wait_ns` passes before anything else. `silent`: deal with it, but keep the reply back. `drip_ns` between the
    octets of the reply.
    """

    reply: bytes | None = None
    wait_ns: int = 0
    silent: bool = False
    drip_ns: int = 0
    then: Disposition = Disposition.GO_ON


USUAL: Final = Answer()


class PolicyHooks(Protocol):
    """One session's judge; None everywhere means: as usual."""

    max_octets: int | None
    """Of a message; what is beyond is swallowed and never handed to the receiver."""

    def ask(self, stage: SessionStage, argument: bytes, sender: bytes, octets: int) -> Answer | None:
        """Before a command is dealt with.

        `argument` is a name, a mechanism, an address, or at DATA all recipients, one a line; `octets` was declared with
        MAIL, 0 when nothing was.
        """

    def mail(self) -> bool:
        """Whether a MAIL without parameters passes as usual. False: nothing has happened, ask."""

    def rcpt(self, recipient: bytes) -> bool:
        """The same of a RCPT."""

    def data(self) -> bool:
        """The same of DATA."""

    def envelope(self, sender: bytes, recipient: bytes) -> bool:
        """Whether MAIL, RCPT and DATA of one message pass as usual, all three at once. False: ask one by one."""

    def dot(self, sender: bytes, recipients: list[bytes], octets: int) -> Answer | None:
        """When a message is complete, before it is taken."""

    def client(self, address: bytes) -> None:
        """XCLIENT says who the client really is."""


class Suspension(Enum):
    """Why a session reads no further, for whoever holds its connection; all but the first three are final."""

    WAIT = "wait"
    """Call `resume` after `wait_ns`."""
    DRIP = "drip"
    """Write what was returned octet by octet, `drip_ns` apart, then call `resume`."""
    START_TLS = "start TLS"
    """Write what was returned, start TLS, then call `secured`."""
    CLOSE = "close"
    RESET = "reset"
    STALL = "stall"
    DEAFEN = "deafen"


FINAL: Final = table_of(
    [then for then in Disposition if then is not Disposition.GO_ON],
    {
        Disposition.CLOSE: Suspension.CLOSE,
        Disposition.RESET: Suspension.RESET,
        Disposition.STALL: Suspension.STALL,
        Disposition.DEAFEN: Suspension.DEAFEN,
    },
)

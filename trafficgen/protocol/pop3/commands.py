"""The commands of POP3 and the states of a session: one table.

    GREETING ──> AUTHORIZATION ──(PASS, AUTH)──> TRANSACTION ──(QUIT)──> UPDATE ──> CLOSED
                      └──────────(QUIT)─────────────────────────────────────────────^

Gives     for each command: the states in which a client may send it (RFC 1939, sections 4 to 6), whether its answer
          has several lines, and the state after +OK
Not here  how answers are read: `client`
"""

from enum import Enum, StrEnum, auto
from typing import Final, NamedTuple

from mboxgen.enums import table_of


class State(Enum):
    """How far a session is."""

    GREETING = auto()
    AUTHORIZATION = auto()
    TRANSACTION = auto()
    UPDATE = auto()
    """After QUIT in TRANSACTION: the server removes what was deleted, and closes the connection."""
    CLOSED = auto()


class Command(StrEnum):
    """What a session waits for an answer to; the greeting is one."""

    GREETING = "greeting"
    CAPA = "CAPA"
    STLS = "STLS"
    AUTH = "AUTH"
    USER = "USER"
    PASS = "PASS"  # noqa: S105  # a command, not a password
    STAT = "STAT"
    LIST = "LIST"
    UIDL = "UIDL"
    TOP = "TOP"
    RETR = "RETR"
    DELE = "DELE"
    RSET = "RSET"
    NOOP = "NOOP"
    QUIT = "QUIT"


class Reading(Enum):
    """What an answer is made of."""

    LINE = auto()
    LINES = auto()
    """Several lines that are kept; one line only when the command names a message (LIST 1)."""
    CONTENT = auto()
    """A message, given piece by piece to whoever asked for it."""


class Rules(NamedTuple):
    """What holds for one command."""

    states: frozenset[State]
    reading: Reading = Reading.LINE
    after: State | None = None


_BEFORE: Final = frozenset({State.AUTHORIZATION})
_WITHIN: Final = frozenset({State.TRANSACTION})
_EITHER: Final = _BEFORE | _WITHIN

RULES: Final = table_of(
    Command,
    {
        Command.GREETING: Rules(frozenset({State.GREETING}), after=State.AUTHORIZATION),
        Command.CAPA: Rules(_EITHER, Reading.LINES),  # RFC 2449 section 5: in both
        Command.STLS: Rules(_BEFORE),
        Command.AUTH: Rules(_BEFORE, after=State.TRANSACTION),
        Command.USER: Rules(_BEFORE),
        Command.PASS: Rules(_BEFORE, after=State.TRANSACTION),
        Command.STAT: Rules(_WITHIN),
        Command.LIST: Rules(_WITHIN, Reading.LINES),
        Command.UIDL: Rules(_WITHIN, Reading.LINES),
        Command.TOP: Rules(_WITHIN, Reading.CONTENT),
        Command.RETR: Rules(_WITHIN, Reading.CONTENT),
        Command.DELE: Rules(_WITHIN),
        Command.RSET: Rules(_WITHIN),
        Command.NOOP: Rules(_WITHIN),
        Command.QUIT: Rules(_EITHER, after=State.UPDATE),
    },
)

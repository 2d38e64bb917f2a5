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


class Pop3State(Enum):
    """How far a session is."""

    GREETING = auto()
    AUTHORIZATION = auto()
    TRANSACTION = auto()
    UPDATE = auto()
    """After QUIT in TRANSACTION: the server removes what was deleted, and closes the connection."""
    CLOSED = auto()


class Pop3Command(StrEnum):
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


class AnswerForm(Enum):
    """What an answer is made of."""

    LINE = auto()
    LINES = auto()
    """Several lines that are kept; one line only when the command names a message (LIST 1)."""
    CONTENT = auto()
    """A message, given piece by piece to whoever asked for it."""


class Pop3Rules(NamedTuple):
    """What holds for one command."""

    states: frozenset[Pop3State]
    reading: AnswerForm = AnswerForm.LINE
    after: Pop3State | None = None


_BEFORE: Final = frozenset({Pop3State.AUTHORIZATION})
_WITHIN: Final = frozenset({Pop3State.TRANSACTION})
_EITHER: Final = _BEFORE | _WITHIN

RULES: Final = table_of(
    Pop3Command,
    {
        Pop3Command.GREETING: Pop3Rules(frozenset({Pop3State.GREETING}), after=Pop3State.AUTHORIZATION),
        Pop3Command.CAPA: Pop3Rules(_EITHER, AnswerForm.LINES),  # RFC 2449 section 5: in both
        Pop3Command.STLS: Pop3Rules(_BEFORE),
        Pop3Command.AUTH: Pop3Rules(_BEFORE, after=Pop3State.TRANSACTION),
        Pop3Command.USER: Pop3Rules(_BEFORE),
        Pop3Command.PASS: Pop3Rules(_BEFORE, after=Pop3State.TRANSACTION),
        Pop3Command.STAT: Pop3Rules(_WITHIN),
        Pop3Command.LIST: Pop3Rules(_WITHIN, AnswerForm.LINES),
        Pop3Command.UIDL: Pop3Rules(_WITHIN, AnswerForm.LINES),
        Pop3Command.TOP: Pop3Rules(_WITHIN, AnswerForm.CONTENT),
        Pop3Command.RETR: Pop3Rules(_WITHIN, AnswerForm.CONTENT),
        Pop3Command.DELE: Pop3Rules(_WITHIN),
        Pop3Command.RSET: Pop3Rules(_WITHIN),
        Pop3Command.NOOP: Pop3Rules(_WITHIN),
        Pop3Command.QUIT: Pop3Rules(_EITHER, after=Pop3State.UPDATE),
    },
)

"""The commands of IMAP and the states of a session: one table.

    GREETING ──> NOT_AUTHENTICATED ──(LOGIN, AUTHENTICATE)──> AUTHENTICATED ──(SELECT, EXAMINE)──> SELECTED
        └──(PREAUTH)──────────────────────────────────────────────^  ^──(CLOSE, UNSELECT)──────────────┘
    BYE and the end of the connection lead to CLOSED from everywhere (RFC 9051 section 3)

Gives     for each command: the states in which a client may send it, the state after OK, the extension it needs
Not here  how answers are read: `reader`
"""

from enum import Enum, StrEnum, auto
from typing import Final, NamedTuple

from mboxgen.enums import table_of


class State(Enum):
    """How far a session is."""

    GREETING = auto()
    NOT_AUTHENTICATED = auto()
    AUTHENTICATED = auto()
    SELECTED = auto()
    CLOSED = auto()


class Command(StrEnum):
    """What a session waits for an answer to; the greeting is one."""

    GREETING = "greeting"
    CAPABILITY = "CAPABILITY"
    STARTTLS = "STARTTLS"
    AUTHENTICATE = "AUTHENTICATE"
    LOGIN = "LOGIN"
    ENABLE = "ENABLE"
    NAMESPACE = "NAMESPACE"
    LIST = "LIST"
    CREATE = "CREATE"
    STATUS = "STATUS"
    APPEND = "APPEND"
    SELECT = "SELECT"
    EXAMINE = "EXAMINE"
    NOOP = "NOOP"
    IDLE = "IDLE"
    UID_FETCH = "UID FETCH"
    FETCH = "FETCH"
    UID_STORE = "UID STORE"
    UID_COPY = "UID COPY"
    UID_MOVE = "UID MOVE"
    UID_EXPUNGE = "UID EXPUNGE"
    EXPUNGE = "EXPUNGE"
    CLOSE = "CLOSE"
    UNSELECT = "UNSELECT"
    LOGOUT = "LOGOUT"


class Rules(NamedTuple):
    """What holds for one command."""

    states: frozenset[State]
    after: State | None = None
    needs: bytes = b""
    """A capability without which it may not be sent; IMAP4rev2 has many of them (RFC 9051, appendix E)."""


_BEFORE: Final = frozenset({State.NOT_AUTHENTICATED})
_WITHIN: Final = frozenset({State.AUTHENTICATED, State.SELECTED})
_SELECTED: Final = frozenset({State.SELECTED})
_ANY: Final = _BEFORE | _WITHIN

RULES: Final = table_of(
    Command,
    {
        Command.GREETING: Rules(frozenset({State.GREETING})),
        Command.CAPABILITY: Rules(_ANY),
        Command.STARTTLS: Rules(_BEFORE, needs=b"STARTTLS"),
        Command.AUTHENTICATE: Rules(_BEFORE, State.AUTHENTICATED),
        Command.LOGIN: Rules(_BEFORE, State.AUTHENTICATED),
        Command.ENABLE: Rules(frozenset({State.AUTHENTICATED}), needs=b"ENABLE"),
        Command.NAMESPACE: Rules(_WITHIN, needs=b"NAMESPACE"),
        Command.LIST: Rules(_WITHIN),
        Command.CREATE: Rules(_WITHIN),
        Command.STATUS: Rules(_WITHIN),
        Command.APPEND: Rules(_WITHIN),
        Command.SELECT: Rules(_WITHIN, State.SELECTED),
        Command.EXAMINE: Rules(_WITHIN, State.SELECTED),
        Command.NOOP: Rules(_ANY),
        Command.IDLE: Rules(_WITHIN, needs=b"IDLE"),
        Command.UID_FETCH: Rules(_SELECTED),
        Command.FETCH: Rules(_SELECTED),
        Command.UID_STORE: Rules(_SELECTED),
        Command.UID_COPY: Rules(_SELECTED),
        Command.UID_MOVE: Rules(_SELECTED, needs=b"MOVE"),
        Command.UID_EXPUNGE: Rules(_SELECTED, needs=b"UIDPLUS"),
        Command.EXPUNGE: Rules(_SELECTED),
        Command.CLOSE: Rules(_SELECTED, State.AUTHENTICATED),
        Command.UNSELECT: Rules(_SELECTED, State.AUTHENTICATED, needs=b"UNSELECT"),
        Command.LOGOUT: Rules(_ANY),
    },
)

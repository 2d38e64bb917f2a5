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


class ImapState(Enum):
    """How far a session is."""

    GREETING = auto()
    NOT_AUTHENTICATED = auto()
    AUTHENTICATED = auto()
    SELECTED = auto()
    CLOSED = auto()


class ImapCommand(StrEnum):
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


class ImapRules(NamedTuple):
    """What holds for one command."""

    states: frozenset[ImapState]
    after: ImapState | None = None
    needs: bytes = b""
    """A capability without which it may not be sent; IMAP4rev2 has many of them (RFC 9051, appendix E)."""


_BEFORE: Final = frozenset({ImapState.NOT_AUTHENTICATED})
_WITHIN: Final = frozenset({ImapState.AUTHENTICATED, ImapState.SELECTED})
_SELECTED: Final = frozenset({ImapState.SELECTED})
_ANY: Final = _BEFORE | _WITHIN

RULES: Final = table_of(
    ImapCommand,
    {
        ImapCommand.GREETING: ImapRules(frozenset({ImapState.GREETING})),
        ImapCommand.CAPABILITY: ImapRules(_ANY),
        ImapCommand.STARTTLS: ImapRules(_BEFORE, needs=b"STARTTLS"),
        ImapCommand.AUTHENTICATE: ImapRules(_BEFORE, ImapState.AUTHENTICATED),
        ImapCommand.LOGIN: ImapRules(_BEFORE, ImapState.AUTHENTICATED),
        ImapCommand.ENABLE: ImapRules(frozenset({ImapState.AUTHENTICATED}), needs=b"ENABLE"),
        ImapCommand.NAMESPACE: ImapRules(_WITHIN, needs=b"NAMESPACE"),
        ImapCommand.LIST: ImapRules(_WITHIN),
        ImapCommand.CREATE: ImapRules(_WITHIN),
        ImapCommand.STATUS: ImapRules(_WITHIN),
        ImapCommand.APPEND: ImapRules(_WITHIN),
        ImapCommand.SELECT: ImapRules(_WITHIN, ImapState.SELECTED),
        ImapCommand.EXAMINE: ImapRules(_WITHIN, ImapState.SELECTED),
        ImapCommand.NOOP: ImapRules(_ANY),
        ImapCommand.IDLE: ImapRules(_WITHIN, needs=b"IDLE"),
        ImapCommand.UID_FETCH: ImapRules(_SELECTED),
        ImapCommand.FETCH: ImapRules(_SELECTED),
        ImapCommand.UID_STORE: ImapRules(_SELECTED),
        ImapCommand.UID_COPY: ImapRules(_SELECTED),
        ImapCommand.UID_MOVE: ImapRules(_SELECTED, needs=b"MOVE"),
        ImapCommand.UID_EXPUNGE: ImapRules(_SELECTED, needs=b"UIDPLUS"),
        ImapCommand.EXPUNGE: ImapRules(_SELECTED),
        ImapCommand.CLOSE: ImapRules(_SELECTED, ImapState.AUTHENTICATED),
        ImapCommand.UNSELECT: ImapRules(_SELECTED, ImapState.AUTHENTICATED, needs=b"UNSELECT"),
        ImapCommand.LOGOUT: ImapRules(_ANY),
    },
)

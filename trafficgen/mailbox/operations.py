"""What is counted and timed of mailbox users: the commands of each protocol, and where they stand in imaptest's table.

Gives     `Operation`, the `PhaseTable` of a mailbox run, imaptest's columns
"""

from enum import Enum, StrEnum
from typing import Final, NamedTuple

from mboxgen.enums import table_of
from trafficgen.engine.account import PHASES as OF_DELIVERIES
from trafficgen.measure.phases import OF_MAILBOXES, PhaseTable


class TableColumn(Enum):
    """imaptest's columns, in its order."""

    LOGIN = "Logi"
    LIST = "List"
    STATUS = "Stat"
    SELECT = "Sele"
    FETCH = "Fetc"
    BODY = "Fet2"
    STORE = "Stor"
    DELETE = "Dele"
    EXPUNGE = "Expu"
    APPEND = "Appe"
    LOGOUT = "Logo"
    LMTP = "LMTP"


class Operation(StrEnum):
    """A kind of command, by the name that thresholds and results have for it."""

    LOGIN = "login"
    CAPABILITY = "capability"
    LIST = "list"
    CREATE = "create"
    SELECT = "select"
    STATUS = "status"
    FETCH = "fetch"
    BODY = "body"
    STORE = "store"
    COPY = "copy"
    MOVE = "move"
    EXPUNGE = "expunge"
    APPEND = "append"
    NOOP = "noop"
    IDLE = "idle_begin"
    LOGOUT = "logout"
    POP3_LOGIN = "pop3_login"
    UIDL = "uidl"
    RETR = "retr"
    DELE = "dele"
    POP3_QUIT = "pop3_quit"


class _About(NamedTuple):
    words: str
    column: TableColumn | None


_ABOUT: Final = table_of(
    Operation,
    {
        Operation.LOGIN: _About("LOGIN", TableColumn.LOGIN),
        Operation.CAPABILITY: _About("CAPABILITY", None),
        Operation.LIST: _About("LIST", TableColumn.LIST),
        Operation.CREATE: _About("CREATE", TableColumn.LIST),
        Operation.SELECT: _About("SELECT", TableColumn.SELECT),
        Operation.STATUS: _About("STATUS", TableColumn.STATUS),
        Operation.FETCH: _About("FETCH of new mail", TableColumn.FETCH),
        Operation.BODY: _About("FETCH of a body", TableColumn.BODY),
        Operation.STORE: _About("STORE", TableColumn.STORE),
        Operation.COPY: _About("COPY", None),
        Operation.MOVE: _About("MOVE", None),
        Operation.EXPUNGE: _About("EXPUNGE", TableColumn.EXPUNGE),
        Operation.APPEND: _About("APPEND", TableColumn.APPEND),
        Operation.NOOP: _About("NOOP", None),
        Operation.IDLE: _About("IDLE until it is taken up", None),
        Operation.LOGOUT: _About("LOGOUT", TableColumn.LOGOUT),
        Operation.POP3_LOGIN: _About("USER and PASS", TableColumn.LOGIN),
        Operation.UIDL: _About("UIDL", TableColumn.SELECT),
        Operation.RETR: _About("RETR", TableColumn.BODY),
        Operation.DELE: _About("DELE", TableColumn.EXPUNGE),
        Operation.POP3_QUIT: _About("POP3 QUIT", TableColumn.LOGOUT),
    },
)


def column_of(operation: Operation) -> TableColumn | None:
    """Where imaptest counts it; None where it does not show it."""
    return _ABOUT[operation].column


SEEN: Final = "seen"
"""See `OF_MAILBOXES`."""

PHASES: Final = (
    OF_DELIVERIES
    | OF_MAILBOXES
    | PhaseTable(
        {operation.value: about.words for operation, about in _ABOUT.items()},
        commands=tuple(operation.value for operation in Operation),
    )
)

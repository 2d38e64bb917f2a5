"""A mail program's session, whichever protocol it speaks.

Takes     a visitor; what the loop reports of the connection
Gives     octets of the wire session to the transport; since when it waits for an answer, and to which command
Not here  what is said (`imap_opening`, `imap_program`, `pop3_program`)
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from trafficgen.mailbox.account import MailboxAccount
from trafficgen.mailbox.connection import Connection, Server, Tasks
from trafficgen.mailbox.director import Director, Visitor
from trafficgen.mailbox.plan import MailboxPlan, Protection
from trafficgen.mailbox.population import User
from trafficgen.mailbox.profile import MailProtocol
from trafficgen.protocol.imap.client import ImapSession
from trafficgen.protocol.pop3.client import Pop3Session

if TYPE_CHECKING:
    from trafficgen.mailbox.sasl import SaslLogin


Wire = TypeVar("Wire", ImapSession, Pop3Session)


class VisitOwner(Tasks, Protocol):
    """What a session asks of the worker that began it, and tells it; what it has done is for `account`."""

    account: MailboxAccount
    director: Director
    plan: MailboxPlan
    now_ns: Callable[[], int]

    def password_of(self, user: User) -> str: ...
    def visit_over(self, program: "Visit[Any]", *, failed: bool) -> None: ...


class Visit(Connection, Generic[Wire]):
    """One session. What inherits it also implements `new_session`, `log_in` and `leave`."""

    protocol: ClassVar[MailProtocol]

    def __init__(self, server: Server, worker: VisitOwner, visitor: Visitor) -> None:
        super().__init__(server, worker)
        self.visitor = visitor
        self._worker = worker
        self._account = worker.account
        self.session: Wire = self.new_session(self.begun_ns)
        self.goodbye_ns = -1
        self._mailbox = visitor.user.mailbox
        self._protected = server.protection is not Protection.STARTTLS
        self._login_ns = -1
        self._leaving = False
        self._sasl: SaslLogin | None = None

    def new_session(self, now_ns: int) -> Wire:
        """The wire session of a connection that is made now."""
        raise NotImplementedError

    def log_in(self, now_ns: int) -> None:
        """The connection is as protected as it is to be."""
        raise NotImplementedError

    def leave(self, now_ns: int) -> None:
        """The user goes: end in good order."""
        raise NotImplementedError

    def look(self, now_ns: int) -> None:
        """Called once a second, for what is due whatever the server says."""

    @property
    def waiting_since_ns(self) -> int | None:
        """Since when an answer is due; None where none is."""
        return self.session.waiting_since_ns

    @property
    def state_in_words(self) -> str:
        """What is waited for."""
        return self.session.waiting_for or ""

    @property
    def greeted(self) -> bool:
        """Whether the server has said a word."""
        return self.session.greeted

    # -- the connection ---------------------------------------------------------------------------------

    def opened(self, now_ns: int) -> None:
        self.session = self.new_session(now_ns)

    def took(self, step: str, elapsed_ns: int) -> None:
        self._account.recorder.phase(f"{self.protocol.value}_{step}", elapsed_ns)

    def secured(self, now_ns: int) -> None:
        self._protected = True
        self.log_in(now_ns)

    def flush(self) -> None:
        out = self.session.out
        self.write(out)
        out.clear()

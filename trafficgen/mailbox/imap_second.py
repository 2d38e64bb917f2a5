"""The second connection of an IMAP program: what is no matter of the inbox, beside the one that idles there.

    greeting, login; STATUS of folders, APPEND, as they come; NOOP now and then; LOGOUT with the first connection

Takes     a visitor whose folders are known; work, also before the connection is open: then it waits
Gives     commands and failures to the recorder
Limits    one a program, where `connection_max_count` is above 1 and fewer than `clients=` connections are open
Source    mail programs open more connections when they need them; imaptest reads the setting, and opens one
Not here  when there is work (`imap_program`), how the session is opened (`imap_opening`)
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from trafficgen.mailbox.connection import Server
from trafficgen.mailbox.director import Visitor
from trafficgen.mailbox.imap_opening import ImapOpening
from trafficgen.mailbox.visit import VisitOwner
from trafficgen.protocol.imap.commands import ImapCommand, ImapState
from trafficgen.protocol.imap.events import Done, Goodbye, ImapFault

_NOOP_AFTER_NS: Final = 20 * 60 * 1_000_000_000
"""RFC 9051 section 5.4: a server may log out who says nothing for half an hour."""


class ImapSecond(ImapOpening):
    """One connection beside the first."""

    def __init__(
        self,
        server: Server,
        worker: VisitOwner,
        visitor: Visitor,
        folders: dict[str, bytes],
        on_over: "Callable[[ImapSecond], None]",
    ) -> None:
        super().__init__(server, worker, visitor)
        self._on_over = on_over
        self._folders = folders
        self._work: deque[Callable[[ImapOpening, int], None]] = deque()
        self._said_ns = self.begun_ns

    def do(self, work: Callable[[ImapOpening, int], None], now_ns: int) -> None:
        """Work to do here, at once or when the session is open."""
        self._work.append(work)
        self._go_on(now_ns)
        self.flush()

    def leave(self, now_ns: int) -> None:
        """Log out when all is done."""
        if not self._leaving and not self.over:
            self._leaving = True
            self._go_on(now_ns)
            self.flush()

    def look(self, now_ns: int) -> None:
        """Now and then: say something."""
        if self._ready and not self.over and not self.session.waiting and now_ns - self._said_ns > _NOOP_AFTER_NS:
            self._said_ns = now_ns
            self._send(ImapCommand.NOOP, now_ns=now_ns)
            self.flush()

    def heard(self, data: bytes, now_ns: int) -> None:
        for event in self.session.feed(data, now_ns):
            if isinstance(event, Done):
                self._on_done(event, now_ns)
            elif isinstance(event, Goodbye | ImapFault):
                self._end_as(event)
            if self.over:
                return

    def _logged_in(self, now_ns: int) -> None:
        self._account.logged_in(self.visitor.user)
        if self.session.capabilities_known:
            self._open_now(now_ns)
        else:
            self._send(ImapCommand.CAPABILITY, now_ns=now_ns)

    def _open_now(self, now_ns: int) -> None:
        self._ready = True
        self._go_on(now_ns)

    def _within(self, done: Done, now_ns: int) -> None:
        ok = self._record(done, now_ns)
        if done.command is ImapCommand.LOGOUT:
            self.finish()
            self._end(failed=not ok)
        elif done.command is ImapCommand.CAPABILITY and self.session.state is ImapState.NOT_AUTHENTICATED:
            self._opened_further(done, now_ns)
        else:
            self._open_now(now_ns)

    def _go_on(self, now_ns: int) -> None:
        if not self._ready or self.over:
            return
        while self._work:
            self._said_ns = now_ns
            self._work.popleft()(self, now_ns)
        if self._leaving and not self.session.waiting:
            self._send(ImapCommand.LOGOUT, now_ns=now_ns)

    def _end(self, *, failed: bool) -> None:
        self.session.close()
        self._on_over(self)

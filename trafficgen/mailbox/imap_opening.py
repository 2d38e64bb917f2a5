"""The opening of an IMAP session: from the connection to a user whose folders are there.

    greeting, [CAPABILITY, STARTTLS,] LOGIN or AUTHENTICATE, LIST, CREATE of what is missing

Takes     a visitor; what his server answers
Gives     an open session, and the names that this server has for the folders; commands and failures to the recorder
Not here  what is done with the session (`imap_program`), the wire (`protocol.imap`)
"""

import re
from collections import deque
from typing import Final

from mboxgen.enums import table_of
from trafficgen.mailbox.connection import Server
from trafficgen.mailbox.director import Visitor
from trafficgen.mailbox.mail import draft
from trafficgen.mailbox.marks import MessageReader
from trafficgen.mailbox.operations import Operation
from trafficgen.mailbox.profile import MailProtocol
from trafficgen.mailbox.sasl import SaslLogin
from trafficgen.mailbox.visit import Visit, VisitOwner
from trafficgen.outcomes import Outcome
from trafficgen.protocol.imap.client import ImapSession
from trafficgen.protocol.imap.commands import ImapCommand, ImapState
from trafficgen.protocol.imap.events import Done, Goodbye, ImapFault
from trafficgen.protocol.imap.reader import Kept, LiteralReceiver, Value
from trafficgen.protocol.imap.strings import string

SPAM: Final = "Spam"
DRAFTS: Final = "Drafts"
SENT: Final = "Sent"

BODY: Final = "body"
"""The argument of a FETCH of a whole body."""

_WHOLE_BODY: Final = re.compile(rb"BODY\[\](?:<\d+>)? ?$", re.IGNORECASE)


_FOR_NOW: Final = frozenset({b"UNAVAILABLE", b"INUSE", b"LIMIT", b"SERVERBUG", b"CONTACTADMIN"})
"""Refusals of a login that say nothing about the user (RFC 5530)."""


def take(line: bytes) -> LiteralReceiver:
    """Who takes a literal: a body goes through a checksum, header fields are kept."""
    return MessageReader() if _WHOLE_BODY.search(line) else Kept()


class ImapOpening(Visit[ImapSession]):
    """One session up to the moment when its user's folders are there. `begin` goes on from there."""

    protocol = MailProtocol.IMAP

    def __init__(self, server: Server, worker: VisitOwner, visitor: Visitor) -> None:
        super().__init__(server, worker, visitor)
        self._ready = False
        self._folders: dict[str, bytes] = {}
        self._delimiter: bytes = b"/"
        self._names: list[bytes] = []
        self._missing: deque[str] = deque()

    def new_session(self, now_ns: int) -> ImapSession:
        return ImapSession(now_ns, take, pipelining=self._worker.plan.pipelining)

    def lost(self, reason: str, example: str) -> None:
        """Every command that was not answered has failed; the first of them is where it happened."""
        now_ns = self._worker.now_ns()
        unanswered = [
            (_operation(sent.command, sent.argument), sent.sent_ns)
            for sent in self.session.unanswered
            if sent.command not in _NOT_COUNTED and sent.command is not ImapCommand.IDLE
        ]
        for operation, sent_ns in unanswered:
            self._account.command(operation, Outcome.FAILED, sent_ns, now_ns)
        left = self.session.literal_left
        phase = unanswered[0][0].value if unanswered else self._phase_without_commands()
        self._account.failure(phase, reason, example or (f"{left} octets of a literal are missing" if left else ""))
        self._end(failed=True)

    def _phase_without_commands(self) -> str:
        if self.step is not None:
            return f"imap_{self.step}"
        waiting = self.session.waiting_for
        if waiting is ImapCommand.GREETING:
            return "imap_greeting"
        return "imap_tls" if not self._protected else "imap_idle"

    def _end_as(self, event: Goodbye | ImapFault) -> None:
        """The server has said that it ends the session, or what is no IMAP."""
        if isinstance(event, ImapFault):
            self.end("not IMAP", event.text)
        else:
            self.end(f"BYE{_in_brackets(event.code)}", event.text.decode("ascii", "backslashreplace"))

    def _give_up(self) -> None:
        """A command was refused, which has been said, and without it the session is of no use."""
        self.over = True
        if self.transport is not None:
            self.transport.close()
        self._end(failed=True)

    def begin(self, now_ns: int) -> None:
        """The session is open, and the folders are there."""
        raise NotImplementedError

    def _end(self, *, failed: bool) -> None:
        """The session is over."""
        raise NotImplementedError

    def _within(self, done: Done, now_ns: int) -> None:
        """A command of a session that is open was answered."""
        raise NotImplementedError

    # -- login ------------------------------------------------------------------------------------------

    def _send(self, command: ImapCommand, *words: bytes, now_ns: int, argument: str = "") -> None:
        """Send it, unless the server has said goodbye in the octets behind what is being dealt with."""
        if self.session.closed:
            return
        self.session.end_idle()
        self.session.send(command, *words, now_ns=now_ns, argument=argument)

    def log_in(self, now_ns: int) -> None:
        session, plan, user = self.session, self._worker.plan, self.visitor.user
        if session.closed:
            return
        if not session.capabilities_known:
            self._send(ImapCommand.CAPABILITY, now_ns=now_ns)
            return
        if not self._protected:
            if not session.offers(b"STARTTLS"):
                self.end("STARTTLS not offered", "")
                return
            self._send(ImapCommand.STARTTLS, now_ns=now_ns)
            return
        self._login_ns = now_ns
        password = self._worker.password_of(user)
        if plan.login is not None:
            name = plan.login.value
            if session.offers(b"AUTH=" + name.encode()):
                self._sasl = sasl = SaslLogin(plan.login, user.name, password)
                session.authenticate(name, sasl.first, sasl.answer, now_ns=now_ns)
            else:
                self.end("AUTH not offered", name)
        elif session.offers(b"LOGINDISABLED"):
            self.end("LOGINDISABLED", "the server wants TLS, or AUTHENTICATE")
        else:
            self._send(ImapCommand.LOGIN, string(user.name.encode()), string(password.encode()), now_ns=now_ns)

    def _logged_in(self, now_ns: int) -> None:
        self._account.logged_in(self.visitor.user)
        if not self.session.capabilities_known:
            self._send(ImapCommand.CAPABILITY, now_ns=now_ns)
        self._names = []
        self._send(ImapCommand.LIST, b'""', b"*", now_ns=now_ns)

    def _opened_further(self, done: Done, now_ns: int) -> None:
        if done.command is ImapCommand.LIST:
            self._listed(now_ns)
        elif self.session.state is ImapState.NOT_AUTHENTICATED:
            if self.session.capabilities_known:
                self.log_in(now_ns)
            elif done.ok:
                self.end("CAPABILITY not answered", "")
            else:
                self._give_up()

    def _on_list(self, values: tuple[Value, ...]) -> None:
        if len(values) == 3 and isinstance(values[2], bytes | Kept):
            if isinstance(values[1], bytes):
                self._delimiter = bytes(values[1])
            self._names.append(values[2].text if isinstance(values[2], Kept) else bytes(values[2]))

    def _listed(self, now_ns: int) -> None:
        """Find the folders that this user needs, and make those that are missing."""
        section = self.visitor.user.section
        wanted: list[str] = []
        if (
            section.mail_inbox_move_filter_percentage
            or section.mail_inbox_move_percentage
            or section.mail_spam_delivery_interval
        ):
            wanted.append(SPAM)
        if section.mail_inbox_reply_percentage or section.mail_send_interval:
            wanted += [DRAFTS, SENT]
        prefix = b"INBOX" + self._delimiter
        for folder in wanted:
            plain = folder.encode()
            names = [name for name in self._names if name in (plain, prefix + plain)]
            if names:
                self._folders[folder] = names[0]
            else:
                # A namespace with a prefix: all folders but the inbox are below it.
                others = [name for name in self._names if name.upper() != b"INBOX"]
                below = bool(others) and all(name.upper().startswith(prefix.upper()) for name in others)
                self._folders[folder] = prefix + plain if below else plain
                self._missing.append(folder)
        self._create_next(now_ns)

    def _create_next(self, now_ns: int) -> None:
        if self._missing:
            folder = self._missing[0]
            self._send(ImapCommand.CREATE, string(self._folders[folder]), now_ns=now_ns, argument=folder)
        else:
            self.begin(now_ns)

    def _created(self, done: Done, now_ns: int) -> None:
        folder = self._missing.popleft()
        exists = done.code[0] == b"ALREADYEXISTS" or b"exist" in done.text.lower()  # somebody else was first
        prefixed = b"INBOX" + self._delimiter + folder.encode()
        if done.ok or exists:
            self._record(done, now_ns, outcome=Outcome.ACCEPTED)
        elif self._folders[folder] != prefixed:
            self._record(done, now_ns, outcome=Outcome.ACCEPTED)  # it told us of its prefix
            self._folders[folder] = prefixed
            self._missing.appendleft(folder)
        else:
            self._record(done, now_ns)
            del self._folders[folder]
        self._create_next(now_ns)

    def _on_greeting(self, done: Done, now_ns: int) -> None:
        if not done.ok:
            self.step = "greeting"
            self._end_as(Goodbye(done.code, done.text))
            return
        self._account.recorder.phase("imap_greeting", done.elapsed_ns)
        if self.session.state is ImapState.AUTHENTICATED:
            self._logged_in(now_ns)
        else:
            self.log_in(now_ns)

    def _on_done(self, done: Done, now_ns: int) -> None:
        command = done.command
        if command is ImapCommand.GREETING:
            self._on_greeting(done, now_ns)
        elif command is ImapCommand.CREATE:
            self._created(done, now_ns)
        elif command is ImapCommand.STARTTLS:
            if done.ok:
                if not self.session.closed:
                    self.start_tls()
            else:
                text = done.text.decode("ascii", "backslashreplace")
                self.end(f"{done.status.decode()}{_in_brackets(done.code)}", f"STARTTLS: {text}")
        elif command in (ImapCommand.LOGIN, ImapCommand.AUTHENTICATE):
            if self._sasl is not None and (fault := self._sasl.fault(ok=done.ok)) is not None:
                self.end(fault.reason, fault.example)
            elif self._record(done, now_ns):
                self._logged_in(now_ns)
            else:
                if done.code[0] not in _FOR_NOW:
                    words = f"{done.status.decode()}{_in_brackets(done.code)}"
                    text = done.text.decode("ascii", "backslashreplace")
                    self._account.refused_login(self.visitor.user, f"{words} {text}")
                self._give_up()
        else:
            self._within(done, now_ns)

    # -- beside the inbox -------------------------------------------------------------------------------

    def ask_status(self, now_ns: int) -> None:
        """Ask about the other folders; not about the one that is selected (RFC 9051 section 6.3.11)."""
        for name in sorted(set(self._folders.values())):
            self._send(ImapCommand.STATUS, string(name), b"(MESSAGES UNSEEN UIDNEXT)", now_ns=now_ns)

    def append_draft(self, folder: str, flags: bytes, number: int, now_ns: int) -> None:
        """Put a mail of the user's own into a folder of his."""
        if self.session.closed:
            return
        message = draft(self.visitor.user.section.mail_write_size, number)
        self.session.end_idle()
        self.session.append(self._folders[folder], message, flags, now_ns=now_ns, argument=folder)

    def _record(self, done: Done, now_ns: int, outcome: Outcome | None = None) -> bool:
        """Count a command; whether it was carried out."""
        operation = _operation(done.command, done.argument)
        if outcome is None:
            # RFC 5530: somebody else has removed the message, and this program has not heard of it yet.
            ok = done.ok or done.code[0] == b"EXPUNGEISSUED"
            outcome = Outcome.ACCEPTED if ok else Outcome.REJECTED_PERMANENT
        self._account.command(operation, outcome, now_ns - done.elapsed_ns, now_ns)
        if outcome is not Outcome.ACCEPTED:
            text = done.text.decode("ascii", "backslashreplace")
            name = self.visitor.user.name
            self._account.failure(
                operation.value, f"{done.status.decode()}{_in_brackets(done.code)}", f"{name}: {text}"
            )
        return done.ok or (outcome is Outcome.ACCEPTED and done.code[0] != b"EXPUNGEISSUED")


_NOT_COUNTED: Final = {
    ImapCommand.GREETING, ImapCommand.STARTTLS, ImapCommand.ENABLE, ImapCommand.NAMESPACE, ImapCommand.EXAMINE,
    ImapCommand.CLOSE, ImapCommand.UNSELECT,
}  # fmt: skip
_OPERATIONS: Final = table_of(
    (command for command in ImapCommand if command not in _NOT_COUNTED),
    {
        ImapCommand.CAPABILITY: Operation.CAPABILITY,
        ImapCommand.AUTHENTICATE: Operation.LOGIN,
        ImapCommand.LOGIN: Operation.LOGIN,
        ImapCommand.LIST: Operation.LIST,
        ImapCommand.CREATE: Operation.CREATE,
        ImapCommand.STATUS: Operation.STATUS,
        ImapCommand.APPEND: Operation.APPEND,
        ImapCommand.SELECT: Operation.SELECT,
        ImapCommand.NOOP: Operation.NOOP,
        ImapCommand.IDLE: Operation.IDLE,
        ImapCommand.UID_FETCH: Operation.FETCH,
        ImapCommand.FETCH: Operation.FETCH,
        ImapCommand.UID_STORE: Operation.STORE,
        ImapCommand.UID_COPY: Operation.COPY,
        ImapCommand.UID_MOVE: Operation.MOVE,
        ImapCommand.UID_EXPUNGE: Operation.EXPUNGE,
        ImapCommand.EXPUNGE: Operation.EXPUNGE,
        ImapCommand.LOGOUT: Operation.LOGOUT,
    },
)


def _operation(command: ImapCommand, argument: str) -> Operation:
    return Operation.BODY if argument.startswith(BODY) else _OPERATIONS[command]


def _in_brackets(code: tuple[bytes, bytes]) -> str:
    return f" [{code[0].decode('ascii', 'replace')}]" if code[0] else ""

"""A mail program that speaks POP3: one visit to the mailbox.

    greeting, [STLS,] USER and PASS or AUTH, UIDL, for each mail not seen before: RETR, [DELE,] … QUIT

Takes     a visitor; what his server answers
Gives     what was found and deleted to the account; commands and failures to the recorder
Rules     one command at a time, as imaptest. A message without our mark is read and left alone
Not here  when the visit is due (`director`)
"""

from base64 import b64encode
from collections import deque
from typing import Final

from mboxgen.enums import table_of
from trafficgen.mailbox.agenda import Intent
from trafficgen.mailbox.connection import Server
from trafficgen.mailbox.deliveries import MessageOrigin
from trafficgen.mailbox.director import Visitor
from trafficgen.mailbox.marks import MessageReader
from trafficgen.mailbox.operations import Operation
from trafficgen.mailbox.profile import MailProtocol
from trafficgen.mailbox.sasl import SaslLogin
from trafficgen.mailbox.visit import Visit, VisitOwner
from trafficgen.outcomes import Outcome
from trafficgen.protocol.pop3.client import Challenge, Pop3Fault, Pop3Reply, Pop3Session
from trafficgen.protocol.pop3.commands import Pop3Command

_MASK: Final = 2**64 - 1


class Pop3Program(Visit[Pop3Session]):
    """One session."""

    protocol = MailProtocol.POP3

    def __init__(self, server: Server, worker: VisitOwner, visitor: Visitor) -> None:
        super().__init__(server, worker, visitor)
        self._shown_ns = -1
        self._new: deque[tuple[str, bytes]] = deque()  # message number and unique-id of mail to read
        self._reading: tuple[str, bytes] | None = None
        self._known: set[bytes] = set()
        self._deletions = 0  # that QUIT will carry out (RFC 1939 section 6)

    def new_session(self, now_ns: int) -> Pop3Session:
        return Pop3Session(now_ns)

    def heard(self, data: bytes, now_ns: int) -> None:
        for event in self.session.feed(data, now_ns):
            if isinstance(event, Pop3Fault):
                self.end("not POP3", event.text)
            elif isinstance(event, Challenge):
                self._on_challenge(event)
            else:
                self._on_reply(event, now_ns)
            if self.over:
                return

    def leave(self, now_ns: int) -> None:
        """End the visit as soon as the command under way is answered."""
        self._leaving = True
        self._new.clear()
        if self.session.waiting_for is None and not self.over and self.greeted:
            self._quit(now_ns)
            self.flush()

    def due(self, _intent: Intent, _due_ns: int, now_ns: int) -> None:
        """The session has been as long as it may be."""
        if not self.over:
            self.leave(now_ns)

    def lost(self, reason: str, example: str) -> None:
        waiting = self.session.waiting_for
        now_ns = self._worker.now_ns()
        if waiting is Pop3Command.QUIT:  # hung up in place of an answer: what was deleted may be there still
            self._account.command(Operation.POP3_QUIT, Outcome.IN_DOUBT, self.goodbye_ns, now_ns)
        elif waiting in _OPERATIONS:
            began = self.session.waiting_since_ns
            self._account.command(_OPERATIONS[waiting], Outcome.FAILED, now_ns if began is None else began, now_ns)
        if waiting in _OPERATIONS:
            phase = _OPERATIONS[waiting].value
        else:
            opening = "tls" if waiting is Pop3Command.STLS else "greeting"
            phase = f"pop3_{self.step or ('idle' if waiting is None else opening)}"
        left = self.session.content_octets
        self._account.failure(phase, reason, example or (f"in a message, after {left} octets" if left else ""))
        self.session.close()
        self._worker.visit_over(self, failed=True)

    # -- the conversation -------------------------------------------------------------------------------

    def _send(self, command: Pop3Command, argument: str, now_ns: int, content: MessageReader | None = None) -> None:
        """Send it, unless the server has said what is no POP3 in the octets behind what is being dealt with."""
        if self.session.closed:
            return
        self.session.send(command, argument, now_ns=now_ns, content=content)

    def _on_reply(self, reply: Pop3Reply, now_ns: int) -> None:
        command = reply.command
        if command is Pop3Command.GREETING:
            if not self._check(reply, "pop3_greeting"):
                return
            self._account.recorder.phase("pop3_greeting", reply.elapsed_ns)
            if self._protected:
                self.log_in(now_ns)
            else:
                self._send(Pop3Command.STLS, "", now_ns)
        elif command is Pop3Command.STLS:
            if self._check(reply, "pop3_tls") and not self.session.closed:
                self.start_tls()
        elif command is Pop3Command.USER:
            if reply.ok:
                self._send(Pop3Command.PASS, self._worker.password_of(self.visitor.user), now_ns)
            else:
                self._record(Operation.POP3_LOGIN, reply, self._login_ns, now_ns)
        elif command in (Pop3Command.PASS, Pop3Command.AUTH):
            if self._sasl is not None and (fault := self._sasl.fault(ok=reply.ok)) is not None:
                self._account.command(Operation.POP3_LOGIN, Outcome.FAILED, self._login_ns, now_ns)
                self.end(fault.reason, fault.example)
            elif self._record(Operation.POP3_LOGIN, reply, self._login_ns, now_ns):
                self._logged_in(now_ns)
        else:
            self._within(reply, now_ns)

    def _within(self, reply: Pop3Reply, now_ns: int) -> None:
        of_one = reply.command in (Pop3Command.RETR, Pop3Command.DELE)
        if of_one and not reply.ok and self._account.deliveries.removed_since(self._mailbox, self._login_ns):
            self._next(now_ns)  # an IMAP program of the same user was first: it is there no more
            return
        operation = _OPERATIONS[reply.command]
        octets = reply.content.octets if isinstance(reply.content, MessageReader) else 0
        if not self._record(operation, reply, now_ns - reply.elapsed_ns, now_ns, octets):
            return
        if reply.command is Pop3Command.QUIT:
            self._account.deliveries.deleted += self._deletions
            self.finish()
            self._worker.visit_over(self, failed=False)
        elif reply.command is Pop3Command.UIDL:
            self._list(reply, now_ns)
        elif reply.command is Pop3Command.RETR:
            self._read(reply, now_ns)
        else:
            self._deleted(now_ns)

    def log_in(self, now_ns: int) -> None:
        self._login_ns = now_ns
        user, mechanism = self.visitor.user, self._worker.plan.login
        if mechanism is None:
            self._send(Pop3Command.USER, user.name, now_ns)
            return
        self._sasl = sasl = SaslLogin(mechanism, user.name, self._worker.password_of(user))
        first = "" if sasl.first is None else f" {b64encode(sasl.first).decode()}"
        self._send(Pop3Command.AUTH, mechanism.value + first, now_ns)

    def _on_challenge(self, challenge: Challenge) -> None:
        assert self._sasl is not None
        self.session.answer(b64encode(self._sasl.answer(challenge.text)))

    def _logged_in(self, now_ns: int) -> None:
        self._account.logged_in(self.visitor.user)
        if length := self.visitor.user.section.mail_session_length:
            self._worker.director.agenda.add(now_ns + length, Intent.LOGOUT, self)
        if self._leaving:
            self._quit(now_ns)
        else:
            self._send(Pop3Command.UIDL, "", now_ns)

    def _list(self, reply: Pop3Reply, now_ns: int) -> None:
        self._shown_ns = now_ns
        for line in reply.lines:
            number, _, uid = line.partition(b" ")
            if not number.isdigit() or not uid:
                self.end("not POP3", f"expected a number and a unique-id, got {line[:80]!r}")
                return
            self._known.add(uid)
            if uid not in self.visitor.known_uids and not self._leaving:
                self._new.append((number.decode(), uid))
        self._next(now_ns)

    def _next(self, now_ns: int) -> None:
        if self._new:
            self._reading = self._new.popleft()
            self._send(Pop3Command.RETR, self._reading[0], now_ns, MessageReader())
            return
        if not self._leaving:
            # RFC 1939 section 4: the mailbox is as it was when the session began, which was after USER or AUTH.
            self._account.deliveries.listed(self._mailbox, self._login_ns)
            self.visitor.known_uids = frozenset(self._known)
        self._quit(now_ns)

    def _read(self, reply: Pop3Reply, now_ns: int) -> None:
        assert self._reading is not None
        assert isinstance(reply.content, MessageReader)
        number, uid = self._reading
        mark = reply.content.mark
        found = self._account.deliveries.saw(self._mailbox, mark, MailProtocol.POP3, hash(uid) & _MASK, self._shown_ns)
        if found is MessageOrigin.OURS and mark is not None:
            self._account.deliveries.read(mark, whole=reply.content.whole)
        ours = found is not MessageOrigin.FOREIGN or self._worker.plan.delete_foreign
        if self.visitor.client.pop3_keep_mails or not ours:
            self._next(now_ns)
        else:
            self._send(Pop3Command.DELE, number, now_ns)

    def _deleted(self, now_ns: int) -> None:
        assert self._reading is not None
        self._deletions += 1
        self._known.discard(self._reading[1])
        self._next(now_ns)

    def _quit(self, now_ns: int) -> None:
        self.goodbye_ns = now_ns
        self._send(Pop3Command.QUIT, "", now_ns)

    # -- what went wrong --------------------------------------------------------------------------------

    def _record(self, operation: Operation, reply: Pop3Reply, start_ns: int, now_ns: int, octets: int = 0) -> bool:
        """Count the command; whether the visit goes on."""
        outcome = _outcome(reply)
        self._account.command(operation, outcome, start_ns, now_ns, octets)
        if operation is Operation.POP3_LOGIN and outcome is Outcome.REJECTED_PERMANENT:
            self._account.refused_login(self.visitor.user, _in_words(reply))
        return self._check(reply, operation.value)

    def _check(self, reply: Pop3Reply, phase: str) -> bool:
        """An error ends the visit, as in imaptest: what follows would rest on what did not happen."""
        if reply.ok:
            return True
        code = f"[{reply.code.decode('ascii', 'replace')}] " if reply.code else ""
        if not self.over:
            self.over = True
            if self.transport is not None:
                self.transport.close()
            self._account.failure(phase, f"-ERR {code}".rstrip(), f"{self.visitor.user.name}: {_in_words(reply)}")
            self._worker.visit_over(self, failed=True)
        return False


_NOT_COUNTED: Final = {
    Pop3Command.GREETING, Pop3Command.CAPA, Pop3Command.STLS, Pop3Command.STAT, Pop3Command.LIST,
    Pop3Command.TOP, Pop3Command.RSET, Pop3Command.NOOP,
}  # fmt: skip
_OPERATIONS: Final = table_of(
    (command for command in Pop3Command if command not in _NOT_COUNTED),
    {
        Pop3Command.USER: Operation.POP3_LOGIN,
        Pop3Command.PASS: Operation.POP3_LOGIN,
        Pop3Command.AUTH: Operation.POP3_LOGIN,
        Pop3Command.UIDL: Operation.UIDL,
        Pop3Command.RETR: Operation.RETR,
        Pop3Command.DELE: Operation.DELE,
        Pop3Command.QUIT: Operation.POP3_QUIT,
    },
)


def _in_words(reply: Pop3Reply) -> str:
    code = f"[{reply.code.decode('ascii', 'replace')}] " if reply.code else ""
    return f"-ERR {code}{reply.text.decode('ascii', 'backslashreplace')}"


def _outcome(reply: Pop3Reply) -> Outcome:
    if reply.ok:
        return Outcome.ACCEPTED
    temporary = reply.code in (b"IN-USE", b"LOGIN-DELAY", b"SYS/TEMP")
    return Outcome.REJECTED_TEMPORARY if temporary else Outcome.REJECTED_PERMANENT

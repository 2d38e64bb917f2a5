"""A mail program that speaks IMAP: a session that stays, and shows new mail as it comes.

    SELECT INBOX, FETCH of what is new, IDLE …
    EXISTS: FETCH of what is new; actions of the user (`habits`): FETCH of a body, STORE, MOVE, APPEND …; LOGOUT

Takes     a visitor; what his server answers; the actions of his habits
Gives     what was found, read, deleted and moved to the account; commands and failures to the recorder
Rules     before a message is deleted or moved its mark has been seen; a message without one is left alone
Not here  how the session is opened (`imap_opening`), when an action is due (`habits`), the wire (`protocol.imap`)
"""

import re
from collections.abc import Callable
from typing import Final

from trafficgen.mailbox.connection import Server
from trafficgen.mailbox.deliveries import MessageOrigin
from trafficgen.mailbox.director import Visitor
from trafficgen.mailbox.habits import MailAction
from trafficgen.mailbox.imap_opening import BODY, DRAFTS, SENT, SPAM, ImapOpening
from trafficgen.mailbox.imap_second import ImapSecond
from trafficgen.mailbox.inbox_view import MAX_UID, InboxView
from trafficgen.mailbox.marks import Mark, MessageReader, find_mark
from trafficgen.mailbox.profile import MailProtocol
from trafficgen.mailbox.visit import VisitOwner
from trafficgen.proof import trace_header
from trafficgen.protocol.imap.client import Done, Goodbye, Idling, ImapFault, Said, Untagged, string
from trafficgen.protocol.imap.commands import ImapCommand, ImapState
from trafficgen.protocol.imap.reader import Kept, Value

NewSecond = Callable[[Visitor, dict[str, bytes]], ImapSecond | None]

IDLE_ANEW_NS: Final = 28 * 60 * 1_000_000_000
"""RFC 2177: a server may log out who idles for half an hour."""

_UID_DIGITS: Final = 10
"""Of `MAX_UID`: RFC 9051 section 9, nz-number."""

_LOOK_BACK: Final = 100
"""Messages before the first of ours that are looked at when a program comes for the first time."""

_MARK_FIELD: Final = b"BODY.PEEK[HEADER.FIELDS (%s)]" % trace_header.HEADER.rstrip(b": ")
_NEW: Final = "new"
_OLDER: Final = "older"

_REMOVING: Final = frozenset(
    {ImapCommand.UID_COPY, ImapCommand.UID_STORE, ImapCommand.UID_MOVE, ImapCommand.UID_EXPUNGE, ImapCommand.EXPUNGE}
)


class ImapProgram(ImapOpening):
    """One session."""

    def __init__(self, server: Server, worker: VisitOwner, visitor: Visitor, new_second: NewSecond) -> None:
        """`new_second` begins one connection more."""
        super().__init__(server, worker, visitor)
        self._new_second = new_second
        self._view = InboxView()
        self._listed_ns = -1  # what is told when older mail has been looked at too
        self._marks = visitor.marks
        self._copied: set[int] = set()  # UIDs of messages that were there to be copied or moved
        self._idle_since_ns = -1
        self._drafts = 0
        self._second: ImapSecond | None = None

    def look(self, now_ns: int) -> None:
        """Now and then: an IDLE does not last for ever."""
        if self.session.idling and now_ns - self._idle_since_ns > IDLE_ANEW_NS:
            self.session.end_idle()
            self.flush()

    def leave(self, now_ns: int) -> None:
        """Look for the last new mail, and log out."""
        if self._leaving or self.over:
            return
        self._leaving = True
        if self._second is not None:
            self._second.leave(now_ns)
        if self._ready:
            self._look_for_new(now_ns)
        self._settle(now_ns)
        self.flush()

    def heard(self, data: bytes, now_ns: int) -> None:
        for event in self.session.feed(data, now_ns):
            if isinstance(event, Untagged):
                self._on_data(event, now_ns)
            elif isinstance(event, Done):
                self._on_done(event, now_ns)
            elif isinstance(event, Said):
                self._on_copied(event.code)
            elif isinstance(event, Idling):
                self._idle_since_ns = now_ns
            elif isinstance(event, Goodbye):
                self.end("BYE", event.text.decode("ascii", "backslashreplace"))
            elif isinstance(event, ImapFault):
                self.end("not IMAP", event.text)
            if self.over:
                return
        self._settle(now_ns)

    def _end(self, *, failed: bool) -> None:
        self.session.close()
        if self._second is not None:
            self._second.leave(self._worker.now_ns())
        self.visitor.habits.logged_out()
        if self._ready:
            assert self.session.uid_validity is not None
            self.visitor.remembered = self.session.uid_validity, self._view
        self._worker.visit_over(self, failed=failed)

    # -- the inbox --------------------------------------------------------------------------------------

    def begin(self, now_ns: int) -> None:
        self._send(ImapCommand.SELECT, b"INBOX", now_ns=now_ns, argument=str(now_ns))

    def _selected(self, asked_ns: int, now_ns: int) -> None:
        session, visitor = self.session, self.visitor
        if session.uid_validity is None:
            session.uid_validity = 0
        self._ready = True
        validity, view = visitor.remembered or (session.uid_validity, self._view)
        if validity == session.uid_validity:
            self._view = view
        else:
            visitor.habits.forget_all()
            visitor.marks.clear()
        view = self._view
        view.selected(session.exists, now_ns, asked_ns)
        if visitor.remembered is not None and validity == session.uid_validity:
            if session.uid_next is None or session.uid_next > view.uid_next:
                self._fetch_new(now_ns)
        elif session.exists:
            # Not all that is there: only what can be ours, and a little more.
            first = session.exists - self._worker.deliveries.sent_to(self._mailbox) - _LOOK_BACK + 1
            view.older_below = MAX_UID + 1 if first > 1 else 0
            self._fetch(ImapCommand.FETCH, b"%d:*" % max(first, 1), now_ns)
        self._all_looked_at(now_ns)
        if self._leaving:  # since SELECT was asked: what came after it is looked for as by everybody who leaves
            self._look_for_new(now_ns)
        visitor.habits.logged_in(self, now_ns)

    # -- new mail ---------------------------------------------------------------------------------------

    @property
    def _new_items(self) -> bytes:
        text = self.visitor.client.imap_fetch_immediate
        if not self.session.offers(b"CONDSTORE") and not self.session.offers(b"QRESYNC"):
            text = re.sub(r"\s*\bMODSEQ\b", "", text)
        uid = b"" if re.search(r"\bUID\b", text) else b"UID "
        return b"(%s%s %s)" % (uid, text.encode(), _MARK_FIELD)

    def _fetch_new(self, now_ns: int) -> None:
        self._fetch(ImapCommand.UID_FETCH, b"%d:*" % self._view.uid_next, now_ns)

    def _fetch(self, command: ImapCommand, messages: bytes, now_ns: int) -> None:
        self._view.fetching = True
        self._send(command, messages, self._new_items, now_ns=now_ns, argument=_NEW)

    def _look_for_new(self, now_ns: int) -> None:
        """Ask for all there is."""
        self._send(ImapCommand.NOOP, now_ns=now_ns, argument=str(now_ns))

    def _on_exists(self, number: int, now_ns: int) -> None:
        if self._ready and self.goodbye_ns < 0 and self._view.exists(number, now_ns):
            self._fetch_new(now_ns)

    def _on_copied(self, code: tuple[bytes, bytes]) -> None:
        """COPYUID (RFC 4315): the message was there. One that somebody else has removed is neither copied nor moved."""
        words = code[1].split(b" ")
        if code[0] == b"COPYUID" and len(words) == 3 and words[1].isdigit():
            self._copied.add(int(words[1]))

    def _fetched_new(self, now_ns: int, *, ok: bool) -> None:
        if self._view.fetched(ok=ok):
            self._fetch_new(now_ns)
        else:
            self._all_looked_at(now_ns)

    def _all_looked_at(self, now_ns: int) -> None:
        """Tell what has been listed; before any mail is called missing, mail that was there before is looked at too."""
        listed_ns = self._view.take_listed_ns()
        if listed_ns is None:
            return
        deliveries, older_below = self._worker.deliveries, self._view.older_below
        if self._listed_ns >= 0:
            self._listed_ns = listed_ns
        elif older_below > 1 and deliveries.waits_for_any(self._mailbox, listed_ns):
            self._listed_ns = listed_ns
            messages = b"1:%d" % (older_below - 1)
            items = b"(UID %s)" % _MARK_FIELD
            self._send(ImapCommand.UID_FETCH, messages, items, now_ns=now_ns, argument=_OLDER)
        else:
            deliveries.listed(self._mailbox, listed_ns)

    def _fetched_older(self, *, ok: bool) -> None:
        if ok:
            self._view.older_below = 0
            self._worker.deliveries.listed(self._mailbox, self._listed_ns)
        self._listed_ns = -1

    def _on_fetch(self, number: int, values: tuple[Value, ...], now_ns: int) -> None:
        if len(values) != 1 or not isinstance(values[0], tuple):
            return
        uid, mark, body = 0, None, None
        fields = False
        items = values[0]
        for key, value in zip(items[::2], items[1::2], strict=False):
            if not isinstance(key, bytes):
                continue
            name = key.upper()
            if name == b"UID" and isinstance(value, bytes) and value.isdigit() and len(value) <= _UID_DIGITS:
                uid = int(value)
            elif name.startswith(b"BODY[HEADER.FIELDS") and b"X-TRAFFIC-GEN" in name:
                # NIL: the server has its flags yet, but it is expunged already (RFC 2180 section 4.1).
                fields = value is not None
                mark = _mark_in(value)
            elif name.startswith(b"BODY[]") and isinstance(value, MessageReader):
                body = value
        if fields and 0 < uid <= MAX_UID:
            # Of older mail only what is of this run was never counted.
            older = uid < self._view.older_below and mark is not None and mark.run_id == self._worker.plan.run_id
            if self._view.look_at(uid) or older:
                self._on_new(uid, mark, number, now_ns)
        if body is not None and uid:
            self._on_body(uid, body)

    def _on_new(self, uid: int, mark: Mark | None, number: int, now_ns: int) -> None:
        shown_ns = self._view.shown_ns(number, now_ns)
        unique = (self.session.uid_validity or 0) << 32 | uid
        found = self._worker.deliveries.saw(self._mailbox, mark, MailProtocol.IMAP, unique, shown_ns)
        if found is MessageOrigin.OURS or self._worker.plan.delete_foreign:
            if mark is not None:
                self._marks[uid] = mark
            if self.visitor.habits.noticed(uid, now_ns):
                self._move(uid, now_ns)

    def _on_body(self, uid: int, body: MessageReader) -> None:
        mark = body.mark
        if self._worker.deliveries.identify(self._mailbox, mark) is MessageOrigin.OURS and mark is not None:
            self._marks.setdefault(uid, mark)
            self._worker.deliveries.read(mark, whole=body.whole)

    # -- actions of the user-----------------------------------------------------------------------------

    def carry_out(self, action: MailAction, uid: int, due_ns: int, now_ns: int) -> None:
        """An action is due."""
        if self.over or self._leaving or self.session.state is not ImapState.SELECTED:
            return
        if action is MailAction.LOGOUT:
            self.leave(now_ns)
            return
        name = b"%d" % uid
        if action is MailAction.READ:
            items = b"(UID %s)" % self.visitor.client.imap_fetch_manual.encode()
            self._send(ImapCommand.UID_FETCH, name, items, now_ns=now_ns, argument=BODY)
            self._send(ImapCommand.UID_STORE, name, rb"+FLAGS (\Seen)", now_ns=now_ns)
        elif action is MailAction.DELETE:
            self._delete(uid, now_ns, moved=False)
        elif action is MailAction.MOVE:
            self._move(uid, now_ns)
        elif action is MailAction.REPLY:
            self._send(ImapCommand.UID_STORE, name, rb"+FLAGS (\Answered)", now_ns=now_ns)
        elif action is MailAction.STATUS:
            self._status(now_ns)
        else:
            self._write_mail(action, now_ns)
        self._settle(now_ns)
        self.flush()

    def _status(self, now_ns: int) -> None:
        self._beside(lambda connection, when_ns: connection.ask_status(when_ns), now_ns)
        if not self._idles:
            self._look_for_new(now_ns)

    def _write_mail(self, step: MailAction, now_ns: int) -> None:
        folder, flags = (DRAFTS, rb"\Draft") if step is MailAction.WRITE else (SENT, rb"\Seen")
        if folder in self._folders:
            self._drafts += step is MailAction.WRITE
            number = self._drafts
            self._beside(lambda connection, when_ns: connection.append_draft(folder, flags, number, when_ns), now_ns)

    def _beside(self, work: Callable[[ImapOpening, int], None], now_ns: int) -> None:
        """What is no matter of the inbox: on a second connection, where the program may have one and there is room."""
        if self.visitor.client.connection_max_count > 1 and (self._second is None or self._second.over):
            self._second = self._new_second(self.visitor, self._folders)
        if self._second is not None and not self._second.over:
            self._second.do(work, now_ns)
        else:
            work(self, now_ns)

    def _may_remove(self, uid: int) -> bool:
        return uid in self._marks or self._worker.plan.delete_foreign

    def _delete(self, uid: int, now_ns: int, *, moved: bool) -> None:
        if not self._may_remove(uid):
            return
        how = f"{uid} {'moved' if moved else 'deleted'}"
        self._send(ImapCommand.UID_STORE, b"%d" % uid, rb"+FLAGS (\Deleted)", now_ns=now_ns, argument=how)

    def _flagged(self, how: str, now_ns: int) -> None:
        """The flag is set: expunge. (Sent at once with the STORE, Dovecot 2.3.19 at times says OK, and does not.)"""
        if self.session.offers(b"UIDPLUS"):
            self._worker.deliveries.removing(self._mailbox, now_ns)
            self._send(ImapCommand.UID_EXPUNGE, how.partition(" ")[0].encode(), now_ns=now_ns, argument=how)
        elif self._worker.plan.delete_foreign:
            self._send(ImapCommand.EXPUNGE, now_ns=now_ns, argument=how)
        else:
            # EXPUNGE would remove whatever anybody has flagged.
            self._worker.say_once("the server has no UIDPLUS: deleted mail is flagged, and not expunged")

    def _move(self, uid: int, now_ns: int) -> None:
        if SPAM not in self._folders or not self._may_remove(uid):
            return
        folder, name = string(self._folders[SPAM]), b"%d" % uid
        if self.session.offers(b"MOVE"):
            self._worker.deliveries.removing(self._mailbox, now_ns)
            self._send(ImapCommand.UID_MOVE, name, folder, now_ns=now_ns, argument=f"{uid} moved")
        else:
            self._send(ImapCommand.UID_COPY, name, folder, now_ns=now_ns, argument=f"{uid}")

    @property
    def _idles(self) -> bool:
        return self.visitor.client.imap_idle and self.session.offers(b"IDLE")

    def _settle(self, now_ns: int) -> None:
        """Nothing is to be said: idle, or say goodbye."""
        session = self.session
        if self.over or session.waiting or session.state is not ImapState.SELECTED:
            if self._leaving and not self.over and session.waiting == 0 and session.state is ImapState.AUTHENTICATED:
                self._log_out(now_ns)
            return
        if self._leaving:
            self._log_out(now_ns)
        elif self._ready and self._idles:
            session.idle(now_ns)

    def _log_out(self, now_ns: int) -> None:
        self.goodbye_ns = now_ns
        self._send(ImapCommand.LOGOUT, now_ns=now_ns)

    # -- answers ----------------------------------------------------------------------------------------

    def _on_data(self, event: Untagged, now_ns: int) -> None:
        number = event.number or 0
        if event.name == b"FETCH":
            self._on_fetch(number, event.values, now_ns)
        elif event.name == b"EXISTS":
            self._on_exists(number, now_ns)
        elif event.name == b"EXPUNGE":
            if self._ready:
                self._view.expunged(number)
        elif event.name == b"LIST":
            self._on_list(event.values)

    def _within(self, done: Done, now_ns: int) -> None:
        if done.command is ImapCommand.IDLE:
            if not done.ok:
                self._record(done, now_ns)
                self.end("IDLE refused", done.text.decode("ascii", "backslashreplace"))
            return
        ok = self._record(done, now_ns)
        command = done.command
        if command in (ImapCommand.CAPABILITY, ImapCommand.LIST):
            self._opened_further(done, now_ns)
        elif command is ImapCommand.SELECT:
            if ok:
                self._selected(int(done.argument), now_ns)
            else:
                self.end(done.status.decode(), "SELECT INBOX")
        elif command in (ImapCommand.UID_FETCH, ImapCommand.FETCH) and done.argument == _NEW:
            self._fetched_new(now_ns, ok=ok)
        elif done.argument == _OLDER:
            self._fetched_older(ok=ok)
        elif command is ImapCommand.NOOP:
            if ok:
                self._view.answered(int(done.argument))
                self._all_looked_at(now_ns)
        elif command in _REMOVING and ok:
            self._go_on_removing(done, now_ns)
        elif command is ImapCommand.LOGOUT:
            self.finish()
            self._end(failed=not ok)

    def _go_on_removing(self, done: Done, now_ns: int) -> None:
        """One step after the other: COPY, the flag, EXPUNGE. A message that was not copied is not removed."""
        command = done.command
        if command is ImapCommand.UID_STORE:
            if done.argument:
                self._flagged(done.argument, now_ns)
            return
        self._on_copied(done.code)
        if command is ImapCommand.UID_COPY:
            self._delete(int(done.argument), now_ns, moved=True)
        else:
            self._worker.deliveries.removing(self._mailbox, now_ns)
            self._count_removed(done.argument)

    def _count_removed(self, argument: str) -> None:
        uid, _, how = argument.partition(" ")
        mark = self._marks.pop(int(uid), None)
        if how == "moved" and self.session.offers(b"UIDPLUS") and int(uid) not in self._copied:
            return
        self._copied.discard(int(uid))
        # Somebody who shares the mailbox may have been first: it is removed once.
        if self._worker.deliveries.gone(mark):
            self._worker.deliveries.moved += how == "moved"
            self._worker.deliveries.deleted += how == "deleted"


def _mark_in(value: Value) -> Mark | None:
    """From header fields, a literal or a string."""
    if isinstance(value, Kept):
        return find_mark(value.text)
    return find_mark(value) if isinstance(value, bytes) else None

"""The inbox as an IMAP program sees it: what is there at login, and what is new.

    SELECT INBOX, FETCH of what is new … EXISTS: FETCH of what is new … NOOP: all there is has been told

Takes     an open session (`imap_opening`); EXISTS, EXPUNGE, FETCH as they come
Gives     to the account which mail was found, when it was shown, and up to when all has been looked at; to the user's
          habits, mail that he notices
Rules     mail that was there before this program came is looked at a little, and all of it before any is called missing
Not here  what is done with the mail (`imap_program`), the order of EXISTS, EXPUNGE and answers (`inbox_view`)
"""

import re
from typing import Final

from trafficgen.mailbox.connection import Server
from trafficgen.mailbox.deliveries import MessageOrigin
from trafficgen.mailbox.director import Visitor
from trafficgen.mailbox.imap_opening import BODY, ImapOpening
from trafficgen.mailbox.inbox_view import MAX_UID, InboxView
from trafficgen.mailbox.marks import Mark, MessageReader, find_mark
from trafficgen.mailbox.profile import MailProtocol
from trafficgen.mailbox.visit import VisitOwner
from trafficgen.proof import trace_header
from trafficgen.protocol.imap.commands import ImapCommand
from trafficgen.protocol.imap.events import Done, Untagged
from trafficgen.protocol.imap.reader import Kept, Value

_UID_DIGITS: Final = 10
"""Of `MAX_UID`: RFC 9051 section 9, nz-number."""

_LOOK_BACK: Final = 100
"""Messages before the first of ours that are looked at when a program comes for the first time."""

_MARK_FIELD: Final = b"BODY.PEEK[HEADER.FIELDS (%s)]" % trace_header.HEADER.rstrip(b": ")
_WHOLE: Final = re.compile(r"\bBODY(\.PEEK)?\[\]", re.IGNORECASE)
_NEW: Final = "new"
_OLDER: Final = "older"


class ImapInbox(ImapOpening):
    """One session up to the moment when a mail is noticed."""

    def __init__(self, server: Server, worker: VisitOwner, visitor: Visitor) -> None:
        super().__init__(server, worker, visitor)
        self._view = InboxView()
        self._listed_ns = -1  # what is told when older mail has been looked at too
        self._marks = visitor.marks
        self._bodies: set[int] = set()  # UIDs of those that came before the answer to their FETCH

    def _inbox_is_open(self, now_ns: int) -> None:
        """SELECT was answered, and what is there is being looked at."""
        raise NotImplementedError

    def _move(self, uid: int, now_ns: int) -> None:
        """The user's filter wants this mail moved at once."""
        raise NotImplementedError

    # -- SELECT --------------------------------------------------------------------------------------

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
            first = session.exists - self._account.deliveries.sent_to(self._mailbox) - _LOOK_BACK + 1
            view.older_below = MAX_UID + 1 if first > 1 else 0
            self._fetch(ImapCommand.FETCH, b"%d:*" % max(first, 1), now_ns)
        if self._leaving:  # what came while SELECT was under way is the last new mail, too
            self._look_for_new(now_ns)
        self._all_looked_at(now_ns)
        if self._leaving:  # since SELECT was asked: what came after it is looked for as by everybody who leaves
            self._look_for_new(now_ns)
        self._inbox_is_open(now_ns)

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
        deliveries, older_below = self._account.deliveries, self._view.older_below
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
            self._account.deliveries.listed(self._mailbox, self._listed_ns)
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
        found = self._account.deliveries.saw(self._mailbox, mark, MailProtocol.IMAP, unique, shown_ns)
        if found is MessageOrigin.OURS or self._worker.plan.delete_foreign:
            if mark is not None:
                self._marks[uid] = mark
            if self.visitor.habits.noticed(uid, now_ns):
                self._move(uid, now_ns)

    def _on_body(self, uid: int, body: MessageReader) -> None:
        self._bodies.add(uid)
        mark = body.mark
        if self._account.deliveries.identify(self._mailbox, mark) is MessageOrigin.OURS and mark is not None:
            self._marks.setdefault(uid, mark)
            self._account.deliveries.read(mark, whole=body.whole)

    def _fetched_body(self, uid: int) -> None:
        """All that the server has of this message was sent. Where that is no body, it is not there any more."""
        if uid in self._bodies:
            self._bodies.discard(uid)
        elif _WHOLE.search(self.visitor.client.imap_fetch_manual):
            self._account.deliveries.vanished(self._marks.get(uid))

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

    def _looked(self, done: Done, now_ns: int, *, ok: bool) -> None:
        """SELECT, a FETCH or a NOOP was answered."""
        command = done.command
        if command is ImapCommand.SELECT:
            if ok:
                self._selected(int(done.argument), now_ns)
            else:
                self._give_up()
        elif command is ImapCommand.NOOP:
            if ok:
                self._view.answered(int(done.argument))
                self._all_looked_at(now_ns)
        elif done.argument == _NEW:
            self._fetched_new(now_ns, ok=ok)
        elif done.argument == _OLDER:
            self._fetched_older(ok=ok)
        elif ok:
            self._fetched_body(int(done.argument.removeprefix(BODY)))


def _mark_in(value: Value) -> Mark | None:
    """From header fields, a literal or a string."""
    if isinstance(value, Kept):
        return find_mark(value.text)
    return find_mark(value) if isinstance(value, bytes) else None

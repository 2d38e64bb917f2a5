"""A mail program that speaks IMAP: a session that stays, and does with its mail what the user wants.

    IDLE … actions of the user (`habits`): FETCH of a body, STORE, MOVE, APPEND …; LOGOUT

Takes     a visitor; what his server answers; the actions of his habits
Gives     what was deleted and moved to the account; commands and failures to the recorder
Rules     before a message is deleted or moved its mark has been seen; a message without one is left alone
Not here  how the session is opened (`imap_opening`), how new mail is found (`imap_inbox`), when an action is due
          (`habits`), the wire (`protocol.imap`)
"""

from collections.abc import Callable
from typing import Final

from trafficgen.mailbox.connection import Server
from trafficgen.mailbox.director import Visitor
from trafficgen.mailbox.habits import MailAction
from trafficgen.mailbox.imap_inbox import ImapInbox
from trafficgen.mailbox.imap_opening import BODY, DRAFTS, SENT, SPAM, ImapOpening
from trafficgen.mailbox.imap_second import ImapSecond
from trafficgen.mailbox.visit import VisitOwner
from trafficgen.protocol.imap.commands import ImapCommand, ImapState
from trafficgen.protocol.imap.events import Done, Goodbye, Idling, ImapFault, Said, Untagged
from trafficgen.protocol.imap.strings import string

NewSecond = Callable[[Visitor, dict[str, bytes]], ImapSecond | None]

IDLE_ANEW_NS: Final = 28 * 60 * 1_000_000_000
"""RFC 2177: a server may log out who idles for half an hour."""

_LOOKING: Final = frozenset({ImapCommand.SELECT, ImapCommand.FETCH, ImapCommand.UID_FETCH, ImapCommand.NOOP})
_REMOVING: Final = frozenset(
    {ImapCommand.UID_COPY, ImapCommand.UID_STORE, ImapCommand.UID_MOVE, ImapCommand.UID_EXPUNGE, ImapCommand.EXPUNGE}
)


class ImapProgram(ImapInbox):
    """One session."""

    def __init__(self, server: Server, worker: VisitOwner, visitor: Visitor, new_second: NewSecond) -> None:
        """`new_second` begins one connection more."""
        super().__init__(server, worker, visitor)
        self._new_second = new_second
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
            elif isinstance(event, Goodbye | ImapFault):
                self._end_as(event)
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

    # -- actions of the user ----------------------------------------------------------------------------

    def _inbox_is_open(self, now_ns: int) -> None:
        self.visitor.habits.logged_in(self, now_ns)

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
            self._send(ImapCommand.UID_FETCH, name, items, now_ns=now_ns, argument=f"{BODY} {uid}")
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
        self._account.deliveries.removing(self._mailbox, self._marks.get(int(how.partition(" ")[0])), now_ns)
        if self.session.offers(b"UIDPLUS"):
            self._send(ImapCommand.UID_EXPUNGE, how.partition(" ")[0].encode(), now_ns=now_ns, argument=how)
        elif self._worker.plan.delete_foreign:
            self._send(ImapCommand.EXPUNGE, now_ns=now_ns, argument=how)
        else:
            # EXPUNGE would remove whatever anybody has flagged.
            self._account.say_once("the server has no UIDPLUS: deleted mail is flagged, and not expunged")

    def _move(self, uid: int, now_ns: int) -> None:
        if SPAM not in self._folders or not self._may_remove(uid):
            return
        folder, name = string(self._folders[SPAM]), b"%d" % uid
        if self.session.offers(b"MOVE"):
            self._account.deliveries.removing(self._mailbox, self._marks.get(uid), now_ns)
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

    def _within(self, done: Done, now_ns: int) -> None:
        if done.command is ImapCommand.IDLE:
            if not done.ok and not self._record(done, now_ns):
                self._give_up()
            return
        ok = self._record(done, now_ns)
        command = done.command
        if command in (ImapCommand.CAPABILITY, ImapCommand.LIST):
            self._opened_further(done, now_ns)
        elif command in _LOOKING:
            self._looked(done, now_ns, ok=ok)
        elif command in _REMOVING and ok:
            self._go_on_removing(done, now_ns)
        elif command is ImapCommand.LOGOUT:
            self.finish()
            self._end(failed=not ok)

    def _on_copied(self, code: tuple[bytes, bytes]) -> None:
        """COPYUID (RFC 4315): the message was there. One that somebody else has removed is neither copied nor moved."""
        words = code[1].split(b" ")
        if code[0] == b"COPYUID" and len(words) == 3 and words[1].isdigit():
            self._copied.add(int(words[1]))

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
            self._count_removed(done.argument, now_ns)

    def _count_removed(self, argument: str, now_ns: int) -> None:
        uid, _, how = argument.partition(" ")
        mark = self._marks.pop(int(uid), None)
        deliveries = self._account.deliveries
        if how == "moved" and self.session.offers(b"UIDPLUS") and int(uid) not in self._copied:
            deliveries.vanished(mark)
            return
        self._copied.discard(int(uid))
        # Somebody who shares the mailbox may have been first: it is removed once.
        if deliveries.gone(self._mailbox, mark, now_ns):
            deliveries.moved += how == "moved"
            deliveries.deleted += how == "deleted"

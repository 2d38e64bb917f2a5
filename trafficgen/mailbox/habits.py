"""What somebody does with a mail program that keeps its session open: when he acts, and on which mail.

    mail noticed ──(filter)──> moved at once
         └──(action delay)──> read ──(repeat delay)──> deleted, moved, answered or kept ──(repeat delay)──> next mail

Takes     what his program notices: a login, mail; the agenda tells when it is time
Gives     actions for the program to carry out, each when it is due
Not here  how a program carries them out (`imap_program`)

All mail he has noticed waits in order, over logouts and logins. The two actions for each mail are imaptest's.
"""

from collections import deque
from enum import Enum, auto
from typing import Protocol

from trafficgen.mailbox.agenda import Agenda, Intent
from trafficgen.mailbox.chance import Chance
from trafficgen.mailbox.profile import ClientSection, UserSection

_PURPOSE = 16
"""Of the draws; those of a user's n-th mail program are this much and n further on."""


class MailAction(Enum):
    """What a mail program is to do."""

    READ = auto()
    DELETE = auto()
    MOVE = auto()
    REPLY = auto()
    STATUS = auto()
    WRITE = auto()
    SEND = auto()
    LOGOUT = auto()


class MailProgram(Protocol):
    """A mail program with a session. `uid` 0: the action concerns no mail."""

    def carry_out(self, action: MailAction, uid: int, due_ns: int, now_ns: int) -> None: ...


class Habits:
    """One user with one mail program."""

    __slots__ = (
        "_acting", "_agenda", "_chance", "_client", "_first", "_mail", "_next_ns", "_read", "_session", "program",
        "section",
    )  # fmt: skip

    def __init__(
        self, section: UserSection, client: ClientSection, agenda: Agenda, seed: int, user: int, place: int
    ) -> None:
        self.section = section
        self.program: MailProgram | None = None
        """The one that has a session now."""
        self._client = client
        self._agenda = agenda
        self._chance = Chance(seed, user, _PURPOSE + place)
        self._mail: deque[int] = deque()  # UIDs that wait for an action
        self._read = False  # whether the first of them has been read
        self._acting = False  # whether an action is planned
        self._session = 0  # counts sessions: what was planned in an earlier one is void
        self._first = True
        self._next_ns: dict[Intent, int] = {}  # of what goes on over several sessions

    @property
    def waiting(self) -> int:
        """Mails that were noticed and not yet dealt with."""
        return len(self._mail)

    def logged_in(self, program: MailProgram, now_ns: int) -> None:
        """A session begins."""
        self.program = program
        self._session += 1
        self._acting = False
        section, client = self.section, self._client
        if length := section.mail_session_length:
            # The first one is cut short anywhere, as if the user had been there before the run.
            over = self._chance.rest_of_interval_ns(length) if self._first else self._chance.interval_ns(length)
            self._plan(now_ns + over, Intent.LOGOUT)
        self._resume(Intent.STATUS, client.imap_status_interval, now_ns)
        self._resume(Intent.WRITE, section.mail_send_interval, now_ns)
        self._first = False
        self._plan_action(now_ns, section.mail_action_delay)

    def logged_out(self) -> None:
        """The session is over."""
        self.program = None
        self._session += 1

    def noticed(self, uid: int, now_ns: int) -> bool:
        """A mail has shown up. True: move it at once, and forget it."""
        if self._chance.hits(self.section.mail_inbox_move_filter_percentage):
            return True
        self._mail.append(uid)
        self._plan_action(now_ns, self.section.mail_action_delay)
        return False

    def forget_all(self) -> None:
        """The server has numbered its mail anew (UIDVALIDITY)."""
        self._mail.clear()
        self._read = False

    def _resume(self, intent: Intent, mean_ns: int, now_ns: int) -> None:
        """Go on with what comes again and again, from where the session before left it."""
        if mean_ns:
            if self._next_ns.get(intent, -1) < now_ns:
                self._next_ns[intent] = now_ns + self._chance.rest_of_interval_ns(mean_ns)
            self._plan(self._next_ns[intent], intent)

    def _plan_again(self, due_ns: int, intent: Intent, mean_ns: int) -> None:
        self._next_ns[intent] = due_ns + self._chance.interval_ns(mean_ns)
        self._plan(self._next_ns[intent], intent)

    def _plan(self, due_ns: int, intent: Intent) -> None:
        self._agenda.add(due_ns, intent, _Planned(self, self._session))

    def _plan_action(self, now_ns: int, delay_ns: int) -> None:
        if self._mail and not self._acting and self.program is not None:
            self._acting = True
            self._plan(now_ns + self._chance.interval_ns(delay_ns), Intent.ACT)

    def due(self, intent: Intent, due_ns: int, now_ns: int, session: int) -> None:
        """What was planned in this session is due."""
        program = self.program
        if program is None or session != self._session:
            return
        if intent is Intent.ACT:
            self._acting = False
            self._act(program, due_ns, now_ns)
        elif intent is Intent.STATUS:
            self._plan_again(due_ns, intent, self._client.imap_status_interval)
            program.carry_out(MailAction.STATUS, 0, due_ns, now_ns)
        elif intent is Intent.WRITE:
            self._plan_again(due_ns, intent, self.section.mail_send_interval)
            self._write(program, due_ns, now_ns)
        elif intent is Intent.SEND:
            program.carry_out(MailAction.SEND, 0, due_ns, now_ns)
        else:
            program.carry_out(MailAction.LOGOUT, 0, due_ns, now_ns)

    def _write(self, program: MailProgram, due_ns: int, now_ns: int) -> None:
        self._plan(due_ns + self._chance.interval_ns(self.section.mail_write_duration), Intent.SEND)
        program.carry_out(MailAction.WRITE, 0, due_ns, now_ns)

    def _act(self, program: MailProgram, due_ns: int, now_ns: int) -> None:
        if not self._mail:
            return
        uid = self._mail[0]
        if not self._read:
            self._read = True
            program.carry_out(MailAction.READ, uid, due_ns, now_ns)
        else:
            self._mail.popleft()
            self._read = False
            action = self._decide()
            if action is not None:
                program.carry_out(action, uid, due_ns, now_ns)
            if action is MailAction.REPLY and self.program is program:
                self._write(program, due_ns, now_ns)
        self._plan_action(due_ns, self.section.mail_action_repeat_delay)

    def _decide(self) -> MailAction | None:
        """One of delete, move and reply, asked in this order (imaptest): at most one thing happens to a mail."""
        section, chance = self.section, self._chance
        if chance.hits(section.mail_inbox_delete_percentage):
            return MailAction.DELETE
        if chance.hits(section.mail_inbox_move_percentage):
            return MailAction.MOVE
        if chance.hits(section.mail_inbox_reply_percentage):
            return MailAction.REPLY
        return None


class _Planned:
    """An intent of one session."""

    __slots__ = ("_habits", "_session")

    def __init__(self, habits: Habits, session: int) -> None:
        self._habits = habits
        self._session = session

    def due(self, intent: Intent, due_ns: int, now_ns: int) -> None:
        """Its time has come."""
        self._habits.due(intent, due_ns, now_ns, self._session)

"""What the users of one worker mean to do, and when: deliveries, logins, and who waits for a connection.

Takes     users, a profile, a seed; who carries out what is due (`Hands`)
Gives     each delivery and each login when it is due; counts what had to wait or was dropped
Pure      no socket and no clock: times come in, and the next one that matters goes out (`agenda.next_ns`)
Not here  what happens within a session (`habits`, programs), how mail is delivered (`delivery`)

Deliveries come at their nominal rate whatever the server does (open model). A login comes `login_interval` after the
goodbye of the session before, as in imaptest (closed model); after a failure no sooner than a time that doubles.
"""

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from trafficgen.mailbox.agenda import Agenda, Intent
from trafficgen.mailbox.chance import Chance
from trafficgen.mailbox.habits import Habits
from trafficgen.mailbox.population import User
from trafficgen.mailbox.profile import ClientSection, MailProtocol, Profile

if TYPE_CHECKING:
    from trafficgen.mailbox.inbox_view import InboxView
    from trafficgen.mailbox.marks import Mark

FIRST_PAUSE_NS: Final = 1_000_000_000
LONGEST_PAUSE_NS: Final = 60_000_000_000
"""Before the login after a failure: twice as long each time, within these."""

_DELIVERIES: Final = 2
_SPAM: Final = 3


class Hands(Protocol):
    """Who carries it out."""

    def deliver(self, user: User, spam: bool, due_ns: int, now_ns: int) -> None:
        """Hand a new message over for this user."""

    def login(self, visitor: "Visitor", due_ns: int, now_ns: int) -> None:
        """Begin a session. `Director.over` is called when it has ended."""


class Visitor:
    """One mail program of one user: who logs in."""

    __slots__ = ("client", "director", "failures", "habits", "known_uids", "marks", "place", "remembered", "user")

    def __init__(self, director: "Director", user: User, place: int) -> None:
        self.director = director
        self.user = user
        self.place = place
        self.client: ClientSection = user.clients[place]
        self.failures = 0
        """Sessions that failed, one after the other."""
        self.known_uids: frozenset[bytes] = frozenset()
        """What a POP3 program has seen before."""
        self.marks: dict[int, Mark] = {}
        """Of messages that an IMAP program has noticed and that wait for an action, by UID."""
        self.remembered: tuple[int, InboxView] | None = None
        """UIDVALIDITY of the inbox, and what an IMAP program knows of it."""
        self.habits = Habits(user.section, self.client, director.agenda, director.seed, user.index, place)

    def due(self, _intent: Intent, due_ns: int, now_ns: int) -> None:
        """It is time to log in."""
        self.director.wants_in(self, due_ns, now_ns)


class _Recipient:
    """One user as the one who gets mail."""

    __slots__ = ("_chance", "_director", "_spam", "_user")

    def __init__(self, director: "Director", user: User) -> None:
        self._director = director
        self._user = user
        self._chance = Chance(director.seed, user.index, _DELIVERIES)
        self._spam = Chance(director.seed, user.index, _SPAM)

    def begin(self, start_ns: int) -> None:
        """Plan the first of each, anywhere within its interval."""
        section, agenda = self._user.section, self._director.agenda
        if mean := section.mail_inbox_delivery_interval:
            agenda.add(start_ns + self._chance.rest_of_interval_ns(mean), Intent.DELIVER, self)
        if mean := section.mail_spam_delivery_interval:
            agenda.add(start_ns + self._spam.rest_of_interval_ns(mean), Intent.DELIVER_SPAM, self)

    def due(self, intent: Intent, due_ns: int, now_ns: int) -> None:
        """Deliver, and plan the next one from when this one was due, not from when it came about."""
        spam = intent is Intent.DELIVER_SPAM
        section = self._user.section
        chance, mean = (
            (self._spam, section.mail_spam_delivery_interval)
            if spam
            else (self._chance, section.mail_inbox_delivery_interval)
        )
        if not self._director.stopping:
            self._director.agenda.add(due_ns + chance.interval_ns(mean), intent, self)
            self._director.hands.deliver(self._user, spam, due_ns, now_ns)


class Director:
    """All users of one worker. `max_connections`: how many sessions there may be at a time."""

    def __init__(self, profile: Profile, users: list[User], seed: int, hands: Hands, max_connections: int) -> None:
        self.agenda = Agenda()
        self.seed = seed
        self.hands = hands
        self.stopping = False
        """No more deliveries and logins."""
        self.connections = 0
        self.max_connections = max_connections
        self.most_waiting = 0
        """Visitors who waited for a connection at one time because all were taken."""
        self._profile = profile
        self._users = users
        self._waiting: deque[tuple[Visitor, int]] = deque()
        self._visited: set[int] = set()  # mailboxes with a POP3 session, of which there is one at a time
        self._at_the_door: dict[int, deque[tuple[Visitor, int]]] = {}

    def begin(self, start_ns: int) -> None:
        """Plan how everybody begins."""
        for user in self._users:
            start = start_ns + self._profile.rampup_time * user.place // user.of
            _Recipient(self, user).begin(start)
            for place, client in enumerate(user.clients):
                if client.connection_max_count:
                    self.agenda.add(start, Intent.LOGIN, Visitor(self, user, place))

    def stop(self) -> None:
        """Begin nothing more."""
        self.stopping = True
        self._waiting.clear()
        self._at_the_door.clear()

    def wants_in(self, visitor: Visitor, due_ns: int, now_ns: int) -> None:
        """Somebody's time to log in has come."""
        if self.stopping:
            return
        mailbox = visitor.user.mailbox
        if visitor.client.protocol is MailProtocol.POP3:
            # RFC 1939 section 4: a session locks the mailbox. Two programs of one user take turns.
            if mailbox in self._visited:
                self._at_the_door.setdefault(mailbox, deque()).append((visitor, due_ns))
                return
            self._visited.add(mailbox)
        if self.connections >= self.max_connections:
            self._waiting.append((visitor, due_ns))
            self.most_waiting = max(self.most_waiting, len(self._waiting))
            return
        self.connections += 1
        self.hands.login(visitor, due_ns, now_ns)

    def over(self, visitor: Visitor, goodbye_ns: int, now_ns: int, *, failed: bool) -> None:
        """A session has ended; `goodbye_ns` is when the user left."""
        self.connections -= 1
        visitor.failures = visitor.failures + 1 if failed else 0
        due_ns = goodbye_ns + visitor.client.login_interval
        if failed:
            pause_ns = min(FIRST_PAUSE_NS << min(visitor.failures - 1, 16), LONGEST_PAUSE_NS)
            due_ns = max(due_ns, now_ns + pause_ns)
        if not self.stopping:
            self.agenda.add(due_ns, Intent.LOGIN, visitor)
        self._admit(visitor, now_ns)

    def _admit(self, left: Visitor, now_ns: int) -> None:
        """Let in who waited: for the same mailbox, and for a connection."""
        mailbox = left.user.mailbox
        if left.client.protocol is MailProtocol.POP3:
            self._visited.discard(mailbox)
            if queue := self._at_the_door.pop(mailbox, None):
                visitor, due_ns = queue.popleft()
                if queue:
                    self._at_the_door[mailbox] = queue
                self.wants_in(visitor, due_ns, now_ns)
        self._fill(now_ns)

    def take_spare(self) -> bool:
        """One connection more for somebody who has one, unless somebody waits for his first; `give_back` ends it."""
        spare = not self.stopping and not self._waiting and self.connections < self.max_connections
        self.connections += spare
        return spare

    def give_back(self, now_ns: int) -> None:
        """A connection that was spare is closed."""
        self.connections -= 1
        self._fill(now_ns)

    def _fill(self, now_ns: int) -> None:
        while self._waiting and self.connections < self.max_connections:
            visitor, due_ns = self._waiting.popleft()
            self.connections += 1
            self.hands.login(visitor, due_ns, now_ns)

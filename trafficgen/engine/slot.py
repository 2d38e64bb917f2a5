"""One of the N places for a session: opens it, feeds it, opens the next.

Takes     work from the worker, one message at a time; an open session takes the following ones by itself. One without
          a session takes none before its turn to connect has come (`may_take`)
Gives     `Surroundings.on_free` when it has nothing to do, `on_closed` when its connection is gone, `on_turn` when one
          more slot may connect
Limits    of slots without a session, `MAX_OPENING` a worker connect at the same time, so that no listen queue
          overflows: a lost SYN is sent again after a second and would look like a slow server (Postfix's smtp-source
          opens one at a time). One whose session has just ended goes on at once;
          a slot whose sessions come to nothing rests longer and longer, `MAX_REST_NS` at most
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from trafficgen.clock import NS_PER_MS, NS_PER_S, now_ns
from trafficgen.engine.fairness import Turns
from trafficgen.engine.greeting import Refused
from trafficgen.engine.identity import Identities
from trafficgen.engine.link import AnyLink, Link, Owner, Session
from trafficgen.engine.opening import Opener
from trafficgen.engine.slow_link import SlowLink
from trafficgen.engine.socket_link import Poller, SocketLink
from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.interfaces import Extensions, SessionOptions, Work
from trafficgen.protocol.smtp.leaving import LeavingSession

MAX_OPENING: Final = 64
FIRST_REST_NS: Final = 50 * NS_PER_MS
MAX_REST_NS: Final = NS_PER_S


@dataclass(frozen=True, slots=True)
class Way:
    """How sessions come about that go to one target."""

    new_session: Callable[[SessionOptions | None], Session]
    """Makes a session for a new connection; with its own options where it is not like the others."""

    opener: Opener


@dataclass(slots=True)
class Surroundings:
    """What all slots of a worker share."""

    way: Way
    """Of all sessions, unless `next_way` has another for each."""
    turns: Turns
    on_free: "Callable[[Slot], None]"
    on_closed: Callable[[], None]
    on_turn: Callable[[], None]
    next_way: Callable[[], Way] | None = None
    new_link: Callable[[Session, Turns, Owner], Link] = Link
    identities: Identities | None = None
    """Who each session is, where they are not alike."""
    poller: Poller | None = None
    """Hears plain sessions' own sockets, where there are such."""
    think_ns: int = 0
    """How long a session rests between two messages."""
    slow_octets_per_s: int = 0
    """At which slow sessions send."""
    opening: int = 0
    parting: dict[AnyLink, int] = field(default_factory=dict)
    """Links whose server has said goodbye and is about to close, and since when."""


class Slot:
    """`working`: it has a message, or is about to have a session for one. `opened`: sessions so far."""

    __slots__ = (
        "_connecting_since_ns",
        "_failures",
        "_link",
        "_opening",
        "_surroundings",
        "_way",
        "opened",
        "working",
    )

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._way = surroundings.way
        self._link: AnyLink | None = None
        self._opening: asyncio.Task[Extensions | None] | SocketLink | None = None  # what is making a connection
        self._connecting_since_ns: int | None = None
        self._failures = 0  # sessions in a row that came to nothing
        self.opened = 0
        self.working = False

    @property
    def open(self) -> bool:
        """Whether there is a connection."""
        return self._link is not None and self._link.open

    @property
    def may_take(self) -> bool:
        """Whether a message would go anywhere: there is a connection, or one may be made now."""
        return self._link is not None or self._surroundings.opening < MAX_OPENING

    @property
    def in_flight(self) -> int:
        """Messages at work here."""
        return self._link.session.in_flight if self._link is not None else 0

    @property
    def held(self) -> int:
        """Messages taken from the source that have not ended here."""
        return self._link.session.held if self._link is not None else 0

    def overdue(self, now: int, connect_limit_ns: int, reply_limit_ns: int) -> str | None:
        """What has taken longer than it may, in words; None while all is well.

        `reply_limit_ns` 0: as long as RFC 5321 has a client wait at each step.
        """
        if self._connecting_since_ns is not None and now - self._connecting_since_ns > connect_limit_ns:
            return f"no connection within {connect_limit_ns / NS_PER_S:g} s"
        if self._opening is None and self.working and self._link is not None and self._link.open:
            since_ns = max(self._link.session.waiting_since_ns, self._link.sent_ns)
            reply_limit_ns = reply_limit_ns or self._link.session.limit_s * NS_PER_S
            if now - since_ns > reply_limit_ns:
                return f"no reply within {reply_limit_ns / NS_PER_S:g} s"
        return None

    @property
    def rest_ns(self) -> int:
        """How long to wait: before the next session when the last ones came to nothing, in a session as planned."""
        if self._failures:
            return min(FIRST_REST_NS << min(self._failures - 1, 10), MAX_REST_NS)
        return self._surroundings.think_ns if self._link is not None else 0

    def give(self, work: Work, now: int) -> None:
        """Send this message, in a new session if there is none."""
        self.working = True
        if self._link is not None:
            self._link.start(work, now)
            return
        around = self._surroundings
        identity = around.identities.next() if around.identities is not None else None
        if around.next_way is not None:
            self._way = around.next_way()
        opener = self._way.opener
        session = self._way.new_session(None if identity is None else identity.options)
        session.greet(work, now)
        around.opening += 1
        security = opener.next_security()
        if around.poller is not None and opener.connects_at_once(security, identity):
            link = self._link = self._opening = SocketLink(session, around.poller, self)
            self._connecting_since_ns = now
            opener.connect(link, now)
            return
        if identity is not None and identity.slow:
            waiting: Link = SlowLink(session, around.turns, self, around.slow_octets_per_s)
        else:
            waiting = around.new_link(session, around.turns, self)
        self._link = waiting
        if not opener.greets(security):
            self._connecting_since_ns = now
        opening = opener.open(waiting, security, identity)
        self._opening = asyncio.get_running_loop().create_task(opening)
        self._opening.add_done_callback(partial(self._on_opened, waiting))

    def on_connected(self, link: SocketLink, problem: int) -> None:
        """A connection is made, or cannot be."""
        if link is not self._opening:  # given up before
            return
        opener = self._way.opener
        if problem and opener.connect_elsewhere(link):
            return
        self._end_opening()
        if problem:
            refused = opener.refusal(link, problem)
            link.give_up(refused.reason, refused.example, phase=refused.phase)
        else:
            self.opened += 1
            opener.connected(link)

    def _on_opened(self, link: Link, opening: "asyncio.Task[Extensions | None]") -> None:
        """The task is over, whether it ever ran or not: one that is cancelled before its first step never does."""
        error = ConnectionAbortedError() if opening.cancelled() else opening.exception()
        if opening is not self._opening:  # given up or over before
            return
        self._end_opening()
        match error:
            case None:
                self.opened += 1
                if (extensions := opening.result()) is not None:
                    assert isinstance(link.session, ClientSession)
                    link.write(link.session.adopt(extensions, now_ns()))
                    if not (link.session.busy or link.session.closed):  # it holds its connection, and waits for nothing
                        self.on_free(link)
                elif isinstance(link.session, LeavingSession):
                    link.write(link.session.opened(now_ns()))
            case Refused() as refused:
                link.give_up(refused.reason, refused.example, phase=refused.phase)
            case OSError() as trouble:
                link.give_up("no connection", str(trouble), phase=Phase.CONNECT)
            case bug:
                raise bug

    def _end_opening(self) -> None:
        """Let the next slot open a session. Called once for each that began, whatever became of it."""
        self._opening = self._connecting_since_ns = None
        self._surroundings.opening -= 1
        self._surroundings.on_turn()

    def on_free(self, link: AnyLink) -> None:
        """The session of its connection has nothing to do, or is over."""
        if link.session.closed:
            self._link = None
            if self._opening is not None:  # connected and over before the task that connected it has said so
                self.opened += 1
                self._end_opening()
            if link.session.parted:
                link.leaving = self._surroundings.parting
                link.leaving[link] = now_ns()
            self._failures = 0 if link.session.served else self._failures + 1
            self._surroundings.on_closed()
        if self.working:
            self.working = False
            self._surroundings.on_free(self)

    def say_goodbye(self) -> None:
        """End an idle session in good order."""
        if self._link is not None and self._link.open:
            self._link.quit()

    def give_up(self, reason: str, example: str) -> None:
        """End whatever goes on here, now: it has taken too long."""
        if self._link is None:
            return
        phase = Phase.CONNECT if self._cancel() else None
        self._link.give_up(reason, example, phase=phase)

    def stop(self, reason: str, example: str) -> None:
        """The same as the run is over: a message that was not begun goes back to its source."""
        if self._link is not None:
            self._cancel()
            self._link.stop(reason, example)

    def _cancel(self) -> bool:
        """End an opening that goes on; whether one did. Waits for nothing: what the task does from now on is no
        matter."""
        if self._opening is None:
            return False
        self._opening.cancel()
        if isinstance(self._opening, SocketLink):
            self._way.opener.avoid(self._opening.address)
        self._end_opening()
        return True

"""Between a connection and a session: octets in, buffers out; over transports of the event loop, as TLS needs them.

Takes     what the event loop reports of one connection
Gives     it to the session with the time; writes what comes back; says when the session is free or over
Fails     never: every way a connection can end is told to the session
Not here  plain sessions on sockets of their own (socket_link)

A server that has said 221 or 421 closes the connection (RFC 5321, 4.1.1.10 and 3.8), and we let it go first: the
side that closes first keeps the port in TIME_WAIT for a minute, and a session a message would use up the 28,000 there
are.
"""

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import Final, Protocol, cast

from trafficgen.clock import now_ns
from trafficgen.engine.fairness import Turns
from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp.interfaces import Buffer, Work
from trafficgen.protocol.transcript import Transcript

JOINED_OCTETS: Final = 48 * 1024


class Session(Protocol):
    """What is spoken on a connection: `protocol.smtp.client.ClientSession` has what each of these means."""

    busy: bool
    closed: bool
    served: bool
    parted: bool

    @property
    def feed(self) -> Callable[[bytes, int], Collection[Buffer]]: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def held(self) -> int: ...
    @property
    def waiting_since_ns(self) -> int: ...
    @property
    def limit_s(self) -> int: ...
    def greet(self, work: Work, now_ns: int) -> None: ...
    def connected(self, now_ns: int) -> Collection[Buffer]: ...
    def start(self, work: Work, now_ns: int) -> list[Buffer]: ...
    def feed_unsent(self, data: bytes, now_ns: int, unsent: int) -> Collection[Buffer]: ...
    def withdraw(self) -> bool: ...
    def quit(self, now_ns: int) -> list[Buffer]: ...
    def lost(
        self,
        reason: str,
        example: str,
        now_ns: int,
        *,
        phase: Phase | None = None,
        unsent: int = 0,
        missing: bool = False,
    ) -> None: ...


class Owner(Protocol):
    """Whose connection it is. (A callback each would be 64 octets more for every session.)"""

    def on_free(self, link: "AnyLink") -> None:
        """The session has nothing to wait for, or is over."""


class AnyLink(ABC):
    """One connection of one session."""

    __slots__ = ("_over", "_unsent", "leaving", "owner", "session")

    sent_ns = 0
    """When octets that wait on our side went out last, where they wait on purpose (slow_link)."""

    def __init__(self, session: Session, owner: Owner) -> None:
        self.session = session
        self.owner = owner
        self.leaving: dict[AnyLink, int] | None = None
        """Where it is listed while its server has said goodbye and not closed the connection yet."""
        self._unsent = 0  # octets that wait on our side
        self._over = False  # and told so: a server may go on talking after its 421, when the slot has another link

    @property
    @abstractmethod
    def open(self) -> bool:
        """Whether there is a connection, or was one."""

    @property
    @abstractmethod
    def closing(self) -> bool:
        """Whether nothing can be sent any more."""

    @abstractmethod
    def hang_up(self) -> None:
        """Close the connection."""

    @abstractmethod
    def _abort(self) -> None:
        """Close the connection, whatever waits."""

    @abstractmethod
    def _send(self, buffers: Collection[Buffer]) -> None:
        """Send this; what the other side cannot take yet waits."""

    def start(self, work: Work, now_ns: int) -> None:
        """Give an idle session a message."""
        self.write(self.session.start(work, now_ns))
        if not self.session.busy:
            self._free()

    def quit(self) -> None:
        """Have an idle session say goodbye, or end it where nothing is said."""
        self.write(self.session.quit(now_ns()))
        if self.session.closed:
            self._free()

    def write(self, buffers: list[Buffer]) -> None:
        """Send the first octets of a message or a command."""
        if buffers and self.closing:
            self._unsent += sum(map(len, buffers))  # nowhere to go any more
        elif buffers:
            self._send(buffers)
        if self.session.closed:
            self._free()

    def catch_up(self) -> None:  # noqa: B027  (where nothing is put off there is nothing to do)
        """Look at what was put off."""

    def _begin(self) -> None:
        """The connection is up."""
        if buffers := self.session.connected(now_ns()):
            self._send(buffers)
        if not self.session.busy:
            self._free()

    def stop(self, reason: str, example: str) -> None:
        """End the session as the run is over: a message that was not begun goes back to its source."""
        self.catch_up()
        if not self.session.withdraw():
            self.give_up(reason, example)
            return
        self._abort()
        self._free()

    def give_up(self, reason: str, example: str = "", *, phase: Phase | None = None) -> None:
        """End the session from our side, whatever it is doing."""
        self._abort()
        self._lost(reason, example, phase, missing=True)

    def _lost(self, reason: str, example: str, phase: Phase | None = None, *, missing: bool = False) -> None:
        if not self.session.closed:
            self.session.lost(reason, example, now_ns(), phase=phase, unsent=self._unsent, missing=missing)
            self._free()

    def _free(self) -> None:
        if self._over:
            return
        self._over = self.session.closed
        if self.session.closed and not self.session.parted:
            self.hang_up()
        self.owner.on_free(self)

    def _gone(self) -> None:
        """The connection is closed."""
        if self.leaving is not None:
            self.leaving.pop(self, None)


class Link(AnyLink, asyncio.Protocol):
    """A link over a transport of the event loop."""

    transcript: Transcript | None = None
    """Of a session that is shown as it talks (tracing)."""

    __slots__ = ("_fd", "_late", "_turns", "transport")

    def __init__(self, session: Session, turns: Turns, owner: Owner) -> None:
        super().__init__(session, owner)
        self._turns = turns
        self.transport: asyncio.Transport | None = None
        self._fd = -1  # of the socket, while it may be written to directly
        self._late = b""  # received and put off

    @property
    def open(self) -> bool:
        return self.transport is not None

    @property
    def closing(self) -> bool:
        assert self.transport is not None
        return self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self.session.closed:  # given up while it was being connected
            self.transport.abort()
            return
        # `pause_writing` is to come as soon as anything waits here: a reply to what waits would be a lie. (Above 1, as
        # uvloop's TLS pauses at the limit itself; of TLS, up to 64 KiB wait where nobody can ask.)
        secure = transport.get_extra_info("ssl_object") is not None
        self.transport.set_write_buffer_limits(high=int(secure), low=0)
        if not secure:
            self._fd = transport.get_extra_info("socket").fileno()
        self._begin()

    def data_received(self, data: bytes) -> None:
        now = now_ns()
        if now > self._turns.ends_ns and self._put_off(data, now):
            return
        feed = self._feed_unsent if self._unsent else self.session.feed
        if buffers := feed(data, now):
            self._send(buffers)
        if not self.session.busy:
            self._free()

    def _put_off(self, data: bytes, now: int) -> bool:
        """Whether this has to wait for another turn of the loop.

        Only what answers octets that have all gone out: nothing more is written before it is looked at, so that it
        cannot be taken for an answer to that.
        """
        if self._unsent or not self.session.busy or not self._turns.over(now):
            return False
        if not self._late:
            self._turns.put_off(self)
        self._late += data
        return True

    def catch_up(self) -> None:
        """Look at what was put off."""
        data, self._late = self._late, b""
        if data:
            feed = self._feed_unsent if self._unsent else self.session.feed
            if (buffers := feed(data, now_ns())) and self.closing:
                self._unsent += sum(map(len, buffers))  # nowhere to go any more
            elif buffers:
                self._send(buffers)
            if not self.session.busy:
                self._free()

    def _send(self, buffers: Collection[Buffer]) -> None:
        """Straight to the socket while nothing waits in the transport, which gets what the kernel does not take.

        What the kernel has not taken is known to the octet, and a write that fails is known at once. It costs what the
        transport costs: 1.00 of the worker's CPU at 5 KB, 1.01 in lock-step (medians of 8 and 4 runs in turns;
        2026-11-27, 2 cores, AMD EPYC).
        """
        transport = self.transport
        assert transport is not None
        octets = sum(map(len, buffers))
        if self._fd < 0 or self._unsent:
            self._hand_on(transport, buffers, octets)
            return
        try:
            sent = os.writev(self._fd, buffers)  # type: ignore[arg-type]  # lists and tuples, as they come
        except OSError:  # no room, or the connection is gone: the transport handles both
            sent = 0
        if sent < octets:
            self._unsent = octets - sent
            self._hand_on(transport, behind(buffers, sent), self._unsent)
            if not transport.is_closing():
                self._unsent = transport.get_write_buffer_size()

    @staticmethod
    def _hand_on(transport: asyncio.Transport, buffers: Collection[Buffer], octets: int) -> None:
        if octets <= JOINED_OCTETS:  # several pieces cost uvloop another turn
            transport.write(b"".join(buffers))
        else:
            transport.writelines(buffers)

    def pause_writing(self) -> None:
        """Octets wait in the transport: only what went out before them can be answered now."""
        assert self.transport is not None
        self._unsent = self.transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        self._unsent = 0

    def _feed_unsent(self, data: bytes, now_ns: int) -> Collection[Buffer]:
        assert self.transport is not None
        buffers = self.session.feed_unsent(data, now_ns, self.transport.get_write_buffer_size())
        if self.session.closed:
            self._abort()  # what waits is not to arrive after all
        return buffers

    def eof_received(self) -> bool:
        self.catch_up()
        self._lost("closed by the server", "")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._fd = -1  # closed, and maybe another connection's by now
        self.catch_up()
        reason = "connection reset" if isinstance(exc, ConnectionError) else "closed by the server"
        self._lost(reason, str(exc or ""))
        self._gone()

    def _abort(self) -> None:
        if self.transport is not None:
            if self._unsent:
                self._unsent = self.transport.get_write_buffer_size()
            self._fd = -1
            self.transport.abort()

    def hang_up(self) -> None:
        if self.transport is not None:
            self._fd = -1
            self.transport.close()


def behind(buffers: Collection[Buffer], sent: int) -> tuple[Buffer, ...]:
    """What is left of them behind so many octets."""
    left: list[Buffer] = []
    for buffer in buffers:
        if sent >= len(buffer):
            sent -= len(buffer)
        else:
            left.append(memoryview(buffer)[sent:] if sent else buffer)
            sent = 0
    return tuple(left)

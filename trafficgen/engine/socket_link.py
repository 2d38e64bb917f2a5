"""Plain sessions on non-blocking sockets of their own, heard through one epoll a worker.

Takes     an address to connect to; what epoll(7) says of the socket
Gives     to the session what came, and to the socket what it writes; what the kernel does not take waits here
Limits    octets that wait are at most one message and what rides behind it; a turn of the loop lasts `SLICE_NS`
Fails     never: every way a connection can end is told to the session
Choice    a connection by the event loop costs a task, futures, a transport and some system calls more. Events
          are edge-triggered: one epoll_ctl(2) does for connecting, reading and writing. Linux alone has
          epoll; elsewhere plain sessions go over transports as well (link)
"""

import asyncio
import errno
import select
import socket
from collections.abc import Collection
from itertools import islice
from typing import Final, Protocol, Self

from trafficgen.clock import now_ns
from trafficgen.engine.fairness import SLICE_NS
from trafficgen.engine.link import JOINED_OCTETS, AnyLink, Owner, Session, behind
from trafficgen.protocol.smtp.interfaces import Buffer

_READ_OCTETS: Final = 16 * 1024
_AT_ONCE: Final = 64
_OPENED_AT_ONCE: Final = 8
"""New connections before so many others are heard: opening all of 20,000 sessions at once lets no message through."""

_CONNECTED: Final = (0, errno.EISCONN)
_GOES_ON: Final = (errno.EINPROGRESS, errno.EALREADY)
_MAX_BUFFERS: Final = 1024
"""UIO_MAXIOV, sendmsg(2)."""


class Poller:
    """The sockets of one worker's plain sessions."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._links: dict[int, SocketLink] = {}
        self._connected: list[SocketLink] = []  # and not told so yet
        self._hearing = False
        self.call_soon = loop.call_soon
        loop.add_reader(self._epoll.fileno(), self._hear)

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> "Self | None":
        """None where there is no epoll."""
        return cls(loop) if hasattr(select, "epoll") else None

    def add(self, fd: int, link: "SocketLink", events: int) -> None:
        """Tell `link` when any of these happens to its socket."""
        self._links[fd] = link
        self._epoll.register(fd, events)

    def again(self, fd: int) -> None:
        """Tell it once more, if there still is something, and when there is room to write."""
        self._epoll.modify(fd, _EVENTS)

    def remove(self, fd: int) -> None:
        """The socket is about to be closed, and the kernel forgets it then."""
        del self._links[fd]

    def tell_connected(self, link: "SocketLink") -> None:
        """Call `link.connected` soon, whatever else sockets have to say.

        Behind ten thousand sessions that always have something to read, sessions would open by the dozen a second.
        """
        if not self._connected and not self._hearing:
            self._loop.call_soon(self._hear)
        self._connected.append(link)

    def close(self) -> None:
        """Hear nothing any more."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _hear(self) -> None:
        if self._epoll.closed:
            return
        self._hearing = True
        links, poll = self._links, self._epoll.poll
        ends_ns = now_ns() + SLICE_NS
        while True:
            connected, self._connected = self._connected[:_OPENED_AT_ONCE], self._connected[_OPENED_AT_ONCE:]
            for link in connected:
                link.connected()
            events = poll(0, _AT_ONCE)
            # Looked up before any of them acts: a number may be another socket's by then.
            for link, what in [(links[fd], what) for fd, what in events]:
                link.heard(what)
            if (not events and not self._connected) or now_ns() > ends_ns:
                break  # the loop has other work, and comes back
        self._hearing = False
        if self._connected:
            self._loop.call_soon(self._hear)


if hasattr(select, "epoll"):
    _EVENTS: Final = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
    _READING: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
    _IN: Final = select.EPOLLIN
    _OUT: Final = select.EPOLLOUT
    _IN_AND_OUT: Final = select.EPOLLIN | select.EPOLLOUT
    _FAILED: Final = select.EPOLLHUP | select.EPOLLERR
    _ENDED: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
    _READABLE: Final = select.EPOLLIN | _ENDED
    _KIND: Final = socket.SOCK_STREAM | socket.SOCK_NONBLOCK


class ConnectingOwner(Owner, Protocol):
    """Whose connection it is, and who has it made."""

    def on_connected(self, link: "SocketLink", problem: int) -> None:
        """In a turn after `connect`: 0, or the number of what the system said (errno(3))."""


class SocketLink(AnyLink):
    """One connection. `began_ns`: since when it is being made, to which `address` of the route; `tries`: how many more
    of them may be tried."""

    __slots__ = (
        "_broken", "_connecting", "_fd", "_heard_of", "_peer", "_poller", "_waiting", "address", "began_ns", "tries",
    )  # fmt: skip

    owner: ConnectingOwner

    def __init__(self, session: Session, poller: Poller, owner: ConnectingOwner) -> None:
        super().__init__(session, owner)
        self._poller = poller
        self._peer: socket.socket | None = None
        self._fd = -1
        self._connecting = False
        self._heard_of = False  # whether the poller has it
        self._waiting: tuple[Buffer, ...] = ()  # most of the time the empty one, which all share
        self._broken: OSError | None = None  # what came of the last write
        self.began_ns = -1
        self.address = 0
        self.tries = 0

    @property
    def open(self) -> bool:
        return self._peer is not None and not self._connecting

    @property
    def closing(self) -> bool:
        return self._peer is None or self._broken is not None

    # -- the connection is made ---------------------------------------------------------------------------

    def connect(self, family: int, where: tuple[object, ...]) -> None:
        """Begin to connect."""
        self._connecting = True
        try:
            peer = self._peer = socket.socket(family, _KIND)
            self._fd = peer.fileno()
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            problem = peer.connect_ex(where)
            if problem == errno.EINPROGRESS:  # over loopback it has ended by now: see `tell_connected`
                problem = peer.connect_ex(where)
        except OSError as error:
            problem = error.errno or errno.EIO
        if problem in _CONNECTED:
            self._poller.tell_connected(self)
        elif problem in _GOES_ON:
            self._poller.add(self._fd, self, _EVENTS)
            self._heard_of = True
        else:
            self._poller.call_soon(self._connected_or_not, problem)

    def connected(self) -> None:
        """It is connected."""
        if self._connecting:
            self._poller.add(self._fd, self, _READING)
            self._heard_of = True
            self._connected_or_not(0)

    def cancel(self) -> None:
        """Connect no more."""
        self._close()

    def _connected_or_not(self, problem: int) -> None:
        if not self._connecting:
            return  # given up
        if problem:
            self._close()
        self._connecting = False
        self.owner.on_connected(self, problem)
        if not problem:
            self._begin()

    # -- octets in ------------------------------------------------------------------------------------------

    def heard(self, what: int) -> None:
        """What happened, in epoll's words."""
        peer = self._peer
        if (what != _IN and what != _IN_AND_OUT) or self._connecting or self._waiting or peer is None:
            self._heard_else(what)
            return
        # The usual, without the questions that `_heard_else` and `_read` ask: kept-5k of benchmarks/peers.py runs here.
        try:
            data = peer.recv(_READ_OCTETS)
        except OSError as error:
            self._not_read(error)
            return
        session = self.session
        buffers = session.feed(data, now_ns()) if data else self._end(None)
        if buffers:
            self._send(buffers)
        if not session.busy:
            self._free()
        if len(data) == _READ_OCTETS and self._peer is not None:
            self._poller.again(self._fd)

    def _heard_else(self, what: int) -> None:
        peer = self._peer
        if peer is None:
            return  # closed since that happened
        if self._connecting:
            if what & (_OUT | _ENDED):
                self._connected_or_not(peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if what & _FAILED else 0)
        elif self._waiting and what & _OUT:
            self._write_waiting()
        if what & _READABLE and self._peer is peer:  # and not another address's by now
            self._read(peer, what)

    def _read(self, peer: socket.socket, what: int) -> None:
        session = self.session
        if what & _ENDED and session.closed:
            self._close()
            return
        try:
            data = peer.recv(_READ_OCTETS)
        except OSError as error:
            self._not_read(error)
            return
        if not data:
            self._end(self._broken)
            return
        now = now_ns()
        if not self._unsent:
            buffers = session.feed(data, now)
        else:
            buffers = session.feed_unsent(data, now, self._unsent)
            if session.closed:
                self._close()  # what waits is not to arrive after all
        if buffers and not self.closing:
            self._send(buffers)
        if not session.busy:
            self._free()
        if self._peer is not None:
            if what & _ENDED and session.closed:
                self._close()
            elif what & _ENDED or len(data) == _READ_OCTETS:
                self._poller.again(self._fd)

    def _not_read(self, error: OSError) -> None:
        if not isinstance(error, BlockingIOError):
            self._end(error)

    def _end(self, error: OSError | None) -> tuple[()]:
        self._close()
        reason = "connection reset" if isinstance(error, ConnectionError) else "closed by the server"
        self._lost(reason, str(error or ""))
        return ()

    # -- octets out -----------------------------------------------------------------------------------------

    def _send(self, buffers: Collection[Buffer]) -> None:
        if self._waiting:
            self._waiting += tuple(buffers)
            self._unsent += sum(map(len, buffers))
            return
        peer = self._peer
        assert peer is not None
        octets = 0
        try:
            if len(buffers) == 1:
                (buffer,) = buffers
                octets = len(buffer)
                sent = peer.send(buffer)
            else:
                for buffer in buffers:
                    octets += len(buffer)
                sent = peer.send(b"".join(buffers)) if octets <= JOINED_OCTETS else peer.sendmsg(_first(buffers))
        except BlockingIOError:
            sent = 0
        except OSError as error:  # what the server said before may still be there to read; then comes the end
            self._broken = error
            sent = 0
        if sent < octets:
            self._waiting = behind(buffers, sent)
            self._unsent = octets - sent
            self._poller.again(self._fd)

    def _write_waiting(self) -> None:
        peer = self._peer
        assert peer is not None
        try:
            while self._waiting and self._broken is None:
                sent = peer.sendmsg(_first(self._waiting))
                self._waiting = behind(self._waiting, sent)
                self._unsent -= sent
        except BlockingIOError:
            pass
        except OSError as error:
            self._broken = error
            self._poller.again(self._fd)

    # -- the end --------------------------------------------------------------------------------------------

    def hang_up(self) -> None:
        self._close()

    def _abort(self) -> None:
        self._close()

    def _close(self) -> None:
        peer, self._peer = self._peer, None
        if peer is not None:
            self._connecting = False
            if self._heard_of:
                self._heard_of = False
                self._poller.remove(self._fd)
            peer.close()
        self._gone()


def _first(buffers: Collection[Buffer]) -> Collection[Buffer]:
    return buffers if len(buffers) <= _MAX_BUFFERS else list(islice(buffers, _MAX_BUFFERS))

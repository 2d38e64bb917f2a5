"""The sink's sockets: one listener, any number of sessions.

Takes     an address to listen on; a `Ledger`, or none to count only
Gives     a running server with its bound address
Refuses   to relay: there is no code here that opens a connection
Not here  the conversation (smtp.server), what arrived (ledger)
"""

import asyncio
import socket
from pathlib import Path
from typing import Final, Self, cast

from trafficgen.errors import SetupError
from trafficgen.plan import Target, TcpTarget, UnixTarget
from trafficgen.sink.ledger import Ledger, SessionReceiver
from trafficgen.smtp.server import GREETING, ServerSession

_BACKLOG: Final = 4096


class Counter:
    """A receiver that only counts: the sink without its ledger."""

    __slots__ = ("octets", "received")

    def __init__(self) -> None:
        self.received = 0
        self.octets = 0

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        self.received += 1
        self.octets += end

    def piece(self, octets: bytes) -> None:
        self.octets += len(octets)

    def ended(self, recipients: int) -> None:
        self.received += 1

    def dropped(self) -> None:
        pass


class _Link(asyncio.Protocol):
    """One connection."""

    __slots__ = ("_feed", "_session", "_sink", "_transport")

    def __init__(self, sink: "Sink") -> None:
        self._sink = sink
        self._session = ServerSession(SessionReceiver(sink.ledger) if sink.ledger else sink.counter)
        self._feed = self._session.feed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._sink.links.add(self)
        self._transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        if reply := self._feed(data):
            self._transport.write(reply)
        if self._session.closed:
            self._transport.close()

    def pause_writing(self) -> None:
        # A client that sends without reading the answers waits until it has read them: memory stays bounded.
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._session.eof()
        self._sink.links.discard(self)

    def abort(self) -> None:
        """Hang up at once."""
        self._transport.abort()


class Sink:
    """A listening sink. Use as an async context manager; `address` is where it listens."""

    def __init__(self, listen: Target, *, ledger: bool = True) -> None:
        self.listen = listen
        self.ledger = Ledger() if ledger else None
        self.counter = Counter()
        self.links: set[_Link] = set()
        self.address: Target = listen
        self._server: asyncio.Server | None = None

    @property
    def received(self) -> int:
        """Messages taken so far."""
        return (self.ledger or self.counter).received

    @property
    def octets(self) -> int:
        """Octets of all messages taken so far."""
        return (self.ledger or self.counter).octets

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        listener = _listener(self.listen)
        factory = lambda: _Link(self)  # noqa: E731  (a factory is what the loop asks for)
        if isinstance(self.listen, UnixTarget):
            self._server = await loop.create_unix_server(factory, sock=listener, backlog=_BACKLOG)
        else:
            self._server = await loop.create_server(factory, sock=listener, backlog=_BACKLOG)
            self.address = TcpTarget(*listener.getsockname()[:2])
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        for link in list(self.links):
            link.abort()
        if isinstance(self.listen, UnixTarget):
            _unlink(self.listen.path)


def _unlink(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _listener(listen: Target) -> socket.socket:
    """A bound socket. Port 0 takes a free one."""
    listener = None
    try:
        if isinstance(listen, UnixTarget):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(listen.path)
        else:
            family, _, _, _, address = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM)[0]
            listener = socket.socket(family)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise SetupError(f"cannot listen on {listen}: {error.strerror or error}") from error
    listener.setblocking(False)
    return listener

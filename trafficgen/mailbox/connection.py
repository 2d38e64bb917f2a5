"""One connection to a server, whatever is spoken on it.

Takes     where to connect to, how it is protected; what the loop reports
Gives     octets to whoever speaks the protocol, with the time; his octets to the server
Fails     never because of a server: every way a connection can end is told to `lost`, once
Not here  what is said (delivery, programs), which addresses are allowed (guard)
"""

import asyncio
import ssl
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.guard import Route
from trafficgen.mailbox.plan import Protection
from trafficgen.plan import TcpTarget

if TYPE_CHECKING:
    from trafficgen.mailbox.rawlog import Rawlog

CLOSED: Final = "closed by the server"


class Tasks(Protocol):
    """Who owns what has to be awaited."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None: ...


class Server:
    """A server of one protocol as sessions see it: its addresses, taken in turns, and its TLS."""

    def __init__(self, route: Route, protection: Protection, context: ssl.SSLContext | None, timeout_ns: int) -> None:
        self.name = route.name
        self.protection = protection
        self.context = context
        self.timeout_s = timeout_ns / NS_PER_S
        self._addresses: Sequence[Any] = route.addresses
        self._turn = 0

    def next_addresses(self) -> list[TcpTarget]:
        """The address for the next connection, and those to try when it does not answer."""
        at = self._turn % len(self._addresses)
        self._turn += 1
        return [*self._addresses[at:], *self._addresses[:at]]


class Connection(asyncio.Protocol):
    """A protocol of the event loop. What inherits it implements `opened`, `took`, `secured`, `heard` and `lost`."""

    def __init__(self, server: Server, tasks: Tasks) -> None:
        self.server = server
        self.transport: asyncio.Transport | None = None
        self.over = False
        """Nothing is said or heard any more."""
        self.step: str | None = "connect"
        """What is under way to a connection on which something can be said: connect, tls; then None."""
        self.begun_ns = now_ns()
        self.rawlog: Rawlog | None = None
        self._tasks = tasks

    def open(self) -> None:
        """Begin to connect."""
        self._tasks.spawn(self._open())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        server, (address, *others) = self.server, self.server.next_addresses()
        try:
            async with asyncio.timeout(server.timeout_s):
                while True:
                    try:
                        await loop.create_connection(lambda: self, address.host, address.port)
                        break
                    except OSError:
                        if not others:
                            raise
                        address = others.pop(0)
                if server.protection is Protection.TLS:
                    await self._protect()
                    if not self.over:
                        self.opened(now_ns())
        except TimeoutError:
            self.end("timed out", str(address))
        except (OSError, ssl.SSLError) as error:
            self.end(_reason(error), f"{address}: {getattr(error, 'strerror', None) or error}")

    async def _protect(self) -> None:
        assert self.transport is not None
        begun_ns = now_ns()
        self.step = "tls"
        protected = await asyncio.get_running_loop().start_tls(
            self.transport, self, cast("ssl.SSLContext", self.server.context), server_hostname=self.server.name
        )
        self.transport = cast("asyncio.Transport", protected)
        self.step = None
        self.took("tls", now_ns() - begun_ns)

    def start_tls(self) -> None:
        """The server has agreed to TLS: begin it."""
        self._tasks.spawn(self._start_tls())

    async def _start_tls(self) -> None:
        try:
            async with asyncio.timeout(self.server.timeout_s):
                await self._protect()
            if not self.over:
                self.secured(now_ns())
                self.flush()
        except TimeoutError:
            self.end("timed out", "TLS")
        except (OSError, ssl.SSLError) as error:
            self.end(_reason(error), str(error))

    def flush(self) -> None:
        """Write what waits to be written."""

    def write(self, pieces: list[bytes]) -> None:
        """Hand octets to the transport."""
        if pieces and self.transport is not None and not self.over:
            if self.rawlog is not None:
                self.rawlog.add("client", pieces, now_ns())
            if sum(map(len, pieces)) <= 48 * 1024:  # as in engine.link
                self.transport.write(b"".join(pieces))
            else:
                self.transport.writelines(pieces)

    def end(self, reason: str, example: str = "") -> None:
        """End it from our side for this reason."""
        if not self.over:
            self.over = True
            if self.transport is not None:
                self.transport.abort()
            self.lost(reason, example)

    def finish(self) -> None:
        """All is said: close it, and say nothing of it any more."""
        self.over = True
        if self.transport is not None:
            self.transport.close()

    # -- what the loop reports --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self.over:
            self.transport.abort()
            return
        now = now_ns()
        self.took("connect", now - self.begun_ns)
        if self.server.protection is not Protection.TLS:
            self.step = None
            self.opened(now)  # here, as the greeting may be what is read next

    def data_received(self, data: bytes) -> None:
        if not self.over:
            now = now_ns()
            if self.rawlog is not None:
                self.rawlog.add("server", [data], now)
            self.heard(data, now)
            self.flush()

    def eof_received(self) -> bool:
        self.end(CLOSED)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.end("connection reset" if isinstance(exc, ConnectionError) else CLOSED, str(exc or ""))

    # -- what is to be implemented ----------------------------------------------------------------------

    def took(self, step: str, elapsed_ns: int) -> None:
        """A step of opening it is done: connect or tls."""
        raise NotImplementedError

    def opened(self, now_ns: int) -> None:
        """It is connected, and protected where that is to be so from the start; the server speaks first."""
        raise NotImplementedError

    def secured(self, now_ns: int) -> None:
        """TLS that was agreed on has begun."""
        raise NotImplementedError

    def heard(self, data: bytes, now_ns: int) -> None:
        """Octets of the server."""
        raise NotImplementedError

    def lost(self, reason: str, example: str) -> None:
        """It is over, and nobody had finished it."""
        raise NotImplementedError


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "TLS failed"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return "connection reset" if isinstance(error, ConnectionError) else "not connected"

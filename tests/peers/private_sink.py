"""A sink in a thread of the test, so that the test can look at what arrived and wait for it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from trafficgen.plan import Target, TcpTarget
from trafficgen.proof.received import Received
from trafficgen.protocol.smtp.server import GREETING, ServerSession
from trafficgen.sink.listen.server import Sink
from trafficgen.sink.store.ledger import Ledger

PATIENCE_S = 60.0

_T = TypeVar("_T")


class WatchedLedger(Ledger):
    """A ledger that wakes who waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()

    def enter(self, *given: Any, **named: Any) -> None:
        super().enter(*given, **named)
        with self.changed:
            self.changed.notify_all()


class PrivateSink:
    """A listening sink."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sink: Sink, ledger: WatchedLedger) -> None:
        self._loop = loop
        self._sink = sink
        self._ledger = ledger

    @property
    def target(self) -> Target:
        return self._sink.address

    @property
    def port(self) -> int:
        assert isinstance(self._sink.address, TcpTarget)
        return self._sink.address.port

    @property
    def received(self) -> int:
        return self._ledger.received

    @property
    def unmarked(self) -> int:
        return self._ask(lambda: self._ledger.unmarked)

    def arrivals(self, run_id: str) -> Received:
        """What has arrived of this run."""
        return self._ask(lambda: self._ledger.arrivals(run_id))

    def wait_for(self, messages: int) -> None:
        """Until this many messages have come."""
        with self._ledger.changed:
            came = self._ledger.changed.wait_for(lambda: self._ledger.received >= messages, PATIENCE_S)
        assert came, f"expected {messages} messages, got {self._ledger.received} in {PATIENCE_S:g} s"

    def _ask(self, question: Callable[[], _T]) -> _T:
        async def ask() -> _T:
            return question()

        return asyncio.run_coroutine_threadsafe(ask(), self._loop).result(PATIENCE_S)


@contextmanager
def in_a_thread(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Run this event loop in a thread of its own."""
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_S)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@contextmanager
def private_sink(listen: Target | None = None, **options: Any) -> Iterator[PrivateSink]:
    """Our sink, on a free loopback port or where `listen` says, with these options of `Sink`."""
    loop = asyncio.new_event_loop()
    with in_a_thread(loop):
        sink, ledger = Sink(listen or TcpTarget("127.0.0.1", 0), **options), WatchedLedger()
        sink.ledger = ledger
        asyncio.run_coroutine_threadsafe(sink.__aenter__(), loop).result(PATIENCE_S)
        try:
            yield PrivateSink(loop, sink, ledger)
        finally:
            asyncio.run_coroutine_threadsafe(_leave(sink), loop).result(PATIENCE_S)


async def _leave(sink: Sink) -> None:
    await sink.__aexit__(None, None, None)
    for _ in range(10):  # so that the transports hear of it
        await asyncio.sleep(0)


# -- every octet ----------------------------------------------------------------------------------------


class _Collector:
    """Keeps the messages of one session whole."""

    def __init__(self, messages: list[bytes]) -> None:
        self._messages = messages
        self._pieces: list[bytes] = []

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        self._messages.append(data[:end].replace(b"\r\n.", b"\r\n"))  # such a one never begins with a dot

    def piece(self, octets: bytes) -> None:
        self._pieces.append(octets)

    def ended(self, recipients: int) -> None:
        self._messages.append(b"".join(self._pieces))
        self._pieces.clear()

    def dropped(self) -> None:
        self._pieces.clear()


class _CollectorLink(asyncio.Protocol):
    def __init__(self, messages: list[bytes], links: "set[asyncio.Transport]") -> None:
        self._session = ServerSession(_Collector(messages))
        self._links = links

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._links.add(transport)
        transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._session.feed(data))
        if self._session.closed:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._links.discard(self._transport)


@contextmanager
def collecting_sink() -> Iterator[tuple[int, list[bytes]]]:
    """A sink that keeps every message: its port, and the messages so far."""
    loop = asyncio.new_event_loop()
    messages: list[bytes] = []
    links: set[asyncio.Transport] = set()
    with in_a_thread(loop):
        serving = loop.create_server(lambda: _CollectorLink(messages, links), "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(serving, loop).result(PATIENCE_S)
        try:
            yield server.sockets[0].getsockname()[1], messages
        finally:
            asyncio.run_coroutine_threadsafe(_close(server, links), loop).result(PATIENCE_S)


async def _close(server: asyncio.Server, links: "set[asyncio.Transport]") -> None:
    server.close()
    for link in list(links):
        link.abort()
    for _ in range(10):
        await asyncio.sleep(0)

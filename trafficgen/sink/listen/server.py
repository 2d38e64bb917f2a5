"""The sink's sockets: one listener, any number of sessions.

Takes     an address to listen on; a `Ledger`, or none to count only; how to behave
Gives     a running server with its bound address
Never     relays: nothing that came in goes out; the one who opens connections is the postman, with reports of our own
Limits    a client that is quiet for `idle_s`, or that finishes no message in `stuck_s`, is hung up on
Not here  one connection (link), the conversation (smtp.server), what arrived (ledger), behaviour (policy)
"""

import asyncio
import socket
import ssl
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from trafficgen.errors import SetupError
from trafficgen.plan import Target, TcpTarget, UnixTarget
from trafficgen.protocol.smtp.capabilities import Capabilities
from trafficgen.protocol.smtp.server import ServerSession
from trafficgen.sink.bounces.bounces import Bounces, BouncingStore
from trafficgen.sink.listen.link import TLS_TIMEOUT_S, SinkLink
from trafficgen.sink.policy.judge import Policy
from trafficgen.sink.store.capture import Capture, CapturingStore
from trafficgen.sink.store.interface import Store
from trafficgen.sink.store.ledger import Ledger, Receipt, SessionReceiver
from trafficgen.sink.store.tee import Tee

_BACKLOG: Final = 4096
_FEW_SESSIONS: Final = 16
_ACCEPTED_AT_ONCE: Final = 1024
"""uvloop accepts one connection a turn, and a turn lasts as long as it takes to read once from every session that has
sent something: with 400 sessions of large bodies the last one was greeted after seconds. More are accepted in the same
turn, once there are sessions enough to make it long."""

_SWEEP_S: Final = 5.0
IDLE_S: Final = 300.0
"""RFC 5321 section 4.5.3.2.7: a server waits for a command for five minutes at least."""

STUCK_S: Final = 3600.0


@dataclass(slots=True)
class Totals:
    """Messages that were taken."""

    received: int = 0
    octets: int = 0


class Counter:
    """A receiver that only counts: a session of the sink without its ledger."""

    __slots__ = ("_octets", "_totals")

    def __init__(self, totals: Totals | None = None) -> None:
        self._totals = totals or Totals()
        self._octets = 0  # of the message under way

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        totals = self._totals
        totals.received += 1
        totals.octets += end

    def piece(self, octets: bytes) -> None:
        self._octets += len(octets)

    def ended(self, recipients: int) -> None:
        self._totals.received += 1
        self._totals.octets += self._octets
        self._octets = 0

    def dropped(self) -> None:
        self._octets = 0

    @property
    def receipt(self) -> Receipt:
        return Receipt(b"", 0)

    def unanswered(self, receipt: Receipt) -> None:
        pass


class Sink:
    """A listening sink. Use as an async context manager; `address` is where it listens."""

    def __init__(
        self,
        listen: Target,
        *,
        ledger: Ledger | bool = True,
        offer: Capabilities = Capabilities(),  # noqa: B008  (frozen)
        policy: Policy | None = None,
        tls: ssl.SSLContext | None = None,
        tls_at_once: bool = False,
        idle_s: float = IDLE_S,
        stuck_s: float = STUCK_S,
        share_port: bool = False,
        capture: Capture | None = None,
        returns: Bounces | None = None,
    ) -> None:
        """`tls` serves STARTTLS, or with `tls_at_once` every connection. `share_port`: with other processes."""
        self.listen = listen
        self.ledger = ledger if isinstance(ledger, Ledger) else Ledger() if ledger else None
        self.totals = Totals()
        self.offer = offer
        self.policy = policy
        self.tls = tls
        self.capture = capture
        self.returns = returns
        self.opened = 0
        """Connections so far."""
        self.smuggled = 0
        """Dots alone between wrong line ends: somebody tried to smuggle a message in. Of sessions that are over."""
        self.links: set[SinkLink] = set()
        self.address: Target = listen
        self._tls_at_once = tls_at_once
        self._share_port = share_port
        self._sweeps = (max(int(idle_s / _SWEEP_S), 1), max(int(stuck_s / _SWEEP_S), 1))
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._server: asyncio.Server | None = None
        self._listener: socket.socket | None = None

    @property
    def received(self) -> int:
        """Messages taken so far."""
        return (self.ledger or self.totals).received

    @property
    def octets(self) -> int:
        """Octets of all messages taken so far."""
        return (self.ledger or self.totals).octets

    @property
    def smuggling(self) -> int:
        """All that looked like the end of data and was none."""
        return self.smuggled + sum(link.smuggled for link in self.links)

    def store(self) -> Store:
        """For the messages of a new session."""
        store: Store = SessionReceiver(self.ledger) if self.ledger else Counter(self.totals)
        if self.capture is not None:
            store = CapturingStore(store, self.capture)
        return BouncingStore(store, self.returns) if self.returns is not None else store

    def watch(self, store: Store, session: ServerSession) -> None:
        """A session has begun that puts its messages there."""
        while isinstance(store, Tee):
            store.session = session
            store = store.store
        if isinstance(store, SessionReceiver):
            store.envelope = session

    def forget(self, store: Store) -> None:
        """That session is over. Without this the two would hold each other until the garbage collector comes."""
        while isinstance(store, Tee):
            store.session = None
            store = store.store
        if isinstance(store, SessionReceiver):
            store.leave()

    def own(self, work: Coroutine[None, None, None]) -> None:
        """Let something run that this sink ends with itself."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        listener = self._listener = _listener(self.listen, share_port=self._share_port)
        if isinstance(self.listen, UnixTarget):
            self._server = await loop.create_unix_server(
                self._accepted, sock=listener, backlog=_BACKLOG, **self._tls_options()
            )
        else:
            self._server = await loop.create_server(
                self._accepted, sock=listener, backlog=_BACKLOG, **self._tls_options()
            )
            self.address = TcpTarget(*listener.getsockname()[:2])
        self._sweeper = loop.call_later(_SWEEP_S, self._sweep)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for task in list(self._tasks):
            task.cancel()
        for link in list(self.links):
            link.abort()
        if isinstance(self.listen, UnixTarget):
            _unlink(self.listen.path)

    def _tls_options(self) -> dict[str, Any]:
        return {"ssl": self.tls, "ssl_handshake_timeout": TLS_TIMEOUT_S} if self._tls_at_once else {}

    def _accepted(self) -> SinkLink:
        """The loop has accepted a connection."""
        if len(self.links) >= _FEW_SESSIONS:
            self._accept_more()
        return SinkLink(self)

    def _accept_more(self) -> None:
        assert self._listener is not None
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except OSError:  # nobody else waits; what else it may be, the loop's own next try will find and say
                return
            connection.setblocking(False)
            self.own(self._take(connection))

    async def _take(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):  # TLS from the first octet that comes to nothing
            await loop.connect_accepted_socket(lambda: SinkLink(self), connection, **self._tls_options())

    def _sweep(self) -> None:
        for link in list(self.links):
            link.sweep(*self._sweeps)
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)


def _unlink(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _listener(listen: Target, *, share_port: bool) -> socket.socket:
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
            if share_port:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise SetupError(f"cannot listen on {listen}: {error.strerror or error}") from error
    listener.setblocking(False)
    return listener

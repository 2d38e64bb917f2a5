"""The sink's sockets: one listener, any number of sessions.

Takes     an address to listen on; a `Ledger`, or none to count only; a policy
Gives     a running server with its bound address
Never     relays: no received octet is sent on; the only connections are those of the bounce sender
Limits    answers 421 to connections beyond `max_sessions`; closes the connection of a client that is silent for
          `idle_s` or finishes no message in `stuck_s`
Not here  one connection (link), the conversation (protocol/smtp), what was received (store), decisions (policy)
"""

import asyncio
import errno
import socket
import ssl
import sys
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from trafficgen.host.listening import CANNOT_LISTEN, address_of, cannot_listen
from trafficgen.plan import Target, TcpTarget, UnixTarget
from trafficgen.protocol.smtp.capabilities import Capabilities
from trafficgen.protocol.smtp.server import ServerSession
from trafficgen.sink.bounces.bounces import Bounces, BouncingStore
from trafficgen.sink.listen.link import TLS_TIMEOUT_S, SinkLink, TurnedAway
from trafficgen.sink.policy.policy import Policy
from trafficgen.sink.store.capture import Capture, CapturingStore
from trafficgen.sink.store.counting import CountingStore, Totals
from trafficgen.sink.store.interface import Store
from trafficgen.sink.store.ledger import Ledger, SessionReceiver
from trafficgen.sink.store.tee import Tee

BACKLOG: Final = 4096
_FEW_SESSIONS: Final = 16
_ACCEPTED_AT_ONCE: Final = 1024
"""uvloop accepts one connection a turn, and a turn lasts as long as it takes to read once from every session that has
sent something: with 400 sessions of large bodies the last one was greeted after seconds. More are accepted in the same
turn, once there are sessions enough to make it long."""

_SWEEP_S: Final = 5.0
IDLE_S: Final = 300.0
"""RFC 5321 section 4.5.3.2.7: a server waits for a command for five minutes at least."""

STUCK_S: Final = 3600.0

_FAREWELL_S: Final = 1.0
_LOOK_S: Final = 0.01


class Sink:
    """A listening sink. Use as an async context manager; `address` is where it listens."""

    def __init__(
        self,
        listen: Target,
        *,
        ledger: Ledger | bool = True,
        capabilities: Capabilities = Capabilities(),  # noqa: B008  (frozen)
        policy: Policy | None = None,
        tls: ssl.SSLContext | None = None,
        tls_at_once: bool = False,
        idle_s: float = IDLE_S,
        stuck_s: float = STUCK_S,
        share_port: bool = False,
        capture: Capture | None = None,
        bounces: Bounces | None = None,
        proxied: bool = False,
        max_sessions: int = sys.maxsize,
    ) -> None:
        """`proxied`: every connection begins with a PROXY header. `max_sessions`: beyond, clients are answered 421.

        `tls` serves STARTTLS, or with `tls_at_once` every connection. `share_port`: with other processes."""
        self.listen = listen
        self.ledger = ledger if isinstance(ledger, Ledger) else Ledger() if ledger else None
        self.totals = Totals()
        self.capabilities = capabilities
        self.policy = policy
        self.tls = tls
        self.proxied = proxied
        self.capture = capture
        self.bounces = bounces
        self.opened = 0
        """Connections so far."""
        self.turned_away = 0
        """Those beyond `max_sessions`."""
        self.smuggled = 0
        """Non-standard ends of data inside messages (possible SMTP smuggling), of sessions that have ended."""
        self.links: set[SinkLink] = set()
        self.address: Target = listen
        self._tls_at_once = tls_at_once
        self._share_port = share_port
        self._max_sessions = max_sessions
        self._opening = 0  # accepted in bulk, and no session yet
        self._sweeps = (max(int(idle_s / _SWEEP_S), 1), max(int(stuck_s / _SWEEP_S), 1))
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._server: asyncio.Server | None = None
        self._listener: socket.socket | None = None

    @property
    def received(self) -> int:
        """Messages accepted so far."""
        return (self.ledger or self.totals).received

    @property
    def octets(self) -> int:
        """Octets of all messages accepted so far."""
        return (self.ledger or self.totals).octets

    @property
    def smuggling(self) -> int:
        """The same, of all sessions."""
        return self.smuggled + sum(link.smuggled for link in self.links)

    def store(self) -> Store:
        """A store for the messages of a new session."""
        store: Store = SessionReceiver(self.ledger) if self.ledger else CountingStore(self.totals)
        if self.capture is not None:
            store = CapturingStore(store, self.capture)
        return BouncingStore(store, self.bounces) if self.bounces is not None else store

    def attach(self, store: Store, session: ServerSession) -> None:
        """A session that uses this store has begun."""
        while isinstance(store, Tee):
            store.session = session
            store = store.store
        if isinstance(store, SessionReceiver):
            store.envelope = session

    def detach(self, store: Store) -> None:
        """That session has ended. Breaks the reference cycle, so that the memory is freed at once."""
        while isinstance(store, Tee):
            store.session = None
            store = store.store
        if isinstance(store, SessionReceiver):
            store.leave()

    def start_task(self, work: Coroutine[None, None, None]) -> None:
        """Run a task that ends with this sink."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        listener = self._listener = _listener(self.listen, share_port=self._share_port)
        if isinstance(self.listen, UnixTarget):
            self._server = await loop.create_unix_server(
                self._accepted, sock=listener, backlog=BACKLOG, **self._tls_options()
            )
        else:
            self._server = await loop.create_server(
                self._accepted, sock=listener, backlog=BACKLOG, **self._tls_options()
            )
            self.address = TcpTarget(*listener.getsockname()[:2])
        self._sweeper = loop.call_later(_SWEEP_S, self._sweep)
        return self

    def _stop_listening(self) -> None:
        assert self._server is not None
        assert self._sweeper is not None
        self._server.close()
        self._sweeper.cancel()

    async def __aexit__(self, *exc_info: object) -> None:
        self._stop_listening()
        for task in list(self._tasks):
            task.cancel()
        for link in list(self.links):
            link.abort()
        if isinstance(self.listen, UnixTarget):
            _unlink(self.listen.path)

    async def dismiss(self) -> None:
        """Accept nothing more: sessions are answered 421, and their clients have a second to hang up."""
        self._stop_listening()
        for link in list(self.links):
            link.dismiss()
        loop = asyncio.get_running_loop()
        until = loop.time() + _FAREWELL_S
        while self.links and loop.time() < until:  # noqa: ASYNC110  (sessions tell nobody that they end)
            await asyncio.sleep(_LOOK_S)

    def _tls_options(self) -> dict[str, Any]:
        return {"ssl": self.tls, "ssl_handshake_timeout": TLS_TIMEOUT_S} if self._tls_at_once else {}

    def _accepted(self) -> asyncio.Protocol:
        """The loop has accepted a connection."""
        room = self._max_sessions - len(self.links) - self._opening
        if room < 1:
            self.turned_away += 1
            return TurnedAway()
        if len(self.links) >= _FEW_SESSIONS:
            self._accept_more(min(room - 1, _ACCEPTED_AT_ONCE))
        return SinkLink(self)

    def _accept_more(self, connections: int) -> None:
        assert self._listener is not None
        for _ in range(connections):
            try:
                connection, _ = self._listener.accept()
            except OSError:  # no other connection waits; the loop's own next accept reports any other error
                return
            connection.setblocking(False)
            self._opening += 1
            self.start_task(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            with suppress(OSError):  # a TLS handshake that failed
                await loop.connect_accepted_socket(lambda: SinkLink(self), connection, **self._tls_options())
        finally:
            self._opening -= 1

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
            family, address = address_of(listen)
            listener = socket.socket(family)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if share_port:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
    except CANNOT_LISTEN as error:
        if listener is not None:
            listener.close()
        why = ""
        if isinstance(listen, UnixTarget) and isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            # Also left by a sink that was killed.
            why = "the file is there; remove it where no server listens on it, or name another"
        raise cannot_listen(listen, error, why=why) from error
    listener.setblocking(False)
    return listener

"""Open a session: connect, and where TLS or a password is asked for, greet as well.

Takes     the route, the session plan, a link that is to take over the transport
Gives     the time each phase took; a link whose session can go on
Fails     with `Refused`: the phase, what happened in a word or two, and the server's or the system's own words
Choice    aiosmtplib opens 4,700 plain sessions a second here, the session machine alone 9,700 (benchmarks/peers.py), so
          it is used where its care is needed (greeting). Which sessions are protected when only a share of them is:
          evenly spread, so that after any number of them it is the share to within one session
"""

import asyncio
import os
import socket
from typing import Final

from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.engine.address import Route
from trafficgen.engine.greeting import Greeter, OpeningAccount, Refused, shake_hands
from trafficgen.engine.identity import Identity
from trafficgen.engine.limits import bind_source
from trafficgen.engine.link import Link, Session
from trafficgen.engine.password import Draw
from trafficgen.engine.socket_link import SocketLink
from trafficgen.engine.tls import client_context
from trafficgen.outcomes import Phase
from trafficgen.plan import Security, SessionPlan, Target, TcpTarget, UnixTarget
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.interfaces import Extensions

_QUEUE_FULL_S: Final = 0.01
_ROUNDING: Final = 1e-9
"""A tenth of ten sessions is one of them, however it is written in binary."""


class Opener:
    """Opens the sessions of one worker. Tries the addresses in turn and stays with the one that worked."""

    def __init__(self, route: Route, plan: SessionPlan, account: OpeningAccount, logins: Draw) -> None:
        self._route = route
        self._plan = plan
        self._account = account
        self._preferred = 0
        self._logins = logins
        self._context = client_context(plan) if plan.security is not Security.PLAIN else None
        self._begun = 0
        tcp = [one for one in route.addresses if isinstance(one, TcpTarget)]
        unnamed = not (plan.ehlo_name or plan.client.ehlo_names)
        self._literals = [_own_literal(one) for one in route.addresses] if unnamed else []
        self._sockets = [_numeric(one) for one in tcp] if len(tcp) == len(route.addresses) else []

    @property
    def literal(self) -> bytes:
        """Our address literal for EHLO as long as the first address of the route answers; b"" where the plan names."""
        return self._literals[0] if self._literals else b""

    def _introduce(self, session: Session, at: int, source: str = "") -> None:
        """Have EHLO say where this connection comes from, unless the plan says what EHLO says."""
        if self._literals and isinstance(session, ClientSession):
            literal = address_literal(source) if source else self._literals[at]
            if session.options.ehlo_name != literal:
                session.options = session.options._replace(ehlo_name=literal)

    def next_security(self) -> Security:
        """How the session that is opened next is protected."""
        if self._plan.security is Security.PLAIN:
            return Security.PLAIN
        self._begun += 1
        share = self._plan.tls.share
        due = int(self._begun * share + _ROUNDING) > int((self._begun - 1) * share + _ROUNDING)
        return self._plan.security if due else Security.PLAIN

    def greets(self, security: Security) -> bool:
        """Whether more is done here than connecting: a handshake, or all up to the first envelope."""
        return security is not Security.PLAIN or self._plan.auth is not None

    # -- plain sessions on sockets of their own -----------------------------------------------------------

    def connects_at_once(self, security: Security, identity: Identity | None) -> bool:
        """Whether `connect` will do: over TCP, as nobody in particular, greeted by the session machine."""
        return identity is None and bool(self._sockets) and not self.greets(security)

    def connect(self, link: SocketLink, now_ns: int) -> None:
        """Begin to connect `link`, which says what came of it."""
        link.tries = len(self._sockets)
        self._connect_at(self._preferred, link, now_ns)

    def _connect_at(self, at: int, link: SocketLink, now_ns: int) -> None:
        link.began_ns = now_ns
        link.address = at
        link.tries -= 1
        self._introduce(link.session, at)
        link.connect(*self._sockets[at])

    def connect_elsewhere(self, link: SocketLink) -> bool:
        """Begin with the next address, unless all have been tried."""
        self.avoid(link.address)
        if link.tries:
            self._connect_at((link.address + 1) % len(self._sockets), link, now_ns())
            return True
        return False

    def connected(self, link: SocketLink) -> None:
        """Note how long it took."""
        self._account.phase(Phase.CONNECT, now_ns() - link.began_ns)

    def refusal(self, link: SocketLink, problem: int) -> Refused:
        """What to say of the address that was tried last."""
        error = OSError(problem, os.strerror(problem))
        return Refused(Phase.CONNECT, _reason(error), f"{self._route.addresses[link.address]}: {error.strerror}")

    # -- all others -----------------------------------------------------------------------------------------

    async def open(self, link: Link, security: Security, identity: Identity | None = None) -> Extensions | None:
        """Connect `link`, as `identity` if there is one. Returns what EHLO offered; None when its session has yet to
        greet."""
        addresses = self._route.addresses
        first = self._preferred
        for step in range(len(addresses)):
            at = (first + step) % len(addresses)
            if link.transcript is not None:
                link.transcript.note(f"Trying {addresses[at]}...", now_ns())
            try:
                return await self._open_at(at, link, security, identity)
            except Refused as refused:
                if refused.phase is not Phase.CONNECT:
                    raise
                last = refused
                self.avoid(at)
                if link.transcript is not None and step < len(addresses) - 1:
                    link.transcript.fail(f"{refused.reason}: {refused.example}", now_ns())
            except asyncio.CancelledError:  # it took too long
                self.avoid(at)
                raise
        raise last

    def avoid(self, at: int) -> None:
        """This address does not answer: begin with the next one, unless another session has found that out before."""
        if self._preferred == at:
            self._preferred = (at + 1) % len(self._route.addresses)

    async def _open_at(self, at: int, link: Link, security: Security, identity: Identity | None) -> Extensions | None:
        address, host = self._route.addresses[at], self._route.host_at(at)
        began_ns = now_ns()
        limit_s = self._plan.connect_timeout_ns / NS_PER_S
        self._introduce(link.session, at, identity.source if identity is not None else "")
        loop = asyncio.get_running_loop()
        try:
            if self.greets(security) or identity is not None:
                async with asyncio.timeout(limit_s):
                    peer = await _connected_socket(loop, address, identity)
                if link.transcript is not None:
                    link.transcript.connect(str(address), now_ns())
                    if identity is not None and identity.header:
                        link.transcript.proxied(identity.header, now_ns())
                if not self.greets(security):
                    await loop.create_connection(lambda: link, sock=peer)
            elif isinstance(address, UnixTarget):
                await loop.create_unix_connection(lambda: link, sock=await _connected_unix_socket(address))
            else:
                await loop.create_connection(lambda: link, address.host, address.port)
        except TimeoutError:
            raise Refused(Phase.CONNECT, "timed out", f"no connection within {limit_s:g} s") from None
        except OSError as error:
            raise Refused(Phase.CONNECT, _reason(error), f"{address}: {error.strerror or error}") from error
        self._account.phase(Phase.CONNECT, now_ns() - began_ns)
        if not self.greets(security):
            return None
        if not isinstance(link.session, ClientSession):
            assert self._context is not None
            await shake_hands(link, peer, self._plan, self._context, host, self._account)
            return None
        greeter = Greeter(
            self._plan,
            security,
            self._context,
            host,
            self._account,
            link.session.options,
            link.transcript,
        )
        transport, extensions = await greeter.greet(peer, self._logins.next())
        transport.set_protocol(link)
        link.connection_made(transport)
        return extensions


async def _connected_socket(
    loop: asyncio.AbstractEventLoop, address: Target, identity: Identity | None
) -> socket.socket:
    """Connect from the identity's own address, and send the header that its connection begins with."""
    if isinstance(address, UnixTarget):
        peer = await _connected_unix_socket(address)
    else:
        family, where = _numeric(address)
        peer = socket.socket(family)
    try:
        if not isinstance(address, UnixTarget):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.setblocking(False)
            if identity is not None and identity.source:
                bind_source(peer, identity.source)
            await loop.sock_connect(peer, where)
        if identity is not None and identity.header:
            await loop.sock_sendall(peer, identity.header)
    except BaseException:
        peer.close()
        raise
    return peer


def _numeric(address: TcpTarget) -> tuple[int, tuple[object, ...]]:
    """Its family, and what connect(2) takes."""
    family, _, _, _, where = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    )[0]
    return family, where


def address_literal(host: str) -> bytes:
    """An address as EHLO says it (RFC 5321 section 4.1.3): [192.0.2.7], [IPv6:2001:db8::7]."""
    bare = host.partition("%")[0]
    return (f"[IPv6:{bare}]" if ":" in bare else f"[{bare}]").encode("ascii")


def _own_literal(address: Target) -> bytes:
    """That of the address from which this machine reaches another one; connecting a datagram socket sends nothing."""
    if isinstance(address, UnixTarget):
        return b"[127.0.0.1]"
    family, where = _numeric(address)
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(where)
        except OSError:  # there is no way to it, as every session will find
            return b"[127.0.0.1]" if family == socket.AF_INET else b"[IPv6:::1]"
        return address_literal(probe.getsockname()[0])


async def _connected_unix_socket(address: UnixTarget) -> socket.socket:
    """Connect, and while the listen queue is full wait for room in it, as TCP does by itself.

    Linux says EAGAIN then (unix(7)), and no event says when there is room. uvloop takes it for a failure, and its
    `sock_connect` for a connection that has begun.
    """
    peer = socket.socket(socket.AF_UNIX)
    try:
        peer.setblocking(False)
        while True:
            try:
                peer.connect(address.path)
            except BlockingIOError:
                await asyncio.sleep(_QUEUE_FULL_S)
            else:
                return peer
    except BaseException:
        peer.close()
        raise


def _reason(error: OSError) -> str:
    match error:
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionError():
            return "connection reset"
        case TimeoutError():
            return "timed out"
        case _:
            return "no connection"

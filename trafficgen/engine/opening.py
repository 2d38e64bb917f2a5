"""Open a session: connect, and where TLS or a password is asked for, let aiosmtplib do the rest up to the envelope.

Takes     the route, the session plan, a link that is to take over the transport
Gives     the time each phase took; a link whose session can go on
Fails     with `Refused`: the phase, what happened in a word or two, and the server's or the system's own words
Choice    aiosmtplib opens 4,700 plain sessions a second here, the session machine alone 9,700 (benchmarks/peers.py), so
          it is used where its care is needed: TLS, STARTTLS, AUTH. A certificate that does not verify is a failure.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

import aiosmtplib

from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.engine.address import Route
from trafficgen.engine.identity import Identity
from trafficgen.engine.limits import bind_source
from trafficgen.engine.link import Link
from trafficgen.outcomes import Phase
from trafficgen.plan import Security, SessionPlan, Target, UnixTarget
from trafficgen.protocol.smtp.interfaces import Extensions
from trafficgen.protocol.smtp.steps import STEPS

_QUEUE_FULL_S: Final = 0.01


class Refused(Exception):  # noqa: N818  (not an error of ours: a server's answer on its way to the account)
    """No session came about."""

    def __init__(self, phase: Phase, reason: str, example: str) -> None:
        super().__init__(f"{reason} at {phase.value}")
        self.phase = phase
        self.reason = reason
        self.example = example


class Opener:
    """Opens the sessions of one worker. Tries the addresses in turn and stays with the one that worked."""

    def __init__(
        self, route: Route, plan: SessionPlan, report: Callable[[Phase, int], None], password: str = ""
    ) -> None:
        self._route = route
        self._plan = plan
        self._report = report
        self._preferred = 0
        self._password = password
        self._tls = _tls_context(plan) if plan.security is not Security.PLAIN else None

    @property
    def plain(self) -> bool:
        """Whether the session machine greets by itself."""
        return self._plan.security is Security.PLAIN and self._plan.auth is None

    async def open(self, link: Link, identity: Identity | None = None) -> Extensions | None:
        """Connect `link`, as `identity` if there is one. Returns what EHLO offered; None when its session has yet to
        greet."""
        addresses = self._route.addresses
        for _ in addresses:
            try:
                return await self._open_at(addresses[self._preferred], link, identity)
            except Refused as refused:
                if refused.phase is not Phase.CONNECT:
                    raise
                last = refused
                self.prefer_another()
        raise last

    def prefer_another(self) -> None:
        """The address at work does not answer: begin with the next one."""
        self._preferred = (self._preferred + 1) % len(self._route.addresses)

    async def _open_at(self, address: Target, link: Link, identity: Identity | None) -> Extensions | None:
        began_ns = now_ns()
        limit_s = self._plan.connect_timeout_ns / NS_PER_S
        loop = asyncio.get_running_loop()
        try:
            if not self.plain or identity is not None:
                async with asyncio.timeout(limit_s):
                    peer = await _connected_socket(loop, address, identity)
                if self.plain:
                    await loop.create_connection(lambda: link, sock=peer)
            elif isinstance(address, UnixTarget):
                await loop.create_unix_connection(lambda: link, sock=await _connected_unix_socket(address))
            else:
                await loop.create_connection(lambda: link, address.host, address.port)
        except TimeoutError:
            raise Refused(Phase.CONNECT, "timed out", f"no connection within {limit_s:g} s") from None
        except OSError as error:
            raise Refused(Phase.CONNECT, _reason(error), f"{address}: {error.strerror or error}") from error
        self._report(Phase.CONNECT, now_ns() - began_ns)
        return None if self.plain else await self._greet(peer, link)

    async def _greet(self, peer: socket.socket, link: Link) -> Extensions:
        """From a connected socket to the first envelope, with aiosmtplib; then `link` takes over the transport."""
        implicit = self._plan.security is Security.TLS
        client = aiosmtplib.SMTP(
            hostname=self._route.name,
            sock=peer,
            use_tls=implicit,
            start_tls=False,
            tls_context=self._tls,
            local_hostname=link.session.options.ehlo_name.decode("ascii"),
            timeout=self._plan.reply_timeout_ns / NS_PER_S or STEPS[Phase.EHLO].limit_s,
        )
        phase = Phase.TLS if implicit else Phase.GREETING
        try:
            await self._timed(phase, client.connect())
            phase = Phase.EHLO
            await self._timed(phase, client.ehlo())
            if self._plan.security is Security.STARTTLS:
                phase = Phase.TLS
                await self._timed(phase, client.starttls())
                phase = Phase.EHLO
                await client.ehlo()
            if self._plan.auth:
                phase = Phase.AUTH
                await self._timed(phase, client.login(self._plan.auth.user, self._password))
        except asyncio.CancelledError:
            client.close()
            raise
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            client.close()
            raise _refused(phase, error) from error
        extensions = Extensions(
            pipelining=client.supports_extension("pipelining"),
            eight_bit=client.supports_extension("8bitmime"),
            chunking=client.supports_extension("chunking"),
        )
        transport = client.transport
        assert transport is not None
        transport.set_protocol(link)
        link.connection_made(transport)
        return extensions

    async def _timed(self, phase: Phase, step: Awaitable[object]) -> None:
        began_ns = now_ns()
        await step
        self._report(phase, now_ns() - began_ns)


async def _connected_socket(
    loop: asyncio.AbstractEventLoop, address: Target, identity: Identity | None
) -> socket.socket:
    """Connect from the identity's own address, and send the header that its connection begins with."""
    if isinstance(address, UnixTarget):
        peer = await _connected_unix_socket(address)
    else:
        family, _, _, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )[0]
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


def _tls_context(plan: SessionPlan) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not plan.verify_certificate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


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


def _refused(phase: Phase, error: Exception) -> Refused:
    """What aiosmtplib or the system said, in our words; a reply keeps its code and text."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(error, aiosmtplib.SMTPResponseException):
        words = f"{error.code} {error.message}"
        return Refused(phase, "refused by the server", " / ".join(words.splitlines()))
    if isinstance(cause, ssl.SSLError):
        return Refused(Phase.TLS, "TLS handshake failed", str(getattr(cause, "verify_message", "") or cause.reason))
    if isinstance(error, (aiosmtplib.SMTPTimeoutError, TimeoutError)):
        return Refused(phase, "timed out", str(error))
    if phase is Phase.TLS and "not supported" in str(error):
        return Refused(phase, "STARTTLS not offered", "the server does not offer STARTTLS; leave --starttls away?")
    if isinstance(error, aiosmtplib.SMTPServerDisconnected) or isinstance(cause, ConnectionError):
        return Refused(phase, "closed by the server", str(error))
    return Refused(phase, "refused", str(error))

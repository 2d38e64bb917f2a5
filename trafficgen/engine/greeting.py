"""Greet a server where TLS or a password is asked for: aiosmtplib speaks, up to the envelope.

    TLS at once            handshake < GREETING > EHLO <            then, with a user, > AUTH … <
    STARTTLS (RFC 3207)    < GREETING > EHLO < > STARTTLS < 220 handshake > EHLO <        of LMTP with LHLO
    HTTP over TLS          handshake; the session speaks first (`shake_hands`)

Takes     a connected socket
Gives     a transport and what the server offers; the time of each step; version and cipher of each handshake
Fails     with `Refused`: the phase, what happened in a word or two, and the server's or the system's own words
Not here  connecting, and plain sessions (opening)
"""

import asyncio
import base64
import re
import socket
import ssl
from collections.abc import Awaitable
from typing import Final, Protocol, TypeVar, cast

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol

from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.engine.password import Login
from trafficgen.engine.tls import ClientContext, why_failed
from trafficgen.engine.tracing import note_transport
from trafficgen.outcomes import Phase
from trafficgen.plan import Security, SessionPlan
from trafficgen.protocol.smtp.client_auth import EXCHANGES, AuthBroken, choose
from trafficgen.protocol.smtp.interfaces import Extensions, SessionOptions
from trafficgen.protocol.smtp.steps import STEPS
from trafficgen.protocol.transcript import Transcript

_ONE_REPLY: Final = re.compile(rb"(?:\d{3}-[^\n]*\n)*\d{3}(?:[ \r][^\n]*)?\n")

_T = TypeVar("_T")


class Refused(Exception):  # noqa: N818  (not an error of ours: a server's answer on its way to the account)
    """No session came about."""

    def __init__(self, phase: Phase, reason: str, example: str) -> None:
        super().__init__(f"{reason} at {phase.value}")
        self.phase = phase
        self.reason = reason
        self.example = example


class OpeningAccount(Protocol):
    """What is told of sessions that open."""

    def phase(self, phase: Phase, elapsed_ns: int) -> None: ...
    def protected(self, version: str, cipher: str, *, resumed: bool) -> None: ...


class _Listening(SMTPProtocol):
    """Keeps the octets received since `heard` was emptied."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transcript: Transcript | None = None) -> None:
        super().__init__(loop=loop)
        self.heard = b""
        self._transcript = transcript

    def data_received(self, data: bytes) -> None:
        self.heard += data
        if self._transcript is not None:
            note_transport(self._transcript, _transport(self))
            self._transcript.heard(data, now_ns())
        super().data_received(data)

    def write(self, data: bytes) -> None:
        if self._transcript is not None:
            note_transport(self._transcript, _transport(self))
            self._transcript.sent((data,), now_ns())
        super().write(data)


class Greeter:
    """One session's greeting. `security` is this session's own; `server_name` that of the certificate and of SNI."""

    def __init__(
        self, plan: SessionPlan, security: Security, context: ClientContext | None, name: str, account: OpeningAccount,
        options: SessionOptions, transcript: Transcript | None = None,
    ) -> None:  # fmt: skip
        self._plan = plan
        self._security = security
        self._context = context
        self._name = plan.tls.server_name or name
        self._limit_s = plan.reply_timeout_ns / NS_PER_S or STEPS[Phase.GREETING].limit_s
        self._account = account
        self._hello = options.hello
        self._client = aiosmtplib.SMTP(
            hostname=name, local_hostname=options.ehlo_name.decode("ascii"), timeout=self._limit_s, start_tls=False
        )
        self._at = Phase.GREETING
        self._secrets: list[str] = []
        self._transcript = transcript

    async def greet(self, peer: socket.socket, login: Login | None) -> tuple[asyncio.Transport, Extensions]:
        """Everything up to the first envelope. Closes the connection when it comes to nothing."""
        loop = asyncio.get_running_loop()
        wire = _Listening(loop, self._transcript)
        if self._transcript is not None and login is not None:
            self._transcript.hide(login.password)
        try:
            await self._connect(loop, wire, peer)
            await self._timed(Phase.EHLO, self._say_hello())
            if self._security in (Security.STARTTLS, Security.STARTTLS_IF_OFFERED):
                await self._start_tls(loop, wire)
            if login is not None:
                await self._timed(Phase.AUTH, self._log_in(wire, login))
        except AuthBroken as broken:
            _hang_up(wire, peer)
            raise Refused(Phase.AUTH, broken.reason, self._masked(broken.example)) from broken
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            _hang_up(wire, peer)
            refused = _refused(self._at, error)
            raise Refused(refused.phase, refused.reason, self._masked(refused.example)) from None
        except BaseException:
            _hang_up(wire, peer)
            raise
        transport = _transport(wire)
        _take_down(transport, self._context, self._account)
        return transport, Extensions.of(self._client.esmtp_extensions)

    async def _connect(self, loop: asyncio.AbstractEventLoop, wire: _Listening, peer: socket.socket) -> None:
        if self._security is Security.TLS:
            shaking = loop.create_connection(
                lambda: wire, sock=peer, ssl=self._context, server_hostname=self._name,
                ssl_handshake_timeout=self._limit_s,
            )  # fmt: skip
            await self._timed(Phase.TLS, shaking)
        else:
            await loop.create_connection(lambda: wire, sock=peer)
        self._client.protocol, self._client.transport = wire, _transport(wire)
        greeting = await self._timed(Phase.GREETING, wire.read_response(timeout=self._limit_s))
        if greeting.code != 220:
            raise aiosmtplib.SMTPConnectResponseError(greeting.code, greeting.message)

    async def _start_tls(self, loop: asyncio.AbstractEventLoop, wire: _Listening) -> None:
        self._at = Phase.TLS
        if not self._client.supports_extension("starttls"):
            if self._security is Security.STARTTLS_IF_OFFERED:
                return
            raise Refused(
                Phase.TLS, "STARTTLS not offered", "the server does not offer STARTTLS; leave --starttls away?"
            )
        await self._timed(Phase.TLS, self._shake_hands(loop, wire))
        await self._say_hello()  # RFC 3207 section 4.2: what was offered before is forgotten

    async def _say_hello(self) -> None:
        self._at = self._hello
        if self._hello is Phase.EHLO:
            await self._client.ehlo()
            return
        name = self._client.local_hostname
        assert name is not None
        reply = await self._client.execute_command(b"LHLO", name.encode("ascii"), timeout=self._limit_s)
        if reply.code != 250:
            raise aiosmtplib.SMTPHeloError(reply.code, reply.message)
        self._client.last_ehlo_response = reply  # what it offers is read as EHLO's answer (RFC 2033 section 4.1)

    async def _shake_hands(self, loop: asyncio.AbstractEventLoop, wire: _Listening) -> None:
        wire.heard = b""
        reply = await wire.execute_command(b"STARTTLS", timeout=self._limit_s)
        if reply.code != 220:
            raise aiosmtplib.SMTPResponseException(reply.code, reply.message)
        if not _ONE_REPLY.fullmatch(wire.heard):
            # RFC 3207 section 6 and CVE-2011-0411: what came in the clear must not be read as if it had been protected.
            raise Refused(
                Phase.TLS, "octets between STARTTLS and the handshake", ascii(wire.heard.splitlines()[-1])[2:-1]
            )
        assert self._context is not None
        protected = await loop.start_tls(
            _transport(wire), wire, self._context, server_hostname=self._name, ssl_handshake_timeout=self._limit_s
        )
        if protected is None:
            raise aiosmtplib.SMTPServerDisconnected("closed in the handshake")
        wire.transport = self._client.transport = protected

    async def _log_in(self, wire: _Listening, login: Login) -> None:
        assert self._plan.auth is not None
        mechanism = choose(self._client.server_auth_methods, self._plan.auth.mechanism)
        try:
            exchange = EXCHANGES[mechanism](login.user, login.password)
        except ValueError as error:
            raise AuthBroken("password not usable", f"{mechanism.value}: {error}") from None
        self._secrets.append(login.password)
        words = [b"AUTH", mechanism.value.encode("ascii")]
        if exchange.first is not None:
            words.append(self._encoded(exchange.first))
        reply = await wire.execute_command(*words, timeout=self._limit_s)
        while reply.code == 334:
            try:
                challenge = base64.b64decode(reply.message.strip().encode("ascii"), validate=True)
            except ValueError:  # of base64, and of what is not ASCII
                raise AuthBroken("malformed challenge", f"334 {ascii(reply.message)[1:-1]}") from None
            answer = self._encoded(exchange.answer(challenge))
            reply = await wire.execute_command(answer, timeout=self._limit_s)
        if reply.code != 235:
            raise aiosmtplib.SMTPAuthenticationError(reply.code, reply.message)
        exchange.accepted()

    def _encoded(self, answer: bytes) -> bytes:
        encoded = base64.b64encode(answer)
        if answer:
            self._secrets.append(encoded.decode("ascii"))
        return encoded

    def _masked(self, words: str) -> str:
        """Without what was sent to log in, should a server repeat it."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            words = words.replace(secret, "***")
        return words

    async def _timed(self, phase: Phase, step: Awaitable[_T]) -> _T:
        self._at = phase
        began_ns = now_ns()
        done = await step
        self._account.phase(phase, now_ns() - began_ns)
        return done


async def shake_hands(
    link: asyncio.Protocol, peer: socket.socket, plan: SessionPlan, context: ClientContext, name: str,
    account: OpeningAccount,
) -> None:  # fmt: skip
    """TLS on a connected socket for a session that speaks first itself. Raises Refused; closes the connection then."""
    loop = asyncio.get_running_loop()
    limit_s = plan.reply_timeout_ns / NS_PER_S or STEPS[Phase.GREETING].limit_s
    began_ns = now_ns()
    try:
        transport, _ = await loop.create_connection(
            lambda: link, sock=peer, ssl=context, server_hostname=plan.tls.server_name or name,
            ssl_handshake_timeout=limit_s,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        peer.close()
        raise _refused(Phase.TLS, error) from None
    except BaseException:
        peer.close()
        raise
    account.phase(Phase.TLS, now_ns() - began_ns)
    _take_down(transport, context, account)


def _take_down(transport: asyncio.Transport, context: ClientContext | None, account: OpeningAccount) -> None:
    """Note what was negotiated, and the session for the next handshake."""
    protected: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    if protected is None:
        return
    assert context is not None
    if (cipher := protected.cipher()) is None:  # over already
        return
    account.protected(protected.version() or "", cipher[0], resumed=bool(protected.session_reused))
    context.remember(protected)


def _transport(wire: SMTPProtocol) -> asyncio.Transport:
    """The transport; those of uvloop are of no class of asyncio's."""
    if wire.transport is None or wire.transport.is_closing():
        raise aiosmtplib.SMTPServerDisconnected("connection lost")
    return cast("asyncio.Transport", wire.transport)


def _hang_up(wire: SMTPProtocol, peer: socket.socket) -> None:
    if wire.transport is not None:
        cast("asyncio.Transport", wire.transport).abort()
    else:
        peer.close()


def _refused(phase: Phase, error: Exception) -> Refused:
    """What aiosmtplib or the system said, in our words; a reply keeps its code and text."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(error, aiosmtplib.SMTPResponseException):
        words = f"{error.code} {error.message}"
        return Refused(phase, "refused by the server", " / ".join(words.splitlines()))
    if isinstance(cause, ssl.SSLError):
        return Refused(Phase.TLS, *why_failed(cause))
    # Event loops say so when a handshake has lasted too long.
    late = isinstance(error, ConnectionAbortedError) and phase is Phase.TLS
    if late or isinstance(error, (aiosmtplib.SMTPTimeoutError, TimeoutError)):
        return Refused(phase, "timed out", str(error))
    if isinstance(error, aiosmtplib.SMTPServerDisconnected) or isinstance(cause, ConnectionError):
        return Refused(phase, "closed by the server", str(error))
    return Refused(phase, "refused", str(error))

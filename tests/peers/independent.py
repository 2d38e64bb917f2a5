"""aiosmtpd: a server that other people wrote, with TLS and AUTH."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER, PASSWORD = "loader", "s3cret-örtchen"


class Mailbox:
    """What an aiosmtpd server has taken. `logins`: (user, password was right)."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.recipients: list[list[str]] = []
        self.protected: list[bool] = []
        self.logins: list[tuple[str, bool]] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.messages.append(envelope.content)
        self.recipients.append(list(envelope.rcpt_tos))
        assert server.transport is not None
        self.protected.append(server.transport.get_extra_info("ssl_object") is not None)
        return "250 2.0.0 taken"

    def log_in(self, _server: SMTP, _session: Session, _envelope: Envelope, _how: str, given: Any) -> AuthResult:
        assert isinstance(given, LoginPassword)
        right = (given.login, given.password) == (USER.encode(), PASSWORD.encode())
        self.logins.append((given.login.decode(), right))
        return AuthResult(success=right, handled=False)


class _Controller(Controller):
    """On a free port: the parent class wants to know the number before it listens."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def aiosmtpd_server(
    *,
    starttls: ssl.SSLContext | None = None,
    implicit_tls: ssl.SSLContext | None = None,
    auth: bool = False,
    smtputf8: bool = False,
) -> Iterator[tuple[int, Mailbox]]:
    """Its port and what it has taken. With `auth` after STARTTLS it takes nothing from who has not logged in."""
    mailbox = Mailbox()
    words: dict[str, Any] = {"tls_context": starttls, "require_starttls": starttls is not None}
    words["enable_SMTPUTF8"] = smtputf8
    if auth:
        # aiosmtpd does not count implicit TLS as TLS.
        words |= {"authenticator": mailbox.log_in, "auth_required": implicit_tls is None}
        words |= {"auth_require_tls": implicit_tls is None}
    controller = _Controller(mailbox, "127.0.0.1", 0, ssl_context=implicit_tls, **words)
    controller.start()
    try:
        yield controller.port, mailbox
    finally:
        controller.stop()

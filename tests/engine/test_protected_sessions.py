"""TLS and AUTH: verified or refused, never silently plain, and the password seen by nobody."""

import ssl
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.peers.certificates import Certificate
from tests.peers.independent import PASSWORD, USER, Mailbox, aiosmtpd_server
from tests.peers.running import Counts, counts, plan_for, send
from tests.peers.scripted import Script, scripted
from trafficgen import Auth, PlanError, Results, Security, TcpTarget, TlsOptions, UnixTarget
from trafficgen.engine.address import Route, check

ANY = {"verify_certificate": False}


def why(results: Results) -> tuple[str, str]:
    (found,) = results.failures
    return found.phase, found.reason


def protected_server(context: ssl.SSLContext, security: Security) -> AbstractContextManager[tuple[int, Mailbox]]:
    if security is Security.STARTTLS:
        return aiosmtpd_server(starttls=context)
    return aiosmtpd_server(implicit_tls=context)


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
def test_a_certificate_nobody_trusts_fails_the_session(certificate: Certificate, security: Security) -> None:
    context = certificate.server_context()
    with protected_server(context, security) as (
        port,
        mailbox,
    ):
        results = send(port, messages=2, sessions=2, session={"security": security})
        assert mailbox.messages == []
    assert counts(results) == Counts(failed=2)
    assert why(results) == ("tls", "certificate self-signed")
    assert "self-signed certificate" in results.failures[0].example


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
def test_any_certificate_will_do_when_the_user_says_so(certificate: Certificate, security: Security) -> None:
    context = certificate.server_context()
    with protected_server(context, security) as (
        port,
        mailbox,
    ):
        results = send(port, messages=20, sessions=2, session={"security": security, **ANY})
        assert len(mailbox.messages) == 20
        assert all(mailbox.protected)
    assert counts(results) == Counts(accepted=20)
    assert results.failures == ()
    for phase in ("connect", "tls", "ehlo"):
        timed = results.latency_ns[phase]
        assert timed is not None
        assert timed.count == 2


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
def test_without_a_time_limit_of_ours_that_of_the_protocol_holds(certificate: Certificate, security: Security) -> None:
    with protected_server(certificate.server_context(), security) as (port, _):
        results = send(port, messages=2, session={"security": security, "reply_timeout_ns": 0, **ANY})
    assert counts(results) == Counts(accepted=2)


def test_a_trusted_certificate_verifies_by_the_name_the_user_wrote(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
    with aiosmtpd_server(starttls=certificate.server_context()) as (port, mailbox):
        results = send(TcpTarget("localhost", port), messages=2, session={"security": Security.STARTTLS})
        assert mailbox.protected == [True, True]
    assert counts(results) == Counts(accepted=2)


class HasNoStarttls(Script):
    mails: list[str] = []  # noqa: RUF012  (a list for the test, made anew by each)

    def mail(self, line: str) -> None:
        self.mails.append(line)
        super().mail(line)


def test_a_server_without_starttls_gets_nothing_at_all() -> None:
    HasNoStarttls.mails = []
    with scripted(HasNoStarttls) as server:
        results = send(server.port, messages=2, sessions=2, session={"security": Security.STARTTLS, **ANY})
    assert HasNoStarttls.mails == []
    assert counts(results) == Counts(failed=2)
    assert why(results) == ("tls", "STARTTLS not offered")


class RefusesStarttls(Script):
    extensions = ("STARTTLS",)

    def unknown(self, line: str) -> None:
        self.say("454 4.7.0 TLS not available today")


def test_a_refused_starttls_fails_with_the_servers_words() -> None:
    with scripted(RefusesStarttls) as server:
        results = send(server.port, messages=2, sessions=2, session={"security": Security.STARTTLS, **ANY})
    assert counts(results) == Counts(failed=2)
    assert why(results) == ("tls", "refused by the server")
    assert results.failures[0].example == "454 4.7.0 TLS not available today"


class IsPlain(Script):
    pass


def test_a_plain_server_fails_a_session_that_wants_tls_from_the_start() -> None:
    with scripted(IsPlain) as server:
        results = send(server.port, messages=1, session={"security": Security.TLS, **ANY})
    assert counts(results) == Counts(failed=1)
    assert results.failures[0].phase == "tls"


class NeverShakesHands(Script):
    def greet(self) -> None:
        self.stay_silent()


def test_a_handshake_that_never_ends_is_given_up() -> None:
    soon = {"security": Security.TLS, "reply_timeout_ns": 300_000_000, "connect_timeout_ns": 300_000_000, **ANY}
    with scripted(NeverShakesHands) as server:
        results = send(server.port, messages=1, session=soon)
    assert counts(results) == Counts(failed=1)
    assert why(results) == ("tls", "timed out")


class RefusesInTls(Script):
    """Greets with a refusal through aiosmtplib's opening."""

    extensions = ("STARTTLS",)

    def greet(self) -> None:
        self.say("554 5.7.1 no mail from you")
        self.hang_up()


def test_a_554_at_the_banner_is_the_same_with_tls() -> None:
    with scripted(RefusesInTls) as server:
        results = send(server.port, messages=1, session={"security": Security.STARTTLS, **ANY})
    assert counts(results) == Counts(failed=1)
    assert why(results) == ("greeting", "refused by the server")
    assert results.failures[0].example == "554 5.7.1 no mail from you"


class TalksGarbageInsteadOfTls(Script):
    def greet(self) -> None:
        self.peer.sendall(b"\xff\xfe what\r\n" * 10)
        self.stay_silent()


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
def test_garbage_instead_of_tls_fails_the_session(security: Security) -> None:
    with scripted(TalksGarbageInsteadOfTls) as server:
        results = send(server.port, messages=1, session={"security": security, **ANY})
    assert counts(results) == Counts(failed=1)


# -- passwords ------------------------------------------------------------------------------------------


def password_file(folder: Path, password: str = PASSWORD) -> Path:
    path = folder / "password"
    path.write_text(password + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
def test_a_session_logs_in_once(certificate: Certificate, tmp_path: Path, security: Security) -> None:
    context = certificate.server_context()
    starttls, implicit_tls = (context, None) if security is Security.STARTTLS else (None, context)
    with aiosmtpd_server(starttls=starttls, implicit_tls=implicit_tls, auth=True) as (port, mailbox):
        auth = Auth(USER, password_file(tmp_path))
        results = send(port, messages=6, sessions=2, session={"security": security, "auth": auth, **ANY})
        assert mailbox.logins == [(USER, True)] * 2
    assert counts(results) == Counts(accepted=6)
    timed = results.latency_ns["auth"]
    assert timed is not None
    assert timed.count == 2
    assert PASSWORD not in results.to_json()
    assert str(tmp_path / "password") in results.to_json()


def test_a_wrong_password_fails_the_session_and_is_told_to_nobody(certificate: Certificate, tmp_path: Path) -> None:
    with aiosmtpd_server(starttls=certificate.server_context(), auth=True) as (port, mailbox):
        auth = Auth(USER, password_file(tmp_path, "guessed-wrong"))
        results = send(port, messages=1, session={"security": Security.STARTTLS, "auth": auth, **ANY})
        assert (USER, True) not in mailbox.logins
        assert mailbox.messages == []
    assert counts(results) == Counts(failed=1)
    assert why(results) == ("auth", "refused by the server")
    assert results.failures[0].example.startswith("535 5.7.8")
    assert "guessed-wrong" not in results.to_json()


def test_a_server_that_offers_no_auth_fails_the_session(certificate: Certificate, tmp_path: Path) -> None:
    with aiosmtpd_server(starttls=certificate.server_context()) as (port, _):
        auth = Auth(USER, password_file(tmp_path))
        results = send(port, messages=1, session={"security": Security.STARTTLS, "auth": auth, **ANY})
    assert counts(results) == Counts(failed=1)
    assert why(results)[0] == "auth"
    assert PASSWORD not in results.to_json()


@pytest.mark.parametrize(
    "session",
    [
        {"security": Security.PLAIN},
        {"security": Security.STARTTLS_IF_OFFERED},
        {"security": Security.TLS, "tls": TlsOptions(share=0.9)},
    ],
)
def test_a_password_never_goes_over_a_plain_session(tmp_path: Path, session: dict[str, Any]) -> None:
    plan = plan_for(25, messages=1, session={"auth": Auth(USER, tmp_path / "password"), **session})
    check(plan, Route("here", (TcpTarget("127.0.0.1", 25), TcpTarget("::1", 25), UnixTarget("/run/smtp"))))
    with pytest.raises(PlanError, match=r"plain session, here to 10\.0\.0\.1: add --starttls or --tls"):
        check(plan, Route("far", (TcpTarget("127.0.0.1", 25), TcpTarget("10.0.0.1", 25))))


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\n"])
def test_a_password_file_without_a_password_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "password"
    path.write_bytes(content)
    with pytest.raises(PlanError, match=r"password.*\(auth\)$"):
        send(25, messages=1, session={"security": Security.TLS, "auth": Auth(USER, path)})

"""TLS as a client asks for it: which sessions, which versions, whose certificates, and every way it can go wrong."""

import ssl
from pathlib import Path

import pytest

from tests.peers.certificates import Certificate, make_certificate
from tests.peers.independent import aiosmtpd_server
from tests.peers.postfix import private_postfix
from tests.peers.private_sink import private_sink
from tests.peers.running import Counts, counts, send
from tests.peers.scripted import Script, scripted
from tests.sink.sink_process import sink_process
from trafficgen import PlanError, Results, Security, SessionPlan, TcpTarget, TlsOptions, TlsVersion, parse_target

ANY = {"verify_certificate": False}
BOTH = pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])


def failure(results: Results) -> tuple[str, str, str]:
    (found,) = results.failures
    return found.phase, found.reason, found.example


def tls_sessions(results: Results) -> int:
    return sum(one.sessions for one in results.tls)


# -- certificates ---------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Certificate:
    (tmp_path / "authority").mkdir()
    return make_certificate(tmp_path / "authority", host="authority.test")


def server(tmp_path: Path, authority: Certificate, **words: int | str) -> ssl.SSLContext:
    return make_certificate(tmp_path, signed_by=authority, **words).server_context()  # type: ignore[arg-type]


def test_the_certificate_of_a_given_authority_is_trusted(tmp_path: Path, authority: Certificate) -> None:
    session = {"security": Security.STARTTLS, "tls": TlsOptions(authority=authority.certificate)}
    with aiosmtpd_server(starttls=server(tmp_path, authority)) as (port, mailbox):
        results = send(TcpTarget("localhost", port), messages=2, session=session)
    assert counts(results) == Counts(accepted=2)
    assert mailbox.protected == [True, True]


@pytest.mark.parametrize(
    ("words", "reason", "example"),
    [
        ({"days": -1}, "certificate expired", "certificate has expired"),
        ({"since": 1, "days": 2}, "certificate not yet valid", "certificate is not yet valid"),
        ({"host": "elsewhere.test"}, "certificate for another name", "Hostname mismatch, certificate is not valid for"),
    ],
)
def test_a_wrong_certificate_is_named(
    tmp_path: Path, authority: Certificate, words: dict[str, int | str], reason: str, example: str
) -> None:
    session = {"security": Security.STARTTLS, "tls": TlsOptions(authority=authority.certificate)}
    with aiosmtpd_server(starttls=server(tmp_path, authority, **words)) as (port, mailbox):
        results = send(TcpTarget("localhost", port), messages=1, session=session)
    assert counts(results) == Counts(failed=1)
    assert failure(results)[:2] == ("tls", reason)
    assert example in failure(results)[2]
    assert mailbox.messages == []


def test_a_certificate_of_a_stranger_is_not_trusted(tmp_path: Path, authority: Certificate) -> None:
    with aiosmtpd_server(starttls=server(tmp_path, authority)) as (port, _):
        results = send(TcpTarget("localhost", port), messages=1, session={"security": Security.STARTTLS})
    assert failure(results)[:2] == ("tls", "certificate not trusted")


def test_sni_is_sent_and_verified(tmp_path: Path, authority: Certificate) -> None:
    asked: list[str | None] = []
    context = server(tmp_path, authority, host="elsewhere.test")
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    options = TlsOptions(authority=authority.certificate, server_name="elsewhere.test")
    with aiosmtpd_server(starttls=context) as (port, _):
        results = send(
            TcpTarget("localhost", port), messages=1, session={"security": Security.STARTTLS, "tls": options}
        )
    assert counts(results) == Counts(accepted=1)
    assert asked == ["elsewhere.test"]


def test_a_client_certificate_is_shown(tmp_path: Path, authority: Certificate) -> None:
    context = server(tmp_path, authority)
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    (tmp_path / "client").mkdir()
    mine = make_certificate(tmp_path / "client", host="client.test", signed_by=authority)
    options = TlsOptions(authority=authority.certificate, certificate=mine.certificate, key=mine.key)
    with aiosmtpd_server(starttls=context) as (port, _):
        session = {"security": Security.STARTTLS, "tls": options}
        shown = send(TcpTarget("localhost", port), messages=1, session=session)
        session = {"security": Security.STARTTLS, "tls": TlsOptions(authority=authority.certificate)}
        hidden = send(TcpTarget("localhost", port), messages=1, session=session)
    assert counts(shown) == Counts(accepted=1)
    assert counts(hidden) == Counts(failed=1)


# -- versions, ciphers, resumption ----------------------------------------------------------------------


def test_version_and_cipher_are_those_asked_for_and_in_the_results(certificate: Certificate) -> None:
    options = TlsOptions(most=TlsVersion.TLS_1_2, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384")
    with aiosmtpd_server(starttls=certificate.server_context()) as (port, _):
        results = send(port, messages=1, session={"security": Security.STARTTLS, "tls": options, **ANY})
    (found,) = results.tls
    assert (found.version, found.cipher) == ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")
    assert (found.sessions, found.resumed) == (1, 0)


def test_versions_that_the_server_lacks_fail_the_handshake(certificate: Certificate) -> None:
    context = certificate.server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with aiosmtpd_server(starttls=context) as (port, _):
        session = {"security": Security.STARTTLS, "tls": TlsOptions(least=TlsVersion.TLS_1_3), **ANY}
        results = send(port, messages=1, session=session)
    assert counts(results) == Counts(failed=1)
    assert failure(results)[:2] == ("tls", "closed by the server")  # aiosmtpd sends no alert
    assert results.tls == ()


@pytest.mark.parametrize("most", [TlsVersion.TLS_1_2, TlsVersion.TLS_1_3])
@BOTH
def test_sessions_are_resumed_when_asked_for(certificate: Certificate, security: Security, most: TlsVersion) -> None:
    context = certificate.server_context()
    words = {"starttls": context} if security is Security.STARTTLS else {"implicit_tls": context}
    with aiosmtpd_server(**words) as (port, _):  # type: ignore[arg-type]
        for resume, again in ((True, 4), (False, 0)):
            session = {"security": security, "max_messages": 1, "tls": TlsOptions(most=most, resume=resume), **ANY}
            results = send(port, messages=5, session=session)
            assert counts(results) == Counts(accepted=5)
            (found,) = results.tls
            assert (found.sessions, found.resumed) == (5, again)


def test_postfix_resumes_sessions_too(tmp_path: Path) -> None:
    shown = make_certificate(tmp_path)
    settings = f"""
smtpd_tls_security_level = may
smtpd_tls_cert_file = {shown.certificate}
smtpd_tls_key_file = {shown.key}
smtpd_tls_session_cache_database = btree:${{data_directory}}/smtpd_scache
"""
    with private_sink() as sink, private_postfix(sink.port, settings, "tlsmgr unix - - n 1000? 1 tlsmgr\n") as postfix:
        for resume, again in ((True, 4), (False, 0)):
            session = {
                "security": Security.STARTTLS, "max_messages": 1, "tls": TlsOptions(resume=resume), **ANY,
            }  # fmt: skip
            results = send(postfix.port, messages=5, session=session)
            assert counts(results) == Counts(accepted=5)
            (found,) = results.tls
            assert (found.sessions, found.resumed) == (5, again)


def test_our_sink_resumes_sessions_and_has_every_message() -> None:
    with sink_process("127.0.0.1:0", "--starttls") as sink:
        session = {"security": Security.STARTTLS, "max_messages": 1, "tls": TlsOptions(resume=True), **ANY}
        results = send(sink.port, messages=20, session=session)
        assert counts(results) == Counts(accepted=20)
        (found,) = results.tls
        assert (found.sessions, found.resumed) == (20, 19)
        assert "20 messages accepted" in sink.end()


# -- which sessions -------------------------------------------------------------------------------------


def test_a_share_of_the_sessions_is_protected() -> None:
    session = {"security": Security.STARTTLS, "max_messages": 1, "tls": TlsOptions(share=0.6), **ANY}
    with sink_process("127.0.0.1:0", "--starttls") as sink:
        results = send(sink.port, messages=20, session=session)
    assert counts(results) == Counts(accepted=20)
    assert tls_sessions(results) == 12
    assert results.generator.sessions_opened == 20


class HasNoTls(Script):
    pass


def test_starttls_if_offered_is_plain_where_it_is_not() -> None:
    session = {"security": Security.STARTTLS_IF_OFFERED, **ANY}
    with scripted(HasNoTls) as plain:
        results = send(plain.port, messages=2, session=session)
    assert counts(results) == Counts(accepted=2)
    assert results.tls == ()
    with sink_process("127.0.0.1:0", "--starttls") as sink:
        results = send(sink.port, messages=2, session=session)
    assert counts(results) == Counts(accepted=2)
    assert tls_sessions(results) == 1


# -- servers that misbehave -----------------------------------------------------------------------------


class SlipsOctetsIn(Script):
    """An attacker on the way adds a reply in the clear, for the client to read once it believes itself protected."""

    extensions = ("STARTTLS",)

    def unknown(self, line: str) -> None:
        self.peer.sendall(b"220 2.0.0 go ahead\r\n250-evil.test\r\n250 AUTH PLAIN\r\n")
        self.stay_silent()


def test_octets_between_starttls_and_the_handshake_fail_the_session() -> None:
    with scripted(SlipsOctetsIn) as server:
        results = send(server.port, messages=1, session={"security": Security.STARTTLS, **ANY})
    assert counts(results) == Counts(failed=1)
    assert failure(results) == ("tls", "octets between STARTTLS and the handshake", "250 AUTH PLAIN")
    assert not any(reply.phase in ("auth", "mail") for reply in results.replies)


class SlipsOctetsInLater(Script):
    """The same after the client has begun the handshake."""

    extensions = ("STARTTLS",)

    def unknown(self, line: str) -> None:
        self.say("220 2.0.0 go ahead")
        self.peer.recv(5)
        self.peer.sendall(b"250-evil.test\r\n250 AUTH PLAIN\r\n")
        self.stay_silent()


def test_octets_in_the_clear_within_the_handshake_fail_it() -> None:
    with scripted(SlipsOctetsInLater) as server:
        results = send(server.port, messages=1, session={"security": Security.STARTTLS, **ANY})
    assert counts(results) == Counts(failed=1)
    assert failure(results)[:2] == ("tls", "TLS handshake failed")
    assert not any(reply.phase in ("auth", "mail") for reply in results.replies)


class StoreThatSlipsOctetsIn(SlipsOctetsIn):
    """Of LMTP: LHLO is no command of `Script`."""

    def unknown(self, line: str) -> None:
        if line.startswith("LHLO"):
            self.ehlo(line)
        else:
            super().unknown(line)


def test_octets_between_starttls_and_the_handshake_fail_a_session_of_lmtp() -> None:
    with scripted(StoreThatSlipsOctetsIn) as server:
        target = parse_target(f"lmtp://127.0.0.1:{server.port}")
        results = send(target, messages=1, session={"security": Security.STARTTLS, **ANY})
    assert counts(results) == Counts(failed=1)
    assert failure(results)[:2] == ("tls", "octets between STARTTLS and the handshake")


class CutsTheHandshake(Script):
    extensions = ("STARTTLS",)

    def unknown(self, line: str) -> None:
        self.say("220 go ahead")
        self.peer.recv(10)
        self.reset()


def test_a_handshake_that_is_cut_is_a_failure_of_tls() -> None:
    with scripted(CutsTheHandshake) as server:
        results = send(server.port, messages=1, session={"security": Security.STARTTLS, **ANY})
    assert counts(results) == Counts(failed=1)
    assert failure(results)[:2] == ("tls", "closed by the server")


class StallsTheHandshake(Script):
    extensions = ("STARTTLS",)

    def unknown(self, line: str) -> None:
        self.say("220 go ahead")
        self.stay_silent()


def test_a_handshake_that_stalls_times_out() -> None:
    session = {"security": Security.STARTTLS, "reply_timeout_ns": 300_000_000, **ANY}
    with scripted(StallsTheHandshake) as server:
        results = send(server.port, messages=1, session=session)
    assert counts(results) == Counts(failed=1)
    assert failure(results)[:2] == ("tls", "timed out")


# -- what makes no sense --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ciphers": "NOTHING"}, "expected an OpenSSL cipher list, such as ECDHE"),
        ({"authority": Path("/nowhere/ca.pem")}, 'cannot use the certificates of authorities in "/nowhere/ca.pem": No'),
        ({"certificate": Path(__file__)}, "expected PEM, with a key that belongs to it"),
    ],
)
def test_files_and_ciphers_that_cannot_be_used_are_refused_before_the_start(
    options: dict[str, object], words: str
) -> None:
    with pytest.raises(PlanError, match=words):
        send(25, messages=1, session={"security": Security.TLS, "tls": TlsOptions(**options)})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"share": 0.0}, "expected a share of sessions above 0 and up to 1, got 0"),
        ({"key": Path("key.pem")}, "expected the certificate that the key belongs to"),
        ({"least": TlsVersion.TLS_1_3, "most": TlsVersion.TLS_1_2}, "got 1.3 and 1.2"),
        ({"server_name": "a\nb"}, "expected a host name"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        TlsOptions(**options)  # type: ignore[arg-type]


def test_options_of_a_plain_session_are_refused() -> None:
    with pytest.raises(PlanError, match="add --starttls or --tls"):
        SessionPlan(tls=TlsOptions(resume=True))

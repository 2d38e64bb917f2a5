"""Injection into somebody else's ASGI server, by http:// and https://: the same results, and every fault of TLS."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.peers.asgi_injector import asgi_injector
from tests.peers.certificates import Certificate, make_certificate
from tests.peers.running import Counts, counts, plan_for, send
from trafficgen import Injection, PlanError, Results, Security, TcpTarget, TlsOptions, TlsVersion, Users, parse_target
from trafficgen.cli.program import call
from trafficgen.engine.address import check
from trafficgen.errors import ExitCode
from trafficgen.guard import Route

BATCH = {"recipients_per_message": ((4, 1.0),)}
ANY: dict[str, Any] = {"security": Security.TLS, "verify_certificate": False}
PATIENCE_S = 60.0


def injecting(port: int, scheme: str = "https", host: str = "127.0.0.1") -> TcpTarget:
    target = parse_target(f"{scheme}://{host}:{port}/api/inject/v1")
    assert isinstance(target, TcpTarget)
    return target


def failure(results: Results) -> tuple[str, str, str]:
    (found,) = results.failures
    return found.phase, found.reason, found.example


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_asgi_server_understands_every_request(certificate: Certificate, scheme: str, tmp_path: Path) -> None:
    secret = tmp_path / "authorization"
    secret.write_text("Bearer s3cret\n")
    session = {"injection": Injection(authorization_file=secret), **(ANY if scheme == "https" else {})}
    with asgi_injector(certificate if scheme == "https" else None) as (port, injector):
        results = send(injecting(port, scheme), messages=40, sessions=3, session=session, workload=BATCH)
    assert counts(results) == Counts(accepted=40)
    assert results.failures == ()
    assert results.recipients is not None
    assert results.recipients.accepted == 160
    assert injector.schemes == {scheme}
    assert len(injector.requests) == 40
    assert all(len({one["email"] for one in request["recipients"]}) == 4 for request in injector.requests)
    assert {(one["host"], one["authorization"]) for one in injector.headers} == {(f"127.0.0.1:{port}", "Bearer s3cret")}
    assert len(injector.ports) == 3
    assert sum(one.sessions for one in results.tls) == (3 if scheme == "https" else 0)
    timed = results.latency_ns["tls"] if scheme == "https" else None
    assert (timed.count if timed else 0) == (3 if scheme == "https" else 0)


def test_recipients_that_the_answer_names_are_refused_each(certificate: Certificate) -> None:
    users = frozenset({"user-000001"})
    workload = {"users": Users(count=2), "recipients_per_message": ((2, 1.0),)}
    with asgi_injector(certificate, refused=users) as (port, injector):
        results = send(injecting(port), messages=30, session=ANY, workload=workload)
    names = [one["email"].partition("@")[0] for request in injector.requests for one in request["recipients"]]
    assert results.recipients is not None
    assert results.recipients.rejected_permanent == names.count("user-000001") > 0
    assert results.recipients.accepted == names.count("user-000000") > 0


@pytest.mark.parametrize("most", [TlsVersion.TLS_1_2, TlsVersion.TLS_1_3])
def test_connections_are_resumed_when_asked_for(certificate: Certificate, most: TlsVersion) -> None:
    with asgi_injector(certificate) as (port, injector):
        for resume, again in ((True, 4), (False, 0)):
            session = {**ANY, "max_messages": 1, "tls": TlsOptions(most=most, resume=resume)}
            results = send(injecting(port), messages=5, session=session)
            assert counts(results) == Counts(accepted=5)
            (found,) = results.tls
            assert (found.version, found.sessions, found.resumed) == (f"TLSv{most.value}", 5, again)
    assert len(injector.requests) == 10


# -- certificates ---------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Certificate:
    (tmp_path / "authority").mkdir()
    return make_certificate(tmp_path / "authority", host="authority.test")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"days": -1}, "certificate expired"),
        ({"since": 1, "days": 2}, "certificate not yet valid"),
        ({"host": "elsewhere.test"}, "certificate for another name"),
    ],
)
def test_a_wrong_certificate_is_named(
    tmp_path: Path, authority: Certificate, words: dict[str, Any], reason: str
) -> None:
    session = {"security": Security.TLS, "tls": TlsOptions(authority=authority.certificate)}
    with asgi_injector(make_certificate(tmp_path, signed_by=authority, **words)) as (port, injector):
        results = send(injecting(port, host="localhost"), messages=2, session=session)
    assert counts(results) == Counts(failed=2)
    assert failure(results)[:2] == ("tls", reason)
    assert injector.requests == []


def test_a_certificate_of_a_trusted_authority_is_taken_and_a_self_signed_one_is_not(
    tmp_path: Path, authority: Certificate
) -> None:
    with asgi_injector(make_certificate(tmp_path, signed_by=authority)) as (port, _):
        session = {"security": Security.TLS, "tls": TlsOptions(authority=authority.certificate)}
        results = send(injecting(port, host="localhost"), messages=2, session=session)
    assert counts(results) == Counts(accepted=2)
    with asgi_injector(authority) as (port, _):
        results = send(injecting(port, host="localhost"), messages=2, session={"security": Security.TLS})
    assert counts(results) == Counts(failed=2)
    assert failure(results)[:2] == ("tls", "certificate self-signed")


# -- servers that misbehave -----------------------------------------------------------------------------


@contextmanager
def server(react: Callable[[socket.socket], None]) -> Iterator[int]:
    """Does this to every connection, in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                peer.settimeout(PATIENCE_S)
                with suppress(OSError):
                    react(peer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(PATIENCE_S)


def stall(peer: socket.socket) -> None:
    while peer.recv(65_536):
        pass


def cut(peer: socket.socket) -> None:
    peer.recv(10)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def speak_plain(peer: socket.socket) -> None:
    peer.recv(10)
    peer.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize(
    ("react", "reason"),
    [(stall, "timed out"), (cut, "closed by the server"), (speak_plain, "TLS handshake failed")],
)
def test_a_handshake_that_comes_to_nothing_fails_the_message(
    react: Callable[[socket.socket], None], reason: str
) -> None:
    session = {**ANY, "reply_timeout_ns": 300_000_000 if react is stall else 20_000_000_000}
    with server(react) as port:
        results = send(injecting(port), messages=1, session=session)
    assert counts(results) == Counts(failed=1)
    assert failure(results)[:2] == ("tls", reason)


def test_a_connection_that_is_cut_after_the_request_leaves_the_batch_in_doubt(certificate: Certificate) -> None:
    context = certificate.server_context()

    def take_all_and_go(peer: socket.socket) -> None:
        with context.wrap_socket(peer, server_side=True) as protected:
            head, _, body = protected.recv(65_536).partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            while len(body) < length:
                body += protected.recv(65_536)

    with server(take_all_and_go) as port:
        results = send(injecting(port), messages=2, session=ANY, workload=BATCH)
    assert counts(results) == Counts(in_doubt=2)
    assert results.recipients is not None
    assert results.recipients.in_doubt == 8
    assert {(one.phase, one.reason) for one in results.failures} <= {
        ("request", "closed by the server"),
        ("request", "connection reset"),
    }


# -- what is asked for ----------------------------------------------------------------------------------


def test_a_secret_may_go_to_other_machines_over_tls(tmp_path: Path) -> None:
    session = {"injection": Injection(authorization_file=tmp_path / "a"), "security": Security.TLS}
    plan = plan_for(injecting(443, host="10.0.0.1"), messages=1, session=session)
    check(plan, Route("10.0.0.1", (TcpTarget("10.0.0.1", 443),)))


@pytest.mark.parametrize("security", [Security.PLAIN, Security.STARTTLS, Security.STARTTLS_IF_OFFERED])
def test_https_is_protected_from_the_first_octet(security: Security) -> None:
    with pytest.raises(PlanError, match="leave --starttls and --tls away"):
        plan_for(injecting(443), messages=1, session={"security": security})


def test_the_command_takes_https_and_says_what_it_does_not_verify(
    certificate: Certificate, capsys: pytest.CaptureFixture[str]
) -> None:
    with asgi_injector(certificate) as (port, injector):
        command = ["--target", f"https://127.0.0.1:{port}/api/inject/v1", "--message-count", "3", "--workers", "1"]
        assert call([*command, "--body-size", "1kb", "--trace", "1"]) is ExitCode.DONE
        said = capsys.readouterr()
        assert call([*command, "--tls-ca", str(certificate.certificate), "--quiet"]) is ExitCode.DONE
    assert "certificates are not verified, as the server is on this machine" in said.err
    assert len(injector.requests) == 6
    assert "POST /api/inject/v1 HTTP/1.1" in said.err + said.out

"""Injection by HTTP: the ledger proves every message, other people's servers understand us, faults have exact ends."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

import trafficgen
from tests.peers.running import Counts, counts, plan_for, send
from tests.peers.scripted import PATIENCE_S
from tests.sink.sink_process import sink_process
from trafficgen import ExitCode, Injection, PlanError, Results, TcpTarget, parse_target
from trafficgen.cli.program import call
from trafficgen.engine.address import check
from trafficgen.guard import Route

BATCH = {"recipients_per_message": ((4, 1.0),)}


def injecting(port: int) -> TcpTarget:
    target = parse_target(f"http://127.0.0.1:{port}/api/inject/v1")
    assert isinstance(target, TcpTarget)
    return target


# -- our sink -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("session", [{}, {"max_messages": 3}], ids=["kept", "three a connection"])
def test_the_ledger_proves_every_injection(
    tmp_path: Path, session: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, manifest = tmp_path / "ledger", tmp_path / "manifest"
    with sink_process("127.0.0.1:0", "--api", "127.0.0.1:0", "--ledger", str(ledger)) as sink:
        target = injecting(int(sink.wait_for(r"API on http://127\.0\.0\.1:(\d+)/")[1]))
        plan = plan_for(target, messages=100, sessions=4, session=session, workload=BATCH)
        results = trafficgen.run(plan, manifest=manifest)
        sink.end()
    assert counts(results) == Counts(accepted=100)
    assert results.recipients is not None
    assert (results.recipients.accepted, results.recipients.started) == (400, 400)
    assert [(each.phase, each.code, each.count) for each in results.replies] == [("request", 200, 100)]
    assert call(["verify", str(manifest), str(ledger)]) is ExitCode.DONE
    assert "100 accepted: 100 delivered, 0 missing" in capsys.readouterr().out


def test_a_body_that_is_read_by_a_program_of_its_own_is_proved_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, manifest = tmp_path / "ledger", tmp_path / "manifest"
    with sink_process("127.0.0.1:0", "--api", "127.0.0.1:0", "--ledger", str(ledger)) as sink:
        port = sink.wait_for(r"API on http://127\.0\.0\.1:(\d+)/")[1]
        command = ["--target", f"http://127.0.0.1:{port}/api/inject/v1", "--http-batch-size", "3", "--quiet"]
        command += ["--body-size", "400kb", "--message-count", "3", "--workers", "1", "--manifest", str(manifest)]
        assert call(command) is ExitCode.DONE
        sink.end()
    assert call(["verify", str(manifest), str(ledger)]) is ExitCode.DONE
    assert "3 accepted: 3 delivered, 0 missing" in capsys.readouterr().out


# -- somebody else's server -----------------------------------------------------------------------------


class Injector(BaseHTTPRequestHandler):
    """The standard library's HTTP, with an answer for each request; `requests` are what came."""

    protocol_version = "HTTP/1.1"
    requests: ClassVar[list[dict[str, Any]]]
    authorizations: ClassVar[list[str | None]]

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append(request)
        self.authorizations.append(self.headers["Authorization"])
        self.react(request)

    def react(self, request: dict[str, Any]) -> None:
        self.taken(len(request["recipients"]))

    def taken(self, accepted: int, failed: tuple[str, ...] = ()) -> None:
        errors = [f"{name}: 550 no such user" for name in failed]
        answer = {"success_count": accepted, "fail_count": len(failed)}
        self.say(200, json.dumps(answer | {"failed_recipients": list(failed), "errors": errors}))

    def say(self, status: int, text: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        pass


React = Callable[[Injector, dict[str, Any]], None]


@contextmanager
def injector(react: React | None = None) -> Iterator[tuple[int, type[Injector]]]:
    fields: dict[str, Any] = {"requests": [], "authorizations": []}
    kind = type("OneInjector", (Injector,), fields if react is None else fields | {"react": react})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port, kind
        finally:
            server.shutdown()
            thread.join(PATIENCE_S)


def test_a_request_holds_what_kumomta_wants_and_the_secret_of_its_file(tmp_path: Path) -> None:
    secret = tmp_path / "authorization"
    secret.write_text("Bearer s3cret\n")
    session = {"injection": Injection(True, True, secret)}
    with injector(lambda self, request: self.taken(0)) as (port, kind):
        results = send(injecting(port), messages=10, session=session, workload=BATCH)
    assert counts(results) == Counts(accepted=10)  # with generation deferred nothing is counted yet
    assert set(kind.authorizations) == {"Bearer s3cret"}
    assert "s3cret" not in results.to_json()
    for request in kind.requests:
        assert request["deferred_spool"] is request["deferred_generation"] is True
        assert request["template_dialect"] == "Static"
        assert len({recipient["email"] for recipient in request["recipients"]}) == 4
        assert "@" in request["envelope_sender"]
        assert request["content"].startswith("X-Traffic-Gen: ")
        assert not request["content"].endswith("\r\n.\r\n")


def test_recipients_that_the_answer_names_are_counted_each() -> None:
    def refuse_some(self: Injector, request: dict[str, Any]) -> None:
        names = [recipient["email"] for recipient in request["recipients"]]
        refused = names[: len(self.requests) % 5]  # none, one … all four
        self.taken(len(names) - len(refused), tuple(refused))

    with injector(refuse_some) as (port, _):
        results = send(injecting(port), messages=10, workload=BATCH)
    assert counts(results) == Counts(accepted=8, rejected_permanent=2)
    recipients = results.recipients
    assert recipients is not None
    assert (recipients.accepted, recipients.rejected_permanent, recipients.partly_accepted) == (20, 20, 6)
    assert [(each.phase, each.reason, each.count) for each in results.failures] == [
        ("request", "recipients refused", 20)
    ]
    assert "550 no such user" in results.failures[0].example


def said(status: int, text: str, **headers: str) -> React:
    return lambda self, _request: self.say(status, text, **headers)


ONE_TOO_FEW = json.dumps({"success_count": 3, "fail_count": 0, "failed_recipients": [], "errors": []})


@pytest.mark.parametrize(
    ("react", "ends", "words"),
    [
        (said(400, "no content"), Counts(rejected_permanent=3), "Bad Request: no content"),
        (said(401, "who are you"), Counts(rejected_permanent=3), "Unauthorized: who are you"),
        (said(429, "", Retry_After="7"), Counts(rejected_temporary=3), "Too Many Requests (Retry-After: 7)"),
        (said(500, "oops"), Counts(rejected_temporary=3), "Internal Server Error: oops"),
        (said(503, "", Connection="close"), Counts(rejected_temporary=3), "Service Unavailable"),
        (said(302, "", Location="/"), Counts(rejected_permanent=3), "Found"),
        (said(200, "<p>hello"), Counts(in_doubt=3), 'expected JSON with success_count and fail_count, got "<p>hello"'),
        (said(200, ONE_TOO_FEW), Counts(in_doubt=3), "expected an answer for 4 recipients, got success_count 3"),
        (lambda self, _request: self.cut(), Counts(in_doubt=3), ""),
    ],
    ids=["400", "401", "429", "500", "503 and close", "302", "no JSON", "too few", "cut"],
)
def test_every_fault_has_its_end_and_is_said(react: React, ends: Counts, words: str) -> None:
    with injector(react) as (port, kind):
        results = send(injecting(port), messages=3, workload=BATCH)
    assert counts(results) == ends
    assert len(kind.requests) == 3
    texts = [each.example for each in results.replies] + [each.example for each in results.failures]
    assert any(text.startswith(words) for text in texts), texts
    reasons = {each.reason for each in results.failures}
    assert reasons <= {"unreadable reply", "closed by the server", "connection reset"}
    assert bool(reasons) is bool(ends.in_doubt)


def test_a_request_that_is_cut_before_all_of_it_has_left_fails() -> None:
    """20 MB: more than the two ends' buffers hold (64 KiB here, 4 MB of tcp_wmem there)."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE_S)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)

        def read_some_and_reset() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        thread = threading.Thread(target=read_some_and_reset)
        thread.start()
        results = send(injecting(listener.getsockname()[1]), messages=1, body="20mb", workload={})
        thread.join(PATIENCE_S)
    assert counts(results) == Counts(failed=1)
    (found,) = results.failures
    assert found.phase == "request"
    assert found.reason in ("connection reset", "closed by the server")


def test_an_answer_that_ends_with_its_connection_is_whole() -> None:
    def unmeasured(self: Injector, request: dict[str, Any]) -> None:
        text = json.dumps({"success_count": 4, "fail_count": 0, "failed_recipients": [], "errors": []})
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n" + text.encode())
        self.cut()

    with injector(unmeasured) as (port, _):
        results = send(injecting(port), messages=3, workload=BATCH)
    assert counts(results) == Counts(accepted=3)
    assert results.failures == ()


def test_what_is_no_http_and_what_nobody_asked_for_end_the_session() -> None:
    def garbage(self: Injector, request: dict[str, Any]) -> None:
        self.wfile.write(b"220 mail.test ESMTP\r\n\r\n")

    def twice(self: Injector, request: dict[str, Any]) -> None:
        answer = b'HTTP/1.1 200 OK\r\nContent-Length: 34\r\n\r\n{"success_count":4,"fail_count":0}'
        self.wfile.write(answer + answer)

    with injector(garbage) as (port, _):
        results = send(injecting(port), messages=2, workload=BATCH)
    assert counts(results) == Counts(in_doubt=2)
    assert {each.reason for each in results.failures} == {"malformed reply"}
    with injector(twice) as (port, _):
        results = send(injecting(port), messages=2, workload=BATCH)
    assert counts(results) == Counts(accepted=2)
    assert [(each.phase, each.reason) for each in results.failures] == [("idle", "a reply that nothing asked for")]


def test_octets_that_are_not_utf_8_never_leave(tmp_path: Path) -> None:
    body = tmp_path / "latin-1.txt"
    body.write_bytes(b"caf\xe9\n")
    with injector() as (port, kind):
        results = send(injecting(port), messages=3, workload={"content": trafficgen.BodyFile(body)})
    assert counts(results) == Counts(failed=3)
    assert kind.requests == []
    assert [(each.phase, each.reason) for each in results.failures] == [("request", "not UTF-8")]


# -- what is refused before anything goes out -----------------------------------------------------------


def test_a_secret_goes_to_loopback_only(tmp_path: Path) -> None:
    target = parse_target("http://10.0.0.1/api/inject/v1")
    assert isinstance(target, TcpTarget)
    plan = plan_for(target, messages=1, session={"injection": Injection(authorization_file=tmp_path / "a")})
    with pytest.raises(PlanError, match="an Authorization header goes to a loopback address only"):
        check(plan, Route("10.0.0.1", (TcpTarget("10.0.0.1", 80),)))


@pytest.mark.parametrize("text", ["", "\n", "Bearer \x01", "Bearer é"])
def test_a_file_that_holds_no_header_value_is_refused_without_its_text(tmp_path: Path, text: str) -> None:
    secret = tmp_path / "authorization"
    secret.write_text(text, "utf-8")
    with pytest.raises(PlanError, match=r"on the first line of .*\(injection\)") as refused:
        send(injecting(1), messages=1, session={"injection": Injection(authorization_file=secret)})
    assert "Bearer é" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--http-defer-spool"], "expected a target http://"),
        (["--target", "127.0.0.1:25", "--http-batch-size", "2"], "expected a target http://"),
        (["--target", "http://127.0.0.1/a", "--http-batch-size", "0"], "expected 1 to 1000 recipients"),
        (["--target", "http://127.0.0.1/a", "--http-batch-size", "2", "--recipients", "3"], "one number of recipients"),
        (["--target", "http://127.0.0.1/a", "--tls"], "leave --starttls and --tls away"),
        (["--target", "https://127.0.0.1/a", "--starttls"], "leave --starttls and --tls away"),
        (["--target", "https://127.0.0.1/a", "--tls-share", "50%"], "not a share of them (--tls-share)"),
        (["--target", "http://127.0.0.1/a", "--auth-users", "users.csv"], "AUTH is SMTP's"),
        (["--target", "http://127.0.0.1/a", "--chunking", "4"], "they are SMTP's"),
        (["--target", "http://127.0.0.1/a", "--leave-share", "10%"], "all alike"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call([*options, "--message-count", "1"]) is ExitCode.USAGE
    assert words in capsys.readouterr().err


def test_results_name_the_url() -> None:
    with injector() as (port, _):
        results: Results = send(injecting(port), messages=1)
    assert results.run.target == f"http://127.0.0.1:{port}/api/inject/v1"

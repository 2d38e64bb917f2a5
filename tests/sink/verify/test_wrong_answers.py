"""A sink behind --sink-api that dies, hangs or is something else: the run keeps its account and says so."""

import io
import json
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sink.sink_process import SinkProcess, sink_process
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode, SetupError
from trafficgen.host.signals import RunControl
from trafficgen.measure.results import read_results
from trafficgen.plan import TcpTarget
from trafficgen.proof import remote_sink, waiting
from trafficgen.proof.remote_sink import RemoteSink
from trafficgen.proof.sent import Manifest, SentRecords

Script = Callable[[str, int], bytes]
"""From the path that was asked for, and how often anything was, to all octets that are sent back."""


@contextmanager
def answering(script: Script, *, for_ever: bool = False) -> Iterator[TcpTarget]:
    """A server that says what it is told, with `for_ever` again and again until it is hung up on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept: list[socket.socket] = []

        def serve() -> None:
            asked = 0
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    kept.append(connection)
                    with suppress(OSError):
                        head = connection.recv(65_536).decode("latin-1")
                        answer = script(head.split()[1] if head else "", asked)
                        asked += 1
                        connection.sendall(answer)
                        while for_ever:
                            connection.sendall(answer)
                        connection.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield TcpTarget(*listener.getsockname())
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in kept:
                connection.close()


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def good(path: str, **changes: Any) -> bytes:
    """What a sink that has messages 0 and 1 says; columns of `arrivals` may be changed."""
    if not path.endswith("/arrivals"):
        return http(
            json.dumps({"messages": 2, "recipients": 2, "damaged": 0, "unanswered": 0, "boot_id": "x"}).encode()
        )
    columns: dict[str, Any] = {
        "numbers": np.arange(2),
        "recipients": np.ones(2, np.int64),
        "first_ns": np.ones(2, np.int64),
        "damaged": np.zeros(0, np.int64),
        "unanswered": np.zeros((0, 2), np.int64),
    } | changes
    file = io.BytesIO()
    np.savez(file, **{name: column for name, column in columns.items() if column is not None})
    return http(file.getvalue())


def packed(content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name in ("numbers", "recipients", "first_ns", "damaged", "unanswered"):
            archive.writestr(f"{name}.npy", content)
    return http(file.getvalue())


def npy(header: bytes, values: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + values


HANDED = SentRecords(np.arange(2), np.ones(2, np.int64), np.ones(2, np.int64), np.full(2, -1, np.int64))
MANIFEST = Manifest.here("00112233aabbccdd", 2, HANDED, SentRecords.none())

WRONG_OBJECTS = {
    "nothing at all": b"",
    "an empty body": http(b""),
    "no status": b"hello\r\n\r\n",
    "an SMTP server": b"220 mx.test ESMTP\r\n",
    "a page": http(b"<html>\x1b[2J</html>"),
    "an empty object": http(b"{}"),
    "a list": http(b"[]"),
    "a number": http(b"7"),
    "null": http(b"null"),
    "not UTF-8": http(b'{"recipients": "\xff"}'),
    "a text": http(b'{"recipients": "2"}'),
    "a fraction": http(b'{"recipients": 2.0}'),
    "a truth": http(b'{"recipients": true}'),
    "below zero": http(b'{"recipients": -1}'),
    "no number": http(b'{"recipients": NaN}'),
    "5,000 digits": http(b'{"recipients": ' + b"9" * 5000 + b"}"),
    "beyond 64 bits": http(b'{"recipients": 9223372036854775808}'),
    "nested deep": http(b"[" * 100_000),
    "cut off": good("/api/v1/runs/x")[:-5],
    "elsewhere": http(b"", "302 Found", "Location: http://127.0.0.1:1/"),
    "forbidden": http(b'{"error": "no \\u001b[2J"}', "403 Forbidden"),
    "broken": http(b"", "500 Internal Server Error"),
    "no ledger": http(b'{"error": "this sink keeps no ledger"}', "409 Conflict"),
    "a length of its own": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
    "wrong chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
    "too much": http(b" " * (5 << 20)),
    "go on, and nothing": b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
}

WRONG_ARRIVALS = {
    "an empty body": http(b""),
    "a page": http(b"<html>"),
    "an object": http(b"{}"),
    "an empty archive": http(b"PK\x05\x06" + bytes(18)),
    "cut off": good("/arrivals")[:-40],
    "no column": good("/arrivals", first_ns=None),
    "other lengths": good("/arrivals", recipients=np.ones(3, np.int64)),
    "other types": good("/arrivals", recipients=np.ones(2)),
    "objects": good("/arrivals", recipients=np.array([{}, {}], object)),
    "texts": good("/arrivals", recipients=np.array(["a", "b"])),
    "tables": good("/arrivals", numbers=np.zeros((2, 2), np.int64)),
    "one number": good("/arrivals", numbers=np.int64(3)),
    "the same message twice": good("/arrivals", numbers=np.zeros(2, np.int64)),
    "messages below zero": good("/arrivals", numbers=np.array([-2, -1])),
    "nobody": good("/arrivals", recipients=np.zeros(2, np.int64)),
    "too many": good("/arrivals", recipients=np.full(2, 2**40)),
    "no pairs": good("/arrivals", unanswered=np.zeros(4, np.int64)),
    "no columns of numpy": packed(b"hello"),
    "compressed": packed(bytes(1 << 20), zipfile.ZIP_DEFLATED),
    "a shape of terabytes": packed(npy(b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,)}\n")),
    "a shape below zero": packed(npy(b"{'descr': '<i8', 'fortran_order': False, 'shape': (-1,)}\n", bytes(16))),
    "a header that is code": packed(npy(b"__import__('os').abort()\n")),
    "another version": packed(b"\x93NUMPY\x09\x00" + bytes(20)),
}


def waited_for(address: TcpTarget) -> SetupError:
    """What a wait of no time ends with."""
    with pytest.raises(SetupError) as raised:
        waiting.wait(RemoteSink(address), 0, MANIFEST, lambda _line: None, RunControl())
    return raised.value


@pytest.mark.parametrize("name", WRONG_OBJECTS)
def test_a_wrong_answer_is_one_line(name: str) -> None:
    with answering(lambda _path, _asked: WRONG_OBJECTS[name]) as address:
        with pytest.raises(SetupError) as raised:
            RemoteSink(address).copies("00112233aabbccdd")
        told = str(raised.value)
        assert told.isprintable()
        assert len(told) < 400
        assert f"{address}" in told


@pytest.mark.parametrize("name", WRONG_ARRIVALS)
def test_wrong_arrivals_are_one_line(name: str) -> None:
    script: Script = lambda path, _: WRONG_ARRIVALS[name] if path.endswith("/arrivals") else good(path)  # noqa: E731
    with answering(script) as address:
        told = str(waited_for(address))
        assert told.isprintable()
        assert len(told) < 400


def test_columns_with_rows_of_their_own_are_put_beside_the_messages_they_are_of() -> None:
    """The sink counts unanswered recipients by message, and of messages that it may not have."""
    changes = {
        "numbers": np.array([3, 5, 9]), "recipients": np.array([2, 4, 1]), "first_ns": np.array([7, 8, 6]),
        "damaged": np.array([9]), "unanswered": np.array([[5, 3], [6, 2], [9, 1]]),
    }  # fmt: skip
    with answering(lambda path, _asked: good(path, **changes)) as address:
        found = RemoteSink(address).arrivals("00112233aabbccdd", 10)
    assert found.numbers.tolist() == [3, 5, 9]
    assert found.recipients.tolist() == [2, 4, 1]
    assert found.taken_ns.tolist() == [7, 8, 6]
    assert found.damaged.tolist() == [False, False, True]
    assert found.unanswered.tolist() == [0, 3, 1]
    assert found.digests.tolist() == [-1, -1, -1]


def test_good_answers_are_believed() -> None:
    with answering(lambda path, _asked: good(path)) as address:
        ledger, delivery = waiting.wait(RemoteSink(address), 0, MANIFEST, lambda _line: None, RunControl())
    assert (ledger.received, ledger.missing, delivery.in_time) == (2, 0, True)


@settings(max_examples=150, deadline=None)
@given(
    arrivals=st.booleans(),
    cuts=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 40), st.binary(max_size=20)), min_size=1, max_size=4),
)
def test_an_answer_changed_anywhere_is_an_error_of_one_line_or_another_answer(
    arrivals: bool, cuts: list[tuple[int, int, bytes]]
) -> None:
    def script(path: str, _asked: int) -> bytes:
        octets = good(path)
        if path.endswith("/arrivals") == arrivals:
            for begin, length, other in cuts:
                octets = octets[:begin] + other + octets[begin + length :]
        return octets

    with answering(script) as address, suppress(SetupError):
        waiting.wait(RemoteSink(address), 0, MANIFEST, lambda _line: None, RunControl())


def test_an_answer_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_sink, "_ANSWER_S", 0.2)
    go_on = b"HTTP/1.1 100 Continue\r\n\r\n"
    with (
        answering(lambda _path, _asked: go_on, for_ever=True) as address,
        pytest.raises(SetupError, match="not within 0 s"),
    ):
        RemoteSink(address).totals()


def test_an_interrupt_ends_the_waiting_for_an_answer() -> None:
    with (
        answering(lambda _path, _asked: b"HTTP/1.1 100 Continue\r\n\r\n", for_ever=True) as address,
        pytest.raises(SetupError, match="interrupted"),
    ):
        RemoteSink(address, cancelled=lambda: True).totals()


SEND = ["--message-count", "20", "--concurrency", "2", "--workers", "1", "--domain", "gmail.com"]


def sent(server: SinkProcess, api: str, found: Path, patience: str) -> ExitCode:
    target = ["--target", f"127.0.0.1:{server.port}"]
    return call([*target, *SEND, "--wait-for-delivery", patience, "--sink-api", api, "--json", str(found)])


@pytest.mark.parametrize("wrong", [b"", http(b""), http(b"<html>"), http(b"{}"), None], ids=str)
def test_a_sink_that_goes_wrong_while_a_run_waits_costs_the_proof_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: bytes | None
) -> None:
    """It was there before the run; None: it is killed."""
    found = tmp_path / "x.json"
    with sink_process("127.0.0.1:0") as server:
        script: Script = lambda path, asked: wrong if asked and wrong is not None else good(path)  # noqa: E731
        if wrong is None:
            with sink_process("127.0.0.1:0", "--api", "127.0.0.1:0") as sink:
                api = sink.wait_for(r"API on http://(127\.0\.0\.1:\d+)/")[1]
                kill = waiting.wait

                def killed(*given: Any) -> Any:
                    sink.kill()
                    return kill(*given)

                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr("trafficgen.proof.waiting.wait", killed)
                    code = sent(server, api, found, "300ms")
        else:
            with answering(script) as address:
                code = sent(server, str(address), found, "300ms")
    out, err = capsys.readouterr()
    assert code is ExitCode.FAILED
    results = read_results(found)
    assert results.messages.accepted == 20
    assert results.complete
    assert results.valid
    assert (results.ledger, results.delivery) == (None, None)
    assert [caveat.kind.value for caveat in results.caveats if caveat.kind.value == "proof_missing"] == [
        "proof_missing"
    ]
    assert "what was delivered is not known: " in " ".join(out.split())
    assert "what was delivered is not known: " in err
    assert "Traceback" not in err


def test_a_sink_that_is_away_for_a_while_is_waited_for() -> None:
    script: Script = lambda path, asked: b"" if asked < 3 else good(path)  # noqa: E731
    with answering(script) as address:
        ledger, _ = waiting.wait(RemoteSink(address), 60 * 10**9, MANIFEST, lambda _line: None, RunControl())
    assert ledger.received == 2


def test_a_sink_that_stays_away_is_not_waited_for_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MAX_AWAY_NS", 0)
    with (
        answering(lambda _path, _asked: b"") as address,
        pytest.raises(SetupError, match="no answer from the sink's API"),
    ):
        waiting.wait(RemoteSink(address), 3600 * 10**9, MANIFEST, lambda _line: None, RunControl())


@pytest.mark.parametrize(
    ("target", "api", "told"),
    [
        ("192.0.2.1:25", "127.0.0.1:1", "(--target)"),
        ("127.0.0.1:25", "192.0.2.1:8026", '"192.0.2.1" is at 192.0.2.1'),
        ("127.0.0.1:25", "127.0.0.1:1", "no answer from the sink's API at 127.0.0.1:1"),
    ],
)
def test_the_guard_looks_at_the_target_first_and_then_at_the_api(
    target: str, api: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = call(["--target", target, *SEND, "--wait-for-delivery", "1s", "--sink-api", api])
    assert code in (ExitCode.USAGE, ExitCode.FAILED)
    err = capsys.readouterr().err
    assert told in err
    assert ("(--sink-api)" in err) == (api == "192.0.2.1:8026")


def test_a_sink_without_a_ledger_is_refused_before_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    with sink_process("127.0.0.1:0", "--no-ledger", "--api", "127.0.0.1:0") as sink:
        api = sink.wait_for(r"API on http://(127\.0\.0\.1:\d+)/")[1]
        assert sent(sink, api, Path("/dev/null"), "1s") is ExitCode.FAILED
    assert "this sink keeps no ledger" in capsys.readouterr().err

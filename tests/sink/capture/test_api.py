"""The sink's API: what it has, what it does wrong, and who may ask."""

import json
import smtplib
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.peers.running import send
from tests.sink.sink_process import SinkProcess, sink_process
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode, SetupError
from trafficgen.plan import TcpTarget
from trafficgen.proof.ledger_file import LINE_OCTETS
from trafficgen.proof.remote_sink import RemoteSink
from trafficgen.sink.api import json_body
from trafficgen.sink.api.api import INLINE_OCTETS


def api_of(sink: SinkProcess) -> TcpTarget:
    return TcpTarget("127.0.0.1", int(sink.wait_for(r"API on http://127\.0\.0\.1:(\d+)/")[1]))


def ask(api: TcpTarget, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    connection = HTTPConnection(api.host, api.port, timeout=60)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def refusals(sink: SinkProcess) -> list[int]:
    with smtplib.SMTP("127.0.0.1", sink.port, timeout=60) as client:
        return [client.mail("a@b.test")[0], client.rcpt("u@d.test")[0]]


def test_totals_and_runs_are_told_while_the_sink_works(capsys: pytest.CaptureFixture[str]) -> None:
    with sink_process("127.0.0.1:0", "--api", "127.0.0.1:0") as sink:
        api = api_of(sink)
        run_id = "00112233aabbccdd"
        send(sink.port, messages=300, sessions=3, run_id=run_id)
        remote = RemoteSink(api)
        assert remote.totals()["messages"] == 300
        assert remote.arrived(run_id) == 300
        assert remote.shares_our_clock(run_id)
        arrivals = remote.arrivals(run_id, 300)
        assert arrivals.recipients.tolist() == [1] * 300
        assert arrivals.taken_ns.min() > 0
        assert call(["sink", "status", str(api)]) is ExitCode.DONE
        assert json.loads(capsys.readouterr().out)["runs"][run_id]["messages"] == 300


def test_chaos_has_mailpits_shape_and_ends_when_it_is_put_back() -> None:
    with sink_process("127.0.0.1:0", "--api", "127.0.0.1:0") as sink:
        api = api_of(sink)
        assert refusals(sink) == [250, 250]
        status, chaos = ask(api, "PUT", "/api/v1/chaos", b'{"Recipient": {"ErrorCode": 452, "Probability": 100}}')
        assert (status, chaos["Recipient"]) == (200, {"ErrorCode": 452, "Probability": 100})
        assert refusals(sink) == [250, 452]
        assert ask(api, "PUT", "/api/v1/chaos", b'{"Faults": ["reject mail:450"]}')[0] == 200
        assert refusals(sink)[0] == 450
        assert ask(api, "GET", "/api/v1/chaos")[1]["Recipient"]["Probability"] == 0
        assert ask(api, "PUT", "/api/v1/chaos", b"{}")[0] == 200
        assert refusals(sink)[0] == 450
        assert ask(api, "PUT", "/api/v1/chaos", b'{"Faults": []}')[1]["Faults"] == []
        assert refusals(sink) == [250, 250]


def test_faults_given_as_options_are_listed_and_replaced_stage_by_stage() -> None:
    options = ("--reject", "mail:450", "--reject", "rcpt:451", "--delay", "rcpt:uniform:1ms-2ms:12.5%")
    with sink_process("127.0.0.1:0", "--api", "127.0.0.1:0", *options) as sink:
        api = api_of(sink)
        rcpt = ["delay rcpt:uniform:1ms-2ms:12.5%", "reject rcpt:451"]
        assert ask(api, "GET", "/api/v1/chaos")[1]["Faults"] == [rcpt[0], "reject mail:450", rcpt[1]]
        status, chaos = ask(api, "PUT", "/api/v1/chaos", b'{"Faults": ["reject mail:452", "drop dot:after:1%"]}')
        assert (status, chaos["Faults"]) == (200, [*rcpt, "reject mail:452", "drop dot:after:1%"])
        assert refusals(sink)[0] == 452
        trigger = b'{"Recipient": {"ErrorCode": 550, "Probability": 100}}'
        assert ask(api, "PUT", "/api/v1/chaos", trigger)[1]["Faults"] == chaos["Faults"]
        assert RemoteSink(api).chaos()["Recipient"] == {"ErrorCode": 550, "Probability": 100}


def test_injections_are_counted_and_discarded() -> None:
    with sink_process("127.0.0.1:0", "--api", "127.0.0.1:0") as sink:
        api = api_of(sink)
        body = {"envelope_sender": "a@b.test", "content": "x", "recipients": [{"email": "u@d.test"}] * 3}
        status, answer = ask(api, "POST", "/api/inject/v1", json.dumps(body).encode())
        assert (status, answer["success_count"]) == (200, 3)
        assert ask(api, "GET", "/api/v1/totals")[1]["injected"] == 3


def test_bad_requests_are_refused_and_harm_nothing() -> None:
    with sink_process("127.0.0.1:0", "--api", "127.0.0.1:0") as sink:
        api = api_of(sink)
        assert ask(api, "GET", "/etc/passwd")[0] == 404
        assert ask(api, "PUT", "/api/v1/chaos", b"no JSON")[0] == 400
        assert ask(api, "PUT", "/api/v1/chaos", b"[]")[0] == 400
        assert ask(api, "PUT", "/api/v1/chaos", b'{"Sender": {"ErrorCode": 250}}')[0] == 400
        assert ask(api, "PUT", "/api/v1/chaos", b'{"Faults": ["explode rcpt"]}')[0] == 400
        assert ask(api, "PUT", "/api/v1/chaos", b'{"Faults": "reject rcpt:450"}')[0] == 400
        assert ask(api, "POST", "/api/inject/v1", b"{}")[0] == 400
        assert ask(api, "GET", "/api/v1/totals", Origin="http://evil.example")[0] == 403
        assert refusals(sink) == [250, 250]


def test_nobody_at_the_api_is_an_error_of_one_line() -> None:
    with pytest.raises(SetupError, match="no answer from the sink's API"):
        RemoteSink(TcpTarget("127.0.0.1", 1)).totals()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"Recpient": {"ErrorCode": 452, "Probability": 5}}', "did you mean Recipient"),
        (b'{"recipient": {"ErrorCode": 452}}', "did you mean Recipient"),
        (b'{"faults": []}', "did you mean Faults"),
        (b'{"Sender": {"errorcode": 452}}', "did you mean ErrorCode"),
        (b'{"Sender": {"Probabilty": 5}}', "did you mean Probability"),
        (b'{"x": 1}', "expected Sender, Recipient, Authentication, Faults"),
        (b'{"Faults": [], "Faults": ["reject rcpt:450"]}', 'expected the key "Faults" once'),
        (b'{"Sender": 0}', "expected Sender to be an object"),
        (b'{"Sender": {"ErrorCode": 451.0}}', "expected Sender with an ErrorCode"),
        (b'{"Sender": {"Probability": true}}', "expected Sender with an ErrorCode"),
        (b'{"Recipient": {"Probability": 100}, "Faults": ["reject rcpt:99"]}', "expected a code from 400 to 599"),
        (b'{"Recipient": {"Probability": 100}, "Faults": [1]}', "expected Faults to be a list of texts"),
        (b'{"Faults": "reject rcpt:450"}', "expected Faults to be a list of texts"),
        (b"[" * 60_000, "not nested so deep"),
        (json.dumps({"Faults": ["reject rcpt:450"] * 101}).encode(), "expected 100 Faults"),
        (json.dumps({"Faults": ["x" * 201]}).encode(), "of 200 characters at most"),
        (b'{"Sender": {"ErrorCode": ' + b"4" * 5000 + b"}}", "expected JSON"),
        (b'{"Sender": \xff}', "expected JSON"),
    ],
)
def test_chaos_that_is_not_understood_changes_nothing(api_at_work: TcpTarget, body: bytes, told: str) -> None:
    before = ask(api_at_work, "GET", "/api/v1/chaos")
    assert before[1]["Faults"] == ["reject rcpt:451"]
    status, answer = ask(api_at_work, "PUT", "/api/v1/chaos", body)
    assert status == 400
    assert told in answer["error"]
    assert ask(api_at_work, "GET", "/api/v1/chaos") == before


@pytest.fixture(scope="module")
def api_at_work() -> Iterator[TcpTarget]:
    """Of one sink for the tests that change nothing."""
    with sink_process("127.0.0.1:0", "--api", "127.0.0.1:0", "--reject", "rcpt:451") as sink:
        yield api_of(sink)


def test_a_hundred_thousand_faults_are_too_many(api_at_work: TcpTarget) -> None:
    body = json.dumps({"Faults": ["reject rcpt:450:1%"] * 100_000}).encode()
    assert ask(api_at_work, "PUT", "/api/v1/chaos", body)[0] == 413


INJECTION: dict[str, Any] = {"envelope_sender": "a@b.test", "content": "x", "recipients": [{"email": "u@d.test"}]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"recipient": []}, "did you mean recipients"),
        ({"recipients": [{"emial": "u@d.test"}]}, "expected every recipient as"),
        ({"recipients": [{"email": "u@d.test", "subs": {}}]}, 'no key "subs" in a recipient'),
        ({"recipients": ["u@d.test"]}, "expected every recipient as"),
        ({"recipients": {"email": "u@d.test"}}, "expected content"),
        ({"content": 1}, "expected content"),
        ({"content": {"textbody": "x"}}, "did you mean text_body"),
    ],
)
@pytest.mark.parametrize("padding", [0, 2 * INLINE_OCTETS], ids=["read in place", "read elsewhere"])
def test_injections_that_kumomta_would_not_take(
    api_at_work: TcpTarget, change: dict[str, Any], told: str, padding: int
) -> None:
    body = json.dumps(INJECTION | change).encode() + b" " * padding
    status, answer = ask(api_at_work, "POST", "/api/inject/v1", body)
    assert status == 400
    assert told in answer["error"]
    assert ask(api_at_work, "GET", "/api/v1/totals")[1]["injected"] == 0


def test_injections_with_all_that_kumomta_knows_are_taken() -> None:
    with sink_process("127.0.0.1:0", "--api", "127.0.0.1:0") as sink:
        api = api_of(sink)
        content = {"text_body": "x", "html_body": "x", "attachments": [], "headers": {"X": "y"}, "subject": "x"}
        everything = INJECTION | {
            "content": content | {"from": {"email": "a@b.test"}, "reply_to": {"email": "a@b.test"}},
            "substitutions": {"a": 1}, "deferred_spool": True, "deferred_generation": False,
            "trace_headers": {"received_header": False}, "template_dialect": "Static",
            "recipients": [{"email": "u@d.test", "name": "U", "substitutions": {"b": [1]}}],
        }  # fmt: skip
        assert ask(api, "POST", "/api/inject/v1", json.dumps(everything).encode())[1]["success_count"] == 1
        large = json.dumps(INJECTION | {"content": "x" * 2 * INLINE_OCTETS}).encode()
        assert ask(api, "POST", "/api/inject/v1", large)[1]["success_count"] == 1


def test_an_injection_has_no_more_recipients_than_a_line_of_the_ledger_can_say(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with sink_process("127.0.0.1:0", "--api", "127.0.0.1:0", "--ledger", str(ledger)) as sink:
        api = api_of(sink)
        for recipients, status in ((9999, 200), (10_000, 400)):
            some = [{"email": f"u{number}@d.test"} for number in range(recipients)]
            body = json.dumps(INJECTION | {"recipients": some}).encode()
            assert ask(api, "POST", "/api/inject/v1", body)[0] == status
        assert ask(api, "GET", "/api/v1/totals")[1]["injected"] == 9999
    assert {len(line) for line in ledger.read_bytes().rstrip(b"\0").splitlines()} == {LINE_OCTETS - 1}


def test_a_large_body_whose_values_would_fill_the_memory_is_refused() -> None:
    """By the program that reads it, as the API gives it 20 s only, whatever else the machine does."""
    body = b'{"recipients": [' + b"[]," * 15_000_000 + b"[]]}"
    read = subprocess.run([sys.executable, json_body.__file__], input=body, capture_output=True, check=False)
    assert (read.returncode, read.stdout) == (1, b"expected fewer values: they do not fit into 768 MiB")


def test_mail_goes_on_while_large_bodies_come_in_at_a_time() -> None:
    """Sixteen bodies of 60 MB: never more than 128 MiB of them are there, the others are told to come again."""
    body = json.dumps(INJECTION | {"content": "x" * 60_000_000}).encode()
    statuses: list[int] = []

    def inject(api: TcpTarget) -> None:
        statuses.append(ask(api, "POST", "/api/inject/v1", body)[0])

    with sink_process("127.0.0.1:0", "--api", "127.0.0.1:0") as sink:
        api = api_of(sink)
        clients = [threading.Thread(target=inject, args=(api,)) for _ in range(16)]
        for client in clients:
            client.start()
        handed_over = 0
        with smtplib.SMTP("127.0.0.1", sink.port, timeout=60) as smtp:
            while any(client.is_alive() for client in clients):
                smtp.sendmail("a@b.test", ["u@d.test"], b"Subject: x\r\n\r\nx\r\n")
                handed_over += 1
        for client in clients:
            client.join()
        assert set(statuses) == {200, 503}
        assert handed_over > len(clients)
        peak = Path(f"/proc/{sink.process.pid}/status")
        if peak.exists():
            kib = next(int(line.split()[1]) for line in peak.read_text().splitlines() if line.startswith("VmHWM"))
            assert kib < 500_000
        assert ask(api, "GET", "/api/v1/totals")[1]["injected"] == statuses.count(200)

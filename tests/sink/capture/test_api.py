"""The sink's API: what it has, what it does wrong, and who may ask."""

import json
import smtplib
from http.client import HTTPConnection
from typing import Any

import pytest

from tests.peers.running import send
from tests.sink.sink_process import SinkProcess, sink_process
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode, SetupError
from trafficgen.plan import TcpTarget
from trafficgen.sink.remote import RemoteSink


def api_of(sink: SinkProcess) -> TcpTarget:
    return TcpTarget("127.0.0.1", int(sink.wait_for(r"API on http://127\.0\.0\.1:(\d+)/")[1]))


def ask(api: TcpTarget, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    connection = HTTPConnection(api.host, api.port, timeout=30)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def refusals(sink: SinkProcess) -> list[int]:
    with smtplib.SMTP("127.0.0.1", sink.port, timeout=30) as client:
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

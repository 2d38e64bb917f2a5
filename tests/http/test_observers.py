"""The live page and the metrics: over HTTP, and when they or what they draw from is broken."""

import json
import re
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.output.full_disk import run_on_full_disk
from trafficgen.errors import ExitCode
from trafficgen.measure.health import Caveat, CaveatKind
from trafficgen.measure.results import Results
from trafficgen.plan import Plan
from trafficgen.publish.isolated import Isolation
from trafficgen.publish.live_page import LivePage
from trafficgen.publish.prometheus import Prometheus
from trafficgen.runs.monitor import MonitorOptions, run_monitored
from trafficgen.runs.run import Progress

PLAN = Plan(max_messages=50, sessions=2, workers=1)


def get(port: int, path: str, **headers: str) -> tuple[int, str, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.getheader("Content-Type") or "", response.read()
    finally:
        connection.close()


def test_the_page_and_the_metrics_show_the_results_so_far() -> None:
    with LivePage(0) as page, Prometheus(0) as metrics:
        assert json.loads(get(page.port, "/runs.json")[2]) == []
        run_monitored(PLAN, MonitorOptions(), observers=[page, metrics])
        status, kind, body = get(page.port, "/")
        assert (status, kind) == (200, "text/html; charset=utf-8")
        assert b"runs.json" in body
        assert len(json.loads(get(page.port, "/runs.json")[2])) == 1
        status, kind, body = get(metrics.port, "/metrics")
        assert (status, kind.partition(";")[0]) == (200, "text/plain")
        assert b'traffic_gen_messages_total{outcome="accepted"} 50.0\n' in body
        for port in (page.port, metrics.port):
            assert get(port, "/etc/passwd")[0] == 404
            assert get(port, "/", Host="evil.example")[0] == 421
            assert get(port, "/", Origin="http://evil.example")[0] == 403


def test_observers_that_raise_are_left_out_and_said_once() -> None:
    calls: list[str] = []
    said: list[str] = []

    class Page:
        name = "the page"

        def __call__(self, _results: Results) -> None:
            calls.append("page")
            raise KeyError("helo")

    def sound(results: Results) -> None:
        calls.append("sound")

    def progress(_now: Progress) -> None:
        calls.append("progress")
        raise UnicodeEncodeError("ascii", "µ", 0, 1, "no")

    results = run_monitored(PLAN, MonitorOptions(), observers=[Page(), sound], progress=progress, notice=said.append)
    assert results.messages.accepted == 50
    assert results.complete
    assert (calls.count("page"), calls.count("progress")) == (1, 1)
    assert "sound" in calls
    assert [caveat.kind for caveat in results.caveats].count(CaveatKind.OBSERVER_FAILED) == 2
    told = [line for line in said if "left out" in line]
    assert len(told) == 2
    assert any(
        re.match(r"the page failed and was left out: KeyError: 'helo' at test_observers\.py:\d+", t) for t in told
    )
    assert results.exit_code(keep_going=False) is ExitCode.DONE


def test_a_stderr_that_is_gone_is_no_reason_to_end_either() -> None:
    def gone(_line: str) -> None:
        raise BrokenPipeError

    isolation = Isolation(gone)
    for name in ("a", "b"):
        isolation.call(name, lambda: 1 / 0)
    assert [caveat.kind for caveat in isolation.caveats] == [CaveatKind.OBSERVER_FAILED] * 2


def test_an_interrupt_is_not_an_observers_failure() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Isolation(lambda _line: None).call("a", stop)


def test_a_table_of_words_with_a_gap_costs_the_page_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from trafficgen.cli.program import call

    def gap(_results: Any) -> str:
        raise KeyError("idle")

    monkeypatch.setattr("trafficgen.report.to_html.to_html", gap)
    send = ["--quiet", "--message-count", "20", "--concurrency", "2", "--workers", "1", "--domain", "gmail.com"]
    outputs = ["--html", str(tmp_path / "x.html"), "--json", str(tmp_path / "x.json")]
    assert call([*send, *outputs]) is ExitCode.FAILED
    out, err = capsys.readouterr()
    assert "accepted" in out
    assert err.startswith("traffic-gen: cannot write --html: KeyError: 'idle' at test_observers.py:")
    assert json.loads((tmp_path / "x.json").read_text())["complete"]
    assert not (tmp_path / "x.html").exists()


def test_every_kind_of_caveat_of_ours_has_advice() -> None:
    for kind in (CaveatKind.PROOF_MISSING, CaveatKind.OUTPUT_FAILED, CaveatKind.OBSERVER_FAILED):
        assert Caveat.of(kind, "x").advice
        assert not Caveat.of(kind, "x").limits_generator


def test_a_port_that_is_taken_is_said_before_the_run() -> None:
    with LivePage(0) as page:
        done = run_on_full_disk(["--message-count", "5", "--live-port", str(page.port)], limited=False)
    assert done.returncode == ExitCode.FAILED
    assert f"cannot listen on 127.0.0.1:{page.port}: address already in use (--live-port)" in done.stderr

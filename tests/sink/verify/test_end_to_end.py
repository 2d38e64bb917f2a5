"""The proof end to end: through a real server that has to try again, and through the death of the sink."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

import trafficgen
from tests.peers.postfix import private_postfix
from tests.peers.running import plan_for
from tests.sink.sink_process import SinkProcess, sink_process
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.proof import ledger_reader
from trafficgen.proof.remote_sink import RemoteSink
from trafficgen.proof.sent import Manifest, read

IMPATIENT = """\
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
transport_retry_time = 1s
default_destination_rate_delay = 0s
smtp_destination_concurrency_failed_cohort_limit = 1000
"""
"""A Postfix that tries again at once, and does not take a destination for dead because it refuses some mail."""

TENTH = '[default]\ndefer = 10\n[domain."yahoo.com"]\ndefer = 10\n[[defer."yahoo.com"]]\ncode = 450\nmsg = "4.2.0 x"\n'


def verdict(capsys: pytest.CaptureFixture[str], manifest: Path, ledger: Path) -> tuple[ExitCode, dict[str, Any]]:
    """What verify says."""
    capsys.readouterr()
    code = call(["verify", str(manifest), str(ledger), "--json"])
    return code, json.loads(capsys.readouterr().out)


def wait_until_all_came(sink: SinkProcess, ledger: Path, run_id: str, messages: int) -> None:
    """The sink says a line a second while mail comes; after each one, count."""
    while len(set(ledger_reader.read([ledger], run_id).copies.numbers.tolist())) < messages:
        sink.wait_for("messages,")


def test_through_postfix_with_a_tenth_put_off_all_is_delivered_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, ledger, table = tmp_path / "manifest", tmp_path / "ledger", tmp_path / "table.toml"
    table.write_text(TENTH)
    plan = plan_for(None, messages=400, sessions=10)
    options = ("--responses", str(table), "--ledger", str(ledger), "--seed", "5")
    with sink_process("127.0.0.1:0", *options) as sink, private_postfix(sink.port, IMPATIENT) as postfix:
        plan = plan_for(postfix.port, messages=400, sessions=10, run_id=plan.run_id)
        results = trafficgen.run(plan, manifest=manifest)
        assert results.messages.accepted == 400
        wait_until_all_came(sink, ledger, plan.run_id, 400)
        postfix.stop()
        assert "status=deferred" in postfix.log
        assert postfix.queued() == 0
        sink.end()
    code, found = verdict(capsys, manifest, ledger)
    assert code is ExitCode.DONE
    assert (found["delivered"], found["missing"], found["explained"], found["unexplained"]) == (400, 0, 0, 0)
    latency = found["latency_ns"]
    assert 0 < latency["p50"] <= latency["p99"] <= latency["max"]


def test_lost_replies_make_duplicates_that_are_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest, ledger = tmp_path / "manifest", tmp_path / "ledger"
    options = ("--drop", "dot:after:10%", "--ledger", str(ledger))
    with sink_process("127.0.0.1:0", *options) as sink, private_postfix(sink.port, IMPATIENT) as postfix:
        plan = plan_for(postfix.port, messages=200, sessions=5)
        trafficgen.run(plan, manifest=manifest)
        # A tenth of 200 replies is lost, so that about 20 second copies come; the seed says how many exactly.
        while ledger_reader.read([ledger], plan.run_id).copies.numbers.size < 210:
            sink.wait_for("messages,")
        wait_until_all_came(sink, ledger, plan.run_id, 200)
        postfix.stop()
        sink.end()
    code, found = verdict(capsys, manifest, ledger)
    assert code is ExitCode.DONE
    assert (found["delivered"], found["missing"], found["unexplained"]) == (200, 0, 0)
    assert found["explained"] > 0


def test_through_postfix_a_killed_sink_and_its_successor_have_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, ledger = tmp_path / "manifest", tmp_path / "ledger"
    with (
        sink_process("127.0.0.1:0", "--ledger", str(ledger), "--delay", "dot:2ms") as first,
        private_postfix(first.port, IMPATIENT) as postfix,
    ):
        plan = plan_for(postfix.port, messages=400, sessions=10)
        trafficgen.run(plan, manifest=manifest)
        first.kill()
        with sink_process(first.address, "--ledger", str(ledger)) as second:
            wait_until_all_came(second, ledger, plan.run_id, 400)
            postfix.stop()
            second.end()
    log = ledger_reader.read([ledger], plan.run_id)
    assert (log.sinks, log.killed) == (2, 1)
    code, found = verdict(capsys, manifest, ledger)
    assert code is ExitCode.DONE
    assert (found["delivered"], found["missing"], found["unexplained"]) == (400, 0, 0)


def test_a_sink_killed_under_its_sender_has_every_message_that_it_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, ledger = tmp_path / "manifest", tmp_path / "ledger"
    sinks = [SinkProcess("127.0.0.1:0", "--ledger", str(ledger))]

    def kill_once(now: trafficgen.Progress) -> None:
        if len(sinks) == 1 and now.snapshot.outcomes[0] > 1000:
            sinks[0].kill()
            sinks.append(SinkProcess(sinks[0].address, "--ledger", str(ledger)))

    plan = plan_for(sinks[0].port, messages=60_000, sessions=10)
    results = trafficgen.run(plan, progress=kill_once, manifest=manifest)
    sinks[-1].end()
    assert len(sinks) == 2
    code, found = verdict(capsys, manifest, ledger)
    assert code is ExitCode.DONE
    assert found["expected"] == found["delivered"] == results.messages.accepted
    assert (found["missing"], found["unexplained"], found["unexpected"]) == (0, 0, 0)
    assert found["in_doubt"] == results.messages.in_doubt
    for sink in sinks:
        sink.lines.close()


def test_send_waits_until_all_has_come_out_behind_the_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.toml"
    table.write_text(TENTH)
    options = ("--api", "127.0.0.1:0", "--responses", str(table))
    with sink_process("127.0.0.1:0", *options) as sink, private_postfix(sink.port, IMPATIENT) as postfix:
        api = sink.wait_for(r"API on http://(127\.0\.0\.1:\d+)/")[1]
        code = call(
            ["--target", f"127.0.0.1:{postfix.port}", "--message-count", "200", "--concurrency", "5", "--workers", "1",
             "--wait-for-delivery", "1m", "--sink-api", api, "--json", str(tmp_path / "json")]
        )  # fmt: skip
        postfix.stop()
        log = postfix.log
    said = capsys.readouterr()
    assert code is ExitCode.DONE, said.err + log
    assert "waiting up to 60.0 s for 200 messages" in said.err
    assert "200 expected, 200 received, 0 missing" in said.out
    assert "drained in" in said.out
    assert "end to end: p50" in said.out
    results = json.loads((tmp_path / "json").read_text())
    assert results["ledger"] == {
        "expected": 200, "received": 200, "missing": 0, "duplicated": 0, "corrupted": 0, "mended": 0,
        "explained": 0,
    }  # fmt: skip
    delivery = results["delivery"]
    assert delivery["in_time"]
    assert delivery["latency_ns"]["count"] == 200
    assert delivery["drained_ns"] > 0  # some of a tenth that is put off comes a second later
    assert delivery["inject_per_s"] > delivery["delivered_per_s"] > 0


def test_through_postfix_that_splits_messages_each_recipient_is_found_to_have_its_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, ledger = tmp_path / "manifest", tmp_path / "ledger"
    one_by_one = IMPATIENT + "smtp_destination_recipient_limit = 1\nrelay_destination_recipient_limit = 1\n"
    options = ("--api", "127.0.0.1:0", "--ledger", str(ledger))
    with sink_process("127.0.0.1:0", *options) as sink, private_postfix(sink.port, one_by_one) as postfix:
        api = sink.wait_for(r"API on http://(127\.0\.0\.1:\d+)/")[1]
        code = call(
            ["--target", f"127.0.0.1:{postfix.port}", "--message-count", "40", "--workers", "1", "--recipients", "3",
             "--manifest", str(manifest), "--wait-for-delivery", "1m", "--sink-api", api]
        )  # fmt: skip
        assert code is ExitCode.DONE, capsys.readouterr()
        postfix.stop()
        sink.end()
    assert ledger_reader.read([ledger], read(manifest).run_id).copies.numbers.size == 120
    assert (read(manifest).accepted.digests >= 0).all()
    code, found = verdict(capsys, manifest, ledger)
    assert (code, found["delivered"], found["misdelivered"]) == (ExitCode.DONE, 40, 0)


def test_what_does_not_come_out_in_time_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--api", "127.0.0.1:0", "--reject", "rcpt:450")
    with sink_process("127.0.0.1:0", *options) as sink, private_postfix(sink.port) as postfix:
        api = sink.wait_for(r"API on http://(127\.0\.0\.1:\d+)/")[1]
        code = call(
            ["--target", f"127.0.0.1:{postfix.port}", "--message-count", "20", "--workers", "1",
             "--wait-for-delivery", "100ms", "--sink-api", api]
        )  # fmt: skip
    assert code is ExitCode.VERDICT_FAILED
    said = capsys.readouterr().out
    assert "20 missing" in said
    assert "not all came in time" in said


@pytest.mark.parametrize("moment", ["while it waits", "while it writes the manifest"])
def test_ctrl_c_after_the_sending_still_gives_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Nothing comes out behind a sink that stands for a server, so only Ctrl-C ends the wait of an hour."""
    manifest, found = tmp_path / "manifest", tmp_path / "json"

    def press(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    write, copies = Manifest.write, RemoteSink.copies
    if moment == "while it waits":
        monkeypatch.setattr(RemoteSink, "copies", lambda self, run: press() or copies(self, run))
    else:
        monkeypatch.setattr(Manifest, "write", lambda self, path: press() or write(self, path))
    with sink_process("127.0.0.1:0") as server, sink_process("127.0.0.1:0", "--api", "127.0.0.1:0") as sink:
        api = sink.wait_for(r"API on http://(127\.0\.0\.1:\d+)/")[1]
        patience = "1h" if moment == "while it waits" else "1ms"
        code = call(
            ["--target", f"127.0.0.1:{server.port}", "--message-count", "20", "--quiet", "--manifest", str(manifest),
             "--wait-for-delivery", patience, "--sink-api", api, "--json", str(found)]
        )  # fmt: skip
    results = json.loads(found.read_text())
    assert code is ExitCode.VERDICT_FAILED  # what is missing weighs more than why
    assert results["stopped_by"] == "interrupted"
    assert results["messages"]["accepted"] == 20
    assert results["ledger"]["missing"] == 20
    assert read(manifest).accepted.numbers.size == 20

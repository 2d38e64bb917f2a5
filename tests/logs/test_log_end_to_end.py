"""Every message of a run, found by id in the logs of a real Postfix and a real Dovecot."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import trafficgen
from tests.logs.private_dovecot import private_dovecot
from tests.peers.postfix import private_postfix
from tests.peers.running import plan_for
from tests.sink.sink_process import sink_process
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.proof import ledger_reader

MESSAGES = 300
TO_DOVECOT = """\
default_transport = lmtp:inet:127.0.0.1:{port}
relayhost =
lmtp_destination_recipient_limit = 1
delay_logging_resolution_limit = 6
enable_long_queue_ids = yes
syslog_name = postfix-lab
"""


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[ExitCode, dict[str, Any]]:
    capsys.readouterr()
    code = call(["log", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_every_message_is_followed_by_its_id_into_its_mailbox(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, log = tmp_path / "run.manifest", tmp_path / "mail.log"
    with private_dovecot() as dovecot:
        settings = TO_DOVECOT.format(port=dovecot.port)
        with private_postfix(1, settings) as postfix:
            results = trafficgen.run(plan_for(postfix.port, messages=MESSAGES, sessions=8), manifest=manifest)
            assert results.messages.accepted == MESSAGES
            # The command itself waits until every message has left the queue.
            code, found = said(capsys, manifest, dovecot.log, postfix.folder / "log/mail.log", "--follow", "60s")
            assert found["fates"]["sent"]["messages"] == MESSAGES
            postfix.stop()
            log.write_text(postfix.log)
        shutil.copy(dovecot.log, tmp_path / "dovecot.log")
        stored = sum(1 for path in dovecot.mail.rglob("*") if path.is_file() and path.parent.name == "new")
    code, found = said(capsys, manifest, log, tmp_path / "dovecot.log")
    assert code is ExitCode.DONE
    assert found["whole"]["verdict"] == "yes"
    assert found["fates"]["sent"]["messages"] == found["mailboxes"]["messages_saved"] == stored == MESSAGES
    assert found["log"]["not_understood"] == 0, found["log"]["not_understood_first"]
    assert found["delays_s"]["delay"]["count"] == MESSAGES
    # And when a line is gone, that is seen: of one message all of them, of another its arrival alone.
    first, second = (found["fates"]["sent"]["first"][place]["queue_id"] for place in (0, 1))
    kept = [line for line in log.read_text().splitlines() if first not in line]
    log.write_text("\n".join(kept) + "\n")
    code, found = said(capsys, manifest, log)
    assert code is ExitCode.VERDICT_FAILED
    assert found["fates"]["not_logged"]["messages"] == 1
    log.write_text("\n".join(line for line in kept if second not in line or "to=<" in line) + "\n")
    code, found = said(capsys, manifest, log)
    assert found["fates"]["not_logged"]["messages"] == 2


def test_the_log_and_the_sinks_ledger_agree_on_what_was_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, ledger, log = tmp_path / "run.manifest", tmp_path / "sink.ledger", tmp_path / "mail.log"
    with sink_process("127.0.0.1:0", "--ledger", str(ledger)) as sink, private_postfix(sink.port) as postfix:
        plan = plan_for(postfix.port, messages=MESSAGES, sessions=8)
        trafficgen.run(plan, manifest=manifest)
        while ledger_reader.read([ledger], plan.run_id).copies.numbers.size < MESSAGES:
            sink.wait_for("messages,")
        postfix.stop()
        log.write_text(postfix.log)
        sink.end()
    code, found = said(capsys, manifest, log, "--ledger", ledger)
    assert code is ExitCode.DONE
    assert found["fates"]["sent"]["messages"] == MESSAGES
    assert all(group["messages"] == 0 for group in found["contradictions"].values())


def test_refusals_and_latencies_of_both_sides_are_beside_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, results_file, log = tmp_path / "run.manifest", tmp_path / "run.json", tmp_path / "mail.log"
    refusing = "smtpd_recipient_restrictions = check_recipient_access regexp:{{/@yahoo/ 550 5.7.1 not here}}, permit"
    with sink_process("127.0.0.1:0") as sink, private_postfix(sink.port, refusing) as postfix:
        target = f"127.0.0.1:{postfix.port}"
        sent = [
            "--message-count",
            "60",
            "--concurrency",
            "4",
            "--domain",
            "gmail.com:1",
            "--domain",
            "yahoo.com:1",
            "--keep-going",
        ]
        code = call(
            ["--target", target, "--rate", "25/s", *sent, "--manifest", str(manifest), "--json", str(results_file)]
        )
        assert code is ExitCode.DONE
        postfix.stop()
        log.write_text(postfix.log)
        sink.end()
    refused = json.loads(results_file.read_text())["messages"]["rejected_permanent"]
    assert 0 < refused < 60
    _, found = said(capsys, manifest, log, "--results", results_file)
    (at_rcpt,) = [one for one in found["refusals"] if one["code"] == "550"]
    assert at_rcpt["log"] == at_rcpt["client"] == at_rcpt["stages"]["RCPT"] == refused
    assert any(one["client_p99"] for one in found["delays_over_time"]["stretches"])
    capsys.readouterr()
    call(["log", str(manifest), str(log), "--results", str(results_file)])
    text = capsys.readouterr().out
    assert "refusals during the run" in text
    # Without the results nobody knows when the run was over, nor what the client was told.
    _, alone = said(capsys, manifest, log)
    (at_rcpt,) = [one for one in alone["refusals"] if one["code"] == "550"]
    assert (at_rcpt["log"], at_rcpt["client"]) == (refused, None)

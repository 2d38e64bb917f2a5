"""Servers that other people wrote take what we send: smtp-sink, Postfix, aiosmtpd."""

from pathlib import Path

import pytest

from tests.peers.independent import aiosmtpd_server
from tests.peers.postfix import private_postfix
from tests.peers.private_sink import private_sink
from tests.peers.running import Counts, counts, send
from tests.peers.smtp_sink import smtp_sink
from trafficgen import BodyFile, ExitCode, Pipelining
from trafficgen.proof import trace_header


def numbers_in(messages: list[bytes]) -> list[int]:
    """Whose marks these messages carry, in order."""
    found = []
    for message in messages:
        parsed = trace_header.parse(message.partition(trace_header.HEADER)[2][: trace_header.VALUE_OCTETS])
        assert parsed is not None
        found.append(parsed[1])
    return sorted(found)


# -- smtp-sink ------------------------------------------------------------------------------------------


def test_smtp_sink_gets_every_message_once_in_groups(tmp_path: Path) -> None:
    with smtp_sink(tmp_path) as server:
        results = send(server.port, messages=400, sessions=5)
        assert numbers_in(server.messages()) == list(range(400))
    assert counts(results) == Counts(accepted=400)
    assert results.failures == ()
    assert results.ledger is None


@pytest.mark.parametrize(("options", "pipelining"), [(["-p"], Pipelining.AUTO), ([], Pipelining.OFF)])
def test_smtp_sink_gets_every_message_once_in_lock_step(
    tmp_path: Path, options: list[str], pipelining: Pipelining
) -> None:
    with smtp_sink(tmp_path, *options) as server:
        several = {"recipients_per_message": ((3, 1.0),)}
        results = send(server.port, messages=200, sessions=5, session={"pipelining": pipelining}, workload=several)
        assert numbers_in(server.messages()) == list(range(200))
    assert counts(results) == Counts(accepted=200)
    assert {(each.phase, each.code): each.count for each in results.replies}["rcpt", 250] == 600


def test_smtp_sink_that_knows_helo_only_gets_every_message(tmp_path: Path) -> None:
    with smtp_sink(tmp_path, "-e") as server:
        results = send(server.port, messages=50, sessions=2)
        assert numbers_in(server.messages()) == list(range(50))
    assert counts(results) == Counts(accepted=50)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-q", "connect"], Counts(failed=20)),
        (["-f", "mail"], Counts(rejected_permanent=20)),
        (["-r", "rcpt"], Counts(rejected_temporary=20)),
        (["-r", "."], Counts(rejected_temporary=20)),
        (["-q", "."], Counts(in_doubt=20)),
    ],
)
def test_smtp_sinks_faults_are_counted_exactly(tmp_path: Path, options: list[str], expected: Counts) -> None:
    with smtp_sink(tmp_path, *options) as server:
        results = send(server.port, messages=20, sessions=20)
    assert counts(results) == expected


# -- Postfix --------------------------------------------------------------------------------------------


def test_every_message_through_postfix_arrives_exactly_once_and_whole(tmp_path: Path) -> None:
    dots = tmp_path / "body.txt"
    dots.write_bytes(b".\n..\nFrom here\n.end without a line end")
    with private_sink() as sink, private_postfix(sink.port) as postfix:
        kept = send(postfix.port, messages=300, sessions=10, body="5kb")
        churning = send(
            postfix.port,
            messages=60,
            sessions=5,
            session={"max_messages": 1},
            workload={"content": BodyFile(dots), "recipients_per_message": ((2, 1.0),)},
        )
        sink.wait_for(360)
        postfix.stop()  # nothing can come any more
        assert postfix.queued() == 0
        assert counts(kept) == Counts(accepted=300)
        assert counts(churning) == Counts(accepted=60)
        for results, messages, recipients in ((kept, 300, 1), (churning, 60, 2)):
            arrivals = sink.arrivals(results.run.id)
            assert arrivals.counts.tolist() == [recipients] * messages
            assert int(arrivals.counts.sum()) == messages * recipients
            assert arrivals.damaged == []
        assert sink.received == 360
        assert sink.unmarked == 0


def test_postfix_that_refuses_some_domains_is_counted_exactly() -> None:
    refusing = "smtpd_recipient_restrictions = check_recipient_access inline:{ {gmail.com.traffic-gen.test=REJECT} }"
    with private_sink() as sink, private_postfix(sink.port, refusing) as postfix:
        results = send(postfix.port, messages=200, sessions=4)
        refused = results.domains["gmail.com"].started
        assert 20 < refused < 80
        assert counts(results) == Counts(accepted=200 - refused, rejected_permanent=refused)
        assert results.domains["gmail.com"].accepted == 0
        sink.wait_for(200 - refused)
        postfix.stop()
        assert sink.arrivals(results.run.id).messages == 200 - refused
    assert [(each.phase, each.code, each.enhanced) for each in results.replies if each.code >= 500] == [
        ("rcpt", 554, "5.7.1"),
        ("data", 554, "5.5.1"),
    ]


# -- aiosmtpd -------------------------------------------------------------------------------------------


def test_aiosmtpd_gets_every_message_once() -> None:
    with aiosmtpd_server() as (port, mailbox):
        results = send(port, messages=100, sessions=4, workload={"recipients_per_message": ((2, 1.0),)})
        assert numbers_in(mailbox.messages) == list(range(100))
        assert {len(recipients) for recipients in mailbox.recipients} == {2}
    assert counts(results) == Counts(accepted=100)
    assert results.exit_code(keep_going=False) is ExitCode.DONE

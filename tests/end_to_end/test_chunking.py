"""Messages in chunks, several of a session on their way: each arrives once and whole, and dies with its connection."""

import pytest

import trafficgen
from tests.peers.postfix import private_postfix
from tests.peers.private_sink import private_sink
from tests.peers.running import Counts, counts, plan_for, send
from tests.peers.scripted import Script, scripted
from tests.sink.sink_process import sink_process
from trafficgen.measure.delivered import LedgerCounts
from trafficgen.plan import OpenLoop, TcpTarget

CHUNKS = {"chunks": 8}


def phases(results: trafficgen.Results) -> set[str]:
    return {str(reply.phase) for reply in results.replies}


@pytest.mark.parametrize(("recipients", "body"), [(1, "5kb"), (3, "5kb"), (1, "200kb")])
def test_the_sink_has_every_message_whole_and_once(recipients: int, body: str) -> None:
    several = {"recipients_per_message": ((recipients, 1.0),)}
    results = trafficgen.run(plan_for(None, messages=2000, sessions=5, body=body, session=CHUNKS, workload=several))
    assert counts(results) == Counts(accepted=2000)
    assert results.ledger == LedgerCounts(2000, 2000, 0, 0, 0)
    assert "data" not in phases(results)


def test_postfix_takes_chunks_and_passes_them_on() -> None:
    with private_sink() as sink, private_postfix(sink.port) as postfix:
        results = send(postfix.port, messages=300, sessions=5, body="5kb", session=CHUNKS)
        sink.wait_for(300)
        postfix.stop()
        assert "bdat=" in postfix.log
        assert sink.arrivals(results.run.id).damaged == []
    assert counts(results) == Counts(accepted=300)


class RefusesBdat(Script):
    """Offers CHUNKING and takes none of it, as a proxy that rewrites EHLO may."""

    extensions = ("PIPELINING", "CHUNKING", "8BITMIME")

    def unknown(self, line: str) -> None:
        assert line.startswith("BDAT"), line
        self.lines.read(int(line.split()[1]))
        self.say("503 5.5.1 BDAT not expected")


@pytest.mark.parametrize("chunks", [1, 8])
def test_bdat_that_is_answered_503_rejects_each_message_for_good(chunks: int) -> None:
    with scripted(RefusesBdat) as server:
        results = send(server.port, messages=20, session={"chunks": chunks})
    assert counts(results) == Counts(rejected_permanent=20)
    assert [
        (one.phase, one.code, one.enhanced, one.count, one.example) for one in results.replies if one.code == 503
    ] == [("end_of_data", 503, "5.5.1", 20, "BDAT not expected")]
    assert results.failures == ()
    assert server.sessions == 1


def test_messages_that_are_due_ride_along_in_the_open_model() -> None:
    plan = plan_for(None, messages=1000, sessions=2, session=CHUNKS, load=OpenLoop(2000.0))
    results = trafficgen.run(plan)
    assert counts(results) == Counts(accepted=1000)
    assert results.ledger == LedgerCounts(1000, 1000, 0, 0, 0)


def test_refusals_and_lost_sessions_leave_an_account_that_adds_up() -> None:
    with sink_process("127.0.0.1:0", "--reject", "rcpt:450:10%", "--drop", "dot:before:2%", "--seed", "7") as sink:
        host, _, port = sink.address.rpartition(":")
        plan = plan_for(TcpTarget(host, int(port)), messages=2000, sessions=5, session=CHUNKS)
        account = counts(trafficgen.run(plan))
    assert 100 < account.rejected_temporary < 400
    assert account.in_doubt > 0
    assert account.accepted + account.rejected_temporary + account.in_doubt == 2000

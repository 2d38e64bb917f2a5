"""A run against the sink it brings along: every message accounted for on both sides."""

from pathlib import Path

import pytest

import trafficgen
from tests.engine.moments import not_before
from tests.peers.running import Counts, counts, send
from trafficgen import Arrivals, BodyFile, Corpus, ExitCode, OpenLoop, Results, SizedBodies, Stage, WeightedDomain
from trafficgen.outcomes import StoppedBy


def assert_proven(results: Results, messages: int) -> None:
    """Every planned message was accepted, and is in the sink once and whole."""
    assert counts(results) == Counts(accepted=messages)
    assert results.ledger is not None
    found = results.ledger
    assert (found.expected, found.received, found.missing, found.duplicated, found.corrupted) == (
        messages, messages, 0, 0, 0,
    )  # fmt: skip
    assert results.exit_code(keep_going=False) is ExitCode.DONE


def test_five_thousand_messages_none_missing_none_twice_none_damaged() -> None:
    domains = (WeightedDomain("gmail.com", 3.0), WeightedDomain("yahoo.com", 1.0))
    results = send(None, messages=5_000, sessions=20, body="5kb", workload={"domains": domains})
    assert_proven(results, 5_000)
    assert results.stopped_by is StoppedBy.FINISHED
    assert results.failures == ()
    assert results.generator.sessions_opened == 20
    assert sum(domain.accepted for domain in results.domains.values()) == 5_000
    # 5,000 draws at 3:1 have a standard deviation of 31: five of them either way.
    assert abs(results.domains["gmail.com"].started - 3_750) < 155
    by_phase = {(reply.phase, reply.code): reply.count for reply in results.replies}
    assert by_phase["end_of_data", 250] == by_phase["data", 354] == by_phase["mail", 250] == 5_000
    assert by_phase["greeting", 220] == by_phase["ehlo", 250] == by_phase["quit", 221] == 20
    assert results.latency_ns["response"] is None


def test_recipients_count_for_their_own_domains() -> None:
    several = {"recipients_per_message": ((1, 1.0), (4, 1.0))}
    results = send(None, messages=6_000, sessions=20, workers=2, workload=several)
    assert_proven(results, 6_000)
    sent = {(reply.phase, reply.code): reply.count for reply in results.replies}["rcpt", 250]
    assert sum(domain.started for domain in results.domains.values()) == sent
    assert sum(domain.accepted for domain in results.domains.values()) == sent
    # 15,000 draws at 1:3 have a standard deviation of 53: five of them either way.
    assert all(abs(domain.started - sent / 4) < 265 for domain in results.domains.values())


@pytest.mark.parametrize("pipelining", ["auto", "off"])
def test_a_session_ends_after_its_number_of_messages(pipelining: str) -> None:
    results = send(
        None, messages=100, sessions=4, session={"max_messages": 7, "pipelining": trafficgen.Pipelining(pipelining)}
    )
    assert_proven(results, 100)
    by_phase = {reply.phase: reply.count for reply in results.replies}
    # 14 sessions of 7 and what is left; which session takes the last ones is nobody's promise.
    assert 15 <= results.generator.sessions_opened <= 18
    assert by_phase["greeting"] == by_phase["ehlo"] == by_phase["quit"] == results.generator.sessions_opened


def test_a_session_for_every_message() -> None:
    results = send(None, messages=300, sessions=10, session={"max_messages": 1})
    assert_proven(results, 300)
    assert results.generator.sessions_opened == 300


def test_two_hundred_sessions_at_a_time_in_two_workers() -> None:
    results = send(None, messages=2_000, sessions=200, workers=2)
    assert_proven(results, 2_000)
    assert results.generator.sessions_opened == 200
    assert len(results.generator.workers) == 2


def test_several_recipients_a_message_arrive_for_every_one_of_them() -> None:
    mixed = ((1, 5.0), (2, 3.0), (10, 1.0))
    results = send(None, messages=1_000, sessions=5, workload={"recipients_per_message": mixed})
    assert_proven(results, 1_000)
    rcpt = {reply.code: reply.count for reply in results.replies if reply.phase == "rcpt"}
    # The mean is 21 / 9 recipients.
    assert abs(rcpt[250] - 2_333) < 400


@pytest.mark.parametrize("sizes", [("1kb", "100kb:1"), ("spec2001",)])
def test_sizes_are_what_was_asked_for(sizes: tuple[str, ...]) -> None:
    results = send(None, messages=300, sessions=5, workload={"content": SizedBodies(sizes)})
    assert_proven(results, 300)
    assert results.messages.bytes > 300 * 1_000


def test_a_body_file_full_of_dots_arrives_whole(tmp_path: Path) -> None:
    path = tmp_path / "body.txt"
    path.write_bytes(b".\n..\n.hidden\r\nlast line has no end.")
    results = send(None, messages=200, sessions=3, workload={"content": BodyFile(path)})
    assert_proven(results, 200)


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_corpus_goes_round_when_it_is_used_up(tmp_path: Path, shuffle: bool) -> None:
    path = tmp_path / "corpus.mbox"
    message = b"From a@a.test Fri Nov 21 22:55:00 2025\nFrom: a@a.test\nSubject: %d\n\n.dot\n>From here\nbody %d\n\n"
    path.write_bytes(b"".join(message % (number, number) for number in range(7)))
    results = send(None, messages=100, sessions=3, workload={"content": Corpus(path, shuffle)})
    assert_proven(results, 100)


def test_without_a_ledger_there_is_no_proof_and_no_verdict() -> None:
    results = send(None, messages=100, ledger=False)
    assert counts(results) == Counts(accepted=100)
    assert results.ledger is None


def test_a_duration_alone_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    not_before(monkeypatch, lambda seen: seen.accepted > 0)
    results = send(None, duration_s=0.3, sessions=4)
    found = counts(results)
    assert found.accepted > 0
    assert_proven(results, found.accepted)
    assert results.stopped_by is StoppedBy.DEADLINE


# -- the open model -------------------------------------------------------------------------------------


@pytest.mark.parametrize("arrivals", list(Arrivals))
def test_an_open_model_starts_every_message_that_was_due(arrivals: Arrivals) -> None:
    load = OpenLoop(1_000.0, arrivals=arrivals)
    results = send(None, messages=500, sessions=20, load=load)
    assert_proven(results, 500)
    service, response, lateness = (results.latency_ns[name] for name in ("service", "response", "lateness"))
    assert service is not None
    assert response is not None
    assert lateness is not None
    assert service.count == response.count == lateness.count == 500
    assert response.mean >= service.mean
    assert response.p50 >= service.p50
    assert response.max >= service.max
    assert results.run.model == "open"


def test_a_rate_for_a_duration_plans_the_product() -> None:
    results = send(None, duration_s=0.5, sessions=10, load=OpenLoop(400.0))
    assert_proven(results, 200)


def test_stages_end_the_run_with_the_area_under_them() -> None:
    # From 0 to 400/s in half a second is 100 messages, half a second at 400/s is 200.
    half = 500_000_000
    results = send(None, duration_s=1.0, sessions=10, load=OpenLoop(0.0, (Stage(half, 400.0), Stage(half, 400.0))))
    assert_proven(results, 300)


def test_two_workers_share_an_open_model() -> None:
    results = send(None, messages=300, sessions=8, workers=2, load=OpenLoop(1_000.0, arrivals=Arrivals.POISSON))
    assert_proven(results, 300)


def test_a_header_block_of_any_size_hides_no_message(tmp_path: Path) -> None:
    path = tmp_path / "corpus.mbox"
    header = b"".join(b"X-Large-%d: %b\n" % (line, b"x" * 900) for line in range(600))
    path.write_bytes(b"From a@a.test Thu Jan  1 00:00:00 2026\n" + header + b"Subject: x\n\nhello\n\n")
    assert_proven(send(None, messages=20, sessions=2, workload={"content": Corpus(path, shuffle=False)}), 20)

"""LMTP from end to end: into our sink with its ledger, into a real Dovecot, and into servers that cannot count."""

from pathlib import Path

import pytest

import trafficgen
from tests.logs.private_dovecot import private_dovecot
from tests.peers.certificates import Certificate
from tests.peers.running import Counts, counts, plan_for, send
from tests.peers.scripted import Script, scripted
from tests.sink.sink_process import sink_process
from trafficgen import Pipelining, Security, TlsOptions, parse_target
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.protocol.smtp.conversation import UNASKED

SEVERAL = {"recipients_per_message": ((1, 1.0), (3, 1.0))}


def verified(manifest: Path, *where: str) -> ExitCode:
    return call(["verify", str(manifest), *where])


# -- our own sink ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "session", [{}, {"pipelining": Pipelining.OFF}, {"chunks": 4}], ids=["groups", "lock-step", "chunks"]
)
def test_every_recipient_of_every_message_is_in_the_sinks_ledger(
    tmp_path: Path, session: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, manifest = tmp_path / "ledger", tmp_path / "manifest"
    with sink_process("127.0.0.1:0", "--lmtp", "--ledger", str(ledger)) as sink:
        plan = plan_for(
            parse_target(f"lmtp://{sink.address}"), messages=300, sessions=4, session=session, workload=SEVERAL
        )
        results = trafficgen.run(plan, manifest=manifest)
    assert counts(results) == Counts(accepted=300)
    recipients = results.recipients
    assert recipients is not None
    assert 300 < recipients.started == recipients.accepted < 900
    assert recipients.partly_accepted == 0
    assert verified(manifest, str(ledger)) is ExitCode.DONE
    assert "300 accepted: 300 delivered, 0 missing" in capsys.readouterr().out


def test_a_unix_socket_takes_lmtp(tmp_path: Path) -> None:
    with sink_process(f"unix:{tmp_path}/lmtp", "--lmtp"):
        results = send(parse_target(f"lmtp:unix:{tmp_path}/lmtp"), messages=20)
    assert counts(results) == Counts(accepted=20)
    assert results.run.target == f"lmtp:unix:{tmp_path}/lmtp"
    assert results.recipients is None


@pytest.mark.parametrize("session", [{}, {"chunks": 4}], ids=["groups", "chunks"])
def test_what_some_recipients_refuse_is_partly_accepted_and_the_recipients_add_up(
    tmp_path: Path, session: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, manifest = tmp_path / "ledger", tmp_path / "manifest"
    refusals = ("--reject", "rcpt:450:10%", "--reject", "dot:550:10%")
    with sink_process("127.0.0.1:0", "--lmtp", "--ledger", str(ledger), *refusals) as sink:
        target = parse_target(f"lmtp://{sink.address}")
        plan = plan_for(target, messages=300, sessions=4, session=session, workload=SEVERAL)
        results = trafficgen.run(plan, manifest=manifest)
    found, recipients = results.messages, results.recipients
    assert recipients is not None
    assert found.accepted + found.rejected_temporary + found.rejected_permanent == 300
    assert recipients.partly_accepted > 30
    assert min(recipients.accepted, recipients.rejected_temporary, recipients.rejected_permanent) > 10
    assert recipients.add_up
    replies = {(each.phase, each.code): each.count for each in results.replies}
    assert (recipients.accepted, recipients.rejected_temporary) == (replies["end_of_data", 250], replies["rcpt", 450])
    assert verified(manifest, str(ledger)) is ExitCode.DONE
    capsys.readouterr()
    (tmp_path / "results.json").write_text(results.to_json())
    assert call(["report", str(tmp_path / "results.json")]) is ExitCode.DONE
    assert "partly: not for all recipients" in capsys.readouterr().out


# -- Dovecot --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("session", [{}, {"chunks": 4}], ids=["data", "chunks"])
def test_what_dovecot_delivered_holds_against_the_manifest(
    tmp_path: Path, session: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "manifest"
    with private_dovecot() as dovecot:
        plan = plan_for(
            parse_target(f"lmtp://127.0.0.1:{dovecot.port}"),
            messages=60, sessions=3, body="5kb", session=session, workload=SEVERAL,
        )  # fmt: skip
        results = trafficgen.run(plan, manifest=manifest)
        assert counts(results) == Counts(accepted=60)
        assert results.recipients is not None
        assert results.recipients.accepted == results.recipients.started > 60
        assert verified(manifest, "--maildir", str(dovecot.mail), "--any-recipient") is ExitCode.DONE
    assert "60 accepted: 60 delivered, 0 missing" in capsys.readouterr().out
    assert {each.phase for each in results.replies} >= {"lhlo", "mail", "rcpt", "end_of_data"}
    assert ("data" in {each.phase for each in results.replies}) is not bool(session)


# -- protected ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "security"), [("--starttls", Security.STARTTLS), ("--tls", Security.TLS)], ids=["STARTTLS", "TLS"]
)
def test_protected_sessions_are_proved_as_plain_ones_are(
    tmp_path: Path, option: str, security: Security, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, manifest = tmp_path / "ledger", tmp_path / "manifest"
    with sink_process("127.0.0.1:0", "--lmtp", option, "--ledger", str(ledger)) as sink:
        target = parse_target(f"lmtp://{sink.address}")
        session = {"security": security, "verify_certificate": False, "chunks": 4}
        plan = plan_for(target, messages=100, sessions=3, session=session, workload=SEVERAL)
        results = trafficgen.run(plan, manifest=manifest)
    assert counts(results) == Counts(accepted=100)
    assert results.recipients is not None
    assert results.recipients.accepted == results.recipients.started > 100
    assert sum(one.sessions for one in results.tls) == 3
    timed = {phase: latency.count for phase, latency in results.latency_ns.items() if latency is not None}
    assert (timed["ehlo"], timed["tls"]) == (3, 3)
    assert verified(manifest, str(ledger)) is ExitCode.DONE
    assert "100 accepted: 100 delivered, 0 missing" in capsys.readouterr().out


def test_dovecot_delivers_what_came_by_starttls(certificate: Certificate, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest"
    with private_dovecot(certificate) as dovecot:
        session = {"security": Security.STARTTLS, "tls": TlsOptions(authority=certificate.certificate)}
        target = parse_target(f"lmtp://localhost:{dovecot.port}")
        plan = plan_for(target, messages=20, sessions=2, session=session, workload=SEVERAL)
        results = trafficgen.run(plan, manifest=manifest)
        assert counts(results) == Counts(accepted=20)
        assert sum(one.sessions for one in results.tls) == 2
        assert verified(manifest, "--maildir", str(dovecot.mail), "--any-recipient") is ExitCode.DONE


def test_a_store_without_starttls_gets_nothing() -> None:
    session = {"security": Security.STARTTLS, "verify_certificate": False}
    with scripted(Store) as server:
        results = send(parse_target(f"lmtp://127.0.0.1:{server.port}"), messages=2, session=session)
    assert counts(results) == Counts(failed=2)
    assert {(one.phase, one.reason) for one in results.failures} == {("tls", "STARTTLS not offered")}


def test_a_server_of_smtp_fails_a_protected_session_at_lhlo() -> None:
    session = {"security": Security.STARTTLS, "verify_certificate": False}
    with scripted(Script) as server:
        results = send(parse_target(f"lmtp://127.0.0.1:{server.port}"), messages=1, session=session)
    assert counts(results) == Counts(failed=1)
    (found,) = results.failures
    assert (found.phase, found.reason, found.example) == ("lhlo", "refused by the server", "500 5.5.2 what?")


# -- stores that cannot count ---------------------------------------------------------------------------


class Store(Script):
    """LMTP, with as many answers as `answers` has to a message of three recipients."""

    answers: tuple[str, ...] = ("250 2.0.0 a", "250 2.0.0 b", "250 2.0.0 c")

    def unknown(self, line: str) -> None:
        assert line.startswith("LHLO"), line
        super().ehlo(line)

    def end_of_data(self) -> None:
        self.say("\r\n".join(self.answers))


class Forgets(Store):
    answers = ("250 2.0.0 a", "550 5.1.1 b")


class SaysTooMuch(Store):
    answers = (*Store.answers, "250 2.0.0 d")


THREE = {"recipients_per_message": ((3, 1.0),)}


@pytest.mark.parametrize("pipelining", Pipelining)
def test_a_store_that_forgets_a_recipient_leaves_it_in_doubt(pipelining: Pipelining) -> None:
    session = {"reply_timeout_ns": 200_000_000, "pipelining": pipelining}
    with scripted(Forgets) as server:
        target = parse_target(f"lmtp://127.0.0.1:{server.port}")
        results = send(target, messages=1, session=session, workload=THREE)
    assert counts(results) == Counts(in_doubt=1)
    recipients = results.recipients
    assert recipients is not None
    assert (recipients.accepted, recipients.rejected_permanent, recipients.in_doubt) == (1, 1, 1)
    assert [(each.phase, each.reason) for each in results.failures] == [("end_of_data", "timed out")]


def test_a_store_that_answers_once_too_often_ends_the_session_and_it_is_said() -> None:
    with scripted(SaysTooMuch) as server:
        target = parse_target(f"lmtp://127.0.0.1:{server.port}")
        results = send(target, messages=1, workload=THREE)
    assert counts(results) == Counts(in_doubt=1)
    assert [(each.reason, each.example) for each in results.failures] == [(UNASKED, "250 2.0.0 d")]


def test_a_server_of_smtp_fails_every_message_at_lhlo() -> None:
    with scripted(Script) as server:
        results = send(parse_target(f"lmtp://127.0.0.1:{server.port}"), messages=3)
    assert counts(results) == Counts(failed=3)
    assert {each.phase for each in results.failures} == {"lhlo"}

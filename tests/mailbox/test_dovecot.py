"""Both documented profiles, with shorter times, against a real Dovecot: our totals are those of its own log."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.mailbox.profiles import ADVANCED, POP3
from tests.peers.certificates import Certificate
from tests.peers.dovecot import PASSWORD, Dovecot, running
from trafficgen.errors import ExitCode
from trafficgen.mailbox.plan import MailboxPlan, MailboxService, Protection
from trafficgen.mailbox.reading import parse_profile
from trafficgen.measure.results import Results, read_results
from trafficgen.outcomes import StoppedBy
from trafficgen.plan import Mechanism, TcpTarget
from trafficgen.runs.mailbox import run_mailbox

S = 1_000_000_000
SAVED = r"lmtp\(USER\).*saved mail to INBOX"


@pytest.fixture(scope="module")
def dovecot(certificate: Certificate) -> Iterator[Dovecot]:
    with running(certificate=(certificate.certificate, certificate.key)) as server:
        yield server


def changed(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def plan_for(dovecot: Dovecot, text: str, **fields: Any) -> MailboxPlan:
    return MailboxPlan(
        profile=parse_profile(text).profile,
        imap=MailboxService(TcpTarget("127.0.0.1", dovecot.imap)),
        pop3=MailboxService(TcpTarget("127.0.0.1", dovecot.pop3)),
        delivery=MailboxService(TcpTarget("127.0.0.1", dovecot.lmtp)),
        **{"password": PASSWORD, "connections": 100, "duration_ns": 4 * S, "final_ns": 60 * S, **fields},
    )


def names(text: str, name: str) -> str:
    """Mailboxes of one test's own."""
    return changed(text, ("testuser_", f"{name}_"))


def count(results: Results, command: str) -> int:
    found = results.commands[command]
    assert found.errors == 0, results.failures
    return found.count


def errors_of(dovecot: Dovecot) -> list[str]:
    return [line for line in dovecot.log.splitlines() if re.search("(Error|Warning|Fatal|Panic): ", line)]


def of(dovecot: Dovecot, pattern: str, name: str) -> list[Any]:
    """What the log says of the users of one test."""
    return re.findall(pattern.replace("USER", rf"{name}_\d+@example\.com"), dovecot.log)


def test_the_pop3_profile_has_the_totals_of_dovecots_log(dovecot: Dovecot):
    text = changed(
        names(POP3, "pop"),
        ("total_user_count = 500", "total_user_count = 100"),
        ("rampup_time = 5", "rampup_time = 1"),
        ("7s", "1s"),
    )
    results = run_mailbox(plan_for(dovecot, text))
    counts = results.mailboxes
    assert counts is not None
    assert counts.clean
    assert results.messages.unsuccessful == results.messages.in_doubt == 0
    assert counts.delivered == results.messages.accepted == len(of(dovecot, SAVED, "pop"))
    assert counts.delivered > 0
    logins = of(dovecot, r"pop3-login: Info: (?:Login|Logged in): user=<USER>", "pop")
    assert count(results, "pop3_login") == count(results, "pop3_quit") == len(logins)
    assert 0 < count(results, "uidl") <= len(logins)  # at the end users leave who have just come in
    ended = of(dovecot, r"pop3\(USER\).*retr=(\d+) del=(\d+)/", "pop")
    assert count(results, "retr") == sum(int(retrieved) for retrieved, _ in ended) > 0
    assert counts.deleted == count(results, "dele") == sum(int(deleted) for _, deleted in ended) > 0
    assert counts.read >= counts.deleted
    assert counts.delivered == counts.read + counts.not_yet_due
    assert results.histograms["seen"].count == counts.seen
    assert results.exit_code(keep_going=False) is ExitCode.DONE


def test_the_imap_profile_has_the_totals_of_dovecots_log(dovecot: Dovecot):
    text = changed(
        names(ADVANCED, "adv"),
        ("total_user_count = 500", "total_user_count = 60"), ("rampup_time = 5s", "rampup_time = 1s"),
        ("interval = 5s", "interval = 1s"), ("interval = 120s", "interval = 3s"), ("3 min", "200 ms"),
        ("20 min", "3s"), ("action_delay = 2s", "action_delay = 200 ms"),
        ("repeat_delay = 1s", "repeat_delay = 100 ms"),
        ("repeat_delay = 10s", "repeat_delay = 100 ms"), ("session_length = 200 ms", "session_length = 1s"),
        ("write_duration = 0", "write_duration = 300 ms"), ("5 min", "1s"),
    )  # fmt: skip
    results = run_mailbox(plan_for(dovecot, text, connections=300))
    counts = results.mailboxes
    assert counts is not None
    assert counts.clean
    assert not results.failures, errors_of(dovecot)
    assert counts.delivered == results.messages.accepted == len(of(dovecot, SAVED, "adv"))
    assert 0 < counts.seen <= counts.delivered
    assert results.histograms["seen"].count == counts.seen
    logins = of(dovecot, r"imap-login: Info: (?:Login|Logged in): user=<USER>", "adv")
    assert count(results, "login") == count(results, "logout") == len(logins)
    assert 0 < count(results, "select") < len(logins)  # second connections select nothing
    assert len(of(dovecot, r"imap\(USER\).*Logged out ", "adv")) == len(logins)
    # Both programs of a user may remove the same mail before one hears of the other; then the log says so twice.
    removed = set(of(dovecot, r"imap\((USER)\).* expunge: box=INBOX, uid=(\d+)", "adv"))
    assert counts.deleted + counts.moved == len(removed)
    assert count(results, "move") >= counts.moved
    assert count(results, "expunge") >= counts.deleted
    assert counts.read > 0
    # A FETCH of what the other program of the user has removed is answered without a body.
    bodies = sum(int(sent) for sent in of(dovecot, r"imap\(USER\).*Logged out .*body_count=(\d+)", "adv"))
    assert counts.read <= bodies <= count(results, "body")
    assert results.exit_code(keep_going=False) is ExitCode.DONE


def both_protocols(name: str, interval: str) -> str:
    """A profile of four users, each with a program for IMAP and perhaps one for POP3."""
    return changed(
        names(POP3, name),
        ("total_user_count = 500", "total_user_count = 4"), ("rampup_time = 5", "rampup_time = 0"),
        ("interval = 1s", f"interval = {interval}"), ("95%", "100%"), ("7s", "300 ms"),
        ("client pop3 {\n count = 5%", IMAP_CLIENT + "client pop3 {\n count = 0%"),
    )  # fmt: skip


def test_tls_from_the_start_and_by_command_and_auth_plain(dovecot: Dovecot):
    both = both_protocols("tls", "500 ms")
    plan = plan_for(dovecot, both, duration_ns=2 * S, verify_tls=False, login=Mechanism.PLAIN)
    ports = {Protection.STARTTLS: (dovecot.imap, dovecot.pop3), Protection.TLS: (dovecot.imaps, dovecot.pop3s)}
    for protection, (imap, pop3) in ports.items():
        results = run_mailbox(
            replace(
                plan,
                imap=MailboxService(TcpTarget("127.0.0.1", imap), protection),
                pop3=MailboxService(TcpTarget("127.0.0.1", pop3), protection),
            )
        )
        assert not results.failures
        assert results.mailboxes is not None
        assert results.mailboxes.clean
        assert results.mailboxes.read > 0
        for step in ("imap_tls", "pop3_tls"):
            assert results.histograms[step].count > 0
    assert len(of(dovecot, r"(?:Login|Logged in): user=<USER>, method=PLAIN.*TLS", "tls")) > 8


@pytest.mark.parametrize("mechanism", [one for one in Mechanism if one is not Mechanism.XOAUTH2])
def test_every_mechanism_logs_in_and_a_wrong_password_does_not(dovecot: Dovecot, mechanism: Mechanism):
    name = f"sasl{mechanism.name.lower()}"
    plan = plan_for(dovecot, both_protocols(name, "200 ms"), duration_ns=S, login=mechanism)
    results = run_mailbox(plan)
    assert not results.failures
    assert results.mailboxes is not None
    assert results.mailboxes.read > 0
    logins = of(dovecot, rf"(imap|pop3)-login: Info: (?:Login|Logged in): user=<USER>, method={mechanism.value},", name)
    assert logins.count("imap") == count(results, "login") > 0
    assert logins.count("pop3") == count(results, "pop3_login") > 0
    refused = run_mailbox(replace(plan, password="wrong"))
    assert refused.commands["login"].refused == refused.commands["login"].count > 0
    assert refused.commands["pop3_login"].refused == refused.commands["pop3_login"].count > 0


IMAP_CLIENT = """\
client imap {
 count = 100%
 connection_max_count = 1
 imap_fetch_immediate = UID FLAGS
 imap_fetch_manual = BODY.PEEK[]
}
"""


def test_a_wrong_password_backs_off_and_is_said_once(dovecot: Dovecot):
    said: list[str] = []
    text = changed(
        names(POP3, "bad"),
        ("total_user_count = 500", "total_user_count = 5"),
        ("7s", "0"),
        ("rampup_time = 5", "rampup_time = 0"),
    )
    results = run_mailbox(plan_for(dovecot, text, password="wrong", duration_ns=2 * S), say=said.append)
    login = results.commands["pop3_login"]
    assert 5 <= login.refused <= 15
    assert login.count == login.refused
    assert sum("USER and PASS: -ERR" in line for line in said) == 1
    assert results.mailboxes is not None
    assert results.mailboxes.clean
    assert results.exit_code(keep_going=False) is ExitCode.FAILED


def test_foreign_mail_is_counted_and_left_alone(dovecot: Dovecot):
    import poplib
    import smtplib

    text = changed(
        names(POP3, "foreign"),
        ("total_user_count = 500", "total_user_count = 1"),
        ("rampup_time = 5", "rampup_time = 0"),
        ("7s", "1s"),
    )
    name = "foreign_501@example.com"
    with smtplib.LMTP("127.0.0.1", dovecot.lmtp) as lmtp:
        for number in range(3):
            lmtp.sendmail("a@example.com", [name], f"Subject: {number}\r\n\r\nkeep me\r\n")
    results = run_mailbox(plan_for(dovecot, text, duration_ns=3 * S))
    counts = results.mailboxes
    assert counts is not None
    assert (counts.foreign, counts.clean) == (3, True)
    assert counts.deleted > 0
    mailbox = poplib.POP3("127.0.0.1", dovecot.pop3)
    mailbox.user(name)
    mailbox.pass_(PASSWORD)
    kept = [b"\n".join(mailbox.retr(number + 1)[1]) for number in range(mailbox.stat()[0])]
    mailbox.quit()
    assert sum(b"keep me" in message for message in kept) == 3


def test_the_command_with_imaptests_words(dovecot: Dovecot, tmp_path: Path):
    text = changed(
        names(POP3, "cli"), ("total_user_count = 500", "total_user_count = 20"),
        ("lmtp_port = 24", f"lmtp_port = {dovecot.lmtp}"), ("7s", "500 ms"), ("rampup_time = 5", "rampup_time = 0"),
    )  # fmt: skip
    (tmp_path / "pop3-profile.conf").write_text(text)
    (tmp_path / "testmbox").write_text(
        "".join(f"From x@y Thu, 9 Nov 2002 22:33:52 +0000\nSubject: {n}\n\n.dot {n}\nFrom here\n\n" for n in range(7))
    )
    command = [
        sys.executable, "-m", "trafficgen", "mailbox", f"pass={PASSWORD}", "host=127.0.0.1", f"port={dovecot.pop3}",
        "mbox=testmbox", "profile=pop3-profile.conf", "clients=30", "secs=3,30", "output=rows.tsv",
        "--json", "run.json", "--threshold", "seen.p95<60s", "--threshold", "delivery.lost==0",
        "--threshold", "command{pop3_login}.p99<60s",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    results = read_results(tmp_path / "run.json")
    # On a machine that is busy with something else the run says so, and is not judged.
    expected = ExitCode.NOT_VALID if results.generator.limited else ExitCode.DONE
    assert done.returncode == expected, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "Logi List Stat Sele Fetc Fet2 Stor Dele Expu Appe Logo LMTP Errs"
    assert re.fullmatch(r"( *\d+ ){13} *\d+/ *\d+( \[\d+%\])?", lines[1]), lines[1]
    totals = lines[lines.index("Totals:") + 2].split()
    assert (
        int(totals[0])
        == results.commands["pop3_login"].count
        == len(of(dovecot, "pop3-login: Info: (?:Login|Logged in): user=<USER>", "cli"))
    )
    assert int(totals[11]) == results.messages.accepted > 20
    assert results.mailboxes is not None
    assert results.mailboxes.read > 0
    assert results.mailboxes.clean
    assert all(verdict.passed for verdict in results.thresholds)
    assert results.stopped_by is StoppedBy.DEADLINE
    assert PASSWORD not in str(results.plan)
    rows = (tmp_path / "rows.tsv").read_text().splitlines()
    assert rows[0].startswith("Logi count\tLogi msecs\tList count")
    assert sum(int(row.split("\t")[0]) for row in rows[1:]) == int(totals[0])

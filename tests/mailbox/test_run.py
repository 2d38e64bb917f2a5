"""A whole run: its limits, its stop, its workers, its raw logs."""

import re
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.mailbox.faulty_run import PROFILE, S, counts_of, failures_of, plan_of, run
from tests.mailbox.store import ImapSession, LmtpSession, Pop3Session, Store, listening
from trafficgen.errors import ExitCode, SetupError
from trafficgen.host.signals import RunControl
from trafficgen.mailbox.reading import parse_profile
from trafficgen.outcomes import StoppedBy
from trafficgen.runs.mailbox import run_mailbox


def test_deliveries_above_the_cap_are_dropped_and_counted():
    class Slow(Store):
        def deliver(self, user: str, octets: bytes) -> str:
            event.wait(20)
            return super().deliver(user, octets)

    event = threading.Event()
    said: list[str] = []
    timer = threading.Timer(1.5, event.set)
    timer.start()
    text = PROFILE.format(protocol="imap", settings="")
    profile = parse_profile(text.replace("total_user_count", "lmtp_max_parallel_count = 1\ntotal_user_count")).profile
    with ExitStack() as stack:
        store = Slow()
        ports = [
            stack.enter_context(listening(lambda peer, kind=kind: kind(store, peer)))  # type: ignore[misc]
            for kind in (ImapSession, Pop3Session, LmtpSession)
        ]
        results = run_mailbox(plan_of(profile, ports, duration_ns=2 * S), say=said.append)
    timer.join()
    counts = counts_of(results)
    assert counts.dropped == results.messages.not_started > 0
    assert any(line == "LMTP: Reached 1 connections, throttling" for line in said)
    assert counts.clean


def test_a_server_that_is_gone_is_asked_less_and_less():
    profile = parse_profile(PROFILE.format(protocol="pop3", settings="")).profile
    said: list[str] = []
    results = run_mailbox(plan_of(profile, [1, 1, 1], duration_ns=2 * S), say=said.append)
    assert ("pop3_connect", "connection refused") in failures_of(results)
    assert sum("POP3 connect: connection refused" in line for line in said) == 1
    refused = next(one.count for one in results.failures if one.phase == "pop3_connect")
    assert refused <= 6  # two users, at once and after one second
    assert results.messages.failed > 0
    assert counts_of(results).clean


@pytest.mark.parametrize(("times", "protocol"), [(1, "imap"), (2, "imap"), (1, "pop3")])
def test_stopped_once_users_log_out_and_twice_it_ends_at_once_and_the_account_is_right(times: int, protocol: str):
    control = RunControl()
    timer = threading.Timer(1.0, lambda: [control.stop() for _ in range(times)])
    timer.start()
    results = run(Store(), protocol=protocol, control=control, duration_ns=60 * S)
    timer.join()
    assert results.stopped_by is StoppedBy.INTERRUPTED
    assert counts_of(results).clean
    assert results.run.duration_s < 20
    assert results.exit_code(keep_going=True) is ExitCode.INTERRUPTED
    if times == 1 and protocol == "imap":
        assert results.commands["logout"].count == 2
        assert not results.failures


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_several_workers_give_one_account(protocol: str):
    results = run(Store(), protocol=protocol, workers=2)
    counts = counts_of(results)
    assert counts.clean
    assert counts.read > 0
    assert len(results.generator.workers) == 2
    assert results.run.model == "open"
    assert not results.failures


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_rawlog_has_what_both_sides_said_for_its_owner_alone(tmp_path: Path, protocol: str, workers: int):
    results = run(Store(), protocol=protocol, workers=workers, rawlog=str(tmp_path), password="the password")
    files = sorted(tmp_path.iterdir())
    login = "login" if protocol == "imap" else "pop3_login"
    assert len(files) == results.commands[login].count
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    text = next(path for path in files if path.name.endswith(".1")).read_bytes()
    said = re.findall(rb"(?m)^-- (\d+\.\d{6}) (client|server) (\d+)$", text)
    assert [who for _, who, _ in said[:2]] == [b"server", b"client"]
    assert sorted(said, key=lambda one: float(one[0])) == said
    assert b"the password" in text
    for line in (b" LOGOUT\r\n",) if protocol == "imap" else (b"USER u", b"QUIT\r\n"):
        assert line in text
    assert sum(path.read_bytes().count(b"What is written here") for path in files) >= 50


def test_a_rawlog_that_cannot_be_written_ends_the_run(tmp_path: Path):
    with pytest.raises(SetupError, match=r"cannot write .*rawlog.1.* \(rawlog\)"):
        run(Store(), rawlog=str(tmp_path / "missing"), duration_ns=30 * S)


def test_a_bug_of_ours_ends_the_run_and_is_no_outcome(monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("trafficgen.mailbox.pop3_program.Pop3Program._list", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run(Store(), protocol="pop3", duration_ns=30 * S)

"""The session report: who used the server, and what a log cannot know."""

import json
from pathlib import Path
from typing import Any

import pytest

from trafficgen.cli.program import call
from trafficgen.errors import ExitCode

DAY_LINES = "2026-11-{day:02d} {time} {text}\n"


def line(time: str, text: str, day: int = 26) -> str:
    return DAY_LINES.format(day=day, time=time, text=text)


def login(user: str, session: str, time: str, *, host: str = "10.0.0.1", day: int = 26, tls: bool = True) -> str:
    end = "TLS, " if tls else ""
    words = f"Login: user=<{user}>, method=PLAIN, rip={host}, lip=10.0.0.9, mpid=7, {end}session=<{session}>"
    return line(time, f"imap-login: Info: {words}", day)


def logout(user: str, session: str, time: str, *, why: str = "Logged out", day: int = 26) -> str:
    return line(time, f"imap({user})<7><{session}>: Info: Disconnected: {why} in=10 out=200", day)


def report(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, *options: str) -> dict[str, Any]:
    path = tmp_path / "dovecot.log"
    path.write_text(text)
    assert call(["log", "--report", str(path), "--json", *options]) is ExitCode.DONE
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def facts(found: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(one["name"], one["value"]) for one in found["facts"]]


def test_sessions_are_counted_from_login_to_logout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        logout("old@x.test", "s0", "08:00:00")
        + login("ann@x.test", "s1", "09:00:00")
        + login("Ann@X.test", "s2", "09:00:10", host="10.0.0.2")
        + login("bob@x.test", "s3", "09:00:20", tls=False)
        + logout("bob@x.test", "s3", "09:00:25", why="Connection closed (IDLE running for 3 secs)")
        + logout("ann@x.test", "s1", "09:00:40")
        + login("bob@x.test", "s4", "09:01:00")
    )
    found = report(tmp_path, capsys, text)
    known = facts(found)
    for fact in (
        ("users", 2),
        ("hosts", 2),
        ("sessions begun", 4),
        ("begun before the log", 1),
        ("open at its end", 2),
        ("connect time, total, s", 45.0),
        ("connect time, average, s", 22.5),
        ("most sessions at a time", 3),
        ("when", "2026-11-26 09:00:20"),
        ("most users at a time", 2),
        ("last login", "bob@x.test"),
        ("CPU time of sessions", None),
    ):
        assert fact in known, fact
    imap = found["protocols"]["imap"]
    assert (imap["logins"], imap["encrypted"], imap["ended"], imap["octets_received"], imap["octets_sent"]) == (
        4, 3, 3, 30, 600,
    )  # fmt: skip
    assert found["logins_by_host"] == {"10.0.0.1": 3, "10.0.0.2": 1}


def test_a_log_without_logins_is_said_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mail.log"
    path.write_text(line("08:00:00", "mx postfix/smtpd[7]: connect from localhost[127.0.0.1]").replace(" ", "T", 1))
    assert call(["log", "--report", str(path)]) is ExitCode.DONE
    assert "no login is in this log" in capsys.readouterr().out
    path.write_text(login("ann@x.test", "s1", "09:00:00"))
    assert call(["log", "--report", str(path)]) is ExitCode.DONE
    assert "no login is in this log" not in capsys.readouterr().out


def test_a_logout_that_was_written_before_its_login_is_of_one_session(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        logout("old@x.test", "s0", "08:00:00")
        + login("ann@x.test", "s1", "09:00:00")
        + logout("bob@x.test", "s2", "09:00:10")
        + login("bob@x.test", "s2", "09:00:10")
        + logout("ann@x.test", "s1", "09:00:30")
    )
    known = facts(report(tmp_path, capsys, text))
    for fact in (
        ("sessions begun", 2),
        ("begun before the log", 1),
        ("open at its end", 0),
        ("connect time, total, s", 30.0),
        ("connect time, average, s", 15.0),
        ("most sessions at a time", 2),
        ("most users at a time", 2),
    ):
        assert fact in known, fact


@pytest.mark.parametrize(
    ("ended", "shown"), [("09:00:04", "4.00 s 4.00 s"), ("09:00:00", "under 1 s under 1 s"), ("", "– –")]
)
def test_how_long_sessions_were_is_as_exact_as_the_stamps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ended: str, shown: str
) -> None:
    path = tmp_path / "dovecot.log"
    path.write_text(login("ann@x.test", "s1", "09:00:00") + (logout("ann@x.test", "s1", ended) if ended else ""))
    assert call(["log", "--report", str(path)]) is ExitCode.DONE
    assert f"imap 1 1 {shown} " in " ".join(capsys.readouterr().out.split())


def test_every_number_says_where_it_is_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = report(tmp_path, capsys, login("ann@x.test", "s1", "09:00:00"))
    assert all(one["source"] for one in found["facts"])


def test_accounts_are_looked_for_over_a_week_when_the_log_holds_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accounts = tmp_path / "accounts"
    accounts.write_text("ann@x.test\nbob@x.test\nCarl@x.test\nnew@x.test\n")
    text = login("ann@x.test", "s1", "09:00:00", day=10) + login("bob@x.test", "s2", "09:00:00", day=11)
    short = facts(report(tmp_path, capsys, text, "--accounts", str(accounts)))
    assert ("accounts without a login", 2) in short
    assert ("accounts without a login for a week", None) in short
    text += login("bob@x.test", "s3", "09:00:00", day=25) + login("new@x.test", "s4", "09:00:00", day=26)
    text += login("stranger@x.test", "s5", "09:00:00", day=26)
    long = facts(report(tmp_path, capsys, text, "--accounts", str(accounts)))
    assert ("accounts without a login for a week", 2) in long
    assert ("accounts with their first login in the last week", 1) in long
    assert ("logged in, not in the list", 1) in long


def test_failures_are_counted_by_protocol_method_and_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = (
        "imap-login: Info: Disconnected: Connection closed (auth failed, {} attempts in {} secs): user=<ann@x.test>, "
        "method=PLAIN, rip=10.0.0.1, lip=10.0.0.9, session=<s1>"
    )
    text = line("09:00:00", failed.format(1, 2)) + line("09:00:09", failed.format(3, 9))
    sasl = "postfix/submission/smtpd[1]: warning: x[10.0.0.3]: SASL LOGIN authentication failed: (reason unavailable)"
    text += f"2026-11-26T09:00:11.5+00:00 mx {sasl}, sasl_username=ann\n"
    found = report(tmp_path, capsys, text)
    assert found["failures"] == [
        {"protocol": "imap", "method": "PLAIN", "reason": "auth failed", "count": 2},
        {"protocol": "smtp", "method": "LOGIN", "reason": "authentication failed", "count": 1},
    ]


def test_the_text_says_what_cannot_be_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "dovecot.log"
    path.write_text(login("ann@x.test", "s1", "09:00:00") + "something else\n")
    assert call(["log", "--report", str(path)]) is ExitCode.DONE
    out = capsys.readouterr().out
    assert "cannot be known  old_stats or cgroup, no log" in " ".join(out.split()).replace(
        "cannot be known ", "cannot be known  "
    )
    assert "not understood  1" in out
    assert "something else" in out

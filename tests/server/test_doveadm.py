"""What Dovecot counts: its own dump, read twice."""

import smtplib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.logs.private_dovecot import private_dovecot
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.server.doveadm import DoveadmStats, parse_dump

DUMP = """\
metric_name\tfield\tcount\tsum\tmin\tmax\tavg\tmedian\tstddev\t%95
imap_command\tduration\t3\t44765\t180\t31491\t14921.67\t13094\t12847.83\t31491
imap_command_SELECT\tduration\t1\t31491\t31491\t31491\t31491.00\t31491\t0.00\t31491
imap_command_UID FETCH\tduration\t1\t5000\t5000\t5000\t5000.00\t5000\t0.00\t5000
imap_command\tbytes_out\t3\t900\t1\t900\t300.00\t300\t0.00\t900
"""
"""doveadm stats dump of Dovecot 2.3.19, 2026-11-27."""


def test_a_dump_gives_counts_and_seconds() -> None:
    assert parse_dump(DUMP) == {
        "imap_command": (3, 0.044765), "imap_command_SELECT": (1, 0.031491), "imap_command_UID_FETCH": (1, 0.005),
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "doveadm: command not found", DUMP.splitlines()[0] + "\nx\ty", DUMP.replace("3\t4", "a\t4")]
)
def test_another_text_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|invalid literal"):
        parse_dump(text)


@given(st.text(alphabet="metric_name\tfield\tcount\tsum\t\n0123456789duration", max_size=200))
def test_no_text_is_too_strange(text: str) -> None:
    try:
        found = parse_dump("metric_name\tfield\tcount\tsum\tmin\n" + text)
    except ValueError:
        return
    assert all(isinstance(count, int) for count, _ in found.values())


def test_what_is_between_two_looks_is_told(tmp_path: Path) -> None:
    program, answer = tmp_path / "doveadm", tmp_path / "answer"
    program.write_text(f'#!/bin/sh\n[ "$*" = "-c x stats dump" ] && cat {answer}\n')
    program.chmod(0o755)
    stats = DoveadmStats(f"{program} -c x")
    answer.write_text(DUMP)
    assert stats.sample(10.0) == {}
    answer.write_text(DUMP.replace("\t3\t44765", "\t7\t64765"))
    seen = stats.sample(12.0)
    assert seen["dovecot.imap_command"] == 2.0
    assert seen["dovecot.imap_command.took"] == pytest.approx(0.005)
    assert seen["dovecot.imap_command_SELECT"] == 0.0
    assert "dovecot.imap_command_SELECT.took" not in seen
    answer.write_text(DUMP.replace("\t3\t44765", "\t2\t10000"))  # it was started anew
    assert stats.sample(14.0)["dovecot.imap_command.took"] == pytest.approx(0.005)
    assert stats.missing == set()
    answer.unlink()
    assert stats.sample(16.0) == {}
    assert "stats dump: cat: " in next(iter(stats.missing))


def test_a_command_that_is_not_there_is_said() -> None:
    stats = DoveadmStats("/no/such/doveadm")
    assert stats.sample(1.0) == {}
    assert stats.missing == {"/no/such/doveadm stats dump: no such file or directory"}


def test_a_real_dovecot_tells_of_its_deliveries() -> None:
    with private_dovecot() as dovecot:
        stats = DoveadmStats(f"doveadm -c {dovecot.log.parent / 'dovecot.conf'}")
        stats.sample(1.0)
        with smtplib.LMTP("127.0.0.1", dovecot.port, timeout=60) as client:
            client.sendmail("s@out.test", ["ann@lab.test"], b"Subject: x\r\n\r\nx\r\n")
        seen: dict[str, float] = {}
        at_s = 1.0
        while not seen.get("dovecot.lmtp_command_DATA") and at_s < 1000:  # its processes tell it a moment later
            at_s += 1.0
            seen = stats.sample(at_s)
    assert seen["dovecot.lmtp_command_DATA"] == 1.0, stats.missing
    assert seen["dovecot.lmtp_command_DATA.took"] > 0


@pytest.mark.parametrize("command", ["", "'", " "])
def test_a_command_must_be_one(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["observe", "--write", "-", "--doveadm", command]) is ExitCode.USAGE
    assert "expected a command such as doveadm" in capsys.readouterr().err

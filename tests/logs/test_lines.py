"""Lines of every server's log, as real servers wrote them, and lines that nobody wrote."""

import json
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.logs import golden
from trafficgen.logs import dovecot, exim, kumod, postfix
from trafficgen.logs.lines import LineReader, LogLine
from trafficgen.logs.records import Attempt, AttemptStatus, Delays, Identified, LinesLost, LoggedIn
from trafficgen.logs.stamps import Stamps, fraction_ns, zone_ns

NS = 1_000_000_000
REAL = [line for path in golden.files() for line in path.read_bytes().splitlines()]


def read(line: bytes, near_ns: int = golden.NEAR_NS) -> LogLine | None:
    return LineReader(near_ns).read(line)


@pytest.mark.parametrize("path", golden.files(), ids=lambda path: path.stem)
def test_every_line_says_what_was_agreed(path: Path) -> None:
    assert golden.said(path) == golden.expected_of(path).read_text()


@pytest.mark.parametrize("path", golden.files(), ids=lambda path: path.stem)
def test_no_real_line_is_left_not_understood(path: Path) -> None:
    for line in path.read_bytes().splitlines():
        found = read(line)
        assert found is not None, line
        assert found.records is not None, line


def test_the_delays_of_a_delivery() -> None:
    line = (
        b"Nov 26 21:47:18 mx postfix-inst/relay/smtp[2600]: 4C1949FC4F2: to=<bob@lab.test>, orig_to=<b@x.test>, "
        b"relay=127.0.0.1[127.0.0.1]:27024, conn_use=3, delay=7.6, delays=7.5/0.02/0.04/0.06, dsn=2.0.0, "
        b"status=sent (250 2.0.0 <bob@lab.test> K+BtFeaoCGuWZQAAg+zDdQ Saved)"
    )
    found = read(line)
    assert found is not None
    assert found.records == (
        Attempt(
            b"4C1949FC4F2", b"bob@lab.test", AttemptStatus.SENT, 7.6, Delays(7.5, 0.02, 0.04, 0.06), b"2.0.0",
            b"(250 2.0.0 <bob@lab.test> K+BtFeaoCGuWZQAAg+zDdQ Saved)",
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("tag", "understood"),
    [
        (b"postfix/cleanup[1]", True),
        (b"postfix-lab/cleanup[1]", True),
        (b"postfix/submission/cleanup[1]", True),
        (b"mx-out/cleanup", True),
        (b"cleanup[1]", False),
        (b"cron[1]", False),
    ],
)
def test_the_program_is_the_last_part_of_the_tag_whatever_the_instance(tag: bytes, understood: bool) -> None:
    found = read(b"Nov 26 21:47:18 mx " + tag + b": 4C1949FC4F2: message-id=<one@gen.test>")
    assert found is not None
    assert found.records == ((Identified(b"4C1949FC4F2", b"one@gen.test"),) if understood else ())


@pytest.mark.parametrize(
    "words",
    [
        b"systemd-journald[211]: Suppressed 4711 messages from postfix@-.service",
        b"rsyslogd: imjournal: 4711 messages lost due to rate-limiting (20000 allowed within 600 seconds)",
        b"rsyslogd: imuxsock lost 4711 messages from pid 12 due to rate-limiting",
    ],
)
def test_who_keeps_the_log_says_how_many_lines_it_dropped(words: bytes) -> None:
    found = read(b"Nov 26 21:47:18 mx " + words)
    assert found is not None
    assert found.records is not None
    (record,) = found.records
    assert isinstance(record, LinesLost)
    assert record.lines == 4711


def test_a_line_of_a_known_program_that_says_something_new_is_not_understood() -> None:
    found = read(b"Nov 26 21:47:18 mx postfix/qmgr[1]: 4C1949FC4F2: teleported")
    assert found is not None
    assert found.records is None
    assert read(b"no stamp at all") is None
    assert read(b"") is None


def test_a_dovecot_user_may_have_any_case_and_a_login_no_session() -> None:
    record = dovecot.parse(b"imap-login: Login: user=<Ann@Lab.test>, method=PLAIN, rip=::1, TLS")
    assert record == LoggedIn(b"imap", b"Ann@Lab.test", b"PLAIN", b"::1", b"", encrypted=True)


# -- time stamps ----------------------------------------------------------------------------------------


def at(text: str) -> int:
    found = Stamps(0).plain(text.encode())
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("near", "stamp", "expected"),
    [
        ("2026-11-27 00:00:00", b"Nov 26 21:47:13", "2026-11-26 21:47:13"),
        ("2027-01-01 00:10:00", b"Dec 31 23:59:59", "2026-12-31 23:59:59"),
        ("2026-12-31 23:59:00", b"Jan  1 00:00:01", "2027-01-01 00:00:01"),
        ("2028-03-01 00:00:00", b"Feb 29 12:00:00", "2028-02-29 12:00:00"),
    ],
)
def test_a_stamp_without_a_year_gets_the_nearest(near: str, stamp: bytes, expected: str) -> None:
    assert Stamps(at(near)).rfc3164(stamp) == at(expected)


def test_a_29th_of_february_belongs_to_a_leap_year_or_to_none() -> None:
    assert Stamps(at("2027-03-01 00:00:00")).rfc3164(b"Feb 29 12:00:00") == at("2028-02-29 12:00:00")
    assert Stamps(at("2030-03-01 00:00:00")).rfc3164(b"Feb 29 12:00:00") is None


@pytest.mark.parametrize(
    ("zone", "hours"), [(b"Z", 0), (b"+01:00", 1), (b"-0530", -5.5), (b"+1:00", None), (b"+99:00", None), (b"x", None)]
)
def test_zones(zone: bytes, hours: float | None) -> None:
    assert zone_ns(zone) == (None if hours is None else hours * 3600 * NS)


def test_fractions_count_from_the_left() -> None:
    assert [fraction_ns(text) for text in (b"", b"1", b"000001", b"1234567890")] == [0, 10**8, 1000, 123456789]


def test_a_zone_is_taken_off() -> None:
    found = read(b"2026-11-26T22:03:08.5+01:00 mx postfix/qmgr[1]: 4C1949FC4F2: removed")
    assert found is not None
    assert (found.at_ns, found.zoned) == (at("2026-11-26 21:03:08") + NS // 2, True)


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2261, 1, 1)))  # noqa: DTZ001  (as logs are)
def test_a_stamp_comes_back(moment: datetime) -> None:
    text = moment.strftime("%Y-%m-%d %H:%M:%S").encode()
    found = Stamps(0).plain(text)
    assert found is not None
    assert found // NS == int((moment.replace(microsecond=0) - datetime(1970, 1, 1)).total_seconds())  # noqa: DTZ001


# -- lines that nobody wrote ----------------------------------------------------------------------------


@given(st.binary(max_size=300))
def test_no_octets_are_too_strange(line: bytes) -> None:
    for head in (b"", b"Nov 26 21:47:18 mx ", b"Nov 26 21:47:18 mx postfix/smtpd[1]: ", b"2026-11-26 21:47:18 ", b"{"):
        read(head + line)


@given(st.sampled_from(REAL), st.data())
def test_a_damaged_line_is_read_or_not_and_nothing_else_happens(line: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(at, min(at + 20, len(line))))
    read(line[:at] + data.draw(st.binary(max_size=20)) + line[end:])


@pytest.mark.parametrize("name", sorted(postfix.PARSERS))
@given(text=st.binary(max_size=100) | st.builds(b"4C1949FC4F2: ".__add__, st.binary(max_size=100)))
def test_no_text_is_too_strange_for_a_program_of_postfix(name: bytes, text: bytes) -> None:
    postfix.PARSERS[name](text)


@given(st.binary(max_size=200))
def test_no_text_is_too_strange_for_dovecot_and_exim(text: bytes) -> None:
    dovecot.parse(text)
    dovecot.parse(b"imap-login: " + text)
    dovecot.parse(b"lmtp(a)<1><b>: msgid=" + text)
    exim.parse(text)
    exim.parse(b"1xWdhb-0008G5-0P " + text)


@given(
    st.dictionaries(
        st.sampled_from(["type", "id", "recipient", "timestamp", "event_time", "created", "response", "headers"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
            max_leaves=4,
        ),
    ),
    st.sampled_from(["Reception", "Delivery", "Bounce", "Expiration", "Rejection"]),
)
def test_no_json_is_too_strange_for_kumod(entry: dict[str, object], kind: str) -> None:
    kumod.parse(json.dumps(entry).encode())
    kumod.parse(json.dumps({**entry, "type": kind}).encode())


def test_a_journal_entry_without_a_text_is_another_programs_or_says_nothing() -> None:
    entry = {"__REALTIME_TIMESTAMP": "1795305000000000", "SYSLOG_IDENTIFIER": "postfix/qmgr", "MESSAGE": None}
    assert read(json.dumps(entry).encode()) == LogLine(1795305000000000000, True, None)
    entry["SYSLOG_IDENTIFIER"] = "cron"
    assert read(json.dumps(entry).encode()) == LogLine(1795305000000000000, True, ())
    entry["__REALTIME_TIMESTAMP"] = "soon"
    assert read(json.dumps(entry).encode()) is None

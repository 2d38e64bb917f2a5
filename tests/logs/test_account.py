"""What became of each message by the log, and when the log can be believed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.logs.writing import BEGAN_S, NS, RUN, arrived, ledger, line, manifest, removed, stamp, tried, whole
from tests.peers.running import send
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.logs.join import Join
from trafficgen.logs.lines import LineReader
from trafficgen.logs.reading import LogReading
from trafficgen.measure.counts import ReplyCount
from trafficgen.measure.observed import RunClock

Log = Callable[..., tuple[ExitCode, dict[str, Any]]]

FIRST = line(0, "master", "daemon started -- version 3.7.11")
LAST = line(100, "postfix-script", "stopping the Postfix mail system")


@pytest.fixture
def log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Log:
    """Run `traffic-gen log` on these lines; what it says as JSON."""

    def run(
        text: str, accepted: list[int], in_doubt: tuple[int, ...] = (), *options: str, recipients: int = 1
    ) -> tuple[ExitCode, dict[str, Any]]:
        path = tmp_path / "mail.log"
        path.write_text(text)
        sent = manifest(tmp_path / "run.manifest", accepted, in_doubt, recipients=recipients)
        code = call(["log", str(sent), str(path), "--json", *options])
        out = capsys.readouterr().out
        return code, json.loads(out) if out else {}

    return run


def counts(found: dict[str, Any]) -> dict[str, int]:
    """Fates and contradictions that some message has."""
    return {
        name: group["messages"]
        for name, group in (found["fates"] | found["contradictions"]).items()
        if group["messages"]
    }


def test_every_fate_has_its_place(log: Log) -> None:
    text = (
        FIRST
        + whole(1, "AAAAAA0", 0)
        + arrived(1, "AAAAAA1", 1) + tried(2, "AAAAAA1", "deferred")
        + arrived(1, "AAAAAA2", 2) + tried(2, "AAAAAA2", "bounced") + removed(2, "AAAAAA2")
        + arrived(1, "AAAAAA3", 3)
        + arrived(1, "AAAAAA4", 4) + removed(3, "AAAAAA4")
        + whole(1, "AAAAAA6", 6)
        + whole(1, "AAAAAA8", 8)
        + LAST
    )  # fmt: skip
    code, found = log(text, [0, 1, 2, 3, 4, 5], (6, 7))
    assert code is ExitCode.VERDICT_FAILED
    assert found["whole"] == {"verdict": "yes", "reasons": []}
    assert counts(found) == {
        "sent": 1, "deferred": 1, "bounced": 1, "waiting": 1, "removed": 1, "not_logged": 1, "doubt_taken": 1,
        "doubt_not_taken": 1, "not_accepted": 1,
    }  # fmt: skip
    assert found["fates"]["deferred"]["first"] == [{"number": 1, "queue_id": "AAAAAA1"}]


def test_a_message_that_was_put_off_and_then_sent_was_sent(log: Log) -> None:
    text = FIRST + arrived(1, "AAAAAA0", 0) + tried(1, "AAAAAA0", "deferred") + tried(5, "AAAAAA0", "deferred")
    code, found = log(text + tried(9, "AAAAAA0") + removed(9, "AAAAAA0") + LAST, [0])
    assert code is ExitCode.DONE
    assert counts(found) == {"sent": 1}
    assert found["attempts"] == 3


def test_a_recipient_given_up_after_days_is_a_bounce(log: Log) -> None:
    expired = line(50, "qmgr", "AAAAAA0: from=<s@out.test>, status=expired, returned to sender")
    text = FIRST + arrived(1, "AAAAAA0", 0) + tried(1, "AAAAAA0", "deferred") + expired + removed(50, "AAAAAA0") + LAST
    assert counts(log(text, [0])[1]) == {"bounced": 1}


def test_outcomes_are_counted_by_the_last_state_of_each_recipient(log: Log) -> None:
    text = FIRST + arrived(1, "AAAAAA0", 0) + tried(1, "AAAAAA0", to="a@x.test")
    text += tried(1, "AAAAAA0", "deferred", to="b@x.test")
    assert counts(log(text + LAST, [0], recipients=2)[1]) == {"deferred": 1}
    both = text + tried(2, "AAAAAA0", to="b@x.test") + removed(2, "AAAAAA0") + LAST
    found = log(both, [0], recipients=2)[1]
    assert counts(found) == {"sent": 1}
    assert found["recipients"]["sent"] == 2


def test_a_message_with_two_queue_ids_was_taken_over_twice(log: Log) -> None:
    text = FIRST + whole(1, "AAAAAA0", 0) + whole(2, "BBBBBB0", 0) + LAST
    assert counts(log(text, [0])[1]) == {"sent": 1, "twice": 1}


@pytest.mark.parametrize("filter_ends_first", [False, True])
def test_a_content_filter_gives_a_second_queue_id_and_no_second_copy(log: Log, filter_ends_first: bool) -> None:
    handed_on = tried(2, "AAAAAA0", reply="250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as BBBBBB0")
    through = tried(3, "BBBBBB0") + removed(3, "BBBBBB0")
    second = arrived(2, "BBBBBB0", 0)
    ends = through + handed_on if filter_ends_first else handed_on + through
    code, found = log(FIRST + arrived(1, "AAAAAA0", 0) + second + ends + removed(3, "AAAAAA0") + LAST, [0])
    assert code is ExitCode.DONE
    assert counts(found) == {"sent": 1}
    assert found["recipients"]["sent"] == 1


def test_a_short_queue_id_is_used_again_for_another_message(log: Log) -> None:
    text = (
        FIRST + whole(1, "AAAAAA0", 0) + whole(2, "AAAAAA0", 1) + whole(3, "AAAAAA0", 7).replace(RUN, "0" * 16) + LAST
    )
    assert counts(log(text, [0, 1])[1]) == {"sent": 2}


def test_messages_of_a_corpus_are_known_by_their_trace_header(log: Log) -> None:
    foreign = arrived(1, "AAAAAA0", 0).replace(f"{0:012d}.{RUN}", "what-the-corpus-says")
    words = f"AAAAAA0: info: header X-Traffic-Gen: {RUN} 000000000003 1c291ca3 from gen[127.0.0.1]; from=<s@out.test>"
    saved = "Nov 27 03:03:13 mx dovecot: lmtp(u)<1><SESSION>: msgid=<what-the-corpus-says>: saved mail to INBOX\n"
    sent = tried(2, "AAAAAA0", reply="250 2.0.0 <u@relay.test> SESSION Saved")
    text = FIRST + line(1, "cleanup", words) + foreign + saved + sent + removed(2, "AAAAAA0") + LAST
    code, found = log(text, [3])
    assert code is ExitCode.DONE
    assert counts(found) == {"sent": 1}
    assert found["mailboxes"]["messages_saved"] == 1


def test_a_mailbox_server_that_answered_saved_and_did_not_is_found(log: Log) -> None:
    text = FIRST
    for number in (0, 1):
        queue_id = f"AAAAAA{number}"
        text += arrived(1, queue_id, number)
        text += tried(2, queue_id, reply=f"250 2.0.0 <u@relay.test> SESSION{number} Saved") + removed(2, queue_id)
    text += f"{stamp(2)} mx dovecot: lmtp(u)<1><SESSION0>: msgid=<{0:012d}.{RUN}@out.test>: saved mail to INBOX\n"
    assert counts(log(text + LAST, [0, 1])[1]) == {"sent": 2, "not_in_mailbox": 1}


# -- is the log whole? ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (whole(20, "AAAAAA0", 0) + LAST, "begins after the run did"),
        (line(-50, "qmgr", "AAAAAA0: removed"), "ends before the run did"),
        (FIRST + f"{stamp(3)} mx systemd-journald[1]: Suppressed 70 messages from postfix\n" + LAST, "70 lines"),
        (FIRST + arrived(1, "AAAAAA0", 0) + tried(60, "CCCCCC9", delay=2) + LAST, "of the messages of 1 delivery"),
        ("rubbish\n", "no line of a mail server"),
    ],
)  # fmt: skip
def test_a_log_that_lacks_lines_proves_nothing(log: Log, text: str, reason: str) -> None:
    code, found = log(text, [0, 1], (), "--log-zone", "+00:00")
    assert code is ExitCode.INCONCLUSIVE
    assert found["whole"]["verdict"] == "no"
    assert reason in "; ".join(found["whole"]["reasons"])


def test_a_message_older_than_the_log_says_nothing_about_it(log: Log) -> None:
    text = FIRST + whole(1, "AAAAAA0", 0) + tried(60, "CCCCCC9", delay=3000) + removed(60, "CCCCCC9") + LAST
    assert log(text, [0])[1]["whole"]["verdict"] == "yes"


def test_without_a_zone_and_without_a_message_nobody_knows_when_the_log_was(log: Log) -> None:
    code, found = log(FIRST + LAST, [0])
    assert code is ExitCode.INCONCLUSIVE
    assert found["whole"]["verdict"] == "unknown"
    assert "--log-zone" in found["whole"]["reasons"][0]
    code, found = log(FIRST + LAST, [0], (), "--log-zone", "+00:00")
    assert code is ExitCode.VERDICT_FAILED
    assert found["whole"]["verdict"] == "yes"


@pytest.mark.parametrize("quarters", [-22, 0, 4, 23])
def test_the_servers_zone_is_found_from_the_messages(log: Log, quarters: int) -> None:
    away = quarters * 900
    text = "".join(whole(away + 1 + number, f"AAAAAA{number}", number) for number in range(3))
    found = log(
        line(away, "master", "daemon started -- x") + text + line(away + 9, "qmgr", "ABCDEF1: removed"), [0, 1, 2]
    )[1]
    assert found["zone_s"] == away
    assert found["whole"]["verdict"] == "yes"


def test_times_since_the_run_began_are_on_its_clock(log: Log) -> None:
    text = FIRST + "".join(whole(1 + 3 * number, f"AAAAAA{number}", number) for number in range(4)) + LAST
    stretches = log(text, [0, 1, 2, 3])[1]["delays_over_time"]["stretches"]
    assert [round(one["at_s"]) for one in stretches] == [0, 3, 6, 9]
    assert stretches[0]["queued"]["p50"] == pytest.approx(0.02, rel=0.002)


# -- a sink behind the server ---------------------------------------------------------------------------


def test_what_the_log_says_was_sent_is_held_against_what_the_sink_has(log: Log, tmp_path: Path) -> None:
    text = FIRST + whole(1, "AAAAAA0", 0) + whole(1, "AAAAAA1", 1) + LAST
    both = ledger(tmp_path / "both.ledger", [0, 1])
    assert log(text, [0, 1], (), "--ledger", str(both))[0] is ExitCode.DONE
    one = ledger(tmp_path / "one.ledger", [0])
    code, found = log(text, [0, 1], (), "--ledger", str(one))
    assert code is ExitCode.VERDICT_FAILED
    assert counts(found) == {"sent": 2, "not_at_sink": 1}
    assert found["contradictions"]["not_at_sink"]["first"] == [{"number": 1, "queue_id": "AAAAAA1"}]


def test_a_message_at_the_sink_that_the_log_does_not_have_proves_that_lines_are_missing(
    log: Log, tmp_path: Path
) -> None:
    text = FIRST + whole(1, "AAAAAA0", 0) + LAST
    code, found = log(text, [0, 1], (), "--ledger", str(ledger(tmp_path / "l", [0, 1])))
    assert code is ExitCode.INCONCLUSIVE
    assert counts(found) == {"sent": 1, "not_logged": 1, "only_at_sink": 1}
    assert "no line says who sent 1 message that arrived at the sink" in found["whole"]["reasons"][0]


def test_refusals_are_counted_by_code_and_those_of_another_time_are_left_out_with_results(
    log: Log, tmp_path: Path
) -> None:
    refused = "NOQUEUE: reject: RCPT from gen[127.0.0.1]: 554 5.7.1 <x@y>: Access denied; from=<s@out.test>"
    text = FIRST + whole(1, "AAAAAA0", 0) + line(2, "smtpd", refused) + line(90, "smtpd", refused) + LAST
    _, found = log(text, [0])
    assert found["refusals"] == [{"code": "554", "log": 2, "client": None, "stages": {"RCPT": 2}}]
    run = send(None, messages=5)
    client = replace(
        run, run=replace(run.run, id=RUN, duration_s=10.0, clock=RunClock("0" * 16, 10**15, BEGAN_S * NS - 10**15)),
        replies=(ReplyCount("rcpt", 554, "5.7.1", 3, "554 no"), ReplyCount("end_of_data", 250, "", 9, "250 ok")),
    )  # fmt: skip
    (tmp_path / "run.json").write_text(client.to_json())
    _, found = log(text, [0], (), "--results", str(tmp_path / "run.json"))
    assert found["refusals"] == [{"code": "554", "log": 1, "client": 3, "stages": {"RCPT": 1}}]
    (tmp_path / "run.json").write_text(replace(client, run=replace(client.run, id="0" * 16)).to_json())
    assert log(text, [0], (), "--results", str(tmp_path / "run.json"))[0] is ExitCode.NOT_COMPARABLE


# -- what people see ------------------------------------------------------------------------------------


def test_the_text_begins_with_whether_the_log_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mail.log"
    path.write_text(FIRST + whole(1, "AAAAAA0", 0) + "rubbish\x1b[2J\n" + LAST)
    sent = manifest(tmp_path / "run.manifest", [0, 1])
    assert call(["log", str(sent), str(path)]) is ExitCode.VERDICT_FAILED
    out = capsys.readouterr().out
    assert out.index("is it whole?") < out.index("messages of the run")
    assert "accepted, not in the log  1  000000000001" in out
    assert "rubbish\\x1b[2J" in out
    assert "b, waiting for a delivery slot" in out


def test_the_part_that_grew_is_named_with_what_it_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def sent(at_s: int) -> str:
        queue_id = f"AAAAA{at_s:02d}"
        words = tried(at_s, queue_id, delays=f"0.01/{at_s * at_s / 2}/0.03/0.04", delay=at_s)
        return arrived(at_s, queue_id, at_s) + words + removed(at_s, queue_id)

    path = tmp_path / "mail.log"
    path.write_text(FIRST + "".join(sent(at_s) for at_s in range(1, 10)) + LAST)
    call(["log", str(manifest(tmp_path / "run.manifest", range(1, 10))), str(path)])
    out = capsys.readouterr().out
    assert "b grew from 4.50 s to 40.5 s: there are too few delivery slots" in " ".join(out.split())
    assert "d grew" not in out


def test_each_message_is_a_row_of_the_csv(log: Log, tmp_path: Path) -> None:
    text = FIRST + whole(1, "AAAAAA0", 0) + arrived(1, "AAAAAA2", 2) + tried(1, "AAAAAA2", "deferred") + LAST
    log(text, [0, 1, 2], (), "--csv", str(tmp_path / "m.csv"))
    assert (tmp_path / "m.csv").read_text().splitlines() == [
        "number,fate,queue_id,seen_at,sent_at,attempts,sent,deferred,bounced,saved,discarded,queue_ids",
        f"000000000000,sent,AAAAAA0,{BEGAN_S + 1}.000000,{BEGAN_S + 1}.000000,1,1,0,0,0,0,1",
        "000000000001,not_logged,,,,0,0,0,0,0,0,0",
        f"000000000002,deferred,AAAAAA2,{BEGAN_S + 1}.000000,,1,0,1,0,0,0,1",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run.manifest"], "expected a manifest and at least one log"),
        (["run.manifest", "mail.log", "--log-zone", "CET"], 'expected a zone such as +01:00, got "CET" (--log-zone)'),
        (["run.manifest", "mail.log", "--accounts", "x"], "expected --report with it (--accounts)"),
        (["--report", "mail.log", "--csv", "x"], "expected no manifest's options with it (--report)"),
        (["mail.log", "mail.log"], 'expected a manifest of "send --manifest"'),
        (
            ["run.manifest", "mail.log", "--follow", "soon"],
            'expected a duration such as 90, 90s, 5m or 1h30m, got "soon"',
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    manifest(tmp_path / "run.manifest", [0])
    (tmp_path / "mail.log").write_text(FIRST)
    assert call(["log", *arguments]) in (ExitCode.USAGE, ExitCode.NOT_COMPARABLE)
    assert words in capsys.readouterr().err


# -- any order of events --------------------------------------------------------------------------------


EVENT = st.tuples(st.sampled_from(["arrive", "defer", "send", "bounce", "expire", "remove"]), st.integers(0, 3))


@given(st.lists(EVENT, max_size=40))
def test_counts_stay_within_what_happened_whatever_the_order(events: list[tuple[str, int]]) -> None:
    join = Join(RUN, 4)
    reading, reader = LogReading(join.handlers), LineReader(BEGAN_S * NS)
    tries = [0] * 4
    for what, number in events:
        queue_id = f"AAAAAA{number}"
        tries[number] += what in ("defer", "send", "bounce")
        expired = line(2, "qmgr", f"{queue_id}: from=<s@out.test>, status=expired, returned to sender")
        text = {
            "arrive": arrived(1, queue_id, number),
            "defer": tried(2, queue_id, "deferred"),
            "send": tried(2, queue_id),
            "bounce": tried(2, queue_id, "bounced"),
            "expire": expired,
            "remove": removed(2, queue_id),
        }[what]
        reading.read_lines(text.encode().splitlines(), reader)
        assert join.attempts[number] <= tries[number]
        assert join.sent[number] + join.deferred[number] <= join.attempts[number]
    assert reading.about.not_understood == 0

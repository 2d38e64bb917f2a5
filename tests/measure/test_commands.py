"""Commands of a protocol that no room here has heard of: recorded, merged, written, read, judged, shown."""

import csv
import io
import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.measure.test_results import build
from tests.measure.test_results import snapshot_of as mail_snapshot_of
from tests.measure.toy_mailbox import MS, TOY, S, recorder_of, results_of, snapshot_of
from trafficgen.engine.account import PHASES
from trafficgen.errors import ExitCode, ResultsError
from trafficgen.measure.commands import CommandAccount
from trafficgen.measure.merging_runs import merge_results
from trafficgen.measure.phases import MESSAGE_STRETCHES, OF_OLD_FILES, PhaseTable
from trafficgen.measure.recorder import KIND_STEP, Recorder
from trafficgen.measure.results import Results, read_results
from trafficgen.measure.snapshot import Snapshot, merge
from trafficgen.measure.window import WindowTracker
from trafficgen.outcomes import Outcome
from trafficgen.publish.prometheus import Prometheus
from trafficgen.report.live import ProgressLine
from trafficgen.report.tables import to_csv, to_junit, to_markdown
from trafficgen.report.to_hdr import to_hdr_log
from trafficgen.report.to_html import page_runs
from trafficgen.report.to_text import to_text
from trafficgen.verdict.quantities import parse_quantity
from trafficgen.verdict.rule import Better
from trafficgen.verdict.thresholds import check_threshold, parse_threshold, rejudge

DONE, REFUSED, FAILED = Outcome.ACCEPTED, Outcome.REJECTED_PERMANENT, Outcome.FAILED

USED = [
    *[("fetch", DONE, took) for took in range(1, 201)],
    ("fetch", REFUSED, 900),
    ("fetch", FAILED, 30_000),
    ("login", DONE, 5),
    ("login", Outcome.REJECTED_TEMPORARY, 7),
]


@pytest.fixture
def results() -> Results:
    recorder = recorder_of(USED)
    recorder.phase("login", 5 * MS)
    recorder.reply("selected", 0, "", "* BYE", 2)
    recorder.failure("connect", "connection refused", "127.0.0.1:143")
    return results_of(snapshot_of(recorder))


def test_there_is_room_for_every_outcome_between_two_kinds() -> None:
    assert max(Outcome) < KIND_STEP


def test_commands_are_counted_by_kind_and_timed_when_carried_out(results: Results) -> None:
    fetch, login, expunge = (results.commands[name] for name in ("fetch", "login", "expunge"))
    assert (fetch.count, fetch.refused, fetch.failed, fetch.errors, fetch.bytes) == (202, 1, 1, 2, 20_000)
    assert (login.count, login.refused, login.failed, login.bytes) == (2, 1, 0, 100)
    assert (expunge.count, expunge.errors, expunge.latency_ns, expunge.per_s) == (0, 0, None, 0.0)
    assert fetch.latency_ns is not None
    assert (fetch.latency_ns.count, fetch.latency_ns.min, fetch.latency_ns.max) == (200, MS, 200 * MS)
    assert fetch.latency_ns.p50 == pytest.approx(100 * MS, rel=0.001)
    assert fetch.per_s == 100.0
    assert list(results.command_histograms) == ["login", "fetch"]


def test_commands_are_no_messages(results: Results) -> None:
    assert (results.messages.planned, results.messages.started, results.rate.messages_per_s) == (0, 0, 0.0)
    assert results.timeline == ()


def test_what_is_timed_is_what_the_table_says(results: Results) -> None:
    assert list(results.latency_ns) == [
        *MESSAGE_STRETCHES[:5],
        "connect",
        "greeting",
        "login",
        "envelope",
        "end_of_data",
    ]
    assert results.latency_ns["login"] is not None
    with pytest.raises(KeyError):
        Recorder(0, 0, False, phases=TOY).phase("ehlo", 1)
    with pytest.raises(KeyError):
        Recorder(0, 0, False, phases=TOY).command("append", DONE, start_ns=0, end_ns=1)


def test_latency_counts_from_the_intended_start_where_there_is_one() -> None:
    recorder = Recorder(0, 0, False, phases=TOY)
    recorder.command("fetch", DONE, start_ns=100, end_ns=150, due_ns=40)
    recorder.command("fetch", DONE, start_ns=100, end_ns=150, due_ns=120)  # a timer that was early
    recorder.command("fetch", DONE, start_ns=100, end_ns=150)
    assert snapshot_of(recorder).commands["fetch"].latency.buckets() == [(50, 2), (110, 1)]


def test_messages_and_commands_in_one_recorder_do_not_mix() -> None:
    recorder = Recorder(1, 0, False, phases=PHASES | TOY)
    for number in range(10):
        recorder.rows.extend((number, DONE, 0, -1, 0, -1, -1, 100, 1_000))
        recorder.command("fetch", REFUSED, start_ns=0, end_ns=77, octets=9)
    taken = snapshot_of(recorder)
    assert (taken.started, taken.accepted, taken.octets) == (10, 10, 10_000)
    assert taken.histograms["service"].buckets() == [(100, 10)]
    assert taken.domains_started.tolist() == [10]
    assert taken.commands["fetch"].outcomes.tolist() == [0, 0, 10, 0, 0]
    assert taken.commands["fetch"].octets == 0
    assert recorder.accepted_numbers().tolist() == list(range(10))


_COMMANDS = st.tuples(st.sampled_from(TOY.commands), st.sampled_from(list(Outcome)), st.integers(0, 10_000))


@given(st.lists(st.lists(_COMMANDS, max_size=12), min_size=1, max_size=4))
def test_workers_merge_in_any_order(workers: list[list[tuple[str, Outcome, int]]]) -> None:
    whole = snapshot_of(recorder_of([command for worker in workers for command in worker])).commands
    parts = [snapshot_of(recorder_of(commands, worker=number)) for number, commands in enumerate(workers)]
    for order in permutations(parts):
        assert merge(order).commands == whole
    assert merge([Snapshot.empty(), *parts]).commands == whole


def test_a_snapshot_does_not_change_with_what_is_recorded_later() -> None:
    recorder = recorder_of(USED[:3])
    before = snapshot_of(recorder)
    recorder.command("fetch", DONE, start_ns=0, end_ns=1)
    assert before.commands["fetch"].count == 3
    assert snapshot_of(recorder).commands["fetch"].count == 4
    assert before.commands["fetch"] != CommandAccount()


def test_results_come_back_from_their_file(results: Results, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(results.to_json())
    assert read_results(tmp_path / "run.json") == results


def test_a_file_without_words_of_its_own_is_of_mail_sessions() -> None:
    mail = build(mail_snapshot_of([DONE]))
    plain = mail.to_dict()
    for key in ("phases", "commands", "command_histograms"):
        del plain[key]
    assert Results.from_dict(plain) == replace(mail, phases=OF_OLD_FILES.phases)
    assert {**PHASES.phases, **OF_OLD_FILES.phases} == PHASES.phases
    assert OF_OLD_FILES.timed == PHASES.timed


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("replies", 0, "phase"), "ehlo", 'expected one of connect, greeting, login, selected, got "ehlo"'),
        (("phases", "Log in"), "x", "phases.Log in: expected a name of lower-case"),
        (("commands", "fetch", "refused"), 202, "commands.fetch: expected no more refused and failed than count"),
        (("commands", "fetch", "count"), 300, "commands.fetch.latency_ns: expected as many as were carried out"),
        (("commands", "fetch", "latency_ns", "max"), 3, "commands.fetch.latency_ns: expected count, min and max"),
        (("commands", "fetch!"), {}, "commands.fetch!"),
        (("latency_ns", "auth"), None, "latency_ns.auth: expected one of"),
        (("commands", "fetch", "fount"), 1, "commands.fetch.fount: expected no such key"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_in_one_line(
    results: Results, place: tuple[str | int, ...], value: object, said: str
) -> None:
    plain = json.loads(results.to_json())
    inner = plain
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    with pytest.raises(ResultsError) as caught:
        Results.from_dict(plain)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_histogram_of_no_command_is_refused(results: Results) -> None:
    plain = json.loads(results.to_json())
    plain["command_histograms"]["append"] = plain["command_histograms"]["fetch"]
    with pytest.raises(ResultsError, match=r"command_histograms.append: expected a name that is in \"commands\""):
        Results.from_dict(plain)


def test_thresholds_judge_commands(results: Results) -> None:
    judged = rejudge(
        [
            parse_threshold(text)
            for text in (
                "command{fetch}.p99<200ms", "command{fetch}.p50<50ms", "command{fetch}.errors<1%",
                "command{login}.errors<1%", "command{fetch}.count>=202", "command{fetch}.throughput>99",
                "command{expunge}.p99<1s", "command{expunge}.errors<1%", "command{idle}.p99<1s",
            )
        ],
        results,
    )  # fmt: skip
    assert [one.passed for one in judged.thresholds] == [True, False, True, False, True, True, False, False, False]
    measured = [one.value for one in judged.thresholds]
    assert measured[2:4] == [2 / 202, 0.5]
    assert measured[4:6] == [202.0, 100.0]
    assert measured[6:] == [None, None, None]
    assert judged.verdict_code is ExitCode.VERDICT_FAILED


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("command{fetch}.rate<1", "expected command{NAME}.p99"),
        ("command{Fetch it}.p99<1s", "expected command{NAME} with a name of lower-case"),
        ("command{fetch}.p99<5", "expected a limit with its unit"),
        ("command{fetch}.count<1.5", "expected a whole number"),
        ("logim.p99<1s", 'did you mean "login.p99"?'),
    ],
)
def test_what_no_command_has_is_refused_before_a_run(text: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:  # the text is looked at below
        parse_threshold(text, TOY)
    assert said in str(caught.value)


def test_a_run_that_sends_mail_has_no_commands_to_judge() -> None:
    from trafficgen.plan import Plan

    with pytest.raises(ValueError, match="a run that sends mail measures messages"):
        check_threshold(parse_threshold("command{fetch}.p99<1s"), Plan(max_messages=1))


def test_more_is_better_of_what_is_carried_out_only() -> None:
    better = [parse_quantity(f"command{{fetch}}.{form}").better for form in ("p99", "errors", "count", "throughput")]
    assert better == [Better.LOWER, Better.LOWER, Better.HIGHER, Better.HIGHER]


def test_a_window_holds_the_commands_that_ended_in_it() -> None:
    recorder, tracker = Recorder(0, 0, False, phases=TOY), WindowTracker(S)
    recorder.command("fetch", FAILED, start_ns=0, end_ns=MS)
    tracker.see(snapshot_of(recorder, S))
    for _ in range(4):
        recorder.command("fetch", DONE, start_ns=S, end_ns=S + 3 * MS, octets=5)
    taken = snapshot_of(recorder, 3 * S)
    tracker.see(taken)
    made = replace(results_of(taken), window=tracker.window(()))
    assert made.window is not None
    fetch = made.window.commands["fetch"]
    assert (fetch.count, fetch.errors, fetch.bytes, fetch.per_s) == (4, 0, 20, 2.0)
    assert list(made.window.command_histograms) == ["fetch"]
    assert parse_threshold("command{fetch}.errors==0").judge(made).passed
    assert Results.from_dict(made.to_dict()) == made


def test_generators_add_up(results: Results) -> None:
    other = results_of(snapshot_of(recorder_of([("expunge", DONE, 4), ("fetch", DONE, 8)])))
    other = replace(other, run=replace(other.run, id="00000000000000bb"))
    both = merge_results([results, other])
    assert both.commands["fetch"].count == 203
    assert both.commands["fetch"].errors == 2
    assert both.commands["fetch"].per_s == pytest.approx(201 / 2)
    assert both.commands["fetch"].latency_ns is not None
    assert both.commands["fetch"].latency_ns.count == 201
    assert both.commands["expunge"].bytes == 100
    assert both.command_histograms["fetch"] == results.command_histograms["fetch"] + other.command_histograms["fetch"]
    assert both.phases == TOY.phases
    assert Results.from_dict(both.to_dict()) == both


def test_a_command_that_failed_is_not_success(results: Results) -> None:
    assert results.exit_code(keep_going=False) is ExitCode.FAILED
    assert results.exit_code(keep_going=True) is ExitCode.DONE
    clean = results_of(snapshot_of(recorder_of([("fetch", DONE, 1)])))
    assert clean.exit_code(keep_going=False) is ExitCode.DONE


def test_the_summary_has_a_row_for_each_kind_and_none_for_messages(results: Results) -> None:
    lines = [line.split() for line in to_text(results).splitlines()]
    assert ["commands,", "ms", "count", "errors", "of", "count", "per", "second", "p50", "p90", "p99", "max"] in lines
    assert ["fetch", "202", "2", "0.99%", "100", "100", "180", "198", "200"] in lines
    assert ["login", "2", "1", "50.00%", "0.500", "–", "–", "–", "5.00"] in lines
    assert not [line for line in lines if line[:1] in (["accepted"], ["expunge"])]
    assert "selected state" in to_text(results)
    assert not [line for line in lines if line[:1] in (["load"], ["content"])]


def test_csv_has_columns_for_each_kind(results: Results) -> None:
    (row,) = csv.DictReader(io.StringIO(to_csv([results])))
    assert (row["command_fetch_count"], row["command_fetch_errors"], row["command_fetch_bytes"]) == (
        "202",
        "2",
        "20000",
    )
    assert row["command_fetch_max_ns"] == str(200 * MS)
    assert "command_expunge_p50_ns" not in row


def test_markdown_junit_and_hdr_log_have_them(results: Results) -> None:
    assert "| fetch p99 | 198 ms |" in to_markdown([results])
    assert "| login errors | 50.00% |" in to_markdown([results])
    junit = ET.fromstring(to_junit([rejudge([parse_threshold("command{fetch}.p50<50ms")], results)]))
    failed = {case.get("name"): case.find("failure") for case in junit.iter("testcase")}
    failure = failed["command{fetch}.p50<50ms"]
    assert failure is not None
    assert failure.get("message") == "measured: 100 ms"
    assert "Tag=command_fetch,0.000,2.000,200.000," in to_hdr_log(results)


def test_the_page_has_them(results: Results) -> None:
    (run,) = page_runs([results])
    assert run["commands"] == [
        ["bad", "login", "2", "1", "50.00%", "0.500", "5.00 ms", "–", "–", "5.00 ms"],
        ["bad", "fetch", "202", "2", "0.99%", "100", "100 ms", "180 ms", "198 ms", "200 ms"],
    ]


def test_metrics_have_them(results: Results) -> None:
    metrics = Prometheus(0)
    with metrics:
        metrics(results)
        families = {family.name: family.samples for family in metrics.collect()}
    counts = {tuple(one.labels.values()): one.value for one in families["traffic_gen_commands"]}
    assert counts["fetch", "done"] == 200
    assert counts["fetch", "refused"] == counts["fetch", "failed"] == counts["login", "refused"] == 1
    seconds = {tuple(one.labels.values()): one.value for one in families["traffic_gen_command_latency_seconds"]}
    assert seconds["fetch", "0.99"] == pytest.approx(0.198, rel=0.001)


def test_the_live_line_counts_them() -> None:
    line = ProgressLine(planned=None, duration_ns=10 * S)
    line.advance(snapshot_of(recorder_of([])), S)
    status = line.advance(snapshot_of(recorder_of(USED)), 2 * S)
    assert str(status).startswith("2 s  commands 204/s  errors 3  sessions 1")


def test_two_protocols_in_one_run_share_what_means_the_same() -> None:
    both = PHASES | TOY
    assert both.commands == TOY.commands
    assert both.timed == ("connect", "tls", "greeting", "ehlo", "auth", "login")
    with pytest.raises(ValueError, match="two of greeting"):
        TOY | PhaseTable({"greeting": "banner"})


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (lambda: PhaseTable({"Log in": "x"}), "expected a name of lower-case letters, digits and _, got 'Log in'"),
        (lambda: PhaseTable({}, commands=("uid fetch",)), "got 'uid fetch'"),
        (lambda: PhaseTable({"login": "LOGIN"}, timed=("select",)), "expected timed phases to be phases, got select"),
        (lambda: PhaseTable({"service": "x"}, timed=("service",)), "other than stretches of a message, got service"),
    ],
)  # fmt: skip
def test_names_that_nothing_could_hold_are_refused(table, said: str) -> None:
    with pytest.raises(ValueError) as caught:  # the text is looked at below
        table()
    assert said in str(caught.value)

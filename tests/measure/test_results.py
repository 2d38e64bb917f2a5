"""Results add up, survive the disk, and end the process with the right code."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.errors import ExitCode, ResultsError
from trafficgen.measure.document import to_plain
from trafficgen.measure.parts import Host, Latency, Ledger, Messages, Rate
from trafficgen.measure.recorder import Recorder
from trafficgen.measure.results import AccountingError, Results, StoppedBy, read_results
from trafficgen.measure.snapshot import Snapshot
from trafficgen.outcomes import Outcome, Phase
from trafficgen.plan import OpenLoop, Plan, TcpTarget

PLAN = Plan(target=TcpTarget("mail.test", 2525), max_messages=10, seed=42, run_id="9f3a6c1e02b4d857")
DOMAINS = (("gmail.com.test", 0.75), ("aol.com.test", 0.25))
BEGUN = datetime(2026, 11, 22, 2, 30, tzinfo=timezone(timedelta(hours=2)))


def snapshot_of(outcomes: list[Outcome], *, open_loop: bool = False) -> Snapshot:
    """Messages that start every 100 ms and take 50 ms, 1,000 octets each, alternately to two domains."""
    recorder = Recorder(2, 0, open_loop)
    for number, outcome in enumerate(outcomes):
        start = number * 100_000_000
        due = start - 1_000_000 if open_loop else -1
        recorder.rows.extend((number, outcome, number % 2, due, start, -1, -1, start + 50_000_000, 1_000))
    return recorder.snapshot(now_ns=1, cpu_ns=1, wall_ns=4, sessions_open=0, sessions_opened=2, in_flight=0)


def build(snapshot: Snapshot, *, plan: Plan = PLAN, **changes: Any) -> Results:
    facts: dict[str, Any] = {
        "domains": DOMAINS,
        "planned": snapshot.started,
        "not_started": 0,
        "started_at": BEGUN,
        "duration_ns": 2_500_000_000,
        "host": Host("3.11.7", "Linux", 2),
        "tool_version": "0.1.0",
    }
    return Results.build(plan, snapshot, **(facts | changes))


def test_a_file_of_a_run_that_did_not_end_never_reads_as_finished() -> None:
    made = build(snapshot_of([Outcome.ACCEPTED]), complete=False)
    assert (made.valid, made.stopped_by, made.verdict_code) == (False, StoppedBy.UNFINISHED, ExitCode.NOT_VALID)
    plain = made.to_dict() | {"valid": True, "stopped_by": "finished"}  # as version 0.1.0 wrote it
    read = Results.from_dict(plain)
    assert (read.valid, read.stopped_by, read.verdict_code) == (False, StoppedBy.UNFINISHED, ExitCode.NOT_VALID)


@given(st.lists(st.sampled_from(Outcome), max_size=12), st.integers(0, 10))
def test_both_equations_hold(outcomes: list[Outcome], not_started: int) -> None:
    made = build(snapshot_of(outcomes), planned=len(outcomes) + not_started, not_started=not_started).messages
    assert made.planned == made.started + made.not_started
    assert made.started == (
        made.accepted + made.rejected_temporary + made.rejected_permanent + made.failed + made.in_doubt
    )
    assert made.accepted == outcomes.count(Outcome.ACCEPTED)
    assert made.rejected_temporary == outcomes.count(Outcome.REJECTED_TEMPORARY)
    assert made.rejected_permanent == outcomes.count(Outcome.REJECTED_PERMANENT)
    assert made.failed == outcomes.count(Outcome.FAILED)
    assert made.in_doubt == outcomes.count(Outcome.IN_DOUBT)


@pytest.mark.parametrize(("planned", "not_started"), [(3, 0), (2, 1), (1, -1)])
def test_an_account_that_does_not_add_up_makes_no_results(planned: int, not_started: int) -> None:
    with pytest.raises(AccountingError, match=f"{planned} = 2 \\+ {not_started}"):
        build(snapshot_of([Outcome.ACCEPTED] * 2), planned=planned, not_started=not_started)


def test_messages_to_an_unknown_domain_make_no_results() -> None:
    with pytest.raises(AccountingError, match="expected 1 domains, got messages to 2"):
        build(snapshot_of([Outcome.ACCEPTED] * 2), domains=DOMAINS[:1])


def test_rate_counts_accepted_messages_from_first_start_to_last_end() -> None:
    # Ten starts from 0 to 0.9 s, the last end at 0.95 s; nine accepted.
    rate = build(snapshot_of([Outcome.ACCEPTED] * 9 + [Outcome.FAILED])).rate
    assert rate == Rate(
        messages_per_s=pytest.approx(9 / 0.95),
        messages_per_hour=pytest.approx(9 / 0.95 * 3600),
        bytes_per_s=pytest.approx(9000 / 0.95),
        started_per_s=pytest.approx(10.0),
        wanted_per_s=None,
    )


def test_the_document_of_a_small_run() -> None:
    made = build(snapshot_of([Outcome.ACCEPTED, Outcome.ACCEPTED, Outcome.REJECTED_PERMANENT]))
    assert made.messages == Messages(3, 3, 2, 0, 1, 0, 0, 0, 2_000)
    assert (made.run.started_at, made.run.duration_s) == ("2026-11-22T00:30:00.000+00:00", 2.5)
    assert (made.run.id, made.run.seed, made.run.target) == ("9f3a6c1e02b4d857", 42, "mail.test:2525")
    assert made.run.model == "closed"
    assert made.latency_ns["service"] == Latency(2, *[50_000_000] * 2, *[50_000_000] * 7)
    assert made.latency_ns["response"] is None
    middle = Latency(1, *[50_000_000] * 2, *[50_000_000] * 7)
    assert made.to_dict()["domains"] == {
        "gmail.com.test": {"weight": 0.75, "started": 2, "accepted": 1, "latency_ns": to_plain(middle)},
        "aol.com.test": {"weight": 0.25, "started": 1, "accepted": 1, "latency_ns": to_plain(middle)},
    }
    assert made.plan["sessions"] == 20
    assert list(made.histograms) == ["service", "service_rejected"]
    assert [second.started for second in made.timeline] == [3]


def test_open_model_has_response_times_and_a_wanted_rate() -> None:
    plan = replace(PLAN, load=OpenLoop(rate_per_s=10))
    made = build(snapshot_of([Outcome.ACCEPTED] * 5, open_loop=True), plan=plan)
    response = made.latency_ns["response"]
    assert response is not None
    assert (response.p50, made.run.model, made.rate.wanted_per_s) == (51_000_000, "open", 10.0)


def test_a_run_without_messages_has_results_too() -> None:
    made = build(Snapshot.empty(), planned=5, not_started=5)
    assert (made.messages.started, made.rate.messages_per_s, made.timeline) == (0, 0.0, ())
    assert set(made.latency_ns.values()) == {None}
    assert made.domains["aol.com.test"].started == 0
    assert Results.from_dict(made.to_dict()) == made


def test_json_gives_the_same_results_and_a_line_for_each_reply() -> None:
    recorder = Recorder(2, 0, False)
    recorder.reply(Phase.RCPT, 550, "5.1.1", "no é")
    recorder.reply(Phase.EHLO, 250, "", "ok")
    recorder.failure(Phase.CONNECT, "timed out", "30 s")
    snapshot = recorder.snapshot(now_ns=1, cpu_ns=9, wall_ns=10, sessions_open=0, sessions_opened=1, in_flight=0)
    made = build(snapshot, ledger=Ledger(5, 5, 0, 0, 0), command=("traffic-gen", "--seed", "42"))
    text = made.to_json()
    assert Results.from_dict(json.loads(text)) == made
    reply = '  {"phase": "rcpt", "code": 550, "enhanced": "5.1.1", "count": 1, "example": "no \\u00e9"},'
    assert reply in text.splitlines()


def test_unknown_keys_are_passed_over_and_keys_with_a_default_may_be_missing() -> None:
    plain = build(snapshot_of([Outcome.ACCEPTED])).to_dict()
    plain["verdict"] = {"ok": True}
    plain["run"]["colour"] = "red"
    del plain["run"]["addresses"]
    assert Results.from_dict(plain).messages.accepted == 1


def change(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def apply(plain: dict[str, Any]) -> None:
        *way, last = path.split(".")
        for step in way:
            plain = plain[step]
        plain[last] = value

    return apply


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (change("schema_version", 2), "expected results of schema version 1, got '2'"),
        (change("messages", []), "messages must be an object"),
        (change("messages.accepted", "2"), "messages.accepted must be a whole number, got '2'"),
        (change("messages.accepted", True), "messages.accepted must be a whole number, got 'True'"),
        (change("messages.accepted", 7), "messages do not add up"),
        (change("rate.messages_per_s", None), "rate.messages_per_s must be a number"),
        (change("valid", 1), "valid must be true or false"),
        (change("stopped_by", "boredom"), "stopped_by must be one of finished, deadline"),
        (change("timeline", {}), "timeline must be a list"),
        (change("timeline", [{"at_s": 0}]), r"timeline\[0\].span_s is missing"),
        (change("histograms.service.count", 9), "histograms.service: not a stored histogram"),
        (change("latency_ns.service.p50", 1.5), "latency_ns.service.p50 must be a whole number"),
        (lambda plain: plain.pop("run"), "run is missing"),
    ],
)
def test_a_damaged_file_is_named_with_the_place_of_the_damage(
    damage: Callable[[dict[str, Any]], None], words: str, tmp_path: Path
) -> None:
    plain = build(snapshot_of([Outcome.ACCEPTED])).to_dict()
    damage(plain)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(plain))
    with pytest.raises(ResultsError, match=words) as caught:
        read_results(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", '{"schema_version": 1', "[1]", "null", '"x"', "\udcff"])
def test_a_file_that_holds_no_results_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ResultsError, match=r"run\.json"):
        read_results(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"cannot read results from .*: No such file or directory"):
        read_results(tmp_path / "none.json")


def test_results_come_back_from_disk(tmp_path: Path) -> None:
    made = build(snapshot_of([Outcome.ACCEPTED, Outcome.IN_DOUBT]))
    (tmp_path / "run.json").write_text(made.to_json())
    assert read_results(tmp_path / "run.json") == made


CLEAN, BROKEN = Ledger(1, 1, 0, 0, 0), Ledger(2, 1, 1, 0, 0)
REFUSED = [Outcome.REJECTED_TEMPORARY]


@pytest.mark.parametrize(
    ("outcomes", "changes", "keep_going", "code"),
    [
        ([Outcome.ACCEPTED], {}, False, ExitCode.DONE),
        ([Outcome.ACCEPTED], {"ledger": CLEAN}, False, ExitCode.DONE),
        ([Outcome.IN_DOUBT], {"stopped_by": StoppedBy.DEADLINE}, False, ExitCode.DONE),
        (REFUSED, {}, True, ExitCode.DONE),
        (REFUSED, {}, False, ExitCode.FAILED),
        (REFUSED, {"stopped_by": StoppedBy.FIRST_ERROR}, False, ExitCode.FAILED),
        ([Outcome.ACCEPTED], {"stopped_by": StoppedBy.INTERRUPTED}, False, ExitCode.INTERRUPTED),
        (REFUSED, {"stopped_by": StoppedBy.INTERRUPTED}, False, ExitCode.INTERRUPTED),
        (REFUSED, {"lost_workers": (1,), "stopped_by": StoppedBy.WORKER_LOST}, True, ExitCode.NOT_VALID),
        (REFUSED, {"ledger": BROKEN, "lost_workers": (1,)}, True, ExitCode.VERDICT_FAILED),
        ([Outcome.ACCEPTED], {"ledger": Ledger(1, 1, 0, 1, 0)}, True, ExitCode.VERDICT_FAILED),
        ([Outcome.ACCEPTED], {"ledger": Ledger(1, 1, 0, 0, 1)}, True, ExitCode.VERDICT_FAILED),
    ],
)
def test_exit_code(outcomes: list[Outcome], changes: dict[str, Any], keep_going: bool, code: ExitCode) -> None:
    assert build(snapshot_of(outcomes), **changes).exit_code(keep_going=keep_going) is code


def test_a_lost_worker_makes_the_run_invalid_and_says_so() -> None:
    made = build(snapshot_of([Outcome.ACCEPTED]).with_lost(3), lost_workers=(1,), planned=6, not_started=2)
    assert not made.valid
    assert made.generator.lost_workers == (1,)
    assert made.messages.in_doubt == 3
    assert made.caveats[0].text == "the measurement is not valid: worker 1 died before the end"

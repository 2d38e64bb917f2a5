"""The supervisor's account: two counts of the same that differ are said, and never made to fit."""

import re
from collections import Counter
from multiprocessing.connection import Pipe
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen import OpenLoop, Plan, RunControl, TcpTarget, WeightedDomain, Workload
from trafficgen.engine import control
from trafficgen.engine.account import PHASES, RecipientTally, WorkerAccount
from trafficgen.engine.address import resolve
from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.engine.run_account import Differences, RunAccount
from trafficgen.engine.supervisor import Supervisor
from trafficgen.engine.worker_pool import WorkerHandle
from trafficgen.host.pipes import Outbox
from trafficgen.measure.recorder import Recorder
from trafficgen.outcomes import Outcome, Phase, StoppedBy
from trafficgen.protocol.smtp.replies import Reply
from trafficgen.workload import Messages

TARGET = TcpTarget("127.0.0.1", 25)


def supervisor(plan: Plan) -> Supervisor:
    resolved = ResolvedPlan.of(plan).at(resolve(TARGET), 1)
    return Supervisor(resolved, date="", on_progress=lambda *_: None, say=lambda _: None, stop=RunControl())


def worker_of() -> WorkerHandle:
    ours, _theirs = Pipe()
    return WorkerHandle(0, cast("Any", None), Outbox(ours))


def account(
    plan: Plan,
    *,
    rows: int,
    taken: int,
    unsent: int,
    numbers: int | None = None,
    cut_short: bool = False,
    stop: tuple[StoppedBy, ...] = (),
) -> RunAccount:
    """One worker that got two ranges of 50 and has handed in these counts."""
    recorder = Recorder(1, 0, plan.load is not None, phases=PHASES)
    for number in range(rows):
        recorder.rows.extend((number, Outcome.ACCEPTED, 0, 1, 1, -1, -1, 2, 10))
    snapshot = recorder.snapshot(now_ns=3, cpu_ns=1, wall_ns=2, sessions_open=0, sessions_opened=1, in_flight=0)
    made = supervisor(plan)
    worker = worker_of()
    worker.assigned = [control.AssignRange(0, 50), control.AssignRange(50, 100)]
    accepted = np.arange(rows if numbers is None else numbers)
    none: Any = np.zeros(0, np.int64)
    worker.finished = control.WorkerFinished(
        snapshot, 2, taken, unsent, 0, accepted, none, {}, np.zeros((2, 0), np.int64), none, cut_short
    )
    made._pool.workers.append(worker)
    made._began_ns = 0
    for why in stop:
        made._hear(worker, control.FirstError("no")) if why is StoppedBy.FIRST_ERROR else made._stop(why)
    made._hear(worker, worker.finished)
    return made._total()


LOADS = pytest.mark.parametrize("load", [None, OpenLoop(10.0)], ids=["closed", "open"])


@LOADS
def test_an_account_that_adds_up_says_nothing(load: OpenLoop | None) -> None:
    found = account(Plan(max_messages=100, sessions=1, load=load), rows=98, taken=98, unsent=2)
    assert (found.planned, found.not_started, found.differences) == (100, 2, [])
    assert found.snapshot.in_doubt == 0
    assert (found.lost_workers, found.ended_workers, found.began_ns) == ({}, [], 0)


FINISHED, DEADLINE, ERROR = StoppedBy.FINISHED, StoppedBy.DEADLINE, StoppedBy.FIRST_ERROR


@LOADS
@pytest.mark.parametrize(
    ("stop", "unsent", "cut_short", "said"),
    [
        ((), 0, False, FINISHED),
        ((DEADLINE,), 0, False, FINISHED),  # while the goodbyes were said
        ((DEADLINE,), 1, False, DEADLINE),
        ((DEADLINE,), 0, True, DEADLINE),
        ((ERROR,), 0, False, ERROR),
        ((ERROR, DEADLINE), 0, False, ERROR),
        ((DEADLINE, ERROR), 0, False, ERROR),
        ((DEADLINE, ERROR), 1, False, DEADLINE),
        ((StoppedBy.INTERRUPTED,), 0, False, StoppedBy.INTERRUPTED),
    ],
)
def test_time_that_is_up_when_all_is_done_stopped_nothing(
    load: OpenLoop | None, stop: tuple[StoppedBy, ...], unsent: int, cut_short: bool, said: StoppedBy
) -> None:
    plan = Plan(max_messages=100, sessions=1, load=load)
    found = account(plan, rows=100 - unsent, taken=100 - unsent, unsent=unsent, cut_short=cut_short, stop=stop)
    assert found.stopped_by is said
    assert (found.stopped_after_ns is None) == (said is FINISHED)
    assert found.differences == []


@pytest.mark.parametrize(("held", "said"), [(10, []), (0, ["50; that have an outcome or are at work: 40"])])
def test_what_a_worker_has_at_work_counts_as_handed_to_sessions(held: int, said: list[str]) -> None:
    worker, differences = worker_of(), Differences()
    recorder = Recorder(1, 0, False, phases=PHASES)
    for number in range(40):
        recorder.rows.extend((number, Outcome.ACCEPTED, 0, 1, 1, -1, -1, 2, 10))
    worker.snapshot = recorder.snapshot(now_ns=3, cpu_ns=1, wall_ns=2, sessions_open=0, sessions_opened=1, in_flight=0)
    worker.taken = 50
    differences.compare_rows(worker, held)
    assert differences.sentences == [f"worker 0: messages handed to sessions: {words}" for words in said]


@LOADS
def test_a_row_that_is_lost_is_said_and_in_doubt(load: OpenLoop | None) -> None:
    found = account(Plan(max_messages=100, sessions=1, load=load), rows=97, taken=98, unsent=2)
    assert found.differences[0] == (
        "worker 0: messages handed to sessions: 98; that have an outcome or are at work: 97"
    )
    assert (found.planned, found.not_started, found.snapshot.in_doubt) == (100, 2, 1)


@LOADS
def test_a_message_that_the_source_lost_is_said(load: OpenLoop | None) -> None:
    found = account(Plan(max_messages=100, sessions=1, load=load), rows=97, taken=97, unsent=2)
    assert "worker 0: messages that were its to send: 100; that it handed to sessions or did not: 99" in (
        found.differences
    )


@LOADS
def test_a_row_too_many_is_said(load: OpenLoop | None) -> None:
    found = account(Plan(max_messages=100, sessions=1, load=load), rows=101, taken=100, unsent=0)
    assert "messages planned: 100; accounted for: 101" in found.differences
    assert found.planned == found.not_started + found.snapshot.started


def test_the_same_number_recorded_twice_is_said() -> None:
    found = account(Plan(max_messages=100, sessions=1), rows=100, taken=100, unsent=0, numbers=99)
    assert found.differences == ["messages accepted: 100; different numbers of them: 99"]


def test_without_a_number_planned_it_is_what_sessions_got() -> None:
    found = account(Plan(duration_ns=10**9, sessions=1), rows=60, taken=60, unsent=40)
    assert (found.planned, found.not_started, found.differences) == (60, 0, [])


@pytest.mark.parametrize(("known", "in_doubt"), [(0, 50), (30, 20), (50, 0)])
@pytest.mark.parametrize("load", [None, OpenLoop(10.0)], ids=["closed", "open"])
def test_of_a_lost_worker_only_what_has_no_outcome_yet_is_in_doubt(
    load: OpenLoop | None, known: int, in_doubt: int
) -> None:
    made, worker = supervisor(Plan(max_messages=100, sessions=1, load=load)), worker_of()
    recorder = Recorder(1, 0, load is not None, phases=PHASES)
    for number in range(known):
        recorder.rows.extend((number, Outcome.ACCEPTED, 0, 1, 1, -1, -1, 2, 10))
    worker.snapshot = recorder.snapshot(now_ns=3, cpu_ns=1, wall_ns=2, sessions_open=0, sessions_opened=1, in_flight=0)
    worker.assigned = [control.AssignRange(0, 50), control.AssignRange(50, 100)]
    worker.begun, worker.lost_ns = 1, 4_950_000_000  # the range of 50; 50 due at 10 a second
    made._pool.workers.append(worker)
    made._began_ns = 0
    found = made._total()
    assert (found.snapshot.accepted, found.snapshot.in_doubt) == (known, in_doubt)
    assert (found.planned, found.not_started, found.differences) == (100, 50, [])
    assert found.in_doubt.tolist() == list(range(50))
    assert (found.lost_workers, found.ended_workers) == ({0: ""}, [])
    worker.ended = True  # by us: it is in one list, not in both
    found = made._total()
    assert (found.lost_workers, found.ended_workers) == ({}, [0])


def test_workers_have_as_many_slots_together_as_sessions_were_asked_for() -> None:
    resolved = ResolvedPlan.of(Plan(max_messages=100, sessions=8)).at(resolve(TARGET), 3)
    made = Supervisor(resolved, date="", on_progress=lambda *_: None, say=lambda _: None, stop=RunControl())
    assert [made._config(index).slots for index in range(3)] == [3, 3, 2]


def test_recipients_that_ended_in_other_ways_than_their_message() -> None:
    account = WorkerAccount(Recorder(1, 0, False, phases=PHASES), lambda _: None)
    of = {Outcome.ACCEPTED: 3, Outcome.IN_DOUBT: 1, Outcome.REJECTED_TEMPORARY: 2}
    recipients = tuple(of.get(outcome, 0) for outcome in Outcome)
    account.recipients_differ(7, Outcome.ACCEPTED, recipients)
    account.recipients_differ(8, Outcome.REJECTED_TEMPORARY, recipients)
    assert account.partial == {7: 4}, "who has it or may have it; a message that was refused is nobody's"
    assert account.partly_accepted == 1
    differences = {outcome: 2 * of.get(outcome, 0) for outcome in Outcome}
    differences[Outcome.ACCEPTED] -= 6
    differences[Outcome.REJECTED_TEMPORARY] -= 6
    assert dict(zip(Outcome, account.differences.tolist(), strict=True)) == differences


def test_recipients_are_counted_once_however_often_they_are_tallied() -> None:
    weighted = tuple(WeightedDomain(f"{name}.test") for name in "abc")
    plan = Plan(workload=Workload(domains=weighted, recipients_per_message=((1, 1), (3, 1))), max_messages=60)
    messages = Messages(plan, date="")
    recorder = Recorder(3, 0, False, phases=PHASES)
    account = WorkerAccount(recorder, lambda _: None)
    tally = RecipientTally(messages, account)
    outcomes = [Outcome.ACCEPTED if number % 3 else Outcome.REJECTED_PERMANENT for number in range(60)]
    folds = {20: False, 40: True, 60: False}  # what is tallied at that number; and whether the rows are folded then
    for number, message in enumerate(messages.block(0, 60)):
        recorder.rows.extend((number, outcomes[number], message.domain, -1, 1, -1, -1, 2, 10))
        if (fold := folds.get(number + 1)) is not None:
            tally.tally()
            if fold:
                recorder.fold(least=0)
            tally.folded()
    snapshot = tally.in_place(
        recorder.snapshot(now_ns=3, cpu_ns=1, wall_ns=2, sessions_open=0, sessions_opened=1, in_flight=0)
    )
    started, accepted, by_outcome = Counter[int](), Counter[int](), Counter[Outcome]()
    for outcome, message in zip(outcomes, messages.block(0, 60), strict=True):
        for name in re.findall(rb"\n\S+@([abc])\.test", message.envelope):
            domain = b"abc".index(name)
            started[domain] += 1
            accepted[domain] += outcome is Outcome.ACCEPTED
            by_outcome[outcome] += 1
    assert sum(started.values()) > 60
    assert snapshot.domains_started.tolist() == [started[index] for index in range(3)]
    assert snapshot.domains_accepted.tolist() == [accepted[index] for index in range(3)]
    assert dict(zip(Outcome, snapshot.recipients, strict=True)) == {outcome: by_outcome[outcome] for outcome in Outcome}


replies = st.builds(
    Reply, st.sampled_from([250, 450]), st.sampled_from(["", "4.2.1"]), st.just((b"one",)) | st.just((b"other",))
)


@given(st.lists(st.none() | st.tuples(st.sampled_from([Phase.RCPT, Phase.MAIL]), replies, st.integers(1, 5))))
def test_replies_are_counted_once_however_often_they_are_tallied(heard: list[tuple[Phase, Reply, int] | None]) -> None:
    """None stands for a tally."""
    recorder = Recorder(1, 0, False, phases=PHASES)
    account = WorkerAccount(recorder, lambda _: None)
    counts, texts = Counter[tuple[str, int, str]](), dict[tuple[str, int, str], str]()
    for one in [*heard, None, None]:
        if one is None:
            account.tally()
            continue
        phase, reply, count = one
        if count == 1:
            account.reply(phase, reply)
        else:
            account.reply(phase, reply, count)
        kind = (phase.value, reply.code, reply.enhanced)
        counts[kind] += count
        texts.setdefault(kind, reply.text)
    snapshot = recorder.snapshot(now_ns=3, cpu_ns=1, wall_ns=2, sessions_open=0, sessions_opened=1, in_flight=0)
    assert {kind: tally.count for kind, tally in snapshot.replies.items()} == counts
    assert {kind: tally.example for kind, tally in snapshot.replies.items()} == texts


def test_the_first_trouble_alone_stops_a_run() -> None:
    said: list[str] = []
    account = WorkerAccount(Recorder(1, 0, False, phases=PHASES), said.append)
    for words in ("550 no", "451 later", "550 no"):
        account.trouble(words)
    assert said == ["550 no"]


def test_recipients_of_a_run_are_those_of_its_rows_but_for_those_that_ended_otherwise() -> None:
    weighted = (WeightedDomain("a.test"),)
    plan = Plan(workload=Workload(domains=weighted, recipients_per_message=((3, 1),)), max_messages=4)
    recorder = Recorder(1, 0, False, phases=PHASES)
    account = WorkerAccount(recorder, lambda _: None)
    tally = RecipientTally(Messages(plan, date=""), account)
    for number, outcome in enumerate([Outcome.ACCEPTED, Outcome.ACCEPTED, Outcome.IN_DOUBT, Outcome.FAILED]):
        recorder.rows.extend((number, outcome, 0, -1, 1, -1, -1, 2, 10))
    refused = {Outcome.ACCEPTED: 2, Outcome.REJECTED_PERMANENT: 1}
    account.recipients_differ(1, Outcome.ACCEPTED, tuple(refused.get(outcome, 0) for outcome in Outcome))
    tally.tally()
    made = tally.in_place(
        recorder.snapshot(now_ns=3, cpu_ns=1, wall_ns=2, sessions_open=0, sessions_opened=1, in_flight=0)
    )
    expected = {Outcome.ACCEPTED: 3 + 2, Outcome.REJECTED_PERMANENT: 1, Outcome.IN_DOUBT: 3, Outcome.FAILED: 3}
    assert dict(zip(Outcome, made.recipients, strict=True)) == {one: expected.get(one, 0) for one in Outcome}
    assert (sum(made.recipients), made.partly_accepted) == (12, 1)

"""A client that tries again: the account of a message is one, however many tries it took."""

import socketserver
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trafficgen
from tests.engine.moments import FAR_S, Deadline, Heard
from tests.peers.postfix import private_postfix
from tests.peers.private_sink import private_sink
from tests.peers.running import Counts, counts, plan_for, send
from tests.peers.scripted import PATIENCE_S, Script, scripted
from tests.sink.sink_process import sink_process
from trafficgen import Progress, Retried, RetryPlan, parse_target
from trafficgen.cli.program import call
from trafficgen.engine.account import PHASES, WorkerAccount
from trafficgen.engine.retrying import AGAIN, Retrying
from trafficgen.errors import ExitCode
from trafficgen.measure.delivered import LedgerCounts
from trafficgen.measure.recorder import COLUMNS, Recorder
from trafficgen.measure.snapshot import RetryCounts
from trafficgen.outcomes import Outcome
from trafficgen.proof.comparison import compare
from trafficgen.protocol.smtp.interfaces import ROW, Work

MS = 1_000_000


class Numbered:
    """As much of a message as is asked for."""

    def __init__(self, number: int) -> None:
        self.number = number


class Numbers:
    """A source of so many messages, in the open or the closed model."""

    def __init__(self, count: int, due_ns: int) -> None:
        self.left = list(range(count))
        self.due_ns = due_ns
        self.stopped = False
        self.returned: list[int] = []
        self.next_due_ns = None

    @property
    def exhausted(self) -> bool:
        return self.stopped or not self.left

    def take(self, now_ns: int) -> Work | None:
        return None if self.exhausted else (cast("Any", Numbered(self.left.pop())), self.due_ns)

    def give_back(self, work: Work) -> None:
        (self.returned if self.stopped else self.left).append(work[0].number)

    def stop(self) -> None:
        self.stopped = True


acts = st.lists(
    st.one_of(
        st.just("take"), st.just("give back"), st.integers(1, 30).map(lambda ms: ms * MS),
        st.sampled_from(Outcome), st.just("stop"),
    ),
    max_size=120,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    acts=acts, what=st.sampled_from(Retried), most=st.integers(1, 3), due_ns=st.sampled_from([-1, 5]),
    count=st.integers(1, 12),
)  # fmt: skip
def test_every_message_handed_out_has_one_outcome_and_tries_are_counted_apart(
    acts: list[Any], what: Retried, most: int, due_ns: int, count: int
) -> None:
    recorder = Recorder(1, 0, due_ns >= 0, phases=PHASES)
    account = WorkerAccount(recorder, lambda _words: None)
    source = Numbers(count, due_ns)
    retrying = Retrying(cast("Any", source), account, RetryPlan(what, most, 10 * MS), lambda: None)
    now, at_work = 0, list[Work]()
    tries, history = Counter[int](), dict[int, list[Outcome]]()
    stopped = False

    def ends(outcome: Outcome) -> None:
        number = at_work.pop(0)[0].number
        history.setdefault(number, []).append(outcome)
        retrying.rows.frombytes(ROW(number, outcome, 0, due_ns, now, -1, now, now, 100))

    for act in [*acts, "stop", *[Outcome.FAILED] * count]:
        if act == "take":
            if (work := retrying.take(now)) is not None:
                assert not stopped
                at_work.append(work)
                tries[work[0].number] += 1
        elif act == "give back":
            if at_work:
                work = at_work.pop()
                tries[work[0].number] -= 1
                retrying.give_back(work)
        elif act == "stop":
            stopped = True
            retrying.stop()
        elif isinstance(act, Outcome):
            if at_work:
                ends(act)
        else:
            now += act
        rows = len(account.rows) // COLUMNS
        handed_out = count - len(source.left) - len(source.returned)
        assert handed_out == rows + len(at_work) + retrying.waiting
        assert retrying.exhausted or not stopped
    rows_by_number = {number: Outcome(outcome) for number, outcome in
                      zip(account.rows[::COLUMNS], account.rows[1::COLUMNS], strict=True)}  # fmt: skip
    assert len(rows_by_number) == len(account.rows) // COLUMNS == len(history)
    doubtful = Counter(retrying.doubtful)
    for number, outcomes in history.items():
        last, doubts = outcomes[-1], outcomes.count(Outcome.IN_DOUBT)
        assert all(outcome in AGAIN[what] for outcome in outcomes[:-1])
        assert len(outcomes) == tries[number] <= 1 + most
        expected = last if last is Outcome.ACCEPTED or not doubts else Outcome.IN_DOUBT
        assert rows_by_number[number] is expected
        assert doubtful[number] == doubts - (expected is Outcome.IN_DOUBT)
    again = [outcomes for outcomes in history.values() if len(outcomes) > 1]
    accepted = sum(outcomes[-1] is Outcome.ACCEPTED for outcomes in again)
    assert retrying.counts == RetryCounts(sum(map(len, again)) - len(again), len(again), accepted)


def test_a_message_that_waits_is_not_handed_out_before_its_time_nor_while_the_run_is_held() -> None:
    account = WorkerAccount(Recorder(1, 0, False, phases=PHASES), lambda _words: None)
    woken: list[int] = []
    source = Numbers(1, -1)
    retrying = Retrying(cast("Any", source), account, RetryPlan(wait_ns=10 * MS), lambda: woken.append(1))
    assert retrying.take(0) is not None
    retrying.rows.frombytes(ROW(0, Outcome.REJECTED_TEMPORARY, 0, -1, 0, -1, 1, 5 * MS, 100))
    assert woken == [1]
    assert (retrying.next_due_ns, retrying.exhausted) == (15 * MS, False)
    assert retrying.take(15 * MS - 1) is None
    source.hold = source.go = lambda _now: None  # type: ignore[attr-defined]
    retrying.hold(0)
    assert (retrying.next_due_ns, retrying.take(20 * MS)) == (None, None)
    retrying.go(0)
    work = retrying.take(15 * MS)
    assert work is not None
    assert (work[0].number, work[1]) == (0, -1)


# -- over a connection ----------------------------------------------------------------------------------


def test_what_a_greylist_puts_off_is_accepted_at_another_try(tmp_path: Any) -> None:
    table = tmp_path / "responses.toml"
    table.write_text('[default]\ngreylist = "300ms"\nstage = "rcpt"\n')
    with sink_process("127.0.0.1:0", "--responses", str(table)) as sink:
        results = send(
            parse_target(sink.address), messages=200, sessions=4, workers=2, workload={"senders": 100_000},
            retry=RetryPlan(most=20, wait_ns=100 * MS),
        )  # fmt: skip
    assert counts(results) == Counts(accepted=200)
    assert results.retries is not None
    assert results.retries.messages == results.retries.accepted == 200
    assert results.retries.retries >= 200
    refused = sum(reply.count for reply in results.replies if reply.code == 451)
    assert refused == results.retries.retries  # a try more for each refusal, and none else


class RefusesForNow(Script):
    def rcpt(self, line: str) -> None:
        self.say("450 4.2.0 later")


def test_a_message_that_is_refused_at_every_try_is_refused_once() -> None:
    with scripted(RefusesForNow) as server:
        results = send(server.port, messages=5, sessions=2, retry=RetryPlan(most=3, wait_ns=MS))
    assert counts(results) == Counts(rejected_temporary=5)
    assert results.retries == RetryCounts(retries=15, messages=5, accepted=0)
    assert [reply.count for reply in results.replies if reply.code == 450] == [20]


class RefusesForGood(Script):
    def rcpt(self, line: str) -> None:
        self.say("550 5.1.1 nobody")


def test_what_is_refused_for_good_is_not_tried_again() -> None:
    with scripted(RefusesForGood) as server:
        results = send(server.port, messages=5, retry=RetryPlan(Retried.NOT_TAKEN_OVER, 3, MS))
    assert counts(results) == Counts(rejected_permanent=5)
    assert results.retries == RetryCounts()


def test_a_lost_reply_makes_copies_that_are_explained(tmp_path: Any) -> None:
    """The sink takes a share of the messages and hangs up without a word: sending again is right, and doubles them."""
    ledger, manifest = tmp_path / "ledger", tmp_path / "manifest"
    with sink_process("127.0.0.1:0", "--drop", "dot:after:30%", "--ledger", str(ledger)) as sink:
        plan = plan_for(parse_target(sink.address), messages=100, retry=RetryPlan(Retried.NOT_TAKEN_OVER, 50, MS))
        results = trafficgen.run(plan, manifest=manifest)
    assert counts(results) == Counts(accepted=100)
    assert results.retries is not None
    assert results.retries.accepted == results.retries.messages > 5
    assert manifest.read_bytes().startswith(b"# traffic-gen manifest 4\n")
    assert call(["verify", str(manifest), str(ledger)]) is ExitCode.DONE


def test_copies_of_tries_in_doubt_are_explained_and_more_of_them_are_not() -> None:
    """Of five accepted messages, the last three were tried again after a try in doubt; the sixth stayed in doubt."""
    numbers, ones = np.arange(5), np.ones(5, np.int64)
    found = compare(
        accepted=numbers, recipients=ones, in_doubt=np.array([5]), in_doubt_recipients=ones[:1],
        arrived=np.arange(6), arrived_recipients=np.array([1, 2, 1, 2, 3, 2], np.uint32), damaged=[],
        doubtful=np.array([2, 3, 4, 5]), doubtful_recipients=ones[:4],
    )  # fmt: skip
    assert found == LedgerCounts(expected=5, received=5, missing=0, duplicated=2, corrupted=0, explained=2)


class Policy(socketserver.StreamRequestHandler):
    """Postfix's policy protocol (SMTPD_POLICY_README): who is seen for the first time is put off."""

    seen: set[bytes] = set()  # noqa: RUF012  (made anew by the test)

    def handle(self) -> None:
        asked: dict[bytes, bytes] = {}
        for line in self.rfile:
            name, _, value = line.rstrip(b"\n").partition(b"=")
            if name:
                asked[name] = value
                continue
            triplet = asked[b"sender"] + b" " + asked[b"recipient"]
            self.wfile.write(b"action=dunno\n\n" if triplet in self.seen else b"action=defer_if_permit later\n\n")
            self.wfile.flush()
            self.seen.add(triplet)


def test_postfix_takes_at_the_second_try_what_its_policy_puts_off() -> None:
    Policy.seen = set()
    with (
        private_sink() as sink,
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), Policy) as policy,
        ThreadPoolExecutor(1) as pool,
    ):
        policy.daemon_threads = True
        pool.submit(policy.serve_forever)
        try:
            ask = f"check_policy_service inet:127.0.0.1:{policy.server_address[1]}"
            with private_postfix(
                sink.port, f"smtpd_recipient_restrictions = {ask}, permit_mynetworks, reject"
            ) as postfix:
                results = send(
                    postfix.port, messages=30, sessions=3, workload={"senders": 100_000},
                    retry=RetryPlan(most=5, wait_ns=50 * MS),
                )  # fmt: skip
                sink.wait_for(30)
        finally:
            policy.shutdown()
    assert counts(results) == Counts(accepted=30)
    assert results.retries == RetryCounts(retries=30, messages=30, accepted=30)


def test_a_failed_connection_is_tried_again_only_where_that_is_asked_for() -> None:
    class HangsUpAtFirst(Script):
        def greet(self) -> None:
            if self.session < 2:
                self.hang_up()
            super().greet()

    for what, expected in (
        (Retried.NOT_TAKEN_OVER, Counts(accepted=1)), (Retried.REFUSED_FOR_NOW, Counts(failed=1)),
    ):  # fmt: skip
        with scripted(HangsUpAtFirst) as server:
            results = send(server.port, messages=1, retry=RetryPlan(what, 5, MS))
        assert counts(results) == expected


def test_what_waits_when_the_time_is_up_ends_as_it_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class RefusesFive(RefusesForNow):
        refused = threading.Semaphore(0)

        def rcpt(self, line: str) -> None:
            super().rcpt(line)
            self.refused.release()

    deadline, heard = Deadline(monkeypatch), []

    def progress(now: Progress) -> None:
        if not heard:
            for _ in range(5):
                assert RefusesFive.refused.acquire(timeout=PATIENCE_S)
            heard.append(Heard())
        elif heard[0].by(now.snapshot):
            deadline.come()

    with scripted(RefusesFive) as server:
        retry = RetryPlan(most=3, wait_ns=3_600_000 * MS)
        results = send(server.port, messages=5, duration_s=FAR_S, retry=retry, progress=progress)
    assert counts(results) == Counts(rejected_temporary=5)
    assert results.retries == RetryCounts()

"""A plan is resolved once: everything later reads the same object, and files are not read again."""

import pickle
from pathlib import Path

import pytest

from tests.peers.running import plan_for
from trafficgen import BodyFile, Corpus, OpenLoop, Plan, PlanError, Stage, WeightedDomain, Workload, run
from trafficgen.engine.address import resolve
from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.plan import Auth, LongTail, Security, SessionPlan, TcpTarget

S = 10**9
TARGET = TcpTarget("127.0.0.1", 2525)
TWO = (WeightedDomain("a.com", 3.0), WeightedDomain("b.com", 1.0))


def test_what_follows_from_a_plan_is_decided() -> None:
    made = ResolvedPlan.of(Plan(max_messages=10, workload=Workload(domains=TWO, long_tail=LongTail(2, 4.0))))
    names = ["a.com", "b.com", "tail-000001.example", "tail-000002.example"]
    assert [name for name, _ in made.weighted_domains] == names
    assert made.shares == pytest.approx((3 / 8, 1 / 8, 1 / 3, 1 / 6))
    assert (made.schedule, made.planned, made.sending_ns) == (None, 10, None)
    assert (made.body, made.logins, made.route) == (None, (), None)
    assert len(made.plan.run_id) == 16
    assert ResolvedPlan.of(made) is made


def test_the_end_of_a_run_is_the_first_of_its_limits() -> None:
    stages = OpenLoop(0.0, (Stage(10 * S, 10.0),))
    made = ResolvedPlan.of(Plan(duration_ns=60 * S, load=stages))
    assert (made.planned, made.sending_ns) == (50, 10 * S)
    made = ResolvedPlan.of(Plan(max_messages=20, duration_ns=60 * S, load=stages))
    assert (made.planned, made.sending_ns) == (20, 10 * S)
    made = ResolvedPlan.of(Plan(duration_ns=60 * S))
    assert (made.planned, made.sending_ns) == (None, 60 * S)


def test_there_are_never_more_workers_than_sessions() -> None:
    plan = plan_for(2525, messages=5, sessions=2)
    route = resolve(TARGET)
    assert ResolvedPlan.of(plan).at(route, 8).workers == 2
    assert ResolvedPlan.of(plan).at(route, 1).workers == 1


def test_files_are_read_once_and_a_run_sends_what_they_held(tmp_path: Path) -> None:
    body, password = tmp_path / "body", tmp_path / "password"
    body.write_bytes(b"the first text\n")
    password.write_text("secret\n")
    session = SessionPlan(security=Security.TLS, auth=Auth("me", password))
    read = ResolvedPlan.of(Plan(max_messages=4, session=session))
    assert [login.password for login in read.logins] == ["secret"]
    assert "secret" not in repr(read)
    made = ResolvedPlan.of(Plan(max_messages=4, sessions=2, workers=2, workload=Workload(content=BodyFile(body))))
    assert made.body == b"the first text\r\n"
    body.unlink()  # nobody needs it any more
    results = run(made)
    assert results.messages.accepted == 4
    assert results.ledger is not None
    assert results.ledger.clean
    assert "first text" not in repr(made)


def test_workers_get_the_same_object() -> None:
    made = ResolvedPlan.of(Plan(max_messages=5, load=OpenLoop(100.0), seed=7)).at(resolve(TARGET), 1)
    copy = pickle.loads(pickle.dumps(made))
    assert (copy.plan, copy.shares, copy.planned, copy.route) == (made.plan, made.shares, made.planned, made.route)
    assert made.schedule is not None
    assert copy.schedule.due_ns(0, 5).tolist() == made.schedule.due_ns(0, 5).tolist()


def test_who_gets_what_is_known_without_contents() -> None:
    made = ResolvedPlan.of(Plan(max_messages=9, workload=Workload(recipients_per_message=((2, 1.0),))))
    assert made.addressed.recipients_of(0, 9).tolist() == [2] * 9
    assert made.addressed is made.addressed


def test_what_cannot_be_is_refused_with_its_field(tmp_path: Path) -> None:
    for content in (BodyFile(tmp_path / "none"), Corpus(tmp_path / "none.mbox")):
        with pytest.raises(PlanError) as caught:
            ResolvedPlan.of(Plan(max_messages=1, workload=Workload(content=content)))
        assert caught.value.field == "content"
    with pytest.raises(PlanError, match="expected a Plan, got 'localhost'"):
        ResolvedPlan.of("localhost")  # type: ignore[arg-type]

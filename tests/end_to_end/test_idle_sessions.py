"""Sessions that hold a connection and carry no message: counted, kept, opened again, closed in good order."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from tests.end_to_end.test_embedded_sink import assert_proven
from tests.engine.moments import FAR_S, Deadline, not_before
from tests.peers.certificates import Certificate
from tests.peers.independent import aiosmtpd_server
from tests.peers.postfix import private_postfix
from tests.peers.private_sink import private_sink
from tests.peers.running import Counts, counts, send
from tests.peers.scripted import PATIENCE_S, Script, scripted
from trafficgen import ExitCode, OpenLoop, PlanError, Progress, Results
from trafficgen.cli.program import call
from trafficgen.engine.idle import IdleSessions
from trafficgen.engine.slot import Slot
from trafficgen.measure.snapshot import Snapshot
from trafficgen.plan import Security, ShapePlan

NS_PER_MS = 1_000_000
OFTEN = 100 * NS_PER_MS


def replies(results: Results, phase: str) -> dict[int, int]:
    return {each.code: each.count for each in results.replies if each.phase == phase}


class HoldsThem(Script):
    """Takes a message of nobody before `wanted` sessions have said NOOP; notes how each session ended."""

    wanted: ClassVar[int] = 0
    held: ClassVar[set[int]]
    ended: ClassVar[list[str]]
    changed: ClassVar[threading.Condition]

    def unknown(self, line: str) -> None:
        assert line == "NOOP"
        self.say("250 2.0.0 ok")
        with self.changed:
            self.held.add(self.session)
            self.changed.notify_all()

    def mail(self, line: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.held) >= self.wanted, PATIENCE_S)
        super().mail(line)

    def quit(self, line: str) -> None:
        self.ended.append(line)
        super().quit(line)


def script(count: int, base: type[HoldsThem] = HoldsThem) -> type[HoldsThem]:
    class Own(base):  # type: ignore[misc, valid-type]
        wanted = count
        held: ClassVar[set[int]] = set()
        ended: ClassVar[list[str]] = []
        changed = threading.Condition()

    return Own


@pytest.mark.parametrize("workers", [1, 2])
def test_idle_sessions_are_held_and_leave_with_quit(workers: int) -> None:
    own = script(7)
    shape = ShapePlan(idle_sessions=7, noop_ns=OFTEN)
    with scripted(own) as server:
        results = send(server.port, messages=5, sessions=2, workers=workers, session={"shape": shape})
    assert counts(results) == Counts(accepted=5)
    assert results.failures == ()
    assert results.idle is not None
    assert (results.idle.opened, results.idle.most_held, results.idle.lost) == (7, 7, 0)
    assert results.idle.noops >= 7
    assert replies(results, "noop")[250] <= results.idle.noops
    assert len(own.ended) == 7 + results.generator.sessions_opened
    assert results.generator.sessions_opened <= 2


def held(sessions: int, noops: int) -> Callable[[Snapshot], bool]:
    """Whether so many sessions are held, and so many NOOPs were said since it was seen."""
    before: list[int] = []

    def enough(seen: Snapshot) -> bool:
        if seen.idle is not None and seen.idle.most_held == sessions:
            before.append(seen.idle.noops)
        return bool(before) and before[-1] >= before[0] + noops and seen.accepted > 0

    return enough


def test_messages_and_their_proof_are_the_same_beside_idle_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    not_before(monkeypatch, held(20, 20))
    shape = ShapePlan(idle_sessions=20, noop_ns=OFTEN)
    results = send(None, duration_s=0.3, sessions=3, session={"shape": shape})
    assert_proven(results, results.messages.accepted)
    assert results.idle is not None
    assert (results.idle.opened, results.idle.most_held, results.idle.lost) == (20, 20, 0)
    assert replies(results, "noop").keys() == {250}


def test_without_idle_sessions_there_are_no_counts() -> None:
    assert send(None, messages=1).idle is None


class LosesPatience(HoldsThem):
    """Closes the first three sessions that say NOOP."""

    def unknown(self, line: str) -> None:
        with self.changed:
            self.held.add(self.session)
            self.changed.notify_all()
            patient = len(self.held) > 3
        if not patient:
            self.say("421 4.4.2 idle for too long")
            self.hang_up()
        self.say("250 2.0.0 ok")


def test_a_session_that_the_server_closes_is_lost_and_opened_again() -> None:
    own = script(5, LosesPatience)
    with scripted(own) as server:
        shape = ShapePlan(idle_sessions=3, noop_ns=OFTEN)
        results = send(server.port, messages=1, session={"shape": shape})
    assert counts(results) == Counts(accepted=1)
    assert results.idle is not None
    assert results.idle.lost == 3
    assert results.idle.opened in (5, 6)
    assert replies(results, "noop")[421] == 3


class RefusesMore(HoldsThem):
    """One session is enough."""

    def greet(self) -> None:
        if self.session:
            self.say("421 4.7.0 too many sessions from you")
            self.hang_up()
        super().greet()

    def mail(self, line: str) -> None:
        self.say("250 2.1.0 ok")


@pytest.mark.parametrize("keep_going", [True, False])
def test_one_that_does_not_come_about_is_a_failure(keep_going: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    own = script(0, RefusesMore)
    with scripted(own) as server:
        shape = ShapePlan(idle_sessions=2)
        not_before(
            monkeypatch, lambda seen: server.sessions >= 3 and ("greeting", "refused by the server") in seen.failures
        )
        results = send(server.port, duration_s=0.3, session={"shape": shape}, keep_going=keep_going)
    assert results.idle is not None
    assert ("greeting", "refused by the server") in {(one.phase, one.reason) for one in results.failures}
    assert (results.stopped_by.value == "first_error") is not keep_going


def until(monkeypatch: pytest.MonkeyPatch, enough: Callable[[Snapshot], bool]) -> dict[str, Any]:
    """Forty messages a second, until it is enough."""
    deadline = Deadline(monkeypatch)

    def progress(now: Progress) -> None:
        if enough(now.snapshot):
            deadline.come()

    return {"duration_s": FAR_S, "load": OpenLoop(40.0), "progress": progress}


def test_they_are_protected_as_the_others_are(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = ShapePlan(idle_sessions=3, noop_ns=OFTEN)
    session: dict[str, Any] = {"security": Security.STARTTLS, "verify_certificate": False, "shape": shape}
    with aiosmtpd_server(starttls=certificate.server_context()) as (port, _):
        results = send(port, session=session, **until(monkeypatch, held(3, 9)))
    assert counts(results) == Counts(results.messages.accepted, not_started=results.messages.not_started)
    assert results.idle is not None
    assert (results.idle.opened, results.idle.most_held, results.idle.lost) == (3, 3, 0)
    assert results.idle.noops >= 9
    assert sum(one.sessions for one in results.tls) == 3 + results.generator.sessions_opened


def test_postfix_holds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = ShapePlan(idle_sessions=8, noop_ns=OFTEN)
    with private_sink() as sink, private_postfix(sink.port) as postfix:
        results = send(postfix.port, sessions=2, session={"shape": shape}, **until(monkeypatch, held(8, 64)))
        assert counts(results) == Counts(results.messages.accepted, not_started=results.messages.not_started)
        postfix.stop()
        log = postfix.log
    assert results.idle is not None
    assert (results.idle.opened, results.idle.most_held, results.idle.lost) == (8, 8, 0)
    # What Postfix says of each session when it ends: of those that carried nothing, EHLO, NOOP and QUIT.
    ended = [line for line in log.splitlines() if "disconnect from" in line]
    assert sum("mail=" not in line and "noop=" in line and "quit=1" in line for line in ended) == 8


def test_what_cannot_be_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PlanError, match="expected 0 to 1000000 idle sessions"):
        ShapePlan(idle_sessions=-1)
    options = ["--target", "http://127.0.0.1/a", "--idle-sessions", "2", "--message-count", "1"]
    assert call(options) is ExitCode.USAGE
    assert "all alike" in capsys.readouterr().err


def test_none_is_opened_before_the_run_begins() -> None:
    opened: list[object] = []
    around = cast("Any", SimpleNamespace(opening=0, on_turn=None, way=None))
    sessions = IdleSessions(around, 3, noop_ns=0, began_ns=1_000)
    for slot in sessions.slots:
        assert not slot.working
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Slot, "give", lambda slot, _work, _now: opened.append(slot))
        sessions.tick(999)
        assert opened == []
        sessions.tick(1_000)
    assert opened == sessions.slots

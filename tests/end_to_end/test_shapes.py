"""Shapes of sessions: how many messages, pauses, RSET, and sessions that go without a message."""

import re
from collections import Counter
from typing import Any, ClassVar

import pytest

from tests.peers.postfix import private_postfix
from tests.peers.private_sink import private_sink
from tests.peers.running import Counts, counts, send
from tests.peers.scripted import Script, scripted
from trafficgen import OpenLoop, PlanError
from trafficgen.plan import Security, ShapePlan


class Counting(Script):
    """Notes each session's commands."""

    seen: ClassVar[list[list[str]]]

    def greet(self) -> None:
        self.commands: list[str] = []
        self.seen.append(self.commands)
        super().greet()

    def ehlo(self, line: str) -> None:
        self.commands.append("EHLO")
        super().ehlo(line)

    def mail(self, line: str) -> None:
        self.commands.append("MAIL")
        super().mail(line)

    def rset(self, line: str) -> None:
        self.commands.append("RSET")
        super().rset(line)

    def quit(self, line: str) -> None:
        self.commands.append("QUIT")
        super().quit(line)


def sent(messages: int, shape: ShapePlan, *, sessions: int = 1, seed: int = 4, **session: Any) -> list[list[str]]:
    """The commands of each session of a run that is accepted whole."""

    class Own(Counting):
        seen: ClassVar[list[list[str]]] = []

    with scripted(Own) as server:
        results = send(
            server.port, messages=messages, sessions=sessions, seed=seed, session={"shape": shape, **session}
        )
    assert counts(results) == Counts(accepted=messages)
    assert results.failures == ()
    return Own.seen


def test_messages_of_a_session_are_drawn_by_weight_and_by_the_seed() -> None:
    mix = ShapePlan(messages=((1, 5.0), (4, 1.0)))
    seen = [commands.count("MAIL") for commands in sent(120, mix)]
    assert sent(120, mix) == sent(120, mix)
    assert sum(seen) == 120
    assert set(seen[:-1]) == {1, 4}
    assert 2 < Counter(seen)[1] / Counter(seen)[4] < 12


@pytest.mark.parametrize("session", [{}, {"chunks": 3}, {"security": Security.STARTTLS_IF_OFFERED}])
def test_sessions_that_leave_or_drop_carry_no_message_and_none_is_lost(session: dict[str, Any]) -> None:
    shape = ShapePlan(leave_share=0.3, drop_share=0.2)
    seen = sent(100, shape, max_messages=1, **session)
    shapes = Counter(tuple(commands) for commands in seen)
    assert shapes["EHLO", "MAIL", "QUIT"] == 100
    assert set(shapes) == {("EHLO", "MAIL", "QUIT"), ("EHLO", "QUIT"), ("EHLO",)}
    assert 30 < shapes["EHLO", "QUIT"] < 95
    assert 18 < shapes["EHLO",] < 70


@pytest.mark.parametrize("load", [None, OpenLoop(300.0)])
def test_every_message_arrives_once_beside_sessions_that_go(load: OpenLoop | None) -> None:
    shape = ShapePlan(
        messages=((1, 1.0), (3, 1.0)), leave_share=0.25, drop_share=0.25, think_ns=1_000_000, reset_between=True
    )
    with private_sink() as sink:
        results = send(
            sink.port, messages=150, sessions=6, workers=2, load=load, session={"shape": shape}, run_id="7" * 16
        )
        arrived = sink.arrivals("7" * 16)
    assert counts(results) == Counts(accepted=150)
    assert arrived.numbers.tolist() == list(range(150))
    assert results.failures == ()


def test_rset_comes_between_two_messages_and_nowhere_else() -> None:
    (commands,) = sent(4, ShapePlan(reset_between=True))
    assert commands == ["EHLO", "MAIL", "RSET", "MAIL", "RSET", "MAIL", "RSET", "MAIL", "QUIT"]


def test_a_session_rests_between_two_messages() -> None:
    shape = ShapePlan(think_ns=30_000_000)
    with private_sink() as sink:
        results = send(sink.port, messages=10, session={"shape": shape}, run_id="8" * 16)
        first_ns = sink.arrivals("8" * 16).first_ns
    assert counts(results) == Counts(accepted=10)
    assert results.generator.sessions_opened == 1
    assert first_ns.max() - first_ns.min() > 9 * 29_000_000  # at least: a loaded machine makes it longer


def test_postfix_sees_sessions_of_every_shape() -> None:
    shape = ShapePlan(messages=((1, 1.0), (3, 1.0)), leave_share=0.3, drop_share=0.2, reset_between=True)
    with private_sink() as sink, private_postfix(sink.port) as postfix:
        results = send(postfix.port, messages=40, sessions=2, session={"shape": shape})
        sink.wait_for(40)
        ends = re.findall(r"disconnect from \S+ (.*)", postfix.log)
        lost = len(re.findall("lost connection after EHLO", postfix.log))
    assert counts(results) == Counts(accepted=40)
    assert sum(int(n) for end in ends for n in re.findall(r"mail=(\d+)", end)) == 40
    assert sum("ehlo=1 quit=1 commands=2" in end for end in ends) > 0
    assert lost > 0
    assert any("rset=2" in end for end in ends)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ShapePlan(messages=((0, 1.0),)), "--messages-per-session"),
        (lambda: ShapePlan(messages=((1, 0.0),)), "--messages-per-session"),
        (lambda: ShapePlan(leave_share=1.0), "--leave-share"),
        (lambda: ShapePlan(leave_share=0.5, drop_share=0.5), "some sessions"),
        (lambda: ShapePlan(think_ns=-1), "--think-time"),
    ],
)
def test_shapes_that_make_no_sense_are_refused(make: Any, words: str) -> None:
    with pytest.raises(PlanError) as refused:
        make()
    assert words in refused.value.as_typed

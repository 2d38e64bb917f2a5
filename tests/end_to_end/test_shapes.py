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
from trafficgen.plan import Departure, LeavingStep, Pipelining, Security, SessionPlan, ShapePlan


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

    def rcpt(self, line: str) -> None:
        self.commands.append("RCPT")
        super().rcpt(line)

    def data(self, line: str) -> None:
        self.commands.append("DATA")
        super().data(line)
        self.commands.append("taken")

    def rset(self, line: str) -> None:
        self.commands.append("RSET")
        super().rset(line)

    def quit(self, line: str) -> None:
        self.commands.append("QUIT")
        super().quit(line)


WHOLE = ("EHLO", "MAIL", "RCPT", "DATA", "taken", "QUIT")


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
    assert shapes[WHOLE] == 100
    assert set(shapes) == {WHOLE, ("EHLO", "QUIT"), ("EHLO",)}
    assert 30 < shapes["EHLO", "QUIT"] < 95
    assert 18 < shapes["EHLO",] < 70


WAYS: list[dict[str, Any]] = [
    {}, {"pipelining": Pipelining.OFF}, {"chunks": 3}, {"security": Security.STARTTLS_IF_OFFERED}
]  # fmt: skip


ANSWERED = {
    Departure(0.06, LeavingStep.CONNECT): "",
    Departure(0.06, LeavingStep.CONNECT, quits=True): "QUIT",
    Departure(0.06, LeavingStep.HELO): "EHLO",
    Departure(0.06, LeavingStep.HELO, quits=True): "EHLO QUIT",
    Departure(0.06, LeavingStep.MAIL): "EHLO MAIL",
    Departure(0.06, LeavingStep.MAIL, quits=True): "EHLO MAIL QUIT",
    Departure(0.06, LeavingStep.RCPT): "EHLO MAIL RCPT",
    Departure(0.06, LeavingStep.RCPT, quits=True): "EHLO MAIL RCPT QUIT",
    Departure(0.06, LeavingStep.BODY): "EHLO MAIL RCPT DATA",
}
SENT = {
    Departure(0.12, LeavingStep.CONNECT, waits=False): "",
    Departure(0.12, LeavingStep.HELO, waits=False): "EHLO",
    Departure(0.12, LeavingStep.MAIL, waits=False): "EHLO MAIL",
    Departure(0.12, LeavingStep.RCPT, waits=False): "EHLO MAIL RCPT",
    Departure(0.12, LeavingStep.DATA, waits=False): "EHLO MAIL RCPT DATA",
}


@pytest.mark.parametrize("session", WAYS)
@pytest.mark.parametrize("departures", [ANSWERED, SENT])
def test_sessions_go_at_every_step_and_no_message_is_lost(
    departures: dict[Departure, str], session: dict[str, Any]
) -> None:
    may_be = [one for one in departures if not (one.early and "security" in session)]
    shapes = Counter(map(tuple, sent(60, ShapePlan(departures=tuple(may_be)), max_messages=1, **session)))
    assert shapes.pop(WHOLE) == 60
    assert {" ".join(shape) for shape in shapes} == {departures[one] for one in may_be}


@pytest.mark.parametrize("slow", [{}, {"slow_share": 1.0, "slow_octets_per_s": 2000}], ids=["fast", "slow"])
def test_half_of_a_message_is_sent_where_the_body_breaks_off(slow: dict[str, Any]) -> None:
    octets: list[tuple[bool, int]] = []

    class Weighing(Script):
        def data(self, line: str) -> None:
            self.say("354 go ahead")
            found = b""
            while not found.endswith(b"\r\n.\r\n") and (piece := self.peer.recv(65536)):
                found += piece
            octets.append((found.endswith(b"\r\n.\r\n"), len(found)))
            self.say("250 2.0.0 taken")

    class Own(Weighing):
        extensions = ()

    shape = ShapePlan(departures=(Departure(0.5, LeavingStep.BODY),), **slow)
    with scripted(Own) as server:
        results = send(server.port, messages=10, sessions=5, seed=4, session={"shape": shape, "max_messages": 1})
    assert counts(results) == Counts(accepted=10)
    whole = [size for ended, size in octets if ended]
    assert len(whole) == 10
    assert len(octets) > 12
    assert all(abs(size - whole[0] / 2) < 50 for ended, size in octets if not ended)


@pytest.mark.parametrize("answer", ["450 4.7.1 later", "550 5.7.1 no", "421 4.3.2 going down"])
def test_a_refusal_ends_a_session_that_would_go_later_and_no_message(answer: str) -> None:
    class Refusing(Script):
        def rcpt(self, line: str) -> None:
            self.say(answer if self.session % 2 == 0 else "250 2.1.5 ok")
            if answer.startswith("421") and self.session % 2 == 0:
                self.hang_up()

    shape = ShapePlan(departures=(Departure(0.5, LeavingStep.BODY), Departure(0.2, LeavingStep.RCPT, quits=True)))
    with scripted(Refusing) as server:
        found = counts(send(server.port, messages=10, seed=4, session={"shape": shape, "max_messages": 1}))
    assert found.accepted > 0
    assert found.accepted + found.rejected_temporary + found.rejected_permanent == 10


@pytest.mark.parametrize("load", [None, OpenLoop(300.0)])
def test_every_message_arrives_once_beside_sessions_that_go(load: OpenLoop | None) -> None:
    shape = ShapePlan(
        messages=((1, 1.0), (3, 1.0)), leave_share=0.15, drop_share=0.1, think_ns=1_000_000, reset_between=True,
        departures=(
            Departure(0.1, LeavingStep.CONNECT, waits=False), Departure(0.1, LeavingStep.RCPT, quits=True),
            Departure(0.1, LeavingStep.BODY),
            Departure(0.1, LeavingStep.DATA, waits=False),
        ),
    )  # fmt: skip
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
    assert " ".join(commands).replace("MAIL RCPT DATA taken", "+") == "EHLO + RSET + RSET + RSET + QUIT"


def test_a_session_rests_between_two_messages() -> None:
    shape = ShapePlan(think_ns=30_000_000)
    with private_sink() as sink:
        results = send(sink.port, messages=10, session={"shape": shape}, run_id="8" * 16)
        first_ns = sink.arrivals("8" * 16).first_ns
    assert counts(results) == Counts(accepted=10)
    assert results.generator.sessions_opened == 1
    assert first_ns.max() - first_ns.min() > 9 * 29_000_000  # at least: a loaded machine makes it longer


def test_postfix_sees_sessions_of_every_shape() -> None:
    steps = (LeavingStep.CONNECT, LeavingStep.MAIL, LeavingStep.RCPT, LeavingStep.DATA, LeavingStep.BODY)
    shape = ShapePlan(
        messages=((1, 1.0), (3, 1.0)), leave_share=0.2, drop_share=0.1, reset_between=True,
        departures=tuple(Departure(0.1, step) for step in steps),
    )  # fmt: skip
    with private_sink() as sink, private_postfix(sink.port) as postfix:
        results = send(postfix.port, messages=40, sessions=2, seed=4, body="20000", session={"shape": shape})
        sink.wait_for(40)
        ends = re.findall(r"disconnect from \S+ (.*)", postfix.log)
        lost = set(re.findall(r"lost connection after (\w+(?: \(\d{5} bytes\))?)", postfix.log))
    assert counts(results) == Counts(accepted=40)
    assert sum(int(n) for end in ends for n in re.findall(r"data=(\d+)", end)) == 40
    assert sum("ehlo=1 quit=1 commands=2" in end for end in ends) > 0
    assert {"CONNECT", "EHLO", "MAIL", "RCPT", "DATA"} <= {one.split()[0] for one in lost}
    assert any("bytes" in one for one in lost)
    assert any("rset=2" in end for end in ends)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ShapePlan(messages=((0, 1.0),)), "--messages-per-session"),
        (lambda: ShapePlan(messages=((1, 0.0),)), "--messages-per-session"),
        (lambda: ShapePlan(leave_share=1.0), "--leave-share"),
        (lambda: ShapePlan(leave_share=0.5, drop_share=0.5), "some sessions"),
        (lambda: ShapePlan(think_ns=-1), "--think-time"),
        (lambda: Departure(0.0), "above 0"),
        (
            lambda: SessionPlan(
                shape=ShapePlan(departures=(Departure(0.1, LeavingStep.CONNECT),)), security=Security.TLS
            ),
            "plain sessions",
        ),
        (lambda: Departure(0.1, LeavingStep.DATA, quits=True), "--leave-share"),
        (lambda: Departure(0.1, LeavingStep.MAIL, quits=True, waits=False), "--leave-share"),
        (lambda: ShapePlan(drop_share=0.5, departures=(Departure(0.5, LeavingStep.MAIL),)), "some sessions"),
    ],
)
def test_shapes_that_make_no_sense_are_refused(make: Any, words: str) -> None:
    with pytest.raises(PlanError) as refused:
        make()
    assert words in refused.value.as_typed

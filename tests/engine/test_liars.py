"""Servers that lie, over real connections: every message that a run says was accepted is on the server's own list."""

import os
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

import trafficgen
from tests.engine.owner import Freed
from tests.peers.running import Counts, counts, plan_for, send
from tests.peers.scripted import Script, ScriptedServer, scripted
from tests.smtp.conversation import letter, session_for
from tests.smtp.liar import Lie, LyingServer, Said, Session
from trafficgen import Pipelining, Results
from trafficgen.engine.fairness import Turns
from trafficgen.engine.link import Link
from trafficgen.measure.health import CaveatKind
from trafficgen.proof.sent import read as read_manifest
from trafficgen.protocol.smtp.conversation import UNASKED

MESSAGES = int(os.environ.get("LIARS_MESSAGES", "150"))
SEED = int(os.environ.get("LIARS_SEED", "1"))


def liar(lie: Lie, *, chunking: bool, sessions: list[Session]) -> type[Script]:
    """A script that lies so, and enters every session into `sessions`."""

    class Liar(Script):
        def run(self) -> None:
            random = Random(f"{lie} {chunking} {SEED} {self.session}")
            server = LyingServer(random, lie, random.choice((0.01, 0.05)), chunking=chunking, interrupts=False)
            sessions.append(server.session)
            self.tell(server.greeting())
            while not server.hung_up and (data := self.peer.recv(1 << 16)):
                self.tell(server.feed(data))

        def tell(self, said: list[Said]) -> None:
            """Write it, in one piece what is to go out together."""
            for reply in said:
                reply.crossed = not reply.together  # here nobody knows what is on its way
            octets = b""
            for this, following in pairwise([*said, None]):
                assert this is not None
                octets += this.octets
                if following is None or not following.together:
                    self.peer.sendall(octets)
                    octets = b""

    return Liar


@pytest.mark.parametrize(("chunks", "pipelining"), [(0, "auto"), (0, "off"), (5, "auto")])
@pytest.mark.parametrize("lie", [Lie.EARLY, Lie.EXTRA, Lie.MISSING, Lie.CODE, Lie.SHUTDOWN, Lie.ALL])
def test_a_run_holds_against_the_lists_of_servers_that_lie(
    lie: Lie, chunks: int, pipelining: str, tmp_path: Path
) -> None:
    sessions: list[Session] = []
    with scripted(liar(lie, chunking=chunks > 0, sessions=sessions)) as server:
        plan = plan_for(
            server.port,
            messages=MESSAGES,
            sessions=8,
            session={"chunks": chunks, "pipelining": Pipelining(pipelining), "reply_timeout_ns": 100_000_000},
        )
        results = trafficgen.run(plan, manifest=tmp_path / "manifest")
    sent = read_manifest(tmp_path / "manifest")
    accepted, in_doubt = set(sent.accepted.numbers.tolist()), set(sent.in_doubt.numbers.tolist())
    assert (len(accepted), len(in_doubt)) == (results.messages.accepted, results.messages.in_doubt)
    assert CaveatKind.ACCOUNT_DIFFERS not in {caveat.kind for caveat in results.caveats}
    assert counts(results).not_started == 0
    listed = {number for session in sessions for number in session.listed}
    took = {number for session in sessions for number in session.took}
    unknowable = {number for session in sessions for number in session.unknowable}
    assert accepted
    assert accepted <= listed | unknowable
    assert listed <= accepted | in_doubt
    if chunks and lie is not Lie.ALL:
        assert accepted <= took <= accepted | in_doubt


class TakesItBeforeItIsThere(Script):
    """Answers while most of the message is still on the sender's side."""

    said = "250 2.0.0 taken"

    def read_message(self) -> None:
        self.lines.readline()
        self.say(self.said)
        super().read_message()

    def end_of_data(self) -> None:
        raise AssertionError("the message came to its end")


class RefusesItBeforeItIsThere(TakesItBeforeItIsThere):
    said = "552 5.3.4 too big"


def run_big(server: ScriptedServer) -> Results:
    """Messages larger than what two sockets hold."""
    return send(server.port, messages=2, body="30mb")


def test_an_acceptance_while_octets_wait_here_is_none_and_the_rest_never_goes_out() -> None:
    with scripted(TakesItBeforeItIsThere) as server:
        results = run_big(server)
    assert counts(results) == Counts(failed=2)
    (failure,) = results.failures
    assert (failure.phase, failure.reason, failure.example) == ("end_of_data", UNASKED, "250 2.0.0 taken")


def test_a_refusal_while_octets_wait_here_is_one() -> None:
    with scripted(RefusesItBeforeItIsThere) as server:
        results = run_big(server)
    assert counts(results) == Counts(rejected_permanent=2)
    assert results.failures == ()


class SaysItWithThe354(Script):
    def data(self, line: str) -> None:
        self.say("354 go ahead\r\n250 2.0.0 taken")
        self.lines.read()


def test_an_acceptance_that_comes_with_the_354_is_none() -> None:
    with scripted(SaysItWithThe354) as server:
        results = send(server.port, messages=3)
    assert counts(results) == Counts(failed=3)
    assert [failure.reason for failure in results.failures] == [UNASKED]


# -- goodbyes, and servers of another kind --------------------------------------------------------------


class SaysGoodbyeWhenIdle(Script):
    said = "421 4.4.2 idle for too long"

    def end_of_data(self) -> None:
        super().end_of_data()
        self.say(self.said)
        self.hang_up()


class SaysByeWhenIdle(SaysGoodbyeWhenIdle):
    said = "221 2.0.0 bye"


@pytest.mark.parametrize("script", [SaysGoodbyeWhenIdle, SaysByeWhenIdle])
def test_a_goodbye_on_an_idle_session_costs_no_message(script: type[Script]) -> None:

    with scripted(script) as server:
        results = send(server.port, messages=1)
    assert counts(results) == Counts(accepted=1)
    assert results.failures == ()


def test_who_talks_on_after_a_421_ends_its_session_once() -> None:
    session, _, book = session_for([letter(0)])
    ended = Freed()
    # A slot takes each call for the end of whatever link it has by then.
    link = Link(session, Turns(lambda _: None), ended)
    for said in (b"421 4.3.2 closing\r\n", b"250 2.1.0 ok\r\n", b"221 bye\r\n"):
        link.data_received(said)
    link.connection_lost(None)
    assert ended == [link]
    assert len(book.outcomes) == 1


class SpeaksLmtpOnly(Script):
    def ehlo(self, line: str) -> None:
        self.say("500 5.5.1 this is LMTP, say LHLO")

    helo = ehlo


class RefusesHelo(Script):
    def ehlo(self, line: str) -> None:
        self.say("550 5.7.1 not you")

    helo = ehlo


@pytest.mark.parametrize("script", [SpeaksLmtpOnly, RefusesHelo])
def test_a_server_that_takes_no_hello_fails_every_message_at_helo(script: type[Script]) -> None:
    with scripted(script) as server:
        results = send(server.port, messages=3)
    assert counts(results) == Counts(failed=3)
    assert [(failure.phase, failure.reason) for failure in results.failures] == [("helo", "refused by the server")]
    assert {reply.phase for reply in results.replies} == {"greeting", "ehlo", "helo"}

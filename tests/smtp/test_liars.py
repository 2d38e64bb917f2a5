"""Servers that lie in every way: what is called accepted they took, and nothing that they took is called refused."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

import pytest

from tests.smtp.conversation import Notebook, Queue, letter, written
from tests.smtp.liar import Lie, LyingServer, Said, Session
from trafficgen.outcomes import Outcome, Phase
from trafficgen.protocol.smtp import by_chunks
from trafficgen.protocol.smtp.by_chunks import ByChunks
from trafficgen.protocol.smtp.by_data import ByData
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.conversation import Conversation
from trafficgen.protocol.smtp.handover import Handover
from trafficgen.protocol.smtp.interfaces import Buffer, SessionOptions
from trafficgen.protocol.smtp.replies import Reply
from trafficgen.protocol.smtp.reply_cache import ReplyCache

MESSAGES = int(os.environ.get("LIARS_MESSAGES", "400"))
SEED = int(os.environ.get("LIARS_SEED", "1"))
"""A longer run: LIARS_MESSAGES=50000 LIARS_SEED=2 pytest tests/smtp/test_liars.py"""
BODIES = (b"", b"hello\r\n", b".\r\n..\r\n" * 20)


@dataclass
class Wire:
    """What is between the two: octets that wait in the sender's machine, and replies on their way.

    `whole`: how often all that was said comes in one piece.
    """

    random: Random
    waiting: bytes = b""
    said: list[Said] = field(default_factory=list)
    rest: bytes = b""
    whole: float = 0.0
    now_ns: int = 0

    def run(self, session: ClientSession, server: LyingServer) -> None:
        """Until the session is over or idle, or would wait for ever."""
        self.said = server.greeting()
        while not session.closed:
            if self.waiting and (self.random.random() < 0.7 or not (self.said or self.rest)):
                self.hand_over(server)
            elif self.said or self.rest:
                self.waiting += written(self.hear(session, server))
            elif server.hung_up:
                session.lost("closed by the server", "", 0, unsent=len(self.waiting))
            elif session.busy:
                session.lost("timed out", "", 0, unsent=len(self.waiting), missing=True)
            else:
                return

    def hand_over(self, server: LyingServer) -> None:
        """All of it, or now and then a part."""
        size = len(self.waiting) if self.random.random() < 0.8 else self.random.randrange(len(self.waiting)) + 1
        self.said += server.feed(self.waiting[:size])
        self.waiting = b"" if server.hung_up else self.waiting[size:]

    def hear(self, session: ClientSession, server: LyingServer) -> tuple[bytes | memoryview, ...]:
        """Replies in any pieces, but none is cut off that went out together with the one before."""
        whole = self.whole > 0 and self.random.random() < self.whole
        count = 0 if not self.said else len(self.said) if whole else self.random.randrange(len(self.said)) + 1
        while count < len(self.said) and self.said[count].together:
            count += 1
        octets = self.rest + b"".join(reply.octets for reply in self.said[:count])
        last = self.said[count - 1] if count else None
        cut = (
            0
            if last is None or last.together or whole or self.random.random() < 0.7
            else self.random.randrange(len(last.octets))
        )
        for reply in self.said[:count]:
            gone = not self.waiting or len(server.session.commands) > reply.commands
            reply.crossed = gone and not reply.together
        del self.said[:count]
        octets, self.rest = octets[: len(octets) - cut], octets[len(octets) - cut :]
        if self.waiting:
            return tuple(session.feed_unsent(octets, self.now_ns, len(self.waiting)))
        return tuple(session.feed(octets, self.now_ns))


@dataclass
class Account:
    """What both sides say, added up over all sessions."""

    outcomes: dict[int, Outcome]
    sessions: list[Session]

    def check(self, *, by_intent: bool, batches: bool) -> None:
        """Nothing is accepted that no server took, and nothing denied that one took.

        By the order of the protocol, in which the first reply to come is the first command's; `by_intent`: also by what
        the server meant, wherever its reply came to stand. Of `batches`, one that ends in QUIT looks right when a reply
        too many and a forged goodbye make up for each other: nobody can tell.
        """
        accepted = {number for number, outcome in self.outcomes.items() if outcome is Outcome.ACCEPTED}
        told = (Outcome.ACCEPTED, Outcome.IN_DOUBT)
        denied = {number for number, outcome in self.outcomes.items() if outcome not in told}
        listed = _all(session.listed for session in self.sessions)
        took = _all(session.took for session in self.sessions)
        if batches:
            forged = _all(set(one.ends) for one in self.sessions if one.forged_goodbye and "QUIT" in one.commands)
            accepted, denied = accepted - forged, denied - forged
        assert accepted <= listed | _all(session.unknowable for session in self.sessions)
        assert not denied & listed
        assert not by_intent or (accepted <= took and not denied & took)


def _all(sets: Iterable[set[int]]) -> set[int]:
    return set().union(*sets)


def converse(lie: Lie, chunks: int, *, pipelining: bool, messages: int, seed: int) -> Account:
    """Send so many messages to a server that lies so, and add up what both sides say."""
    random = Random(f"{lie} {chunks} {pipelining} {seed}")
    letters = [
        letter(number, recipients=random.choice((1, 1, 1, 3)), body=random.choice(BODIES)) for number in range(messages)
    ]
    queue, book, cache, sessions = Queue(letters, chunks * pipelining), Notebook(), ReplyCache(), []
    while (work := queue.take(0)) is not None:
        options = SessionOptions(b"client.test", random.choice((0, 0, 1, 3)), pipelining, chunks)
        session = ClientSession(queue, book, options, cache)
        session.greet(work, 0)
        session.connected(0)
        server = LyingServer(random, lie, random.choice((0.01, 0.05, 0.2)), chunking=bool(chunks))
        Wire(random).run(session, server)
        session.lost("closed by the server", "", 0)
        sessions.append(server.session)
    outcomes = dict(book.outcomes)
    assert len(outcomes) == len(book.outcomes) == messages
    return Account(outcomes, sessions)


@pytest.mark.parametrize(("chunks", "pipelining"), [(0, True), (0, False), (1, True), (5, True)])
@pytest.mark.parametrize("lie", Lie)
def test_the_account_holds_against_the_list_of_a_server_that_lies(lie: Lie, chunks: int, pipelining: bool) -> None:
    account = converse(lie, chunks, pipelining=pipelining, messages=MESSAGES, seed=SEED)
    # With chunks, only lies that make up for each other can deceive: one too many, and one too few or a forged goodbye.
    account.check(by_intent=chunks > 0 and lie is not Lie.ALL, batches=chunks > 0)
    assert Outcome.ACCEPTED in account.outcomes.values()


def _believes_any_2xx(patch: pytest.MonkeyPatch) -> None:
    careful = Handover._on_end_of_data

    def believe(handover: Handover, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        careful(handover, reply._replace(code=250) if reply.code < 300 else reply, now_ns, out)

    for way in (ByData, ByChunks):
        patch.setitem(way.answers, Phase.END_OF_DATA, believe)


def _believes_what_nothing_asked_for(patch: pytest.MonkeyPatch) -> None:
    def ignore(conversation: Conversation, replies: list[Reply], due: int) -> None:
        del replies[due:]

    patch.setattr(Conversation, "_find_unasked", ignore)


def _believes_what_came_too_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Conversation, "_due_while", lambda conversation, unsent, hearer: len(conversation.pending))


def _believes_what_it_held(patch: pytest.MonkeyPatch) -> None:
    let_go = Conversation.let_go
    patch.setattr(Conversation, "let_go", lambda conversation, *, doubtful: let_go(conversation, doubtful=False))


def _believes_any_answer_to_ehlo(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(by_chunks, "_same_extensions", lambda reply: reply.code == 250)


@pytest.mark.parametrize(
    ("fault", "lie", "chunks"),
    [
        (_believes_any_2xx, Lie.CODE, 0),
        (_believes_any_2xx, Lie.CODE, 5),
        (_believes_what_nothing_asked_for, Lie.EARLY, 0),
        (_believes_what_nothing_asked_for, Lie.EXTRA, 0),
        (_believes_what_came_too_early, Lie.EARLY, 0),
        (_believes_what_it_held, Lie.EXTRA, 5),
        (_believes_what_it_held, Lie.MISSING, 5),
        (_believes_any_answer_to_ehlo, Lie.EXTRA, 1),
        (_believes_any_answer_to_ehlo, Lie.EXTRA, 5),
    ],
)
def test_a_client_that_believes_too_much_is_found_out(
    fault: Callable[[pytest.MonkeyPatch], None], lie: Lie, chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    account = converse(lie, chunks, pipelining=True, messages=2_000, seed=1)
    with pytest.raises(AssertionError):
        account.check(by_intent=chunks > 0, batches=chunks > 0)

"""Servers that lie in every way: what the client calls accepted the server took, and nothing it took is called refused."""

import os
from dataclasses import dataclass, field
from random import Random

import pytest

from tests.smtp.conversation import Letter, Notebook, Queue, letter, written
from tests.smtp.liar import Lie, LyingServer, Reply, Session
from trafficgen.outcomes import Outcome
from trafficgen.smtp.chunking import ChunkingSession
from trafficgen.smtp.client import ClientSession
from trafficgen.smtp.seams import Manners
from trafficgen.smtp.steady import Steady

MESSAGES = int(os.environ.get("LIARS_MESSAGES", "600"))
BODIES = (b"", b"hello\r\n", b".\r\n..\r\n" * 20)


@dataclass
class Wire:
    """What is between the two: octets that wait in the sender's machine, and replies on their way."""

    random: Random
    waiting: bytes = b""
    said: list[Reply] = field(default_factory=list)
    rest: bytes = b""

    def run(self, session: ClientSession, server: LyingServer) -> None:
        """Until the session is over or idle, or would wait for ever."""
        self.said = server.greeting()
        while not session.closed:
            if self.waiting and (self.random.random() < 0.7 or not (self.said or self.rest)):
                self._hand_over(server)
            elif self.said or self.rest:
                self.waiting += written(self._hear(session))
            elif server.hung_up:
                session.lost("closed by the server", "", 0, unsent=len(self.waiting))
            elif session.busy:
                session.lost("timed out", "", 0, unsent=len(self.waiting), missing=True)
            else:
                return

    def _hand_over(self, server: LyingServer) -> None:
        """All of it, or now and then a part."""
        size = len(self.waiting) if self.random.random() < 0.8 else self.random.randrange(len(self.waiting)) + 1
        self.said += server.feed(self.waiting[:size])
        self.waiting = b"" if server.hung_up else self.waiting[size:]

    def _hear(self, session: ClientSession) -> tuple[bytes | memoryview, ...]:
        """Replies in any pieces, but none is cut off that went out together with the one before."""
        count = self.random.randrange(len(self.said)) + 1 if self.said else 0
        while count < len(self.said) and self.said[count].together:
            count += 1
        octets = self.rest + b"".join(reply.octets for reply in self.said[:count])
        last = self.said[count - 1] if count else None
        cut = (
            0
            if last is None or last.together or self.random.random() < 0.7
            else self.random.randrange(len(last.octets))
        )
        del self.said[:count]
        octets, self.rest = octets[: len(octets) - cut], octets[len(octets) - cut :]
        if self.waiting:
            return tuple(session.feed_unsent(octets, 0, len(self.waiting)))
        return tuple(session.feed(octets, 0))


@dataclass
class Account:
    """What both sides say, added up over all sessions."""

    outcomes: dict[int, Outcome]
    sessions: list[Session]

    @property
    def listed(self) -> set[int]:
        return {number for session in self.sessions for number in session.listed}

    @property
    def took(self) -> set[int]:
        return {number for session in self.sessions for number in session.took}

    def of(self, *outcomes: Outcome) -> set[int]:
        return {number for number, outcome in self.outcomes.items() if outcome in outcomes}


def converse(lie: Lie, chunks: int, *, pipelining: bool, messages: int, seed: int) -> Account:
    """Send so many messages to a server that lies so, and add up what both sides say."""
    random = Random(f"{lie} {chunks} {pipelining} {seed}")
    letters = [
        letter(number, recipients=random.choice((1, 1, 1, 3)), body=random.choice(BODIES)) for number in range(messages)
    ]
    queue, book, steady, sessions = Queue(letters), Notebook(), Steady(), []
    while (work := queue.take(0)) is not None:
        manners = Manners(b"client.test", random.choice((0, 0, 1, 3)), pipelining, chunks)
        session = (ChunkingSession if chunks else ClientSession)(queue, book, manners, steady)
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
    account = converse(lie, chunks, pipelining=pipelining, messages=MESSAGES, seed=1)
    accepted, denied = (
        account.of(Outcome.ACCEPTED),
        account.of(Outcome.REJECTED_TEMPORARY, Outcome.REJECTED_PERMANENT, Outcome.FAILED),
    )
    print(
        lie,
        chunks,
        pipelining,
        len(account.sessions),
        {o.name: len(account.of(o)) for o in Outcome},
        "unlisted",
        len(accepted - account.listed),
        "untaken",
        len(accepted - account.took),
        "denied listed",
        len(denied & account.listed),
        "denied took",
        len(denied & account.took),
    )

"""Sessions that share messages and a reply cache, driven at random: whatever comes when, no message is lost or doubled.

    python -m tests.smtp.test_session_walks 0 100000      # as many walks as you like; a walk that fails says its number

Messages come and go at any time, servers lie or do not, octets wait here, connections end, the run is over. After every
step the messages that are out are counted apart from the sessions, and what was written is held against the protocol.
"""

import re
import sys
from array import array
from collections.abc import Collection
from dataclasses import dataclass, field
from random import Random
from typing import Final

import pytest

from tests.smtp.conversation import Letter, Notebook, in_chunks, letter
from tests.smtp.liar import Lie, LyingServer
from tests.smtp.test_liars import Account, Wire
from trafficgen.engine.dispatch import OneAtATime
from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp.by_data import ByData
from trafficgen.protocol.smtp.by_steps import BySteps
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.holding import HoldingSession
from trafficgen.protocol.smtp.interfaces import (
    Buffer,
    Extensions,
    Leaving,
    SessionOptions,
    Source,
    Stranger,
    Work,
)
from trafficgen.protocol.smtp.leaving import LeavingSession
from trafficgen.protocol.smtp.reply_cache import ReplyCache

_CONTENT: Final = re.compile(rb"X-Traffic-Gen: ")
_STRANGER: Final = Stranger("192.0.2.1", "a.test", 25)
_AT: Final = (Phase.GREETING, Phase.EHLO, Phase.MAIL, Phase.RCPT)
_LEAVING: Final = (
    *(Leaving(step, quits) for step in _AT for quits in (False, True)),
    *(Leaving(step, waits=waits) for step in (*_AT, Phase.DATA) for waits in (False, True)),
    Leaving(Phase.END_OF_DATA),
)
"""What a plan may ask for."""
_USUAL: Final = ("PIPELINING", "CHUNKING", "8BITMIME", "SIZE")
_OFFERED: Final = ("XCLIENT NAME ADDR PORT", "XFORWARD NAME ADDR PORT PROTO HELO SOURCE")
_LIES: Final = (None, None, *Lie)
_STEPS: Final = 200


class Store:
    """Messages that come and go. Implements `interfaces.Source`; `out`: taken, not given back and without a row."""

    def __init__(self, random: Random, letters: list[Letter], *, late: float) -> None:
        self.letters = {each.number: each for each in letters}
        self.out: set[int] = set()
        self.done: set[int] = set()
        self.waiting: list[Work] = [(each, -1 if random.random() < 0.5 else 0) for each in reversed(letters)]
        self.hidden: list[Work] = []
        self.stopped = False
        self._random = random
        self._late = late

    def take(self, _now_ns: int) -> Work | None:
        if self.stopped or not self.waiting or self._random.random() < self._late:
            return None
        work = self.waiting.pop()
        assert work[0].number not in self.out | self.done
        self.out.add(work[0].number)
        return work

    def give_back(self, work: Work) -> None:
        message, due_ns = work
        assert message is self.letters[message.number], "not as it was taken"
        assert due_ns in (-1, 0)
        self.out.remove(message.number)
        self.waiting.append(work)

    def shuffle(self) -> None:
        """Some messages are withdrawn, or come again."""
        if self._random.random() < 0.5:
            self.waiting, self.hidden = [], self.hidden + self.waiting
        else:
            self.waiting, self.hidden = self.waiting + self.hidden, []


class _Rows(array):  # type: ignore[type-arg]  # no subscript in Python 3.11
    store: Store

    def frombytes(self, row: bytes, /) -> None:  # type: ignore[override]
        number = int.from_bytes(row[:8], sys.byteorder)
        self.store.out.remove(number)
        self.store.done.add(number)
        super().frombytes(row)


def book_of(store: Store) -> Notebook:
    """An account whose rows take their messages out of those that are out."""
    book = Notebook()
    rows = _Rows("q")
    rows.store = store
    book.rows = rows
    return book


class Server(LyingServer):
    """One that may put a queue id into its replies, or codes, or more lines."""

    style = "plain"

    def _say(self, code: int, text: str, *, together: bool = False) -> None:
        if code in (250, 251) and "\n" not in text:
            if self.style == "queue" and text == "taken":
                text = f"2.0.0 {text} as {self._random.randrange(1 << 20):X}"
            elif self.style == "mixed":
                text = self._random.choice((text, f"2.1.0 {text}", f"first\n{text}", "2.0.0", ""))
        super()._say(code, text, together=together)


@dataclass
class Line:
    """One session, its server and what is between them."""

    session: ClientSession
    server: Server
    wire: Wire
    offers: tuple[str, ...]
    heard: bytes = b""
    over: bool = False
    """The session was seen closed, and its waiting octets thrown away."""

    @property
    def way(self) -> type[object]:
        return type(self.session.answering) if not self.session.closed else object

    def write(self, buffers: Collection[Buffer]) -> None:
        """What the session wrote, held against the protocol."""
        octets = b"".join(bytes(one) for one in buffers)
        if not octets:
            return
        contents = len(_CONTENT.findall(octets))
        chunks = octets.count(b"\r\nBDAT ") + octets.startswith(b"BDAT ")
        assert "CHUNKING" in self.offers or not chunks
        assert contents <= (chunks or self.heard.count(b"354 ")), "content that nobody asked for"
        assert "SIZE" in self.offers or b" SIZE=" not in octets
        assert "8BITMIME" in self.offers or b"BODY=8BITMIME" not in octets
        if self.way is BySteps:
            assert contents or octets.count(b"\r\n") == 1, "two commands at once"
            assert not self.wire.waiting, "a command before the one before has gone"
        self.wire.waiting += octets

    def check(self) -> None:
        """What holds of a session after every step."""
        session = self.session
        if session.closed:
            assert not session.busy
            assert session.held == session.in_flight == 0
            assert not session.feed(b"250 ok\r\n", 0)
            return
        pending = session.conversation.pending
        if not session.busy:
            assert session.held == 0
            assert pending == []
        else:
            assert pending
        if self.way is BySteps:
            ends = pending.count(Phase.END_OF_DATA)
            assert len(pending) - ends <= 1 or Phase.QUIT in pending
            assert not ends or len(pending) == ends or Phase.QUIT in pending


@dataclass
class Walk:
    """One walk, drawn from a number."""

    seed: int
    lines: list[Line] = field(default_factory=list)
    all_lines: list[Line] = field(default_factory=list)
    now_ns: int = 0

    def __post_init__(self) -> None:
        self.random = random = Random(self.seed)
        choice = random.choice
        self.lmtp = random.random() < 0.3
        self.chunks = choice((0, 0, 1, 2, 5))
        self.pipelining = random.random() < 0.6
        self.lie: Lie | None = choice(_LIES)
        self.share = choice((0.02, 0.1, 0.3)) if self.lie else 0.0
        sized, wide = random.random() < 0.3, random.random() < 0.3
        self.options = SessionOptions(
            b"client.test",
            choice((0, 0, 1, 2, 3)),
            self.pipelining,
            self.chunks,
            Phase.LHLO if self.lmtp else Phase.EHLO,
            reset_between=random.random() < 0.3,
            declares_size=sized,
        )
        self.steady = random.random() < 0.5  # every server offers the same
        self.offers = (*_USUAL, *_OFFERED) if random.random() < 0.3 else self._offers()
        self.sorts = choice((("plain",), ("plain",), ("own", "leaving"), ("own", "holding", "plain")))
        self.style = choice(("plain", "plain", "queue", "mixed"))
        self.gentle = random.random() < 0.5  # nobody gives a session up before the end
        self.grants, self.takes = choice((1.0, 1.0, 0.95, 0.6)), choice((1.0, 1.0, 0.8))
        self.lets_data_through = random.random() < 0.3
        self.whole = choice((0.0, 0.5, 0.95))
        letters = [self._letter(number, sized=sized, wide=wide) for number in range(choice((1, 5, 60, 60)))]
        self.store = Store(random, letters, late=choice((0.0, 0.0, 0.2, 0.7)))
        self.source: Source = OneAtATime(self.store) if self.options.reset_between else self.store
        self.book = book_of(self.store)
        self.cache = ReplyCache()
        self.most = choice((1, 2, 4))

    def _offers(self) -> tuple[str, ...]:
        random = self.random
        if random.random() < 0.1:
            return ()  # knows no EHLO
        return (*(word for word in _USUAL if random.random() < 0.8), *_OFFERED)

    def _letter(self, number: int, *, sized: bool, wide: bool) -> Letter:
        random = self.random
        body = random.choice((b"", b"hello\r\n", b".\r\n..\r\n" * 20))
        eight_bit = wide and random.random() < 0.5
        sent = letter(number, recipients=random.choice((1, 1, 1, 2, 3)), body=body, eight_bit=eight_bit)
        if sized:
            sent = sent._replace(envelope=sent.envelope.replace(b"\r\n", b" SIZE=%d\r\n" % sent.octets, 1))
        return in_chunks(sent) if self.chunks and self.pipelining else sent

    # -- steps ------------------------------------------------------------------------------------------

    def open(self) -> None:
        """One more session."""
        random = self.random
        if len(self.lines) >= self.most:
            return
        sort = random.choice(self.sorts)
        work = self.store.take(self.now_ns) if sort != "holding" else (letter(-1), -1)
        if work is None:
            return
        options = self.options
        if sort == "own":
            options = options._replace(
                xclient=_STRANGER if random.random() < 0.3 else None,
                xforward=_STRANGER if random.random() < 0.3 and options.max_messages == 1 else None,
                proxied=random.random() < 0.3,
                needed=("8BITMIME",) if random.random() < 0.2 else (),
            )
        if sort == "leaving":
            options = options._replace(leaving=random.choice(_LEAVING))
        kind = {"leaving": LeavingSession, "holding": HoldingSession}.get(sort, ClientSession)
        offers = self.offers if self.steady else self._offers()
        session = kind(self.source, self.book, options, self.cache)
        server = Server(
            random, self.lie or Lie.CODE, self.share, chunking=True, offers=offers, lmtp=self.lmtp,
            interrupts=random.random() < 0.5,
        )  # fmt: skip
        server.style = self.style
        server.grants, server.takes, server.lets_data_through = self.grants, self.takes, self.lets_data_through
        line = Line(session, server, Wire(random, whole=self.whole), offers)
        self.lines.append(line)
        self.all_lines.append(line)
        session.greet(work, self.now_ns)
        early = options.leaving is not None and (
            options.leaving.step is Phase.GREETING or (options.leaving.step is Phase.EHLO and not options.leaving.waits)
        )
        if random.random() < 0.1 and not early:
            self.adopt(line)
            self.sweep(line)
            return
        line.write(session.connected(self.now_ns))
        if isinstance(session, LeavingSession) and random.random() < 0.5:
            line.write(session.opened(self.now_ns))
        line.wire.said = server.greeting()
        self.sweep(line)

    def adopt(self, line: Line) -> None:
        """Somebody else has greeted the server."""
        server = line.server
        share, server._share = server._share, 0.0
        server.greeting()
        server.feed(b"LHLO x\r\n" if self.lmtp else b"EHLO x\r\n" if line.offers else b"HELO x\r\n")
        server._share = share
        line.write(
            line.session.adopt(Extensions.of(dict.fromkeys((one.split()[0] for one in line.offers), "")), self.now_ns)
        )

    def step(self, line: Line) -> None:
        """Something happens to this one."""
        random, session, wire, server = self.random, line.session, line.wire, line.server
        rare = random.random()
        self.now_ns += 1
        wire.now_ns = self.now_ns
        if rare < 0.01 and not self.gentle:
            self.end(line)
        elif wire.waiting and (random.random() < 0.7 or not (wire.said or wire.rest)):
            wire.hand_over(server)
        elif wire.said or wire.rest:
            self.hear(line)
        elif server.hung_up:
            session.lost("closed by the server", "", self.now_ns, unsent=len(wire.waiting))
        elif session.busy:
            assert self.lie, "an honest server, and nothing goes on"
            session.lost("timed out", "", self.now_ns, unsent=len(wire.waiting), missing=True)
        elif random.random() < 0.1:
            line.write(session.quit(self.now_ns))
        elif isinstance(session, HoldingSession):
            line.write(session.start((letter(-1), -1), self.now_ns))
        elif (work := self.store.take(self.now_ns)) is not None:
            line.write(session.start(work, self.now_ns))

    def hear(self, line: Line) -> None:
        before = line.wire.rest + b"".join(reply.octets for reply in line.wire.said)
        buffers = line.wire.hear(line.session, line.server)
        after = line.wire.rest + b"".join(reply.octets for reply in line.wire.said)
        line.heard += before[: len(before) - len(after)]
        line.write(buffers)
        line.heard = b"" if buffers else line.heard

    def end(self, line: Line) -> None:
        """From our side: the run is over, or it takes too long, or the connection is gone."""
        session, unsent = line.session, len(line.wire.waiting)
        if self.random.random() < 0.5 and session.withdraw():
            assert session.closed
        else:
            session.lost("given up", "", self.now_ns, unsent=unsent, missing=self.random.random() < 0.7)

    def sweep(self, line: Line) -> None:
        """A session that is over is heard no more; what waited here goes nowhere, or goes before the end."""
        if not line.session.closed:
            return
        if line.session.parted or isinstance(line.session, LeavingSession):
            line.server.feed(line.wire.waiting)
        line.wire.waiting = b""
        self.lines.remove(line)

    def check(self) -> None:
        """What holds after every step."""
        for line in self.lines:
            line.check()
        assert sum(line.session.held for line in self.lines) == len(self.store.out)

    def run(self) -> None:
        """To the end of all sessions."""
        random = self.random
        for _ in range(_STEPS):
            if not self.lines or random.random() < 0.1:
                self.open()
            if random.random() < 0.03:
                self.store.shuffle()
            if self.lines:
                line = random.choice(self.lines)
                self.step(line)
                self.check()
                self.sweep(line)
        self.store.stopped = True
        for line in list(self.lines):
            for _ in range(random.choice((0, 3, 1000))):
                if line.session.closed or not line.session.busy:
                    break
                self.step(line)
                self.check()
            if not line.session.closed:
                self.end(line)
                self.check()
            self.sweep(line)
        assert not self.store.out
        self.check_account()

    def check_account(self) -> None:
        """The account against the lists of the servers."""
        self.cache.tally_all(self.book)
        outcomes = dict(self.book.outcomes)
        for row in self.book.messages:
            times = [row[one] for one in ("start", "ready", "sent", "end") if row[one] != -1]
            assert times == sorted(times)
            assert row["sent"] != -1 or row["outcome"], "accepted and never sent"
        assert len(outcomes) == len(self.book.outcomes)
        sessions = [line.server.session for line in self.all_lines]
        came = [number for one in sessions for number in one.ends]
        assert len(came) == len(set(came)), "a message that may have arrived was sent again"
        if self.lmtp and self.lie not in (None, Lie.CLOSE):
            return  # replies counted by who was accepted: where those are lies, the two sides count differently
        batches = self.chunks > 0 and self.pipelining
        honest = self.lie is None
        Account(outcomes, sessions).check(by_intent=honest, batches=batches and not honest)
        if honest and self.gentle:
            wrong = {one for one in self.book.failures if one[0] in ByData.answers and one[1] != "given up"}
            assert not wrong, "an honest server, and it is not believed"


@pytest.mark.parametrize("part", range(4))
def test_no_message_is_lost_or_doubled_whatever_happens_when(part: int) -> None:
    for seed in range(part, 240, 4):
        Walk(seed).run()


if __name__ == "__main__":
    for number in range(int(sys.argv[1]), int(sys.argv[2])):
        try:
            Walk(number).run()
        except BaseException:
            print("walk", number, flush=True)  # noqa: T201
            raise

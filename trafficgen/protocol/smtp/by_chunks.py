"""Hand over by BDAT (RFC 3030): a message is one chunk, and several are on their way at once.

    > MAIL RCPT… BDAT n LAST, n octets   > RSET MAIL RCPT… BDAT n LAST, n octets   > …   > EHLO (or QUIT)
    < < <                                < < < <                                   < …   <

Takes     what `handover` takes, messages laid out for it (layout); a server that offers CHUNKING and PIPELINING
Gives     up to `SessionOptions.chunks` messages a session between their first octet and their last reply
Fails     never because of a peer

BDAT needs no 354 first, so the next message can be written before the last one is answered: one write and one read for
several messages. RSET before each keeps them apart, whatever became of the one before (RFC 3030 section 2 wants it
after a chunk that was refused). A message starts when it is written: its service time holds its wait behind the others
of its session.

Without a 354 every good reply is a 250, and one too many or too few would make each message's answer that of another.
So a batch ends in EHLO, which resets as RSET does (RFC 5321 section 4.1.4), has to be the last command of a group (RFC
2920 section 3.1), and is answered as nothing else is. When that answer comes in its place, all before it came in
theirs; until then all of the batch is held, and without it all of the batch is in doubt.
"""

from collections import deque
from collections.abc import Collection
from typing import Final

from mboxgen.enums import table_of
from trafficgen.outcomes import Outcome, Phase
from trafficgen.protocol.smtp.handover import COMMON, QUIT, RSET, UNEXPECTED, Handover, SessionLife
from trafficgen.protocol.smtp.interfaces import ROW, Buffer, Extensions, WireMessage, Work
from trafficgen.protocol.smtp.opening import hello_line
from trafficgen.protocol.smtp.replies import Reply
from trafficgen.protocol.smtp.reply_cache import ReplyCache
from trafficgen.protocol.smtp.steps import RECIPIENT_OK

# By its name in the enum a member costs 0.1 µs each time (Python 3.11), as much as comparing a reply.
_EHLO: Final = Phase.EHLO
_END_OF_DATA: Final = Phase.END_OF_DATA
_LHLO: Final = Phase.LHLO
_MAIL: Final = Phase.MAIL
_QUIT: Final = Phase.QUIT
_RCPT: Final = Phase.RCPT
_RSET: Final = Phase.RSET

GROUP: Final = (_MAIL, _RCPT, _END_OF_DATA, _RSET)
"""The replies due to a message of one recipient before another."""


class ByChunks(Handover):
    """The message at work is the one whose replies are due first; `_behind` are written, in this order."""

    __slots__ = ("_behind", "_between", "_last", "_single")

    several = True

    def __init__(self, session: SessionLife, cache: ReplyCache) -> None:
        super().__init__(session, cache)
        self._behind: deque[tuple[Work, int]] = deque()  # and when they were written
        self._single = False  # every message of the batch has one recipient, and the next reply is one to EHLO at last
        # No message has so many recipients: what is learnt here is never taken for replies to DATA.
        self._between, self._last = cache.of(0), cache.of(-1)

    @property
    def behind(self) -> int:
        return len(self._behind)

    # -- octets out -------------------------------------------------------------------------------------

    def open(self, now_ns: int, out: list[Buffer], *, reset: bool = False) -> None:
        """Write a batch, of which the message at work is the first. A batch before it has ended in EHLO."""
        at, session, conversation = self._transaction, self._session, self._conversation
        assert at.message is not None
        behind, most, take = self._behind, session.options.chunks - 1, session.source.take
        at.start_ns = at.sent_ns = conversation.waiting_since_ns = now_ns
        session.busy = session.served = True
        self._write_chunk(at.message, out)
        self._single = at.message.recipients == 1
        while len(behind) < most and (session.left < 0 or session.left > len(behind)):
            if (work := take(now_ns)) is None:
                break
            conversation.pending.append(_RSET)
            self._write_chunk(work[0], out, RSET)
            self._single = self._single and work[0].recipients == 1
            behind.append((work, now_ns))
        if session.left == len(behind):
            self._single = False
            conversation.write(_QUIT, QUIT, now_ns, out)
        else:
            hello = session.options.hello
            conversation.write(hello, hello_line(hello, session.options), now_ns, out)
        self.group = self._single and conversation.reader.empty

    def _write_chunk(self, message: WireMessage, out: list[Buffer], before: bytes = b"") -> None:
        out += (before + message.envelope + message.head, message.body, message.tail)
        ends = message.recipients if self._each else 1
        self._conversation.pending.extend((_MAIL, *[_RCPT] * message.recipients, *[_END_OF_DATA] * ends))

    def octets_due(self) -> list[int]:
        at_work = self._transaction.message
        messages = [work[0] for work, _ in self._behind]
        octets: list[int] = []
        for message in messages if at_work is None else [at_work, *messages]:
            if message is not at_work:
                octets.append(len(RSET))
            octets += map(len, message.envelope.splitlines(keepends=True))
            octets[-1] += message.octets
        options = self._session.options
        last = QUIT if _QUIT in self._conversation.pending else hello_line(options.hello, options)
        return [*octets, len(last)]

    # -- octets in --------------------------------------------------------------------------------------

    def feed(self, data: bytes, now_ns: int) -> Collection[Buffer]:
        if self.group and (times := self._count_accepted(data)):
            return self._accept(times, now_ns)
        conversation = self._conversation
        learn = self._learn if self.group else None
        self.group = False
        out = conversation.read(self._session, data, now_ns, learn)
        # Whole messages again, after a read that ended within one?
        messages = len(self._behind) + (self._transaction.message is not None)
        self.group = (
            self._single and conversation.reader.empty and len(conversation.pending) == len(GROUP) * messages > 0
        )
        return out

    def _count_accepted(self, data: bytes) -> int:
        """How many messages `data` says are accepted, in octets that the careful parser has read as that; or 0."""
        between, last, due = self._between.octets, self._last.octets, len(self._behind) + 1
        if last and data.endswith(last):
            return due if (due == 1 or between) and data == between * (due - 1) + last else 0
        times = len(data) // len(between) if between else 0
        return times if times < due and data == between * times else 0

    def _accept(self, times: int, now_ns: int) -> list[Buffer]:
        """The hot path: as many messages as this are accepted, all replies as hoped (benchmarks/peers.py)."""
        at, session, conversation = self._transaction, self._session, self._conversation
        behind, pending = self._behind, conversation.pending
        out: list[Buffer] = []
        conversation.waiting_since_ns = now_ns
        at.recipients = 1
        if times > len(behind):  # the batch is complete, and nothing that it says can be doubted any more
            pending.clear()
            conversation.let_go(doubtful=False)
            self._between.hits += times - 1
            self._last.hits += 1
            assert at.message is not None
            enter = session.account.rows.frombytes
            for (message, due_ns), sent_ns in (((at.message, at.due_ns), at.start_ns), *behind):
                enter(ROW(message.number, 0, message.domain, due_ns, sent_ns, -1, sent_ns, now_ns, message.octets))
            session.left -= len(behind) if session.left > 0 else 0
            behind.clear()
            at.message = at.entry = None
            session.go_on(now_ns, out, reset=False)
            return out
        self._between.hits += times
        for _ in range(len(GROUP) * times):
            pending.pop(0)
        for _ in range(times):
            self.finish(Outcome.ACCEPTED, now_ns)
            self._turn_to(*behind.popleft())
            at.recipients = 1
        at.recipients = 0
        return out

    def _learn(self, data: bytes, replies: list[Reply]) -> None:
        due, size = len(self._behind) + 1, len(GROUP)
        if len(replies) != size * due or not _same_extensions(replies[-1]):
            return
        first, last = replies[:size], replies[-size:]
        lines = data.splitlines(keepends=True)
        between = b"".join(lines[: sum(len(reply.lines) for reply in first)]) if due > 1 else b""
        tail = b"".join(lines[-sum(len(reply.lines) for reply in last) :])
        if data == between * (due - 1) + tail and _accepted(first) and _accepted(last):
            account = self._session.account
            if due > 1:
                self._between.learn(between, first, account, GROUP)
            self._last.learn(tail, last, account, (*GROUP[:-1], self._session.options.hello))

    def _on_rcpt(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        """LMTP: a recipient that is refused has no answer to the end of data; if all are, one says so."""
        before = self._transaction.recipients
        super()._on_rcpt(reply, now_ns, out)
        pending = self._conversation.pending
        if self._each and self._transaction.recipients == before and not self._session.closed:
            first = pending.index(_END_OF_DATA)
            if len(pending) > first + 1 and pending[first + 1] is _END_OF_DATA:
                del pending[first]

    def _on_greeted_again(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if _same_extensions(reply):
            self._session.go_on(now_ns, out, reset=False)
        else:
            self._session.lose(self._session.options.hello, UNEXPECTED, reply, now_ns)

    # -- the next message -------------------------------------------------------------------------------

    def turn(self, now_ns: int) -> bool:
        if self._behind:
            self._turn_to(*self._behind.popleft())
            return True
        return bool(self._conversation.pending)

    def _turn_to(self, work: Work, written_ns: int) -> None:
        self._session.assign(work, written_ns)
        self._transaction.sent_ns = written_ns

    def end_behind(self, sent: int, now_ns: int) -> None:
        while self._behind:
            self._turn_to(*self._behind.popleft())
            self.finish(Outcome.IN_DOUBT if sent > 0 else Outcome.FAILED, now_ns, hold=False)
            sent -= 1

    answers = table_of(
        [*COMMON, _EHLO, _LHLO],
        {**COMMON, _RCPT: _on_rcpt, _EHLO: _on_greeted_again, _LHLO: _on_greeted_again},
    )


def _accepted(replies: list[Reply]) -> bool:
    """Whether the replies to MAIL, RCPT, BDAT and what follows say that the message is accepted."""
    mail, rcpt, end_of_data, behind = (reply.code for reply in replies)
    return mail == end_of_data == behind == 250 and rcpt in RECIPIENT_OK


def _same_extensions(reply: Reply) -> bool:
    """Whether it is a reply to EHLO, and to no other command, and batches may go on."""
    offered = Extensions.offered(reply.lines)
    return reply.code == 250 and offered.chunking and offered.pipelining

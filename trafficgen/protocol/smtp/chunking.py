"""The client's side with CHUNKING (RFC 3030): a message is one BDAT, and several are on their way at once.

    > MAIL RCPT… BDAT n LAST, n octets   > RSET MAIL RCPT… BDAT n LAST, n octets   > …   > EHLO (or QUIT)
    < < <                                < < < <                                   < …   <

Takes     what `client` takes; the server has to offer CHUNKING and PIPELINING, or everything is as in `client`
Gives     up to `SessionOptions.chunks` messages a session between their first octet and their last reply
Fails     never because of a peer
Not here  the opening, replies, what a refusal means (client)

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

from trafficgen.outcomes import Outcome, Phase
from trafficgen.protocol.smtp.client import UNEXPECTED, ClientSession
from trafficgen.protocol.smtp.dots import unstuff
from trafficgen.protocol.smtp.interfaces import (
    ROW,
    Buffer,
    Extensions,
    SessionAccount,
    SessionOptions,
    Source,
    WireMessage,
    Work,
)
from trafficgen.protocol.smtp.replies import Reply
from trafficgen.protocol.smtp.reply_cache import RECIPIENT_OK, ReplyCache

GROUP: Final = (Phase.MAIL, Phase.RCPT, Phase.END_OF_DATA, Phase.RSET)
"""The replies due to a message of one recipient before another."""
LAST: Final = (Phase.MAIL, Phase.RCPT, Phase.END_OF_DATA, Phase.EHLO)
"""And to the last of a batch."""

_DATA: Final = len(b"DATA\r\n")
_DOT: Final = len(b".\r\n")
_QUIT: Final = b"QUIT\r\n"


class ChunkingSession(ClientSession):
    """One session. `message` is the one whose replies are due first; `_behind` are written, in this order."""

    __slots__ = ("_behind", "_between", "_last", "_single")

    def __init__(self, source: Source, account: SessionAccount, options: SessionOptions, cache: ReplyCache) -> None:
        super().__init__(source, account, options, cache)
        self._behind: deque[tuple[Work, int]] = deque()  # and when they were written
        self._single = False  # every message of the batch has one recipient, and the next reply is one to EHLO at last
        # No message has so many recipients: what is learnt here is never taken for replies to DATA.
        self._between, self._last = cache.of(0), cache.of(-1)

    @property
    def _at_work(self) -> int:
        return super()._at_work + len(self._behind)

    @property
    def _in_chunks(self) -> bool:
        return self._extensions.chunking and self._extensions.pipelining and self._options.pipelining

    # -- octets out -------------------------------------------------------------------------------------

    def _open_transaction(self, now_ns: int, out: list[Buffer], *, reset: bool = False) -> None:
        """Write a batch, of which `message` is the first."""
        if not self._in_chunks:
            super()._open_transaction(now_ns, out, reset=reset)
            return
        assert self.message is not None
        behind, most = self._behind, self._options.chunks - 1
        self._start_ns = self._sent_ns = self.waiting_since_ns = now_ns
        self.busy = self.served = True
        self._write_chunk(self.message, out)
        self._single = self.message.recipients == 1
        while len(behind) < most and (self._left < 0 or self._left > len(behind)):
            if (work := self._take(now_ns)) is None:
                break
            self._pending.append(Phase.RSET)
            self._write_chunk(work[0], out, b"RSET\r\n")
            self._single = self._single and work[0].recipients == 1
            behind.append((work, now_ns))
        if self._left == len(behind):
            self._single = False
            self._write(Phase.QUIT, _QUIT, now_ns, out)
        else:
            self._write(Phase.EHLO, self._ehlo, now_ns, out)
        self._group = self._single and self._reader.empty

    @property
    def _ehlo(self) -> bytes:
        return b"EHLO %s\r\n" % self._options.ehlo_name

    def _write_chunk(self, message: WireMessage, out: list[Buffer], before: bytes = b"") -> None:
        command = b"%b%bBDAT %d LAST\r\n" % (before, self._envelope(message)[:-_DATA], message.octets)
        head, body, tail = message.head, message.body, message.tail
        if len(head) + len(body) + len(tail) - _DOT == message.octets:
            out += (command + head, body, tail[:-_DOT])
        else:  # a chunk is sent as it is: what was stuffed for DATA is undone
            out += (command, unstuff(b"".join((head, body, tail))[:-_DOT]))
        self._pending.extend((Phase.MAIL, *[Phase.RCPT] * message.recipients, Phase.END_OF_DATA))

    def _octets_due(self) -> list[int]:
        if not self._in_chunks:
            return super()._octets_due()
        messages = [work[0] for work, _ in self._behind]
        octets: list[int] = []
        for message in messages if self.message is None else [self.message, *messages]:
            if message is not self.message:
                octets.append(len(b"RSET\r\n"))
            octets += map(len, self._envelope(message)[:-_DATA].splitlines(keepends=True))
            octets.append(len(b"BDAT %d LAST\r\n" % message.octets) + message.octets)
        return [*octets, len(_QUIT if Phase.QUIT in self._pending else self._ehlo)]

    # -- octets in --------------------------------------------------------------------------------------

    def feed(self, data: bytes, now_ns: int) -> Collection[Buffer]:
        if not self._in_chunks:
            return super().feed(data, now_ns)
        if self._group and (times := self._count_accepted(data)):
            return self._accept(times, now_ns)
        out = self._read(data, now_ns)
        # Whole messages again, after a read that ended within one?
        self._group = self._single and self._reader.empty and len(self._pending) == len(GROUP) * self._at_work > 0
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
        behind, pending = self._behind, self._pending
        out: list[Buffer] = []
        self.waiting_since_ns = now_ns
        self._recipients = 1
        if times > len(behind):  # the batch is complete, and nothing that it says can be doubted any more
            pending.clear()
            self._let_go(doubtful=False)
            self._between.hits += times - 1
            self._last.hits += 1
            assert self.message is not None
            for (message, due_ns), sent_ns in (((self.message, self._due_ns), self._start_ns), *behind):
                self._enter(
                    ROW(message.number, 0, message.domain, due_ns, sent_ns, -1, sent_ns, now_ns, message.octets)
                )
            self._left -= len(behind) if self._left > 0 else 0
            behind.clear()
            self.message = None
            self._go_on(now_ns, out, reset=False)
            return out
        self._between.hits += times
        for _ in range(len(GROUP) * times):
            pending.popleft()
        for _ in range(times):
            self._finish(Outcome.ACCEPTED, now_ns)
            self._turn_to(*behind.popleft())
            self._recipients = 1
        self._recipients = 0
        return out

    def _learn(self, data: bytes, replies: list[Reply]) -> None:
        if not self._in_chunks:
            super()._learn(data, replies)
            return
        due, size = len(self._behind) + 1, len(GROUP)
        if len(replies) != size * due or not _same_extensions(replies[-1]):
            return
        first, last = replies[:size], replies[-size:]
        lines = data.splitlines(keepends=True)
        between = b"".join(lines[: sum(len(reply.lines) for reply in first)]) if due > 1 else b""
        tail = b"".join(lines[-sum(len(reply.lines) for reply in last) :])
        if data == between * (due - 1) + tail and _accepted(first) and _accepted(last):
            if due > 1:
                self._between.learn(between, first, self._account, GROUP)
            self._last.learn(tail, last, self._account, LAST)

    def _on_greeted_again(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if _same_extensions(reply):
            self._go_on(now_ns, out, reset=False)
        else:
            self._lose(Phase.EHLO, UNEXPECTED, reply, now_ns)

    # -- a message ends ---------------------------------------------------------------------------------

    def _go_on(self, now_ns: int, out: list[Buffer], *, reset: bool) -> None:
        if self._behind:
            self._turn_to(*self._behind.popleft())
        elif not (self._in_chunks and self._pending):
            super()._go_on(now_ns, out, reset=reset)

    def _turn_to(self, work: Work, written_ns: int) -> None:
        self._assign(work, written_ns, rode_along=True)
        self._sent_ns = written_ns

    # -- the session ends -------------------------------------------------------------------------------

    def _end(
        self,
        reason: str,
        example: str,
        now_ns: int,
        phase: Phase | None = None,
        *,
        unsent: int = 0,
        in_order: bool = True,
    ) -> None:
        sent = self._ends_sent(unsent)
        super()._end(reason, example, now_ns, phase, unsent=unsent, in_order=in_order)
        while self._behind:
            sent -= 1
            self._turn_to(*self._behind.popleft())
            self._finish(Outcome.IN_DOUBT if sent > 0 else Outcome.FAILED, now_ns)


def _accepted(replies: list[Reply]) -> bool:
    """Whether the replies to MAIL, RCPT, BDAT and what follows say that the message is accepted."""
    mail, rcpt, end_of_data, behind = (reply.code for reply in replies)
    return mail == end_of_data == behind == 250 and rcpt in RECIPIENT_OK


def _same_extensions(reply: Reply) -> bool:
    """Whether it is a reply to EHLO, and to no other command, and batches may go on."""
    offered = Extensions.offered(reply.lines)
    return reply.code == 250 and offered.chunking and offered.pipelining

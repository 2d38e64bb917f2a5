"""The client's side with CHUNKING (RFC 3030): a message is one BDAT, and several are on their way at once.

    > MAIL RCPT… BDAT n LAST, n octets   > RSET MAIL RCPT… BDAT n LAST, n octets   > …
    < < <                                < < < <                                   < …

Takes     what `client` takes; the server has to offer CHUNKING and PIPELINING, or everything is as in `client`
Gives     up to `Manners.chunks` messages a session between their first octet and their last reply
Fails     never because of a peer
Not here  the opening, replies, what a refusal means (client)

BDAT needs no 354 first, so the next message can be written before the last one is answered: one write and one read for
several messages. RSET before each keeps them apart, whatever became of the one before (RFC 3030 section 2 wants it
after a chunk that was refused). A message starts when it is written: its service time holds its wait behind the others
of its session. All that was written and not answered when the connection dies is in doubt.
"""

from collections import deque
from collections.abc import Collection
from functools import cache
from typing import Final

from trafficgen.outcomes import Outcome, Phase
from trafficgen.smtp.client import ClientSession
from trafficgen.smtp.dots import unstuff
from trafficgen.smtp.replies import Reply
from trafficgen.smtp.seams import Account, Buffer, Manners, Message, Source, Work
from trafficgen.smtp.steady import Steady

GROUP: Final = (Phase.RSET, Phase.MAIL, Phase.RCPT, Phase.END_OF_DATA)
"""The replies due to a message of one recipient behind another."""

_DATA: Final = len(b"DATA\r\n")
_DOT: Final = len(b".\r\n")


class ChunkingSession(ClientSession):
    """One session. `message` is the one whose replies are due first; `_behind` are written, in this order."""

    __slots__ = ("_behind",)

    def __init__(self, source: Source, account: Account, manners: Manners, steady: Steady) -> None:
        super().__init__(source, account, manners, steady)
        self._behind: deque[tuple[Work, int]] = deque()  # and when they were written

    @property
    def in_flight(self) -> int:
        return super().in_flight + len(self._behind)

    @property
    def _in_chunks(self) -> bool:
        return self._extensions.chunking and self._extensions.pipelining and self._manners.pipelining

    # -- octets out -------------------------------------------------------------------------------------

    def _open_transaction(self, now_ns: int, out: list[Buffer], *, reset: bool = False) -> None:
        if not self._in_chunks:
            super()._open_transaction(now_ns, out, reset=reset)
            return
        assert self.message is not None
        self._start_ns = self._sent_ns = self.waiting_since_ns = now_ns
        self._write_chunk(self.message, out, reset=reset or self.served)
        self.busy = self.served = True
        self._fill(now_ns, out)

    def _fill(self, now_ns: int, out: list[Buffer]) -> None:
        """Write what else may be on its way."""
        behind, most = self._behind, self._manners.chunks - 1
        while len(behind) < most and (self._left < 0 or self._left > len(behind)):
            if (work := self._take(now_ns)) is None:
                return
            self._write_chunk(work[0], out, reset=True)
            behind.append((work, now_ns))

    def _top_up(self, now_ns: int, out: list[Buffer]) -> None:
        """Write more once half of it is answered, so that several go out together."""
        if self.message is not None and len(self._behind) < self._manners.chunks // 2:
            self._fill(now_ns, out)

    def _write_chunk(self, message: Message, out: list[Buffer], *, reset: bool) -> None:
        envelope = self._envelope(message)[:-_DATA]
        command = b"%b%bBDAT %d LAST\r\n" % (b"RSET\r\n" if reset else b"", envelope, message.octets)
        head, body, tail = message.head, message.body, message.tail
        if len(head) + len(body) + len(tail) - _DOT == message.octets:
            out += (command + head, body, tail[:-_DOT])
        else:  # a chunk is sent as it is: what was stuffed for DATA is undone
            out += (command, unstuff(b"".join((head, body, tail))[:-_DOT]))
        if reset and message.recipients == 1:
            self._pending.extend(GROUP)
        else:
            phases = (Phase.MAIL, *[Phase.RCPT] * message.recipients, Phase.END_OF_DATA)
            self._pending.extend(((Phase.RSET,) if reset else ()) + phases)

    # -- octets in --------------------------------------------------------------------------------------

    def feed(self, data: bytes, now_ns: int) -> Collection[Buffer]:
        if not self._in_chunks:
            return super().feed(data, now_ns)
        steady, size = self._steady, len(self._steady.octets)
        even = self._even
        if even and steady.phases is GROUP and len(data) % size == 0:
            times = len(data) // size
            if 0 < times <= len(self._behind) + 1 and data == steady.octets * times:
                return self._all_accepted(times, now_ns)
        replies = self._reader.feed(data)
        if even and replies and self._reader.empty and len(replies) % len(GROUP) == 0:
            self._learn(data, replies)
        out = self._answer_all(replies, now_ns)
        self._top_up(now_ns, out)
        return out

    @property
    def _even(self) -> bool:
        """Whether the replies due are exactly GROUP, again and again, none of them begun."""
        return self.message is not None and self._reader.empty and self._pending == _groups(len(self._behind) + 1)

    def _learn(self, data: bytes, replies: list[Reply]) -> None:
        times = len(replies) // len(GROUP)
        once = data[: len(data) // times]
        reset, mail, rcpt, end_of_data = (reply.code for reply in replies[: len(GROUP)])
        as_hoped = reset == mail == 250 <= rcpt <= 259 and 200 <= end_of_data <= 299
        if as_hoped and once * times == data:
            self._steady.learn(once, replies[: len(GROUP)], self._account, GROUP)

    def _all_accepted(self, times: int, now_ns: int) -> list[Buffer]:
        """The hot path: as many messages as this are accepted, all replies as hoped (benchmarks/peers.py)."""
        self._steady.hits += times
        behind, pending = self._behind, self._pending
        out: list[Buffer] = []
        for _ in range(len(GROUP) * times):
            pending.popleft()
        self.waiting_since_ns = now_ns
        self._recipients = 1
        for _ in range(times - 1):
            self._finish(Outcome.ACCEPTED, now_ns)
            self._turn_to(*behind.popleft())
            self._recipients = 1
        self._finish(Outcome.ACCEPTED, now_ns)
        self._go_on(now_ns, out, reset=False)
        self._top_up(now_ns, out)
        return out

    # -- a message ends ---------------------------------------------------------------------------------

    def _go_on(self, now_ns: int, out: list[Buffer], *, reset: bool) -> None:
        if self._behind:
            self._turn_to(*self._behind.popleft())
        else:
            super()._go_on(now_ns, out, reset=reset)

    def _turn_to(self, work: Work, written_ns: int) -> None:
        self._assign(work, written_ns, rode_along=True)
        self._sent_ns = written_ns

    # -- the session ends -------------------------------------------------------------------------------

    def lost(self, reason: str, example: str, now_ns: int, *, phase: Phase | None = None, unsent: bool = False) -> None:
        super().lost(reason, example, now_ns, phase=phase, unsent=unsent and not self._behind)
        self._doubt_the_rest(now_ns)

    def _on_shutdown(self, phase: Phase, reply: Reply, now_ns: int) -> None:
        super()._on_shutdown(phase, reply, now_ns)
        self._doubt_the_rest(now_ns)

    def _doubt_the_rest(self, now_ns: int) -> None:
        while self.closed and self._behind:
            self._turn_to(*self._behind.popleft())
            self._finish(Outcome.IN_DOUBT, now_ns)


@cache
def _groups(times: int) -> deque[Phase]:
    return deque(GROUP * times)

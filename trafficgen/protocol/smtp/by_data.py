"""Hand over by DATA (RFC 5321), in groups (RFC 2920).

    > MAIL RCPT… DATA < < < 354 > message, end of data, and at once the next MAIL RCPT… DATA (or QUIT)
    refused: > RSET and the next envelope; a 354 though every recipient was refused: > a lone end of data

Takes     what `handover` takes
Gives     one message at work, and the envelope of the next behind it
Fails     never because of a peer
Not here  command by command (by_steps)
"""

from collections.abc import Collection
from functools import partial
from typing import Final

from mboxgen.enums import table_of
from trafficgen.outcomes import Outcome, Phase
from trafficgen.protocol.smtp.handover import COMMON, QUIT, RSET, UNEXPECTED, Handover, SessionLife
from trafficgen.protocol.smtp.interfaces import ROW, Buffer, WireMessage, Work
from trafficgen.protocol.smtp.replies import Reply
from trafficgen.protocol.smtp.reply_cache import CLOSING, ENVELOPE, ReplyCache, as_hoped
from trafficgen.protocol.smtp.steps import STEPS

# By its name in the enum a member costs 0.1 µs each time (Python 3.11), as much as comparing a reply.
_ACCEPTED: Final = Outcome.ACCEPTED
_DATA: Final = Phase.DATA
_END_OF_DATA: Final = Phase.END_OF_DATA
_MAIL: Final = Phase.MAIL
_QUIT: Final = Phase.QUIT
_RCPT: Final = Phase.RCPT
_RSET: Final = Phase.RSET

_ENVELOPE: Final = (_MAIL, _RCPT, _DATA)


class ByData(Handover):
    """`_next`: the message whose envelope rides behind the one at work. `_rode_along`: that was so of this one.

    `_lone`: where the replies due are remembered, if they are those of one recipient's envelope by itself, or of a
    session's last message and its goodbye, and none of them has begun.
    """

    __slots__ = ("_lone", "_next", "_rode_along", "_rows", "_source")

    def __init__(self, session: SessionLife, cache: ReplyCache) -> None:
        super().__init__(session, cache)
        self._rows = session.account.rows
        self._source = session.source
        self._next: Work | None = None
        self._lone: ReplyCache | None = None
        self._rode_along = False

    @property
    def waiting(self) -> int:
        return int(self._next is not None)

    # -- octets out -------------------------------------------------------------------------------------

    def open(self, now_ns: int, out: list[Buffer], *, reset: bool = False) -> None:
        message = self._transaction.message
        assert message is not None
        self._transaction.start_ns = self._conversation.waiting_since_ns = now_ns
        self._session.busy = True
        self._rode_along = False
        envelope = message.envelope
        out.append(RSET + envelope if reset else envelope)
        pending = self._conversation.pending
        if message.recipients == 1 and not pending and not reset and self._conversation.reader.empty:
            self._lone = self._cache.of(ENVELOPE)
        pending.extend(_phases(message, reset=reset))

    def _send_message(self, now_ns: int) -> tuple[Buffer, Buffer, Buffer]:
        """The message, and behind its end of data what may ride along; sets the replies that are due."""
        at, session, conversation = self._transaction, self._session, self._conversation
        message, at.message = at.message, None
        assert message is not None
        at.sent_ns = conversation.waiting_since_ns = now_ns
        session.served = True
        pending = conversation.pending
        alone = not pending
        pending.extend((_END_OF_DATA,) * (at.recipients if self._each else 1))
        tail = message.tail
        if session.left == 0:
            tail += QUIT
            pending.append(_QUIT)
            if alone and not conversation.held and at.recipients == message.recipients == 1:
                self._lone = self._cache.of(CLOSING)
        elif (work := self._source.take(now_ns)) is not None:
            self._next = work
            tail += work[0].envelope
            pending.extend(_phases(work[0]))
            self.group = (
                session.left < 0
                and at.recipients == message.recipients
                and conversation.reader.empty
                and (not self._each or message.recipients == work[0].recipients == 1)
            )
            self._cache = self._cache.of(work[0].recipients)
        return message.head, message.body, tail

    def octets_due(self) -> list[int]:
        if self._next is not None:
            commands = self._next[0].envelope
        elif _QUIT in self._conversation.pending:
            commands = QUIT
        else:
            message = self._transaction.message
            commands = message.envelope if message is not None else b""
        return [len(line) for line in commands.splitlines(keepends=True)]

    # -- octets in --------------------------------------------------------------------------------------

    def feed(self, data: bytes, now_ns: int) -> Collection[Buffer]:
        if not self.group:
            return self._feed_lone(data, now_ns)
        cache = self._cache
        if data == cache.octets or cache.repeats(data):
            # The hot path, once for every message of a kept session: the message is accepted, and the 354 for the one
            # that rode along is here. It does what `finish`, `assign` and `_send_message` do, in one piece, for half
            # of what calling them costs (benchmarks/wire.py).
            cache.hits += 1
            at = self._transaction
            number, domain, _, octets = at.entry  # type: ignore[misc]
            self._rows.frombytes(
                ROW(number, 0, domain, at.due_ns, at.start_ns, at.ready_ns, at.sent_ns, now_ns, octets)
            )
            message, at.due_ns = self._next  # type: ignore[misc]
            recipients = at.recipients = cache.recipients
            at.entry = message.number, message.domain, recipients, message.octets
            at.ready_ns = -1
            at.start_ns = at.sent_ns = self._conversation.waiting_since_ns = now_ns
            work = self._next = self._source.take(now_ns)
            if work is None:
                return self._send_lone(message, now_ns)
            rider = work[0]
            if rider.recipients != recipients:
                self._cache = cache.of(rider.recipients)
                self._conversation.pending = list(self._cache.group)
                self.group = not self._each  # the replies to several ends of data take the careful way
            return message.head, message.body, message.tail + rider.envelope
        self.group = False
        return self._conversation.read(self._session, data, now_ns, self._learn)

    def _feed_lone(self, data: bytes, now_ns: int) -> Collection[Buffer]:
        """The short way for what has no group: what an envelope or a last message by itself was answered before."""
        seen, self._lone = self._lone, None
        conversation = self._conversation
        if seen is None or not conversation.reader.empty:
            return conversation.read(self._session, data, now_ns)
        if data != seen.octets and not seen.repeats(data):
            return conversation.read(self._session, data, now_ns, partial(self._learn_lone, seen))
        seen.hits += 1
        at, pending = self._transaction, conversation.pending
        if pending[0] is _END_OF_DATA:
            self.finish(_ACCEPTED, now_ns, hold=False)
            self._session.part()
            return ()
        pending.clear()
        at.recipients = 1
        at.ready_ns = now_ns
        return self._send_message(now_ns)

    def _learn_lone(self, seen: ReplyCache, data: bytes, replies: list[Reply]) -> None:
        phases = tuple(self._conversation.pending)
        if len(replies) == len(phases) and all(
            reply.code in STEPS[phase].good for phase, reply in zip(phases, replies, strict=True)
        ):
            seen.learn(data, replies, self._session.account, phases)

    def _send_lone(self, message: WireMessage, now_ns: int) -> Collection[Buffer]:
        """The end of the hot path when no message rides along: the careful way from here."""
        self._transaction.message = message
        self.group = False
        self._conversation.pending.clear()
        self._rode_along = True
        return self._send_message(now_ns)

    def _learn(self, data: bytes, replies: list[Reply]) -> None:
        cache = self._cache
        if len(replies) == len(cache.group) and as_hoped(replies):
            cache.learn(data, replies, self._session.account, cache.group)

    def _on_data(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if reply.code == 354 and self._transaction.recipients:
            if not self._rode_along:
                self._transaction.ready_ns = now_ns
            out.extend(self._send_message(now_ns))
        elif reply.code == 354 and self._each:  # RFC 2033 section 4.2: 503, as nobody would be left to answer for
            self._session.lose(_DATA, UNEXPECTED, reply, now_ns)
        elif reply.code == 354:
            # RFC 2920 section 3.1: DATA may be let through though every recipient was refused.
            self.void = True
            self._conversation.write(_END_OF_DATA, b".\r\n", now_ns, out)
        else:
            self.refuse(_DATA, reply, now_ns)
            self._end_refused(now_ns, out, reset=True)

    # -- the next message -------------------------------------------------------------------------------

    def turn(self, now_ns: int) -> bool:
        if self._next is None:
            return False
        work, self._next = self._next, None
        self._session.assign(work, now_ns)
        self._rode_along = True
        return True

    def be_careful(self) -> None:
        super().be_careful()
        self._lone = None

    def close(self) -> None:
        super().close()
        if self._next is not None:
            self._session.source.give_back(self._next)
            self._next = None

    answers = table_of(
        [*COMMON, _DATA],
        {**COMMON, _DATA: _on_data},
    )


def _phases(message: WireMessage, *, reset: bool = False) -> tuple[Phase, ...]:
    """The replies an envelope asks for."""
    if message.recipients == 1 and not reset:
        return _ENVELOPE
    return (_RSET,) * reset + (_MAIL, *[_RCPT] * message.recipients, _DATA)

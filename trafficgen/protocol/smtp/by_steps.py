"""Hand over by DATA, command by command: where the server does not offer PIPELINING, or it is not to be used.

    > MAIL < > RCPT < … > DATA < 354 > message, end of data <          refused: > RSET < and the next MAIL

Takes     what `handover` takes
Gives     one message at work, one command on its way
Fails     never because of a peer
Not here  groups (by_data)

Each step has a short way: a reply with the octets that the careful parser last took for a yes to that step is compared,
not parsed. As ever, a message's own yes is held until the 354 to the next DATA has shown that no reply was too many.
"""

from collections.abc import Collection
from typing import Final

from mboxgen.enums import table_of
from trafficgen.outcomes import Outcome, Phase
from trafficgen.protocol.smtp.by_data import ByData
from trafficgen.protocol.smtp.handover import RSET, SessionLife
from trafficgen.protocol.smtp.interfaces import Buffer
from trafficgen.protocol.smtp.replies import Reply
from trafficgen.protocol.smtp.reply_cache import ReplyCache
from trafficgen.protocol.smtp.steps import STEPS

# By its name in the enum a member costs 0.1 µs each time (Python 3.11), as much as comparing a reply.
_ACCEPTED: Final = Outcome.ACCEPTED
_DATA: Final = Phase.DATA
_END_OF_DATA: Final = Phase.END_OF_DATA
_MAIL: Final = Phase.MAIL
_RCPT: Final = Phase.RCPT
_RSET: Final = Phase.RSET

_KEYS: Final = table_of(
    [_MAIL, _RCPT, _DATA, _END_OF_DATA],
    {_MAIL: -2, _RCPT: -3, _DATA: -4, _END_OF_DATA: -5},
)
"""What is learnt of each step is kept where no message has so many recipients."""


class BySteps(ByData):
    """`_unsent`: lines of the envelope that wait for their turn, the next one last.

    `_due`: what the one step that is due was answered before; None where only the careful parser may read the answer.
    """

    __slots__ = ("_due", "_seen", "_unsent")

    def __init__(self, session: SessionLife, cache: ReplyCache) -> None:
        super().__init__(session, cache)
        self._unsent: list[bytes] = []
        self._seen = {phase: cache.of(key) for phase, key in _KEYS.items()}
        self._due: ReplyCache | None = None

    # -- octets out -------------------------------------------------------------------------------------

    def open(self, now_ns: int, out: list[Buffer], *, reset: bool = False) -> None:
        message, conversation = self._transaction.message, self._conversation
        assert message is not None
        self._transaction.start_ns = now_ns
        self._session.busy = True
        self._rode_along = False
        self._unsent = _lines(message.envelope)
        if reset:
            conversation.write(_RSET, RSET, now_ns, out)
        else:
            conversation.write(_MAIL, self._unsent.pop(), now_ns, out)
            self._due = self._find_due()

    def _send_unsent(self, now_ns: int, out: list[Buffer]) -> None:
        """The next line of the envelope, behind MAIL."""
        phase = _RCPT if len(self._unsent) > 1 else _DATA
        self._conversation.write(phase, self._unsent.pop(), now_ns, out)

    def _send_message(self, now_ns: int) -> tuple[Buffer, Buffer, Buffer]:
        at, conversation = self._transaction, self._conversation
        message, at.message = at.message, None
        assert message is not None
        at.sent_ns = conversation.waiting_since_ns = now_ns
        self._session.served = True
        conversation.pending.extend((_END_OF_DATA,) * (at.recipients if self._each else 1))
        return message.head, message.body, message.tail

    def octets_due(self) -> list[int]:
        """None that need counting: one command at a time is answered."""
        return []

    # -- octets in --------------------------------------------------------------------------------------

    def feed(self, data: bytes, now_ns: int) -> Collection[Buffer]:
        due = self._due
        if due is not None and (data == due.octets or due.repeats(data)):
            due.hits += 1
            return self._go_on(now_ns)
        out = self._conversation.read(self._session, data, now_ns, self._learn)
        self._due = self._find_due()
        return out

    def _find_due(self) -> ReplyCache | None:
        pending = self._conversation.pending
        if len(pending) == 1 and not self.void and self._conversation.reader.empty:
            return self._seen.get(pending[0])
        return None

    def _go_on(self, now_ns: int) -> Collection[Buffer]:
        """The short way: the step that was due is answered with a yes that was read with care before.

        Sets what is `_due` next.
        """
        at, conversation = self._transaction, self._conversation
        pending = conversation.pending
        phase = pending[0]
        conversation.waiting_since_ns = now_ns
        if phase is _END_OF_DATA:
            at.taken += self._each
            self.finish(_ACCEPTED, now_ns)
            if self._session.left < 0 and (work := self._source.take(now_ns)) is not None:
                # `go_on`, `assign` and `open` in one piece: 2 % of a message (benchmarks/peers.py, lock-step-5k).
                at.assign(work, now_ns)
                self._unsent = _lines(work[0].envelope)
                pending[0] = _MAIL
                self._due = self._seen[_MAIL]
                return (self._unsent.pop(),)
            pending.clear()
            self._due = None
            out: list[Buffer] = []
            self._session.go_on(now_ns, out, reset=False)
            if not pending:
                conversation.let_go(doubtful=False)
            return out
        if phase is _DATA:
            pending.clear()
            conversation.let_go(doubtful=False)
            at.ready_ns = now_ns
            buffers = self._send_message(now_ns)
            self._due = self._seen[_END_OF_DATA] if len(pending) == 1 else None
            return buffers
        at.recipients += phase is _RCPT
        pending[0] = phase = _RCPT if len(self._unsent) > 1 else _DATA
        self._due = self._seen[phase]
        return (self._unsent.pop(),)

    def be_careful(self) -> None:
        super().be_careful()
        self._due = None

    def _learn(self, data: bytes, replies: list[Reply]) -> None:
        pending = self._conversation.pending
        if len(replies) != 1 or not pending:  # a goodbye may come while nothing is due
            return
        phase = pending[0]
        if phase in self._seen and replies[0].code in STEPS[phase].good:
            self._seen[phase].learn(data, replies, self._session.account, (phase,))

    def _on_mail(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        super()._on_mail(reply, now_ns, out)
        if self._session.closed:
            return
        if self._transaction.refusal is None:
            self._send_unsent(now_ns, out)
        else:  # the rest of the envelope has no transaction to go into
            self._unsent.clear()
            self._end_refused(now_ns, out, reset=False)

    def _on_rcpt(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        super()._on_rcpt(reply, now_ns, out)
        if self._session.closed:
            return
        if self._transaction.recipients or len(self._unsent) > 1:
            self._send_unsent(now_ns, out)
        else:
            self._unsent.clear()
            self._end_refused(now_ns, out, reset=True)

    def _on_rset(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        opened = self._transaction.entry is not None  # and its envelope waits for this
        super()._on_rset(reply, now_ns, out)
        if opened and not self._session.closed:
            self._conversation.write(_MAIL, self._unsent.pop(), now_ns, out)

    answers = table_of(list(ByData.answers), {**ByData.answers, _MAIL: _on_mail, _RCPT: _on_rcpt, _RSET: _on_rset})


def _lines(envelope: bytes) -> list[bytes]:
    """Its commands, the next one last."""
    lines = envelope.splitlines(keepends=True)
    lines.reverse()
    return lines

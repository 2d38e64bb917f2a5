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
    """`_unsent`: lines of the envelope that wait for their turn, the next one last."""

    __slots__ = ("_seen", "_unsent")

    def __init__(self, session: SessionLife, cache: ReplyCache) -> None:
        super().__init__(session, cache)
        self._unsent: list[bytes] = []
        self._seen = {phase: cache.of(key) for phase, key in _KEYS.items()}

    # -- octets out -------------------------------------------------------------------------------------

    def open(self, now_ns: int, out: list[Buffer], *, reset: bool = False) -> None:
        message, conversation = self._transaction.message, self._conversation
        assert message is not None
        self._transaction.start_ns = now_ns
        self._session.busy = True
        self._rode_along = False
        self._unsent = list(message.commands)
        if reset:
            conversation.write(_RSET, RSET, now_ns, out)
        else:
            conversation.write(_MAIL, self._unsent.pop(), now_ns, out)

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
        conversation = self._conversation
        pending = conversation.pending
        if len(pending) == 1 and (seen := self._seen.get(phase := pending[0])) is not None:
            known = data == seen.octets or seen.repeats(data)
            if known and conversation.reader.empty and not self.void:
                seen.hits += 1
                return self._go_on(phase, now_ns)
        return conversation.read(self._session, data, now_ns, self._learn)

    def _go_on(self, phase: Phase, now_ns: int) -> Collection[Buffer]:
        """The short way: the step that was due is answered with a yes that was read with care before."""
        at, conversation = self._transaction, self._conversation
        pending = conversation.pending
        conversation.waiting_since_ns = now_ns
        if phase is _END_OF_DATA:
            pending.clear()
            out: list[Buffer] = []
            at.taken += self._each
            self.finish(_ACCEPTED, now_ns)
            self._session.go_on(now_ns, out, reset=False)
            if not pending:
                conversation.let_go(doubtful=False)
            return out
        if phase is _DATA:
            pending.clear()
            conversation.let_go(doubtful=False)
            at.ready_ns = now_ns
            return self._send_message(now_ns)
        at.recipients += phase is _RCPT
        pending[0] = _RCPT if len(self._unsent) > 1 else _DATA
        return (self._unsent.pop(),)

    def _learn(self, data: bytes, replies: list[Reply]) -> None:
        phase = self._conversation.pending[0]
        if phase in self._seen and len(replies) == 1 and replies[0].code in STEPS[phase].good:
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
        super()._on_rset(reply, now_ns, out)
        if self._unsent and not self._session.closed:
            self._conversation.write(_MAIL, self._unsent.pop(), now_ns, out)

    answers = table_of(list(ByData.answers), {**ByData.answers, _MAIL: _on_mail, _RCPT: _on_rcpt, _RSET: _on_rset})

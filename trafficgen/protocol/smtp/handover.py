"""How a session hands its messages over: what all ways have in common.

Takes     replies to the commands of a transaction, from the session; messages, when it is free
Gives     what to write; the end of each message to the conversation, which enters it when it can be believed
Fails     never because of a peer
Not here  what is sent in which order (by_data, by_chunks), what comes before the first message (opening)

A session is given one way of handing over once it knows what the server offers. A new way is a module beside these.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import ClassVar, Final, Protocol

from mboxgen.enums import table_of
from trafficgen.outcomes import LARGER_THAN_SIZE, Outcome, Phase
from trafficgen.protocol.smtp.conversation import Answers, Conversation, Hearer
from trafficgen.protocol.smtp.interfaces import (
    Buffer,
    Extensions,
    SessionAccount,
    SessionOptions,
    Source,
    Work,
)
from trafficgen.protocol.smtp.replies import Reply
from trafficgen.protocol.smtp.reply_cache import ReplyCache
from trafficgen.protocol.smtp.steps import RECIPIENT_OK, STEPS
from trafficgen.protocol.smtp.transaction import Transaction, rejection

# By its name in the enum a member costs 0.1 µs each time (Python 3.11), as much as comparing a reply.
_ACCEPTED: Final = Outcome.ACCEPTED
_DATA: Final = Phase.DATA
_END_OF_DATA: Final = Phase.END_OF_DATA
_MAIL: Final = Phase.MAIL
_QUIT: Final = Phase.QUIT
_RCPT: Final = Phase.RCPT
_RSET: Final = Phase.RSET

UNEXPECTED: Final = "unexpected reply"
TOO_FEW: Final = "a reply too few"
"""A 354 came before the answers to MAIL and RCPT: the server left a reply out, as a store does that forgets one of the
recipients of the message before."""

QUIT: Final = STEPS[_QUIT].command + b"\r\n"
RSET: Final = STEPS[_RSET].command + b"\r\n"


class SessionLife(Hearer, Protocol):
    """The session, as far as a way of handing over knows it."""

    account: SessionAccount
    conversation: Conversation
    extensions: Extensions
    left: int
    options: SessionOptions
    source: Source
    transaction: Transaction
    busy: bool
    served: bool

    def assign(self, work: Work, now_ns: int) -> None:
        """Turn to this message."""

    def go_on(self, now_ns: int, out: list[Buffer], *, reset: bool) -> None:
        """A message has ended: turn to the next one, if there is one."""

    def lose(self, phase: Phase, reason: str, reply: Reply, now_ns: int) -> None:
        """End the session for a reply that cannot be the one to this step."""

    def on_quit(self, reply: Reply, now_ns: int) -> None:
        """The answer to a QUIT."""

    def part(self) -> None:
        """The server has said goodbye to our QUIT."""


class Handover(ABC):
    """One way of handing over, at work in one session.

    `group`: the replies due are exactly those that may be learnt, none of them begun. `void`: the end of data that is
    due closes an empty message, not the one at work.
    """

    __slots__ = ("_cache", "_conversation", "_each", "_session", "_transaction", "group", "void")

    several: ClassVar[bool] = False
    """Whether several messages are on their way at once, so that no 354 keeps their replies apart."""
    answers: Answers

    def __init__(self, session: SessionLife, cache: ReplyCache) -> None:
        self._session = session
        self._conversation = session.conversation
        self._transaction = session.transaction
        self._cache = cache
        self._each = session.options.reply_each
        self.group = False
        self.void = False

    @property
    def behind(self) -> int:
        """Messages that are written behind the one at work, and not answered."""
        return 0

    @property
    def waiting(self) -> int:
        """Messages taken from the source and not begun."""
        return 0

    # -- what a session asks for ------------------------------------------------------------------------

    @abstractmethod
    def open(self, now_ns: int, out: list[Buffer], *, reset: bool = False) -> None:
        """Write the envelope of the message at work, whole or its first command; `reset`: after a RSET."""

    @abstractmethod
    def feed(self, data: bytes, now_ns: int) -> Collection[Buffer]:
        """What the server sent, the short way where there is one; returns the buffers to write."""

    @abstractmethod
    def turn(self, now_ns: int) -> bool:
        """Turn to the message that is on its way already; False when there is none and the session is free."""

    @abstractmethod
    def octets_due(self) -> list[int]:
        """The octets of the commands whose replies are due, as far as there are several: the last of them."""

    def be_careful(self) -> None:
        """Take no short way with the replies that are due."""
        self.group = False

    def close(self) -> None:
        """The session is over: give back what was not begun."""
        self.group = False

    def end_behind(self, sent: int, now_ns: int) -> None:  # noqa: B027  (nothing is behind, unless a way says so)
        """End the messages behind the one at work; the end of data of the first `sent` of them has gone out."""

    # -- replies ----------------------------------------------------------------------------------------

    def _on_mail(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if reply.code != 250:
            self._transaction.sender_refused = True
            self.refuse(_MAIL, reply, now_ns)

    def _on_rcpt(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if reply.code in RECIPIENT_OK and not self._transaction.sender_refused:
            self._transaction.recipients += 1
        else:
            self.refuse(_RCPT, reply, now_ns)
            self._transaction.refuse_recipient(reply)

    def _on_end_of_data(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        at = self._transaction
        if self.void:
            self.void = False
            self._end_refused(now_ns, out, reset=False)
            return
        if reply.code == 250 and at.recipients:
            outcome = _ACCEPTED
            at.taken += self._each
        elif reply.code >= 400:
            self.refuse(_END_OF_DATA, reply, now_ns)
            outcome = rejection(at.refusal or reply)
            if self._each and at.recipients:
                at.refuse_recipient(reply)
        else:
            self._session.lose(_END_OF_DATA, UNEXPECTED, reply, now_ns)
            return
        if self._each and self._more_ends_due:
            return
        self.finish(_ACCEPTED if at.taken else outcome, now_ns)
        self._session.go_on(now_ns, out, reset=False)

    @property
    def _more_ends_due(self) -> bool:
        """LMTP: whether another recipient of the same message has yet to be answered for."""
        pending = self._conversation.pending
        return bool(pending) and pending[0] is _END_OF_DATA

    def _on_rset(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if reply.code != 250:
            self._session.lose(_RSET, UNEXPECTED, reply, now_ns)
        elif self._transaction.entry is None:
            self._session.go_on(now_ns, out, reset=False)

    def _on_quit(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        self._session.on_quit(reply, now_ns)

    # -- a message ends ---------------------------------------------------------------------------------

    def refuse(self, phase: Phase, reply: Reply, now_ns: int) -> None:
        """Note why the message is refused."""
        if reply.code < 400:
            too_few = reply.code == 354 and phase is not _DATA and _DATA in self._conversation.pending
            self._session.lose(phase, TOO_FEW if too_few else UNEXPECTED, reply, now_ns)
            return
        self._transaction.refuse(reply)
        account, beyond = self._session.account, self._beyond_size(phase)
        if beyond:
            account.failure(phase, LARGER_THAN_SIZE, beyond)
        words = f"the server answered {phase.value.upper()} with {reply.words}"
        account.trouble(f"{words}: {beyond}" if beyond else words)

    def _beyond_size(self, phase: Phase) -> str:
        """By how much the refused message is larger than what EHLO's SIZE says, in words; "" when it is not."""
        most, entry = self._session.extensions.max_octets, self._transaction.entry
        if not most or phase not in (_MAIL, _END_OF_DATA) or entry is None or entry[3] <= most:
            return ""
        return f"the message has {entry[3]:,} octets, and EHLO says SIZE {most}"

    def _end_refused(self, now_ns: int, out: list[Buffer], *, reset: bool) -> None:
        if self._session.closed:
            return
        assert self._transaction.refusal is not None
        self.finish(rejection(self._transaction.refusal), now_ns, hold=False)
        self._session.go_on(now_ns, out, reset=reset)

    def finish(self, outcome: Outcome, now_ns: int, *, hold: bool = True) -> None:
        """The message at work has ended; `hold`: replies behind it may still show that its own was another's."""
        self._conversation.enter(*self._transaction.finish(outcome, now_ns), hold=hold)


COMMON: Final = table_of(
    [_MAIL, _RCPT, _END_OF_DATA, _RSET, _QUIT],
    {
        _MAIL: Handover._on_mail,
        _RCPT: Handover._on_rcpt,
        _END_OF_DATA: Handover._on_end_of_data,
        _RSET: Handover._on_rset,
        _QUIT: Handover._on_quit,
    },
)
"""What becomes of each reply, for ways that do no more than this."""

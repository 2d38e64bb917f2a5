"""Which reply answers which command, and from when on it is believed.

Takes     octets received, and how many of those written have not left this machine
Gives     every reply to the session together with the step it answers; rows to the account, once they can be trusted
Fails     never because of a peer: what nothing asked for, or cannot be read, ends the session
Not here  what a reply means (opening, handover)

Replies are told apart by counting alone, so a server that breaks the rules must not shift them unnoticed. A reply
counts only for a command that had gone out before the reply came. 421 may come at any time (RFC 5321 section 3.8);
anything else that nothing asked for ends the session. What was answered to an end of data is `held` until all replies
due behind it have come, and only such as may answer their commands (section 4.3.2): a 354 answers nothing but DATA, a
221 nothing but QUIT. If one of them cannot be right, nobody knows which reply was whose: what is held is in doubt.
"""

from collections.abc import Callable, Mapping
from itertools import chain, groupby, islice, repeat
from typing import Any, Final, Protocol

from trafficgen.outcomes import Outcome, Phase
from trafficgen.protocol.smtp.interfaces import ROW, Buffer, SessionAccount
from trafficgen.protocol.smtp.replies import Reply, ReplyReader
from trafficgen.protocol.smtp.transaction import Mixed, Row

# By its name in the enum a member costs 0.1 µs each time (Python 3.11), as much as comparing a reply.
_DATA: Final = Phase.DATA
_EHLO: Final = Phase.EHLO
_END_OF_DATA: Final = Phase.END_OF_DATA
_IDLE: Final = Phase.IDLE
_LHLO: Final = Phase.LHLO
_QUIT: Final = Phase.QUIT

_MAX_HELD: Final = 16
"""A server may refuse one message after another before it says 354 again. More than these, or a batch, do not wait."""

_IN_STEP: Final = (_DATA, _QUIT, _EHLO, _LHLO)
"""Whose right reply is like none before it, so that it shows all before it to have come in their places."""

GOODBYES: Final = (421, 221)
"""What a server may say that nothing asked for, once it has answered all that did. 221 belongs to QUIT, but is said."""

UNASKED: Final = "a reply that nothing asked for"


Answers = Mapping[Phase, Callable[[Any, Reply, int, list[Buffer]], None]]


class Answering(Protocol):
    """Whoever replies are for: the opening, or the way of handing over."""

    answers: Answers
    """Its own steps, and what it does with the answer to each."""

    def octets_due(self) -> list[int]:
        """The octets of the commands whose replies are due, as far as there are several: the last of them."""


class Hearer(Protocol):
    """The session, as far as a conversation knows it."""

    answering: Answering
    closed: bool

    def shut_down(self, phase: Phase, reply: Reply, now_ns: int, unsent: int = 0) -> None:
        """421 at any moment, a goodbye on an idle session, or a no while we still write."""

    def end(
        self,
        reason: str,
        example: str,
        now_ns: int,
        phase: Phase | None = None,
        *,
        unsent: int = 0,
        in_order: bool = True,
    ) -> None:
        """The session is over."""


Learn = Callable[[bytes, list[Reply]], None]
"""Told replies that came in one piece and begin with the first one that was due."""


class Conversation:
    """`pending`: the steps whose replies are due. `early`: a reply began while none was due; it can only be a goodbye.

    `waiting_since_ns`: since when the reply that is due first is waited for.

    What is empty most of the time is a tuple: of those all sessions share one.
    """

    __slots__ = (
        "_account",
        "_held",
        "_most_held",
        "early",
        "pending",
        "reader",
        "waiting_since_ns",
    )

    def __init__(self, account: SessionAccount, batch: int) -> None:
        self._account = account
        self._most_held = max(_MAX_HELD, batch)
        self._held: tuple[tuple[Row, Mixed | None], ...] = ()  # finished, while replies behind them are due
        self.pending: list[Phase] = []  # a deque takes 700 octets more for each session
        self.reader = ReplyReader()
        self.early = False
        self.waiting_since_ns = -1

    @property
    def held(self) -> int:
        """Messages that are answered and not in the account yet."""
        return len(self._held)

    # -- octets out -------------------------------------------------------------------------------------

    def write(self, phase: Phase, command: bytes, now_ns: int, out: list[Buffer]) -> None:
        """Send a command by itself, or as the last of a group."""
        out.append(command)
        self.pending.append(phase)
        self.waiting_since_ns = now_ns

    # -- octets in --------------------------------------------------------------------------------------

    def read(
        self, hearer: Hearer, data: bytes, now_ns: int, learn: Learn | None = None, unsent: int = 0
    ) -> list[Buffer]:
        """What the server sent, while the last `unsent` octets written have not left; returns what to write."""
        reader = self.reader
        due = 0 if self.early else self._due_while(unsent, hearer) if unsent else len(self.pending)
        replies = reader.feed(data)
        if len(replies) > due or (len(replies) == due and not reader.empty):
            unasked = self._find_unasked(replies, due)
            if unasked is not None:
                self._on_unasked(hearer, unasked, replies, due, now_ns, unsent)
                return []
        if learn is not None and reader.empty:
            learn(data, replies)
        return self._answer_all(hearer, replies, now_ns)

    def _find_unasked(self, replies: list[Reply], due: int) -> str | None:
        """What came first that answers nothing; None when it is, or may become, a goodbye."""
        if len(replies) > due:
            return None if replies[due].code in GOODBYES else replies[due].words
        if self.reader.fault:
            return self.reader.fault
        begun = self.reader.begun
        self.early = any((b"%d" % code).startswith(begun) for code in GOODBYES)
        return None if self.early else begun.decode("ascii", "backslashreplace")

    def _on_unasked(self, hearer: Hearer, words: str, replies: list[Reply], due: int, now_ns: int, unsent: int) -> None:
        """None of the replies that came together can be told from the one too many; only a refusal ends it anyway."""
        pending = self.pending
        if unsent and len(replies) > due and replies[due].code >= 400:
            self._answer_all(hearer, replies[:due], now_ns)
            if not hearer.closed:
                phase = pending.pop(0)
                self._account.reply(phase, replies[due])
                hearer.shut_down(phase, replies[due], now_ns, unsent)
        else:
            phase = pending[0] if pending else _IDLE
            hearer.end(UNASKED, words, now_ns, phase, unsent=unsent, in_order=False)

    def _answer_all(self, hearer: Hearer, replies: list[Reply], now_ns: int) -> list[Buffer]:
        out: list[Buffer] = []
        pending, count = self.pending, self._account.reply
        for index, reply in enumerate(replies):
            phase = pending.pop(0) if pending else _IDLE
            if reply.code == 421 and any(later.code < 400 for later in replies[index + 1 :]):
                if phase is not _IDLE:
                    pending.insert(0, phase)
                hearer.end(UNASKED, replies[index + 1].words, now_ns, in_order=False)
                return []
            count(phase, reply)
            if phase is _IDLE or reply.code == 421:
                hearer.shut_down(phase, reply, now_ns)
            else:
                answering = hearer.answering
                answering.answers[phase](answering, reply, now_ns, out)
                if self._held and (phase in _IN_STEP or not pending or len(self._held) > self._most_held):
                    self.let_go(doubtful=False)
            if hearer.closed:
                return []  # what an earlier one of these replies had us write has not gone out, and will not
            self.waiting_since_ns = now_ns  # the next reply that is due has the whole time limit for itself
        if self.reader.fault:
            hearer.end("malformed reply", self.reader.fault, now_ns, in_order=False)
            return []
        return out

    # -- rows -------------------------------------------------------------------------------------------

    def enter(self, row: Row, mixed: Mixed | None, *, hold: bool) -> None:
        """A message has ended; `mixed` when its recipients did not all end alike. It waits if others do, or must."""
        if self._held or hold:
            self._held += ((row, mixed),)
        else:
            self._write_down(row, mixed)

    def let_go(self, *, doubtful: bool) -> None:
        """Write down what is held: as it was answered, or, when the replies have lost their order, as in doubt."""
        held, self._held = self._held, ()
        for row, mixed in held:
            if doubtful:
                self._write_down((row[0], Outcome.IN_DOUBT, *row[2:]), None)
            else:
                self._write_down(row, mixed)

    def _write_down(self, row: Row, mixed: Mixed | None) -> None:
        self._account.rows.frombytes(ROW(*row))
        if mixed is not None:
            self._account.recipients_differ(row[0], row[1], mixed)

    # -- what has left this machine ---------------------------------------------------------------------

    def ends_sent(self, unsent: int, hearer: Hearer) -> int:
        """Of how many messages at work the end of data has left this machine, all but the last `unsent` octets."""
        due = islice(self.pending, self._due_while(unsent, hearer))
        return sum(phase is _END_OF_DATA for phase, _ in groupby(due))

    def _due_while(self, unsent: int, hearer: Hearer) -> int:
        """How many of the replies due are to commands that are not among the last `unsent` octets written.

        Several replies to an end of data, one behind the other, are those of one message (LMTP).
        """
        due, behind = len(self.pending), 0
        octets = chain(reversed(hearer.answering.octets_due()), repeat(1 << 62))
        for phase, replies in groupby(reversed(self.pending)):
            count = sum(1 for _ in replies)
            for one_command in [count] if phase is _END_OF_DATA else [1] * count:
                if unsent <= behind:
                    return due
                due -= one_command
                behind += next(octets)
        return due

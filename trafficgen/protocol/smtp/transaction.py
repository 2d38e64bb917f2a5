"""One try to hand a message over: what is known of it, and the row that tells how it ended.

Takes     a message and its intended start, the times of its steps, refusals
Gives     the row of nine integers for the account (`measure.recorder` has their meaning); its outcome when refused
Not here  which reply is whose (conversation), what is sent (handover)

A message *starts* when the session turns to it: when its envelope is written, or, if that rode along behind the message
before, when the end of data of that one is answered. Until then no server has begun to work on it, so a session that
dies gives it back unharmed.
"""

from typing import Final

from trafficgen.outcomes import Outcome
from trafficgen.protocol.smtp.interfaces import WireMessage, Work
from trafficgen.protocol.smtp.replies import Reply

Entry = tuple[int, int, int, int]
"""What the account is told of a message, whatever becomes of it: number, domain, recipients, octets."""

Row = tuple[int, Outcome, int, int, int, int, int, int, int]

Mixed = tuple[int, ...]
"""Recipients of a message by `Outcome`, in the order of its codes."""

_OUTCOMES: Final = len(Outcome)


class Transaction:
    """What a session works on: a message's `entry`, None between two, and the `message` itself until it is written.

    Then nothing of it is left to send, and a session that waits for the reply would hold 0.8 kB for nothing.

    `recipients`: accepted so far, by their RCPT. `taken`: in LMTP, those whose own reply to the end of data was a yes.
    `refused`: recipients that were refused, for now and for good.
    """

    __slots__ = (
        "due_ns", "entry", "message", "ready_ns", "recipients", "refusal", "refused", "sender_refused", "sent_ns",
        "start_ns", "taken",
    )  # fmt: skip

    def __init__(self) -> None:
        self.message: WireMessage | None = None
        self.entry: Entry | None = None
        self.due_ns = self.start_ns = self.ready_ns = self.sent_ns = -1
        self.recipients = self.taken = 0
        self.refused: tuple[Outcome, ...] = ()
        self.refusal: Reply | None = None
        self.sender_refused = False

    def assign(self, work: Work, now_ns: int) -> None:
        """Turn to this message."""
        self.message, self.due_ns = work
        self.entry = entry_of(self.message)
        self.start_ns = now_ns
        self.ready_ns = self.sent_ns = -1
        self.refusal = None
        self.sender_refused = False
        self.recipients = self.taken = 0
        self.refused = ()

    def take_back(self) -> Work:
        """Turn away from the message, of which no content was written: somebody else is to send it."""
        assert self.message is not None
        work = self.message, self.due_ns
        self.message = self.entry = None
        return work

    @property
    def untouched(self) -> bool:
        """Whether no octet of the message was sent, and the server has not begun to refuse it."""
        return self.sent_ns == -1 and self.refusal is None

    def refuse(self, reply: Reply) -> None:
        """Note why the message is refused.

        While no recipient is accepted the first no counts: those behind it follow from it. After that, the last one.
        """
        if self.refusal is None or self.recipients:
            self.refusal = reply

    def refuse_recipient(self, reply: Reply) -> None:
        """A recipient of its own is refused. One that had no sender to write to it is not: all are, for one reason."""
        if not self.sender_refused:
            self.refused += (rejection(reply),)

    def forget_recipients(self) -> None:
        """Nobody knows which reply was whose, so no recipient differs from the message."""
        self.taken = 0
        self.refused = ()

    def finish(self, outcome: Outcome, now_ns: int, rest: Outcome | None = None) -> tuple[Row, Mixed | None]:
        """Its row, and its recipients by outcome unless all are as the message. There is no message afterwards.

        `rest`: what became of recipients that had no answer of their own, if not `outcome`.
        """
        assert self.entry is not None
        number, domain, recipients, octets = self.entry
        row = (
            number, outcome, domain, self.due_ns,
            self.start_ns, self.ready_ns, self.sent_ns, now_ns, octets,
        )  # fmt: skip
        self.message = self.entry = None
        if not self.refused and (not self.taken or self.taken == recipients):
            return row, None
        counts = [0] * _OUTCOMES
        for refused in self.refused:
            counts[refused] += 1
        counts[Outcome.ACCEPTED] += self.taken
        counts[outcome if rest is None else rest] += recipients - len(self.refused) - self.taken
        return row, None if counts[outcome] == recipients else tuple(counts)


def entry_of(message: WireMessage) -> Entry:
    """What of this message outlives its content."""
    return message.number, message.domain, message.recipients, message.octets


def rejection(reply: Reply) -> Outcome:
    """What a refusal means for the message."""
    return Outcome.REJECTED_PERMANENT if reply.code >= 500 else Outcome.REJECTED_TEMPORARY

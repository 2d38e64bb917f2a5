"""One try to hand a message over: what is known of it, and the row that tells how it ended.

Takes     a message and its intended start, the times of its steps, refusals
Gives     the row of nine integers for the account (`measure.recorder` has their meaning); its outcome when refused
Not here  which reply is whose (conversation), what is sent (handover)

A message *starts* when the session turns to it: when its envelope is written, or, if that rode along behind the message
before, when the end of data of that one is answered. Until then no server has begun to work on it, so a session that
dies gives it back unharmed.
"""

from trafficgen.outcomes import Outcome
from trafficgen.protocol.smtp.interfaces import WireMessage, Work
from trafficgen.protocol.smtp.replies import Reply

Row = tuple[int, Outcome, int, int, int, int, int, int, int]


class Transaction:
    """The message that a session works on; `message` is None between two."""

    __slots__ = (
        "due_ns", "message", "ready_ns", "recipients", "refusal", "sender_refused", "sent_ns", "start_ns",
    )  # fmt: skip

    def __init__(self) -> None:
        self.message: WireMessage | None = None
        self.due_ns = self.start_ns = self.ready_ns = self.sent_ns = -1
        self.recipients = 0  # accepted so far
        self.refusal: Reply | None = None
        self.sender_refused = False

    def assign(self, work: Work, now_ns: int) -> None:
        """Turn to this message."""
        self.message, self.due_ns = work
        self.start_ns = now_ns
        self.ready_ns = self.sent_ns = -1
        self.refusal = None
        self.sender_refused = False
        self.recipients = 0

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

    def finish(self, outcome: Outcome, now_ns: int) -> tuple[Row, int]:
        """Its row, and how many recipients took it if not all did (0 otherwise). There is no message afterwards."""
        message = self.message
        assert message is not None
        row = (
            message.number, outcome, message.domain, self.due_ns,
            self.start_ns, self.ready_ns, self.sent_ns, now_ns, message.octets,
        )  # fmt: skip
        some = self.recipients if outcome is Outcome.ACCEPTED and self.recipients != message.recipients else 0
        self.message = None
        return row, some


def rejection(reply: Reply) -> Outcome:
    """What a refusal means for the message."""
    return Outcome.REJECTED_PERMANENT if reply.code >= 500 else Outcome.REJECTED_TEMPORARY

"""The shortcut for servers that answer every message with the same octets, or the same but for a queue id.

Takes     a group of replies that the careful parser has read and found as hoped
Gives     `octets` to compare with, and the replies, of which `phases`, that the hits stand for
"""

from typing import Final

from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp.interfaces import SessionAccount
from trafficgen.protocol.smtp.replies import MAX_REMEMBERED, Reply
from trafficgen.protocol.smtp.steps import RECIPIENT_OK


def group_of(recipients: int) -> tuple[Phase, ...]:
    """The replies due after a message whose successor, with so many recipients, rode along."""
    return (Phase.END_OF_DATA, Phase.MAIL, *[Phase.RCPT] * recipients, Phase.DATA)


_BARE: Final = len(b"250 ")

ENVELOPE: Final = -6
CLOSING: Final = -7
GREETING: Final = -8
HELLO: Final = -9
"""What else is learnt is kept where no message has so many recipients: the answers to an envelope by itself, to a
session's last message with the goodbye, and of the two steps before the first one."""


class ReplyCache:
    """The last group of replies that the careful parser took for "accepted; go on", shared by all sessions.

    Each number of recipients has a group of its own: `of`.

    Servers answer message after message with the same octets. The same octets, to the same group of commands, mean
    the same: one comparison instead of four parsed replies, a twentieth of their cost (benchmarks/wire.py). Most real
    servers put a queue id into the reply to the end of data: `repeats` looks past it.
    """

    __slots__ = ("_begin", "_behind", "_kin", "group", "hits", "octets", "phases", "recipients", "replies")

    def __init__(self, recipients: int = 1) -> None:
        self.recipients = recipients
        self.group = group_of(recipients)
        self._kin: dict[int, ReplyCache] = {recipients: self}
        self.octets = b""
        self.hits = 0
        self._begin = self._behind = b""
        self.replies: list[Reply] = []
        self.phases: tuple[Phase, ...] = ()

    def of(self, recipients: int) -> "ReplyCache":
        """The one for messages with so many recipients."""
        if (found := self._kin.get(recipients)) is None:
            found = self._kin[recipients] = type(self)(recipients)
            found._kin = self._kin
        return found

    def learn(self, octets: bytes, replies: list[Reply], account: SessionAccount, phases: tuple[Phase, ...]) -> None:
        """Remember a group that was answered in one piece, all as hoped."""
        self.tally(account)
        self.phases = phases
        self.octets = octets
        self.replies = replies
        first = replies[0]
        # A first reply of several lines is longer than that: its code is followed by a hyphen.
        begin = b"%d %b" % (first.code, first.enhanced.encode("ascii") + b" " * bool(first.enhanced))
        text, line_end, rest = octets.partition(b"\r\n")
        self._begin, self._behind = (begin, line_end + rest) if text.startswith(begin) else (b"", b"")

    def repeats(self, data: bytes) -> bool:
        """Whether `data` are the same replies but for the text of the first, which is a line as it was."""
        begin, behind = self._begin, self._behind
        return (
            begin != b""
            and data.startswith(begin)
            and data.endswith(behind)
            and data.find(b"\n") == len(data) - len(behind) + 1
            and len(data) <= MAX_REMEMBERED
            and (len(begin) > _BARE or data[_BARE] not in b"245")  # where no enhanced code was, none is
        )

    def tally_all(self, account: SessionAccount) -> None:
        """`tally`, for every number of recipients."""
        for one in self._kin.values():
            one.tally(account)

    def tally(self, account: SessionAccount) -> None:
        """Write the hits so far into the account, as the replies they stand for."""
        if self.hits:
            for phase, reply in zip(self.phases, self.replies, strict=True):
                account.reply(phase, reply, self.hits)
            self.hits = 0


def as_hoped(replies: list[Reply]) -> bool:
    """Whether the replies to a group say: accepted, and go on."""
    end_of_data, mail, *rcpts, data = (reply.code for reply in replies)
    return end_of_data == mail == 250 and all(rcpt in RECIPIENT_OK for rcpt in rcpts) and data == 354

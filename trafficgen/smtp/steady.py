"""The shortcut for servers that answer every message with the same octets.

Takes     a group of replies that the careful parser has read and found as hoped
Gives     `octets` to compare with, and the replies, of which `phases`, that the hits stand for
"""

from typing import Final

from trafficgen.outcomes import Phase
from trafficgen.smtp.replies import Reply
from trafficgen.smtp.seams import Account

GROUP: Final = (Phase.END_OF_DATA, Phase.MAIL, Phase.RCPT, Phase.DATA)
"""The replies due after a message whose successor, with one recipient, rode along."""


class Steady:
    """The last group of replies that the careful parser took for "accepted; go on", shared by all sessions.

    Servers answer message after message with the same octets. The same octets, to the same group of commands, mean
    the same: one comparison instead of four parsed replies (benchmarks/wire.py). A server whose replies carry a queue
    id never repeats itself and is parsed every time.
    """

    __slots__ = ("_replies", "hits", "octets", "phases")

    def __init__(self) -> None:
        self.octets = b""
        self.hits = 0
        self._replies: list[Reply] = []
        self.phases: tuple[Phase, ...] = ()

    def learn(self, octets: bytes, replies: list[Reply], account: Account, phases: tuple[Phase, ...]) -> None:
        """Remember a group that was answered in one piece, all as hoped."""
        self.tally(account)
        self.phases = phases
        self.octets = octets
        self._replies = replies

    def tally(self, account: Account) -> None:
        """Write the hits so far into the account, as the replies they stand for."""
        if self.hits:
            for phase, reply in zip(self.phases, self._replies, strict=True):
                account.reply(phase, reply, self.hits)
            self.hits = 0


def as_hoped(replies: list[Reply]) -> bool:
    """Whether the replies to `GROUP` say: accepted, and go on."""
    end_of_data, mail, rcpt, data = (reply.code for reply in replies)
    return 200 <= end_of_data <= 299 and mail == 250 and 250 <= rcpt <= 259 and data == 354

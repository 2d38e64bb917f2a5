"""A session that holds its connection and carries no message.

    < GREETING > EHLO <     then again and again > NOOP <     at the end > QUIT < 221

Takes     octets received and the time they came; a word to open, or to show that it still lives
Gives     buffers to write, in order; replies, and why it did not come about, to `SessionAccount`
Fails     never because of a peer
Not here  how many there are, when they say NOOP, and what becomes of those that a server closes (engine/idle)
"""

from typing import Final

from mboxgen.enums import table_of
from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.conversation import Answers
from trafficgen.protocol.smtp.handover import UNEXPECTED
from trafficgen.protocol.smtp.interfaces import Buffer, Extensions, Work
from trafficgen.protocol.smtp.opening import REFUSED
from trafficgen.protocol.smtp.replies import Reply
from trafficgen.protocol.smtp.steps import STEPS

_NOOP: Final = STEPS[Phase.NOOP].command + b"\r\n"


class HoldingSession(ClientSession):
    """One of them. What it is given in place of a message to `greet` and `start` with is not looked at.

    `served`: the server has greeted it, and holds it as well.
    """

    __slots__ = ()

    def greet(self, work: Work, now_ns: int) -> None:
        self.conversation.pending.append(Phase.GREETING)
        self.busy = True

    def announced(self, extensions: Extensions, now_ns: int, out: list[Buffer]) -> None:
        self.extensions = extensions
        self.answering = _Holding(self)
        self.served = True
        self.busy = False

    def start(self, work: Work, now_ns: int) -> list[Buffer]:
        """Say NOOP."""
        out: list[Buffer] = []
        self.conversation.write(Phase.NOOP, _NOOP, now_ns, out)
        self.busy = True
        return out

    def withdraw(self) -> bool:
        """The run is over: nothing is lost with this session."""
        if self.closed:
            return False
        self._close()
        return True

    def shut_down(self, phase: Phase, reply: Reply, now_ns: int, unsent: int = 0) -> None:
        if self.served:
            super().shut_down(phase, reply, now_ns, unsent)
        else:
            self.conversation.pending.insert(0, phase)
            self.end(REFUSED, reply.words, now_ns, unsent=unsent)

    def _end(self, reason: str, example: str, now_ns: int, phase: Phase | None, *, unsent: int, doubtful: bool) -> None:
        if not self.closed and not self.served:
            self.account.trouble(f"an idle session: {reason}" + (f": {example}" if example else ""))
        super()._end(reason, example, now_ns, phase, unsent=unsent, doubtful=doubtful)


class _Holding:
    """What answers mean while a session holds. Implements `conversation.Answering`."""

    __slots__ = ("_session",)

    def __init__(self, session: HoldingSession) -> None:
        self._session = session

    def octets_due(self) -> list[int]:
        return []

    def _on_noop(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if reply.code == 250:
            self._session.busy = bool(self._session.conversation.pending)
        else:
            self._session.lose(Phase.NOOP, UNEXPECTED, reply, now_ns)

    def _on_quit(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        self._session.on_quit(reply, now_ns)

    answers: Answers = table_of([Phase.NOOP, Phase.QUIT], {Phase.NOOP: _on_noop, Phase.QUIT: _on_quit})

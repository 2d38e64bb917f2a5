"""A session that goes before it has handed a message over, as scanners, health checks and broken clients do.

    < GREETING > EHLO < > MAIL < > RCPT < … > DATA < 354 > half of the message
    at one of these steps, its answer awaited or not: > QUIT < 221, or the connection is closed without a word

Takes     octets received and the time they came; a message, whose envelope it says
Gives     the message back to its source as it goes, or as soon as EHLO is answered: another session hands it over
Fails     never because of a peer; one that says no, or lacks an extension, sees it go sooner
Not here  which sessions go, and where (engine/identity)

It sends one command at a time and never the end of data, so no message is handed over here, or in doubt.
"""

from collections.abc import Collection
from typing import Final

from mboxgen.enums import table_of
from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.conversation import Answers
from trafficgen.protocol.smtp.handover import QUIT
from trafficgen.protocol.smtp.interfaces import (
    Buffer,
    Extensions,
    Leaving,
    SessionAccount,
    SessionOptions,
    Source,
    WireMessage,
)
from trafficgen.protocol.smtp.layout import Lacking, adapted
from trafficgen.protocol.smtp.opening import Opening
from trafficgen.protocol.smtp.replies import Reply
from trafficgen.protocol.smtp.reply_cache import ReplyCache
from trafficgen.protocol.smtp.steps import STEPS

_COMMANDS: Final = (Phase.MAIL, Phase.RCPT, Phase.DATA)


class LeavingSession(ClientSession):
    """One of them; its options have a `leaving`."""

    __slots__ = ("_last", "_lines", "leaving")

    def __init__(self, source: Source, account: SessionAccount, options: SessionOptions, cache: ReplyCache) -> None:
        super().__init__(source, account, options, cache)
        assert options.leaving is not None
        self.leaving: Leaving = options.leaving
        self.answering = _EarlyOpening(self)
        self.feed = self._feed
        self._lines: list[tuple[Phase, bytes]] = []  # of the envelope that are still to be said, the next one last
        self._last: list[Buffer] = []  # what goes out though the session is over

    def _feed(self, data: bytes, now_ns: int) -> Collection[Buffer]:
        out = self._read(data, now_ns)
        return self._last if self.closed else out

    def opened(self, now_ns: int) -> list[Buffer]:
        """The connection is up and may be closed, as it may not yet be when `connected` is called (uvloop)."""
        if not self.closed and self.goes_at(Phase.GREETING, answered=False):
            self.go(now_ns, [])
        return []

    def announced(self, extensions: Extensions, now_ns: int, out: list[Buffer]) -> None:
        self.extensions = extensions
        message = self.transaction.message
        assert message is not None
        if self.leaving.step is Phase.EHLO:
            self.go(now_ns, out)
            return
        self._give_back()
        # DATA in any case: a BDAT is answered only when all of its octets have come.
        lacking = Lacking.of(self.options, extensions)._replace(
            chunks=self.options.pipelining and self.options.chunks > 0
        )
        message = adapted(message, lacking) if any(lacking) else message
        self._lines = _envelope(message, self.leaving.step)
        self.answering = _Going(self, message)
        self.say_next(now_ns, out)

    def goes_at(self, step: Phase, *, answered: bool) -> bool:
        """Whether it goes once this has been sent, or once it has been answered."""
        return self.leaving.step is step and self.leaving.waits is answered

    def say_next(self, now_ns: int, out: list[Buffer]) -> None:
        """The next line of the envelope; or all that was to be said is said and answered."""
        if not self._lines:
            self.go(now_ns, out)
            return
        phase, line = self._lines.pop()
        self.conversation.write(phase, line, now_ns, out)
        if not self._lines and self.goes_at(phase, answered=False):
            self.go(now_ns, out)

    def go(self, now_ns: int, out: list[Buffer]) -> None:
        """Say goodbye, or close the connection behind what is in `out`."""
        self._give_back()
        if self.leaving.quits:
            self.answering = _Going(self, None)
            self.conversation.write(Phase.QUIT, QUIT, now_ns, out)
        else:
            self._last = out
            self._close()

    def _give_back(self) -> None:
        """Somebody else is to send the message; this session has done all that it was to do."""
        if self.transaction.message is not None:
            self.source.give_back(self.transaction.take_back())
        self.served = True

    def withdraw(self) -> bool:
        """The run is over: no message is lost with this session."""
        if self.closed:
            return False
        self._give_back()
        self._close()
        return True


class _EarlyOpening(Opening):
    """The opening of a session that may go within it."""

    __slots__ = ()

    _session: LeavingSession

    def _on_greeting(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        session = self._session
        if reply.code == 220 and session.leaving.step is Phase.GREETING:
            session.account.phase(Phase.GREETING, now_ns - session.conversation.waiting_since_ns)
            session.go(now_ns, out)
            return
        super()._on_greeting(reply, now_ns, out)
        if not session.closed and session.goes_at(Phase.EHLO, answered=False):
            session.go(now_ns, out)

    answers: Answers = table_of(list(Opening.answers), {**Opening.answers, Phase.GREETING: _on_greeting})


class _Going:
    """What answers mean from MAIL on. Implements `conversation.Answering`."""

    __slots__ = ("_message", "_session")

    def __init__(self, session: LeavingSession, message: WireMessage | None) -> None:
        self._session = session
        self._message = message

    def octets_due(self) -> list[int]:
        return []

    def _on_answer(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if reply.code < 400 and self._message is not None:
            self._session.say_next(now_ns, out)
        else:
            self._session.go(now_ns, out)

    def _on_data(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if reply.code == 354 and self._message is not None and self._session.leaving.step is Phase.END_OF_DATA:
            out += _half(self._message)
        self._session.go(now_ns, out)

    def _on_quit(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        self._session.on_quit(reply, now_ns)

    answers: Answers = table_of(
        [*_COMMANDS, Phase.QUIT],
        {Phase.MAIL: _on_answer, Phase.RCPT: _on_answer, Phase.DATA: _on_data, Phase.QUIT: _on_quit},
    )


def _envelope(message: WireMessage, step: Phase) -> list[tuple[Phase, bytes]]:
    """Its lines up to this step, the last one first."""
    last = Phase.DATA if step is Phase.END_OF_DATA else step
    said = _COMMANDS[: _COMMANDS.index(last) + 1]
    return [
        (phase, line)
        for line in reversed(message.envelope.splitlines(keepends=True))
        for phase in said
        if line.startswith(STEPS[phase].command)
    ]


def _half(message: WireMessage) -> list[Buffer]:
    """The first half of its content; the end of data is in the other one."""
    octets = (len(message.head) + len(message.body) + len(message.tail)) // 2
    return [message.head[:octets], memoryview(message.body)[: max(octets - len(message.head), 0)]]

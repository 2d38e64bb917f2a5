"""Commands on their way to the server, and what each of them waits for.

    written ──> answered                                    most commands
    written ──("+")──> literal or response ──> answered     a literal that the server must first ask for, AUTHENTICATE
    written ──("+")──> taken up ──> DONE ──> answered       IDLE (RFC 2177)

Takes     commands as pieces: what is before the first literal, then each literal with what follows it
Gives     octets to write, in `out`; the command that an answer belongs to, by its tag
Rules     behind a command that waits for "+", and without pipelining behind any, what is sent waits for its turn
Fails     ValueError for a "+" that nothing waits for: the server's fault
Not here  which commands a session's state allows, what an answer means (`client`)
"""

from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from trafficgen.protocol.imap.commands import ImapCommand

ChallengeAnswer = Callable[[bytes], bytes]


class SentLine(NamedTuple):
    """A command without an answer."""

    command: ImapCommand
    sent_ns: int
    """When its first octets went out, or were put behind others."""
    argument: str


class _Waiting(NamedTuple):
    """A command that must wait for a word of the server before it goes on."""

    tag: bytes
    pieces: deque[bytes]
    """What goes out at each "+", one after the other; the last ends the command."""
    answer: ChallengeAnswer | None = None


class Outgoing:
    """Those of one session. `now_ns`: since when a greeting is due."""

    __slots__ = (
        "_blocked", "_count", "_done_wanted", "_idle_tag", "_pending", "_pipelining", "_queue", "_unanswered", "idling",
        "out",
    )  # fmt: skip

    def __init__(self, now_ns: int, *, pipelining: bool) -> None:
        self.out: list[bytes] = []
        self.idling = False
        """Whether the server has taken up an IDLE, and DONE was not said."""
        self._pending = {b"*": SentLine(ImapCommand.GREETING, now_ns, "")}
        self._count = 0
        self._blocked: _Waiting | None = None
        self._queue: deque[tuple[bytes, list[bytes], ChallengeAnswer | None]] = deque()
        self._idle_tag: bytes | None = None
        self._done_wanted = False
        self._pipelining = pipelining
        self._unanswered = 0  # commands that have been written

    # -- what is under way ------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Commands without an answer; IDLE and the greeting count."""
        return len(self._pending)

    @property
    def waiting_since_ns(self) -> int | None:
        """When the oldest of them was sent; IDLE, which may take for ever, does not count."""
        times = [sent.sent_ns for tag, sent in self._pending.items() if tag != self._idle_tag or self._done_wanted]
        return min(times) if times else None

    @property
    def first(self) -> SentLine | None:
        """The oldest of them."""
        return next(iter(self._pending.values()), None)

    @property
    def idle_ends(self) -> bool:
        """Whether there is no IDLE that would have to be ended before another command is sent."""
        return self._idle_tag is None or self._done_wanted

    def asks(self, command: ImapCommand) -> bool:
        """Whether such a command is among them."""
        return any(sent.command is command for sent in self._pending.values())

    def written(self) -> Iterator[SentLine]:
        """Those of which the server may have heard, the oldest first."""
        unwritten = {tag for tag, *_ in self._queue}
        return (sent for tag, sent in self._pending.items() if tag not in unwritten)

    # -- out --------------------------------------------------------------------------------------------

    def send(
        self, command: ImapCommand, pieces: list[bytes], now_ns: int, argument: str, answer: ChallengeAnswer | None
    ) -> None:
        """Give a command its tag, and write it when its turn has come."""
        self._count += 1
        tag = b"a%d" % self._count
        self._pending[tag] = SentLine(command, now_ns, argument)
        if command is ImapCommand.IDLE:
            self._idle_tag, self._done_wanted = tag, False
        pieces = [b"%s %s%s" % (tag, command.value.encode(), pieces[0]), *pieces[1:]]
        pieces[-1] += b"\r\n"
        if self._may_write:
            self._write(tag, pieces, answer)
        else:
            self._queue.append((tag, pieces, answer))

    def end_idle(self) -> None:
        """Send DONE, as soon as the server has taken up the IDLE."""
        if self.idle_ends:
            return
        self._done_wanted = True
        if self.idling:
            self._say_done()

    @property
    def _may_write(self) -> bool:
        return self._blocked is None and (self._pipelining or not self._unanswered)

    def _write(self, tag: bytes, pieces: list[bytes], answer: ChallengeAnswer | None) -> None:
        self._unanswered += 1
        self.out.append(pieces[0])
        if len(pieces) > 1 or answer is not None or tag == self._idle_tag:
            self._blocked = _Waiting(tag, deque(pieces[1:]), answer)

    def _unblock(self) -> None:
        self._blocked = None
        while self._queue and self._may_write:
            self._write(*self._queue.popleft())

    def _say_done(self) -> None:
        self.idling = False
        self.out.append(b"DONE\r\n")
        self._unblock()

    # -- in ---------------------------------------------------------------------------------------------

    def go_on(self, text: bytes) -> bool:
        """A "+" came: go on with whatever waits for it. Whether that took up an IDLE."""
        waiting = self._blocked
        if waiting is None:
            raise ValueError("a continuation that nobody asked for")
        if waiting.tag == self._idle_tag:
            if self.idling:
                raise ValueError("a second continuation of an IDLE")
            self.idling = True
            if self._done_wanted:
                self._say_done()
            return True
        if waiting.answer is not None:
            self.out.append(b64encode(waiting.answer(text)) + b"\r\n")
        else:
            self.out.append(waiting.pieces.popleft())
            if not waiting.pieces:
                self._unblock()
        return False

    def greeted(self) -> SentLine:
        """The greeting came."""
        return self._pending.pop(b"*")

    def answered(self, tag: bytes, now_ns: int) -> SentLine | None:
        """The answer with this tag came; the command it belongs to, None when none was written that has it. What waited
        for it is written now."""
        if tag == b"*" or any(tag == waiting for waiting, *_ in self._queue):
            return None
        if (sent := self._pending.pop(tag, None)) is None:
            return None
        self._unanswered -= 1
        if tag == self._idle_tag:
            self._idle_tag, self.idling, self._done_wanted = None, False, False
        if self._blocked is not None and self._blocked.tag == tag:
            self._unblock()
        elif self._queue and self._may_write:  # without pipelining: the next one, whose time begins now
            next_tag = self._queue[0][0]
            self._pending[next_tag] = self._pending[next_tag]._replace(sent_ns=now_ns)
            self._write(*self._queue.popleft())
        return sent

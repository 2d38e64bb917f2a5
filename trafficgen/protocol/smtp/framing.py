"""From octets to commands, messages and chunks, on the receiving side.

    commands:  CRLF ends a line
    DATA:      CRLF "." CRLF ends a message (RFC 5321 section 4.5.2)
    BDAT n:    n octets follow as they are; LAST ends a message (RFC 3030)

Takes     octets in any pieces; a `Receiver` that is told of every message
Gives     the replies to write, in one piece for each group of commands; `halt` when somebody else has to act first
Limits    `MAX_COMMAND_OCTETS` a line
Fails     never
Not here  what a command means (server)

While halted nothing is read: what came with it waits in `_rest`, and is thrown away by those who must.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from trafficgen.protocol.smtp.dots import DotReader, find_end
from trafficgen.protocol.smtp.policy_hooks import FINAL, USUAL, Answer, Disposition, PolicyHooks, Suspension

MAX_COMMAND_OCTETS: Final = 2048
"""RFC 5321 section 4.5.3.1.4 asks for 512; extensions add to it."""

TAKEN: Final = b"250 2.0.0 taken\r\n"
SENDER_OK: Final = b"250 2.1.0 ok\r\n"
RECIPIENT_OK: Final = b"250 2.1.5 ok\r\n"
GO_AHEAD: Final = b"354 end with a dot on a line of its own\r\n"
ENVELOPE_OK: Final = SENDER_OK + RECIPIENT_OK + GO_AHEAD
_TAKEN_AND_NEXT: Final = TAKEN + ENVELOPE_OK
_CHUNK_OK: Final = b"250 2.0.0 %d octets\r\n"
_TOO_LONG: Final = b"500 5.5.2 line too long\r\n"
NO_ROOM: Final = b"452 4.3.1 no space left, the message is not taken\r\n"
TOO_BIG: Final = b"552 5.3.4 message too big\r\n"
_ORDER: Final = b"503 5.5.1 not now\r\n"

_DOT: Final = b"."[0]

MAIL: Final = rb'MAIL FROM:<((?!@)[^\x00-\x20"<>\\\x7f]{0,254})>\r\n'
RCPT: Final = rb'RCPT TO:<((?!@)[^\x00-\x20"<>\\\x7f]{1,254})>\r\n'
"""Commands without parameters, addresses without source routes and quotes: what `offer` reads alike."""
DATA: Final = b"DATA\r\n"

ENVELOPE: Final = re.compile(MAIL + RCPT + DATA).fullmatch
"""The plain envelope of one message with one recipient, in one group."""


class Receiver(Protocol):
    """Who takes the messages of one session.

    `whole` and `ended` raise OSError when there is no room; then the message is not taken, and answered so.
    """

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        """A message that came in one piece, `data[:end]`, still dot-stuffed."""

    def piece(self, octets: bytes) -> None:
        """The next piece of a message, dot-stuffing undone."""

    def ended(self, recipients: int) -> None:
        """The message made of the pieces so far is complete."""

    def dropped(self) -> None:
        """The pieces so far will never be a message."""


class Framing:
    """One session's octets. `closed`: write what was returned, then hang up; `halt` says how, or what else to do."""

    __slots__ = (
        "_chunk", "_chunk_octets", "_chunked", "_decided", "_dots", "_each", "_in_data", "_judge", "_last_chunk",
        "_lmtp", "_octets", "_receiver", "_rest", "_started", "_stranded", "closed", "drip_ns", "halt", "recipients",
        "sender", "smuggled", "unanswered", "wait_ns",
    )  # fmt: skip

    def __init__(self, receiver: Receiver, judge: PolicyHooks | None = None, *, lmtp: bool = False) -> None:
        self._receiver = receiver
        self._judge = judge
        self._lmtp = lmtp
        self._rest = b""
        self.sender: bytes | None = None
        self.recipients: list[bytes] = []
        """Never the same list for two messages: who looks now and then can tell whether anything happened."""
        self._in_data = False
        self._dots: DotReader | None = None  # a message that comes in several pieces
        self._started = False  # its first piece has been handed on
        self._octets = 0  # of it so far
        self._chunk = self._chunk_octets = 0  # octets of this BDAT that are still to come, and all of them
        self._chunked = self._last_chunk = False  # the message comes by BDAT; this one is its last
        self._stranded = False  # the chunk belongs to no message: swallow it
        self._decided: Answer | None = None  # what was decided before a wait
        self._each: Sequence[Answer] = ()  # and, in LMTP, for each recipient
        self.smuggled = 0
        self.unanswered = False
        """The last message was taken, and its reply is kept back or goes out so slowly that it may never arrive."""
        self.halt: Suspension | None = None
        self.wait_ns = self.drip_ns = 0
        self.closed = False

    def feed(self, data: bytes) -> bytes:
        """What the client sent; returns the replies."""
        if self.closed or bool(self.halt):  # bool(), or mypy takes it for unset ever after
            return self._hold(data)
        if self._in_data and self._dots is None and self._decided is None and (reply := self._read_whole(data)):
            return reply
        replies: list[bytes] = []
        rest: bytes | None = data
        while rest is not None:  # a loop: a client that waits for nothing cannot make it recurse
            if self._in_data:
                rest = self._read_data(rest, replies)
            elif self._chunk:
                rest = self._read_chunk(rest, replies)
            else:
                rest = self._read_commands(rest, replies)
            if self.halt:  # set by what was just read
                # RFC 3207 section 4.2: nothing that was said before TLS crosses over.
                self._rest = rest or b"" if self.halt is not Suspension.START_TLS else b""
                break
        return b"".join(replies)

    def resume(self) -> bytes:
        """What the session halted for is done; returns the replies to what was waiting."""
        self._go_on()
        rest, self._rest = self._rest, b""
        if self._decided is None or not self._in_data or self._dots is not None:
            return self.feed(rest) if rest else b""
        replies: list[bytes] = []
        after = self._end_pieces(rest, replies)
        if self.halt:
            self._rest = after or b""
        elif after is not None:
            replies.append(self.feed(after))
        return b"".join(replies)

    def eof(self) -> None:
        """The client hung up."""
        if self._dots is not None or self._chunked:
            self._receiver.dropped()
        self.closed = True

    def _go_on(self) -> None:
        self.halt = None

    def _hold(self, data: bytes) -> bytes:
        if self.halt in (Suspension.WAIT, Suspension.DRIP):
            self._rest += data
        return b""

    # -- commands ---------------------------------------------------------------------------------------

    def _command(self, line: bytes) -> bytes:
        """The reply to one command line."""
        raise NotImplementedError

    def _too_long(self) -> bytes:
        """The reply to a line that does not end in time; the session ends."""
        self._close()
        return _TOO_LONG

    def _read_commands(self, data: bytes, replies: list[bytes]) -> bytes | None:
        """Answer commands; returns the octets of a message that did not wait for its turn, None when there are none."""
        text = self._rest + data
        self._rest = b""
        begin = 0
        while (end := text.find(b"\r\n", begin)) >= 0:
            reply = self._command(text[begin:end])
            if self.halt is Suspension.WAIT:
                return text[begin:]  # this very line again, when the time has passed
            replies.append(reply)
            begin = end + 2
            if self.closed:
                return None
            if self.halt or self._in_data or self._chunk:
                return text[begin:] or None
        self._rest = text[begin:]
        if len(self._rest) > self._max_line + 1:  # the last one may be the CR
            replies.append(self._too_long())
        return None

    @property
    def _max_line(self) -> int:
        return MAX_COMMAND_OCTETS

    def _reset(self) -> None:
        if self._chunked:
            self._chunked = False
            self._receiver.dropped()
        self.sender = None
        self.recipients = []

    def _close(self) -> None:
        self.closed = True
        self.halt = Suspension.CLOSE

    # -- messages that end in a dot ---------------------------------------------------------------------

    def _read_whole(self, data: bytes) -> bytes:
        """The replies to a message that came in one piece and is taken as usual, b"" to anything else.

        The hot path, with or without the next envelope behind the message (benchmarks/sink.py). A dot before the first
        line end is for the careful reader.
        """
        end, smuggled = find_end(data)
        if end < 0 or data[0] == _DOT:
            return b""
        judge = self._judge
        if judge is not None:
            if self._lmtp:
                return b""
            self._decided = judge.dot(self.sender or b"", self.recipients, end + 2)
            if self._decided is not None:
                return b""
        self.smuggled += smuggled
        try:
            self._receiver.whole(data, end + 2, len(self.recipients))
            reply = TAKEN * len(self.recipients) if self._lmtp else TAKEN
        except OSError:
            reply = self._no_room()
        rest = data[end + 5 :]
        envelope = ENVELOPE(rest) if rest and reply == TAKEN else None
        if envelope is not None and (judge is None or judge.envelope(envelope[1], envelope[2])):
            # The same four replies as command by command, at a fifth of the cost.
            self.sender = envelope[1]
            self.recipients = [envelope[2]]
            return _TAKEN_AND_NEXT
        self._leave_data(b"")
        return reply + self.feed(rest) if rest else reply

    def _read_data(self, data: bytes, replies: list[bytes]) -> bytes | None:
        """Read on in a message; returns what follows its end, None while that has not come or is dealt with."""
        if self._dots is None:
            self._dots = DotReader()
            self._started = False
            self._octets = 0
        pieces, after = self._dots.feed(data)
        for piece in pieces:
            if piece and not self._started:
                self._started = True
                piece = piece[2:]
            self._take_piece(piece)
        if after is None:
            return None
        self.smuggled += self._dots.smuggled
        self._dots = None
        return self._end_pieces(after, replies)

    def _leave_data(self, rest: bytes) -> bytes | None:
        self._in_data = False
        self._reset()
        return rest or None

    # -- messages in pieces -----------------------------------------------------------------------------

    def _take_piece(self, piece: bytes) -> None:
        self._octets += len(piece)
        limit = self._judge.max_octets if self._judge is not None else None
        if limit is None or self._octets <= limit:
            self._receiver.piece(piece)

    def _end_pieces(self, rest: bytes, replies: list[bytes]) -> bytes | None:
        if self._judge is None:
            try:
                self._receiver.ended(len(self.recipients))
                reply = TAKEN * len(self.recipients) if self._lmtp else TAKEN
            except OSError:
                reply = self._no_room()
        else:
            reply = self._decide(self._judge, self._octets, self._receiver.ended, self._receiver.dropped)
            if self.halt is Suspension.WAIT:
                return rest
        replies.append(reply)
        return self._leave_data(rest)

    def _read_chunk(self, data: bytes, replies: list[bytes]) -> bytes | None:
        piece, rest = data[: self._chunk], data[self._chunk :]
        self._chunk -= len(piece)
        if not self._stranded:
            self._take_piece(piece)
        return None if self._chunk else self._end_chunk(rest, replies)

    def _end_chunk(self, rest: bytes, replies: list[bytes]) -> bytes | None:
        if not self._stranded and self._last_chunk:
            self._chunked = False
            self._in_data = True  # as behind a dot: the message is there, what follows is the next command
            return self._end_pieces(rest, replies)
        replies.append(_ORDER if self._stranded else _CHUNK_OK % self._chunk_octets)
        return rest or None

    # -- what becomes of a message ----------------------------------------------------------------------

    def _decide(self, judge: PolicyHooks, octets: int, take: Callable[[int], None], drop: Callable[[], None]) -> bytes:
        """Ask, wait, take or drop; returns the reply. With `Halt.WAIT` nothing has happened yet."""
        decided, self._decided = self._decided, None
        if judge.max_octets is not None and octets > judge.max_octets:
            drop()
            return TOO_BIG * len(self.recipients) if self._lmtp else TOO_BIG
        if self._lmtp:
            return self._decide_each(judge, octets, take, drop, decided)
        answer = decided or judge.dot(self.sender or b"", self.recipients, octets) or USUAL
        if self._must_wait(answer):
            return b""
        if answer.reply is not None:
            drop()
            return self._carry_out(answer, answer.reply)
        try:
            take(len(self.recipients))
        except OSError:
            return self._no_room()
        self.unanswered = answer.silent or answer.drip_ns > 0
        return self._carry_out(answer, TAKEN)

    def _decide_each(
        self,
        judge: PolicyHooks,
        octets: int,
        take: Callable[[int], None],
        drop: Callable[[], None],
        decided: Answer | None,
    ) -> bytes:
        """LMTP (RFC 2033): a reply for each recipient. The first answer that is more than words holds for all."""
        sender = self.sender or b""
        if decided is None:
            self._each = [judge.dot(sender, [recipient], octets) or USUAL for recipient in self.recipients]
            decided = next((a for a in self._each if a._replace(reply=None) != USUAL), USUAL)._replace(reply=None)
        if self._must_wait(decided):
            return b""
        answers, self._each = self._each, ()
        # In place, for the receiver may look at them: from here on only those that get the message.
        self.recipients[:] = [who for who, a in zip(self.recipients, answers, strict=True) if a.reply is None]
        taken = TAKEN
        if self.recipients:
            try:
                take(len(self.recipients))
            except OSError:
                self._receiver.dropped()
                taken = NO_ROOM
        else:
            drop()
        self.unanswered = bool(self.recipients) and taken is TAKEN and (decided.silent or decided.drip_ns > 0)
        return self._carry_out(decided, b"".join(taken if a.reply is None else a.reply for a in answers))

    def _no_room(self) -> bytes:
        """The reply to a message that the receiver could not keep."""
        self._receiver.dropped()
        return NO_ROOM * len(self.recipients) if self._lmtp else NO_ROOM

    def _must_wait(self, answer: Answer) -> bool:
        if not answer.wait_ns:
            return False
        self._decided = answer._replace(wait_ns=0)
        self.halt = Suspension.WAIT
        self.wait_ns = answer.wait_ns
        return True

    def _carry_out(self, answer: Answer, reply: bytes) -> bytes:
        """The reply as the answer wants it said, and what follows it."""
        if answer.then is not Disposition.GO_ON:
            self.halt = FINAL[answer.then]
            self.closed = self.halt is not Suspension.STALL and self.halt is not Suspension.DEAFEN
        elif reply.startswith(b"421"):
            self._close()  # RFC 5321 section 3.8
        elif answer.drip_ns:
            self.halt = Suspension.DRIP
        self.drip_ns = answer.drip_ns
        return b"" if answer.silent else reply

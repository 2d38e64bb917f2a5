"""Octets to commands, messages and chunks, on the server side.

    commands:  CRLF ends a line
    DATA:      CRLF "." CRLF ends a message (RFC 5321 section 4.5.2)
    BDAT n:    n octets follow as they are; LAST ends a message (RFC 3030)

Takes     octets in any pieces; a `Receiver` for the messages
Gives     the replies to send, in one piece for each group of commands; `suspension` when the connection must act first
Limits    `MAX_COMMAND_OCTETS` a line
Fails     never
Not here  what a command means (server)

While suspended nothing is read: octets that arrive wait in `_rest`, or are discarded if the suspension is final.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from trafficgen.protocol.smtp.dots import DotReader, find_end
from trafficgen.protocol.smtp.policy_hooks import AS_USUAL, FINAL, Decision, Disposition, PolicyHooks, Suspension
from trafficgen.protocol.smtp.receiver import Receiver, not_stored
from trafficgen.protocol.smtp.server_table import ORDER

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
TOO_BIG: Final = b"552 5.3.4 message too big\r\n"

_DOT: Final = b"."[0]

MAIL: Final = rb'MAIL FROM:<((?!@)[^\x00-\x20"<>\\\x7f-\xff]{0,254})>\r\n'
RCPT: Final = rb'RCPT TO:<((?!@)[^\x00-\x20"<>\\\x7f-\xff]{1,254})>\r\n'
"""Commands without parameters, ASCII addresses without source routes and quotes: what `capabilities` reads alike."""
DATA: Final = b"DATA\r\n"

ENVELOPE: Final = re.compile(MAIL + RCPT + DATA).fullmatch
"""The plain envelope of one message with one recipient, in one group."""


class Framing:
    """One session. `closed`: send what was returned, then close; `suspension` says how, or what else to do."""

    __slots__ = (
        "_chunk",
        "_chunk_octets",
        "_chunked",
        "_decision",
        "_decisions",
        "_discarding",
        "_dots",
        "_in_data",
        "_last_chunk",
        "_lmtp",
        "_octets",
        "_policy",
        "_receiver",
        "_rest", "_session_receiver",
        "_started",
        "closed",
        "drip_ns",
        "recipients",
        "sender",
        "smuggled",
        "suspension",
        "unanswered",
        "wait_ns",
    )  # fmt: skip

    def __init__(self, receiver: Receiver, policy: PolicyHooks | None = None, *, lmtp: bool = False) -> None:
        self._receiver = self._session_receiver = receiver  # for the current message; for all others
        self._policy = policy
        self._lmtp = lmtp
        self._rest = b""
        self.sender: bytes | None = None
        self.recipients: list[bytes] = []
        """A new list for every message, so that an observer can tell whether anything happened."""
        self._in_data = False
        self._dots: DotReader | None = None  # a message that arrives in several pieces
        self._started = False  # its first piece has been passed on
        self._octets = 0  # of it so far
        self._chunk = self._chunk_octets = 0  # octets of this BDAT that are still to arrive, and all of them
        self._chunked = self._last_chunk = False  # the message arrives by BDAT; this is its last chunk
        self._discarding = False  # the chunk belongs to no message
        self._decision: Decision | None = None  # made before a delay
        self._decisions: Sequence[Decision] = ()  # and in LMTP for each recipient
        self.smuggled = 0
        self.unanswered = False
        """The last message was accepted, and its reply is withheld or sent so slowly that it may never arrive."""
        self.suspension: Suspension | None = None
        self.wait_ns = self.drip_ns = 0
        self.closed = False

    def feed(self, data: bytes) -> bytes:
        """Octets from the client; returns the replies."""
        if self.closed or bool(self.suspension):  # bool(), or mypy takes it for unset from here on
            return self._hold(data)
        if self._in_data and self._dots is None and (reply := self._fast_message(data)):
            return reply
        replies: list[bytes] = []
        rest: bytes | None = data
        while rest is not None:  # a loop: a client that never waits cannot cause recursion
            if self._in_data:
                rest = self._read_data(rest, replies)
            elif self._chunk:
                rest = self._read_chunk(rest, replies)
            else:
                rest = self._read_commands(rest, replies)
            if self.suspension:  # set by what was just read
                # RFC 3207 section 4.2: nothing received before TLS counts after it.
                self._rest = rest or b"" if self.suspension is not Suspension.START_TLS else b""
                break
        return b"".join(replies)

    def resume(self) -> bytes:
        """The suspension is over; returns the replies to what was waiting."""
        self._continue()
        rest, self._rest = self._rest, b""
        if self._decision is None or not self._in_data or self._dots is not None:
            return self.feed(rest) if rest else b""
        replies: list[bytes] = []
        after = self._end_pieces(rest, replies)
        if self.suspension:
            self._rest = after or b""
        elif after is not None:
            replies.append(self.feed(after))
        return b"".join(replies)

    def eof(self) -> None:
        """The client closed the connection."""
        if self._dots is not None or self._chunked:
            self._receiver.dropped()
        self.closed = True

    def _continue(self) -> None:
        self.suspension = None

    def _hold(self, data: bytes) -> bytes:
        if self.suspension in (Suspension.WAIT, Suspension.DRIP):
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
        """Answer commands; returns the octets after them if they belong to a message, otherwise None."""
        text = self._rest + data
        self._rest = b""
        begin = 0
        while (end := text.find(b"\r\n", begin)) >= 0:
            reply = self._command(text[begin:end])
            if self.suspension is Suspension.WAIT:
                return text[begin:]  # this line again, after the delay
            replies.append(reply)
            begin = end + 2
            if self.closed:
                return None
            if self.suspension or self._in_data or self._chunk:
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
        self._receiver = self._session_receiver
        self.sender = None
        self.recipients = []

    def _close(self) -> None:
        self.closed = True
        self.suspension = Suspension.CLOSE

    # -- messages that end in a dot ---------------------------------------------------------------------

    def _fast_message(self, data: bytes) -> bytes:
        """The replies to a message that arrived in one piece and is accepted as usual, b"" to anything else.

        The hot path, with or without the next envelope after the message (benchmarks/sink.py). A dot before the first
        line end is for the careful reader.
        """
        end, smuggled = find_end(data)
        if end < 0 or data[0] == _DOT:
            return b""
        policy = self._policy
        if policy is not None:
            if self._lmtp:
                return b""
            self._decision = policy.decide_message(self.sender or b"", self.recipients, end + 2)
            if self._decision is not None:
                return b""
        self.smuggled += smuggled
        try:
            self._receiver.whole(data, end + 2, len(self.recipients))
            reply = TAKEN * len(self.recipients) if self._lmtp else TAKEN
        except OSError as error:
            reply = self._not_stored(error)
        rest = data[end + 5 :]
        envelope = ENVELOPE(rest) if rest and reply == TAKEN else None
        if envelope is not None and (policy is None or policy.accept_envelope(envelope[1], envelope[2])):
            # The same four replies as command by command, at a fifth of the cost.
            self.sender = envelope[1]
            self.recipients = [envelope[2]]
            return _TAKEN_AND_NEXT
        self._leave_data(b"")
        return reply + self.feed(rest) if rest else reply

    def _read_data(self, data: bytes, replies: list[bytes]) -> bytes | None:
        """Read a message; returns the octets after its end, None when there are none or the end has not arrived."""
        if self._dots is None:
            self._begin_pieces()
        assert self._dots is not None
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

    def _begin_pieces(self) -> None:
        self._dots = DotReader()
        self._started = False
        self._octets = 0

    def _leave_data(self, rest: bytes) -> bytes | None:
        self._in_data = False
        self._reset()
        return rest or None

    # -- messages in pieces -----------------------------------------------------------------------------

    def _take_piece(self, piece: bytes) -> None:
        self._octets += len(piece)
        limit = self._policy.max_octets if self._policy is not None else None
        if limit is None or self._octets <= limit:
            self._receiver.piece(piece)

    def _end_pieces(self, rest: bytes, replies: list[bytes]) -> bytes | None:
        if self._policy is None:
            try:
                self._receiver.ended(len(self.recipients))
                reply = TAKEN * len(self.recipients) if self._lmtp else TAKEN
            except OSError as error:
                reply = self._not_stored(error)
        else:
            reply = self._decide(self._policy, self._octets, self._receiver.ended, self._receiver.dropped)
            if self.suspension is Suspension.WAIT:
                return rest
        replies.append(reply)
        return self._leave_data(rest)

    def _read_chunk(self, data: bytes, replies: list[bytes]) -> bytes | None:
        piece, rest = data[: self._chunk], data[self._chunk :]
        self._chunk -= len(piece)
        if not self._discarding:
            self._take_piece(piece)
        return None if self._chunk else self._end_chunk(rest, replies)

    def _end_chunk(self, rest: bytes, replies: list[bytes]) -> bytes | None:
        if not self._discarding and self._last_chunk:
            self._chunked = False
            self._in_data = True  # as after a dot: the message is complete, a command follows
            return self._end_pieces(rest, replies)
        replies.append(ORDER if self._discarding else _CHUNK_OK % self._chunk_octets)
        return rest or None

    # -- accepting a message ----------------------------------------------------------------------

    def _decide(self, policy: PolicyHooks, octets: int, take: Callable[[int], None], drop: Callable[[], None]) -> bytes:
        """Decide, wait, accept or drop; returns the reply. With `Suspension.WAIT` nothing has happened yet."""
        decided, self._decision = self._decision, None
        if policy.max_octets is not None and octets > policy.max_octets:
            drop()
            return TOO_BIG * len(self.recipients) if self._lmtp else TOO_BIG
        if self._lmtp:
            return self._decide_each(policy, octets, take, drop, decided)
        decision = decided or policy.decide_message(self.sender or b"", self.recipients, octets) or AS_USUAL
        if self._must_wait(decision):
            return b""
        if decision.reply is not None:
            drop()
            return self._carry_out(decision, decision.reply)
        try:
            take(len(self.recipients))
        except OSError as error:
            return self._not_stored(error)
        self.unanswered = decision.silent or decision.drip_ns > 0
        return self._carry_out(decision, TAKEN)

    def _decide_each(
        self,
        policy: PolicyHooks,
        octets: int,
        take: Callable[[int], None],
        drop: Callable[[], None],
        decided: Decision | None,
    ) -> bytes:
        """LMTP (RFC 2033): a reply for each recipient. The first decision that is more than a reply holds for all."""
        sender = self.sender or b""
        if decided is None:
            self._decisions = [
                policy.decide_message(sender, [recipient], octets) or AS_USUAL for recipient in self.recipients
            ]
            decided = next((a for a in self._decisions if a._replace(reply=None) != AS_USUAL), AS_USUAL)._replace(
                reply=None
            )
        if self._must_wait(decided):
            return b""
        decisions, self._decisions = self._decisions, ()
        # In place, because the receiver may read them: from here on only those that get the message.
        self.recipients[:] = [who for who, a in zip(self.recipients, decisions, strict=True) if a.reply is None]
        taken = TAKEN
        if self.recipients:
            try:
                take(len(self.recipients))
            except OSError as error:
                self._receiver.dropped()
                taken = not_stored(error)
        else:
            drop()
        self.unanswered = bool(self.recipients) and taken is TAKEN and (decided.silent or decided.drip_ns > 0)
        return self._carry_out(decided, b"".join(taken if a.reply is None else a.reply for a in decisions))

    def _not_stored(self, error: OSError) -> bytes:
        """The reply to a message that the receiver could not store."""
        self._receiver.dropped()
        return not_stored(error) * len(self.recipients) if self._lmtp else not_stored(error)

    def _must_wait(self, decision: Decision) -> bool:
        if not decision.wait_ns:
            return False
        self._decision = decision._replace(wait_ns=0)
        self.suspension = Suspension.WAIT
        self.wait_ns = decision.wait_ns
        return True

    def _carry_out(self, decision: Decision, reply: bytes) -> bytes:
        """The reply as decided, and what happens after it."""
        if decision.disposition is not Disposition.CONTINUE:
            self.suspension = FINAL[decision.disposition]
            self.closed = self.suspension is not Suspension.STALL and self.suspension is not Suspension.STOP_READING
        elif reply.startswith(b"421"):
            self._close()  # RFC 5321 section 3.8
        elif decision.drip_ns:
            self.suspension = Suspension.DRIP
            self.drip_ns = decision.drip_ns
        return b"" if decision.silent else reply

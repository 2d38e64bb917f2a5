"""The server's side of a session: enough of RFC 5321 to receive mail from anybody, in groups (RFC 2920).

    > greeting, then any number of   < EHLO|HELO >   < MAIL > < RCPT… > < DATA > 354 < message, end of data >
    RSET, NOOP, VRFY, HELP at any time; QUIT > 221 ends

Takes     octets received; a `Receiver` that is told of every message
Gives     the replies to write, in one piece for each group of commands
Limits    `MAX_COMMAND_OCTETS` a line, `MAX_ERRORS` a session, `MAX_RECIPIENTS` a message
Fails     never: a peer that breaks the rules is answered 5xx, and hung up on when it goes on
Not here  sockets (sink), what a message says (ledger)
"""

import re
from collections.abc import Callable
from typing import Final, Protocol

from trafficgen.smtp.dots import END_OF_DATA, DotReader

MAX_COMMAND_OCTETS: Final = 2048
"""RFC 5321 section 4.5.3.1.4 asks for 512; extensions add to it."""

MAX_RECIPIENTS: Final = 1000
MAX_ERRORS: Final = 20

GREETING: Final = b"220 sink.traffic-gen.test ESMTP ready, everything is taken and nothing is delivered\r\n"
_EHLO: Final = b"250-sink.traffic-gen.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"
_HELO: Final = b"250 sink.traffic-gen.test\r\n"
_OK: Final = b"250 2.0.0 ok\r\n"
_SENDER_OK: Final = b"250 2.1.0 ok\r\n"
_RECIPIENT_OK: Final = b"250 2.1.5 ok\r\n"
_GO_AHEAD: Final = b"354 end with a dot on a line of its own\r\n"
_TAKEN: Final = b"250 2.0.0 taken\r\n"
_BYE: Final = b"221 2.0.0 bye\r\n"
_VRFY: Final = b"252 2.5.2 send some mail, it will be taken\r\n"
_HELP: Final = b"214 2.0.0 EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT\r\n"
_SYNTAX: Final = b"501 5.5.4 expected an address in angle brackets\r\n"
_UNKNOWN: Final = b"500 5.5.2 command not known\r\n"
_TOO_LONG: Final = b"500 5.5.2 line too long\r\n"
_ORDER: Final = b"503 5.5.1 not now\r\n"
_TOO_MANY_RECIPIENTS: Final = b"452 4.5.3 too many recipients\r\n"
_ENOUGH: Final = b"421 4.7.0 too many errors\r\n"

_ENVELOPE: Final = re.compile(rb"MAIL FROM:<([^<>\r\n]*)>\r\nRCPT TO:<([^<>\r\n]+)>\r\nDATA\r\n")
"""The envelope of one message with one recipient, in one group."""

_TAKEN_AND_NEXT: Final = _TAKEN + _SENDER_OK + _RECIPIENT_OK + _GO_AHEAD


class Receiver(Protocol):
    """Who takes the messages of one session."""

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        """A message that came in one piece, `data[:end]`, still dot-stuffed."""

    def piece(self, octets: bytes) -> None:
        """The next piece of a message, dot-stuffing undone."""

    def ended(self, recipients: int) -> None:
        """The message made of the pieces so far is complete."""

    def dropped(self) -> None:
        """The pieces so far will never be a message."""


class ServerSession:
    """One session. `closed`: write what was returned, then hang up."""

    __slots__ = ("_dots", "_errors", "_in_data", "_receiver", "_recipients", "_rest", "_sender", "_started", "closed")

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._rest = b""
        self._sender: bytes | None = None
        self._recipients: list[bytes] = []
        self._in_data = False
        self._dots: DotReader | None = None  # a message that comes in several pieces
        self._started = False
        self._errors = 0
        self.closed = False

    def feed(self, data: bytes) -> bytes:
        """What the client sent; returns the replies."""
        if self.closed:
            return b""
        replies: list[bytes] = []
        rest = data if self._in_data else self._read_commands(self._rest + data, replies)
        while rest is not None and (rest := self._read_data(rest)) is not None:
            if envelope := _ENVELOPE.fullmatch(rest):
                # The same four replies as command by command, at a fifth of the cost (benchmarks/wire.py).
                self._sender = envelope[1]
                self._recipients = [envelope[2]]
                replies.append(_TAKEN_AND_NEXT)
                break
            self._in_data = False
            self._reset()
            replies.append(_TAKEN)
            rest = self._read_commands(rest, replies)
        return b"".join(replies)

    def eof(self) -> None:
        """The client hung up."""
        if self._dots is not None:
            self._receiver.dropped()
        self.closed = True

    # -- commands ---------------------------------------------------------------------------------------

    def _read_commands(self, text: bytes, replies: list[bytes]) -> bytes | None:
        """Answer the commands in `text`; returns the octets of a message that did not wait for its 354."""
        begin = 0
        while not self.closed:
            end = text.find(b"\r\n", begin)
            if end < 0:
                break
            line = text[begin:end]
            begin = end + 2
            replies.append(self._command(line))
            if self._in_data:
                self._rest = b""
                return text[begin:] or None
        self._rest = text[begin:]
        if len(self._rest) > MAX_COMMAND_OCTETS + 1 and not self.closed:  # the last one may be the CR
            replies.append(self._too_long())
        return None

    def _command(self, line: bytes) -> bytes:
        if len(line) > MAX_COMMAND_OCTETS:
            return self._too_long()
        handler = _COMMANDS.get(line[:4].upper())
        reply = handler(self, line) if handler else _UNKNOWN
        if reply[:1] == b"5":
            self._errors += 1
            if self._errors > MAX_ERRORS:
                self.closed = True
                return reply + _ENOUGH
        return reply

    def _too_long(self) -> bytes:
        self.closed = True
        return _TOO_LONG

    def _on_ehlo(self, _line: bytes) -> bytes:
        self._reset()
        return _EHLO

    def _on_helo(self, _line: bytes) -> bytes:
        self._reset()
        return _HELO

    def _on_mail(self, line: bytes) -> bytes:
        if self._sender is not None:
            return _ORDER
        address = _address(line, b"FROM:")
        if address is None:
            return _SYNTAX
        self._sender = address
        return _SENDER_OK

    def _on_rcpt(self, line: bytes) -> bytes:
        if self._sender is None:
            return _ORDER
        address = _address(line, b"TO:")
        if not address:
            return _SYNTAX
        if len(self._recipients) >= MAX_RECIPIENTS:
            return _TOO_MANY_RECIPIENTS
        self._recipients.append(address)
        return _RECIPIENT_OK

    def _on_data(self, _line: bytes) -> bytes:
        if not self._recipients:
            return _ORDER
        self._in_data = True
        return _GO_AHEAD

    def _on_rset(self, _line: bytes) -> bytes:
        self._reset()
        return _OK

    def _on_noop(self, _line: bytes) -> bytes:
        return _OK

    def _on_vrfy(self, _line: bytes) -> bytes:
        return _VRFY

    def _on_help(self, _line: bytes) -> bytes:
        return _HELP

    def _on_quit(self, _line: bytes) -> bytes:
        self.closed = True
        return _BYE

    def _reset(self) -> None:
        self._sender = None
        self._recipients.clear()

    # -- the message ------------------------------------------------------------------------------------

    def _read_data(self, data: bytes) -> bytes | None:
        """Read on in a message; returns what follows its end, None while that has not come."""
        if self._dots is None:
            # The hot path: the whole message in one piece (benchmarks/wire.py). A dot before the first line end is
            # for the careful reader, too.
            end = data.find(END_OF_DATA)
            if end >= 0 and data[0] != 46:
                self._receiver.whole(data, end + 2, len(self._recipients))
                return data[end + 5 :]
            self._dots = DotReader()
            self._started = False
        pieces, rest = self._dots.feed(data)
        for piece in pieces:
            if piece and not self._started:
                self._started = True
                piece = piece[2:]
            self._receiver.piece(piece)
        if rest is not None:
            self._receiver.ended(len(self._recipients))
            self._dots = None
        return rest


_COMMANDS: Final[dict[bytes, Callable[[ServerSession, bytes], bytes]]] = {
    b"EHLO": ServerSession._on_ehlo,
    b"HELO": ServerSession._on_helo,
    b"MAIL": ServerSession._on_mail,
    b"RCPT": ServerSession._on_rcpt,
    b"DATA": ServerSession._on_data,
    b"RSET": ServerSession._on_rset,
    b"NOOP": ServerSession._on_noop,
    b"VRFY": ServerSession._on_vrfy,
    b"HELP": ServerSession._on_help,
    b"QUIT": ServerSession._on_quit,
}


def _address(line: bytes, keyword: bytes) -> bytes | None:
    """The address between the angle brackets of MAIL or RCPT, without a source route; None when there is none."""
    if line[5 : 5 + len(keyword)].upper() != keyword:
        return None
    begin = line.find(b"<", 5)
    end = line.find(b">", begin)
    return line[begin + 1 : end] if 0 <= begin < end else None

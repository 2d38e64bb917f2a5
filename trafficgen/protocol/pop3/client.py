"""A POP3 session as the client sees it.

Takes     octets of the server in any pieces, and the time; commands of the user
Gives     events in the order of the server's words; octets to write, in `out`
Limits    `MAX_LINE_OCTETS` a line, `MAX_LISTING_OCTETS` a listing; a message goes to its `MessageReceiver`, not kept
Fails     never because of a server: what is no POP3 is a `Pop3Fault`, the last event. LocalProtocolError for a command
          that the session's state does not allow: our bug
Not here  when to send what (mailbox), TLS itself: after `Pop3Reply` to STLS the caller starts it and goes on

Commands may be pipelined: answers come in their order (RFC 2449 section 6.6 says how a server offers it).
"""

import re
from collections import deque
from typing import Final, NamedTuple, Protocol

from trafficgen.errors import LocalProtocolError
from trafficgen.protocol.pop3.commands import RULES, AnswerForm, Pop3Command, Pop3State
from trafficgen.protocol.smtp.dots import DotReader

MAX_LINE_OCTETS: Final = 2048
"""RFC 2449 section 4 allows 512 in an answer."""

MAX_LISTING_OCTETS: Final = 16 * 1024 * 1024
"""Of a UIDL: 200,000 messages with the longest unique-ids that RFC 1939 allows."""

_CODE: Final = re.compile(rb"\[([A-Z0-9./-]+)\] ?", re.IGNORECASE)
"""RFC 2449 section 8: IN-USE, LOGIN-DELAY; RFC 3206: SYS/TEMP, SYS/PERM, AUTH."""


class MessageReceiver(Protocol):
    """Who takes a message, piece by piece, dot-stuffing undone and CRLF line ends as they came."""

    def feed(self, octets: bytes) -> None: ...


class Pop3Reply(NamedTuple):
    """One whole answer. `code` is the one in brackets, upper case, without them; `lines` are those of a listing."""

    command: Pop3Command
    ok: bool
    code: bytes
    text: bytes
    lines: tuple[bytes, ...]
    elapsed_ns: int
    """From the command's octets to the end of the answer; of the greeting, from the connection."""
    content: MessageReceiver | None = None


class Challenge(NamedTuple):
    """A step of AUTH: "+ " and base64 (RFC 5034 section 4)."""

    text: bytes


class Pop3Fault(NamedTuple):
    """The server said what is no POP3, or spoke without being asked. Nothing is read any more."""

    text: str


Event = Pop3Reply | Challenge | Pop3Fault


class _Sent(NamedTuple):
    command: Pop3Command
    reading: AnswerForm
    sent_ns: int
    content: MessageReceiver | None


class Pop3Session:
    """One connection. Write `out` after each call, and empty it."""

    __slots__ = ("_dots", "_lines", "_listed", "_pending", "_rest", "_status", "out", "state")

    def __init__(self, now_ns: int = 0) -> None:
        self.state = Pop3State.GREETING
        self.out: list[bytes] = []
        self._pending: deque[_Sent] = deque([_Sent(Pop3Command.GREETING, AnswerForm.LINE, now_ns, None)])
        self._rest = b""
        self._status: tuple[bytes, bytes] | None = None  # code and text of an answer whose lines are still to come
        self._dots: DotReader | None = None
        self._lines: list[bytes] = []  # pieces of a listing
        self._listed = 0  # octets of the content so far

    @property
    def greeted(self) -> bool:
        """Whether the server has said a word."""
        return self.state is not Pop3State.GREETING

    @property
    def closed(self) -> bool:
        """Whether nothing is said or heard any more, even where events of before are still being dealt with."""
        return self.state is Pop3State.CLOSED

    @property
    def waiting_for(self) -> Pop3Command | None:
        """The command whose answer is due next; None when none is."""
        return self._pending[0].command if self._pending else None

    @property
    def waiting_since_ns(self) -> int | None:
        """When that command was sent."""
        return self._pending[0].sent_ns if self._pending else None

    def send(
        self, command: Pop3Command, argument: str = "", *, now_ns: int, content: MessageReceiver | None = None
    ) -> None:
        """Put a command into `out`. `content` takes the message of RETR and TOP."""
        rules = RULES[command]
        allowed = self._state_when_sent()
        if allowed not in rules.states or not argument.isprintable():
            raise LocalProtocolError(f"{command.value} is not for a session in {allowed.name} (or its argument is odd)")
        reading = AnswerForm.LINE if rules.reading is AnswerForm.LINES and argument else rules.reading
        self._pending.append(_Sent(command, reading, now_ns, content))
        line = f"{command.value} {argument}\r\n" if argument else f"{command.value}\r\n"
        self.out.append(line.encode())

    def answer(self, text: bytes) -> None:
        """The answer to a challenge, base64."""
        self.out.append(text + b"\r\n")

    def feed(self, data: bytes, now_ns: int) -> list[Event]:
        """What the server sent; returns what it means."""
        events: list[Event] = []
        rest: bytes | None = self._rest + data if self._rest else data
        self._rest = b""
        while rest and not self.closed:
            rest = (
                self._read_lines(rest, events, now_ns) if self._dots is not None else self._read(rest, events, now_ns)
            )
        return events

    def close(self) -> None:
        """The connection is gone."""
        self.state = Pop3State.CLOSED

    @property
    def content_octets(self) -> int:
        """Octets so far of a message that has not ended."""
        return self._listed if self._dots is not None else 0

    def _state_when_sent(self) -> Pop3State:
        """The state in which the server will be when it reads the next command, if all goes well."""
        state = self.state
        for sent in self._pending:
            state = RULES[sent.command].after or state
        return state

    def _read(self, text: bytes, events: list[Event], now_ns: int) -> bytes | None:
        """One status line; returns what follows it."""
        end = text.find(b"\n")
        if end < 0 or end > MAX_LINE_OCTETS:
            if max(len(text) if end < 0 else end, 0) > MAX_LINE_OCTETS:
                self._fault(f"answer line over {MAX_LINE_OCTETS} octets", events)
            else:
                self._rest = text
            return None
        line = text[:end].removesuffix(b"\r")
        if not self._pending:
            self._fault(f"nobody asked for {_shown(line)}", events)
            return None
        sent = self._pending[0]
        word, _, said = line.partition(b" ")
        word = word.upper()
        if word == b"+" and sent.command is Pop3Command.AUTH:
            events.append(Challenge(said))
            return text[end + 1 :]
        if word not in (b"+OK", b"-ERR"):
            self._fault(f"expected +OK or -ERR to {sent.command.value}, got {_shown(line)}", events)
            return None
        code = _CODE.match(said)
        status = (code[1].upper(), said[code.end() :]) if code else (b"", said)
        if word == b"+OK" and sent.reading is not AnswerForm.LINE:
            self._status = status
            self._dots = DotReader()
            self._lines = []
            self._listed = 0
        else:
            self._answered(word == b"+OK", status, (), events, now_ns)
            if sent.command is Pop3Command.STLS and word == b"+OK" and len(text) > end + 1:
                self._fault("octets behind the answer to STLS, which nobody has protected", events)
                return None
        return text[end + 1 :]

    def _read_lines(self, text: bytes, events: list[Event], now_ns: int) -> bytes | None:
        """More of an answer of several lines; returns what follows its end."""
        assert self._dots is not None
        assert self._status is not None
        sent = self._pending[0]
        pieces, after = self._dots.feed(text)
        for piece in pieces:
            if not piece:
                continue
            if not self._listed:
                piece = piece[2:]  # see DotReader.feed
                self._listed = 2
            self._listed += len(piece)
            if sent.reading is AnswerForm.LINES:
                self._lines.append(piece)
            elif sent.content is not None and piece:
                sent.content.feed(piece)
        if sent.reading is AnswerForm.LINES and self._listed > MAX_LISTING_OCTETS:
            self._fault(f"answer to {sent.command.value} over {MAX_LISTING_OCTETS} octets", events)
            return None
        if after is None:
            return None
        self._dots = None
        listing = b"".join(self._lines)
        self._lines = []
        lines = tuple(listing.removesuffix(b"\r\n").split(b"\r\n")) if listing else ()
        self._answered(True, self._status, lines, events, now_ns)
        return after

    def _answered(
        self, ok: bool, status: tuple[bytes, bytes], lines: tuple[bytes, ...], events: list[Event], now_ns: int
    ) -> None:
        sent = self._pending.popleft()
        events.append(Pop3Reply(sent.command, ok, *status, lines, now_ns - sent.sent_ns, sent.content))
        after = RULES[sent.command].after
        if ok and after is not None:
            self.state = after
        elif not ok and sent.command is Pop3Command.GREETING:
            self.state = Pop3State.CLOSED  # RFC 1939 knows no such greeting; servers that are full say so and hang up

    def _fault(self, text: str, events: list[Event]) -> None:
        events.append(Pop3Fault(text))
        self.state = Pop3State.CLOSED


def _shown(line: bytes) -> str:
    return f'"{line[:80].decode("ascii", "backslashreplace")}"'

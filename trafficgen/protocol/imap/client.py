"""An IMAP session as the client sees it.

Takes     octets of the server in any pieces, and the time; commands of the user
Gives     events in the order of the server's words; octets to write, in `out`
Limits    those of `reader`; `MAX_CAPABILITIES` words; a literal goes to whoever `content` names
Fails     never because of a server: what is no IMAP is an `ImapFault`, the last event. LocalProtocolError for a command
          that the session's state or the server's capabilities do not allow: our bug
Not here  when to send what (mailbox), TLS itself: after `Done` to STARTTLS the caller starts it and goes on

Commands may be sent while others wait; each has a tag of its own. Behind a literal that the server must first ask for
(RFC 9051 section 4.3), behind AUTHENTICATE and behind IDLE, what is sent waits here until its turn comes.
"""

import re
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from trafficgen.errors import LocalProtocolError
from trafficgen.protocol.imap.commands import RULES, ImapCommand, ImapState
from trafficgen.protocol.imap.reader import ImapResponse, Kept, LiteralReceiver, ResponseReader, Value

MAX_CAPABILITIES: Final = 1000

_REV2: Final = frozenset(
    {b"ENABLE", b"NAMESPACE", b"IDLE", b"MOVE", b"UIDPLUS", b"UNSELECT", b"SASL-IR", b"LITERAL-", b"STATUS=SIZE"}
)
"""What IMAP4rev2 includes (RFC 9051, appendix E)."""

_LITERAL_MINUS_OCTETS: Final = 4096
"""RFC 7888 section 5: with LITERAL-, no longer one may go unasked."""

_ATOM: Final = re.compile(rb"[A-Za-z0-9_.@/:;,!#$&'*+=?^`|~<>-]+")
"""What needs no quotes, as it stands; a little narrower than the grammar."""

_STATUS: Final = re.compile(rb"(OK|NO|BAD|BYE|PREAUTH)(?: +(?:\[([^\]]*)\] ?)?(.*))?", re.IGNORECASE | re.DOTALL)
_NUMBERED: Final = re.compile(rb"([0-9]{1,10}) ([A-Za-z]+) ?")
_NAMED: Final = re.compile(rb"([A-Za-z][A-Za-z0-9.=+-]*) ?")

ChallengeAnswer = Callable[[bytes], bytes]


class Done(NamedTuple):
    """The tagged answer to a command, or the greeting. `code` is what stands in brackets, upper case its first word."""

    command: ImapCommand
    status: bytes
    """OK, NO or BAD; of a greeting, OK, PREAUTH or BYE."""
    code: tuple[bytes, bytes]
    text: bytes
    elapsed_ns: int
    """From the command's first octets to this; of the greeting, from the connection."""
    argument: str = ""
    """What the command was about, as `send` was told."""

    @property
    def ok(self) -> bool:
        """Whether the server did what was asked."""
        return self.status in (b"OK", b"PREAUTH")


class Untagged(NamedTuple):
    """Data of the server. `name` is upper case: EXISTS, EXPUNGE, FETCH, LIST, STATUS, FLAGS, SEARCH …"""

    name: bytes
    number: int | None
    values: tuple[Value, ...]


class Said(NamedTuple):
    """An untagged OK, NO or BAD, or the BYE of a LOGOUT."""

    status: bytes
    code: tuple[bytes, bytes]
    text: bytes


class Goodbye(NamedTuple):
    """A BYE that nobody asked for: the server ends the session. Nothing is read any more."""

    code: tuple[bytes, bytes]
    text: bytes


class Idling(NamedTuple):
    """The server has taken up IDLE."""


class ImapFault(NamedTuple):
    """The server said what is no IMAP. Nothing is read any more."""

    text: str


Event = Done | Untagged | Said | Goodbye | Idling | ImapFault


class _SentLine(NamedTuple):
    command: ImapCommand
    sent_ns: int
    argument: str


class _Waiting(NamedTuple):
    """A command that must wait for a word of the server before it goes on."""

    tag: bytes
    pieces: deque[bytes]
    """What goes out at each "+", one after the other; the last ends the command."""
    answer: ChallengeAnswer | None = None


class ImapSession:
    """One connection. Write `out` after each call, and empty it."""

    __slots__ = (
        "_blocked", "_count", "_done_wanted", "_idle_tag", "_pending", "_pipelining", "_queue", "_reader",
        "_unanswered", "capabilities", "capabilities_known", "exists", "idling", "out", "state", "uid_next",
        "uid_validity",
    )  # fmt: skip

    def __init__(
        self,
        now_ns: int = 0,
        content: Callable[[bytes], LiteralReceiver] = lambda _line: Kept(),
        *,
        pipelining: bool = True,
    ) -> None:
        self.state = ImapState.GREETING
        self.out: list[bytes] = []
        self.capabilities: frozenset[bytes] = frozenset()
        self.capabilities_known = False
        """Whether the server has named them since it last could have changed them (STARTTLS, authentication)."""
        self.exists = 0
        """Messages in the selected mailbox, as far as the server has said."""
        self.uid_next: int | None = None
        self.uid_validity: int | None = None
        self.idling = False
        self._reader = ResponseReader(content)
        self._pending: dict[bytes, _SentLine] = {b"*": _SentLine(ImapCommand.GREETING, now_ns, "")}
        self._count = 0
        self._blocked: _Waiting | None = None
        self._queue: deque[tuple[bytes, list[bytes], ChallengeAnswer | None]] = deque()
        self._idle_tag: bytes | None = None
        self._done_wanted = False
        self._pipelining = pipelining
        self._unanswered = 0  # commands that have been written

    # -- what is asked ----------------------------------------------------------------------------------

    def offers(self, capability: bytes) -> bool:
        """Whether the server has this extension, by name or as a part of IMAP4rev2."""
        return capability in self.capabilities or (b"IMAP4REV2" in self.capabilities and capability in _REV2)

    @property
    def waiting(self) -> int:
        """Commands without an answer; IDLE counts."""
        return len(self._pending)

    @property
    def waiting_since_ns(self) -> int | None:
        """When the oldest of them was sent; IDLE, which may take for ever, does not count."""
        times = [sent.sent_ns for tag, sent in self._pending.items() if tag != self._idle_tag or self._done_wanted]
        return min(times) if times else None

    @property
    def greeted(self) -> bool:
        """Whether the server has said a word."""
        return self.state is not ImapState.GREETING

    @property
    def waiting_for(self) -> ImapCommand | None:
        """The oldest command without an answer."""
        return next((sent.command for sent in self._pending.values()), None)

    @property
    def literal_left(self) -> int:
        """Octets that are missing of a literal under way."""
        return self._reader.literal_left

    # -- commands ---------------------------------------------------------------------------------------

    def send(self, command: ImapCommand, *words: bytes, now_ns: int, argument: str = "") -> None:
        """Put a command of words into `out`. A word is as the grammar wants it (`string` makes one of any octets)."""
        pieces = [b""]
        for word in words:
            if word.startswith(b"{"):
                head, _, body = word.partition(b"\r\n")
                pieces[-1] += b" " + head
                pieces.append(body)
            else:
                pieces[-1] += b" " + word
        self._send(command, pieces, now_ns, argument)

    def append(self, mailbox: bytes, message: bytes, flags: bytes = b"", *, now_ns: int, argument: str = "") -> None:
        """APPEND one message, CRLF line ends."""
        words = [string(mailbox), *([b"(" + flags + b")"] if flags else []), literal(message)]
        self.send(ImapCommand.APPEND, *words, now_ns=now_ns, argument=argument)

    def authenticate(self, mechanism: str, first: bytes | None, answer: ChallengeAnswer, *, now_ns: int) -> None:
        """AUTHENTICATE; `first` is the client's first response, not encoded, None when the server begins; `answer`
        gives those to challenges."""
        if first is not None and self.offers(b"SASL-IR"):
            initial = b64encode(first) or b"="
            self._send(ImapCommand.AUTHENTICATE, [b" %s %s" % (mechanism.encode(), initial)], now_ns, "", answer)
            return
        unsent = [] if first is None else [first]

        def respond(challenge: bytes) -> bytes:
            return unsent.pop() if unsent else answer(challenge)

        self._send(ImapCommand.AUTHENTICATE, [b" " + mechanism.encode()], now_ns, "", respond)

    def idle(self, now_ns: int) -> None:
        """Begin to idle; `end_idle` ends it."""
        self._send(ImapCommand.IDLE, [b""], now_ns, "")

    def end_idle(self) -> None:
        """Send DONE (RFC 2177), as soon as the server has taken up the IDLE."""
        if self._idle_tag is None or self._done_wanted:
            return
        self._done_wanted = True
        if self.idling:
            self._say_done()

    def _send(
        self,
        command: ImapCommand,
        pieces: list[bytes],
        now_ns: int,
        argument: str,
        answer: ChallengeAnswer | None = None,
    ) -> None:
        rules = RULES[command]
        if self.state not in rules.states:
            raise LocalProtocolError(f"{command.value} is not for a session in {self.state.name}")
        if rules.needs and not self.offers(rules.needs):
            raise LocalProtocolError(f"{command.value} needs {rules.needs.decode()}, which the server does not offer")
        if self._idle_tag is not None and not self._done_wanted:
            raise LocalProtocolError(f"{command.value} while the session idles: end_idle comes first")
        if command is ImapCommand.LOGIN and self.offers(b"LOGINDISABLED"):
            raise LocalProtocolError("LOGIN where the server says LOGINDISABLED (RFC 9051 section 6.2.3)")
        self._count += 1
        tag = b"a%d" % self._count
        self._pending[tag] = _SentLine(command, now_ns, argument)
        if command is ImapCommand.IDLE:
            self._idle_tag, self._done_wanted = tag, False
        if command in (ImapCommand.SELECT, ImapCommand.EXAMINE):
            self.exists, self.uid_next, self.uid_validity = 0, None, None
        pieces = self._joined([b"%s %s%s" % (tag, command.value.encode(), pieces[0]), *pieces[1:]])
        pieces[-1] += b"\r\n"
        if not self._may_write:
            self._queue.append((tag, pieces, answer))
        else:
            self._write(tag, pieces, answer)

    def _joined(self, pieces: list[bytes]) -> list[bytes]:
        """A literal goes with what is before it where the server takes it unasked (RFC 7888)."""
        joined = [pieces[0]]
        for piece in pieces[1:]:
            octets = int(joined[-1][joined[-1].rindex(b"{") + 1 : -1])
            short = octets <= _LITERAL_MINUS_OCTETS and self.offers(b"LITERAL-")
            if short or self.offers(b"LITERAL+"):
                joined[-1] = joined[-1][:-1] + b"+}\r\n" + piece
            else:
                joined[-1] += b"\r\n"
                joined.append(piece)
        return joined

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

    # -- answers ----------------------------------------------------------------------------------------

    def feed(self, data: bytes, now_ns: int) -> list[Event]:
        """What the server sent; returns what it means."""
        events: list[Event] = []
        if self.state is ImapState.CLOSED:
            return events
        responses = self._reader.feed(data)
        for place, response in enumerate(responses, start=1):
            try:
                self._take(response, events, now_ns)
            except ValueError as error:
                self._fault(str(error), events)
            if self._is_closed():
                return events
            if _starts_tls(events) and (place < len(responses) or not self._reader.empty):
                self._fault("octets behind the answer to STARTTLS, which nobody has protected", events)
                return events
        if self._reader.fault:
            self._fault(self._reader.fault, events)
        return events

    def close(self) -> None:
        """The connection is gone."""
        self.state = ImapState.CLOSED

    def _is_closed(self) -> bool:
        return self.state is ImapState.CLOSED

    def _take(self, response: ImapResponse, events: list[Event], now_ns: int) -> None:
        if response.tag == b"*":
            self._take_untagged(response, events, now_ns)
        elif response.tag == b"+":
            self._take_continuation(response, events)
        else:
            self._take_tagged(response, events, now_ns)

    def _take_untagged(self, response: ImapResponse, events: list[Event], now_ns: int) -> None:
        line = response.line
        if (status := _STATUS.fullmatch(line)) is not None and not response.more:
            self._take_status(status, events, now_ns)
            return
        if self.state is ImapState.GREETING:
            raise ValueError(f"expected a greeting, got {_shown(line)}")
        if numbered := _NUMBERED.match(line):
            name, number = numbered[2].upper(), int(numbered[1])
            self._count_messages(name, number)
            events.append(Untagged(name, number, response.values(numbered.end())))
        elif named := _NAMED.match(line):
            name, values = named[1].upper(), response.values(named.end())
            if name == b"CAPABILITY":
                self._learn(line[named.end() :])
            events.append(Untagged(name, None, values))
        else:
            raise ValueError(f"expected a response, got {_shown(line)}")

    def _count_messages(self, name: bytes, number: int) -> None:
        if name == b"EXISTS":
            if number > self.exists:
                self.uid_next = None  # what was said was of the messages before
            self.exists = number
        elif name == b"EXPUNGE":
            if not 0 < number <= self.exists:
                raise ValueError(f"EXPUNGE of message {number} of {self.exists}")
            self.exists -= 1

    def _take_status(self, status: re.Match[bytes], events: list[Event], now_ns: int) -> None:
        word, code, text = status[1].upper(), _code(status[2]), status[3] or b""
        self._heed(code)
        if self.state is not ImapState.GREETING:
            if word == b"BYE" and ImapCommand.LOGOUT not in self._commands():
                events.append(Goodbye(code, text))
                self.state = ImapState.CLOSED
            else:
                events.append(Said(word, code, text))
            return
        if word not in (b"OK", b"PREAUTH", b"BYE"):
            raise ValueError(f"expected a greeting, got {_shown(status[0])}")
        sent = self._pending.pop(b"*")
        self.state = _GREETED[word]
        events.append(Done(sent.command, word, code, text, now_ns - sent.sent_ns))

    def _commands(self) -> set[ImapCommand]:
        return {sent.command for sent in self._pending.values()}

    def _take_continuation(self, response: ImapResponse, events: list[Event]) -> None:
        waiting = self._blocked
        if waiting is None:
            raise ValueError("a continuation that nobody asked for")
        if waiting.tag == self._idle_tag:
            if self.idling:
                raise ValueError("a second continuation of an IDLE")
            self.idling = True
            events.append(Idling())
            if self._done_wanted:
                self._say_done()
        elif waiting.answer is not None:
            self.out.append(b64encode(waiting.answer(response.line)) + b"\r\n")
        else:
            self.out.append(waiting.pieces.popleft())
            if not waiting.pieces:
                self._unblock()

    def _take_tagged(self, response: ImapResponse, events: list[Event], now_ns: int) -> None:
        sent = self._pending.pop(response.tag, None)
        status = _STATUS.fullmatch(response.line)
        if sent is None or response.more or status is None or status[1].upper() not in (b"OK", b"NO", b"BAD"):
            raise ValueError(f"expected an answer to a command, got {_shown(response.tag + b' ' + response.line)}")
        word, code = status[1].upper(), _code(status[2])
        self._unanswered -= 1
        if response.tag == self._idle_tag:
            self._idle_tag, self.idling, self._done_wanted = None, False, False
        after = RULES[sent.command].after
        if word == b"OK" and after is not None:
            self.state = after
        elif sent.command in (ImapCommand.SELECT, ImapCommand.EXAMINE):
            self.state = ImapState.AUTHENTICATED  # RFC 9051 section 6.3.2: a failed SELECT leaves nothing selected
        if word == b"OK" and sent.command in (ImapCommand.LOGIN, ImapCommand.AUTHENTICATE, ImapCommand.STARTTLS):
            self.capabilities_known = False
        self._heed(code)
        if self._blocked is not None and self._blocked.tag == response.tag:
            self._unblock()
        elif self._queue and self._may_write:  # without pipelining: the next one, whose time begins now
            tag = self._queue[0][0]
            self._pending[tag] = self._pending[tag]._replace(sent_ns=now_ns)
            self._write(*self._queue.popleft())
        events.append(Done(sent.command, word, code, status[3] or b"", now_ns - sent.sent_ns, sent.argument))
        if sent.command is ImapCommand.LOGOUT:
            self.state = ImapState.CLOSED

    def _heed(self, code: tuple[bytes, bytes]) -> None:
        """What a response code tells about the session."""
        name, value = code
        if name == b"CAPABILITY":
            self._learn(value)
        elif name == b"UIDNEXT" and value.isdigit():
            self.uid_next = int(value[:20])
        elif name == b"UIDVALIDITY" and value.isdigit():
            self.uid_validity = int(value[:20])

    def _learn(self, words: bytes) -> None:
        self.capabilities = frozenset(words.upper().split(b" ")[:MAX_CAPABILITIES])
        self.capabilities_known = True

    def _fault(self, text: str, events: list[Event]) -> None:
        events.append(ImapFault(text))
        self.state = ImapState.CLOSED


_GREETED: Final = {b"OK": ImapState.NOT_AUTHENTICATED, b"PREAUTH": ImapState.AUTHENTICATED, b"BYE": ImapState.CLOSED}


def string(text: bytes) -> bytes:
    """`text` as an atom, a quoted string or a literal, whichever the grammar allows first (RFC 9051, astring)."""
    if _ATOM.fullmatch(text) and text.upper() != b"NIL":
        return text
    if text.isascii() and not any(c in text for c in b"\r\n\0"):
        return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return literal(text)


def literal(octets: bytes) -> bytes:
    """`octets` as a literal, a word for `ImapSession.send`."""
    return b"{%d}\r\n%s" % (len(octets), octets)


def _starts_tls(events: list[Event]) -> bool:
    last = events[-1] if events else None
    return isinstance(last, Done) and last.command is ImapCommand.STARTTLS and last.ok


def _code(text: bytes | None) -> tuple[bytes, bytes]:
    name, _, value = (text or b"").partition(b" ")
    return name.upper(), value


def _shown(line: bytes) -> str:
    return f'"{line[:80].decode("ascii", "backslashreplace")}"'

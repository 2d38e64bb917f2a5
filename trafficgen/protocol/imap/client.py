"""An IMAP session as the client sees it.

Takes     octets of the server in any pieces, and the time; commands of the user
Gives     events in the order of the server's words (`events`); octets to write, in `out`
Limits    those of `reader`; `MAX_CAPABILITIES` words; a literal goes to whoever `content` names
Fails     never because of a server: what is no IMAP is an `ImapFault`, the last event. LocalProtocolError for a command
          that the session's state or the server's capabilities do not allow: our bug
Not here  when to send what (mailbox), TLS itself: after `Done` to STARTTLS the caller starts it and goes on

Commands may be sent while others wait; each has a tag of its own. Behind a literal that the server must first ask for
(RFC 9051 section 4.3), behind AUTHENTICATE and behind IDLE, what is sent waits until its turn comes (`outgoing`).
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Final

from trafficgen.errors import LocalProtocolError
from trafficgen.protocol.imap.commands import RULES, ImapCommand, ImapState
from trafficgen.protocol.imap.events import Done, Event, Goodbye, Idling, ImapFault, Said, Untagged
from trafficgen.protocol.imap.outgoing import ChallengeAnswer, Outgoing, SentLine
from trafficgen.protocol.imap.reader import ImapResponse, Kept, LiteralReceiver, ResponseReader
from trafficgen.protocol.imap.strings import literal, string

MAX_CAPABILITIES: Final = 1000

_REV2: Final = frozenset(
    {b"ENABLE", b"NAMESPACE", b"IDLE", b"MOVE", b"UIDPLUS", b"UNSELECT", b"SASL-IR", b"LITERAL-", b"STATUS=SIZE"}
)
"""What IMAP4rev2 includes (RFC 9051, appendix E)."""

_LITERAL_MINUS_OCTETS: Final = 4096
"""RFC 7888 section 5: with LITERAL-, no longer one may go unasked."""

_STATUS: Final = re.compile(rb"(OK|NO|BAD|BYE|PREAUTH)(?: +(?:\[([^\]]*)\] ?)?(.*))?", re.IGNORECASE | re.DOTALL)
_NUMBERED: Final = re.compile(rb"([0-9]{1,10}) ([A-Za-z]+) ?")
_NAMED: Final = re.compile(rb"([A-Za-z][A-Za-z0-9.=+-]*) ?")


class ImapSession:
    """One connection. Write `out` after each call, and empty it."""

    __slots__ = (
        "_outgoing", "_reader", "capabilities", "capabilities_known", "exists", "out", "state", "uid_next",
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
        self.capabilities: frozenset[bytes] = frozenset()
        self.capabilities_known = False
        """Whether the server has named them since it last could have changed them (STARTTLS, authentication)."""
        self.exists = 0
        """Messages in the selected mailbox, as far as the server has said."""
        self.uid_next: int | None = None
        self.uid_validity: int | None = None
        self._reader = ResponseReader(content)
        self._outgoing = Outgoing(now_ns, pipelining=pipelining)
        self.out = self._outgoing.out

    # -- what is asked ----------------------------------------------------------------------------------

    def offers(self, capability: bytes) -> bool:
        """Whether the server has this extension, by name or as a part of IMAP4rev2."""
        return capability in self.capabilities or (b"IMAP4REV2" in self.capabilities and capability in _REV2)

    @property
    def waiting(self) -> int:
        """Commands without an answer; IDLE counts."""
        return self._outgoing.waiting

    @property
    def waiting_since_ns(self) -> int | None:
        """When the oldest of them was sent; IDLE, which may take for ever, does not count."""
        return self._outgoing.waiting_since_ns

    @property
    def waiting_for(self) -> ImapCommand | None:
        """The oldest command without an answer."""
        first = self._outgoing.first
        return first.command if first is not None else None

    @property
    def unanswered(self) -> Iterator[SentLine]:
        """All of them of which the server may have heard, the oldest first."""
        return self._outgoing.written()

    @property
    def idling(self) -> bool:
        """Whether the server has taken up an IDLE that was not ended."""
        return self._outgoing.idling

    @property
    def greeted(self) -> bool:
        """Whether the server has said a word."""
        return self.state is not ImapState.GREETING

    @property
    def closed(self) -> bool:
        """Whether nothing is said or heard any more, even where events of before are still being dealt with."""
        return self.state is ImapState.CLOSED

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
        self._send(command, self._joined(pieces), now_ns, argument)

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
        self._outgoing.end_idle()

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
        if not self._outgoing.idle_ends:
            raise LocalProtocolError(f"{command.value} while the session idles: end_idle comes first")
        if command is ImapCommand.LOGIN and self.offers(b"LOGINDISABLED"):
            raise LocalProtocolError("LOGIN where the server says LOGINDISABLED (RFC 9051 section 6.2.3)")
        if command in (ImapCommand.SELECT, ImapCommand.EXAMINE):
            self.exists, self.uid_next, self.uid_validity = 0, None, None
        self._outgoing.send(command, pieces, now_ns, argument, answer)

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
            if self.closed:
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
            if word == b"BYE" and not self._outgoing.asks(ImapCommand.LOGOUT):
                events.append(Goodbye(code, text))
                self.state = ImapState.CLOSED
            else:
                events.append(Said(word, code, text))
            return
        if word not in (b"OK", b"PREAUTH", b"BYE"):
            raise ValueError(f"expected a greeting, got {_shown(status[0])}")
        sent = self._outgoing.greeted()
        self.state = _GREETED[word]
        events.append(Done(sent.command, word, code, text, now_ns - sent.sent_ns))

    def _take_continuation(self, response: ImapResponse, events: list[Event]) -> None:
        if self._outgoing.go_on(response.line):
            events.append(Idling())

    def _take_tagged(self, response: ImapResponse, events: list[Event], now_ns: int) -> None:
        status = _STATUS.fullmatch(response.line)
        is_answer = status is not None and status[1].upper() in (b"OK", b"NO", b"BAD") and not response.more
        sent = self._outgoing.answered(response.tag, now_ns) if is_answer else None
        if sent is None or status is None:
            raise ValueError(f"expected an answer to a command, got {_shown(response.tag + b' ' + response.line)}")
        word, code = status[1].upper(), _code(status[2])
        after = RULES[sent.command].after
        if word == b"OK" and after is not None:
            self.state = after
        elif sent.command in (ImapCommand.SELECT, ImapCommand.EXAMINE):
            self.state = ImapState.AUTHENTICATED  # RFC 9051 section 6.3.2: a failed SELECT leaves nothing selected
        if word == b"OK" and sent.command in (ImapCommand.LOGIN, ImapCommand.AUTHENTICATE, ImapCommand.STARTTLS):
            self.capabilities_known = False
        self._heed(code)
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


def _starts_tls(events: list[Event]) -> bool:
    last = events[-1] if events else None
    return isinstance(last, Done) and last.command is ImapCommand.STARTTLS and last.ok


def _code(text: bytes | None) -> tuple[bytes, bytes]:
    name, _, value = (text or b"").partition(b" ")
    return name.upper(), value


def _shown(line: bytes) -> str:
    return f'"{line[:80].decode("ascii", "backslashreplace")}"'

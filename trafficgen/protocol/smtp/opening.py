"""What a session does before its first message: greet and be greeted (RFC 5321 section 3.1 and 3.2; RFC 2033 4.1).

    SMTP  < GREETING > EHLO <, or if the server does not know it > HELO <      LMTP  < GREETING > LHLO <
    then, where asked for, > XCLIENT < 220 and again > EHLO <; > XFORWARD <    (Postfix's XCLIENT_README and others)

A server that takes a PROXY header for a command answers it before EHLO, and such an answer is no other's.

Takes     replies up to the one that says what the server offers
Gives     `announced` to the session, with the extensions; or its end, when the server will have none of it
Fails     never because of a peer
Not here  how messages are handed over (handover); TLS and AUTH, which aiosmtplib does (engine): the session is adopted
"""

from typing import Final, Protocol

from mboxgen.enums import table_of
from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp.conversation import Answers, Conversation
from trafficgen.protocol.smtp.interfaces import (
    NOTHING_OFFERED,
    Buffer,
    Extensions,
    SessionAccount,
    SessionOptions,
    Stranger,
)
from trafficgen.protocol.smtp.replies import Reply
from trafficgen.protocol.smtp.steps import STEPS

# By its name in the enum a member costs 0.1 µs each time (Python 3.11), as much as comparing a reply.
_EHLO: Final = Phase.EHLO
_GREETING: Final = Phase.GREETING
_HELO: Final = Phase.HELO
_LHLO: Final = Phase.LHLO

REFUSED: Final = "refused by the server"
NOT_PROXY: Final = "PROXY header not understood"
NOT_OFFERED: Final = "not offered"

_UNKNOWN_COMMAND: Final = (500, 502, 503, 221, 554)
"""What servers say to a command that is none; Postfix says 221 to one that begins with no letter, and ends."""

_PROTOCOL_ERROR: Final = "5.5."
"""RFC 3463 section 3.6. Postfix 3.9 and later say it for octets that come before their greeting."""


class Opened(Protocol):
    """The session, as far as its opening knows it."""

    account: SessionAccount
    conversation: Conversation
    options: SessionOptions

    def announced(self, extensions: Extensions, now_ns: int, out: list[Buffer]) -> None:
        """The server has said what it offers."""

    def lose(self, phase: Phase, reason: str, reply: Reply, now_ns: int) -> None:
        """End the session."""


def hello_line(phase: Phase, options: SessionOptions) -> bytes:
    """EHLO, HELO or LHLO with our name."""
    return b"%b %b\r\n" % (STEPS[phase].command, options.ehlo_name)


class Opening:
    """One session's opening."""

    __slots__ = ("_introduced", "_offered", "_session")

    def __init__(self, session: Opened) -> None:
        self._session = session
        self._offered = NOTHING_OFFERED
        self._introduced = False  # XCLIENT is done, and this is the EHLO after it

    def octets_due(self) -> list[int]:
        """None that need counting: the opening is one command at a time."""
        return []

    def _on_greeting(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        session = self._session
        session.account.phase(_GREETING, now_ns - session.conversation.waiting_since_ns)
        if reply.code == 220:
            self._say(session.options.hello, now_ns, out)
        elif session.options.proxied and reply.enhanced.startswith(_PROTOCOL_ERROR):
            session.lose(_GREETING, NOT_PROXY, reply, now_ns)
        else:
            session.lose(_GREETING, REFUSED, reply, now_ns)

    def _on_ehlo(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        session = self._session
        session.account.phase(_EHLO, now_ns - session.conversation.waiting_since_ns)
        if reply.code == 250:
            self._introduce(reply, Extensions.offered(reply.lines), now_ns, out)
        elif session.options.proxied and reply.code in _UNKNOWN_COMMAND:
            session.lose(_GREETING, NOT_PROXY, reply, now_ns)
        elif session.options.hello is _EHLO and reply.code >= 500 and reply.code != 521:
            # RFC 5321 section 3.2: a server that does not know EHLO is greeted with HELO.
            self._say(_HELO, now_ns, out)
        else:
            session.lose(session.options.hello, REFUSED, reply, now_ns)

    def _on_helo(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if reply.code == 250:
            self._introduce(reply, NOTHING_OFFERED, now_ns, out)
        else:
            self._session.lose(_HELO, REFUSED, reply, now_ns)

    def _introduce(self, reply: Reply, offered: Extensions, now_ns: int, out: list[Buffer]) -> None:
        """The server has said what it offers: say for whom we speak, as far as that is asked for and not yet done."""
        options = self._session.options
        if options.xclient is not None and not self._introduced:
            self._announce(Phase.XCLIENT, options.xclient, xclient(options.xclient), reply, now_ns, out)
        elif options.xforward is not None:
            said = xforward(options.xforward, options.ehlo_name)
            self._announce(Phase.XFORWARD, options.xforward, said, reply, now_ns, out)
            self._offered = offered
        else:
            self._session.announced(offered, now_ns, out)

    def _announce(
        self, phase: Phase, client: Stranger, said: dict[bytes, bytes], reply: Reply, now_ns: int, out: list[Buffer]
    ) -> None:
        """XCLIENT or XFORWARD, with attributes that the server lists; those asked for by name must be among them."""
        command = STEPS[phase].command
        offers = (line.upper().split() for line in reply.lines[1:])
        offered = next((words[1:] for words in offers if words[:1] == [command]), [])
        if not offered or (client.address and b"ADDR" not in offered):
            self._session.lose(phase, NOT_OFFERED, reply, now_ns)
            return
        if lacking := [name for name, _ in client.attributes if name.encode("ascii") not in offered]:
            self._session.lose(phase, f"{lacking[0]} {NOT_OFFERED}", reply, now_ns)
            return
        words = [b"%b=%b" % (name, value) for name, value in said.items() if name in offered]
        self._session.conversation.write(phase, b"%b %b\r\n" % (command, b" ".join(words)), now_ns, out)

    def _on_xclient(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if reply.code in STEPS[Phase.XCLIENT].good:
            self._introduced = True
            self._say(self._session.options.hello, now_ns, out)
        else:
            self._session.lose(Phase.XCLIENT, REFUSED, reply, now_ns)

    def _on_xforward(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if reply.code in STEPS[Phase.XFORWARD].good:
            self._session.announced(self._offered, now_ns, out)
        else:
            self._session.lose(Phase.XFORWARD, REFUSED, reply, now_ns)

    def _say(self, phase: Phase, now_ns: int, out: list[Buffer]) -> None:
        self._session.conversation.write(phase, hello_line(phase, self._session.options), now_ns, out)

    answers: Answers = table_of(
        [_GREETING, _EHLO, _HELO, _LHLO, Phase.XCLIENT, Phase.XFORWARD],
        {
            _GREETING: _on_greeting,
            _EHLO: _on_ehlo,
            _HELO: _on_helo,
            _LHLO: _on_ehlo,
            Phase.XCLIENT: _on_xclient,
            Phase.XFORWARD: _on_xforward,
        },
    )


def xclient(client: Stranger) -> dict[bytes, bytes]:
    """What XCLIENT says, by attribute."""
    return _addressed(client) | _asked_for(client)


def xforward(client: Stranger, hello: bytes) -> dict[bytes, bytes]:
    """What XFORWARD says, by attribute."""
    usual = {b"PROTO": b"ESMTP", b"HELO": _xtext(hello.decode("ascii")), b"SOURCE": b"REMOTE"}
    return _addressed(client) | usual | _asked_for(client)


def _addressed(client: Stranger) -> dict[bytes, bytes]:
    if not client.address:
        return {}
    name = client.name.encode("ascii") or b"[UNAVAILABLE]"
    return {b"NAME": name, b"ADDR": _address(client.address), b"PORT": b"%d" % client.port}


def _asked_for(client: Stranger) -> dict[bytes, bytes]:
    return {
        name.encode("ascii"): _address(value) if name == "DESTADDR" else _xtext(value)
        for name, value in client.attributes
    }


def _address(address: str) -> bytes:
    return (b"IPV6:" if ":" in address else b"") + address.encode("ascii")


def _xtext(value: str) -> bytes:
    """As an attribute's value is written (RFC 3461 section 4)."""
    return b"".join(b"+%02X" % octet if octet in b" +=" else b"%c" % octet for octet in value.encode("ascii"))

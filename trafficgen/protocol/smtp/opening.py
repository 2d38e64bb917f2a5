"""What a session does before its first message: greet and be greeted (RFC 5321 section 3.1 and 3.2; RFC 2033 4.1).

    SMTP  < GREETING > EHLO <, or if the server does not know it > HELO <      LMTP  < GREETING > LHLO <

Takes     replies up to the one that says what the server offers
Gives     `announced` to the session, with the extensions; or its end, when the server will have none of it
Fails     never because of a peer
Not here  how messages are handed over (handover); TLS and AUTH, which aiosmtplib does (engine): the session is adopted
"""

from typing import Final, Protocol

from mboxgen.enums import table_of
from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp.conversation import Answers, Conversation
from trafficgen.protocol.smtp.interfaces import Buffer, Extensions, SessionAccount, SessionOptions
from trafficgen.protocol.smtp.replies import Reply
from trafficgen.protocol.smtp.steps import STEPS

# By its name in the enum a member costs 0.1 µs each time (Python 3.11), as much as comparing a reply.
_EHLO: Final = Phase.EHLO
_GREETING: Final = Phase.GREETING
_HELO: Final = Phase.HELO
_LHLO: Final = Phase.LHLO

REFUSED: Final = "refused by the server"


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

    __slots__ = ("_session",)

    def __init__(self, session: Opened) -> None:
        self._session = session

    def octets_due(self) -> list[int]:
        """None that need counting: the opening is one command at a time."""
        return []

    def _on_greeting(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        session = self._session
        session.account.phase(_GREETING, now_ns - session.conversation.waiting_since_ns)
        if reply.code == 220:
            self._say(session.options.hello, now_ns, out)
        else:
            session.lose(_GREETING, REFUSED, reply, now_ns)

    def _on_ehlo(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        session = self._session
        session.account.phase(_EHLO, now_ns - session.conversation.waiting_since_ns)
        if reply.code == 250:
            session.announced(Extensions.offered(reply.lines), now_ns, out)
        elif session.options.hello is _EHLO and reply.code >= 500 and reply.code != 521:
            # RFC 5321 section 3.2: a server that does not know EHLO is greeted with HELO.
            self._say(_HELO, now_ns, out)
        else:
            session.lose(session.options.hello, REFUSED, reply, now_ns)

    def _on_helo(self, reply: Reply, now_ns: int, out: list[Buffer]) -> None:
        if reply.code == 250:
            self._session.announced(Extensions(), now_ns, out)
        else:
            self._session.lose(_HELO, REFUSED, reply, now_ns)

    def _say(self, phase: Phase, now_ns: int, out: list[Buffer]) -> None:
        self._session.conversation.write(phase, hello_line(phase, self._session.options), now_ns, out)

    answers: Answers = table_of(
        [_GREETING, _EHLO, _HELO, _LHLO],
        {_GREETING: _on_greeting, _EHLO: _on_ehlo, _HELO: _on_helo, _LHLO: _on_ehlo},
    )

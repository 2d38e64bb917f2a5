"""What is fuzzed: one function for each parser, which fails when a promise is broken.

Takes     octets: the first chooses how the session is set up, the others are what the peer sends, in pieces that end
          where `CUT` stands
Promises  nothing is raised; no message is entered that did not end; memory stays within limits; the replies do not
          depend on where the pieces were cut
"""

from collections.abc import Callable
from typing import Final

from trafficgen.proof import trace_header
from trafficgen.protocol.imap import client as imap_client
from trafficgen.protocol.imap import commands as imap_commands
from trafficgen.protocol.imap import reader as imap_reader
from trafficgen.protocol.pop3 import client as pop3_client
from trafficgen.protocol.pop3 import commands as pop3_commands
from trafficgen.protocol.smtp.capabilities import Capabilities
from trafficgen.protocol.smtp.framing import MAX_COMMAND_OCTETS
from trafficgen.protocol.smtp.policy_hooks import Suspension
from trafficgen.protocol.smtp.replies import MAX_LINE_OCTETS, MAX_LINES, Reply, ReplyReader
from trafficgen.protocol.smtp.server import MAX_RECIPIENTS, ServerSession
from trafficgen.sink.policy.fault_kinds import FaultKind
from trafficgen.sink.policy.faults import parse
from trafficgen.sink.policy.limits import Limits, RateLimit
from trafficgen.sink.policy.policy import Policy, PolicyConfig
from trafficgen.sink.store.ledger import Ledger, SessionReceiver

CUT: Final = b"\xfe"

LMTP, TLS, AUTH, JUDGED, FAULTY = (1 << bit for bit in range(5))
"""Bits of the first octet."""


class Receiver(SessionReceiver):
    """The ledger's own, which also counts what it is told."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.told = 0
        take = self.whole

        def whole(data: bytes, end: int, recipients: int) -> None:
            assert data[end - 2 : end + 3] == b"\r\n.\r\n"
            self.told += 1
            assert recipients > 0
            take(data, end, recipients)

        self.whole = whole  # type: ignore[method-assign]

    def ended(self, recipients: int) -> None:
        self.told += 1
        assert recipients > 0
        super().ended(recipients)


class Conversation:
    """One session, fed piece by piece; waits are over at once."""

    def __init__(self, setting: int) -> None:
        self.ledger = Ledger()
        self.receiver = Receiver(self.ledger)
        policy = _policy(setting).session(b"192.0.2.1") if setting & (JUDGED | FAULTY) else None
        capabilities = Capabilities(
            lmtp=bool(setting & LMTP),
            starttls=bool(setting & TLS),
            auth=bool(setting & AUTH),
            xclient=True,
            xforward=True,
        )
        self.session = ServerSession(self.receiver, policy, capabilities)
        self.replies = b""

    def feed(self, piece: bytes) -> None:
        self._say(self.session.feed(piece))
        session = self.session
        assert len(session.recipients) <= MAX_RECIPIENTS
        assert len(session._rest) <= MAX_COMMAND_OCTETS + 1 + len(piece)
        assert len(self.receiver._held) < len(trace_header.HEADER) + trace_header.VALUE_OCTETS + 2

    def _say(self, reply: bytes) -> None:
        self.replies += reply
        while (suspension := self.session.suspension) in (Suspension.WAIT, Suspension.DRIP, Suspension.START_TLS):
            if suspension is Suspension.START_TLS:
                self.session.secured()
            else:
                self.replies += self.session.resume()


def session(octets: bytes) -> None:
    """The server's side of a session."""
    setting, pieces = octets[:1] or b"\0", octets[1:].split(CUT)
    talk = Conversation(setting[0])
    for piece in pieces:
        talk.feed(piece)
    talk.session.eof()
    stream = b"".join(pieces)
    assert talk.ledger.received == talk.receiver.told
    assert talk.ledger.received <= stream.count(b"\r\n.\r\n") + stream.upper().count(b"BDAT")
    assert talk.ledger.octets <= len(stream)
    assert talk.ledger.unmarked <= talk.ledger.received
    assert all(line[:3].isdigit() and line[3:4] in (b" ", b"-") for line in talk.replies.split(b"\r\n")[:-1])
    if not setting[0] & (TLS | JUDGED | FAULTY):  # STARTTLS throws away what came with it, so that pieces matter
        at_once = Conversation(setting[0])
        at_once.feed(stream)
        assert at_once.replies == talk.replies
        assert at_once.ledger.received == talk.ledger.received
        assert at_once.session.smuggled == talk.session.smuggled


def replies(octets: bytes) -> None:
    """The reader of replies on the client's side."""
    pieces = octets.split(CUT)
    reader, found = ReplyReader(), []
    for piece in pieces:
        found += reader.feed(piece)
        assert reader.fault or len(reader._rest) <= MAX_LINE_OCTETS + 1
        assert len(reader._lines) <= MAX_LINES
    assert all(200 <= reply.code <= 599 and len(reply.lines) <= MAX_LINES for reply in found)
    assert all(isinstance(reply, Reply) and reply.text.isascii() for reply in found)
    at_once = ReplyReader()
    assert at_once.feed(b"".join(pieces)) == found
    assert at_once.fault == reader.fault


def imap(octets: bytes) -> None:
    """A client that has asked for all it wants at once."""
    pieces = octets.split(CUT)
    assert _imap_events(pieces) == _imap_events([b"".join(pieces)])


def _imap_events(pieces: list[bytes]) -> list[object]:
    session = imap_client.ImapSession()
    session.feed(b"* PREAUTH [CAPABILITY IMAP4rev2] in\r\n", 0)
    session.send(imap_commands.ImapCommand.LIST, b'""', b"*", now_ns=0)
    session.send(imap_commands.ImapCommand.SELECT, b"INBOX", now_ns=0)
    session.append(b"Sent", b"x" * 5000, now_ns=0)
    session.idle(0)
    session.end_idle()
    events: list[object] = []
    for piece in pieces:
        events += session.feed(piece, 0)
        assert len(session._reader._rest) <= imap_reader.MAX_LINE_OCTETS + 1
    return events


def pop3(octets: bytes) -> None:
    """A client that has logged in and asked for all it wants at once."""
    pieces = octets.split(CUT)
    assert _pop3_events(pieces) == _pop3_events([b"".join(pieces)])


def _pop3_events(pieces: list[bytes]) -> list[object]:
    session = pop3_client.Pop3Session()
    session.feed(b"+OK\r\n", 0)
    for command in (pop3_commands.Pop3Command.USER, pop3_commands.Pop3Command.PASS):
        session.send(command, "x", now_ns=0)
    for command in (pop3_commands.Pop3Command.UIDL, pop3_commands.Pop3Command.RETR, pop3_commands.Pop3Command.QUIT):
        session.send(command, "1" if command is pop3_commands.Pop3Command.RETR else "", now_ns=0)
    events: list[object] = []
    for piece in pieces:
        events += session.feed(piece, 0)
        assert len(session._rest) <= pop3_client.MAX_LINE_OCTETS + len(piece)
    return events


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "session": session,
    "replies": replies,
    "imap": imap,
    "pop3": pop3,
}


def _policy(setting: int) -> Policy:
    limits = Limits(
        connections_per_client=2,
        client_rate=RateLimit(20, 10**9),
        messages_per_session=20,
        recipients_per_message=5,
        domain_rate=RateLimit(20, 10**9),
        max_octets=500,
    )
    texts = (
        (FaultKind.DELAY, "dot:1ms:50%"), (FaultKind.REJECT, "rcpt:450:20%"), (FaultKind.DRIP, "mail:1ms:20%"),
        (FaultKind.DROP, "dot:after:5%"), (FaultKind.STALL, "data:after:5%"), (FaultKind.REJECT, "quit:421"),
    )  # fmt: skip
    faults = tuple(parse(kind, text) for kind, text in texts) if setting & FAULTY else ()
    return Policy(PolicyConfig(limits=limits if setting & JUDGED else Limits(), faults=faults), clock=lambda: 10**12)

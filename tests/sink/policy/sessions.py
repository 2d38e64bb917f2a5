"""A server session with a policy, driven without a socket or a clock."""

from collections.abc import Iterable

from trafficgen.protocol.smtp.capabilities import Capabilities
from trafficgen.protocol.smtp.policy_hooks import Suspension
from trafficgen.protocol.smtp.server import ServerSession
from trafficgen.sink.policy.faults import SinkFault
from trafficgen.sink.policy.limits import Limits
from trafficgen.sink.policy.policy import ACCEPT_ALL, Policy, PolicyConfig
from trafficgen.sink.policy.responses import Responses, parse


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_ns = 10**12

    def __call__(self) -> int:
        return self.now_ns


class Mailbag:
    """Keeps whole messages. Implements `smtp.server.Receiver`."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, int]] = []
        self._pieces: list[bytes] = []

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        self.messages.append((data[:end].replace(b"\r\n.", b"\r\n"), recipients))

    def piece(self, octets: bytes) -> None:
        self._pieces.append(octets)

    def ended(self, recipients: int) -> None:
        self.messages.append((b"".join(self._pieces), recipients))
        self._pieces.clear()

    def dropped(self) -> None:
        self._pieces.clear()


PLAIN = Capabilities()


class Conversation:
    """A session, what it took, and how long it waited."""

    def __init__(
        self, policy: Policy | None, capabilities: Capabilities = PLAIN, address: bytes = b"192.0.2.1"
    ) -> None:
        self.bag = Mailbag()
        self.policy = policy.session(address) if policy else None
        self.session = ServerSession(self.bag, self.policy, capabilities)
        self.waited_ns: list[int] = []

    def greet(self) -> bytes:
        reply = self.session.greet()
        while self.session.suspension is Suspension.WAIT:
            self.waited_ns.append(self.session.wait_ns)
            reply += self.session.greet()
        return reply

    def say(self, *pieces: bytes) -> bytes:
        """The replies; waits and drips are over at once."""
        replies = []
        for piece in pieces:
            replies.append(self.session.feed(piece))
            while self.session.suspension in (Suspension.WAIT, Suspension.DRIP):
                if self.session.suspension is Suspension.WAIT:
                    self.waited_ns.append(self.session.wait_ns)
                replies.append(self.session.resume())
        return b"".join(replies)

    def codes(self, *pieces: bytes) -> list[int]:
        """The codes of the replies, multi-line ones once."""
        return [int(line[:3]) for line in self.say(*pieces).split(b"\r\n") if line[3:4] == b" "]

    def send(self, *recipients: bytes, sender: bytes = b"a@a.test", body: bytes = b"hello\r\n") -> list[int]:
        """One message in a transaction of its own; the codes of all replies. Without a 354 the message stays here."""
        rcpt = b"".join(b"RCPT TO:<" + recipient + b">\r\n" for recipient in recipients)
        codes = self.codes(b"MAIL FROM:<" + sender + b">\r\n" + rcpt + b"DATA\r\n")
        if 354 in codes:
            return codes + self.codes(b"Subject: x\r\n\r\n" + body + b".\r\n")
        self.say(b"RSET\r\n")
        return codes


def policy_of(
    table: str | Responses = ACCEPT_ALL,
    *,
    limits: Limits = Limits(),  # noqa: B008  (frozen)
    faults: Iterable[SinkFault] = (),
    clock: Clock | None = None,
    suffixes: tuple[str, ...] = (),
    kumo_odds: bool = False,
    seed: int = 1,
) -> Policy:
    """A policy of these terms."""
    responses = parse(table) if isinstance(table, str) else table
    terms = PolicyConfig(responses, limits, tuple(faults), suffixes, kumo_odds, seed)
    return Policy(terms, clock=clock or Clock())

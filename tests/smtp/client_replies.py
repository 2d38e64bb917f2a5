"""Replies of a server, and what a client session says to them."""

from tests.smtp.conversation import letter, written
from trafficgen.outcomes import Outcome
from trafficgen.protocol.smtp.client import ClientSession

PIPELINED = b"250-server.test\r\n250 PIPELINING\r\n"
ENVELOPE_OK = b"250 ok\r\n250 ok\r\n354 go\r\n"

ACCEPTED, TEMPORARY, PERMANENT, FAILED, IN_DOUBT = Outcome


def envelope(number: int, recipients: int = 1) -> bytes:
    return letter(number, recipients=recipients).envelope


def content(number: int) -> bytes:
    sent = letter(number)
    return sent.head + sent.body + sent.tail


def hear(session: ClientSession, *said: bytes, now_ns: int = 0) -> bytes:
    """What the session writes when the server says this."""
    return b"".join(written(session.feed(octets, now_ns)) for octets in said)


OPEN = [b"220 hi\r\n", PIPELINED]

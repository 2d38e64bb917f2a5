"""Every command in every state of a server session: legal, or the refusal that the RFCs ask for."""

import pytest

from tests.smtp.test_server_session import Mailbag, codes
from trafficgen.protocol.smtp.capabilities import Capabilities
from trafficgen.protocol.smtp.server import MAX_ERRORS, ServerSession

MAIL, RCPT = b"MAIL FROM:<a@a.test>\r\n", b"RCPT TO:<b@b.test>\r\n"
STATES = {"idle": b"", "sender": MAIL, "recipients": MAIL + RCPT, "chunks": MAIL + RCPT + b"BDAT 3\r\nabc"}
EVERYTHING = Capabilities(starttls=True, auth=True, xclient=True, xforward=True)

# Written out by hand from RFC 5321, 2920, 3030, 3207 and 4954; idle, sender, recipients, chunks.
EXPECTED = {
    b"EHLO x": (250, 250, 250, 250),
    b"HELO x": (250, 250, 250, 250),
    b"LHLO x": (500, 500, 500, 500),
    b"STARTTLS": (220, 503, 503, 503),
    b"AUTH PLAIN AGEAYg==": (235, 503, 503, 503),
    b"XCLIENT ADDR=192.0.2.7": (220, 503, 503, 503),
    b"XFORWARD ADDR=192.0.2.7": (250, 503, 503, 503),
    b"MAIL FROM:<c@c.test>": (250, 503, 503, 503),
    b"RCPT TO:<c@c.test>": (503, 250, 250, 503),
    b"DATA": (503, 503, 354, 503),
    b"BDAT 0": (503, 503, 250, 250),
    b"BDAT 0 LAST": (503, 503, 250, 250),
    b"RSET": (250, 250, 250, 250),
    b"NOOP x": (250, 250, 250, 250),
    b"VRFY x": (252, 252, 252, 252),
    b"HELP x": (214, 214, 214, 214),
    b"QUIT": (221, 221, 221, 221),
    b"EXPN x": (500, 500, 500, 500),
}
CASES = [
    (command, state, code)
    for command, expected in EXPECTED.items()
    for state, code in zip(STATES, expected, strict=True)
]


@pytest.mark.parametrize(("command", "state", "expected"), CASES)
def test_a_command_in_a_state(command: bytes, state: str, expected: int) -> None:
    session = ServerSession(Mailbag(), None, EVERYTHING)
    session.feed(STATES[state])
    assert codes(session.feed(command + b"\r\n")) == [expected]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("command", "kept"),
    [(b"EHLO x", False), (b"HELO x", False), (b"RSET", False), (b"NOOP", True), (b"VRFY x", True), (b"HELP", True),
     (b"MAIL FROM:<c@c.test>", True), (b"STARTTLS", True), (b"AUTH PLAIN", True), (b"XCLIENT ADDR=::1", True),
     (b"XFORWARD ADDR=::1", True)],
)  # fmt: skip
def test_what_a_command_leaves_of_the_message(command: bytes, kept: bool, state: str) -> None:
    if state == "idle":
        return
    bag = Mailbag()
    session = ServerSession(bag, None, EVERYTHING)
    session.feed(STATES[state])
    session.feed(command + b"\r\n")
    assert (session.sender == b"a@a.test") is kept
    assert bag.dropped_octets == (3 if state == "chunks" and not kept else 0)


@pytest.mark.parametrize(("command", "expected"), [(b"EHLO x", 500), (b"HELO x", 500), (b"LHLO x", 250)])
def test_lmtp_has_lhlo_in_place_of_ehlo_and_helo(command: bytes, expected: int) -> None:
    session = ServerSession(Mailbag(), None, Capabilities(lmtp=True))
    assert codes(session.feed(command + b"\r\n")) == [expected]


@pytest.mark.parametrize("command", [b"STARTTLS", b"AUTH PLAIN", b"XCLIENT ADDR=::1", b"BDAT 3"])
def test_what_is_not_offered_is_not_known(command: bytes) -> None:
    session = ServerSession(Mailbag(), None, Capabilities(hidden=frozenset({"CHUNKING"})))
    assert codes(session.feed(command + b"\r\n")) == [500]


@pytest.mark.parametrize("command", [b"DATA", b"RSET", b"QUIT", b"STARTTLS"])
def test_what_has_no_argument(command: bytes) -> None:
    session = ServerSession(Mailbag(), None, EVERYTHING)
    session.feed(STATES["recipients"])
    assert codes(session.feed(command + b" x\r\n")) == [501]
    assert not session.closed


def test_starttls_and_auth_are_over_once_they_are_done() -> None:
    session = ServerSession(Mailbag(), None, EVERYTHING)
    session.feed(b"STARTTLS\r\n")
    session.secured()
    assert codes(session.feed(b"STARTTLS\r\nAUTH PLAIN AGEAYg==\r\nAUTH PLAIN AGEAYg==\r\n")) == [503, 235, 503]
    assert codes(ServerSession(Mailbag(), None, EVERYTHING, secure=True).feed(b"STARTTLS\r\n")) == [503]


@pytest.mark.parametrize(
    ("line", "counts"),
    [(b"RCPT TO:<b@b.test>\r\n", True), (b"what\r\n", True), (b"RSET x\r\n", True), (b"MAIL FROM:x\r\n", True),
     (b"BDAT 0\r\n", False), (MAIL + b"DATA\r\nRSET\r\n", False), (b"NOOP\r\n", False)],
)  # fmt: skip
def test_which_refusals_count_as_errors(line: bytes, counts: bool) -> None:
    session = ServerSession(Mailbag(), None, EVERYTHING)
    session.feed(line * MAX_ERRORS)
    assert not session.closed
    replies = session.feed(line)
    assert session.closed is counts
    assert replies.endswith(b"421 4.7.0 too many errors\r\n") is counts


def test_bdat_without_recipients_is_read_and_refused() -> None:
    bag = Mailbag()
    session = ServerSession(bag, None, EVERYTHING)
    assert codes(session.feed(b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")) == [503, 250]
    assert codes(session.feed(MAIL + b"BDAT 3\r\nab")) == [250]
    assert codes(session.feed(b"cRSET\r\n")) == [503, 250]
    assert bag.messages == []
    assert bag.dropped_octets == 0

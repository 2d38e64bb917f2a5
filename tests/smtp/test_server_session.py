"""The server's machine: what it answers, in any chunking, and what it never does."""

from itertools import cycle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.smtp.conversation import letter
from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp.policy_hooks import Decision, Suspension
from trafficgen.protocol.smtp.server import MAX_COMMAND_OCTETS, MAX_ERRORS, MAX_RECIPIENTS, ServerSession


class Mailbag:
    """Keeps whole messages. Implements `smtp.server.Receiver`."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, int]] = []
        self.dropped_octets = 0
        self._pieces: list[bytes] = []

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        stuffed = data[:end]
        assert not stuffed.startswith(b".")
        self.messages.append((stuffed.replace(b"\r\n.", b"\r\n"), recipients))

    def piece(self, octets: bytes) -> None:
        self._pieces.append(octets)

    def ended(self, recipients: int) -> None:
        self.messages.append((b"".join(self._pieces), recipients))
        self._pieces.clear()

    def dropped(self) -> None:
        self.dropped_octets += sum(map(len, self._pieces))
        self._pieces.clear()


def serve(*said: bytes) -> tuple[bytes, Mailbag, ServerSession]:
    """The replies to this, in this chunking."""
    bag = Mailbag()
    session = ServerSession(bag)
    return b"".join(session.feed(octets) for octets in said), bag, session


def codes(replies: bytes) -> list[int]:
    return [int(line[:3]) for line in replies.split(b"\r\n") if line and line[3:4] == b" "]


ENVELOPE = b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n"


def test_ehlo_offers_pipelining() -> None:
    replies, _, _ = serve(b"EHLO client.test\r\n")
    assert b"250-PIPELINING\r\n" in replies
    assert codes(replies) == [250]


def test_a_group_is_answered_in_one_piece() -> None:
    replies, bag, _ = serve(ENVELOPE, b"Subject: x\r\n\r\nhello\r\n.\r\n" + ENVELOPE)
    assert codes(replies) == [250, 250, 354, 250, 250, 250, 354]
    assert bag.messages == [(b"Subject: x\r\n\r\nhello\r\n", 1)]


def test_quit_ends_the_session_and_nothing_is_heard_after_it() -> None:
    replies, bag, session = serve(b"QUIT\r\n" + ENVELOPE)
    assert codes(replies) == [221]
    assert session.closed
    assert bag.messages == []


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"RCPT TO:<b@b.test>\r\n", [503]),
        (b"DATA\r\n", [503]),
        (b"MAIL FROM:<a@a.test>\r\nDATA\r\n", [250, 503]),
        (b"MAIL FROM:<a@a.test>\r\nMAIL FROM:<a@a.test>\r\n", [250, 503]),
        (b"MAIL FROM:<a@a.test>\r\nRSET\r\nRCPT TO:<b@b.test>\r\n", [250, 250, 503]),
        (b"MAIL FROM:<a@a.test>\r\nEHLO again\r\nRCPT TO:<b@b.test>\r\n", [250, 250, 503]),
        (b"MAIL FROM:<>\r\n", [250]),
        (b"mail from:<a@a.test> SIZE=100 BODY=8BITMIME\r\n", [250]),
        (b"MAIL FROM: <a@a.test>\r\n", [250]),
        (b"MAIL FROM:a@a.test\r\n", [501]),
        (b"MAIL TO:<a@a.test>\r\n", [501]),
        (b"MAIL FROM:<a@a.test>\r\nRCPT TO:<>\r\n", [250, 501]),
        (b"NOOP\r\nVRFY x\r\nHELP\r\nHELO x\r\n", [250, 252, 214, 250]),
        (b"EXPN list\r\n\r\n", [500, 500]),
    ],
)
def test_commands_and_their_order(said: bytes, expected: list[int]) -> None:
    assert codes(serve(said)[0]) == expected


def test_the_transaction_is_over_after_the_message() -> None:
    replies, _, _ = serve(ENVELOPE, b"x\r\n.\r\nRCPT TO:<b@b.test>\r\nDATA\r\n" + ENVELOPE)
    assert codes(replies) == [250, 250, 354, 250, 503, 503, 250, 250, 354]


def test_a_client_that_does_not_wait_for_the_354_is_understood() -> None:
    replies, bag, _ = serve(ENVELOPE + b"x\r\n.\r\n" + ENVELOPE + b"y\r\n.\r\nQUIT\r\n")
    assert codes(replies) == [250, 250, 354, 250, 250, 250, 354, 250, 221]
    assert bag.messages == [(b"x\r\n", 1), (b"y\r\n", 1)]


def test_thousands_of_messages_in_one_piece_are_taken() -> None:
    replies, bag, session = serve((ENVELOPE + b"x\r\n.\r\n") * 3000)
    assert codes(replies) == [250, 250, 354, 250] * 3000
    assert len(bag.messages) == 3000
    assert not session.closed


def test_an_empty_message_is_a_message() -> None:
    for said in ([ENVELOPE, b".\r\n"], [ENVELOPE + b".\r\n"], [ENVELOPE, b".", b"\r", b"\n"]):
        replies, bag, _ = serve(*said)
        assert codes(replies) == [250, 250, 354, 250]
        assert bag.messages == [(b"", 1)]


def test_too_many_recipients_are_refused_for_now_and_the_others_kept() -> None:
    replies, bag, _ = serve(
        b"MAIL FROM:<a@a.test>\r\n" + b"RCPT TO:<b@b.test>\r\n" * (MAX_RECIPIENTS + 1) + b"DATA\r\n", b"x\r\n.\r\n"
    )
    assert codes(replies) == [250] * (MAX_RECIPIENTS + 1) + [452, 354, 250]
    assert bag.messages == [(b"x\r\n", MAX_RECIPIENTS)]


def test_an_endless_command_line_is_hung_up_on() -> None:
    replies, _, session = serve(*[b"x" * 1000] * 4)
    assert codes(replies) == [500]
    assert session.closed
    assert len(session._rest) <= MAX_COMMAND_OCTETS + 1000


def test_a_line_without_an_end_is_waited_for_as_long_as_it_may_still_be_a_command() -> None:
    for octets, expected in ((MAX_COMMAND_OCTETS + 1, []), (MAX_COMMAND_OCTETS + 2, [500])):
        replies, _, session = serve(b"x" * octets)
        assert (codes(replies), session.closed) == (expected, bool(expected))
    replies, _, session = serve(b"NOOP".ljust(MAX_COMMAND_OCTETS) + b"\r", b"\n")
    assert (codes(replies), session.closed) == ([250], False)


def test_a_command_line_over_the_limit_is_the_same_in_one_piece_and_in_two() -> None:
    for said in ([b"NOOP " + b"x" * 2044 + b"\r\n"], [b"NOOP " + b"x" * 2044, b"\r\n"]):
        replies, _, session = serve(*said)
        assert codes(replies) == [500]
        assert session.closed
    for said in ([b"NOOP " + b"x" * 2043 + b"\r\n"], [b"NOOP " + b"x" * 2043 + b"\r", b"\n"]):
        replies, _, session = serve(*said)
        assert codes(replies) == [250]
        assert not session.closed


def test_a_client_that_makes_nothing_but_errors_is_hung_up_on() -> None:
    replies, _, session = serve(b"what?\r\n" * 100)
    assert codes(replies) == [500] * (MAX_ERRORS + 1) + [421]
    assert session.closed


def test_a_message_cut_off_is_dropped() -> None:
    _, bag, session = serve(ENVELOPE, b"Subject: x\r\n\r\nhel")
    session.eof()
    assert session.closed
    assert bag.messages == []
    assert bag.dropped_octets == len(b"Subject: x\r\n\r\nhel")


def test_a_bare_line_feed_is_no_end_of_a_command() -> None:
    replies, bag, _ = serve(b"MAIL FROM:<a@a.test>\nRCPT TO:<b@b.test>\nDATA\n\r\n")
    assert codes(replies) == [501]
    assert bag.messages == []


chunkings = st.lists(st.integers(1, 120), min_size=1, max_size=12)
scripts = st.lists(
    st.sampled_from(
        [
            ENVELOPE, b"x\r\n.\r\n", b".\r\n", b"..dots\r\n", b"\n.\n", b"\r\n.\r\n", b"RSET\r\n", b"QUIT\r\n",
            b"NOOP\r\n", b"RCPT TO:<c@c.test>\r\n", b"DATA\r\n", b"MAIL FROM:<a@a.test>\r\n", b"\r", b"\n", b".",
            letter(3, recipients=2).envelope, letter(3).head, b"\x00\xff",
        ]
    ),
    max_size=25,
)  # fmt: skip


@given(scripts, chunkings)
@example([ENVELOPE, b"x\r\n.\r\n", ENVELOPE, b"y\r\n.\r\n"], [51, 56, 5])
def test_any_chunking_gives_the_same_replies_and_messages(said: list[bytes], sizes: list[int]) -> None:
    octets, chunks, size = b"".join(said), [], cycle(sizes)
    while octets:
        step = next(size)
        chunks.append(octets[:step])
        octets = octets[step:]
    replies, bag, session = serve(*chunks)
    replies_at_once, bag_at_once, session_at_once = serve(b"".join(chunks)) if chunks else serve()
    assert replies == replies_at_once
    assert bag.messages == bag_at_once.messages
    assert session.closed == session_at_once.closed


@given(st.binary(max_size=5000), chunkings)
def test_any_octets_are_survived(octets: bytes, sizes: list[int]) -> None:
    session, size = ServerSession(Mailbag()), cycle(sizes)
    while octets and not session.closed:
        step = next(size)
        for reply in session.feed(octets[:step]).split(b"\r\n"):
            assert reply == b"" or (reply[:3].isdigit() and reply[3:4] in b" -")
        octets = octets[step:]
    session.eof()


class Scripted:
    """A judge that says what it was told to say, in this order, and remembers to what, and what passed."""

    max_octets: int | None = None

    def __init__(self, answers: list[Decision | None]) -> None:
        self.answers = answers
        self.objected: list[tuple[Phase, bytes, bytes]] = []
        self.passed: list[Phase] = []

    def decide(self, stage: Phase, argument: bytes, sender: bytes, octets: int) -> Decision | None:
        if self._passes(stage):
            return None
        self.objected.append((stage, argument, sender))
        return self.answers.pop()

    def _passes(self, stage: Phase) -> bool:
        """Whether the next answer is none; then it is given, and nobody has to ask."""
        passes = not self.answers or self.answers[-1] is None
        if passes:
            self.passed.append(stage)
            self.answers[-1:] = []
        return passes

    def accept_mail(self) -> bool:
        return self._passes(Phase.MAIL)

    def accept_rcpt(self, recipient: bytes) -> bool:
        return self._passes(Phase.RCPT)

    def accept_data(self) -> bool:
        return self._passes(Phase.DATA)

    def accept_envelope(self, sender: bytes, recipient: bytes) -> bool:
        if any(answer is not None for answer in self.answers[-3:]):
            return False
        return all(self._passes(stage) for stage in (Phase.MAIL, Phase.RCPT, Phase.DATA))

    def decide_message(self, sender: bytes, recipients: list[bytes], octets: int) -> Decision | None:
        return None if self._passes(Phase.END_OF_DATA) else self.answers.pop()

    def client(self, address: bytes) -> None:
        raise AssertionError(address)


lone = st.sampled_from(
    [b"MAIL FROM:<a@a.test>\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<b@b.test>\r\n", b"DATA\r\n", b"RSET\r\n",
     b"RCPT TO:<c@c.test> NOTIFY=NEVER\r\n", b"NOOP\r\n", ENVELOPE, b"one\r\n.\r\n", b"two\r\n..\r\n.\r\n" + ENVELOPE,
     b".\r\n", b"three\n.\n\r\n.\r\nQUIT\r\n"]
)  # fmt: skip
opinions = st.sampled_from([None, Decision(reply=b"450 4.2.0 later\r\n"), Decision(wait_ns=5), Decision(silent=True)])


@given(st.lists(lone, max_size=12), st.lists(opinions, max_size=12))
def test_what_comes_alone_is_answered_as_in_two_pieces(lines: list[bytes], said: list[Decision | None]) -> None:
    policies, bags = (Scripted(list(said)), Scripted(list(said))), (Mailbag(), Mailbag())
    whole, split = (ServerSession(bag, policy) for bag, policy in zip(bags, policies, strict=True))
    for line in lines:
        replies = [whole.feed(line), split.feed(line[:3]) + split.feed(line[3:])]
        for index, session in enumerate((whole, split)):
            while session.suspension is not None:
                replies[index] += session.resume()
        assert replies[0] == replies[1]
        assert (whole.sender, whole.recipients, whole.closed) == (split.sender, split.recipients, split.closed)
    assert policies[0].passed == policies[1].passed
    assert policies[0].objected == policies[1].objected
    assert policies[0].answers == policies[1].answers
    assert bags[0].messages == bags[1].messages
    assert whole.smuggled == split.smuggled


def test_dots_between_wrong_line_ends_are_counted_once_though_the_message_waits() -> None:
    class Slow(Scripted):
        def decide_message(self, sender: bytes, recipients: list[bytes], octets: int) -> Decision | None:
            return Decision(wait_ns=5)

    session = ServerSession(Mailbag(), Slow([]))
    session.feed(b"EHLO x\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n")
    session.feed(b"one\n.\ntwo\r\n.\r\n")
    assert session.resume().startswith(b"250")
    assert session.smuggled == 1


class Delayed(Scripted):
    """Delays every message, then does what it was told to do with it; remembers how large it was said to be."""

    def __init__(self, then: Decision) -> None:
        super().__init__([])
        self.then = then
        self.told: list[int] = []

    def decide_message(self, sender: bytes, recipients: list[bytes], octets: int) -> Decision | None:
        self.told.append(octets)
        return self.then


def test_commands_behind_a_message_wait_for_its_delay_and_then_for_its_dripped_reply() -> None:
    session = ServerSession(Mailbag(), Delayed(Decision(wait_ns=5, drip_ns=7)))
    session.feed(ENVELOPE)
    steps = (lambda: session.feed(b"x\r\n.\r\nNOOP\r\n"), session.resume, session.resume)
    seen = [(codes(step()), session.suspension) for step in steps]
    assert seen == [([], Suspension.WAIT), ([250], Suspension.DRIP), ([250], None)]


def test_a_message_by_chunks_is_accepted_when_its_delay_is_over() -> None:
    bag = Mailbag()
    session = ServerSession(bag, Delayed(Decision(wait_ns=5)))
    session.feed(b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n")
    assert session.feed(b"BDAT 3 LAST\r\nabcNOOP\r\n") == b""
    assert codes(session.resume()) == [250, 250]
    assert bag.messages == [(b"abc", 1)]


@pytest.mark.parametrize("pieces", [[b"hello\r\n.\r\n"], [b"hel", b"lo\r\n.\r\n"]])
def test_a_policy_is_told_how_large_a_message_is(pieces: list[bytes]) -> None:
    policy = Delayed(Decision(reply=b"552 5.3.4 too big\r\n"))
    session = ServerSession(Mailbag(), policy)
    session.feed(ENVELOPE)
    assert b"".join(map(session.feed, pieces)) == b"552 5.3.4 too big\r\n"
    assert policy.told == [len(b"hello\r\n")]


def test_octets_of_a_message_beyond_the_limit_never_reach_its_receiver() -> None:
    bag, policy = Mailbag(), Scripted([])
    policy.max_octets = 4
    session = ServerSession(bag, policy)
    replies = [session.feed(piece) for piece in (ENVELOPE, b"abc", b"defgh", b"ijk\r\n.\r\n")]
    assert codes(replies[-1]) == [552]
    assert bag.dropped_octets == 3

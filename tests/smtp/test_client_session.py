"""The client's machine, word by word: what it says, when, and what becomes of each message."""

from typing import cast
from weakref import ref

import pytest

from tests.smtp.conversation import letter, session_for, written
from trafficgen.outcomes import Outcome, Phase
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.conversation import UNASKED
from trafficgen.protocol.smtp.interfaces import Extensions

PIPELINED = b"250-server.test\r\n250 PIPELINING\r\n"
LOCK_STEP = b"250 server.test\r\n"
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


# -- the session opens ----------------------------------------------------------------------------------


def test_the_server_speaks_first() -> None:
    session, _, _ = session_for([letter(0)])
    assert session.busy
    assert hear(session, b"220 hi\r\n") == b"EHLO client.test\r\n"


def test_with_pipelining_the_whole_envelope_is_one_write() -> None:
    session, _, _ = session_for([letter(0)])
    assert hear(session, b"220 hi\r\n", PIPELINED).endswith(envelope(0))


def test_without_pipelining_every_command_waits_for_the_reply_before() -> None:
    session, _, book = session_for([letter(0)])
    hear(session, b"220 hi\r\n")
    assert hear(session, LOCK_STEP) == b"MAIL FROM:<0@a.test>\r\n"
    assert hear(session, b"250 ok\r\n") == b"RCPT TO:<r0@b.test>\r\n"
    assert hear(session, b"250 ok\r\n") == b"DATA\r\n"
    assert hear(session, b"354 go\r\n") == content(0)
    assert hear(session, b"250 taken\r\n") == b""
    assert book.outcomes == [(0, ACCEPTED)]
    assert not session.busy
    assert not session.closed


def test_pipelining_can_be_left_unused() -> None:
    session, _, _ = session_for([letter(0)], lock_step=True)
    assert hear(session, b"220 hi\r\n", PIPELINED).endswith(b"MAIL FROM:<0@a.test>\r\n")


def test_a_server_that_does_not_know_ehlo_is_greeted_with_helo() -> None:
    session, _, book = session_for([letter(0)])
    hear(session, b"220 hi\r\n")
    assert hear(session, b"500 what?\r\n") == b"HELO client.test\r\n"
    assert hear(session, b"250 hi\r\n") == b"MAIL FROM:<0@a.test>\r\n"
    hear(session, b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 taken\r\n")
    assert book.outcomes == [(0, ACCEPTED)]


@pytest.mark.parametrize(
    ("said", "phase"),
    [
        ([b"554 go away\r\n"], Phase.GREETING),
        ([b"421 too busy\r\n"], Phase.GREETING),
        ([b"220 hi\r\n", b"421 too busy\r\n"], Phase.EHLO),
        ([b"220 hi\r\n", b"450 later\r\n"], Phase.EHLO),
        ([b"220 hi\r\n", b"521 no mail here\r\n"], Phase.EHLO),
        ([b"220 hi\r\n", b"502 what?\r\n", b"550 not you\r\n"], Phase.HELO),
    ],
)
def test_a_refused_session_fails_its_message_with_the_servers_words(said: list[bytes], phase: Phase) -> None:
    session, _, book = session_for([letter(0), letter(1)])
    hear(session, *said)
    words = said[-1].decode().strip()
    assert session.closed
    assert not session.served
    assert book.outcomes == [(0, FAILED)]
    assert book.failures == [(phase, "refused by the server", words)]
    assert book.troubles == [f"refused by the server at {phase.value.upper()}: {words}"]


def test_eight_bit_is_announced_where_offered_only() -> None:
    offered, _, _ = session_for([letter(0, eight_bit=True)])
    said = hear(offered, b"220 hi\r\n", b"250-server.test\r\n250 8BITMIME\r\n")
    assert said.endswith(b"MAIL FROM:<0@a.test> BODY=8BITMIME\r\n")
    not_offered, _, _ = session_for([letter(0, eight_bit=True)])
    assert hear(not_offered, b"220 hi\r\n", LOCK_STEP).endswith(b"MAIL FROM:<0@a.test>\r\n")


def test_an_adopted_session_goes_on_with_the_envelope() -> None:
    session, _, book = session_for([letter(0)])
    assert written(session.adopt(Extensions(pipelining=True), 0)) == envelope(0)
    hear(session, ENVELOPE_OK, b"250 taken\r\n")
    assert book.outcomes == [(0, ACCEPTED)]


# -- messages -------------------------------------------------------------------------------------------


def test_the_next_envelope_rides_behind_the_end_of_data() -> None:
    session, _, book = session_for([letter(0), letter(1)])
    hear(session, b"220 hi\r\n", PIPELINED)
    assert hear(session, ENVELOPE_OK) == content(0) + envelope(1)
    assert hear(session, b"250 taken\r\n" + ENVELOPE_OK) == content(1)
    hear(session, b"250 taken\r\n")
    assert book.outcomes == [(0, ACCEPTED), (1, ACCEPTED)]


def test_a_message_that_rode_along_starts_when_the_one_before_is_answered() -> None:
    session, _, book = session_for([letter(0), letter(1)])
    hear(session, b"220 hi\r\n", PIPELINED, now_ns=10)
    hear(session, ENVELOPE_OK, now_ns=20)
    hear(session, b"250 taken\r\n", now_ns=30)
    hear(session, ENVELOPE_OK, now_ns=40)
    hear(session, b"250 taken\r\n", now_ns=50)
    first, second = book.messages
    assert (first["start"], first["ready"], first["sent"], first["end"]) == (10, 20, 20, 30)
    assert (second["start"], second["ready"], second["sent"], second["end"]) == (30, -1, 40, 50)


def test_quit_rides_with_the_last_message() -> None:
    session, queue, book = session_for([letter(0), letter(1), letter(2)], max_messages=2)
    hear(session, b"220 hi\r\n", PIPELINED)
    assert hear(session, ENVELOPE_OK) == content(0) + envelope(1)
    assert hear(session, b"250 taken\r\n" + ENVELOPE_OK) == content(1) + b"QUIT\r\n"
    hear(session, b"250 taken\r\n221 bye\r\n")
    assert session.closed
    assert book.outcomes == [(0, ACCEPTED), (1, ACCEPTED)]
    assert book.failures == []
    assert [work[0].number for work in queue.waiting] == [2]


def test_in_lock_step_quit_waits_for_the_last_answer() -> None:
    session, _, _ = session_for([letter(0), letter(1)], lock_step=True, max_messages=1)
    hear(session, b"220 hi\r\n", PIPELINED, b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n")
    assert hear(session, b"250 taken\r\n") == b"QUIT\r\n"
    assert session.busy
    hear(session, b"221 bye\r\n")
    assert session.closed


def test_an_idle_session_says_goodbye() -> None:
    session, _, book = session_for([letter(0)])
    hear(session, b"220 hi\r\n", PIPELINED, ENVELOPE_OK, b"250 taken\r\n")
    assert written(session.quit(0)) == b"QUIT\r\n"
    assert session.busy
    hear(session, b"221 bye\r\n")
    assert session.closed
    assert book.failures == []


def test_the_first_no_decides_and_rset_goes_before_the_next_envelope() -> None:
    session, _, book = session_for([letter(0), letter(1)])
    hear(session, b"220 hi\r\n", PIPELINED)
    said = hear(session, b"452 4.2.2 full\r\n503 5.5.1 order\r\n503 5.5.1 order\r\n")
    assert said == b"RSET\r\n" + envelope(1)
    assert book.outcomes == [(0, TEMPORARY)]
    assert book.troubles[0] == "the server answered MAIL with 452 4.2.2 full"
    assert hear(session, b"250 ok\r\n" + ENVELOPE_OK) == content(1)


def test_in_lock_step_a_refused_sender_ends_the_transaction_without_rset() -> None:
    session, _, book = session_for([letter(0), letter(1)], lock_step=True)
    hear(session, b"220 hi\r\n", PIPELINED)
    assert hear(session, b"550 no\r\n") == b"MAIL FROM:<1@a.test>\r\n"
    assert book.outcomes == [(0, PERMANENT)]


def test_in_lock_step_data_is_not_asked_for_when_every_recipient_was_refused() -> None:
    session, _, book = session_for([letter(0, recipients=2), letter(1)], lock_step=True)
    hear(session, b"220 hi\r\n", PIPELINED, b"250 ok\r\n", b"550 no such user\r\n")
    assert hear(session, b"550 no such user\r\n") == b"RSET\r\n"
    assert hear(session, b"250 ok\r\n") == b"MAIL FROM:<1@a.test>\r\n"
    assert book.outcomes == [(0, PERMANENT)]


def test_a_354_without_a_recipient_is_answered_with_a_lone_dot() -> None:
    session, _, book = session_for([letter(0), letter(1)])
    hear(session, b"220 hi\r\n", PIPELINED)
    assert hear(session, b"250 ok\r\n550 5.1.1 no such user\r\n354 go\r\n") == b".\r\n"
    assert book.outcomes == []
    assert hear(session, b"554 5.5.1 no valid recipients\r\n") == envelope(1)
    assert book.outcomes == [(0, PERMANENT)]


def test_a_message_taken_for_some_recipients_is_accepted_and_noted() -> None:
    session, _, book = session_for([letter(0, recipients=3)])
    hear(session, b"220 hi\r\n", PIPELINED, b"250 ok\r\n250 ok\r\n550 no\r\n251 will forward\r\n354 go\r\n")
    hear(session, b"250 taken\r\n")
    assert book.outcomes == [(0, ACCEPTED)]
    assert book.partial == {0: 2}


def test_a_no_to_the_message_outweighs_an_earlier_no_to_one_recipient() -> None:
    for first, *more in ([b"450 later\r\n"], [b"354 go\r\n", b"450 later\r\n"], [b"421 closing\r\n"]):
        session, _, book = session_for([letter(0, recipients=2)])
        hear(session, b"220 hi\r\n", PIPELINED, b"250 ok\r\n250 ok\r\n550 no such user\r\n" + first, *more)
        assert book.outcomes == [(0, TEMPORARY)]


def test_a_refusal_of_the_data_needs_no_rset() -> None:
    session, _, book = session_for([letter(0), letter(1)])
    hear(session, b"220 hi\r\n", PIPELINED, ENVELOPE_OK)
    assert hear(session, b"554 5.6.0 spam\r\n") == b""
    assert session.in_flight == 2  # the replies behind it could still show that it was not the answer to the message
    assert hear(session, ENVELOPE_OK) == content(1)
    assert book.outcomes == [(0, PERMANENT)]


def test_rset_is_sent_though_no_message_follows() -> None:
    session, _, _ = session_for([letter(0)])
    hear(session, b"220 hi\r\n", PIPELINED)
    assert hear(session, b"250 ok\r\n550 no\r\n503 order\r\n") == b"RSET\r\n"
    assert session.busy
    hear(session, b"250 ok\r\n")
    assert not session.busy
    assert not session.closed


def test_every_reply_has_the_whole_time_limit() -> None:
    session, _, _ = session_for([letter(0), letter(1)])
    hear(session, b"220 hi\r\n", PIPELINED, ENVELOPE_OK, now_ns=10)
    hear(session, b"250 taken\r\n", now_ns=50)
    assert session.waiting_since_ns == 50
    hear(session, b"250 ok\r\n", now_ns=70)
    assert session.waiting_since_ns == 70
    hear(session, b"25", now_ns=90)
    assert session.waiting_since_ns == 70


# -- the session ends -----------------------------------------------------------------------------------

OPEN = [b"220 hi\r\n", PIPELINED]


@pytest.mark.parametrize(
    ("before", "outcome", "phase"),
    [
        (OPEN, TEMPORARY, Phase.MAIL),
        ([*OPEN, b"250 ok\r\n"], TEMPORARY, Phase.RCPT),
        ([*OPEN, b"250 ok\r\n250 ok\r\n"], TEMPORARY, Phase.DATA),
        ([*OPEN, ENVELOPE_OK], TEMPORARY, Phase.END_OF_DATA),
    ],
)
def test_a_421_refuses_the_message_and_ends_the_session(before: list[bytes], outcome: Outcome, phase: Phase) -> None:
    session, queue, book = session_for([letter(0), letter(1)])
    hear(session, *before)
    assert hear(session, b"421 4.3.2 shutting down\r\n") == b""
    assert session.closed
    assert book.outcomes == [(0, outcome)]
    assert book.replies[phase, 421, "4.3.2"] == 1
    assert [work[0].number for work in queue.waiting] == [1]


def test_a_421_on_an_idle_session_ends_it_and_harms_nothing() -> None:
    session, _, book = session_for([letter(0)])
    hear(session, *OPEN, ENVELOPE_OK, b"250 taken\r\n")
    hear(session, b"421 4.4.2 idle for too long\r\n")
    assert session.closed
    assert book.outcomes == [(0, ACCEPTED)]
    assert book.failures == []
    assert book.replies[Phase.IDLE, 421, "4.4.2"] == 1


def test_a_421_to_the_lone_dot_keeps_the_first_refusal() -> None:
    session, _, book = session_for([letter(0)])
    hear(session, *OPEN, b"250 ok\r\n550 no such user\r\n354 go\r\n", b"421 bye\r\n")
    assert session.closed
    assert book.outcomes == [(0, PERMANENT)]


def test_a_message_that_rode_along_is_given_back_when_its_session_dies() -> None:
    session, queue, book = session_for([letter(0), letter(1)])
    hear(session, *OPEN, ENVELOPE_OK)
    session.lost("connection reset", "", 5)
    assert book.outcomes == [(0, IN_DOUBT)]
    assert queue.returned == [1]
    assert [work[0].number for work in queue.waiting] == [1]


@pytest.mark.parametrize(
    ("before", "outcome"),
    [
        ([], FAILED),
        ([b"220 hi\r\n"], FAILED),
        (OPEN, FAILED),
        ([*OPEN, b"250 ok\r\n250 ok\r\n"], FAILED),
        ([*OPEN, ENVELOPE_OK], IN_DOUBT),
        ([*OPEN, ENVELOPE_OK, b"250-taken\r\n"], IN_DOUBT),
        ([*OPEN, ENVELOPE_OK, b"2"], IN_DOUBT),
        ([*OPEN, b"250 ok\r\n550 no\r\n354 go\r\n"], FAILED),
    ],
)
def test_a_lost_message_is_in_doubt_from_its_end_of_data_on(before: list[bytes], outcome: Outcome) -> None:
    session, _, book = session_for([letter(0)])
    hear(session, *before)
    session.lost("closed by the server", "", 5)
    session.lost("closed by the server", "", 6)
    assert book.outcomes == [(0, outcome)]
    assert [reason for _, reason, _ in book.failures] == ["closed by the server"]


def test_octets_that_never_left_this_machine_leave_no_doubt() -> None:
    session, _, book = session_for([letter(0)])
    hear(session, *OPEN, ENVELOPE_OK)
    session.lost("connection reset", "", 5, unsent=1)
    assert book.outcomes == [(0, FAILED)]


def test_an_idle_session_that_is_closed_harms_nothing() -> None:
    session, _, book = session_for([letter(0)])
    hear(session, *OPEN, ENVELOPE_OK, b"250 taken\r\n")
    session.lost("closed by the server", "", 5)
    assert book.outcomes == [(0, ACCEPTED)]
    assert book.failures == []
    assert book.troubles == []


@pytest.mark.parametrize("extra", [b"250 once more\r\n", b"550 no, after all\r\n", b"25", b"garbage\r\n"])
def test_of_two_answers_to_a_message_that_came_together_nobody_knows_which_is_true(extra: bytes) -> None:
    session, _, book = session_for([letter(0)])
    hear(session, *OPEN, ENVELOPE_OK, b"250 taken\r\n" + extra)
    assert session.closed
    assert book.outcomes == [(0, IN_DOUBT)]
    assert [(phase, reason) for phase, reason, _ in book.failures] == [(Phase.END_OF_DATA, UNASKED)]


def test_a_reply_nobody_asked_for_ends_an_idle_session_and_is_told() -> None:
    session, _, book = session_for([letter(0)])
    hear(session, *OPEN, ENVELOPE_OK, b"250 taken\r\n", b"250 2.0.0 once more\r\n")
    assert session.closed
    assert book.outcomes == [(0, ACCEPTED)]
    assert book.failures == [(Phase.IDLE, UNASKED, "250 2.0.0 once more")]
    assert book.harmed == [1]


@pytest.mark.parametrize(
    "pieces", [[b"221 bye\r\n"], [b"22", b"1 bye\r\n"], [b"421 4.4.2 too long\r\n"], [b"4", b"21\r\n"]]
)
def test_a_goodbye_on_an_idle_session_is_no_fault(pieces: list[bytes]) -> None:
    session, _, book = session_for([letter(0)])
    hear(session, *OPEN, ENVELOPE_OK, b"250 taken\r\n", *pieces)
    assert session.closed
    assert session.parted
    assert book.outcomes == [(0, ACCEPTED)]
    assert book.failures == []
    assert [phase for phase, code, _ in book.replies if code in (221, 421)] == [Phase.IDLE]


@pytest.mark.parametrize("together", [True, False])
def test_a_421_behind_the_last_reply_is_no_fault(together: bool) -> None:
    session, _, book = session_for([letter(0)])
    hear(
        session,
        *OPEN,
        ENVELOPE_OK,
        *([b"250 taken\r\n421 bye\r\n"] if together else [b"250 taken\r\n4", b"21 bye\r\n"]),
    )
    assert session.closed
    assert book.outcomes == [(0, ACCEPTED)]
    assert book.failures == []


def test_nothing_follows_a_421() -> None:
    session, _, book = session_for([letter(0)])
    hear(session, *OPEN, ENVELOPE_OK, b"421 closing\r\n250 taken\r\n")
    assert book.outcomes == [(0, IN_DOUBT)]
    assert book.failures == [(Phase.END_OF_DATA, UNASKED, "250 taken")]


def test_nothing_follows_a_421_where_more_replies_are_due() -> None:
    session, queue, book = session_for([letter(0), letter(1)])
    hear(session, *OPEN, ENVELOPE_OK, b"421 closing\r\n250 ok\r\n")
    assert book.outcomes == [(0, IN_DOUBT)]
    assert book.failures == [(Phase.END_OF_DATA, UNASKED, "250 ok")]
    assert queue.returned == [1]


@pytest.mark.parametrize("code", [200, 211, 220, 221, 235, 251, 252, 299, 334])
def test_nothing_but_250_accepts_a_message(code: int) -> None:
    session, _, book = session_for([letter(0)])
    hear(session, *OPEN, ENVELOPE_OK, b"%d fine\r\n" % code)
    session.lost("closed by the server", "", 5)
    assert book.outcomes == [(0, IN_DOUBT)]
    assert book.failures == [(Phase.END_OF_DATA, "unexpected reply", f"{code} fine")]


@pytest.mark.parametrize("early", [b"250 taken\r\n", b"25", b"550-no"])
def test_a_reply_that_came_with_the_354_is_not_the_one_to_the_message(early: bytes) -> None:
    session, _, book = session_for([letter(0)])
    assert hear(session, *OPEN, ENVELOPE_OK + early, b"0 taken\r\n")[-6:] == b"DATA\r\n"  # the message never went out
    assert session.closed
    assert book.outcomes == [(0, FAILED)]
    assert [(phase, reason) for phase, reason, _ in book.failures] == [(Phase.MAIL, UNASKED)]


def test_a_421_with_the_354_is_a_refusal_and_the_message_stays_here() -> None:
    session, _, book = session_for([letter(0)])
    assert hear(session, *OPEN, ENVELOPE_OK + b"421 closing\r\n")[-6:] == b"DATA\r\n"
    assert book.outcomes == [(0, TEMPORARY)]


def test_a_reply_too_many_never_accepts_a_message() -> None:
    session, queue, book = session_for([letter(0), letter(1)])
    hear(session, *OPEN, ENVELOPE_OK)
    hear(session, b"250 taken\r\n250 taken again\r\n" + ENVELOPE_OK, b"250 taken\r\n")
    assert session.closed
    assert book.outcomes == [(0, IN_DOUBT)]
    assert queue.returned == [1]


@pytest.mark.parametrize("true", [b"250 taken\r\n", b"550 never\r\n"])
def test_a_reply_too_many_shows_at_the_next_354_and_until_then_nothing_is_believed(true: bytes) -> None:
    session, _, book = session_for([letter(0), letter(1)])
    hear(session, *OPEN, ENVELOPE_OK)
    hear(session, b"250 on its way\r\n")
    assert (book.outcomes, session.in_flight) == ([], 2)
    hear(session, true, b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n")
    assert session.closed
    assert book.outcomes == [(0, IN_DOUBT), (1, FAILED)]


@pytest.mark.parametrize("last", [b"250 bye\r\n", b"550 never\r\n"])
def test_a_quit_that_gets_no_221_leaves_the_last_message_in_doubt(last: bytes) -> None:
    session, _, book = session_for([letter(0)], max_messages=1)
    hear(session, *OPEN, ENVELOPE_OK, b"250 taken\r\n", last)
    assert book.outcomes == [(0, IN_DOUBT)]
    assert [(phase, reason) for phase, reason, _ in book.failures] == [(Phase.QUIT, "unexpected reply")]


def test_recipients_without_a_sender_are_no_answer() -> None:
    session, _, book = session_for([letter(0)])
    hear(session, *OPEN, b"550 no\r\n250 ok\r\n")
    assert book.outcomes == [(0, FAILED)]
    assert book.failures == [(Phase.RCPT, "unexpected reply", "250 ok")]


def test_when_the_order_of_replies_is_lost_no_recipient_differs_from_the_message() -> None:
    session, _, book = session_for([letter(0, recipients=2)])
    hear(session, *OPEN, b"250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n", b"235 fine\r\n")
    assert book.outcomes == [(0, IN_DOUBT)]
    assert book.recipients == {}


def test_a_421_that_began_before_the_message_went_out_leaves_it_in_doubt() -> None:
    session, _, book = session_for([letter(0)])
    assert hear(session, *OPEN, ENVELOPE_OK + b"42").endswith(content(0))
    hear(session, b"1 closing\r\n")
    assert session.closed
    assert book.outcomes == [(0, IN_DOUBT)]


@pytest.mark.parametrize(("code", "outcome"), [(399, IN_DOUBT), (400, TEMPORARY), (499, TEMPORARY), (500, PERMANENT)])
def test_the_first_digit_decides_what_a_refusal_means(code: int, outcome: Outcome) -> None:
    session, _, book = session_for([letter(0)])
    hear(session, *OPEN, ENVELOPE_OK, b"%d no\r\n" % code)
    session.lost("closed by the server", "", 5)
    assert book.outcomes == [(0, outcome)]


# -- octets that have not left this machine -------------------------------------------------------------


def unsent(session: ClientSession, said: bytes, octets: int) -> bytes:
    return written(session.feed_unsent(said, 0, octets))


def test_an_acceptance_before_the_last_octet_went_out_is_none() -> None:
    session, queue, book = session_for([letter(0), letter(1)])
    behind = len(envelope(1))
    hear(session, *OPEN, ENVELOPE_OK)
    assert unsent(session, b"250 taken\r\n", behind + 1) == b""
    assert session.closed
    assert book.outcomes == [(0, FAILED)]
    assert book.failures == [(Phase.END_OF_DATA, UNASKED, "250 taken")]
    assert queue.returned == [1]


def test_the_envelope_behind_it_may_still_wait_here() -> None:
    session, _, book = session_for([letter(0), letter(1)])
    hear(session, *OPEN, ENVELOPE_OK)
    assert unsent(session, b"250 taken\r\n", len(envelope(1))) == b""
    assert unsent(session, b"250 ok\r\n", len(b"RCPT TO:<r0@b.test>\r\nDATA\r\n")) == b""
    assert not session.closed
    assert unsent(session, b"250 ok\r\n", len(b"DATA\r\n") + 1) == b""
    assert book.failures == [(Phase.RCPT, UNASKED, "250 ok")]
    assert book.outcomes == [(0, IN_DOUBT), (1, FAILED)]


def test_an_acceptance_of_a_sender_that_has_not_left_this_machine_is_none() -> None:
    session, _, book = session_for([letter(0)])
    hear(session, *OPEN)
    unsent(session, b"250 ok\r\n", len(envelope(0)))
    assert session.closed
    assert book.failures == [(Phase.MAIL, UNASKED, "250 ok")]


def test_a_group_of_which_a_part_came_early_is_read_carefully_to_its_end() -> None:
    session, _, book = session_for([letter(number) for number in range(4)])
    hear(session, *OPEN, ENVELOPE_OK, b"250 taken\r\n" + ENVELOPE_OK)
    unsent(session, b"250 taken\r\n", len(envelope(2)))
    hear(session, b"250 taken\r\n" + ENVELOPE_OK)  # the same octets as before, one reply too many
    assert session.closed
    assert book.outcomes == [(0, ACCEPTED), (1, IN_DOUBT), (2, FAILED)]


def test_a_refusal_before_the_last_octet_went_out_is_one_and_ends_the_session() -> None:
    session, _, book = session_for([letter(0), letter(1)])
    hear(session, *OPEN, ENVELOPE_OK)
    unsent(session, b"552 5.3.4 too big\r\n", 1000)
    assert session.closed
    assert book.outcomes == [(0, PERMANENT)]
    assert book.replies[Phase.END_OF_DATA, 552, "5.3.4"] == 1


def test_a_message_of_which_all_but_its_successor_went_out_is_in_doubt() -> None:
    for octets, outcome in ((len(envelope(1)), IN_DOUBT), (len(envelope(1)) + 1, FAILED)):
        session, _, book = session_for([letter(0), letter(1)])
        hear(session, *OPEN, ENVELOPE_OK)
        session.lost("connection reset", "", 5, unsent=octets)
        assert book.outcomes == [(0, outcome)]


def test_a_message_that_was_not_begun_is_withdrawn_and_the_one_before_it_stays_in_doubt() -> None:
    session, queue, book = session_for([letter(0), letter(1)])
    hear(session, *OPEN, ENVELOPE_OK, b"250 taken\r\n")
    assert book.outcomes == []  # until the next 354 shows that the reply was its own
    assert session.withdraw()
    assert session.closed
    assert queue.returned == [1]
    assert book.outcomes == [(0, IN_DOUBT)]
    assert not session.withdraw()


@pytest.mark.parametrize("said", [[ENVELOPE_OK], [b"550 no\r\n"]])
def test_a_message_that_went_out_or_is_being_refused_is_not_withdrawn(said: list[bytes]) -> None:
    session, queue, _ = session_for([letter(0)])
    hear(session, *OPEN, *said)
    assert not session.withdraw()
    assert not session.closed
    assert queue.returned == []


# -- the end of a session --------------------------------------------------------------------------------


def test_late_reply_is_not_paired_with_next_command() -> None:
    session, _, book = session_for([letter(0)])
    hear(session, *OPEN, ENVELOPE_OK)
    session.lost("timed out", "no reply within 1 s", 5)
    assert hear(session, b"250 taken after all\r\n") == b""
    assert book.outcomes == [(0, IN_DOUBT)]


@pytest.mark.parametrize(
    ("before", "reply", "outcome", "phase"),
    [
        (OPEN, b"354 go\r\n", FAILED, Phase.MAIL),
        ([*OPEN, b"250 ok\r\n"], b"354 go\r\n", FAILED, Phase.RCPT),
        ([*OPEN, b"250 ok\r\n250 ok\r\n"], b"250 ok\r\n", FAILED, Phase.DATA),
        ([*OPEN, ENVELOPE_OK], b"354 go\r\n", IN_DOUBT, Phase.END_OF_DATA),
    ],
)
def test_a_yes_of_the_wrong_kind_ends_the_session(
    before: list[bytes], reply: bytes, outcome: Outcome, phase: Phase
) -> None:
    session, _, book = session_for([letter(0)])
    hear(session, *before, reply)
    assert session.closed
    assert book.outcomes == [(0, outcome)]
    reason = "a reply too few" if phase in (Phase.MAIL, Phase.RCPT) else "unexpected reply"
    assert book.failures == [(phase, reason, reply.decode().strip())]


@pytest.mark.parametrize("lock_step", [False, True])
def test_garbage_ends_the_session(lock_step: bool) -> None:
    session, _, book = session_for([letter(0)], lock_step=lock_step)
    hear(session, *OPEN, b"\xff\xfe what is this\r\n")
    assert session.closed
    assert book.outcomes == [(0, FAILED)]
    assert book.failures == [(Phase.MAIL, "malformed reply", 'expected a reply, got "\\xff\\xfe what is this"')]


def test_replies_before_the_garbage_count() -> None:
    session, _, book = session_for([letter(0)])
    hear(session, *OPEN, ENVELOPE_OK, b"250 taken\r\n", b"garbage\r\n")
    assert book.outcomes == [(0, ACCEPTED)]
    assert session.closed


@pytest.mark.parametrize(
    ("lock_step", "answers"),
    [
        (False, [ENVELOPE_OK]),
        (False, [ENVELOPE_OK, *[b"250 ok\r\n" + ENVELOPE_OK] * 2]),
        (True, [b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"]),
    ],
    ids=["first", "kept", "lock-step"],
)
def test_a_message_that_is_written_is_held_no_more(lock_step: bool, answers: list[bytes]) -> None:
    bodies = [memoryview(b"%d\r\n" % number) for number in range(5)]
    held = [ref(body) for body in bodies]
    session, queue, book = session_for(
        (letter(number)._replace(body=cast("bytes", body)) for number, body in enumerate(bodies)), lock_step=lock_step
    )
    del bodies
    hear(session, *OPEN, *answers)
    done = len(book.outcomes)
    assert session.in_flight == 1
    assert [number for number, body in enumerate(held) if body() is not None] == list(range(done + 1, 5))
    session.lost("connection reset", "", 5)
    assert book.outcomes == [(number, ACCEPTED) for number in range(done)] + [(done, IN_DOUBT)]
    assert queue.returned == ([] if lock_step else [done + 1])

"""The client's machine, word by word: what it says, when, and what becomes of each message."""

import pytest

from tests.smtp.client_replies import (
    ACCEPTED,
    ENVELOPE_OK,
    FAILED,
    PERMANENT,
    PIPELINED,
    TEMPORARY,
    content,
    envelope,
    hear,
)
from tests.smtp.conversation import letter, session_for, written
from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp.interfaces import Extensions

LOCK_STEP = b"250 server.test\r\n"


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


def test_in_lock_step_a_message_that_comes_while_rset_is_answered_begins_with_its_sender_alone() -> None:
    session, queue, book = session_for([letter(0)], lock_step=True)
    hear(session, b"220 hi\r\n", PIPELINED, b"250 ok\r\n")
    assert hear(session, b"550 no such user\r\n") == b"RSET\r\n"
    queue.give_back((letter(1), -1))  # by another session, which had to end
    assert hear(session, b"250 ok\r\n") == b"MAIL FROM:<1@a.test>\r\n"
    assert hear(session, b"250 ok\r\n", b"250 ok\r\n") == b"RCPT TO:<r0@b.test>\r\nDATA\r\n"
    assert hear(session, b"354 go\r\n") == content(1)
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

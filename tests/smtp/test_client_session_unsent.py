"""Octets that have not left this machine, and what a reply before them is worth."""

import pytest

from tests.smtp.client_replies import ACCEPTED, ENVELOPE_OK, FAILED, IN_DOUBT, OPEN, PERMANENT, envelope, hear
from tests.smtp.conversation import letter, session_for, written
from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.conversation import UNASKED

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

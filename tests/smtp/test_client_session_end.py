"""How a client session ends: by the server, by a lost connection, by replies that are nobody's."""

from typing import cast
from weakref import ref

import pytest

from tests.smtp.client_replies import ACCEPTED, ENVELOPE_OK, FAILED, IN_DOUBT, OPEN, PERMANENT, TEMPORARY, content, hear
from tests.smtp.conversation import letter, session_for
from trafficgen.outcomes import Outcome, Phase
from trafficgen.protocol.smtp.conversation import UNASKED


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


def test_a_goodbye_on_an_idle_session_in_lock_step_ends_it_and_costs_no_message() -> None:
    session, _, book = session_for([letter(0)], lock_step=True)
    hear(session, *OPEN, b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 taken\r\n")
    assert not session.busy
    hear(session, b"421 4.4.2 idle for too long\r\n")
    assert session.closed
    assert session.parted
    assert book.outcomes == [(0, ACCEPTED)]
    assert book.failures == []

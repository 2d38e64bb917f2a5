"""Sessions that go before a message is handed over: what they say last, whether they wait, where the message goes."""

import pytest

from tests.smtp.conversation import Notebook, Queue, in_chunks, letter
from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp.interfaces import Leaving, SessionOptions
from trafficgen.protocol.smtp.leaving import LeavingSession
from trafficgen.protocol.smtp.reply_cache import ReplyCache

HELLO = b"EHLO [127.0.0.1]\r\n"
OFFER = b"250-me.test\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
MAIL = b"MAIL FROM:<0@a.test>\r\n"
ANSWERS = [b"220 me.test\r\n", OFFER, b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n"]


def begun(leaving: Leaving, *, chunks: int = 0) -> tuple[LeavingSession, Queue, Notebook]:
    """A session that is connected with a message of two recipients."""
    sent = letter(0, recipients=2, body=b"hello\r\n" * 100)
    queue, notebook = Queue([in_chunks(sent)._replace(number=0) if chunks else sent]), Notebook()
    session = LeavingSession(queue, notebook, SessionOptions(leaving=leaving, chunks=chunks), ReplyCache())
    work = queue.take(0)
    assert work is not None
    session.greet(work, 1)
    assert session.connected(2) == ()
    assert session.opened(3) == []
    return session, queue, notebook


@pytest.mark.parametrize("chunks", [0, 3])
@pytest.mark.parametrize(
    ("step", "answers", "last"),
    [
        (Phase.GREETING, 0, b""),
        (Phase.EHLO, 1, HELLO),
        (Phase.MAIL, 2, MAIL),
        (Phase.RCPT, 4, b"RCPT TO:<r1@b.test>\r\n"),
        (Phase.DATA, 5, b"DATA\r\n"),
    ],
)
def test_it_goes_with_its_last_command_or_with_the_answer(step: Phase, answers: int, last: bytes, chunks: int) -> None:
    session, queue, notebook = begun(Leaving(step, waits=False), chunks=chunks)
    said = [b"".join(session.feed(answer, 5)) for answer in ANSWERS[:answers]]
    assert b"".join(said[-1:]) == last
    assert session.closed
    assert queue.returned == [0]
    assert session.feed(b"250 ok\r\n", 6) == []

    session, queue, _ = begun(Leaving(step), chunks=chunks)
    assert [b"".join(session.feed(answer, 5)) for answer in ANSWERS[:answers]] == said
    assert not session.closed
    assert b"".join(session.feed(ANSWERS[answers], 6)) == b""
    assert session.closed
    assert queue.returned == [0]
    assert len(notebook.rows) == 0
    assert notebook.failures == []


def test_it_breaks_off_in_the_middle_of_a_message() -> None:
    session, queue, _ = begun(Leaving(Phase.END_OF_DATA), chunks=3)
    half = [b"".join(session.feed(answer, 5)) for answer in ANSWERS][-1]
    whole = queue.waiting[0][0]
    assert len(half) == (len(whole.head) + len(whole.body) + len(b".\r\n")) // 2
    assert (bytes(whole.head) + bytes(whole.body)).startswith(half)
    assert session.closed


def test_a_no_is_answered_with_quit() -> None:
    session, _, notebook = begun(Leaving(Phase.RCPT, quits=True))
    for answer in ANSWERS[:2]:
        session.feed(answer, 5)
    assert b"".join(session.feed(b"550 no\r\n", 6)) == b"QUIT\r\n"
    assert session.feed(b"221 bye\r\n", 7) == []
    assert session.parted
    assert notebook.failures == []


@pytest.mark.parametrize("answers", range(5))
def test_a_run_that_stops_gets_its_message_back_once(answers: int) -> None:
    session, queue, notebook = begun(Leaving(Phase.DATA))
    for answer in ANSWERS[:answers]:
        session.feed(answer, 5)
    assert session.withdraw()
    assert session.closed
    assert queue.returned == [0]
    assert notebook.failures == []
    assert not session.withdraw()

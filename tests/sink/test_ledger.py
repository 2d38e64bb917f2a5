"""What arrived, by message number: counted once, in one piece or in many, whatever else comes."""

from itertools import cycle
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.smtp.conversation import RUN_ID, letter
from trafficgen import mark
from trafficgen.sink.ledger import Ledger, SessionReceiver
from trafficgen.smtp.dots import stuff
from trafficgen.smtp.server import ServerSession


def receive(ledger: Ledger, message: bytes, *, recipients: int = 1, sizes: tuple[int, ...] = (1 << 20,)) -> None:
    """Hand one message, already stuffed, to the ledger as a session would, in pieces of these sizes."""
    session, size = ServerSession(SessionReceiver(ledger)), cycle(sizes)
    rcpt = b"RCPT TO:<b@b.test>\r\n" * recipients
    session.feed(b"MAIL FROM:<a@a.test>\r\n" + rcpt + b"DATA\r\n")
    octets = message + b".\r\n"
    while octets:
        step = next(size)
        session.feed(octets[:step])
        octets = octets[step:]


def marked(number: int, body: bytes, *, crc: int | None = None, run_id: str = RUN_ID) -> bytes:
    header = mark.render(run_id, number, crc32(body) if crc is None else crc)
    return stuff(header + b"Subject: x\r\n\r\n" + body)


@pytest.mark.parametrize("sizes", [(1 << 20,), (1,), (7, 3)])
def test_a_message_is_entered_once_for_each_recipient(sizes: tuple[int, ...]) -> None:
    ledger = Ledger()
    receive(ledger, marked(3, b"hello\r\n.dot\r\n"), recipients=2, sizes=sizes)
    receive(ledger, marked(5, b""), sizes=sizes)
    arrivals = ledger.arrivals(RUN_ID)
    assert arrivals.recipients[:6].tolist() == [0, 0, 0, 2, 0, 1]
    assert arrivals.messages == 2
    assert arrivals.damaged == []
    assert ledger.received == 2
    assert ledger.unmarked == 0


@pytest.mark.parametrize("sizes", [(1 << 20,), (1,), (5,)])
def test_a_damaged_body_is_named(sizes: tuple[int, ...]) -> None:
    ledger = Ledger()
    receive(ledger, marked(7, b"hello\r\n", crc=crc32(b"hallo\r\n")), sizes=sizes)
    receive(ledger, marked(8, b"hello\r\n"), sizes=sizes)
    assert ledger.arrivals(RUN_ID).damaged == [7]


@pytest.mark.parametrize("sizes", [(1 << 20,), (1,)])
@pytest.mark.parametrize(
    "message",
    [
        b"Subject: not ours\r\n\r\nhello\r\n",
        b"no header at all\r\n",
        b"",
        b"\r\n",
        b"X-Traffic-Gen: \r\n\r\n",
        b"X-Traffic-Gen: abc\r\n\r\nx\r\n",
        b"X-Traffic-Gen: 9f3a6c1e02b4d857 00000000000x 1c291ca3\r\n\r\nx\r\n",
        b"X-Traffic-Gen: 9f3a6c1e02b4d857-000000000001-1c291ca3\r\n\r\nx\r\n",
        b"X-Traffic-Gen: 9f3a6c1e02b4d857 000000000001 1c291c\r\n\r\nx\r\n",
        b"Subject: x\r\n\r\nX-Traffic-Gen: 9f3a6c1e02b4d857 000000000001 1c291ca3\r\n",
    ],
)
def test_mail_without_a_mark_of_ours_is_counted_apart(message: bytes, sizes: tuple[int, ...]) -> None:
    ledger = Ledger()
    receive(ledger, message, sizes=sizes)
    assert ledger.unmarked == 1
    assert ledger.received == 1
    assert ledger.arrivals(RUN_ID).messages == 0


def test_a_number_out_of_all_reach_fills_no_memory() -> None:
    ledger = Ledger()
    receive(ledger, marked(mark.MAX_NUMBER, b"x\r\n"))
    receive(ledger, marked(1, b"x\r\n"))
    assert ledger.unmarked == 1
    assert ledger.arrivals(RUN_ID).messages == 1


def test_runs_are_kept_apart() -> None:
    ledger = Ledger()
    receive(ledger, marked(1, b"x\r\n", run_id="0" * 16))
    receive(ledger, marked(1, b"x\r\n", run_id="f" * 16))
    assert ledger.arrivals("0" * 16).messages == 1
    assert ledger.arrivals("f" * 16).messages == 1
    assert ledger.arrivals("1" * 16).messages == 0


def test_headers_added_on_the_way_do_not_matter() -> None:
    ledger = Ledger()
    receive(ledger, b"Received: from a by b; today\r\n" + marked(4, b"x\r\n"))
    assert ledger.arrivals(RUN_ID).recipients[4] == 1
    assert ledger.arrivals(RUN_ID).damaged == []


def test_a_message_that_is_cut_off_is_not_entered() -> None:
    ledger = Ledger()
    session = ServerSession(SessionReceiver(ledger))
    session.feed(letter(0).envelope)
    session.feed(letter(0).head)
    session.eof()
    assert ledger.received == 0


def test_a_session_goes_on_clean_after_a_message_without_end_of_header() -> None:
    ledger = Ledger()
    session = ServerSession(SessionReceiver(ledger))
    for octets in (b"no ", b"header\r\n.\r\n"):
        session.feed(letter(0).envelope if octets == b"no " else b"")
        session.feed(octets)
    session.feed(letter(1).envelope)
    session.feed(letter(1).head[:10])
    session.feed(letter(1).head[10:] + letter(1).body + letter(1).tail)
    assert ledger.unmarked == 1
    assert ledger.arrivals(RUN_ID).recipients[1] == 1


bodies = st.lists(st.sampled_from([b".", b"..", b"a", b"\xff\x00", b"", b".a."]), max_size=20).map(
    lambda lines: b"".join(line + b"\r\n" for line in lines)
)


@given(bodies, st.lists(st.integers(1, 40), min_size=1, max_size=6).map(tuple))
def test_any_body_in_any_chunking_is_whole(body: bytes, sizes: tuple[int, ...]) -> None:
    ledger = Ledger()
    receive(ledger, marked(1, body), sizes=sizes)
    assert ledger.arrivals(RUN_ID).recipients[1] == 1
    assert ledger.arrivals(RUN_ID).damaged == []

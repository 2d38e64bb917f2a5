"""What arrived, by message number: counted once, in one piece or in many, whatever else comes."""

import tracemalloc
from itertools import cycle
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.smtp.conversation import RUN_ID, letter
from trafficgen.proof import trace_header
from trafficgen.proof.received import MAX_RUNS, Received, Runs
from trafficgen.protocol.smtp.dots import stuff
from trafficgen.protocol.smtp.server import ServerSession
from trafficgen.sink.store.ledger import Ledger, SessionReceiver


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


def by_number(ledger: Ledger, run_id: str = RUN_ID) -> dict[int, int]:
    """How many recipients got each message."""
    arrivals = ledger.arrivals(run_id)
    return dict(zip(arrivals.numbers.tolist(), arrivals.counts.tolist(), strict=True))


LARGEST_NUMBER = 10**12 - 1

Row = tuple[int, int, bool, int]


def columns(claimed: list[tuple[str, int]]) -> tuple[NDArray[Any], ...]:
    """What `Runs.enter` takes, of whole messages of one recipient each that claim these runs and numbers."""
    text = b"".join(
        trace_header.render(run_id, number, 0).removeprefix(trace_header.HEADER)[:-2] for run_id, number in claimed
    )
    values = np.frombuffer(text, np.uint8).reshape(-1, trace_header.VALUE_OCTETS)
    ones = np.ones(len(claimed), np.int64)
    return values, ones, np.zeros(len(claimed), np.bool_), ones, ones


def marked(number: int, body: bytes, *, crc: int | None = None, run_id: str = RUN_ID) -> bytes:
    header = trace_header.render(run_id, number, crc32(body) if crc is None else crc)
    return stuff(header + b"Subject: x\r\n\r\n" + body)


@pytest.mark.parametrize("sizes", [(1 << 20,), (1,), (7, 3)])
def test_a_message_is_entered_once_for_each_recipient(sizes: tuple[int, ...]) -> None:
    ledger = Ledger()
    receive(ledger, marked(3, b"hello\r\n.dot\r\n"), recipients=2, sizes=sizes)
    receive(ledger, marked(5, b""), sizes=sizes)
    arrivals = ledger.arrivals(RUN_ID)
    assert by_number(ledger) == {3: 2, 5: 1}
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
    receive(ledger, marked(LARGEST_NUMBER, b"x\r\n"))
    receive(ledger, marked(1, b"x\r\n"))
    assert ledger.unmarked == 1
    assert ledger.arrivals(RUN_ID).messages == 1


def test_numbers_that_grow_with_the_memory_they_take_fill_none() -> None:
    runs, number = Runs(), 0
    for _ in range(50):
        number += 1 << 26
        runs.enter(*columns([(RUN_ID, number)]))
    assert runs.unmarked == 50
    assert runs.ids == []


@pytest.mark.parametrize("before", [0, 1, 7])
def test_a_number_is_one_of_the_run_up_to_sixteen_million_and_a_thousand_more_a_message(before: int) -> None:
    last = 16_777_216 + 1024 * before - 1
    runs = Runs()
    if before:
        runs.enter(*columns([(RUN_ID, number) for number in range(before)]))
    assert runs.of(RUN_ID).reaches(np.array([0, last, last + 1])).tolist() == [True, True, False]


def test_a_sink_that_gets_a_thousandth_of_a_run_takes_it_all() -> None:
    runs = Runs()
    numbers = list(range(0, 200_000_000, 1000))
    for begin in range(0, len(numbers), 8192):
        runs.enter(*columns([(RUN_ID, number) for number in numbers[begin : begin + 8192]]))
    assert runs.unmarked == 0
    assert runs.of(RUN_ID).numbers.tolist() == numbers


def test_a_wide_open_reach_takes_memory_by_the_message() -> None:
    runs = Runs()
    tracemalloc.start()
    for begin in range(0, 100_000, 10_000):
        runs.enter(*columns([(RUN_ID, number * 160) for number in range(begin, begin + 10_000)]))
    assert runs.of(RUN_ID).messages == 100_000
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 40 * 100_000
    assert peak < 200 * 100_000


def test_run_ids_that_nobody_has_do_not_push_out_a_run() -> None:
    runs = Runs()
    runs.enter(*columns([(RUN_ID, number) for number in range(100)]))
    for begin in range(0, 20_000, 5000):
        runs.enter(*columns([(f"{forged:016x}", 1) for forged in range(begin, begin + 5000)]))
    assert len(runs.ids) <= MAX_RUNS
    assert runs.of(RUN_ID).messages == 100


def test_a_sink_that_has_seen_all_runs_it_remembers_takes_one_more() -> None:
    runs = Runs()
    for run in range(MAX_RUNS + 1):
        runs.enter(*columns([(f"{run:016x}", number) for number in range(20)]))
    assert runs.of(f"{MAX_RUNS:016x}").messages == 20
    assert runs.of(f"{0:016x}").messages == 0
    assert runs.unmarked == 0


def test_what_nobody_was_told_of_is_noted_for_messages_that_may_be_ours_only() -> None:
    ledger = Ledger()
    receiver = SessionReceiver(ledger)
    for octets in (
        marked(3, b"x\r\n"),
        marked(LARGEST_NUMBER, b"x\r\n"),
        marked(3, b"x\r\n", run_id="G" * 16),
    ):
        receiver.whole(octets, len(octets), 1)
        receiver.unanswered(receiver.receipt)
    assert ledger.arrivals(RUN_ID).unanswered == {3: 1}
    assert ledger.runs == [RUN_ID]


rows = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 3), st.booleans(), st.integers(1, 99)), max_size=60)


@given(st.lists(rows, max_size=8), st.lists(rows, max_size=3))
def test_arrivals_are_what_counting_one_by_one_gives(batches: list[list[Row]], elsewhere: list[list[Row]]) -> None:
    here, there = Received(), Received()
    for arrivals, given_to_it in ((here, batches), (there, elsewhere)):
        for batch in given_to_it:
            numbers, recipients, damaged, taken = (np.array([row[at] for row in batch], np.int64) for at in range(4))
            arrivals.enter(
                numbers,
                recipients.astype(np.uint32),
                damaged.astype(np.bool_),
                taken,
                (recipients * 7).astype(np.uint32),
            )
    here.add(there)
    every = [row for batch in (*batches, *elsewhere) for row in batch]
    wanted = sorted({row[0] for row in every})
    assert here.numbers.tolist() == wanted
    assert [here.recipients[n] for n in range(42)] == [sum(row[1] for row in every if row[0] == n) for n in range(42)]
    assert here.counts.tolist() == [sum(row[1] for row in every if row[0] == number) for number in wanted]
    assert here.first_ns.tolist() == [min(row[3] for row in every if row[0] == number) for number in wanted]
    assert here.damaged == [number for number in wanted if any(row[2] for row in every if row[0] == number)]
    assert here.copies == len(every)
    assert (here.digests is not None) == bool(every)
    if here.digests is not None:
        assert here.digests.tolist() == [7 * recipients for recipients in here.counts.tolist()]
    columns = here.columns()
    assert columns["numbers"].tolist() == wanted
    assert columns["damaged"].tolist() == here.damaged


def test_what_arrives_one_by_one_is_merged_as_it_grows() -> None:
    arrivals, one = Received(), np.ones(1, np.int64)
    for number in range(1000):
        arrivals.enter(one * number, one.astype(np.uint32), one.astype(np.bool_), one)
        assert len(arrivals._parts) <= 1 + arrivals.copies.bit_length()
    assert arrivals.messages == 1000


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
    assert by_number(ledger) == {4: 1}
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
    assert by_number(ledger) == {1: 1}


@pytest.mark.parametrize("size", [1, 997, 65_536, 1 << 24])
@pytest.mark.parametrize("place", ["first", "last"])
def test_the_trace_header_is_found_in_a_header_block_of_any_size(place: str, size: int) -> None:
    body = b"hello\r\n"
    line, many = trace_header.render(RUN_ID, 9, crc32(body)), b"X-Large: " + b"x" * 900 + b"\r\n"
    many *= 60 if size == 1 else 1200
    ledger = Ledger()
    receive(ledger, (line + many if place == "first" else many + line) + b"\r\n" + body, sizes=(size,))
    assert by_number(ledger) == {9: 1}
    assert ledger.arrivals(RUN_ID).damaged == []


def test_a_header_block_in_pieces_is_not_kept() -> None:
    receiver = SessionReceiver(Ledger())
    tracemalloc.start()
    for _ in range(2000):
        receiver.piece(b"X-Large: " + b"x" * 900 + b"\r\n")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 10_000


@pytest.mark.parametrize("sizes", [(1 << 20,), (1,)])
def test_only_a_header_of_its_own_is_a_trace_header(sizes: tuple[int, ...]) -> None:
    ledger = Ledger()
    line = trace_header.render(RUN_ID, 5, crc32(b"x\r\n"))
    receive(ledger, b"Subject: about " + line + b"\r\nx\r\n", sizes=sizes)
    receive(ledger, b"\r\n" + line + b"\r\nx\r\n", sizes=sizes)  # an empty header: all of it is body
    assert ledger.unmarked == 2
    receive(ledger, b"Subject: about " + line + line + b"\r\nx\r\n", sizes=sizes)
    receive(ledger, trace_header.render(RUN_ID, 6, 0), sizes=sizes)  # a header and nothing else
    assert by_number(ledger) == {5: 1, 6: 1}
    assert ledger.arrivals(RUN_ID).damaged == []


lines = st.lists(
    st.sampled_from(
        [
            b"",
            b"Subject: x",
            trace_header.HEADER,
            b"X",
            b"\r",
            trace_header.render(RUN_ID, 1, 0)[:-2],
            b"." + trace_header.HEADER,
            b".",
        ]
    ).map(lambda line: line + b"\r\n"),
    max_size=8,
)


@given(lines, st.lists(st.integers(1, 40), min_size=1, max_size=6).map(tuple))
def test_a_message_is_read_alike_whole_and_in_any_pieces(message: list[bytes], sizes: tuple[int, ...]) -> None:
    whole, pieces = Ledger(), Ledger()
    receive(whole, stuff(b"".join(message)))
    receive(pieces, stuff(b"".join(message)), sizes=sizes)
    assert by_number(pieces) == by_number(whole)
    assert pieces.arrivals(RUN_ID).damaged == whole.arrivals(RUN_ID).damaged
    assert pieces.unmarked == whole.unmarked


bodies = st.lists(st.sampled_from([b".", b"..", b"a", b"\xff\x00", b"", b".a."]), max_size=20).map(
    lambda lines: b"".join(line + b"\r\n" for line in lines)
)


@given(bodies, st.lists(st.integers(1, 40), min_size=1, max_size=6).map(tuple))
def test_any_body_in_any_chunking_is_whole(body: bytes, sizes: tuple[int, ...]) -> None:
    ledger = Ledger()
    receive(ledger, marked(1, body), sizes=sizes)
    assert by_number(ledger) == {1: 1}
    assert ledger.arrivals(RUN_ID).damaged == []

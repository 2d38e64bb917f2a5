"""Client machine against server machine: every conversation ends, and both sides keep the same account."""

from itertools import cycle
from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.smtp.conversation import (
    RUN_ID,
    Letter,
    Notebook,
    OpinionatedServer,
    Opinions,
    Queue,
    Wire,
    letter,
    send_all,
    session_for,
    written,
)
from trafficgen.outcomes import Outcome
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.interfaces import SessionOptions
from trafficgen.protocol.smtp.reply_cache import ReplyCache
from trafficgen.protocol.smtp.server import GREETING, ServerSession
from trafficgen.sink.store.ledger import Ledger, SessionReceiver

sizes = st.lists(st.integers(1, 200), min_size=1, max_size=12)
recipients = st.lists(st.integers(1, 4), min_size=1, max_size=8)
bodies = st.lists(st.sampled_from([b".", b"..a", b"hello", b"", b"\x00\xff"]), max_size=5).map(
    lambda lines: b"".join(line + b"\r\n" for line in lines)
)

commands = st.one_of(
    st.tuples(st.sampled_from(["MAIL", "DATA", "END"]), st.integers(0, 7), st.just(0)),
    st.tuples(st.just("RCPT"), st.integers(0, 7), st.integers(0, 3)),
)
refusals = st.dictionaries(commands, st.sampled_from([421, 450, 452, 550, 554]), max_size=6)
opinions = st.builds(
    Opinions,
    answers=refusals,
    pipelining=st.booleans(),
    knows_ehlo=st.booleans(),
    lets_data_through=st.booleans(),
    queue_ids=st.booleans(),
    multi_line=st.booleans(),
    eight_bit=st.booleans(),
)
deadly_opinions = st.builds(
    Opinions,
    answers=refusals,
    hang_up_after=st.integers(0, 40),
    pipelining=st.booleans(),
    lets_data_through=st.booleans(),
)


@given(st.lists(bodies, min_size=1, max_size=6), recipients, sizes, st.booleans(), st.integers(0, 3))
def test_both_machines_end_with_equal_ledgers(
    texts: list[bytes], counts: list[int], pieces: list[int], lock_step: bool, max_messages: int
) -> None:
    letters = [letter(number, recipients=counts[number % len(counts)], body=text) for number, text in enumerate(texts)]
    queue, notebook, ledger, cache = Queue(letters), Notebook(), Ledger(), ReplyCache()
    wire = Wire(cycle(pieces))
    while (work := queue.take(0)) is not None:
        server = ServerSession(SessionReceiver(ledger))
        session = ClientSession(queue, notebook, SessionOptions(b"client.test", max_messages, not lock_step), cache)
        session.greet(work, wire.now_ns)
        session.connected(wire.now_ns)
        wire.run(session, GREETING, server.feed, lambda server=server: server.closed)  # type: ignore[misc]
    assert notebook.outcomes == [(each.number, Outcome.ACCEPTED) for each in letters]
    assert notebook.partial == {}
    arrivals = ledger.arrivals(RUN_ID)
    assert arrivals.numbers.tolist() == list(range(len(letters)))
    assert arrivals.counts.tolist() == [each.recipients for each in letters]
    assert arrivals.damaged == []
    assert ledger.unmarked == 0


@given(recipients, opinions, sizes, st.booleans(), st.integers(0, 3))
def test_whatever_is_refused_both_sides_agree(
    counts: list[int], said: Opinions, pieces: list[int], lock_step: bool, max_messages: int
) -> None:
    letters = [letter(number, recipients=count) for number, count in enumerate(counts)]
    book, taken, _ = send_all(letters, said, sizes=pieces, lock_step=lock_step, max_messages=max_messages)
    assert sorted(number for number, _ in book.outcomes) == list(range(len(letters)))
    assert sorted(taken) == [
        (number, book.partial.get(number, letters[number].recipients))
        for number, outcome in sorted(book.outcomes)
        if outcome is Outcome.ACCEPTED
    ]
    assert {number: outcome for number, outcome in book.outcomes if outcome is not Outcome.ACCEPTED} == {
        number: refused for number in range(len(letters)) if (refused := refused_by(said, letters[number])) is not None
    }
    assert book.failures == []


def refused_by(said: Opinions, sent: Letter) -> Outcome | None:
    """What becomes of this message by the server's opinions alone.

    As long as no recipient is accepted the first no decides; after that, the no to the whole message.
    """
    answer = lambda word, index=0: said.answers.get((word, sent.number, index))  # noqa: E731
    if (code := answer("MAIL")) is not None:
        return _kind(code)
    refused: list[int] = []
    for index in range(sent.recipients):
        if (code := answer("RCPT", index)) is not None:
            refused.append(code)
        if code == 421:
            return _kind(421 if len(refused) <= index else refused[0])
    if len(refused) == sent.recipients:
        return _kind(refused[0])
    code = answer("DATA") or answer("END")
    return None if code is None else _kind(code)


def _kind(code: int) -> Outcome:
    return Outcome.REJECTED_PERMANENT if code >= 500 else Outcome.REJECTED_TEMPORARY


@given(recipients, deadly_opinions, sizes, st.booleans(), st.integers(0, 3))
def test_whenever_a_session_dies_no_message_is_lost_from_the_account(
    counts: list[int], said: Opinions, pieces: list[int], lock_step: bool, max_messages: int
) -> None:
    letters = [letter(number, recipients=count) for number, count in enumerate(counts)]
    book, taken, _ = send_all(letters, said, sizes=pieces, lock_step=lock_step, max_messages=max_messages)
    assert sorted(number for number, _ in book.outcomes) == list(range(len(letters)))
    by_outcome = {outcome: {number for number, each in book.outcomes if each is outcome} for outcome in Outcome}
    arrived = [number for number, _ in taken]
    assert len(set(arrived)) == len(arrived), "a message that may have arrived was sent again"
    assert by_outcome[Outcome.ACCEPTED] <= set(arrived)
    assert set(arrived) <= by_outcome[Outcome.ACCEPTED] | by_outcome[Outcome.IN_DOUBT]


@given(recipients, opinions, sizes, st.booleans())
def test_any_chunking_of_replies_gives_the_same_outcomes_and_octets(
    counts: list[int], said: Opinions, pieces: list[int], lock_step: bool
) -> None:
    letters = [letter(number, recipients=count) for number, count in enumerate(counts)]
    one = _in_one_piece(letters, said, lock_step=lock_step, pieces=[1 << 20])
    many = _in_one_piece(letters, said, lock_step=lock_step, pieces=pieces)
    assert one == many


def _in_one_piece(letters: list[Letter], said: Opinions, *, lock_step: bool, pieces: list[int]) -> tuple[object, ...]:
    """One session whose replies come in these pieces, at a clock that stands still."""
    session, queue, book = session_for(letters, lock_step=lock_step)
    server, out, size = OpinionatedServer(said), b"", cycle(pieces)
    said_now = server.greeting()
    while said_now and not session.closed:
        step = next(size)
        octets, said_now = said_now[:step], said_now[step:]
        sent = written(session.feed(octets, 0))
        out += sent
        said_now += server.feed(sent)
    session._cache.tally_all(book)
    return out, book.rows, book.replies, book.failures, book.partial, book.troubles, session.closed, queue.waiting


@settings(max_examples=30)
@given(recipients, opinions, sizes, st.booleans())
def test_the_times_of_a_message_are_in_order(
    counts: list[int], said: Opinions, pieces: list[int], lock_step: bool
) -> None:
    letters = [letter(number, recipients=count) for number, count in enumerate(counts)]
    book, _, _ = send_all(letters, said, sizes=pieces, lock_step=lock_step)
    for row in book.messages:
        times = [row["start"], *[row[name] for name in ("ready", "sent") if row[name] != -1], row["end"]]
        assert times == sorted(times)
        assert (row["sent"] != -1) or (row["outcome"] != Outcome.ACCEPTED)


@given(st.binary(max_size=3000), sizes)
def test_a_client_survives_any_octets(octets: bytes, pieces: list[int]) -> None:
    session, _, book = session_for([letter(number) for number in range(5)])
    size = cycle(pieces)
    octets = b"220 hi\r\n250 ok\r\n" + octets
    while octets:
        step = next(size)
        session.feed(octets[:step], 0)
        octets = octets[step:]
    session.lost("closed by the server", "", 0)
    numbers = [number for number, _ in book.outcomes]
    assert len(set(numbers)) == len(numbers)


def test_a_body_arrives_with_its_checksum() -> None:
    ledger = Ledger()
    server = ServerSession(SessionReceiver(ledger))
    body = b".dots\r\n..\r\n"
    sent = letter(7, body=body)
    server.feed(sent.envelope)
    assert server.feed(sent.head + sent.body + sent.tail) == b"250 2.0.0 taken\r\n"
    assert b"%08x" % crc32(body) in sent.head
    assert ledger.arrivals(RUN_ID).damaged == []
    assert ledger.arrivals(RUN_ID).recipients[7] == 1

"""LMTP (RFC 2033): LHLO, and after the end of data a reply for each recipient, each its own outcome."""

from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.smtp.conversation import RUN_ID, Letter, Notebook, OpinionatedServer, Opinions, Queue, Wire, letter, written
from tests.smtp.test_both_machines import bodies, recipients, sizes
from trafficgen.outcomes import Outcome, Phase
from trafficgen.protocol.smtp.capabilities import Capabilities
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.conversation import UNASKED
from trafficgen.protocol.smtp.interfaces import SessionOptions
from trafficgen.protocol.smtp.reply_cache import ReplyCache
from trafficgen.protocol.smtp.server import GREETING, ServerSession
from trafficgen.sink.store.ledger import Ledger, SessionReceiver

ACCEPTED, TEMPORARY, PERMANENT, FAILED, IN_DOUBT = Outcome
OFFERS = b"250-store.test\r\n250 PIPELINING\r\n"
windows = st.integers(0, 4)


def options(chunks: int = 0, *, pipelining: bool = True) -> SessionOptions:
    return SessionOptions(b"client.test", 0, pipelining, chunks, Phase.LHLO)


def opened(
    letters: list[Letter], offers: bytes = OFFERS, chunks: int = 0, *, pipelining: bool = True
) -> tuple[ClientSession, Notebook, bytes]:
    """A session that has been greeted, and what it wrote after that."""
    queue, book = Queue(letters, chunks * pipelining), Notebook()
    session = ClientSession(queue, book, options(chunks, pipelining=pipelining), ReplyCache())
    work = queue.take(0)
    assert work is not None
    session.greet(work, 0)
    session.connected(0)
    assert written(session.feed(b"220 store.test LMTP\r\n", 1)) == b"LHLO client.test\r\n"
    return session, book, written(session.feed(offers, 2))


def hear(session: ClientSession, *said: bytes) -> bytes:
    return b"".join(written(session.feed(octets, 3)) for octets in said)


ENVELOPE_OF_3 = b"250 ok\r\n" * 4 + b"354 go\r\n"
ENVELOPE_OF_1 = b"250 ok\r\n" * 2 + b"354 go\r\n"


def test_every_recipient_has_its_own_answer() -> None:
    session, book, _ = opened([letter(0, recipients=3)])
    hear(session, ENVELOPE_OF_3, b"250 a\r\n")
    assert book.outcomes == []
    hear(session, b"450 later\r\n550 never\r\n")
    assert book.outcomes == [(0, ACCEPTED)]
    assert book.recipients == {0: (1, 1, 1, 0, 0)}
    assert book.partial == {0: 1}
    assert not session.busy
    assert [count for (phase, _, _), count in book.replies.items() if phase is Phase.END_OF_DATA] == [1, 1, 1]


def test_a_message_that_no_recipient_takes_is_rejected() -> None:
    session, book, _ = opened([letter(0, recipients=3)])
    hear(session, ENVELOPE_OF_3, b"450 a\r\n550 b\r\n450 c\r\n")
    assert book.outcomes == [(0, TEMPORARY)]
    assert book.recipients == {0: (0, 2, 1, 0, 0)}


def test_only_recipients_that_were_accepted_are_answered_for() -> None:
    session, book, _ = opened([letter(0, recipients=3)])
    hear(session, b"250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n", b"250 a\r\n", b"250 c\r\n")
    assert book.outcomes == [(0, ACCEPTED)]
    assert book.recipients == {0: (2, 0, 1, 0, 0)}


@pytest.mark.parametrize("answer", [b"500 5.5.1 EHLO, please\r\n", b"502 no\r\n"])
def test_a_server_that_does_not_know_lhlo_is_not_greeted_with_helo(answer: bytes) -> None:
    session, book, wrote = opened([letter(0)], answer)
    assert wrote == b""
    assert session.closed
    assert [(phase, reason) for phase, reason, _ in book.failures] == [(Phase.LHLO, "refused by the server")]


def test_the_next_envelope_rides_behind_and_its_replies_come_after_all_answers() -> None:
    session, book, _ = opened([letter(0, recipients=2), letter(1)])
    assert hear(session, b"250 ok\r\n" * 3 + b"354 go\r\n").endswith(letter(1).envelope)
    hear(session, b"250 a\r\n250 b\r\n" + ENVELOPE_OF_1)
    assert book.outcomes == [(0, ACCEPTED)]
    hear(session, b"250 a\r\n")
    assert book.outcomes == [(0, ACCEPTED), (1, ACCEPTED)]
    assert book.recipients == {}


def test_a_forgotten_answer_leaves_that_recipient_in_doubt() -> None:
    session, book, _ = opened([letter(0, recipients=3)])
    hear(session, ENVELOPE_OF_3, b"250 a\r\n550 b\r\n")
    session.lost("timed out", "no reply within 1 s", 9, missing=True)
    assert book.outcomes == [(0, IN_DOUBT)]
    assert book.recipients == {0: (1, 0, 1, 0, 1)}
    assert book.failures == [(Phase.END_OF_DATA, "timed out", "no reply within 1 s")]


def test_a_forgotten_answer_before_another_envelope_is_found_out() -> None:
    session, book, _ = opened([letter(0, recipients=3), letter(1)])
    hear(session, ENVELOPE_OF_3, b"250 a\r\n250 b\r\n" + ENVELOPE_OF_1)
    assert session.closed
    assert book.outcomes == [(0, IN_DOUBT), (1, FAILED)]
    assert book.recipients == {}
    assert book.failures == [(Phase.RCPT, "a reply too few", "354 go")]


def test_an_answer_too_many_ends_the_session_and_says_so() -> None:
    session, book, _ = opened([letter(0, recipients=2)])
    hear(session, b"250 ok\r\n" * 3 + b"354 go\r\n", b"250 a\r\n250 b\r\n250 c\r\n")
    assert session.closed
    assert book.outcomes == [(0, IN_DOUBT)]
    assert book.failures == [(Phase.END_OF_DATA, UNASKED, "250 c")]


def test_an_answer_too_many_before_another_envelope_is_found_out() -> None:
    session, book, _ = opened([letter(0, recipients=2), letter(1)])
    hear(session, b"250 ok\r\n" * 3 + b"354 go\r\n", b"250 a\r\n250 b\r\n250 c\r\n" + ENVELOPE_OF_1)
    assert session.closed
    assert [outcome for _, outcome in book.outcomes] == [IN_DOUBT]


def test_a_421_between_two_answers_refuses_the_rest_only() -> None:
    session, book, _ = opened([letter(0, recipients=3)])
    hear(session, ENVELOPE_OF_3, b"250 a\r\n", b"421 4.3.2 closing\r\n")
    assert session.closed
    assert book.outcomes == [(0, ACCEPTED)]
    assert book.recipients == {0: (1, 2, 0, 0, 0)}


def test_a_354_without_recipients_ends_the_session() -> None:
    session, book, _ = opened([letter(0, recipients=2)])
    hear(session, b"250 ok\r\n550 no\r\n550 no\r\n354 go\r\n")
    assert session.closed
    assert book.failures == [(Phase.DATA, "unexpected reply", "354 go")]


def test_octets_that_wait_here_hold_up_all_answers_to_their_end_of_data() -> None:
    session, book, _ = opened([letter(0, recipients=3)])
    hear(session, ENVELOPE_OF_3)
    session.feed_unsent(b"250 a\r\n", 4, 1)
    assert session.closed
    assert book.outcomes == [(0, FAILED)]
    assert book.failures == [(Phase.END_OF_DATA, UNASKED, "250 a")]


def test_chunks_are_answered_for_each_recipient_too() -> None:
    offers = OFFERS.replace(b"250 P", b"250-CHUNKING\r\n250 P")
    session, book, wrote = opened([letter(0, recipients=2), letter(1, recipients=2), letter(2)], offers, chunks=3)
    assert wrote.endswith(b"LHLO client.test\r\n")
    first = b"250 ok\r\n" * 2 + b"550 no\r\n" + b"250 a\r\n"  # one recipient is refused: one answer
    second = b"250 ok\r\n" * 4 + b"250 a\r\n452 full\r\n"
    third = b"250 ok\r\n" * 2 + b"550 no\r\n" + b"503 nobody to write to\r\n"  # none is accepted: one says so
    hear(session, first, second, third, offers)
    assert not session.closed
    assert book.outcomes == [(0, ACCEPTED), (1, ACCEPTED), (2, PERMANENT)]
    assert book.recipients == {0: (1, 0, 1, 0, 0), 1: (1, 1, 0, 0, 0)}


@given(st.lists(bodies, min_size=1, max_size=12), recipients, sizes, windows, st.booleans())
def test_both_machines_end_with_equal_ledgers(
    texts: list[bytes], counts: list[int], pieces: list[int], window: int, in_groups: bool
) -> None:
    letters = [letter(number, recipients=counts[number % len(counts)], body=text) for number, text in enumerate(texts)]
    queue, book, ledger, cache = Queue(letters, window * in_groups), Notebook(), Ledger(), ReplyCache()
    wire = Wire(cycle(pieces))
    while (work := queue.take(0)) is not None:
        server = ServerSession(SessionReceiver(ledger), capabilities=Capabilities(lmtp=True))
        session = ClientSession(queue, book, options(window, pipelining=in_groups), cache)
        session.greet(work, wire.now_ns)
        session.connected(wire.now_ns)
        wire.run(session, GREETING, server.feed, lambda server=server: server.closed)  # type: ignore[misc]
    cache.tally_all(book)
    assert book.outcomes == [(each.number, ACCEPTED) for each in letters]
    assert book.recipients == {}
    assert book.replies[Phase.END_OF_DATA, 250, "2.0.0"] == sum(each.recipients for each in letters)
    arrivals = ledger.arrivals(RUN_ID)
    assert arrivals.counts.tolist() == [each.recipients for each in letters]
    assert arrivals.damaged == []


answers = st.dictionaries(
    st.one_of(
        st.tuples(st.sampled_from(["MAIL", "DATA"]), st.integers(0, 9), st.just(0)),
        st.tuples(st.sampled_from(["RCPT", "END"]), st.integers(0, 9), st.integers(0, 3)),
    ),
    st.sampled_from([450, 452, 550, 554]),
    max_size=8,
)


@given(recipients, answers, sizes, windows, st.booleans(), st.one_of(st.none(), st.integers(0, 60)))
def test_whatever_is_answered_the_recipients_add_up_and_hold_against_the_servers_list(
    counts: list[int],
    said: dict[tuple[str, int, int], int],
    pieces: list[int],
    window: int,
    in_groups: bool,
    hang_up_after: int | None,
) -> None:
    letters = [letter(number, recipients=count) for number, count in enumerate(counts)]
    opinions = Opinions(answers=said, chunking=window > 0, lmtp=True, hang_up_after=hang_up_after)
    queue, book, cache = Queue(letters, window * in_groups), Notebook(), ReplyCache()
    wire, delivered = Wire(cycle(pieces)), set[tuple[int, int]]()
    while (work := queue.take(0)) is not None:
        server = OpinionatedServer(opinions)
        session = ClientSession(queue, book, options(window, pipelining=in_groups), cache)
        session.greet(work, wire.now_ns)
        session.connected(wire.now_ns)
        wire.run(session, server.greeting(), server.feed, lambda server=server: server.hung_up)  # type: ignore[misc]
        session.lost("closed by the server", "", wire.now_ns)
        delivered |= server.delivered
    outcomes = dict(book.outcomes)
    assert len(outcomes) == len(book.outcomes) == len(letters)
    for each in letters:
        outcome = outcomes[each.number]
        alike = tuple(each.recipients * (outcome is one) for one in Outcome)
        by_outcome = book.recipients.get(each.number, alike)
        arrived = sum(number == each.number for number, _ in delivered)
        assert sum(by_outcome) == each.recipients
        assert by_outcome[ACCEPTED] <= arrived <= by_outcome[ACCEPTED] + by_outcome[IN_DOUBT]
        assert (by_outcome[ACCEPTED] > 0) or outcome is not ACCEPTED

"""Messages in chunks, several on their way: each ends once, as the server sees it, whatever becomes of the others."""

from itertools import cycle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.smtp.conversation import (
    RUN_ID,
    Letter,
    Notebook,
    Opinions,
    Queue,
    Wire,
    in_chunks,
    letter,
    send_all,
    written,
)
from tests.smtp.test_both_machines import bodies, recipients, refused_by, sizes
from tests.smtp.test_reply_cache import CountingCache, NeverCache, everything
from tests.smtp.test_server_session import Mailbag
from trafficgen.outcomes import Outcome, Phase
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.conversation import UNASKED
from trafficgen.protocol.smtp.interfaces import SessionOptions
from trafficgen.protocol.smtp.reply_cache import ReplyCache
from trafficgen.protocol.smtp.server import GREETING, ServerSession
from trafficgen.sink.store.ledger import Ledger, SessionReceiver

windows = st.integers(1, 9)
commands = st.one_of(
    st.tuples(st.sampled_from(["MAIL", "DATA", "END"]), st.integers(0, 11), st.just(0)),
    st.tuples(st.just("RCPT"), st.integers(0, 11), st.integers(0, 3)),
)


def opinions(codes: list[int], **more: Any) -> st.SearchStrategy[Opinions]:
    answers = st.dictionaries(commands, st.sampled_from(codes), max_size=6)
    return st.builds(
        Opinions, answers=answers, chunking=st.just(True), queue_ids=st.booleans(), multi_line=st.booleans(), **more
    )


@given(st.lists(bodies, min_size=1, max_size=12), recipients, sizes, windows, st.integers(0, 3))
def test_both_machines_end_with_equal_ledgers(
    texts: list[bytes], counts: list[int], pieces: list[int], window: int, max_messages: int
) -> None:
    letters = [letter(number, recipients=counts[number % len(counts)], body=text) for number, text in enumerate(texts)]
    queue, notebook, ledger, cache = Queue(letters, window), Notebook(), Ledger(), ReplyCache()
    wire = Wire(cycle(pieces))
    while (work := queue.take(0)) is not None:
        server = ServerSession(SessionReceiver(ledger))
        session = ClientSession(queue, notebook, SessionOptions(b"client.test", max_messages, chunks=window), cache)
        session.greet(work, wire.now_ns)
        session.connected(wire.now_ns)
        wire.run(session, GREETING, server.feed, lambda server=server: server.closed)  # type: ignore[misc]
    cache.tally_all(notebook)
    assert notebook.outcomes == [(each.number, Outcome.ACCEPTED) for each in letters]
    assert notebook.partial == {}
    assert notebook.replies[Phase.END_OF_DATA, 250, "2.0.0"] == len(letters)
    assert Phase.DATA not in {phase for phase, _, _ in notebook.replies}
    arrivals = ledger.arrivals(RUN_ID)
    assert arrivals.counts.tolist() == [each.recipients for each in letters]
    assert arrivals.damaged == []
    assert ledger.unmarked == 0


@given(recipients.map(lambda some: some * 2), opinions([450, 452, 550, 554]), sizes, windows, st.integers(0, 3))
def test_what_is_refused_harms_no_other_message(
    counts: list[int], said: Opinions, pieces: list[int], window: int, max_messages: int
) -> None:
    letters = [letter(number, recipients=count) for number, count in enumerate(counts)]
    book, taken, _ = send_all(letters, said, sizes=pieces, max_messages=max_messages, chunks=window)
    refused = {
        number: kind for number in range(len(letters)) if (kind := refused_by(said, letters[number])) is not None
    }
    assert dict(book.outcomes) == {number: refused.get(number, Outcome.ACCEPTED) for number in range(len(letters))}
    assert len(book.outcomes) == len(letters)
    assert taken == [
        (number, book.partial.get(number, letters[number].recipients))
        for number, outcome in book.outcomes
        if outcome is Outcome.ACCEPTED
    ]
    assert book.failures == []


@given(
    recipients.map(lambda some: some * 2), opinions([421, 450, 550], hang_up_after=st.integers(0, 60)), sizes, windows
)
def test_when_the_connection_dies_nothing_taken_is_called_lost(
    counts: list[int], said: Opinions, pieces: list[int], window: int
) -> None:
    letters = [letter(number, recipients=count) for number, count in enumerate(counts)]
    book, taken, _ = send_all(letters, said, sizes=pieces, chunks=window)
    assert sorted(number for number, _ in book.outcomes) == list(range(len(letters)))
    arrived = [number for number, _ in taken]
    assert len(set(arrived)) == len(arrived)
    accepted = {number for number, outcome in book.outcomes if outcome is Outcome.ACCEPTED}
    in_doubt = {number for number, outcome in book.outcomes if outcome is Outcome.IN_DOUBT}
    assert accepted <= set(arrived) <= accepted | in_doubt


def test_a_server_without_chunking_gets_data() -> None:
    letters = [letter(number) for number in range(20)]
    book, taken, wrote = send_all(letters, Opinions(), chunks=8)
    assert [number for number, _ in taken] == list(range(20))
    assert wrote.count(b"DATA\r\n") == 20
    assert b"BDAT" not in wrote
    assert len(book.outcomes) == 20


@pytest.mark.parametrize("lock_step", [False, True])
def test_what_was_laid_out_for_chunks_reaches_a_server_without_them_octet_by_octet(lock_step: bool) -> None:
    letters = [letter(number, body=b".\r\n..x\r\n" * number) for number in range(5)]
    by_data, as_data = (send_all(letters, Opinions(), lock_step=lock_step, chunks=chunks)[2] for chunks in (0, 4))
    assert as_data == by_data


def test_what_is_given_back_is_as_it_was_taken() -> None:
    letters = [letter(number) for number in range(2)]
    queue = Queue(letters, chunks=4)
    session = ClientSession(queue, Notebook(), SessionOptions(chunks=4), ReplyCache())
    work = queue.take(0)
    assert work is not None
    session.greet(work, 0)
    session.connected(0)
    for said in (b"220 x\r\n", b"250-x\r\n250 PIPELINING\r\n", b"250 ok\r\n250 ok\r\n354 go\r\n"):
        session.feed(said, 1)
    session.lost("closed by the server", "", 2)
    assert queue.waiting == [(in_chunks(letters[1]), -1)]


def busy_session(
    chunks: int, cache: ReplyCache, letters: list[Letter] | None = None
) -> tuple[ClientSession, Notebook, bytes]:
    """One that waits for replies, and what it wrote after EHLO."""
    queue, book = Queue(letters or [letter(number) for number in range(6)], chunks), Notebook()
    session = ClientSession(queue, book, SessionOptions(chunks=chunks), cache)
    work = queue.take(0)
    assert work is not None
    session.greet(work, 0)
    session.connected(0)
    session.feed(b"220 x\r\n", 1)
    return session, book, written(session.feed(b"250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n", 10))


GOOD = b"250 ok\r\n" * 3
AGAIN = b"250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n"


def test_as_many_as_asked_for_are_on_their_way_and_their_waiting_counts() -> None:
    session, book, wrote = busy_session(4, ReplyCache())
    assert wrote.count(b"BDAT") == session.in_flight == 4
    assert wrote.count(b"RSET") == 3
    assert wrote.endswith(b"EHLO [127.0.0.1]\r\n")
    assert session.feed(GOOD, 30) == []
    assert session.feed((b"250 ok\r\n" + GOOD) * 3, 50) == []
    assert book.messages == []  # one reply too many among them could still show
    assert session.in_flight == 4
    assert written(session.feed(AGAIN, 60)).count(b"BDAT") == 2
    assert [(row["start"], row["end"]) for row in book.messages] == [(10, 30), (10, 50), (10, 50), (10, 50)]
    assert session.in_flight == 2


def test_the_last_batch_of_a_session_ends_in_quit() -> None:
    book, taken, wrote = send_all(
        [letter(number) for number in range(6)], Opinions(chunking=True), max_messages=3, chunks=2
    )
    assert book.outcomes == [(number, Outcome.ACCEPTED) for number in range(6)]
    assert len(taken) == 6
    assert (wrote.count(b"EHLO"), wrote.count(b"QUIT"), wrote.count(b"RSET")) == (4, 2, 2)


@pytest.mark.parametrize("queue_ids", [False, True])
def test_a_server_that_repeats_itself_is_not_parsed_again(queue_ids: bool) -> None:
    cache = CountingCache()
    letters, said = [letter(number) for number in range(50)], Opinions(chunking=True, queue_ids=queue_ids)
    book, taken, _ = send_all(letters, said, cache=cache, chunks=8)
    assert (cache.all_shortcuts > 30) is not queue_ids
    assert book.outcomes == [(number, Outcome.ACCEPTED) for number in range(50)]
    assert [number for number, _ in taken] == list(range(50))
    assert book.replies[Phase.END_OF_DATA, 250, "2.0.0"] == 50
    assert book.replies[Phase.RSET, 250, "2.0.0"] == 43
    assert book.replies[Phase.EHLO, 250, ""] == 8


def test_a_batch_that_is_answered_bit_by_bit_is_not_parsed_again_either() -> None:
    cache = CountingCache()
    busy_session(4, cache)[0].feed((GOOD + b"250 ok\r\n") * 3 + GOOD + AGAIN, 20)
    session, book, _ = busy_session(4, cache)
    for times, last in ((1, b""), (2, b""), (0, GOOD + AGAIN)):
        assert book.messages == []
        session.feed((GOOD + b"250 ok\r\n") * times + last, 30)
    assert book.outcomes == [(number, Outcome.ACCEPTED) for number in range(4)]
    cache.tally_all(book)
    assert cache.all_shortcuts == 4 + 2  # the messages; greeting and EHLO of the second session
    assert [book.replies[phase, 250, ""] for phase in (Phase.RSET, Phase.END_OF_DATA, Phase.EHLO)] == [3, 4, 2]


def test_what_was_learnt_of_messages_with_one_recipient_is_not_taken_for_replies_to_several() -> None:
    cache = ReplyCache()
    busy_session(2, cache)[0].feed(GOOD + b"250 ok\r\n" + GOOD + AGAIN, 20)
    letters = [letter(0, recipients=3), letter(1)]
    session, book, _ = busy_session(2, cache, letters)
    session.feed(b"250 ok\r\n" * 4, 30)  # all but the one to the chunk
    assert book.outcomes == []
    session.feed(b"550 never\r\n250 ok\r\n" + GOOD + AGAIN, 40)
    assert book.outcomes == [(0, Outcome.REJECTED_PERMANENT), (1, Outcome.ACCEPTED)]


@given(st.lists(bodies, min_size=1, max_size=12), sizes, windows, st.integers(0, 3))
def test_the_shortcut_gives_exactly_what_the_careful_path_gives(
    texts: list[bytes], pieces: list[int], window: int, max_messages: int
) -> None:
    letters, said = [letter(number, body=text) for number, text in enumerate(texts)], Opinions(chunking=True)
    quick, careful = (
        send_all(letters, said, sizes=pieces, max_messages=max_messages, cache=cache, chunks=window)
        for cache in (ReplyCache(), NeverCache())
    )
    assert quick[1:] == careful[1:]
    assert everything(quick[0]) == everything(careful[0])


@pytest.mark.parametrize("odd", [0, 1, 2, 3])
def test_replies_that_the_careful_way_refuses_are_not_learnt(odd: int) -> None:
    cache = ReplyCache()
    session, book, _ = busy_session(2, cache)
    replies = [b"250 ok\r\n"] * 7
    replies[odd] = b"235 odd\r\n"
    session.feed(b"".join(replies) + AGAIN, 20)
    assert cache.of(0).octets == cache.of(-1).octets == b""
    assert session.closed
    assert [phase for phase, _, _ in book.failures] == [(Phase.MAIL, Phase.RCPT, Phase.END_OF_DATA, Phase.RSET)[odd]]


def test_what_is_learnt_of_chunks_is_nothing_to_messages_by_data() -> None:
    cache = ReplyCache()
    session, _, _ = busy_session(2, cache)
    session.feed(GOOD + b"250 ok\r\n" + GOOD + AGAIN, 20)
    assert cache.of(0).octets == GOOD + b"250 ok\r\n"
    assert cache.octets == b""
    session, _, _ = busy_session(1, cache)
    session.feed(b"250 fine\r\n" * 3 + AGAIN, 20)  # a batch of one message has nothing between two
    assert (cache.of(0).octets, cache.of(-1).octets) == (GOOD + b"250 ok\r\n", b"250 fine\r\n" * 3 + AGAIN)


def test_a_lost_connection_costs_all_messages_on_their_way() -> None:
    session, book, _ = busy_session(4, ReplyCache())
    session.lost("closed by the server", "", 30)
    assert book.harmed == [4]
    assert book.outcomes == [(number, Outcome.IN_DOUBT) for number in range(4)]


# -- replies out of order -------------------------------------------------------------------------------


@pytest.mark.parametrize("at", range(8))
@pytest.mark.parametrize("learnt", [False, True])
def test_one_reply_too_many_leaves_the_batch_in_doubt(at: int, learnt: bool) -> None:
    cache = ReplyCache()
    if learnt:
        busy_session(2, cache)[0].feed(GOOD + b"250 ok\r\n" + GOOD + AGAIN, 20)
    session, book, _ = busy_session(2, cache)
    replies = [b"250 ok\r\n"] * 6 + [b"550 never\r\n"]  # the second message is refused
    replies.insert(at, b"250 ok\r\n")
    for reply in [*replies, AGAIN]:
        session.feed(reply, 30)
    assert session.closed
    assert {outcome for _, outcome in book.outcomes} == {Outcome.IN_DOUBT}
    assert [number for number, _ in book.outcomes] == [0, 1]


@pytest.mark.parametrize("missing", range(7))
def test_one_reply_too_few_leaves_the_batch_in_doubt(missing: int) -> None:
    session, book, _ = busy_session(2, ReplyCache())
    replies = [b"250 ok\r\n"] * 7
    del replies[missing]
    session.feed(b"".join(replies) + AGAIN, 30)
    assert not session.closed
    assert book.outcomes == []
    session.lost("timed out", "no reply within 1 s", 40)
    assert book.outcomes == [(0, Outcome.IN_DOUBT), (1, Outcome.IN_DOUBT)]


@pytest.mark.parametrize("answered", range(7))
def test_a_421_within_a_batch_refuses_nothing_that_may_have_been_taken(answered: int) -> None:
    session, book, _ = busy_session(2, ReplyCache())
    session.feed(b"250 ok\r\n" * answered + b"421 4.3.2 closing\r\n", 30)
    assert session.closed
    assert session.parted
    assert book.outcomes == [(0, Outcome.IN_DOUBT), (1, Outcome.IN_DOUBT)]
    due = (Phase.MAIL, Phase.RCPT, Phase.END_OF_DATA, Phase.RSET, Phase.MAIL, Phase.RCPT, Phase.END_OF_DATA)
    assert book.failures == [(due[answered], "refused by the server", "421 4.3.2 closing")]


def test_chunks_that_have_not_left_this_machine_were_not_taken() -> None:
    session, book, wrote = busy_session(3, ReplyCache())
    second, last = wrote.index(b"<1@a.test>"), wrote.rindex(b"EHLO")
    between = wrote.index(b"RSET", second)
    assert session.feed_unsent(GOOD + b"250 ok\r\n" + GOOD, 30, len(wrote) - between) == []
    assert not session.closed
    session.lost("connection reset", "", 40, unsent=len(wrote) - last + 1)
    assert book.outcomes == [(0, Outcome.IN_DOUBT), (1, Outcome.IN_DOUBT), (2, Outcome.FAILED)]


def test_an_acceptance_before_the_chunk_went_out_ends_the_session() -> None:
    session, book, wrote = busy_session(3, ReplyCache())
    between = wrote.index(b"RSET", wrote.index(b"<1@a.test>"))
    session.feed_unsent(GOOD + b"250 ok\r\n" + GOOD, 30, len(wrote) - between + 1)
    assert session.closed
    assert [(phase, reason) for phase, reason, _ in book.failures] == [(Phase.MAIL, UNASKED)]
    assert book.outcomes == [(0, Outcome.IN_DOUBT), (1, Outcome.FAILED), (2, Outcome.FAILED)]


def test_stuffed_dots_are_sent_as_they_were() -> None:
    sent = letter(0, body=b".\r\n..a\r\nend\r\n")
    _, _, wrote = send_all([sent], Opinions(chunking=True), chunks=2)
    begin = wrote.index(b" LAST\r\n") + len(b" LAST\r\n")
    assert wrote[begin : begin + sent.octets].endswith(b"\r\n\r\n.\r\n..a\r\nend\r\n")
    assert wrote[begin + sent.octets :] == b"EHLO client.test\r\n"


chunk = st.sampled_from(
    [b"RSET\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nBDAT 5 LAST\r\na\r\nb\r", b"RSET\r\n", b"BDAT 2\r\nxy",
     b"MAIL FROM:<>\r\nRCPT TO:<b@b.test>\r\nRCPT TO:<c@b.test>\r\nBDAT 3 LAST\r\na\r\n", b"NOOP\r\n",
     b"BDAT 0 LAST\r\n", b"RSET\r\nMAIL FROM:<a@a.test>\r\n",
     b"RSET\r\nMAIL FROM:<>\r\nRCPT TO:<b@b.test>\r\nBDAT 0 LAST\r\n"]
)  # fmt: skip


@given(st.lists(chunk, max_size=8), sizes)
def test_the_server_takes_chunks_the_same_in_any_pieces(said: list[bytes], pieces: list[int]) -> None:
    octets = b"".join(said)
    whole, split = Mailbag(), Mailbag()
    at_once, bit_by_bit = ServerSession(whole), ServerSession(split)
    replies, begin = b"", 0
    for size in cycle(pieces):
        if begin >= len(octets):
            break
        replies += bit_by_bit.feed(octets[begin : begin + size])
        begin += size
    assert at_once.feed(octets) == replies
    assert whole.messages == split.messages
    assert (at_once.sender, at_once.recipients) == (bit_by_bit.sender, bit_by_bit.recipients)

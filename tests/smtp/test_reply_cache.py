"""The shortcut gives exactly what the careful path gives."""

from hypothesis import given
from hypothesis import strategies as st

from tests.smtp.conversation import Notebook, Opinions, letter, send_all
from tests.smtp.test_both_machines import opinions
from trafficgen.outcomes import Outcome, Phase
from trafficgen.protocol.smtp.interfaces import SessionAccount
from trafficgen.protocol.smtp.replies import MAX_REMEMBERED, Reply, ReplyReader
from trafficgen.protocol.smtp.reply_cache import ReplyCache, group_of


class NeverCache(ReplyCache):
    """Learns nothing, so that every reply is parsed with care."""

    def learn(self, octets: bytes, replies: list[Reply], account: SessionAccount, phases: tuple[Phase, ...]) -> None:
        pass


class CountingCache(ReplyCache):
    """Remembers how often the shortcut was taken, also after `tally`."""

    def __init__(self, recipients: int = 1) -> None:
        super().__init__(recipients)
        self.shortcuts = 0

    @property
    def all_shortcuts(self) -> int:
        return sum(one.shortcuts for one in self._kin.values() if isinstance(one, CountingCache))

    def tally(self, account: SessionAccount) -> None:
        self.shortcuts += self.hits
        super().tally(account)


def test_a_server_that_repeats_itself_is_not_parsed_again() -> None:
    cache = CountingCache()
    book, taken, _ = send_all([letter(number) for number in range(50)], Opinions(), cache=cache)
    assert cache.shortcuts == 48  # all but the first group, which is learnt, and the last, which has no envelope in it
    assert book.outcomes == [(number, Outcome.ACCEPTED) for number in range(50)]
    assert [number for number, _ in taken] == list(range(50))
    assert book.replies[Phase.END_OF_DATA, 250, "2.0.0"] == 50
    assert book.replies[Phase.DATA, 354, ""] == 50


def test_in_lock_step_it_is_not_parsed_again_either() -> None:
    cache = CountingCache()
    book, _, _ = send_all([letter(number) for number in range(50)], Opinions(), cache=cache, lock_step=True)
    assert cache.all_shortcuts == 4 * 49  # all but the first reply of each kind
    assert book.outcomes == [(number, Outcome.ACCEPTED) for number in range(50)]


def test_a_server_with_queue_ids_is_not_parsed_again_either() -> None:
    cache = CountingCache()
    book, _, _ = send_all([letter(number) for number in range(50)], Opinions(queue_ids=True), cache=cache)
    assert cache.shortcuts == 48
    assert book.outcomes == [(number, Outcome.ACCEPTED) for number in range(50)]
    assert book.replies[Phase.END_OF_DATA, 250, "2.0.0"] == 50


@given(
    st.sampled_from([b"250 2.0.0 queued as 1\r\n", b"250 ok 1\r\n", b"250 2.0.0\r\n", b"250-a\r\n250 b\r\n"]),
    st.sampled_from([b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n", b"250 a\r\n250 b\r\n354\r\n"]),
    st.sampled_from(
        [b"250 ", b"250 2.0.0 ", b"250 2.0.0", b"250 2.1.5 ", b"250 5.0.0\t", b"250-", b"251 2.0.0 ", b"550 "]
    ),
    st.binary(max_size=12)
    | st.sampled_from([b"", b"queued as 2", b"ok\r\n250 ok", b"a\nb", b"a\rb", b"\r", b"x" * 1_100]),
    st.sampled_from([b"\r\n", b"\n", b""]),
)
def test_what_repeats_would_have_been_read_as_the_same_kinds_of_replies(
    learnt: bytes, behind: bytes, begin: bytes, text: bytes, line_end: bytes
) -> None:
    cache, book = ReplyCache(), Notebook()
    cache.learn(learnt + behind, ReplyReader().feed(learnt + behind), book, group_of(1))
    data = begin + text + line_end + behind
    if cache.repeats(data):
        reader = ReplyReader()
        kinds = [(reply.code, reply.enhanced) for reply in reader.feed(data)]
        assert kinds == [(reply.code, reply.enhanced) for reply in ReplyReader().feed(learnt + behind)]
        assert reader.empty
        assert reader.fault is None


def test_a_queue_id_is_all_that_may_differ() -> None:
    cache, behind = ReplyCache(), b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n"
    assert not cache.repeats(b"250 2.0.0 queued as 1\r\n" + behind)
    cache.learn(
        b"250 2.0.0 queued as 1\r\n" + behind, ReplyReader().feed(b"250 2.0.0 ok\r\n" + behind), Notebook(), group_of(1)
    )
    assert cache.repeats(b"250 2.0.0 queued as 23\r\n" + behind)
    assert not cache.repeats(b"250 2.6.0 queued as 23\r\n" + behind)
    assert not cache.repeats(b"250 2.0.0 queued as 23\r\n" + behind[:-4])
    room = MAX_REMEMBERED - len(b"250 2.0.0 \r\n" + behind)
    assert cache.repeats(b"250 2.0.0 " + b"x" * room + b"\r\n" + behind)
    assert not cache.repeats(b"250 2.0.0 x" + b"x" * room + b"\r\n" + behind)
    assert not cache.repeats(b"250 2.0.0 queued as 23\r\n" + behind.replace(b"2.1.5 ok", b"2.1.5 okay"))


def test_messages_with_octets_above_ascii_take_the_shortcut_too() -> None:
    cache = CountingCache()
    letters = [letter(number, eight_bit=number % 2 == 1) for number in range(50)]
    book, _, wrote = send_all(letters, Opinions(eight_bit=True), cache=cache)
    assert cache.shortcuts == 48
    assert wrote.count(b"> BODY=8BITMIME\r\n") == 25
    assert book.outcomes == [(number, Outcome.ACCEPTED) for number in range(50)]


def test_messages_of_several_recipients_take_the_shortcut_too_and_keep_them_all() -> None:
    letters, cache = [letter(number, recipients=1 if number % 2 else 3) for number in range(20)], CountingCache()
    book, taken, _ = send_all(letters, Opinions(), cache=cache)
    assert cache.all_shortcuts == 17  # all but one group of each kind, which are learnt, and the last
    assert book.replies[Phase.RCPT, 250, "2.1.5"] == 40
    assert [number for number, outcome in book.outcomes if outcome is Outcome.ACCEPTED] == list(range(20))
    assert taken == [(number, 1 if number % 2 else 3) for number in range(20)]
    assert book.partial == {}


@given(
    st.lists(st.sampled_from([(1, False), (1, False), (1, True), (2, False), (3, True)]), min_size=1, max_size=24),
    opinions,
    st.lists(st.integers(1, 300), min_size=1, max_size=8) | st.just([1 << 20]),
    st.integers(0, 3),
)
def test_the_shortcut_gives_exactly_what_the_careful_path_gives(
    kinds: list[tuple[int, bool]], said: Opinions, sizes: list[int], max_messages: int
) -> None:
    letters = [letter(number, recipients=count, eight_bit=wide) for number, (count, wide) in enumerate(kinds)]
    quick, quick_taken, quick_wrote = send_all(
        letters, said, sizes=sizes, max_messages=max_messages, cache=ReplyCache()
    )
    careful, careful_taken, careful_wrote = send_all(
        letters, said, sizes=sizes, max_messages=max_messages, cache=NeverCache()
    )
    assert quick_wrote == careful_wrote
    assert quick_taken == careful_taken
    assert everything(quick) == everything(careful)


def everything(book: Notebook) -> tuple[object, ...]:
    return book.rows, book.phases, book.replies, book.texts, book.failures, book.partial, book.troubles

"""The shortcut gives exactly what the careful path gives."""

from hypothesis import given
from hypothesis import strategies as st

from tests.smtp.conversation import Notebook, Opinions, letter, send_all
from tests.smtp.test_both_machines import opinions
from trafficgen.outcomes import Outcome, Phase
from trafficgen.smtp.replies import Reply
from trafficgen.smtp.seams import Account
from trafficgen.smtp.steady import Steady


class NeverSteady(Steady):
    """Learns nothing, so that every reply is parsed with care."""

    def learn(self, octets: bytes, replies: list[Reply], account: Account, phases: tuple[Phase, ...]) -> None:
        pass


class CountingSteady(Steady):
    """Remembers how often the shortcut was taken, also after `tally`."""

    def __init__(self) -> None:
        super().__init__()
        self.shortcuts = 0

    def tally(self, account: Account) -> None:
        self.shortcuts += self.hits
        super().tally(account)


def test_a_server_that_repeats_itself_is_not_parsed_again() -> None:
    steady = CountingSteady()
    book, taken, _ = send_all([letter(number) for number in range(50)], Opinions(), steady=steady)
    assert steady.shortcuts == 48  # all but the first group, which is learnt, and the last, which has no envelope in it
    assert book.outcomes == [(number, Outcome.ACCEPTED) for number in range(50)]
    assert [number for number, _ in taken] == list(range(50))
    assert book.replies[Phase.END_OF_DATA, 250, "2.0.0"] == 50
    assert book.replies[Phase.DATA, 354, ""] == 50


def test_a_server_with_queue_ids_is_parsed_every_time() -> None:
    steady = CountingSteady()
    book, _, _ = send_all([letter(number) for number in range(50)], Opinions(queue_ids=True), steady=steady)
    assert steady.shortcuts == 0
    assert len(book.outcomes) == 50


def test_a_message_of_several_recipients_before_one_of_one_keeps_them_all() -> None:
    letters = [letter(number, recipients=1 if number % 2 else 3) for number in range(20)]
    book, taken, _ = send_all(letters, Opinions(), steady=Steady())
    assert [number for number, outcome in book.outcomes if outcome is Outcome.ACCEPTED] == list(range(20))
    assert taken == [(number, 1 if number % 2 else 3) for number in range(20)]
    assert book.partial == {}


@given(
    st.lists(st.sampled_from([1, 1, 1, 2]), min_size=1, max_size=12),
    opinions,
    st.lists(st.integers(1, 300), min_size=1, max_size=8) | st.just([1 << 20]),
    st.integers(0, 3),
)
def test_the_shortcut_gives_exactly_what_the_careful_path_gives(
    recipients: list[int], said: Opinions, sizes: list[int], max_messages: int
) -> None:
    letters = [letter(number, recipients=count) for number, count in enumerate(recipients)]
    quick, quick_taken, quick_wrote = send_all(letters, said, sizes=sizes, max_messages=max_messages, steady=Steady())
    careful, careful_taken, careful_wrote = send_all(
        letters, said, sizes=sizes, max_messages=max_messages, steady=NeverSteady()
    )
    assert quick_wrote == careful_wrote
    assert quick_taken == careful_taken
    assert _everything(quick) == _everything(careful)


def _everything(book: Notebook) -> tuple[object, ...]:
    return book.rows, book.phases, book.replies, book.texts, book.failures, book.partial, book.troubles

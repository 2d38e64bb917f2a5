"""How far another machine's clock is from ours, and how well that is known."""

from hypothesis import given
from hypothesis import strategies as st

from trafficgen.measure.clock_offset import ClockExchange, best, to_ours

MS = 1_000_000


def exchange(at: int, ahead: int, there: int, back: int) -> ClockExchange:
    """A question at `at` on our clock, with a clock there that is ahead."""
    return ClockExchange(at, at + there + ahead, at + there + ahead + MS, at + there + MS + back)


def test_offset_and_delay_of_an_exchange() -> None:
    one = exchange(1000, 50 * MS, 3 * MS, 3 * MS)
    assert (one.offset, one.delay) == (50 * MS, 6 * MS)


def test_of_several_the_quickest_is_believed() -> None:
    slow, quick = exchange(0, 50 * MS, 90 * MS, MS), exchange(9, 50 * MS, MS, MS)
    assert best([slow, quick]) is quick


@given(st.integers(-(10**15), 10**15), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**12))
def test_the_error_is_never_more_than_half_of_the_delay(ahead: int, there: int, back: int, at: int) -> None:
    one = exchange(at, ahead, there, back)
    (ours,), error = to_ours([at + ahead], [one])
    assert abs(ours - at) <= error + 1


def test_a_clock_that_drifts_is_followed_from_one_round_to_the_next() -> None:
    rounds = [exchange(0, 0, 0, 0), exchange(30_000 * MS, 30 * MS, 0, 0)]  # 1 ms a second
    ours, error = to_ours([0, 15_015 * MS, 30_030 * MS], rounds)
    assert [round(at / MS) for at in ours] == [0, 15_000, 30_000]
    assert error == 0

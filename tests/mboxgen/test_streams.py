"""Streams: the same integers for ever."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mboxgen import streams

GOLDEN = [8949638855576560109, 8110749180829399122, 1030815263696890766]


def test_the_first_draws_of_three_seeds_never_change() -> None:
    assert [int(streams.raw(seed, "sizes", 0, 1)[0]) for seed in (0, 7, 2**70)] == GOLDEN
    assert streams.stream_number("sizes") == 0x7C69F3FA


def test_a_stream_is_found_by_seed_name_and_block() -> None:
    keys = [(1, "a", 0), (2, "a", 0), (1, "b", 0), (1, "a", 1)]
    assert len({int(streams.raw(*key, 1)[0]) for key in keys}) == 4
    assert np.array_equal(streams.raw(1, "a", 0, 10)[:4], streams.raw(1, "a", 0, 4))


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed must be zero or above, got -1"):
        streams.raw(-1, "a", 0, 1)


@given(st.integers(1, 2**31), st.integers(0, 2**64 - 1))
def test_below_stays_below_its_bound(bound: int, draw: int) -> None:
    draws = np.array([0, draw, 2**64 - 1], dtype=np.uint64)
    found = streams.below(draws, bound)
    assert found[0] == 0
    assert 0 <= found[1] < bound
    assert found[2] == bound - 1
    assert np.array_equal(found, streams.below_each(draws, np.full(3, bound)))


def test_a_weight_of_zero_is_never_chosen_not_even_at_the_ends() -> None:
    thresholds = streams.cumulative([0, 1, 0, 2, 0])
    ends = np.array([0, 2**64 // 3 - 1, 2**64 // 3 + 1, 2**64 - 1], dtype=np.uint64)
    assert streams.choose(ends, thresholds).tolist() == [1, 1, 3, 3]


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [1.0, -1.0]])
def test_weights_that_mean_nothing_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights must not be negative"):
        streams.cumulative(weights)


def test_a_permutation_has_every_number_once_and_is_the_same_again() -> None:
    order = streams.permutation(3, "order", 10_000)
    assert np.array_equal(np.sort(order), np.arange(10_000))
    assert np.array_equal(order, streams.permutation(3, "order", 10_000))
    assert not np.array_equal(order, streams.permutation(4, "order", 10_000))
    assert len(streams.permutation(3, "order", 0)) == 0


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16, 17, 1_000, 65_537])
def test_a_shuffle_by_position_has_every_number_once(n: int) -> None:
    found = streams.shuffled(3, "order", n, np.arange(n))
    assert np.array_equal(np.sort(found), np.arange(n))
    some = np.arange(0, n, 3)
    assert np.array_equal(found[some], streams.shuffled(3, "order", n, some))


def test_a_shuffle_by_position_leaves_no_order() -> None:
    found = streams.shuffled(3, "order", 50_000, np.arange(50_000))
    assert abs(np.corrcoef(found, np.arange(50_000))[0, 1]) < 0.02
    assert 0.49 < (np.diff(found) > 0).mean() < 0.51

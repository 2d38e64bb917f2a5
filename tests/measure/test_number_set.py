"""A set of message numbers is a set, whatever the order and the gaps."""

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.measure.number_set import NumberSet

numbers = st.lists(st.integers(0, 300_000) | st.integers(0, 10**12 - 1), max_size=40)


def set_of(members: list[int]) -> NumberSet:
    made = NumberSet()
    made.add_many(np.array(members, np.int64))
    return made


@given(numbers, numbers)
def test_gives_back_what_was_put_in_sorted_and_once(a: list[int], b: list[int]) -> None:
    made = set_of(a)
    made.add_many(np.array(b, np.int64))
    assert made.to_array().tolist() == sorted({*a, *b})
    assert len(made) == len({*a, *b})


@given(numbers, numbers)
def test_union_is_that_of_sets_and_leaves_the_other_alone(a: list[int], b: list[int]) -> None:
    left, right = set_of(a), set_of(b)
    left |= right
    left.add_many(np.array([7], np.int64))
    assert left.to_array().tolist() == sorted({*a, *b, 7})
    assert right.to_array().tolist() == sorted(set(b))


def test_dense_numbers_take_a_bit_each_on_their_way() -> None:
    made = NumberSet()
    made.add_many(np.arange(655_360))
    assert len(pickle.dumps(made)) < 655_360 / 8 + 4_000
    assert len(pickle.loads(pickle.dumps(made))) == 655_360

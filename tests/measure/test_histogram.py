"""The histogram keeps its promises for any values: bounds, exact totals, merging, stored forms."""

import json
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.measure.histogram import Histogram, bucket_of, highest_of, rank_of

values = st.integers(0, 2**63 - 1) | st.integers(0, 5_000) | st.integers(0, 62).map(lambda n: (1 << n) - 1)
latencies = st.lists(values, max_size=60)
shares = st.sampled_from([0.0, 0.07, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0])

ERROR_BOUND = 1 / 1024


def histogram_of(numbers: list[int]) -> Histogram:
    made = Histogram()
    made.record_many(np.array(numbers, np.int64))
    return made


@given(st.lists(values, min_size=1, max_size=60), shares)
def test_quantile_is_never_low_and_high_by_less_than_the_bound(numbers: list[int], q: float) -> None:
    rank = max(1, -(-Fraction(str(q)) * len(numbers) // 1))
    true = sorted(numbers)[int(rank) - 1]
    found = histogram_of(numbers).quantile_ns(q)
    assert found is not None
    assert true <= found <= max(numbers)
    assert found - true <= true * ERROR_BOUND


@given(values)
def test_every_value_lies_in_its_bucket(value: int) -> None:
    bucket = int(bucket_of(np.array([value]))[0])
    assert highest_of(bucket - 1) < value <= highest_of(bucket)


def test_bucket_edges_where_the_layout_changes() -> None:
    edges = np.array([0, 1, 2047, 2048, 2049, 2050, 4095, 4096, 86_400_000_000_000, 2**63 - 1])
    assert bucket_of(edges).tolist() == [0, 1, 2047, 2048, 2048, 2049, 3071, 3072, 38121, 55295]
    assert highest_of(2048) == 2049
    assert highest_of(55295) == 2**63 - 1


def test_rank_is_that_of_the_decimal_as_written() -> None:
    assert rank_of(0.07, 100) == 7
    assert rank_of(0.99, 100) == 99
    assert rank_of(0.99, 101) == 100
    assert rank_of(0.0, 10) == 1
    assert rank_of(1.0, 10) == 10


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan")])
def test_a_share_outside_0_to_1_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="a share from 0 to 1"):
        histogram_of([1]).quantile_ns(q)


@given(latencies)
def test_totals_are_exact(numbers: list[int]) -> None:
    made = histogram_of(numbers)
    assert (made.count, made.sum_ns) == (len(numbers), sum(numbers))
    assert made.min_ns == min(numbers, default=None)
    assert made.max_ns == max(numbers, default=None)


@pytest.mark.parametrize("numbers", [[2**62] * 2, [2**62 - 1] * 2, [2**60] * 8, [2**63 - 1], [2**63 - 1] * 3])
def test_a_sum_beyond_64_bits_is_exact(numbers: list[int]) -> None:
    assert histogram_of(numbers).sum_ns == sum(numbers)


def test_empty_histogram_has_no_quantile_and_no_mean() -> None:
    assert Histogram().quantiles_ns((0.5, 0.99)) == (None, None)
    assert Histogram().mean_ns is None


def test_mean_is_exact() -> None:
    assert histogram_of([1, 2, 6]).mean_ns == 3.0


@given(latencies, latencies, latencies)
def test_merging_gives_the_histogram_of_all_values_in_any_order(a: list[int], b: list[int], c: list[int]) -> None:
    whole = histogram_of(a + b + c)
    assert (histogram_of(a) + histogram_of(b)) + histogram_of(c) == whole
    assert histogram_of(c) + (histogram_of(b) + histogram_of(a)) == whole


def test_adding_leaves_both_sides_as_they_were() -> None:
    a, b = histogram_of([1]), histogram_of([2])
    _ = a + b
    assert (a, b) == (histogram_of([1]), histogram_of([2]))


def test_single_records_equal_a_bulk_record() -> None:
    one_by_one = Histogram()
    for value in (5, 5, 70_000):
        one_by_one.record(value)
    assert one_by_one == histogram_of([5, 5, 70_000])
    assert one_by_one.buckets() == [(5, 2), (70_015, 1)]


@given(latencies)
def test_stored_forms_give_the_same_histogram(numbers: list[int]) -> None:
    made = histogram_of(numbers)
    assert Histogram.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    assert pickle.loads(pickle.dumps(made)) == made


def test_a_restored_histogram_goes_on_counting() -> None:
    made = pickle.loads(pickle.dumps(histogram_of([3])))
    made.record(9_000_000)
    assert made == histogram_of([3, 9_000_000])


def test_a_negative_latency_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be negative, got -1 ns"):
        histogram_of([4, -1])


@pytest.mark.parametrize(
    "damage",
    [
        {"counts": [1]},
        {"counts": [1, -1]},
        {"buckets": [7, 5]},
        {"buckets": [5, 99_999_999]},
        {"buckets": "57"},
        {"count": 3},
        {"max": 8},
        {"min": None},
        {"sum": 100},
        {"sub_bits": 5},
    ],
)
def test_a_damaged_stored_form_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a stored histogram"):
        Histogram.from_dict(histogram_of([5, 7]).to_dict() | damage)


def test_buckets_and_counts_of_a_stored_form_go_together_one_by_one() -> None:
    stored = histogram_of([5, 7]).to_dict()
    with pytest.raises(ValueError, match="buckets and counts differ in length"):
        Histogram.from_dict(stored | {"counts": [2]})  # which adds up
    with pytest.raises(ValueError, match="expected int >= 1, got 0"):
        Histogram.from_dict(stored | {"counts": [0, 2]})  # as well, and nothing of it is 5


def test_a_pickle_holds_only_what_is_used() -> None:
    assert len(pickle.dumps(histogram_of([10_000_000_000]))) < 600


@given(latencies, latencies)
def test_what_came_since_an_earlier_state_is_the_rest(before: list[int], after: list[int]) -> None:
    earlier = histogram_of(before)
    later = earlier + histogram_of(after)
    rest, exact = later.since(earlier), histogram_of(after)
    assert (rest.buckets(), rest.count, rest.sum_ns) == (exact.buckets(), exact.count, exact.sum_ns)
    assert Histogram.from_dict(rest.to_dict()) == rest
    if exact.min_ns is not None and exact.max_ns is not None:
        assert rest.min_ns is not None
        assert rest.max_ns is not None
        assert rest.min_ns <= exact.min_ns <= rest.min_ns * (1 + ERROR_BOUND)
        assert exact.max_ns <= rest.max_ns <= exact.max_ns * (1 + ERROR_BOUND)

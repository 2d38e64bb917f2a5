"""Blocks of slices: which pairs count, what they say, and when there have been enough."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.verdict.blocks import DESIGN, QUIET, block
from trafficgen.clock import NS_PER_S
from trafficgen.errors import ExitCode
from trafficgen.measure.histogram import Histogram
from trafficgen.report.sliced import slices_sections
from trafficgen.report.to_text import sections_to_text
from trafficgen.verdict.gating import Side
from trafficgen.verdict.reading import parse_metric
from trafficgen.verdict.rule import Verdict
from trafficgen.verdict.sequence import LEVELS, LOOKS, advance
from trafficgen.verdict.slices import Block, Bounds, Counted, Disturbance, LeftOut, Slice, added, count, units, value

# -- levels and order -----------------------------------------------------------------------------------


def weights(at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the trapezoidal rule."""
    made = np.full(at.size, at[1] - at[0])
    made[[0, -1]] /= 2
    return made


def chance_to_leave(z: float, looks: Sequence[int]) -> float:
    """That a walk of n standard normal steps is beyond ±z√n at one of these n (Armitage, McPherson and Rowe 1969)."""
    many = looks[0]
    at = np.linspace(-z * math.sqrt(many), z * math.sqrt(many), 401)
    inside = np.exp(-(at**2) / (2 * many)) / math.sqrt(2 * math.pi * many)
    for look in looks[1:]:
        edge = z * math.sqrt(look)
        following = np.linspace(-edge, edge, 401)
        step = np.exp(-((following[:, None] - at[None, :]) ** 2) / (2 * (look - many)))
        step /= math.sqrt(2 * math.pi * (look - many))
        inside = (step * inside) @ weights(at)
        many, at = look, following
    return 1 - float(inside @ weights(at))


@pytest.mark.parametrize("looks", range(1, len(LEVELS) + 1))
def test_all_looks_together_keep_five_per_cent(looks: int) -> None:
    z = NormalDist().inv_cdf(1 - LEVELS[looks - 1] / 2)
    assert 0.0485 < chance_to_leave(z, LOOKS[:looks]) < 0.0503


def test_a_coin_orders_each_block() -> None:
    orders = [DESIGN.order(index) for index in range(200)]
    a, b = Side.A, Side.B
    assert set(orders) == {(a, b, b, a), (b, a, a, b)}
    assert 70 < orders.count((a, b, b, a)) < 130
    assert orders == [DESIGN.order(index) for index in range(200)]
    assert orders != [replace(DESIGN, seed=2).order(index) for index in range(200)]


def test_looks_fit_the_time_there_is() -> None:
    assert DESIGN.looks == (8, 12, 16, 24, 32, 48, 64, 96)
    assert DESIGN.alpha == LEVELS[7]
    assert replace(DESIGN, budget_ns=10 * 8 * NS_PER_S).looks == (8, 10)
    assert replace(DESIGN, budget_ns=10**6 * NS_PER_S).looks[-2:] == (192, 125_000)
    with pytest.raises(ValueError, match=r"8 blocks of slices, and what is around them, take 76\.8 s: allow more time"):
        replace(DESIGN, budget_ns=63 * NS_PER_S)


# -- which pairs count ----------------------------------------------------------------------------------


def test_a_disturbed_slice_takes_its_neighbour_with_it() -> None:
    quiet = [block([100] * 4) for _ in range(9)]
    stolen = block([100, 50, 100, 100], (QUIET, Disturbance(stolen=0.3), QUIET, QUIET))
    *_, last = count([*quiet, stolen], Bounds())
    assert last.why == (LeftOut.OTHERS, None)
    assert [one.side for one in last.kept] == [Side.B, Side.A]
    assert value("throughput", Side.B, [last]) == 100


@pytest.mark.parametrize(
    ("disturbance", "why"),
    [
        (Disturbance(foreign=0.2), LeftOut.OTHERS),
        (Disturbance(stolen=0.06, foreign=0.06), LeftOut.OTHERS),
        (Disturbance(lag_ns=25_000_000), LeftOut.LAG),
        (Disturbance(generator=0.9), LeftOut.GENERATOR),
        (Disturbance(late_ns=26_000_000), LeftOut.LATE),
        (Disturbance(late_ns=25_000_000), None),
        (Disturbance(stolen=0.09, foreign=None, lag_ns=19_000_000, generator=0.8), None),
    ],
)
def test_bounds(disturbance: Disturbance, why: LeftOut | None) -> None:
    quiet = [block([100] * 4) for _ in range(9)]
    *_, last = count([*quiet, block([100] * 4, (QUIET, QUIET, QUIET, disturbance))], Bounds(late_ns=25_000_000))
    assert last.why == (None, why)


def test_what_is_usual_here_is_no_disturbance() -> None:
    busy = Disturbance(stolen=0.2, foreign=0.3, lag_ns=40_000_000)
    counted = count([block([100] * 4, (busy,) * 4) for _ in range(5)], Bounds())
    assert all(one.why == (None, None) for one in counted)


_DISTURBANCES = st.builds(
    Disturbance, st.floats(0, 0.5), st.none() | st.floats(-0.01, 0.5), st.integers(0, 10**8), st.floats(0, 1)
)
_BLOCKS = st.lists(st.tuples(st.tuples(*[_DISTURBANCES] * 4), st.lists(st.floats(1, 1e6), min_size=4, max_size=4)))


@given(_BLOCKS)
def test_what_was_measured_plays_no_part_nor_who_was_served_nor_what_came_later(
    blocks: list[tuple[tuple[Disturbance, ...], list[float]]],
) -> None:
    made = [block(rates, disturbances) for disturbances, rates in blocks]
    others = [block([1.0] * 4, disturbances, first=Side.B) for disturbances, _ in blocks]
    why = [one.why for one in count(made, Bounds())]
    assert why == [one.why for one in count(others, Bounds())]
    assert why[:2] == [one.why for one in count(made[:2], Bounds())]


# -- slices of several machines -------------------------------------------------------------------------


def of_shards(*every: Disturbance) -> Slice:
    return added([Slice(Side.A, 2.0, 100.0, one) for one in every])


def test_each_machine_has_a_usual_of_its_own() -> None:
    """One is always busy; the other one is not, and then a quarter as much is a disturbance."""
    busy = Disturbance(stolen=0.5)
    usual = [of_shards(busy, QUIET) for _ in range(4)]
    quiet = [Block((a, b, c, d)) for a, b, c, d in [usual] * 9]
    a, b, c, d = of_shards(busy, QUIET), of_shards(busy, Disturbance(stolen=0.125)), of_shards(busy, QUIET), usual[0]
    *_, last = count([*quiet, Block((a, b, c, d))], Bounds())
    assert last.why == (LeftOut.OTHERS, None)
    assert all(one.why == (None, None) for one in count(quiet, Bounds()))


def test_the_worst_of_all_shards_is_shown() -> None:
    first, second = Disturbance(0.1, 0.2, 5, 0.3, 7), Disturbance(0.05, None, 9, 0.1, 2)
    one = of_shards(first, second)
    assert one.disturbance == Disturbance(0.1, 0.2, 9, 0.3, 7)
    assert one.shards == (first, second)
    assert (one.seconds, one.accepted) == (2.0, 200.0)


def _timed(times: Sequence[int], disturbance: Disturbance) -> Slice:
    histogram = Histogram()
    histogram.record_many(np.array(times, np.int64))
    return Slice(Side.B, 1.5, float(len(times)), disturbance, {"latency": histogram})


_SHARDS = st.lists(st.tuples(st.lists(st.integers(1, 10**12), max_size=20), _DISTURBANCES), min_size=1, max_size=6)


@given(_SHARDS, st.randoms(use_true_random=False))
@example([([], Disturbance(foreign=None)), ([], Disturbance(foreign=0.0))], random.Random(0))
def test_slices_of_shards_in_any_order_and_any_split_are_those_of_one_machine(
    shards: list[tuple[list[int], Disturbance]], rng: random.Random
) -> None:
    parts = [_timed(times, disturbance) for times, disturbance in shards]
    mixed = rng.sample(parts, len(parts))
    one = added(parts)
    assert replace(added(mixed), shards=()) == replace(one, shards=())
    assert sorted(map(id, added(mixed).shards)) == sorted(map(id, one.shards))
    whole = _timed([time for times, _ in shards for time in times], one.disturbance)
    assert replace(one, shards=()) == whole
    cut = rng.randrange(len(parts) + 1)
    groups = [added(group) for group in (mixed[:cut], mixed[cut:]) if group]
    assert replace(added(groups), shards=()) == whole


# -- what a block says ----------------------------------------------------------------------------------


def test_a_change_in_a_straight_line_cancels() -> None:
    (one,) = count([block([100, 110, 120, 130])], Bounds())
    assert value("throughput", Side.A, [one]) == value("throughput", Side.B, [one]) == 115


def test_quantiles_are_those_of_all_slices_together() -> None:
    def timed(side: Side, *times: int) -> Slice:
        histogram = Histogram()
        histogram.record_many(np.array(times, np.int64))
        return Slice(side, 1.0, len(times), QUIET, {"latency": histogram})

    a, b = Side.A, Side.B
    (one,) = count([Block((timed(a, 1, 2), timed(b, 5), timed(b, 6, 7, 8), timed(a, 9)))], Bounds())
    assert value("p50", a, [one]) == 2
    assert value("p50", b, [one]) == 6
    assert value("max", b, [one]) == 8
    assert value("end_of_data.p50", b, [one]) is None


def test_what_the_server_used_is_that_of_the_whole_block() -> None:
    used = replace(block([100] * 4), used={"a": {"server.cpu": 0.5}, "b": {"server.cpu": 0.0}}, messages={"a": 250})
    (one,) = count([used], Bounds())
    assert value("server.cpu", Side.A, [one, one]) == 2.0
    assert value("server.cpu", Side.B, [one]) is None
    assert value("server.fsyncs", Side.A, [one]) is None


def test_what_left_the_queue_is_a_share_of_what_was_accepted() -> None:
    def one(accepted: int, left: float) -> Counted:
        used = {"a": {"queue.delivered": left}}
        return next(iter(count([replace(block([100] * 4), used=used, messages={"a": accepted})], Bounds())))

    assert value("queue.delivered", Side.A, [one(100, 80), one(100, 110)]) == 0.95
    assert value("queue.delivered", Side.A, [one(100, -20), one(100, 0)]) == 0.5 / 200
    assert value("queue.delivered", Side.A, [one(0, 5)]) is None
    assert value("queue.delivered", Side.B, [one(100, 5)]) is None


def test_a_build_that_accepts_nothing_still_has_a_throughput() -> None:
    (one,) = count([block([100, 0, 0, 100])], Bounds())
    assert value("throughput", Side.B, [one]) == 0.125


def test_two_builds_that_accept_nothing_are_not_equal() -> None:
    nothing = [block([0] * 4)] * 8
    for time_is_up in (False, True):
        ended = advance(DESIGN, nothing * 2, time_is_up=time_is_up)
        assert ended is not None
        assert (ended.verdict, ended.code) == (None, ExitCode.NOT_VALID)
        assert ended.reason == "nothing was measured for throughput in 16 blocks"
    groups = units(["throughput"], count([*nothing[:2], block([100] * 4), block([0, 9, 9, 0])], Bounds()))
    assert [len(group.blocks) for group in groups] == [3, 1]


def test_a_block_without_a_value_goes_with_the_next() -> None:
    def used(cpu_s: float) -> Block:
        both = {"a": {"server.cpu": cpu_s}, "b": {"server.cpu": 1.0}}
        return replace(block([100] * 4), used=both, messages={"a": 10, "b": 10})

    groups = units(["server.cpu"], count([used(0.0), used(1.0), used(1.0)], Bounds()))
    assert [len(group.blocks) for group in groups] == [2, 1]


def test_a_block_in_which_a_build_could_not_be_read_spoils_no_later_one() -> None:
    """Postfix ends processes now and then, and what they wrote is gone with them."""

    def used(number: int) -> Block:
        sides = {"a": {"server.written": 100.0}, "b": {"server.written": 150.0 + number}}
        if number % 3 == 1:
            del sides["ab"[number % 2]]["server.written"]
        return replace(block([100] * 4), used=sides, messages={"a": 10, "b": 10})

    blocks = [used(number) for number in range(12)]
    design = replace(DESIGN, metrics=(parse_metric("server.written:5%"),))
    assert [len(group.blocks) for group in units(["server.written"], count(blocks, Bounds()))] == [1] * 8
    ended = advance(design, blocks, time_is_up=False)
    assert ended is not None
    assert ended.verdict is Verdict.FAIL
    shown = sections_to_text(slices_sections(ended, design), 200)
    assert "left out: 4 of 12 blocks, as server.written could not be read; a process that ends takes" in shown
    early = advance(design, blocks[:8], time_is_up=True)
    assert early is not None
    assert early.reason.endswith("after 5 blocks to count, of 8; 8 are needed; server.written could not be read in 3")

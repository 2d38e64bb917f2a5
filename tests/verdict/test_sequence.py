"""Blocks of slices: which pairs count, what they say, and when there have been enough."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.slice_power import Case, row
from trafficgen.clock import NS_PER_S
from trafficgen.errors import ExitCode
from trafficgen.measure.histogram import Histogram
from trafficgen.report.sliced import slices_sections
from trafficgen.report.to_text import sections_to_text
from trafficgen.verdict.gating import Side
from trafficgen.verdict.reading import parse_metric
from trafficgen.verdict.rule import Verdict
from trafficgen.verdict.sequence import (
    LEVELS,
    LOOKS,
    SliceDesign,
    SlicesEnded,
    advance,
    autocorrelation,
    harmed,
    independent,
    resolvable,
)
from trafficgen.verdict.slices import (
    Block,
    Bounds,
    Counted,
    Disturbance,
    LeftOut,
    Slice,
    added,
    count,
    joined,
    units,
    value,
)

THROUGHPUT = parse_metric("throughput:5%")
DESIGN = SliceDesign((THROUGHPUT,), seed=1, budget_ns=96 * 8 * NS_PER_S)
QUIET = Disturbance()

Rate = Callable[[int, Side], float]


def block(rates: Sequence[float], disturbances: Sequence[Disturbance] = (QUIET,) * 4, *, first: Side = Side.A) -> Block:
    """One whose slices have these rates, in their order."""
    second = Side.B if first is Side.A else Side.A
    sides = (first, second, second, first)
    a, b, c, d = (
        Slice(side, 2.0, 2 * rate, disturbance)
        for side, rate, disturbance in zip(sides, rates, disturbances, strict=True)
    )
    return Block((a, b, c, d))


def served(blocks: int, rate: Rate, design: SliceDesign = DESIGN) -> list[Block]:
    """Blocks in the order of the design; `rate` gets the number of a slice and its side."""
    return [
        block([rate(4 * index + place, side) for place, side in enumerate(sides)], first=sides[0])
        for index, sides in ((index, design.order(index)) for index in range(blocks))
    ]


def noisy(ratio: float, spread: float, seed: int = 7) -> Rate:
    rng = random.Random(seed)
    return lambda _number, side: 1000 * math.exp(rng.gauss(0, spread)) * (ratio if side is Side.B else 1.0)


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
    assert early.reason.endswith("after 5 blocks that count, of 8; 8 are needed; server.written could not be read in 3")


# -- when it ends ---------------------------------------------------------------------------------------


def first_end(blocks: Sequence[Block], design: SliceDesign = DESIGN) -> tuple[int, object]:
    for many in range(1, len(blocks) + 1):
        ended = advance(design, blocks[:many], time_is_up=many == design.capacity)
        if ended is not None:
            return many, ended.verdict
    return len(blocks), "goes on"


def test_equal_builds_pass_at_the_first_look() -> None:
    assert first_end(served(96, noisy(1.0, 0.02))) == (8, Verdict.PASS)


def test_a_slower_build_fails() -> None:
    assert first_end(served(96, noisy(0.9, 0.05))) == (8, Verdict.FAIL)


def test_a_small_loss_takes_all_the_time() -> None:
    many, verdict = first_end(served(96, noisy(0.955, 0.03)))
    assert (many, verdict) == (96, Verdict.WARN)


def test_the_verdict_names_what_this_machine_could_have_shown() -> None:
    ended = advance(DESIGN, served(8, noisy(1.0, 0.02)), time_is_up=False)
    assert ended is not None
    assert ended.judgement is not None
    (one,) = ended.judgement.comparisons
    low, high = one.interval
    assert resolvable(one) == pytest.approx(math.sqrt(high / low) - 1)
    assert ended.reason.startswith("after 8 blocks B is not worse than A by more than the margin: throughput")
    assert ended.reason.endswith(f"this machine could show a difference of {resolvable(one):.1%} of throughput")


def test_what_was_left_out_is_told_with_what_it_would_have_changed() -> None:
    stolen = (QUIET, Disturbance(stolen=0.4), Disturbance(stolen=0.4), QUIET)
    blocks = served(9, noisy(1.0, 0.01))
    slow = DESIGN.order(8)[1]
    spoiled = [block([1000, 100, 100, 1000], stolen, first=DESIGN.order(index)[0]) for index in range(9, 12)]
    ended = advance(DESIGN, [*blocks[:8], *spoiled, blocks[8]], time_is_up=True)
    assert slow in Side
    assert ended is not None
    assert ended.verdict is Verdict.PASS
    assert [(index, pair) for index, pair, _ in ended.left_out] == [(i, p) for i in (8, 9, 10) for p in (0, 1)]
    assert ended.judgement is not None
    assert ended.with_all is not None
    assert (ended.judgement.comparisons[0].pairs, ended.with_all.comparisons[0].pairs) == (9, 12)


def test_time_that_is_up_before_the_first_look() -> None:
    ended = advance(DESIGN, served(7, noisy(1.0, 0.02)), time_is_up=True)
    assert ended is not None
    assert (ended.verdict, ended.code) == (Verdict.INCONCLUSIVE, ExitCode.INCONCLUSIVE)
    assert ended.reason == "the time was up after 7 blocks that count, of 7; 8 are needed"


def test_nothing_measured_is_no_verdict() -> None:
    design = replace(DESIGN, metrics=(parse_metric("server.cpu:5%"),))
    ended = advance(design, served(7, noisy(1.0, 0.02)), time_is_up=True)
    assert ended is not None
    assert (ended.verdict, ended.code) == (None, ExitCode.NOT_VALID)
    assert ended.reason == "nothing was measured for server.cpu in 7 blocks"


@pytest.mark.parametrize(
    ("name", "why"),
    [("service_rejected.p95", ""), ("connect.p95", ": sessions open before the first slice and stay; ")],
)
def test_what_is_never_measured_ends_a_gate_before_its_time(name: str, why: str) -> None:
    design = replace(DESIGN, metrics=(*DESIGN.metrics, parse_metric(name)))
    last = design.give_up_after
    assert last == max(8, design.capacity // 8)
    assert advance(design, served(last - 1, noisy(1.0, 0.02)), time_is_up=False) is None
    ended = advance(design, served(last, noisy(1.0, 0.02)), time_is_up=False)
    assert ended is not None
    assert (ended.verdict, ended.code) == (None, ExitCode.NOT_VALID)
    assert ended.reason.startswith(f"nothing was measured for {name} in {last} blocks{why}")


@pytest.mark.parametrize(
    ("side", "verdict", "code"),
    [("a", None, ExitCode.NOT_VALID), ("b", Verdict.FAIL, ExitCode.VERDICT_FAILED)],
)
def test_harm_ends_it_at_once(side: str, verdict: Verdict | None, code: ExitCode) -> None:
    blocks = served(3, noisy(1.0, 0.02))
    blocks[2] = replace(blocks[2], harm={side: "of 9 messages 1 refused"})
    ended = advance(DESIGN, blocks, time_is_up=False)
    assert ended is not None
    assert (ended.verdict, ended.code) == (verdict, code)
    assert ended.reason.startswith(f"block 3, {side.upper()}: of 9 messages 1 refused")


@pytest.mark.parametrize(
    ("side", "verdict", "code"),
    [
        (Side.B, Verdict.FAIL, ExitCode.VERDICT_FAILED),
        (Side.A, None, ExitCode.NOT_VALID),
        (None, None, ExitCode.NOT_VALID),
    ],
)
def test_harm_that_is_found_after_the_end_is_all_that_counts(
    side: Side | None, verdict: Verdict | None, code: ExitCode
) -> None:
    passed = SlicesEnded(Verdict.PASS, ExitCode.DONE, "B is not worse", (), joined=3)
    assert harmed(passed, side, "2 missing") == replace(passed, verdict=verdict, code=code, reason="2 missing")


def test_a_generator_that_is_the_limit_measures_itself() -> None:
    busy = (Disturbance(generator=0.95),) * 4
    ended = advance(DESIGN, [block([100] * 4, busy) for _ in range(8)], time_is_up=False)
    assert ended is not None
    assert (ended.verdict, ended.code) == (None, ExitCode.NOT_VALID)
    assert "the generator was the limit in 16 of 16 pairs" in ended.reason


# -- dependence -----------------------------------------------------------------------------------------


def test_autocorrelation() -> None:
    assert autocorrelation([1.0, -1.0] * 20) < -0.9
    assert autocorrelation([1.0] * 20 + [-1.0] * 20) > 0.9
    assert autocorrelation([3.0] * 5) == 0.0
    assert autocorrelation([11.0, 12.0, 13.0, 14.0]) == pytest.approx(0.25)


def test_blocks_like_their_neighbours_are_joined() -> None:
    waves = served(64, lambda number, side: 1000 * (1 + 0.1 * math.sin(number / 40) * (side is Side.B)))
    groups, size, correlation = independent(["throughput"], units(["throughput"], count(waves, Bounds())))
    assert correlation > 0.9
    assert size > 1
    assert sum(len(group.blocks) for group in groups) == 64  # none is lost
    alone = independent(["throughput"], units(["throughput"], count(served(64, noisy(1.0, 0.05)), Bounds())))
    assert alone[1] == 1


@pytest.mark.parametrize(("many", "sizes"), [(2, [2]), (3, [3]), (4, [2, 2]), (7, [2, 2, 3]), (1, []), (0, [])])
def test_an_odd_block_goes_with_the_last_two(many: int, sizes: list[int]) -> None:
    groups = units(["throughput"], count(served(many, noisy(1.0, 0.05)), Bounds()))
    made = joined(groups)
    assert [len(group.blocks) for group in made] == sizes
    if many > 1:
        assert [one for group in made for one in group.blocks] == [one for group in groups for one in group.blocks]


def test_a_machine_that_remembers_makes_blocks_that_do_not() -> None:
    """The coin sees to it: neighbours are alike in how much they scatter, not in which way."""
    rng = random.Random(3)
    level = [0.0]
    for _ in range(4000):
        level.append(0.95 * level[-1] + rng.gauss(0, 0.03))
    blocks = served(1000, lambda number, _side: 1000 * math.exp(level[number]))
    groups = units(["throughput"], count(blocks, Bounds()))
    differences = [math.log(b / a) for a, b in (group.values["throughput"] for group in groups)]
    assert abs(autocorrelation(differences)) < 0.08


def test_false_alarms_are_rare_on_a_machine_that_is_not_alone() -> None:
    _, _, _, passed, failed, *_ = row(Case(1.0, 0.05, "both"), 100, 4)
    assert float(failed.rstrip("%")) <= 3
    assert float(passed.rstrip("%")) >= 95

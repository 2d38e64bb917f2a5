"""When a gate by slices ends, and with what verdict; blocks that are like their neighbours."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from benchmarks.slice_power import Case, row
from tests.verdict.blocks import DESIGN, QUIET, block, noisy, served
from trafficgen.errors import ExitCode
from trafficgen.report.sliced import slices_sections
from trafficgen.report.to_text import sections_to_text
from trafficgen.verdict.gating import Side
from trafficgen.verdict.reading import parse_metric
from trafficgen.verdict.rule import Verdict
from trafficgen.verdict.sequence import (
    SliceDesign,
    SlicesEnded,
    advance,
    autocorrelation,
    harmed,
    independent,
    resolvable,
)
from trafficgen.verdict.slices import Block, Bounds, Disturbance, count, joined, most_late_ns, units

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
    assert ended.with_all.unit == "blocks"


def test_time_that_is_up_before_the_first_look() -> None:
    ended = advance(DESIGN, served(7, noisy(1.0, 0.02)), time_is_up=True)
    assert ended is not None
    assert (ended.verdict, ended.code) == (Verdict.INCONCLUSIVE, ExitCode.INCONCLUSIVE)
    assert ended.reason == "the time was up after 7 blocks to count, of 7; 8 are needed"
    blocks = [replace(one, lasted_s=2.0, spent_s=20.0) for one in served(7, noisy(1.0, 0.02))]
    ended = advance(DESIGN, blocks, time_is_up=True)
    assert ended is not None
    shown = sections_to_text(slices_sections(ended, DESIGN), 200)
    assert "7 blocks of four slices in 14 s, 20 s with what was around them, of at most 768 s" in shown


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
    ("side", "verdict", "code"), [("a", None, ExitCode.NOT_VALID), ("b", Verdict.FAIL, ExitCode.VERDICT_FAILED)]
)
def test_harm_ends_it_at_once(side: str, verdict: Verdict | None, code: ExitCode) -> None:
    blocks = served(3, noisy(1.0, 0.02))
    blocks[2] = replace(blocks[2], harm={side: "of 9 messages 1 refused"})
    ended = advance(DESIGN, blocks, time_is_up=False)
    assert ended is not None
    assert (ended.verdict, ended.code) == (verdict, code)
    assert ended.reason.startswith(f"block 3, {side.upper()}: of 9 messages 1 refused")


@pytest.mark.parametrize(
    ("side", "verdict", "code", "reason"),
    [
        (Side.B, Verdict.FAIL, ExitCode.VERDICT_FAILED, "2 missing"),
        (Side.A, None, ExitCode.NOT_VALID, "2 missing; a baseline that does this cannot be compared with"),
        (None, None, ExitCode.NOT_VALID, "2 missing"),
    ],
)
def test_harm_that_is_found_after_the_end_is_all_that_counts(
    side: Side | None, verdict: Verdict | None, code: ExitCode, reason: str
) -> None:
    passed = SlicesEnded(Verdict.PASS, ExitCode.DONE, "B is not worse", (), joined=3)
    assert harmed(passed, side, "2 missing") == replace(passed, verdict=verdict, code=code, reason=reason)


def test_a_generator_that_is_the_limit_measures_itself() -> None:
    busy = (Disturbance(generator=0.95),) * 4
    ended = advance(DESIGN, [block([100] * 4, busy) for _ in range(8)], time_is_up=False)
    assert ended is not None
    assert (ended.verdict, ended.code) == (None, ExitCode.NOT_VALID)
    assert "the generator was the limit in 16 of 16 pairs" in ended.reason


# -- dependence -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("skip_ns", [0, 1, 7, 10_000_000])
def test_of_two_shards_one_late_and_one_early_none_is_in_the_others_measured_part(skip_ns: int) -> None:
    assert skip_ns - 1 <= 2 * most_late_ns(skip_ns) <= skip_ns


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

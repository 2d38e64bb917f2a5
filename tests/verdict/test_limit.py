"""The search for the highest rate that holds, when each try may go either way."""

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.verdict.limit import Bracket, LimitDesign, LimitStep, advance, bracket


def search(design: LimitDesign, holds: Callable[[float], bool]) -> tuple[Bracket, list[LimitStep]]:
    steps: list[LimitStep] = []
    while not isinstance(following := advance(design, steps), Bracket):
        steps.append(LimitStep(following, holds(following)))
        assert len(steps) < 500
    return following, steps


@given(st.floats(1, 1e6), st.floats(1e-3, 1e3), st.floats(0.01, 0.5))
def test_a_sharp_limit_is_found_as_closely_as_asked_for(limit: float, start: float, precision: float) -> None:
    found, steps = search(LimitDesign(limit * start, precision), lambda rate: rate <= limit)
    assert found.kept is not None
    assert found.missed is not None
    assert found.kept <= limit < found.missed
    assert found.missed / found.kept <= 1 + precision
    assert len(steps) < 70


def test_both_ends_are_confirmed_by_three_steps() -> None:
    found, steps = search(LimitDesign(100), lambda rate: rate <= 130)
    for rate in (found.kept, found.missed):
        assert sum(step.rate == rate for step in steps) == 3
    assert found.words(steps).startswith("kept at 1")
    assert "(3 of 3 steps), not at 1" in found.words(steps)
    assert "(0 of 3 steps), the limit is 13" in found.words(steps)


def test_a_limit_that_is_not_sharp_is_found_nearly_always() -> None:
    rng = random.Random(5)

    def noisy(rate: float) -> bool:
        return rng.random() < 1 / (1 + math.exp((math.log(rate / 1000)) / 0.02))

    found = [search(LimitDesign(700), noisy)[0] for _ in range(200)]
    middles = [math.sqrt(one.kept * one.missed) for one in found if one.kept and one.missed]
    assert len(middles) == 200
    assert sum(abs(math.log(middle / 1000)) < 0.06 for middle in middles) >= 190


def test_a_decision_that_later_steps_turn_over_is_left() -> None:
    steps = [LimitStep(100, True)] * 2 + [LimitStep(104, False)] * 2
    assert advance(LimitDesign(100), steps) == 100
    steps += [LimitStep(100, False)] * 3
    assert advance(LimitDesign(100), steps) == 50  # 100 was missed after all: lower


@pytest.mark.parametrize(("holds", "kept", "missed"), [(True, 100 * 2.0**20, None), (False, None, 100 / 2.0**20)])
def test_a_search_that_meets_no_limit_ends(holds: bool, kept: float | None, missed: float | None) -> None:
    found, _ = search(LimitDesign(100), lambda _rate: holds)
    assert (found.kept, found.missed) == (kept, missed)


def test_what_is_known_before_the_end() -> None:
    assert bracket([]) == Bracket(None, None)
    assert bracket([]).words([]) == "nothing was decided"
    assert bracket([LimitStep(5, True)]) == Bracket(None, None)
    assert bracket([LimitStep(5, True)] * 2) == Bracket(5, None)
    # Where a higher rate held and a lower one did not, the lower one counts.
    assert bracket([LimitStep(r, h) for r, h in ((5, True), (7, False), (9, True))] * 2) == Bracket(5, 7)


def test_a_search_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="a rate above zero"):
        LimitDesign(0.0)
    with pytest.raises(ValueError, match="a precision"):
        LimitDesign(1.0, 0.0)

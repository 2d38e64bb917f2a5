"""The search for the highest rate that holds, when each try may go either way."""

import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.errors import SetupError
from trafficgen.measure.counts import FailureCount, ReplyCount, ThresholdVerdict
from trafficgen.measure.health import Caveat, CaveatKind
from trafficgen.measure.results import Results
from trafficgen.outcomes import Phase, StoppedBy
from trafficgen.plan import Arrivals, OpenLoop, Plan
from trafficgen.runs import limit as module
from trafficgen.runs.limit import LimitOptions, capacity, find_limit
from trafficgen.runs.monitor import MonitorOptions
from trafficgen.verdict.limit import Bracket, LimitDesign, LimitStep, advance, bracket
from trafficgen.verdict.reading import harm_of


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


def test_nothing_is_looked_for_below_the_lowest_rate() -> None:
    found, steps = search(LimitDesign(4, lowest=1.0), lambda _rate: False)
    assert found == Bracket(None, 1.0)
    assert [step.rate for step in steps] == [4, 4, 2, 2, 1, 1]


def test_both_ends_are_confirmed_by_three_steps() -> None:
    found, steps = search(LimitDesign(100), lambda rate: rate <= 130)
    for rate in (found.kept, found.missed):
        assert sum(step.rate == rate for step in steps) == 3
    assert found.words(steps).startswith("kept at 1")
    assert "(3 of 3 steps), not at 1" in found.words(steps)
    assert "(0 of 3 steps), the limit is 13" in found.words(steps)


def test_a_rate_that_was_begun_and_not_decided_is_named() -> None:
    steps = [LimitStep(100, held=True), LimitStep(100, held=True), LimitStep(200, held=True)]
    assert bracket(steps).words(steps) == "kept at 100/s (2 of 2 steps), undecided at 200/s (kept in 1 of 1 step)"


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


def test_the_limit_in_words_lies_in_the_middle_of_the_two_rates() -> None:
    steps = [LimitStep(100, True)] * 3 + [LimitStep(121, False)] * 3 + [LimitStep(121, True)]
    said = "kept at 100/s (3 of 3 steps), not at 121/s (1 of 4 steps), the limit is 110/s ± 10.0%"
    assert Bracket(100, 121).words(steps) == said


def test_a_search_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="a rate above zero"):
        LimitDesign(0.0)
    with pytest.raises(ValueError, match="a precision"):
        LimitDesign(1.0, 0.0)
    with pytest.raises(ValueError, match="a precision"):
        LimitDesign(1.0, 1.01)
    assert LimitDesign(1.0, 1.0) != LimitDesign(1.0, 0.005)


# -- the runs of a search, of which only the results are made by hand ------------------------------------

S = 1_000_000_000
ANY = Plan(max_messages=1)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, results: Results) -> list[tuple[Plan, MonitorOptions]]:
    """What was run; a server keeps up to 130 messages a second, and a step lasts as long as it was told."""
    ran: list[tuple[Plan, MonitorOptions]] = []

    def run_monitored(plan: Plan, options: MonitorOptions) -> Results:
        ran.append((plan, options))
        assert plan.load is not None
        kept = plan.load.rate_per_s <= 130
        verdict = ThresholdVerdict("p99<1s", 2e9 - kept * 15e8, 1e9, kept)
        return replace(results, thresholds=(verdict,), generator=replace(results.generator, limited=False))

    monkeypatch.setattr(module, "run_monitored", run_monitored)
    monkeypatch.setattr(module, "now_ns", lambda: sum(plan.duration_ns or 0 for plan, _ in ran))
    return ran


def test_steps_have_the_rate_and_the_load_of_the_plan_and_are_judged_after_a_quarter(
    runs: list[tuple[Plan, MonitorOptions]],
) -> None:
    plan = Plan(load=OpenLoop(7, arrivals=Arrivals.POISSON), max_messages=3, run_id="0123456789abcdef", duration_ns=S)
    lines: list[str] = []
    found = find_limit(plan, LimitOptions((), 0.05, 100, 8 * S), lines.append)
    assert found.whole
    assert found.limited is None
    assert found.bracket.kept is not None
    assert found.bracket.kept <= 130
    assert [(step.rate, step.held) for step in found.steps] == [
        (ran.load.rate_per_s, ran.load.rate_per_s <= 130) for ran, _ in runs if ran.load
    ]
    assert {(ran.max_messages, ran.run_id, ran.duration_ns, ran.keep_going) for ran, _ in runs} == {
        (None, "", 8 * S, True)
    }
    assert {ran.load.arrivals for ran, _ in runs if ran.load} == {Arrivals.POISSON}
    assert {options.from_ns for _, options in runs} == {2 * S}
    assert lines[0] == "100/s: kept (p99<1s was 500 ms)"
    assert "200/s: p99<1s was 2.00 s" in lines


@pytest.mark.parametrize(("budget_ns", "steps"), [(3 * S - 1, 2), (3 * S, 3), (3 * S + 1, 3)])
def test_no_step_begins_that_could_end_after_the_budget(
    runs: list[tuple[Plan, MonitorOptions]], budget_ns: int, steps: int
) -> None:
    found = find_limit(ANY, LimitOptions((), 0.05, 100, S, budget_ns))
    assert (len(found.steps), len(runs), found.whole) == (steps, steps, False)
    assert found.bracket == Bracket(100, None)


def test_steps_that_the_generator_spoiled_do_not_count_and_three_in_a_row_end_the_search(
    monkeypatch: pytest.MonkeyPatch, results: Results
) -> None:
    behind = Caveat.of(CaveatKind.RATE_MISSED, "90/s of 100/s")
    weak = replace(results.generator, limited=True, sentences=("worker 1 used 97% of its core", "and was late"))
    strong = replace(results.generator, limited=False)
    # One letter a step: k kept, w kept by a generator that was the limit, m missed, s spoiled.
    letters = {
        "k": replace(results, generator=strong, caveats=()),
        "w": replace(results, generator=weak, caveats=()),
        "m": replace(results, generator=strong, caveats=(behind,)),
        "s": replace(results, generator=weak, caveats=(behind,)),
    }
    course = iter("sskssmssksss")
    monkeypatch.setattr(module, "run_monitored", lambda *_: letters[next(course)])
    lines: list[str] = []
    found = find_limit(ANY, LimitOptions((), 0.05, 100), lines.append)
    assert found.steps == (LimitStep(100, True), LimitStep(100, False), LimitStep(100, True))
    assert not found.whole
    assert found.bracket == Bracket(100, None)
    assert found.limited == "at 200/s: worker 1 used 97% of its core; and was late"
    assert lines[1:3] == ["100/s: does not count: worker 1 used 97% of its core; and was late", "100/s: kept"]
    assert lines[5] == "100/s: 90/s of 100/s"
    assert not list(course)
    course = iter("ww")
    with pytest.raises(StopIteration):  # a rate that was kept was kept, whatever the generator had left
        find_limit(ANY, LimitOptions((), 0.05, 100), lines.append)
    assert lines[-2:] == ["100/s: kept", "100/s: kept"]


def test_a_step_that_was_interrupted_or_not_valid_ends_the_search(
    monkeypatch: pytest.MonkeyPatch, results: Results
) -> None:
    monkeypatch.setattr(module, "run_monitored", lambda *_: replace(results, stopped_by=StoppedBy.INTERRUPTED))
    with pytest.raises(KeyboardInterrupt):
        find_limit(ANY, LimitOptions((), 0.05, 100))
    monkeypatch.setattr(module, "run_monitored", lambda *_: replace(results, valid=False))
    with pytest.raises(SetupError, match=r"^at 100/s: the generator"):
        find_limit(ANY, LimitOptions((), 0.05, 100))


def test_a_capacity_is_that_of_the_last_four_fifths_of_a_run_without_a_rate(
    monkeypatch: pytest.MonkeyPatch, results: Results
) -> None:
    ran: list[tuple[Plan, MonitorOptions]] = []
    monkeypatch.setattr(module, "run_monitored", lambda *given: ran.append(given) or results)
    plan = Plan(load=OpenLoop(7), max_messages=3, run_id="0123456789abcdef", duration_ns=S)
    assert capacity(plan) == results.rate.messages_per_s
    ((closed, options),) = ran
    assert (closed.load, closed.max_messages, closed.run_id, closed.keep_going) == (None, None, "", True)
    assert (closed.duration_ns, options.from_ns) == (5 * S, S)


def test_a_server_without_a_capacity_is_said_to_have_done_what_it_did_most(
    monkeypatch: pytest.MonkeyPatch, results: Results
) -> None:
    nothing = replace(results, rate=replace(results.rate, messages_per_s=0.0))
    monkeypatch.setattr(module, "run_monitored", lambda *_: nothing)
    with pytest.raises(SetupError, match=r"connect: \[Errno 111\]|rcpt: 550 no such user here"):
        capacity(ANY)
    busy = (ReplyCount(Phase.RCPT, 400, "", 7, "busy"), ReplyCount(Phase.EHLO, 399, "", 99, "odd"))
    monkeypatch.setattr(module, "run_monitored", lambda *_: replace(nothing, replies=busy))
    with pytest.raises(SetupError, match=r"accepted nothing without a rate: .*: 400 busy$"):
        capacity(ANY)
    lost = (FailureCount(Phase.CONNECT, "connection refused", 8, ""),)
    monkeypatch.setattr(module, "run_monitored", lambda *_: replace(nothing, replies=busy, failures=lost))
    harm = harm_of(replace(results, valid=True, replies=busy, failures=lost), tolerate_refusals=False)
    assert str(harm).endswith("; most often connect: connection refused")
    with pytest.raises(SetupError, match=r": connection refused$"):
        capacity(ANY)
    monkeypatch.setattr(module, "run_monitored", lambda *_: replace(nothing, replies=(), failures=()))
    with pytest.raises(SetupError, match=r"it answered nothing in 2\.5 s$"):
        capacity(ANY)

"""How much a server takes: runs that look for the highest rate at which it keeps what was promised.

Takes     a plan with a target; thresholds; a search (verdict.limit)
Gives     the capacity that a short run without a rate shows; steps at rates, until the search has found the limit
Not here  which rate comes next (verdict.limit)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.errors import SetupError
from trafficgen.measure.health import CaveatKind
from trafficgen.measure.results import Results
from trafficgen.outcomes import StoppedBy
from trafficgen.plan import OpenLoop, Plan
from trafficgen.report.judged import value_in_words
from trafficgen.runs.monitor import MonitorOptions, run_monitored
from trafficgen.verdict.limit import Bracket, LimitDesign, LimitStep, advance, bracket
from trafficgen.verdict.reading import commonest_failure
from trafficgen.verdict.thresholds import Threshold

CAPACITY_NS: Final = 5 * NS_PER_S

MAX_SPOILED: Final = 3
"""Steps in a row that failed while the generator was the limit: then it is the limit, not the server. After as many in
which the server accepted nothing the search ends, too: it is down, or refuses all."""

_BEHIND: Final = (CaveatKind.RATE_MISSED, CaveatKind.ARRIVALS_DROPPED)
"""A server that does not keep up has no latency worth judging."""


def capacity(plan: Plan, *, duration_ns: int = CAPACITY_NS) -> float:
    """Messages a second that the target accepts in a closed loop of the plan's sessions; SetupError for none."""
    closed = replace(plan, load=None, max_messages=None, duration_ns=duration_ns, keep_going=True, run_id="")
    results = run_monitored(closed, MonitorOptions(from_ns=duration_ns // 5))
    window = results.window or results
    rate = window.rate.messages_per_s
    if not rate:
        raise SetupError(f"{plan.target} accepted nothing without a rate: {_why_not(results)}")
    return rate


def _why_not(results: Results) -> str:
    return commonest_failure(results) or f"it answered nothing in {results.run.duration_s:.3g} s"


@dataclass(frozen=True, slots=True)
class LimitOptions:
    """How to look: each step lasts `step_ns`, of which the first quarter is not judged; no step begins that could end
    after `budget_ns`. `start` None: what a short run without a rate takes."""

    thresholds: Sequence[Threshold]
    precision: float = 0.05
    start: float | None = None
    step_ns: int = 8 * NS_PER_S
    budget_ns: int = 600 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Limit:
    """`whole`: the search came to its end. `limited`: in words, why the generator, not the server, ended it."""

    bracket: Bracket
    steps: tuple[LimitStep, ...]
    whole: bool
    limited: str | None = None


def find_limit(plan: Plan, options: LimitOptions, notice: Callable[[str], None] = lambda _line: None) -> Limit:
    """The highest rate at which `plan` keeps the thresholds, and keeps up. `notice` gets a line for each step.

    KeyboardInterrupt when a run was interrupted; SetupError for a server that accepts nothing.
    """
    began_ns = now_ns()
    start = options.start
    if start is None:
        start = float(f"{capacity(plan):.3g}")
        notice(f"without a rate {plan.target} accepts {start:g} messages/s; the search begins there")
    # Below that a step holds one message, and all rates are alike.
    design = LimitDesign(start, options.precision, lowest=NS_PER_S / options.step_ns)
    steps: list[LimitStep] = []
    spoiled = refused = 0
    while not isinstance(rate := advance(design, steps), Bracket):
        if now_ns() + options.step_ns - began_ns > options.budget_ns:
            return Limit(bracket(steps), tuple(steps), whole=False)
        results = _step(plan, rate, options)
        why = _missed(results)
        refused = 0 if results.messages.accepted else refused + 1
        if refused == MAX_SPOILED:
            raise SetupError(f"{plan.target} accepted nothing at {rate:,.4g}/s: {_why_not(results)}")
        if why is not None and results.generator.limited:
            spoiled += 1
            limited = "; ".join(results.generator.sentences)
            notice(f"{rate:,.4g}/s: does not count: {limited}")
            if spoiled == MAX_SPOILED:
                return Limit(bracket(steps), tuple(steps), whole=False, limited=f"at {rate:,.4g}/s: {limited}")
            continue
        spoiled = 0
        steps.append(LimitStep(rate, why is None))
        measured = "; ".join(f"{one.expression} was {value_in_words(one)}" for one in results.thresholds)
        kept = f"kept ({measured})" if measured else "kept"
        notice(f"{rate:,.4g}/s: {why or kept}")
    return Limit(rate, tuple(steps), whole=True)


def _step(plan: Plan, rate: float, options: LimitOptions) -> Results:
    load = replace(plan.load, rate_per_s=rate) if plan.load is not None else OpenLoop(rate)
    step = replace(plan, load=load, max_messages=None, duration_ns=options.step_ns, keep_going=True, run_id="")
    judged = MonitorOptions(thresholds=options.thresholds, from_ns=options.step_ns // 4)
    results = run_monitored(step, judged)
    if results.stopped_by is StoppedBy.INTERRUPTED:
        raise KeyboardInterrupt
    if not results.valid:
        raise SetupError(f"at {rate:,.4g}/s: {'; '.join(caveat.text for caveat in results.caveats)}")
    return results


def _missed(results: Results) -> str | None:
    """What was not kept; None when all was."""
    behind = [caveat.text for caveat in results.caveats if caveat.kind in _BEHIND]
    failed = [
        f"{verdict.expression}{':' if verdict.value is None else ' was'} {value_in_words(verdict)}"
        for verdict in results.thresholds
        if not verdict.passed
    ]
    return "; ".join([*failed, *behind]) or None

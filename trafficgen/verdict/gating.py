"""The gate: which run comes next, and when enough have been made for a verdict.

Takes     a design, and the trials made so far
Gives     the next run to make, or the end: a verdict, its reason, an exit code
Order     one pair that is thrown away (first runs are slow), pairs of A against A (control), then pairs of A and B
Ends      at once when B loses, duplicates, damages or refuses mail, when A does, or when a run cannot be measured
Pure      a gate that was interrupted goes on from its trials as if nothing had happened
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Final

from msgspec import Meta

from mboxgen.enums import table_of
from trafficgen.errors import ExitCode
from trafficgen.measure.codec import Count
from trafficgen.verdict.control import Control, ControlTrouble, check, worst
from trafficgen.verdict.order import balanced_order
from trafficgen.verdict.rule import (
    DEFAULT_LOOKS,
    MAX_PAIRS,
    POCOCK,
    Comparison,
    Judgement,
    Metric,
    Values,
    Verdict,
    check_looks,
    compare,
    judge,
)
from trafficgen.verdict.server_metrics import better_of

DEFAULT_CONTROL_PAIRS: Final = 8
NOT_GATED: Final = 0.05
"""The margin of quantities that are only shown; nothing is decided by it."""

CODES: Final = table_of(Verdict, {
    Verdict.PASS: ExitCode.DONE,
    Verdict.FAIL: ExitCode.VERDICT_FAILED,
    Verdict.WARN: ExitCode.INCONCLUSIVE,
    Verdict.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
})  # fmt: skip

MAX_SPOILED: Final = 3
"""Runs of one step in which the generator was the limit: a hiccup is repeated, a habit ends the gate."""


class Side(Enum):
    """Which build a run is of."""

    A = "a"
    B = "b"


NO_BASELINE: Final = "a baseline that does this cannot be compared with"
"""Why harm that A does ends a gate without a verdict."""

SideName = Annotated[str, Meta(pattern=rf"^({'|'.join(side.value for side in Side)})\Z")]
"""A `Side.value`, where it is a key."""


class Purpose(Enum):
    """What a pair is for."""

    DISCARD = "discarded"
    CONTROL = "control"
    COMPARE = "compared"


@dataclass(frozen=True, slots=True)
class Design:
    """What is fixed before the first run."""

    metrics: tuple[Metric, ...]
    looks: tuple[int, ...] = DEFAULT_LOOKS
    control_pairs: int = DEFAULT_CONTROL_PAIRS
    seed: int = 0

    def __post_init__(self) -> None:
        check_looks(self.looks, len(self.metrics))
        if self.control_pairs and not DEFAULT_CONTROL_PAIRS <= self.control_pairs <= MAX_PAIRS:
            least = f"expected {DEFAULT_CONTROL_PAIRS} to {MAX_PAIRS} control pairs, or 0"
            raise ValueError(f"{least}, got {self.control_pairs}")


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run: `as_b` when its numbers stand for B's; in the control that is a run of A too."""

    index: int
    purpose: Purpose
    pair: int
    side: Side
    as_b: bool


@dataclass(frozen=True, slots=True)
class Trial:
    """What one run gave. `values` by metric, and whatever else was read; `harm`: what must never happen, and did;
    `spoiled`: why it does not count."""

    step: Count
    side: Side
    values: Mapping[str, float]
    harm: str | None = None
    spoiled: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a gate ended. `verdict` None: nothing could be judged. `others`: quantities that were read and not gated."""

    verdict: Verdict | None
    code: ExitCode
    reason: str
    controls: tuple[Control, ...] = ()
    judgement: Judgement | None = None
    others: tuple[Comparison, ...] = ()


def steps(design: Design) -> list[PlannedRun]:
    """All runs there may be, in their order."""
    rng = random.Random(design.seed)  # what is drawn here is part of what a seed means: never change the order
    made: list[PlannedRun] = []
    for purpose, pairs in (
        (Purpose.DISCARD, 1), (Purpose.CONTROL, design.control_pairs), (Purpose.COMPARE, design.looks[-1]),
    ):  # fmt: skip
        for pair, b_first in enumerate(balanced_order(rng, pairs)):
            for as_b in (True, False) if b_first else (False, True):
                side = Side.B if as_b and purpose is not Purpose.CONTROL else Side.A
                made.append(PlannedRun(len(made), purpose, pair, side, as_b))
    return made


def advance(design: Design, trials: Sequence[Trial]) -> PlannedRun | Ended:
    """The next run to make, or how it ended."""
    plan = steps(design)
    sound = {trial.step: trial for trial in trials if trial.spoiled is None}
    if harm := _harmed(trials):
        return harm
    following = next((step for step in plan if step.index not in sound), None)
    controls: tuple[Control, ...] = ()
    if design.control_pairs and _pairs_done(plan, sound, Purpose.CONTROL) == design.control_pairs:
        controls = _controls(design, plan, sound)
        if trouble := worst(controls):
            return _refused(trouble, controls)
    done = _pairs_done(plan, sound, Purpose.COMPARE)
    between_pairs = following is None or following.index % 2 == 0
    if done in design.looks and between_pairs:
        values = _values(design, plan, sound, Purpose.COMPARE)
        judged = judge(values, alpha=POCOCK[len(design.looks)], last=following is None)
        if judged.verdict is not None:
            return _judged(design, plan, sound, judged, controls)
    assert following is not None
    if spoiled := _spoiled(trials, following):
        return Ended(None, ExitCode.NOT_VALID, spoiled, controls)
    return following


# -- parts of it ----------------------------------------------------------------------------------------


def _harmed(trials: Sequence[Trial]) -> Ended | None:
    for trial in trials:
        if trial.harm and trial.side is Side.B:
            return Ended(Verdict.FAIL, ExitCode.VERDICT_FAILED, f"run {trial.step + 1}, of B: {trial.harm}")
        if trial.harm:
            reason = f"run {trial.step + 1}, of A: {trial.harm}; {NO_BASELINE}"
            return Ended(None, ExitCode.NOT_VALID, reason)
    return None


def _spoiled(trials: Sequence[Trial], step: PlannedRun) -> str | None:
    why = [trial.spoiled for trial in trials if trial.step == step.index and trial.spoiled]
    return f"run {step.index + 1} was spoiled {len(why)} times: {why[-1]}" if len(why) >= MAX_SPOILED else None


def _pairs_done(plan: Sequence[PlannedRun], sound: Mapping[int, Trial], purpose: Purpose) -> int:
    return sum(step.index in sound for step in plan if step.purpose is purpose) // 2


def _controls(design: Design, plan: Sequence[PlannedRun], sound: Mapping[int, Trial]) -> tuple[Control, ...]:
    alpha = POCOCK[len(design.looks)]
    values = _values(design, plan, sound, Purpose.CONTROL)
    return tuple(check(one, alpha=alpha, last_look=design.looks[-1]) for one in values)


def _refused(control: Control, controls: tuple[Control, ...]) -> Ended:
    if control.trouble is ControlTrouble.NOISY:
        return Ended(Verdict.INCONCLUSIVE, ExitCode.INCONCLUSIVE, control.reason, controls)
    return Ended(None, ExitCode.NOT_VALID, control.reason, controls)


def _judged(
    design: Design,
    plan: Sequence[PlannedRun],
    sound: Mapping[int, Trial],
    judged: Judgement,
    controls: tuple[Control, ...],
) -> Ended:
    assert judged.verdict is not None
    alpha = judged.comparisons[0].alpha
    gated = {metric.name for metric in design.metrics}
    every = [values for name in _common(sound) if name not in gated for values in _series(name, plan, sound)]
    return Ended(
        verdict=judged.verdict,
        code=CODES[judged.verdict],
        reason=judged.reason,
        controls=controls,
        judgement=judged,
        others=tuple(compare(values, alpha) for values in every),
    )


def _common(sound: Mapping[int, Trial]) -> list[str]:
    """What every run read."""
    names = [trial.values.keys() for trial in sound.values()]
    return [name for name in names[0] if all(name in others for others in names)]


def _series(name: str, plan: Sequence[PlannedRun], sound: Mapping[int, Trial]) -> list[Values]:
    values = _pairs(Metric(name, better_of(name), NOT_GATED), plan, sound, Purpose.COMPARE)
    return [values] if min(*values.a, *values.b) > 0 else []


def _values(design: Design, plan: Sequence[PlannedRun], sound: Mapping[int, Trial], purpose: Purpose) -> list[Values]:
    return [_pairs(metric, plan, sound, purpose) for metric in design.metrics]


def _pairs(metric: Metric, plan: Sequence[PlannedRun], sound: Mapping[int, Trial], purpose: Purpose) -> Values:
    """The metric of all whole pairs."""
    sides: dict[bool, dict[int, float]] = {True: {}, False: {}}
    for step in plan:
        if step.purpose is purpose and step.index in sound:
            sides[step.as_b][step.pair] = sound[step.index].values[metric.name]
    whole = sorted(sides[True].keys() & sides[False].keys())
    return Values(metric, tuple(sides[False][pair] for pair in whole), tuple(sides[True][pair] for pair in whole))

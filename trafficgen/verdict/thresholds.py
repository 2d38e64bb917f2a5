"""Thresholds: what results must keep to.

Takes     "p99<250ms", "accepted.rate>0.999", "throughput>5000", "domain{gmail.com}.p(99.9)<=1s",
          "command{fetch}.errors<1%": the grammar of k6's thresholds, with units
Gives     for each, the value and whether it holds
Refuses   with ValueError, before a run, what could never be judged after it: unknown metrics, what a plan never
          measures (measurable), durations without a unit
Not here  whether the measurement is valid at all (results)
"""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from mboxgen.recipe.sizes import parse_size
from trafficgen.measure.counts import ThresholdVerdict
from trafficgen.measure.phases import PhaseTable
from trafficgen.measure.results import Results
from trafficgen.plan import Plan
from trafficgen.units import parse_duration, parse_rate
from trafficgen.verdict.measurable import why_never
from trafficgen.verdict.quantities import KNOWN, Quantity, QuantityKind, parse_quantity

_OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<=": operator.le, ">=": operator.ge, "===": operator.eq, "==": operator.eq, "!=": operator.ne,
    "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_FORM: Final = re.compile(r"\s*([^<>=!]+?)\s*(<=|>=|={2,3}|!=|<|>)\s*(\S.*?)\s*")
_SHARE: Final = re.compile(r"(\d+(?:\.\d+)?)(%?)")
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
_COUNT: Final = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Threshold:
    """One expression. `limit` in the unit of its quantity."""

    expression: str
    quantity: Quantity
    operator: str
    limit: float

    def judge(self, results: Results) -> ThresholdVerdict:
        """What was not measured does not pass."""
        value = self.quantity.read(results)
        passed = value is not None and _OPERATORS[self.operator](value, self.limit)
        return ThresholdVerdict(self.expression, value, self.limit, passed)


def parse_threshold(text: str, table: PhaseTable = KNOWN) -> Threshold:
    """The threshold that `text` says. ValueError with what was expected. `table`: as in `parse_quantity`."""
    found = _FORM.fullmatch(text)
    if not found:
        raise ValueError(f'expected METRIC<LIMIT such as p99<250ms or throughput>5000, got "{text}"')
    quantity = parse_quantity(found[1], table)
    return Threshold(text.strip(), quantity, found[2], _limit(quantity.kind, found[3], text))


def check_threshold(threshold: Threshold, plan: Plan) -> None:
    """ValueError when `plan` will never measure what the threshold is about."""
    if (reason := why_never(threshold.quantity, plan)) is not None:
        raise ValueError(reason)


def judge_all(thresholds: Sequence[Threshold], results: Results) -> tuple[ThresholdVerdict, ...]:
    """All verdicts, in their order."""
    return tuple(threshold.judge(results) for threshold in thresholds)


def rejudge(thresholds: Sequence[Threshold], results: Results) -> Results:
    """`results` held to other thresholds than those of its run."""
    return replace(results, thresholds=judge_all(thresholds, results))


def _limit(kind: QuantityKind, text: str, whole: str) -> float:
    match kind:
        case QuantityKind.DURATION:
            if text[-1:].isdigit():
                raise ValueError(f'expected a limit with its unit such as 250ms or 1.5s, got "{whole}"')
            return parse_duration(text)
        case QuantityKind.RATE:
            return parse_rate(text)
        case QuantityKind.SHARE:
            if not (found := _SHARE.fullmatch(text)):
                raise ValueError(f'expected a share such as 0.999 or 99.9%, got "{whole}"')
            if (share := float(found[1]) / (100 if found[2] else 1)) > 1:
                raise ValueError(
                    f'expected a share of at most 1 or 100%, got "{whole}"; write {found[1]}% for per cent'
                )
            return share
        case QuantityKind.COUNT:
            if not _COUNT.fullmatch(text):
                raise ValueError(f'expected a whole number, got "{whole}"')
            return int(text)
        case QuantityKind.OCTETS | QuantityKind.OCTETS_RATE:
            rate = kind is QuantityKind.OCTETS_RATE
            return parse_size(text.removesuffix("/s") if rate else text)
        case QuantityKind.NUMBER:
            if not _NUMBER.fullmatch(text):
                raise ValueError(f'expected a number such as 1.5, got "{whole}"')
            return float(text)

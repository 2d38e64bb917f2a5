"""Two sets of runs, beside each other: how B's numbers relate to A's.

Takes     results of runs of A and of B
Gives     for each quantity both medians and their ratio; an interval where there are pairs enough
Refuses   with ResultsError what is not comparable: another plan, seed, or class of machine, a run that is not valid or
          not whole. The target may differ: that is what is compared
Not here  a verdict: runs from a file say nothing about the order they were made in, and a machine drifts (gate)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from trafficgen.errors import ResultsError
from trafficgen.measure.bottleneck import drain
from trafficgen.measure.results import Results
from trafficgen.verdict import signed_rank
from trafficgen.verdict.quantities import QuantityKind, parse_quantity
from trafficgen.verdict.signed_rank import RankInterval

QUANTITIES: Final = (
    "throughput", "avg", "p50", "p90", "p95", "p99", "p99.9", "max", "connect.p95", "end_of_data.p95", "accepted.rate",
)  # fmt: skip

OF_MAILBOXES: Final = ("seen.p50", "seen.p95", "delivery.lost")
"""Of runs with users of mailboxes, beside those of each command that all runs used."""

OF_THE_SERVER: Final = (
    "queue.depth", "queue.oldest", "host.cpu_busy", "host.cpu_pressure", "host.io_pressure", "host.memory_pressure",
    "host.listen_overflows",
)  # fmt: skip
"""What an observer saw, where all runs had one."""

ALPHA: Final = 0.05

_OF_THE_BUILD: Final = frozenset({"target", "run_id", "allow_public_target"})
"""Fields of the plan that may differ."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One quantity. `ratio` is B's over A's; `interval` None: too few pairs."""

    name: str
    kind: QuantityKind
    a: float
    b: float
    ratio: float | None
    interval: RankInterval | None


@dataclass(frozen=True, slots=True)
class RunsCompared:
    """All quantities of `runs_a` and `runs_b` runs; paired in their order when there are as many of each."""

    runs_a: int
    runs_b: int
    quantities: tuple[Compared, ...]
    queue_grew: tuple[float, float] | None = None
    """By how many messages A's and B's queue was deeper at the end of the sending than before it, as medians; None
    where not all runs saw it."""


def compare_runs(a: Sequence[Results], b: Sequence[Results]) -> RunsCompared:
    """B beside A."""
    if not (a and b):
        raise ResultsError("expected results of both sides")
    check_comparable((*a, *b))
    a, b = sorted(a, key=_started), sorted(b, key=_started)
    compared = (_compare(name, a, b) for name in (*QUANTITIES, *_of_mailboxes((*a, *b)), *OF_THE_SERVER))
    grew_a, grew_b = _queue_grew(a), _queue_grew(b)
    grew = None if grew_a is None or grew_b is None else (grew_a, grew_b)
    return RunsCompared(len(a), len(b), tuple(one for one in compared if one is not None), grew)


def check_comparable(runs: Sequence[Results]) -> None:
    """ResultsError that names the first difference which makes a comparison meaningless."""
    first = runs[0]
    for run in runs:
        who = f"run {run.run.id}"
        if not run.complete:
            raise ResultsError(f"{who} is not complete: it was cut off")
        if not run.valid:
            raise ResultsError(f"{who} is not valid: {'; '.join(caveat.text for caveat in run.caveats)}")
        if difference := _difference(_plan(first), _plan(run)):
            raise ResultsError(f"{who} is not comparable with {first.run.id}: {difference}")
        if _machine(run) != _machine(first):
            raise ResultsError(
                f"{who} is not comparable with {first.run.id}: it was sent by another kind of machine, "
                f"{_machine(run)} instead of {_machine(first)}"
            )


def _plan(run: Results) -> dict[str, Any]:
    return {key: value for key, value in run.plan.items() if key not in _OF_THE_BUILD}


def _machine(run: Results) -> str:
    return f"{run.host.cpus} CPUs, {run.host.platform}, Python {run.host.python}"


def _queue_grew(runs: Sequence[Results]) -> float | None:
    drains = [drain(run.server, run.run.ended_s) if run.server else None for run in runs]
    grew = [one.at_end_of_sending - one.before for one in drains if one is not None]
    return median(grew) if len(grew) == len(runs) else None


def _of_mailboxes(runs: Sequence[Results]) -> list[str]:
    if not all(run.mailboxes is not None for run in runs):
        return []
    used = [name for name in runs[0].commands if all(run.commands[name].count for run in runs)]
    return [*(f"command{{{name}}}.{form}" for name in used for form in ("p50", "p99")), *OF_MAILBOXES]


def _started(run: Results) -> str:
    return run.run.started_at


def _difference(a: Any, b: Any, where: str = "") -> str | None:
    """The first place at which two plans differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys((*a, *b)):
            if found := _difference(a.get(key), b.get(key), f"{where}.{key}" if where else key):
                return found
        return None
    return None if a == b else f"its plan has {where} {str(b)[:60]!r} instead of {str(a)[:60]!r}"


def _compare(name: str, a: Sequence[Results], b: Sequence[Results]) -> Compared | None:
    quantity = parse_quantity(name)
    before = [value for run in a if (value := quantity.read(run)) is not None]
    after = [value for run in b if (value := quantity.read(run)) is not None]
    if len(before) < len(a) or len(after) < len(b):
        return None
    if min(*before, *after) <= 0:
        return Compared(name, quantity.kind, median(before), median(after), None, None)
    if len(before) != len(after):
        return Compared(name, quantity.kind, median(before), median(after), median(after) / median(before), None)
    differences = [math.log(y / x) for x, y in zip(before, after, strict=True)]
    low, high = signed_rank.interval(differences, ALPHA)
    interval = RankInterval(math.exp(low), math.exp(high)) if math.isfinite(low) else None
    ratio = math.exp(signed_rank.estimate(differences))
    return Compared(name, quantity.kind, median(before), median(after), ratio, interval)

"""One account of several generators that sent at the same time.

Takes     results of runs that overlap in time and sent the same kind of mail
Gives     one `Results`: every count and histogram added up, seconds aligned by the wall clock
Refuses   with ResultsError runs that did not overlap, or that did different things: their sum would describe no run
Not here  adding up (merging), the shards of one run (merging_shards)
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from trafficgen.clock import NS_PER_S
from trafficgen.errors import ResultsError
from trafficgen.measure.counts import MessageCounts, Rate
from trafficgen.measure.merging import PlanOfAll, add_up
from trafficgen.measure.results import Results

_SHARED: Final = ("workload", "session")
"""What runs have in common when they are parts of one load."""


def merge_results(parts: Sequence[Results]) -> Results:
    """The results of one run by all generators together."""
    if not parts:
        raise ResultsError("expected results to merge, got none")
    ordered = sorted(parts, key=lambda part: part.run.started_at)
    _check(ordered)
    first = ordered[0]
    merged = add_up(
        ordered,
        PlanOfAll.of(first, _plan(ordered)),
        domains=_weights([
            (part.messages.started, {name: one.weight for name, one in part.domains.items()}) for part in ordered
        ]),
        targets=_weights([
            (sum(one.sessions for one in part.targets), {one.target: one.weight for one in part.targets})
            for part in ordered if part.targets
        ]),
        duration_ns=round(max((_ended(part) - _begun(first)).total_seconds() for part in ordered) * NS_PER_S),
    )  # fmt: skip
    return replace(
        merged,
        valid=all(part.valid for part in ordered),
        rate=_rate(merged.messages, _sent_for_s(ordered), ordered),
        caveats=tuple(caveat for part in ordered for caveat in part.caveats),
        server=first.server,
    )


def _weights(parts: Sequence[tuple[int, Mapping[str, float]]]) -> dict[str, float]:
    """The wanted shares of the whole: those of each part, by its part of all messages, or of all sessions."""
    whole = sum(size for size, _ in parts)
    weights: dict[str, float] = {}
    for size, wanted in parts:
        share = size / whole if whole else 1 / len(parts)
        for name, weight in wanted.items():
            weights[name] = weights.get(name, 0.0) + weight * share
    return weights


def _check(ordered: Sequence[Results]) -> None:
    first = ordered[0]
    ids = [part.run.id for part in ordered]
    if len({(part.run.id, part.run.started_at) for part in ordered}) != len(ids):
        raise ResultsError(f"expected different runs, got one twice: {', '.join(sorted(ids))}")
    ended = _ended(first)
    for part in ordered[1:]:
        if _begun(part) >= ended:
            raise ResultsError(
                f"expected runs that overlap in time, but {part.run.id} began after the others had ended; "
                "compare such runs instead"
            )
        ended = max(ended, _ended(part))
        if part.run.model != first.run.model or bool(part.plan.get("load")) != bool(first.plan.get("load")):
            raise ResultsError(f"cannot merge a run of the {first.run.model} model with one of the {part.run.model}")
        differing = [key for key in _SHARED if part.plan.get(key) != first.plan.get(key)]
        if differing:
            raise ResultsError(f"cannot merge runs with a different {' and '.join(differing)}")


def _begun(part: Results) -> datetime:
    return datetime.fromisoformat(part.run.started_at)


def _ended(part: Results) -> datetime:
    return _begun(part) + timedelta(seconds=part.run.ended_s)


def _plan(parts: Sequence[Results]) -> Mapping[str, Any]:
    """The first's, with what adds up added up."""
    plan: dict[str, Any] = dict(parts[0].plan)
    for key in ("sessions", "max_messages"):
        numbers = [part.plan.get(key) for part in parts]
        if all(numbers):
            plan[key] = sum(number for number in numbers if number)
    if plan.get("load"):
        loads = [part.plan["load"] for part in parts]
        plan["load"] = dict(loads[0]) | {"rate_per_s": sum(load["rate_per_s"] for load in loads)}
        stages = [load.get("stages", []) for load in loads]
        if len({tuple(stage["duration_ns"] for stage in each) for each in stages}) == 1:
            plan["load"]["stages"] = [_stage(same) for same in zip(*stages, strict=True)]
    return plan


def _stage(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return dict(parts[0]) | {"rate_per_s": sum(part["rate_per_s"] for part in parts)}


def _sent_for_s(parts: Sequence[Results]) -> float:
    """From the first run's start to the last moment at which one of them was sending."""
    begun = _begun(parts[0])
    spans = ((part, part.run.duration_s if part.rate.over_s is None else part.rate.over_s) for part in parts)
    return max((_begun(part) - begun).total_seconds() + span_s for part, span_s in spans)


def _rate(messages: MessageCounts, sent_for_s: float, parts: Sequence[Results]) -> Rate:
    per_s = 1 / sent_for_s if sent_for_s > 0 else 0.0
    wanted = [part.rate.wanted_per_s for part in parts]
    return Rate(
        messages_per_s=messages.accepted * per_s,
        messages_per_hour=messages.accepted * per_s * 3600,
        bytes_per_s=messages.bytes * per_s,
        started_per_s=sum(part.rate.started_per_s for part in parts),
        wanted_per_s=None if None in wanted else sum(rate or 0.0 for rate in wanted),
        over_s=sent_for_s,
    )

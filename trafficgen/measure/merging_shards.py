"""The results of one run from those of its shards.

Takes     results of `send --shard I/N`, one for each shard
Gives     `Results` as one machine would have given them. Thresholds are left to be judged by whoever reads the whole
Refuses   with ResultsError parts that do not belong together, one that is there twice, or one too few
Not here  adding up (merging), different runs that made one load (merging_runs)
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, Final

from mboxgen.counted import number_of
from trafficgen.clock import NS_PER_S
from trafficgen.errors import ResultsError
from trafficgen.measure.codec import from_plain
from trafficgen.measure.generator import ShardRecord
from trafficgen.measure.health import Caveat, CaveatKind, diagnose
from trafficgen.measure.merging import PlanOfAll, add_up, counted
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import Snapshot, earliest, latest, merge
from trafficgen.measure.window import Window, between
from trafficgen.plan import OpenLoop

_OF_THE_WHOLE: Final = frozenset(
    {CaveatKind.UNFINISHED, CaveatKind.PORTS_EXHAUSTED, CaveatKind.ARRIVALS_DROPPED, CaveatKind.RATE_MISSED}
)
"""Found anew from the sums."""

_OF_EACH: Final = frozenset({CaveatKind.SESSIONS_BUSY, CaveatKind.STARTS_LATE})
"""Found from each shard's own workers, which a sum of results no longer knows."""

_QUOTED: Final = 3


def merge_shards(parts: Sequence[Results], *, partial: bool = False) -> Results:
    """The whole run. `partial`: shards that are missing are no error, and the rest is valid by itself.

    Without it a missing shard is an error here only when every shard is; otherwise the run is not valid, and what was
    planned for the missing ones is in doubt.
    """
    if not parts:
        raise ResultsError("expected results to merge, got none")
    parts = sorted(parts, key=_number)
    _check(parts)
    first = parts[0]
    record = first.shards[0]
    missing = sorted(set(range(1, record.of + 1)) - {_number(part) for part in parts})
    in_doubt, lost = 0, [_lost(missing, record)] if missing and not partial else []
    if lost and record.planned_by_all is not None:
        known = sum(part.messages.planned for part in parts)
        if known > record.planned_by_all:
            raise ResultsError(
                f"expected at most {number_of(record.planned_by_all, 'message')} of all shards, got {known:,}"
            )
        in_doubt = record.planned_by_all - known
    plan = _plan(first)
    merged = add_up(
        parts,
        PlanOfAll.of(first, plan, from_plain(OpenLoop, plan["load"]) if plan.get("load") else None),
        domains={name: domain.weight for name, domain in first.domains.items()},
        targets={one.target: one.weight for part in parts for one in part.targets},
        duration_ns=_duration_ns(parts),
        lost=in_doubt,
        shards=[part.shards[0] for part in parts],
    )
    return _with_caveats(merged, parts, lost)


def _plan(part: Results) -> dict[str, Any]:
    """That of the whole run."""
    return {**part.plan, "shard": {**part.plan.get("shard", {}), "number": 1, "of": 1}}


def _number(part: Results) -> int:
    if len(part.shards) != 1:
        what = "of the whole run" if not part.shards else f"of {number_of(len(part.shards), 'shard')}"
        raise ResultsError(f"expected results of one shard each, got results {what}, run {part.run.id}")
    return part.shards[0].number


def _check(parts: Sequence[Results]) -> None:
    """ResultsError unless they are different shards of one run."""
    first = parts[0]
    for part in parts[1:]:
        who = f"shards {_number(first)} and {_number(part)}"
        for what, ours, theirs in (
            ("different run ids", first.run.id, part.run.id),
            ("different versions of traffic-gen", first.run.tool_version, part.run.tool_version),
            ("different seeds", first.run.seed, part.run.seed),
            ("different numbers of shards", first.shards[0].of, part.shards[0].of),
            ("different starts", first.shards[0].start_at, part.shards[0].start_at),
        ):
            if ours != theirs:
                raise ResultsError(f"{who} have {what}: {ours} and {theirs}")
        mine, yours = _plan(first), _plan(part)
        if differing := [key for key in dict.fromkeys([*mine, *yours]) if mine.get(key) != yours.get(key)]:
            raise ResultsError(f"{who} have different plans: {', '.join(differing)}")
        for path, digest in first.shards[0].files.items():
            if part.complete and first.complete and part.shards[0].files.get(path) != digest:
                raise ResultsError(f'{who} have different files: "{path}"')
        if list(first.domains) != list(part.domains):
            raise ResultsError(f"{who} have different domains")
    numbers = [_number(part) for part in parts]
    if doubled := sorted({number for number in numbers if numbers.count(number) > 1}):
        raise ResultsError(f"expected every shard once, got {', '.join(f'shard {number}' for number in doubled)} twice")


def _lost(missing: Sequence[int], record: ShardRecord) -> Caveat:
    names = ", ".join(map(str, missing[:_QUOTED])) + (f" and {len(missing) - _QUOTED} more" * (len(missing) > _QUOTED))
    what = f"shard {names} of {record.of} is" if len(missing) == 1 else f"shards {names} of {record.of} are"
    unknown = "" if record.planned_by_all is not None else ", and how much was sent there is not known"
    return Caveat.of(CaveatKind.SHARD_LOST, f"the measurement is not valid: {what} missing{unknown}")


def _duration_ns(parts: Sequence[Results]) -> int:
    if any(part.mailboxes is not None for part in parts):  # users do more than get mail
        return round(max(part.run.duration_s for part in parts) * NS_PER_S)
    begun_ns = earliest(*(part.shards[0].first_start_ns for part in parts))
    ended_ns = latest(*(part.shards[0].last_end_ns for part in parts))
    return 0 if begun_ns is None or ended_ns is None else ended_ns - begun_ns


def _with_caveats(merged: Results, parts: Sequence[Results], lost: list[Caveat]) -> Results:
    """One diagnosis of what the whole shows and of what each shard said of itself; it decides what is valid."""
    said: dict[CaveatKind, list[str]] = {}
    for part in parts:
        for caveat in part.caveats:
            if caveat.kind not in _OF_THE_WHOLE or (part.mailboxes and caveat.kind is CaveatKind.ARRIVALS_DROPPED):
                who = "" if caveat.kind is CaveatKind.SHARD_LOST else f"shard {_number(part)}: "
                said.setdefault(caveat.kind, []).append(who + caveat.text)
    found = {caveat.kind: caveat.text for caveat in merged.caveats if caveat.kind not in _OF_EACH}
    found |= {caveat.kind: caveat.text for caveat in lost}
    for kind, texts in said.items():
        more = len(texts) - _QUOTED
        found[kind] = "; ".join(texts[:_QUOTED]) + (f"; and {number_of(more, 'shard')} more" if more > 0 else "")
    caveats = diagnose(found)
    return replace(
        merged.with_caveats(caveats),
        valid=not any(caveat.invalidates for caveat in caveats),
        ledger=None if lost else merged.ledger,
        window=_window(parts),
    )


def _window(parts: Sequence[Results]) -> Window | None:
    """That of all. Shards begin and end theirs up to 0.25 s apart, as workers do: the mean of their times counts."""
    windows = [part.window for part in parts if part.window is not None]
    if len(windows) < len(parts):
        return None
    from_ns, to_ns = (
        NS_PER_S * fmean(times_s) for times_s in zip(*((one.from_s, one.to_s) for one in windows), strict=True)
    )
    domains = tuple(parts[0].domains)
    whole = merge(counted(one, domains) for one in windows)
    return between(Snapshot.empty(), whole, domains, from_ns, to_ns)

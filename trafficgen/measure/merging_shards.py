"""The results of one run from those of its shards.

Takes     results of `send --shard I/N`, one for each shard
Gives     `Results` as one machine would have given them: the parts are made snapshots again, added up as those of
          workers are, and the account is closed anew. Thresholds are left to be judged by whoever reads the whole
Refuses   with ResultsError parts that do not belong together, one that is there twice, or one too few
Not here  adding up different runs that made one load (merging)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import fmean
from typing import Any, Final

import numpy as np

from mboxgen.counted import number_of
from trafficgen.clock import NS_PER_S
from trafficgen.errors import ResultsError
from trafficgen.measure.codec import from_plain
from trafficgen.measure.counts import Latency, TargetCounts
from trafficgen.measure.generator import ShardRecord
from trafficgen.measure.health import Caveat, CaveatKind, diagnose
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.merging import (
    commands_of_all,
    generator_of_all,
    histograms_of_all,
    ledger_of_all,
    mailboxes_of_all,
    messages_of_all,
    stopped_after_of_all,
    stopped_by_of_all,
)
from trafficgen.measure.phases import MESSAGE_STRETCHES, PhaseTable
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import Snapshot, Tally, TargetSnapshot, merge
from trafficgen.measure.timeline import Timeline
from trafficgen.measure.window import Window, rate_over
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
    snapshot = merge(map(snapshot_of, parts))
    not_started = sum(part.messages.not_started for part in parts)
    lost = [] if partial or not missing else [_lost(missing, record)]
    if lost and record.planned_by_all is not None:
        known = sum(part.messages.planned for part in parts)
        if known > record.planned_by_all:
            raise ResultsError(
                f"expected at most {number_of(record.planned_by_all, 'message')} of all shards, got {known:,}"
            )
        snapshot = snapshot.with_lost(record.planned_by_all - known)
    stopped_after_s = stopped_after_of_all(parts)
    merged = Results.build(
        _Asked.of(first),
        snapshot,
        phases=_phases(first),
        domains=[(name, domain.weight) for name, domain in first.domains.items()],
        targets=[(one.target, one.weight) for one in first.targets],
        planned=snapshot.started + not_started,
        not_started=not_started,
        started_at=datetime.fromisoformat(first.run.started_at),
        duration_ns=_duration_ns(snapshot, parts),
        host=first.host,
        tool_version=first.run.tool_version,
        stopped_by=stopped_by_of_all(parts),
        stopped_after_ns=None if stopped_after_s is None else round(stopped_after_s * NS_PER_S),
        addresses=tuple(dict.fromkeys(address for part in parts for address in part.run.addresses)),
        command=first.run.command,
        ledger=None if lost else ledger_of_all(parts),
        complete=all(part.complete for part in parts),
        mailboxes=mailboxes_of_all(parts),
        shards=[part.shards[0] for part in parts],
    )
    return _with_caveats(merged, parts, lost)


def _target(counts: TargetCounts, part: Results) -> TargetSnapshot:
    outcomes = (
        counts.accepted, counts.rejected_temporary, counts.rejected_permanent, counts.failed, counts.in_doubt,
    )  # fmt: skip
    return TargetSnapshot(counts.sessions, outcomes, part.target_histograms.get(counts.target, Histogram()))


def snapshot_of(part: Results) -> Snapshot:
    """What the shard had recorded when it ended, times since the common time zero. Its workers are left out."""
    record, names = part.shards[0], list(part.domains)
    counts, recipients = part.messages, part.recipients
    return replace(
        Snapshot.empty(open_loop=part.run.model == "open"),
        outcomes=(
            counts.accepted, counts.rejected_temporary, counts.rejected_permanent, counts.failed, counts.in_doubt,
        ),
        octets=counts.bytes,
        first_start_ns=record.first_start_ns,
        last_start_ns=record.last_start_ns,
        last_end_ns=record.last_end_ns,
        last_answered_ns=record.last_answered_ns,
        histograms={name: Histogram() for name in MESSAGE_STRETCHES} | dict(part.histograms),
        replies={(one.phase, one.code, one.enhanced): Tally(one.count, one.example) for one in part.replies},
        failures={(one.phase, one.reason): Tally(one.count, one.example) for one in part.failures},
        domains_started=np.array([domain.started for domain in part.domains.values()], np.int64),
        domains_accepted=np.array([domain.accepted for domain in part.domains.values()], np.int64),
        timeline=Timeline.of(part.timeline),
        targets=tuple(_target(one, part) for one in part.targets),
        retries=part.retries,
        domain_latencies={names.index(name): timed for name, timed in part.domain_histograms.items()},
        recipients=()
        if recipients is None
        else (
            recipients.accepted, recipients.rejected_temporary, recipients.rejected_permanent, recipients.failed,
            recipients.in_doubt,
        ),
        partly_accepted=recipients.partly_accepted if recipients else 0,
        commands={
            name: one.account(part.command_histograms.get(name, Histogram())) for name, one in part.commands.items()
        },
        protected={(one.version, one.cipher): (one.sessions, one.resumed) for one in part.tls},
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Asked:
    """The plan of the whole run, as far as results are told of it."""

    run_id: str
    seed: int
    destination: str | None
    load: OpenLoop | None
    max_messages: int | None
    duration_ns: int | None
    plan: dict[str, Any]

    @classmethod
    def of(cls, part: Results) -> "_Asked":
        plan = dict(part.plan)
        plan["shard"] = dict(plan.get("shard", {})) | {"number": 1, "of": 1}
        load = plan.get("load")
        return cls(
            run_id=part.run.id,
            seed=part.run.seed,
            destination=part.run.target,
            load=from_plain(OpenLoop, load) if load else None,
            max_messages=plan.get("max_messages"),
            duration_ns=plan.get("duration_ns"),
            plan=plan,
        )

    def to_dict(self) -> dict[str, Any]:
        return self.plan


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
        mine, yours = _Asked.of(first).plan, _Asked.of(part).plan
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


def _phases(part: Results) -> PhaseTable:
    """The words of the results, and what they time."""
    timed = tuple(name for name in part.latency_ns if name not in MESSAGE_STRETCHES)
    return PhaseTable(dict(part.phases), timed, tuple(part.commands))


def _duration_ns(snapshot: Snapshot, parts: Sequence[Results]) -> int:
    if any(part.mailboxes is not None for part in parts):  # users do more than get mail
        return round(max(part.run.duration_s for part in parts) * NS_PER_S)
    if snapshot.first_start_ns is None or snapshot.last_end_ns is None:
        return 0
    return snapshot.last_end_ns - snapshot.first_start_ns


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
    generator = replace(
        generator_of_all(parts),
        limited=any(caveat.limits_generator for caveat in caveats),
        sentences=tuple(caveat.text for caveat in caveats if caveat.limits_generator),
    )
    valid = not any(caveat.invalidates for caveat in caveats)
    return replace(merged, caveats=caveats, generator=generator, valid=valid, window=_window(parts))


def _window(parts: Sequence[Results]) -> Window | None:
    """That of all. Shards begin and end theirs up to 0.25 s apart, as workers do: the mean of their times counts."""
    windows = [part.window for part in parts if part.window is not None]
    if len(windows) < len(parts):
        return None
    from_s, to_s = fmean(one.from_s for one in windows), fmean(one.to_s for one in windows)
    messages = messages_of_all(one.messages for one in windows)
    histograms = histograms_of_all(one.histograms for one in windows)
    of_commands = histograms_of_all(one.command_histograms for one in windows)
    names = dict.fromkeys(name for one in windows for name in one.latency_ns)
    return Window(
        from_s=from_s,
        to_s=to_s,
        messages=messages,
        rate=rate_over(messages, (to_s - from_s) * NS_PER_S),
        latency_ns={name: Latency.of(histograms[name]) if name in histograms else None for name in names},
        histograms=histograms,
        domain_histograms=histograms_of_all(one.domain_histograms for one in windows),
        commands=commands_of_all([one.commands for one in windows], of_commands, to_s - from_s),
        command_histograms=of_commands,
    )

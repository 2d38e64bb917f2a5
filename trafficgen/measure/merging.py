"""Results of several parts of one load, added up to those of the whole.

Takes     results of the parts; what only their kind decides: plan, wanted shares, how long it all took
Gives     `Results`: each part is made a snapshot again, these are added up as those of workers are, and the account is
          closed by the code that closes a run. Percentiles are computed anew from the sums, never averaged
Not here  which parts belong together, what is said of the whole (merging_runs, merging_shards)
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime
from functools import reduce
from itertools import accumulate
from operator import attrgetter
from typing import Any, Final

import numpy as np

from trafficgen.clock import NS_PER_S
from trafficgen.measure.delivered import LedgerCounts, MailboxCounts
from trafficgen.measure.generator import Generator, ShardRecord
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.phases import MESSAGE_STRETCHES, PhaseTable
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import Snapshot, Tally, TargetSnapshot, merge
from trafficgen.measure.timeline import Timeline
from trafficgen.measure.window import Window
from trafficgen.outcomes import Outcome, StoppedBy
from trafficgen.plan import OpenLoop

_by_outcome: Final = attrgetter(*(outcome.name.lower() for outcome in Outcome))
"""Of messages, recipients, or the messages of a target."""

_TIMES: Final = ("first_start_ns", "last_start_ns", "last_end_ns", "last_answered_ns")
"""That a shard's record keeps of its snapshot."""


@dataclass(frozen=True, slots=True)
class PlanOfAll:
    """What all parts together were asked for, as far as results are told of it."""

    run_id: str
    seed: int
    destination: str | None
    load: OpenLoop | None
    max_messages: int | None
    duration_ns: int | None
    plan: Mapping[str, Any]

    @classmethod
    def of(cls, part: Results, plan: Mapping[str, Any], load: OpenLoop | None = None) -> "PlanOfAll":
        """`plan` with the run of `part`. `load`: None where the caller knows better what was wanted, and what is
        missing of it."""
        run, most, duration_ns = part.run, plan.get("max_messages"), plan.get("duration_ns")
        return cls(run.id, run.seed, run.target, load, most, duration_ns, plan)

    def to_dict(self) -> dict[str, Any]:
        return dict(self.plan)


def add_up(
    parts: Sequence[Results],
    plan: PlanOfAll,
    *,
    domains: Mapping[str, float],
    targets: Mapping[str, float],
    duration_ns: int,
    lost: int = 0,
    shards: Sequence[ShardRecord] = (),
) -> Results:
    """The whole of `parts`, of which the first began first. `domains` and `targets`: all of them, with their wanted
    shares. `lost`: so many messages more are in doubt. Caveats are those that the sums show."""
    first, begun = parts[0], _begun(parts[0])
    moments = [(part, 0.0 if part.shards else (_begun(part) - begun).total_seconds()) for part in parts]
    snapshot = merge(_snapshot_of(part, tuple(domains), tuple(targets), round(after_s)) for part, after_s in moments)
    snapshot = snapshot.with_lost(lost)
    not_started = sum(part.messages.not_started for part in parts)
    merged = Results.build(
        plan,
        snapshot,
        phases=_phases(parts),
        domains=list(domains.items()),
        targets=list(targets.items()),
        planned=snapshot.started + not_started,
        not_started=not_started,
        started_at=begun,
        duration_ns=duration_ns,
        host=first.host,
        tool_version=first.run.tool_version,
        stopped_by=_stopped_by(parts),
        stopped_after_ns=_stopped_after_ns(parts),
        addresses=tuple(dict.fromkeys(address for part in parts for address in part.run.addresses)),
        command=first.run.command,
        ledger=_ledger(parts),
        complete=all(part.complete for part in parts),
        mailboxes=_mailboxes(parts),
        shards=shards,
    )
    last_end_s = max(after_s + part.run.ended_s for part, after_s in moments)
    return replace(merged, generator=_generator(parts), run=replace(merged.run, last_end_s=last_end_s))


def _snapshot_of(part: Results, domains: Sequence[str], targets: Sequence[str], after_s: int) -> Snapshot:
    """What the part had recorded when it ended, its seconds moved by `after_s`; of shards, times since the common time
    zero. Its workers are left out."""
    times = {name: getattr(part.shards[0], name) for name in _TIMES} if part.shards else {}
    recipients, nobody = part.recipients, (0, 0)
    counts = {name: (one.started, one.accepted) for name, one in part.domains.items()}
    started, accepted = np.array([counts.get(name, nobody) for name in domains], np.int64).reshape(-1, 2).T
    return replace(
        counted(part, domains),
        open_loop=part.run.model == "open",
        replies={(one.phase, one.code, one.enhanced): Tally(one.count, one.example) for one in part.replies},
        failures={(one.phase, one.reason): Tally(one.count, one.example) for one in part.failures},
        domains_started=started,
        domains_accepted=accepted,
        timeline=Timeline.of(part.timeline, shift_s=after_s),
        targets=tuple(_target(part, name) for name in targets),
        retries=part.retries,
        idle=part.idle,
        recipients=_by_outcome(recipients) if recipients else (),
        partly_accepted=recipients.partly_accepted if recipients else 0,
        protected={(one.version, one.cipher): (one.sessions, one.resumed) for one in part.tls},
        **times,
    )


def counted(part: Results | Window, domains: Sequence[str]) -> Snapshot:
    """What results and their window both hold."""
    return replace(
        Snapshot.empty(),
        outcomes=_by_outcome(part.messages),
        octets=part.messages.bytes,
        histograms={name: Histogram() for name in part.latency_ns} | dict(part.histograms),
        domain_latencies={domains.index(name): timed for name, timed in part.domain_histograms.items()},
        commands={
            name: one.account(part.command_histograms.get(name, Histogram())) for name, one in part.commands.items()
        },
    )


def _target(part: Results, name: str) -> TargetSnapshot:
    mine = [one for one in part.targets if one.target == name]
    outcomes = tuple(map(sum, zip((0,) * len(Outcome), *map(_by_outcome, mine), strict=True)))
    return TargetSnapshot(sum(one.sessions for one in mine), outcomes, part.target_histograms.get(name, Histogram()))


def _phases(parts: Sequence[Results]) -> PhaseTable:
    """The words of the results, the first's before those of others, and what they time."""
    timed = dict.fromkeys(name for part in parts for name in part.latency_ns)
    return PhaseTable(
        {name: words for part in reversed(parts) for name, words in part.phases.items()},
        tuple(name for name in timed if name not in MESSAGE_STRETCHES),
        tuple(dict.fromkeys(name for part in parts for name in part.commands)),
    )


def _begun(part: Results) -> datetime:
    return datetime.fromisoformat(part.run.started_at)


def _stopped_by(parts: Sequence[Results]) -> StoppedBy:
    """A part that did not finish outweighs all others; then the first that was stopped."""
    if not all(part.complete for part in parts):
        return StoppedBy.UNFINISHED
    reasons = [part.stopped_by for part in parts]
    return next((reason for reason in reasons if reason is not StoppedBy.FINISHED), StoppedBy.FINISHED)


def _stopped_after_ns(parts: Sequence[Results]) -> int | None:
    """When the last of those that were stopped was, since the first began; None where none was."""
    begun = min(map(_begun, parts))
    stopped_s = [
        (_begun(part) - begun).total_seconds() + part.run.stopped_after_s
        for part in parts if part.run.stopped_after_s is not None
    ]  # fmt: skip
    return round(max(stopped_s) * NS_PER_S) if stopped_s else None


def _ledger(parts: Sequence[Results]) -> LedgerCounts | None:
    """None unless every part has one: half a proof is none."""
    ledgers = [part.ledger for part in parts if part.ledger]
    if len(ledgers) < len(parts):
        return None
    columns = zip(*map(astuple, ledgers), strict=True)
    return LedgerCounts(*map(sum, columns))


def _mailboxes(parts: Sequence[Results]) -> MailboxCounts | None:
    """Together; None when no part has any."""
    counts = [part.mailboxes for part in parts if part.mailboxes is not None]
    return reduce(MailboxCounts.__add__, counts) if counts else None


def _generator(parts: Sequence[Results]) -> Generator:
    """Workers are numbered through."""
    generators = [part.generator for part in parts]
    workers = [worker for generator in generators for worker in generator.workers]
    offsets = accumulate((len(generator.workers) for generator in generators), initial=0)
    return Generator(
        limited=any(generator.limited for generator in generators),
        sentences=tuple(sentence for generator in generators for sentence in generator.sentences),
        workers=tuple(replace(worker, worker=number) for number, worker in enumerate(workers)),
        lost_workers=tuple(
            worker + offset
            for generator, offset in zip(generators, offsets, strict=False)
            for worker in generator.lost_workers
        ),
        sessions_opened=sum(generator.sessions_opened for generator in generators),
    )

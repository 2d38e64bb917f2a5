"""The account of a run by several hosts, whatever has become of each.

Takes     shards that are over: ended, refused, or lost
Gives     the results of the whole run, closed by the code that merges shards' files; one manifest of all
Not here  how it came about (coordinator), adding up (measure.merging_shards)
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from trafficgen.clock import NS_PER_S
from trafficgen.cluster import words
from trafficgen.cluster.kinds import KindOfRun
from trafficgen.cluster.shard import HostShard
from trafficgen.errors import OutputError, ResultsError
from trafficgen.host.version import VERSION
from trafficgen.measure.health import Caveat, CaveatKind
from trafficgen.measure.merging_shards import merge_shards
from trafficgen.measure.parts import MailboxCounts
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import Snapshot
from trafficgen.outcomes import StoppedBy
from trafficgen.proof import sent
from trafficgen.runs import shards


def closed(kind: KindOfRun, every: Sequence[HostShard], zero_wall_ns: int) -> Results:
    """What all shards together come to. `zero_wall_ns`: when they began, by the coordinator's clock."""
    return merge_shards([_part(kind, shard, zero_wall_ns) for shard in every])


def instant(at_ns: int) -> datetime:
    """A time since 1970 as a date."""
    return datetime.fromtimestamp(at_ns / NS_PER_S, UTC)


def _part(kind: KindOfRun, shard: HostShard, zero_wall_ns: int) -> Results:
    """Results of one shard, as if its clock were the coordinator's."""
    zero = instant(zero_wall_ns).isoformat(timespec="milliseconds")
    last = shard.last
    results = last.results if isinstance(last, words.ShardEnded) else _of_lost(kind, shard, zero_wall_ns)
    clock = shard.clock
    record = replace(results.shards[0], start_at=zero, clock_offset_ns=clock.offset_ns, clock_error_ns=clock.error_ns)
    plan = dict(results.plan)
    plan["shard"] = dict(plan["shard"]) | {"start_at_ns": zero_wall_ns}
    return replace(results, run=replace(results.run, started_at=zero), shards=(record,), plan=plan)


def _of_lost(kind: KindOfRun, shard: HostShard, zero_wall_ns: int) -> Results:
    """What it last said; the rest of what it had to send is in doubt, unless it never began."""
    said, last, plan = shard.running, shard.last, shard.order.plan
    begun = not isinstance(last, words.ShardNotBegun)
    snapshot = Snapshot.empty(open_loop=plan.load is not None)
    planned, mailboxes = (shard.found.planned if begun else kind.planned_by(plan)) or 0, None
    if said is not None:
        snapshot, mailboxes = said.snapshot.moved(-said.snapshot.began_ns, 0), said.mailboxes
        planned = max(said.planned, snapshot.started)
    dropped = mailboxes.dropped if mailboxes else 0
    in_doubt = planned - snapshot.started - dropped
    if isinstance(last, words.ShardRefused | words.ShardNotBegun):
        in_doubt = 0
    if mailboxes is not None:
        mailboxes = replace(mailboxes, in_doubt=mailboxes.in_doubt + in_doubt)
    not_started = planned - snapshot.started - in_doubt
    snapshot = snapshot.with_lost(in_doubt)
    text = f"the measurement is not valid: {shard.who} was lost: {getattr(last, 'words', '')}"
    if kind.planned_by_all is None:
        text += "; how much it sent after its last word is not known"
    return kind.results(
        plan,
        snapshot,
        planned=snapshot.started + not_started,
        not_started=not_started,
        started_at=instant(zero_wall_ns),
        duration_ns=(snapshot.last_end_ns or 0) - (snapshot.first_start_ns or 0),
        tool_version=VERSION,
        stopped_by=StoppedBy.WORKER_LOST if begun else StoppedBy.INTERRUPTED,
        addresses=shard.found.addresses if begun else (),
        mailboxes=mailboxes or (MailboxCounts.none() if kind.of_mailboxes else None),
        caveats=[Caveat.of(CaveatKind.SHARD_LOST, text)] if begun else [],
        shards=[
            replace(one, host=shard.prepared.name if shard.prepared else shard.host)
            for one in shards.record(plan.shard, kind.planned_by_all, snapshot, shard.found.files if begun else {})
        ],
    )


def manifest_of(every: Sequence[HostShard]) -> tuple[sent.Manifest | None, list[str]]:
    """What all shards sent, and why that is not all."""
    kept = [shard.last.manifest for shard in every if isinstance(shard.last, words.ShardEnded)]
    lost = [shard.who for shard in every if not isinstance(shard.last, words.ShardEnded)]
    problems = [f"what {who} sent is not in it" for who in lost]
    try:
        return sent.join([sent.from_octets(octets) for octets in kept if octets is not None]), problems
    except ResultsError as error:
        return None, [*problems, str(error)]


def write_manifest(every: Sequence[HostShard], path: Path) -> list[Caveat]:
    """One file of what all shards sent; a caveat where it cannot be whole."""
    manifest, problems = manifest_of(every)
    try:
        if manifest is not None:
            manifest.write(path)
    except OutputError as error:
        problems.append(str(error))
    if not problems:
        return []
    return [Caveat.of(CaveatKind.OUTPUT_FAILED, f'the manifest "{path}": {"; ".join(problems)}')]

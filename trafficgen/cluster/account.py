"""The account of a run by several hosts, whatever has become of each.

Takes     shards that are over: ended, refused, or lost
Gives     the results of the whole run, closed by the code that merges shards' files; one manifest of all
Not here  how it came about (coordinator), adding up (measure.merging_shards)
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from trafficgen.clock import NS_PER_S
from trafficgen.cluster import words
from trafficgen.cluster.kinds import KindOfRun
from trafficgen.cluster.shard import HostShard
from trafficgen.errors import OutputError, ResultsError, TrafficgenError
from trafficgen.host.signals import RunControl
from trafficgen.host.version import VERSION
from trafficgen.measure.delivered import MailboxCounts
from trafficgen.measure.health import Caveat, CaveatKind
from trafficgen.measure.merging_shards import merge_shards
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import Snapshot
from trafficgen.outcomes import StoppedBy
from trafficgen.plan import Plan
from trafficgen.proof import sent, waiting
from trafficgen.proof.waiting import DeliveryWait
from trafficgen.runs import shards

if TYPE_CHECKING:
    from trafficgen.proof.remote_sink import RemoteSinks


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
        snapshot = replace(snapshot, timeline=shard.timeline.timeline())
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


class Proofs:
    """What a run of mail to send is held against: a file of all that was sent, sinks where it must come out."""

    def __init__(
        self, manifest: Path | None = None, delivery_wait: DeliveryWait | None = None, plan: Plan | None = None
    ) -> None:
        self._path = manifest
        self._wait = delivery_wait
        self._plan = plan
        self._sinks: RemoteSinks | None = None

    @property
    def wanted(self) -> bool:
        """Whether shards must write down what they send."""
        return self._path is not None or self._wait is not None

    def check(self) -> None:
        """Before the run. PlanError or SetupError when a sink is not one to ask, or is not there."""
        if self._wait is not None and self._plan is not None:
            self._sinks = waiting.sinks_of(self._wait, self._plan)

    def add(
        self, results: Results, every: Sequence[HostShard], say: Callable[[str], None], control: RunControl
    ) -> Results:
        """The results with their proofs; a caveat for each that cannot be whole."""
        if not self.wanted:
            return results
        manifest, problems = _manifest_of(every)
        caveats = list(results.caveats)
        if self._path is not None:
            written = problems + self._write(manifest, self._path)
            if written:
                text = f'the manifest "{self._path}": {"; ".join(written)}'
                caveats.append(Caveat.of(CaveatKind.OUTPUT_FAILED, text))
        if self._wait is not None:
            if not problems:
                results, problems = self._delivered(results, manifest, say, control)
            if problems:
                text = f"what was delivered is not known: {'; '.join(problems)}"
                caveats.append(Caveat.of(CaveatKind.PROOF_MISSING, text))
        return results.with_caveats(tuple(caveats))

    def _write(self, manifest: sent.Manifest | None, path: Path) -> list[str]:
        try:
            if manifest is not None:
                manifest.write(path)
        except OutputError as error:
            return [str(error)]
        return []

    def _delivered(
        self, results: Results, manifest: sent.Manifest | None, say: Callable[[str], None], control: RunControl
    ) -> tuple[Results, list[str]]:
        clock = results.run.clock
        assert self._wait is not None
        assert clock is not None
        if manifest is None or self._sinks is None:
            return results, []
        asked = control.count
        try:
            ledger, delivery = waiting.wait(self._sinks, self._wait.patience_ns, manifest, say, control, clock.began_ns)
        except TrafficgenError as error:
            return results, [str(error)]
        stopped_by = results.stopped_by if control.count == asked else StoppedBy.INTERRUPTED
        return replace(results, ledger=ledger, delivery=delivery, stopped_by=stopped_by), []


def _manifest_of(every: Sequence[HostShard]) -> tuple[sent.Manifest | None, list[str]]:
    """What all shards sent, and why that is not all."""
    kept = [shard.last.manifest for shard in every if isinstance(shard.last, words.ShardEnded)]
    lost = [shard.who for shard in every if not isinstance(shard.last, words.ShardEnded | words.ShardNotBegun)]
    problems = [f"what {who} sent is not in it" for who in lost]
    if not kept:
        return None, problems
    try:
        return sent.join([sent.from_octets(octets) for octets in kept if octets is not None]), problems
    except ResultsError as error:
        return None, [*problems, str(error)]

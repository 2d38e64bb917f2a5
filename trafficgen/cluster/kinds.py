"""What a cluster can run, and all in which one kind of run differs from another.

Takes     a resolved plan of mail to send, or a plan of users of mailboxes
Gives     a `KindOfRun`: its shards, what results of them are closed with, how it is shown while it goes on
Not here  one shard on its host (shard_process), how all are run (coordinator)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial, reduce
from typing import Any

from trafficgen.cluster.words import ShardProgress
from trafficgen.engine.account import PHASES as SEND_PHASES
from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.host.version import VERSION
from trafficgen.mailbox.operations import PHASES as MAILBOX_PHASES
from trafficgen.mailbox.plan import MailboxPlan
from trafficgen.measure.delivered import MailboxCounts
from trafficgen.measure.generator import Host
from trafficgen.measure.phases import PhaseTable
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import Snapshot
from trafficgen.plan import Corpus, Plan, Shard
from trafficgen.runs.mailbox import DOMAIN
from trafficgen.runs.run import Progress


@dataclass(frozen=True, slots=True)
class ClusterProgress:
    """How the whole run is going: everything so far, the time since it began, what each shard said last."""

    snapshot: Snapshot
    elapsed_ns: int
    said: Sequence[ShardProgress]
    started_at: datetime


@dataclass(frozen=True, slots=True)
class KindOfRun:
    """One run. `shards`: the plan of each. `planned_by_all`: messages of all; None where only time ends it. `grace_ns`:
    for shards to end in good order. `first_error_ends`: an error that one shard meets ends all. `show` may be nobody's
    wish. The rest is what results are closed with."""

    plan: Plan | MailboxPlan
    shards: Sequence[Plan | MailboxPlan]
    phases: PhaseTable
    domains: Sequence[tuple[str, float]]
    targets: Sequence[tuple[str, float]]
    planned_by_all: int | None
    grace_ns: int
    first_error_ends: bool
    show: Callable[[ClusterProgress], None] | None

    @property
    def of_mailboxes(self) -> bool:
        return isinstance(self.plan, MailboxPlan)

    @property
    def makes_files(self) -> bool:
        """Whether hosts may have to make a corpus first, which takes as long as it takes."""
        content = self.plan.workload.content if isinstance(self.plan, Plan) else None
        return isinstance(content, Corpus) and content.recipe is not None

    def planned_by(self, plan: Plan | MailboxPlan) -> int | None:
        """Messages of one shard; None where only time ends it."""
        return ResolvedPlan.of(plan).planned if isinstance(plan, Plan) else None

    def results(self, plan: Plan | MailboxPlan, snapshot: Snapshot, **given: Any) -> Results:
        """`Results.build` of the whole run, or of one shard, with what all runs of this kind have in common."""
        return Results.build(
            plan, snapshot, phases=self.phases, domains=self.domains, targets=self.targets, host=Host.here(), **given
        )


def of_sending(
    resolved: ResolvedPlan, count: int, progress: Callable[[Progress], None] | None, *, begins: bool
) -> KindOfRun:
    """Mail to send. `begins`: keep when each message began."""
    plan = replace(resolved.plan, keep_begins=begins or resolved.plan.keep_begins)

    def show(now: ClusterProgress) -> None:
        assert progress is not None
        planned = sum(one.planned for one in now.said)
        progress(Progress(now.snapshot, now.elapsed_ns, max(planned, now.snapshot.started)))

    return KindOfRun(
        plan,
        [replace(plan, shard=Shard(number, count)) for number in range(1, count + 1)],
        SEND_PHASES,
        resolved.weighted_domains,
        plan.target_shares,
        resolved.planned_by_all,
        plan.grace_ns,
        not plan.keep_going,
        show if progress else None,
    )


def of_mailboxes(
    plan: MailboxPlan, count: int, progress: Callable[[Snapshot, int, Callable[[], Results]], None] | None
) -> KindOfRun:
    """Users of mailboxes; `progress` as `run_mailbox` tells it."""

    def show(now: ClusterProgress) -> None:
        assert progress is not None
        progress(now.snapshot, now.elapsed_ns, partial(so_far, now))

    def so_far(now: ClusterProgress) -> Results:
        counts = mailboxes_of(now.said)
        return kind.results(
            plan,
            now.snapshot,
            planned=now.snapshot.started + counts.dropped,
            not_started=counts.dropped,
            started_at=now.started_at,
            duration_ns=now.elapsed_ns,
            tool_version=VERSION,
            mailboxes=counts,
            complete=False,
        )

    kind = KindOfRun(
        plan,
        [replace(plan, shard=Shard(number, count)) for number in range(1, count + 1)],
        MAILBOX_PHASES,
        ((DOMAIN, 1.0),),
        (),
        None,
        plan.final_ns,
        plan.first_error_ends,
        show if progress else None,
    )
    return kind


def mailboxes_of(said: Sequence[ShardProgress]) -> MailboxCounts:
    """Of all shards that have said something of it."""
    return reduce(MailboxCounts.__add__, (one.mailboxes for one in said if one.mailboxes), MailboxCounts.none())

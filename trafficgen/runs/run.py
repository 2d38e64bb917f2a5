"""One run, from a plan to its results: guard, sink, engine, proof.

Takes     a `Plan`, or one already resolved; optionally who wants to see how it goes
Gives     `Results`
Fails     PlanError when a file or the guard refuses, SetupError when it cannot begin; what servers do is in the results
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from trafficgen import workload
from trafficgen.clock import now_ns
from trafficgen.engine.account import PHASES
from trafficgen.engine.address import Route, exchangers, resolve, routes
from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.engine.run_account import RunAccount, stopped_after_ns
from trafficgen.engine.supervisor import Supervisor
from trafficgen.engine.turns import TurnControl
from trafficgen.errors import StoppedError, TrafficgenError
from trafficgen.host.limits import cores, raise_open_files
from trafficgen.host.output import described
from trafficgen.host.signals import CountedSignals, RunControl
from trafficgen.host.version import VERSION
from trafficgen.measure.delivered import Delivery, LedgerCounts
from trafficgen.measure.generator import Host, ShardRecord
from trafficgen.measure.health import Caveat, CaveatKind
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import Snapshot
from trafficgen.outcomes import StoppedBy
from trafficgen.plan import Plan
from trafficgen.proof import waiting
from trafficgen.proof.comparison import compare
from trafficgen.proof.received import Received
from trafficgen.proof.sent import Manifest, SentRecords, check_writable
from trafficgen.proof.waiting import DeliveryWait
from trafficgen.runs import shards
from trafficgen.sink.embedded import EmbeddedSink
from trafficgen.workload import recipes

_Made = TypeVar("_Made")


class Progress(NamedTuple):
    """How a run is going: everything so far, and the time since it began.

    `planned` messages; with a duration alone, those that sessions have got so far.
    """

    snapshot: Snapshot
    elapsed_ns: int
    planned: int


def run(
    plan: Plan | ResolvedPlan,
    *,
    progress: Callable[[Progress], None] | None = None,
    notice: Callable[[str], None] | None = None,
    trace: Callable[[str], None] | None = None,
    manifest: Path | None = None,
    delivery_wait: DeliveryWait | None = None,
    control: RunControl | None = None,
    turns: TurnControl | None = None,
) -> Results:
    """Send what the plan says and account for every message.

    `progress` is called a few times a second; `notice` with one line about things worth knowing before the start,
    such as the addresses used; `trace`, or else `notice`, with each line of the sessions that the plan has shown.
    Without a target the mail goes to a sink in a process of its own, and the results hold the proof. A first Ctrl-C
    ends the run in good order, a second one at once; there are results either way.
    `manifest` is a file for what was sent, message by message, to hold a sink's ledger against.
    `control` is a handle to stop the run with, from any thread; without it, only signals do, in the main thread.
    With `delivery_wait`, the mail goes through a server to our sink: wait until all has arrived or Ctrl-C ends the
    waiting, and the results hold the proof as well.
    With `turns`, messages start only while that says so: two runs may then share a machine and take turns.
    """
    resolved = ResolvedPlan.of(plan)
    plan = resolved.plan
    shards.check_start(plan.shard)
    say = notice or (lambda _line: None)
    recipes.make(plan.workload.content, say)
    files = shards.files_of(plan)
    control = control or RunControl()
    if manifest is not None:
        check_writable(manifest)
    if manifest is not None or delivery_wait is not None:
        plan = replace(plan, keep_begins=True)
    with CountedSignals(control), ExitStack() as stack:
        sink = delivered_to = None
        more: list[Route] = []
        if plan.exchangers is not None:
            plan, (route, *more) = exchangers(resolved)
            for found in (route, *more):
                say(f"mail for {found.name} goes to {found}")
        elif plan.target is None:
            sink = stack.enter_context(EmbeddedSink(sessions=resolved.sessions, ledger=plan.ledger, control=control))
            route = resolve(sink.address)
            say(f"no --target given: sending to the embedded sink at {route}")
        else:
            route, *more = routes(plan)
            if delivery_wait is not None:
                delivered_to = waiting.sinks_of(delivery_wait, plan)
            for one, found in zip(plan.targets, (route, *more), strict=True):
                say(f"target {one.target} is at {found}")
        with_corpus = stack.enter_context(workload.prepared(plan, say))
        workers = plan.workers or default_workers(resolved.sessions, embedded=sink is not None)
        started_at = shards.time_zero(plan.shard) or datetime.now(UTC)
        resolved = resolved.with_plan(with_corpus).at(route, workers, tuple(more)).signed(format_datetime(started_at))
        supervisor = Supervisor(
            resolved,
            date=format_datetime(started_at),
            on_progress=lambda *now: progress(Progress(*now)) if progress else None,
            say=say,
            show=trace or say,
            stop=control,
            turns=turns,
        )
        account = supervisor.run()
        sent = control.count
        parts = _Parts(say, _caveats(account))
        if manifest is not None:
            parts.make(
                CaveatKind.OUTPUT_FAILED,
                "a file that was asked for is missing",
                lambda: _manifest(resolved, account).write(manifest),
            )
        ledger = delivery = None
        if sink is not None:
            ledger = parts.proof(lambda: _proof(resolved, account, sink, parts.caveats))
        if delivery_wait is not None and delivered_to is not None:
            sent_on = lambda: waiting.wait(  # noqa: E731
                delivered_to,
                delivery_wait.patience_ns,
                _manifest(resolved, account),
                say,
                control,
                account.snapshot.began_ns,
            )
            delivered = parts.proof(lambda: control.allow(sent_on, "the delivery of mail"))
            ledger, delivery = delivered or (None, None)
        if control.count != sent:
            after_ns = stopped_after_ns(account.began_ns, now_ns())
            account = replace(account, stopped_by=StoppedBy.INTERRUPTED, stopped_after_ns=after_ns)
        record = shards.record(plan.shard, resolved.planned_by_all, account.snapshot, files)
        return _results(resolved.with_plan(plan), account, started_at, ledger, delivery, parts.caveats, record)


class _Parts:
    """What belongs to a run besides its account. A part that cannot be made is a caveat, never the end of the run."""

    def __init__(self, say: Callable[[str], None], caveats: list[Caveat]) -> None:
        self.caveats = caveats
        self._say = say

    def proof(self, part: Callable[[], _Made]) -> _Made | None:
        """What says what arrived."""
        return self.make(CaveatKind.PROOF_MISSING, "what was delivered is not known", part)

    def make(self, kind: CaveatKind, missing: str, part: Callable[[], _Made]) -> _Made | None:
        """What `part` gives; None, and a caveat, when it cannot."""
        try:
            return part()
        except Exception as error:
            what = str(error) if isinstance(error, TrafficgenError) else described(error)
            text = f"{missing}: {what}"
            self._say(text)
            self.caveats.append(Caveat.of(kind, text))
            return None


def default_workers(sessions: int, *, embedded: bool) -> int:
    """The cores this process may use, one of them left for the embedded sink; more where a process holds too few."""
    return max(cores() - embedded, -(-sessions // max(raise_open_files(sessions), 1)), 1)


def _caveats(account: RunAccount) -> list[Caveat]:
    """What only the run itself knows of how it went."""
    found = [Caveat.of(CaveatKind.ACCOUNT_DIFFERS, difference) for difference in account.differences]
    if ended := account.ended_workers:
        who = f"worker{'s' * (len(ended) > 1)} {', '.join(map(str, ended))}"
        found.append(Caveat.of(CaveatKind.WORKER_ENDED, f"{who} did not end in time and had to be ended"))
    return found


def _proof(
    resolved: ResolvedPlan, account: RunAccount, sink: EmbeddedSink, caveats: list[Caveat]
) -> LedgerCounts | None:
    """The sink's ledger held against the account, and what came over the wire in any case."""
    # The sink enters a message before it answers: whatever was accepted is in its ledger by now.
    try:
        received, arrivals = sink.received(resolved.plan.run_id)
    except StoppedError:
        if account.snapshot.started:
            raise
        received, arrivals = 0, Received()  # of nothing that was begun, nothing has arrived
    accepted, in_doubt = account.snapshot.accepted, account.snapshot.in_doubt
    in_doubt += account.doubtful.size
    if not accepted <= received <= accepted + in_doubt:
        text = f"messages accepted: {accepted:,}, tries in doubt: {in_doubt:,}; that came to the sink: {received:,}"
        caveats.append(Caveat.of(CaveatKind.ACCOUNT_DIFFERS, text))
    if not resolved.plan.ledger:
        return None
    recipients = _recipients(resolved, account, account.accepted)
    return compare(
        accepted=account.accepted,
        recipients=recipients,
        in_doubt=account.in_doubt,
        in_doubt_recipients=_recipients(resolved, account, account.in_doubt),
        arrived=arrivals.numbers,
        arrived_recipients=arrivals.counts,
        damaged=arrivals.damaged,
        doubtful=account.doubtful,
        doubtful_recipients=_recipients(resolved, account, account.doubtful),
    )


def _manifest(resolved: ResolvedPlan, account: RunAccount) -> Manifest:
    plan = resolved.plan
    top = max((int(part.max()) for part in (account.accepted, account.in_doubt) if part.size), default=0)
    began_ns = np.zeros(top + 1, np.int64)
    began_ns[account.begins[0]] = account.begins[1]

    def sent_records(numbers: NDArray[np.int64]) -> SentRecords:
        recipients, digests = _recipients(resolved, account, numbers), _digests(resolved, account, numbers)
        return SentRecords(numbers, recipients, began_ns[numbers], digests, workload.mendable(plan, numbers))

    planned = max(account.planned, top + 1)  # numbers of a shard are those of the whole run
    in_doubt = np.sort(np.concatenate([account.in_doubt, account.doubtful]))
    return Manifest.here(plan.run_id, planned, sent_records(account.accepted), sent_records(in_doubt))


def _digests(resolved: ResolvedPlan, account: RunAccount, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Who the recipients of each of these messages are; -1 where that is not known.

    One recipient has nobody to be mixed up with, and which ones of several refused a message is not written down.
    """
    if max(count for count, _ in resolved.plan.workload.recipients_per_message) == 1 or not numbers.size:
        return np.full(numbers.size, -1, np.int64)
    digests = resolved.addressed.digests_of(0, int(numbers.max()) + 1)[numbers]
    digests[np.isin(numbers, np.array(list(account.partial), np.int64))] = -1
    return digests


def _recipients(resolved: ResolvedPlan, account: RunAccount, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many recipients the server took each of these messages for."""
    counts = resolved.plan.workload.recipients_per_message
    if len(counts) == 1:
        recipients = np.full(numbers.size, counts[0][0], np.int64)
    else:
        top = int(numbers.max()) + 1 if numbers.size else 0
        recipients = resolved.addressed.recipients_of(0, top)[numbers]
    if account.partial:
        partial = np.array(sorted(account.partial.items()), np.int64)
        where = np.searchsorted(partial[:, 0], numbers).clip(max=len(partial) - 1)
        recipients = np.where(partial[where, 0] == numbers, partial[where, 1], recipients)
    return recipients


def _results(
    resolved: ResolvedPlan,
    account: RunAccount,
    started_at: datetime,
    ledger: LedgerCounts | None,
    delivery: Delivery | None,
    caveats: Sequence[Caveat],
    record: Sequence[ShardRecord],
) -> Results:
    snapshot = account.snapshot
    first_ns = snapshot.first_start_ns or account.began_ns
    last_ns = snapshot.last_end_ns or now_ns()
    return Results.build(
        resolved.plan,
        snapshot,
        phases=PHASES,
        domains=resolved.weighted_domains,
        planned=account.planned,
        not_started=account.not_started,
        started_at=started_at,
        duration_ns=last_ns - first_ns,
        host=Host.here(),
        tool_version=VERSION,
        stopped_by=account.stopped_by,
        stopped_after_ns=account.stopped_after_ns,
        addresses=[str(address) for route in resolved.routes for address in route.addresses],
        targets=resolved.plan.target_shares,
        ledger=ledger,
        delivery=delivery,
        lost_workers=account.lost_workers,
        caveats=caveats,
        shards=record,
        sessions=resolved.sessions_of_all,
    )

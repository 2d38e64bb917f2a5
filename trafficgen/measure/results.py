"""One run, for good: the document that every report, comparison and verdict is made from.

Takes     the plan, the last snapshot, and what only the caller knows (names, dates, the sink's ledger)
Gives     a frozen `Results`; one JSON file, schema version 1 (`traffic-gen schema results`, docs/reference/results.md)
Promises  planned = started + not_started and started = the sum of all outcomes, or there are no results
Fails     AccountingError when our own sums do not add up; ResultsError when a file is missing or damaged
Not here  words for people (report), the comparison of two runs
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

from trafficgen.clock import NS_PER_S
from trafficgen.errors import ExitCode, ResultsError, TrafficgenError
from trafficgen.host.machine_clock import boot_id, wall_offset_ns
from trafficgen.measure import soundness
from trafficgen.measure.codec import from_plain, parse, schema_of, to_plain
from trafficgen.measure.commands import CommandAccount
from trafficgen.measure.counts import (
    CommandCounts,
    Domain,
    FailureCount,
    Latency,
    MessageCounts,
    Rate,
    RecipientCounts,
    ReplyCount,
    TargetCounts,
    TlsCount,
)
from trafficgen.measure.delivered import Delivery, LedgerCounts, MailboxCounts
from trafficgen.measure.generator import Generator, Host, Run, ShardRecord, WorkerHealth
from trafficgen.measure.health import UNFULFILLED, Caveat, CaveatKind, assess, started_per_s, underfed
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.observed import RunClock
from trafficgen.measure.phases import PhaseTable
from trafficgen.measure.results_values import ResultsValues
from trafficgen.measure.snapshot import Snapshot, latest
from trafficgen.outcomes import Outcome, StoppedBy
from trafficgen.plan import OpenLoop

SCHEMA_VERSION: Final = 1


class AccountingError(TrafficgenError):
    """Our own sums do not add up. Always a bug of ours."""


class Asked(Protocol):
    """What results are told of what was asked for; a `Plan` is one."""

    @property
    def run_id(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def destination(self) -> str | None: ...
    @property
    def load(self) -> OpenLoop | None: ...
    @property
    def max_messages(self) -> int | None: ...
    @property
    def duration_ns(self) -> int | None: ...
    def to_dict(self) -> dict[str, Any]: ...


_OF_ITSELF: Final = (StoppedBy.FINISHED, StoppedBy.DEADLINE)

_UNFINISHED: Final = Caveat.of(CaveatKind.UNFINISHED, "the run has not ended: these are its results so far")


@dataclass(frozen=True, slots=True)
class Results(ResultsValues):
    """One run. Times in ns, sizes in octets, rates a second unless a name says otherwise; docs/reference/results.md."""

    @classmethod
    def build(
        cls,
        plan: Asked,
        snapshot: Snapshot,
        *,
        phases: PhaseTable,
        domains: Sequence[tuple[str, float]],
        planned: int,
        not_started: int,
        started_at: datetime,
        duration_ns: int,
        host: Host,
        tool_version: str,
        stopped_by: StoppedBy = StoppedBy.FINISHED,
        stopped_after_ns: int | None = None,
        addresses: Sequence[str] = (),
        targets: Sequence[tuple[str, float]] = (),
        command: Sequence[str] | None = None,
        ledger: LedgerCounts | None = None,
        delivery: Delivery | None = None,
        mailboxes: MailboxCounts | None = None,
        lost_workers: Mapping[int, str] = MappingProxyType({}),
        caveats: Sequence[Caveat] = (),
        shards: Sequence[ShardRecord] = (),
        complete: bool = True,
        stolen_share: float = 0.0,
        ceiling_share: float | None = None,
        sessions: int | None = None,
    ) -> "Results":
        """Close the account of a run.

        `phases`: what the recorders were given. `domains`: (name, wanted share 0 to 1) by domain index.
        `planned` and `not_started` count messages.
        `started_at` is an aware date. `addresses`: what the target resolved to. `targets`: where there are
        several, each with its wanted share of sessions, in the snapshot's order. `lost_workers`: numbers of workers
        that died, with their last words. `caveats`: what only the run itself knows. `shards`: see the field,
        `stopped_after_ns`: see `Run`. `sessions`: see `assess`.
        AccountingError when the equations do not hold.
        """
        _check_account(snapshot, planned, not_started, len(domains))
        wanted_per_s = float(plan.load.rate_per_s) if plan.load and not plan.load.stages else None
        if wanted_per_s is not None and shards:
            wanted_per_s = wanted_per_s * len(shards) / shards[0].of
        found = assess(
            snapshot,
            wanted_per_s=wanted_per_s,
            lost_workers=lost_workers,
            dropped_arrivals=not_started if complete and plan.load and stopped_by in _OF_ITSELF else 0,
            stolen_share=stolen_share,
            ceiling_share=ceiling_share,
            sessions=sessions,
        )
        caveats = (*(() if complete else (_UNFINISHED,)), *caveats, *found)
        return cls(
            schema_version=SCHEMA_VERSION,
            complete=complete,
            valid=not any(caveat.invalidates for caveat in caveats),
            stopped_by=stopped_by if complete else StoppedBy.UNFINISHED,
            run=Run(
                id=plan.run_id,
                seed=plan.seed,
                started_at=started_at.astimezone(UTC).isoformat(timespec="milliseconds"),
                duration_s=duration_ns / NS_PER_S,
                last_end_s=_last_end_s(snapshot, duration_ns),
                tool_version=tool_version,
                target=plan.destination,
                addresses=tuple(addresses),
                model="open" if snapshot.open_loop else "closed",
                command=tuple(command) if command is not None else None,
                clock=RunClock(boot_id(), snapshot.began_ns, wall_offset_ns()) if snapshot.workers else None,
                stopped_after_s=None if stopped_after_ns is None else stopped_after_ns / NS_PER_S,
            ),
            plan=to_plain(plan.to_dict()),
            host=host,
            messages=MessageCounts.of(snapshot.outcomes, snapshot.octets, not_started),
            rate=_rate(snapshot, wanted_per_s, _sent_for_ns(plan, snapshot, stopped_by, not_started)),
            latency_ns={name: Latency.of(snapshot.histograms.get(name, Histogram())) for name in phases.stretches},
            replies=tuple(
                ReplyCount(phase, code, enhanced, tally.count, tally.example)
                for (phase, code, enhanced), tally in snapshot.replies.items()
            ),
            failures=tuple(
                FailureCount(phase, reason, tally.count, tally.example)
                for (phase, reason), tally in snapshot.failures.items()
            ),
            domains=_domains(snapshot, domains),
            ledger=ledger,
            delivery=delivery,
            generator=_generator(snapshot, caveats, lost_workers),
            caveats=caveats,
            timeline=tuple(snapshot.timeline.intervals()),
            histograms=_used({name: snapshot.histograms.get(name) for name in phases.stretches}),
            domain_histograms={domains[index][0]: timed for index, timed in snapshot.domain_latencies.items()},
            phases=dict(phases.phases),
            commands={
                name: CommandCounts.of(snapshot.commands.get(name, CommandAccount()), duration_ns / NS_PER_S)
                for name in phases.commands
            },
            command_histograms=_used({name: account.latency for name, account in snapshot.commands.items()}),
            mailboxes=mailboxes,
            recipients=_recipients(snapshot),
            targets=tuple(
                TargetCounts.of(name, share, found)
                for (name, share), found in zip(targets, snapshot.targets, strict=bool(snapshot.targets))
            ),
            target_histograms={
                name: found.latency
                for (name, _), found in zip(targets, snapshot.targets, strict=False)
                if found.outcomes[Outcome.ACCEPTED]
            },
            retries=snapshot.retries,
            idle=snapshot.idle,
            tls=tuple(
                TlsCount(version, cipher, sessions, resumed)
                for (version, cipher), (sessions, resumed) in sorted(snapshot.protected.items())
            ),
            shards=tuple(shards),
        )

    def with_caveats(self, caveats: tuple[Caveat, ...]) -> "Results":
        """The same run with these caveats, and what follows from them for the generator."""
        limits = tuple(caveat.text for caveat in caveats if caveat.limits_generator)
        generator = replace(self.generator, limited=bool(limits), sentences=limits)
        return replace(self, caveats=caveats, generator=generator)

    def exit_code(self, *, keep_going: bool) -> ExitCode:
        """What the process that made this run ends with.

        A message that the sink or a mailbox should have and has not, has twice, or has damaged weighs most; then a
        measurement that is not valid, and thresholds over one that the generator limited; then a threshold that
        failed; then an interruption; then, without `keep_going`, any message or command that was not accepted, and
        any session of a user of mailboxes that did not end in good order; with it, and without thresholds that say
        what is wanted, messages of which not one was accepted; then a proof or a file that was asked for and is not
        there.
        """
        if (self.ledger and not self.ledger.clean) or (self.mailboxes and not self.mailboxes.clean):
            return ExitCode.VERDICT_FAILED
        if self.verdict_code is not ExitCode.DONE:
            return self.verdict_code
        if self.stopped_by is StoppedBy.INTERRUPTED:
            return ExitCode.INTERRUPTED
        errors = self.messages.unsuccessful + sum(command.errors for command in self.commands.values())
        if self.mailboxes:  # nobody may have come so far as to say a command
            errors += sum(failure.count for failure in self.failures)
        if self.stopped_by is StoppedBy.FIRST_ERROR or (errors and not keep_going):
            return ExitCode.FAILED
        if self.messages.planned and not (self.messages.accepted or self.thresholds):
            return ExitCode.FAILED
        if any(caveat.kind in UNFULFILLED for caveat in self.caveats):
            return ExitCode.FAILED
        return ExitCode.DONE

    @property
    def verdict_code(self) -> ExitCode:
        """What its thresholds alone come to: 0, 99, or 121 when the measurement is not valid."""
        if self.not_judged:
            return ExitCode.NOT_VALID
        return ExitCode.DONE if all(one.passed for one in self.thresholds) else ExitCode.VERDICT_FAILED

    @property
    def not_judged(self) -> str | None:
        """Why its thresholds say nothing, in a few words; None when they do.

        Thresholds that hold say nothing about a load that was not offered; one that fails under less fails under more.
        """
        if not self.complete:
            return "the run did not finish"
        if not self.valid:
            return "part of the measurement was lost"
        if self.thresholds and self.generator.limited:
            return "the generator was the limit"
        share_missed = self.messages.not_started / max(self.messages.planned, 1)
        if self.thresholds and all(one.passed for one in self.thresholds) and underfed(self.caveats, share_missed):
            return "less load was offered than was asked for"
        return None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` makes the same results of them."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_dict(cls, plain: Any) -> "Results":
        """What `to_dict` gave. ResultsError that names the first wrong value."""
        version = plain.get("schema_version") if isinstance(plain, dict) else None
        if version != SCHEMA_VERSION:
            raise ResultsError(f"expected results of schema version {SCHEMA_VERSION}, got {str(version)[:60]!r}")
        try:
            results = from_plain(cls, plain)
            soundness.check(results)
        except ValueError as error:
            raise ResultsError(f"damaged results: {error}") from error
        # Version 0.1.0 wrote "finished" and "valid" into the file of a run that went on.
        return results if results.complete else replace(results, valid=False, stopped_by=StoppedBy.UNFINISHED)

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """What a results file may hold, as JSON Schema."""
        return schema_of(cls, f"Results of one traffic-gen run, version {SCHEMA_VERSION}")

    def to_json(self) -> str:
        """JSON text: a line for each key, and one for each entry of the long lists, so that `grep` and `diff` work."""
        lines = [f"{json.dumps(key)}: {_one_line_each(value)}" for key, value in self.to_dict().items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"


def read_results(path: Path) -> Results:
    """The results in the file at `path`. ResultsError in one line when it is missing, damaged or of another version."""
    try:
        plain = parse(path.read_bytes())
    except OSError as error:
        raise ResultsError(f'cannot read results from "{path}": {error.strerror}') from error
    except ValueError as error:
        raise ResultsError(f'expected a results file, got "{path}" which is not JSON: {error}') from error
    try:
        return Results.from_dict(plain)
    except ResultsError as error:
        raise ResultsError(f'"{path}": {error}') from error


def _one_line_each(value: Any) -> str:
    if isinstance(value, list) and value:
        return "[\n  " + ",\n  ".join(json.dumps(item, allow_nan=False) for item in value) + "\n]"
    if isinstance(value, dict) and value:
        items = (f"{json.dumps(key)}: {json.dumps(item, allow_nan=False)}" for key, item in value.items())
        return "{\n  " + ",\n  ".join(items) + "\n}"
    return json.dumps(value, allow_nan=False)


def _check_account(snapshot: Snapshot, planned: int, not_started: int, domains: int) -> None:
    if planned != snapshot.started + not_started or min(planned, not_started, *snapshot.outcomes) < 0:
        raise AccountingError(
            f"expected planned = started + not_started, got {planned} = {snapshot.started} + {not_started}"
        )
    if snapshot.domains_started.size > domains:
        raise AccountingError(f"expected {domains} domains, got messages to {snapshot.domains_started.size}")


def _used(histograms: Mapping[str, Histogram | None]) -> dict[str, Histogram]:
    """Without the empty ones."""
    return {name: histogram for name, histogram in histograms.items() if histogram and histogram.count}


def _recipients(snapshot: Snapshot) -> RecipientCounts | None:
    if not snapshot.recipients:
        return None
    counts = sum(snapshot.recipients), *snapshot.recipients, snapshot.partly_accepted
    return RecipientCounts(*counts)


def _last_end_s(snapshot: Snapshot, duration_ns: int) -> float | None:
    """See `Run`. Users of mailboxes go on when the last message has come: all of their time counts."""
    if not snapshot.workers or snapshot.last_end_ns is None:
        return None
    return max(snapshot.last_end_ns - snapshot.began_ns, duration_ns) / NS_PER_S


def _sent_for_ns(plan: Asked, snapshot: Snapshot, stopped_by: StoppedBy, not_started: int) -> int:
    """How long mail was sent; 0 when none was. See `counts.Rate`."""
    if snapshot.first_start_ns is None:
        return 0
    begun_ns, ended_ns = snapshot.first_start_ns, latest(snapshot.last_start_ns, snapshot.last_answered_ns)
    scheduled_ns = plan.load.fills_ns(plan.max_messages, plan.duration_ns) if plan.load else None
    more_to_send = not_started > 0 or (plan.load is None and plan.max_messages is None)
    if stopped_by is StoppedBy.DEADLINE and plan.duration_ns is not None and more_to_send:
        ended_ns = latest(ended_ns, snapshot.began_ns + plan.duration_ns)
    elif stopped_by in _OF_ITSELF and scheduled_ns is not None and not not_started:
        begun_ns = min(begun_ns, snapshot.began_ns)
        ended_ns = latest(ended_ns, snapshot.began_ns + scheduled_ns)
    assert ended_ns is not None
    return ended_ns - begun_ns


def _rate(snapshot: Snapshot, wanted_per_s: float | None, sent_for_ns: int) -> Rate:
    per_s = NS_PER_S / sent_for_ns if sent_for_ns > 0 else 0.0
    return Rate(
        messages_per_s=snapshot.accepted * per_s,
        messages_per_hour=snapshot.accepted * per_s * 3600,
        bytes_per_s=snapshot.octets * per_s,
        started_per_s=started_per_s(snapshot) if snapshot.started > 1 else snapshot.started * per_s,
        wanted_per_s=wanted_per_s,
        over_s=sent_for_ns / NS_PER_S,
    )


def _domains(snapshot: Snapshot, domains: Sequence[tuple[str, float]]) -> dict[str, Domain]:
    started, accepted = snapshot.domains_started.tolist(), snapshot.domains_accepted.tolist()
    missing = [0] * (len(domains) - len(started))
    counts = zip(domains, started + missing, accepted + missing, strict=True)
    timed = snapshot.domain_latencies
    return {
        name: Domain(share, begun, taken, Latency.of(timed[index]) if index in timed else None)
        for index, ((name, share), begun, taken) in enumerate(counts)
    }


def _generator(snapshot: Snapshot, caveats: Sequence[Caveat], lost_workers: Collection[int]) -> Generator:
    return Generator(
        limited=any(caveat.limits_generator for caveat in caveats),
        sentences=tuple(caveat.text for caveat in caveats if caveat.limits_generator),
        workers=tuple(WorkerHealth.of(worker) for worker in snapshot.workers),
        lost_workers=tuple(lost_workers),
        sessions_opened=snapshot.sessions_opened,
    )

"""One account of several generators that sent at the same time.

Takes     results of runs that overlap in time and sent the same kind of mail
Gives     one `Results`: every count and histogram added up, seconds aligned by the wall clock
Refuses   with ResultsError runs that did not overlap, or that did different things: their sum would describe no run
Exact     counts, histograms, and the timeline's; percentiles are computed anew from the sums, never averaged
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, replace
from datetime import datetime, timedelta
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

from trafficgen.errors import ResultsError
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
from trafficgen.measure.delivered import LedgerCounts, MailboxCounts
from trafficgen.measure.generator import Generator
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import added
from trafficgen.measure.timeline import Interval, Timeline
from trafficgen.outcomes import StoppedBy

if TYPE_CHECKING:
    from trafficgen.measure.snapshot import FailureKey, ReplyKey

_SHARED: Final = ("workload", "session")
"""What runs have in common when they are parts of one load."""


def merge_results(parts: Sequence[Results]) -> Results:
    """The results of one run by all generators together."""
    if not parts:
        raise ResultsError("expected results to merge, got none")
    ordered = sorted(parts, key=lambda part: part.run.started_at)
    _check(ordered)
    first = ordered[0]
    begun = _begun(first)
    span_s = max((_ended(part) - begun).total_seconds() for part in ordered)
    messages = messages_of_all(part.messages for part in ordered)
    histograms = histograms_of_all(part.histograms for part in ordered)
    of_commands = histograms_of_all(part.command_histograms for part in ordered)
    timed = histograms_of_all(part.domain_histograms for part in ordered)
    of_targets = histograms_of_all(part.target_histograms for part in ordered)
    return replace(
        first,
        complete=all(part.complete for part in ordered),
        valid=all(part.valid for part in ordered),
        stopped_by=stopped_by_of_all(ordered),
        run=replace(
            first.run,
            duration_s=span_s,
            stopped_after_s=stopped_after_of_all(ordered),
            addresses=tuple(dict.fromkeys(address for part in ordered for address in part.run.addresses)),
        ),
        plan=_plan(ordered),
        messages=messages,
        rate=_rate(messages, _sent_for_s(ordered), ordered),
        latency_ns={
            name: Latency.of(histograms[name]) if name in histograms else None
            for name in dict.fromkeys(name for part in ordered for name in part.latency_ns)
        },
        replies=_replies(ordered),
        failures=_failures(ordered),
        domains=_domains(ordered, messages.started, timed),
        ledger=ledger_of_all(ordered),
        generator=generator_of_all(ordered),
        caveats=tuple(caveat for part in ordered for caveat in part.caveats),
        timeline=_timeline(ordered),
        histograms=histograms,
        domain_histograms=timed,
        window=None,
        thresholds=(),
        delivery=None,  # each waited for its own
        phases={name: words for part in reversed(ordered) for name, words in part.phases.items()},
        commands=commands_of_all([part.commands for part in ordered], of_commands, span_s),
        command_histograms=of_commands,
        mailboxes=mailboxes_of_all(ordered),
        recipients=_recipients([part.recipients for part in ordered]),
        targets=_targets(ordered, of_targets),
        target_histograms=of_targets,
        retries=added(part.retries for part in ordered),
        idle=added(part.idle for part in ordered),
        tls=_tls(ordered),
    )  # fmt: skip


def _targets(parts: Sequence[Results], histograms: Mapping[str, Histogram]) -> tuple[TargetCounts, ...]:
    """By name. Shares are of all sessions of all parts: wanted as they were, by each part's sessions."""
    every = [one for part in parts for one in part.targets]
    sessions = max(sum(one.sessions for one in every), 1)
    merged = []
    for name in dict.fromkeys(one.target for one in every):
        mine = [one for one in every if one.target == name]
        wanted = sum(
            one.weight * sum(other.sessions for other in part.targets)
            for part in parts for one in part.targets if one.target == name
        )  # fmt: skip
        counts = ("sessions", "started", "accepted", "rejected_temporary", "rejected_permanent", "failed", "in_doubt")
        sums = {field: sum(getattr(one, field) for one in mine) for field in counts}
        latency = Latency.of(histograms[name]) if name in histograms else None
        merged.append(TargetCounts(target=name, weight=wanted / sessions, latency_ns=latency, **sums))
    return tuple(merged)


def mailboxes_of_all(parts: Sequence[Results]) -> MailboxCounts | None:
    """Together; None when no part has any."""
    counts = [part.mailboxes for part in parts if part.mailboxes is not None]
    return reduce(MailboxCounts.__add__, counts) if counts else None


def stopped_by_of_all(parts: Sequence[Results]) -> StoppedBy:
    """A part that did not finish outweighs all others; then the first that was stopped."""
    reasons = [part.stopped_by for part in parts]
    if not all(part.complete for part in parts):
        return StoppedBy.UNFINISHED
    return next((reason for reason in reasons if reason is not StoppedBy.FINISHED), StoppedBy.FINISHED)


def stopped_after_of_all(parts: Sequence[Results]) -> float | None:
    """When the last of those that were stopped was, in seconds since the first began; None where none was."""
    begun = min(map(_begun, parts))
    return max(
        ((_begun(part) - begun).total_seconds() + part.run.stopped_after_s
         for part in parts if part.run.stopped_after_s is not None),
        default=None,
    )  # fmt: skip


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
    return _begun(part) + timedelta(seconds=part.run.duration_s)


def _plan(parts: Sequence[Results]) -> Mapping[str, Any]:
    """The first's, with what adds up added up."""
    plan: dict[str, Any] = dict(parts[0].plan)
    for key in ("sessions", "max_messages"):
        numbers = [part.plan.get(key) for part in parts]
        plan[key] = sum(number for number in numbers if number) if all(numbers) else plan.get(key)
    if plan.get("load"):
        loads = [part.plan["load"] for part in parts]
        plan["load"] = dict(loads[0]) | {"rate_per_s": sum(load["rate_per_s"] for load in loads)}
        stages = [load.get("stages", []) for load in loads]
        if len({tuple(stage["duration_ns"] for stage in each) for each in stages}) == 1:
            plan["load"]["stages"] = [_stage(same) for same in zip(*stages, strict=True)]
    return plan


def _stage(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return dict(parts[0]) | {"rate_per_s": sum(part["rate_per_s"] for part in parts)}


def _recipients(parts: Sequence[RecipientCounts | None]) -> RecipientCounts | None:
    """None where messages have one each, which is the same in all parts."""
    known = [part for part in parts if part is not None]
    return RecipientCounts(*map(sum, zip(*map(astuple, known), strict=True))) if known else None


def messages_of_all(parts: Iterable[MessageCounts]) -> MessageCounts:
    columns = zip(*map(astuple, parts), strict=True)
    return MessageCounts(*map(sum, columns))


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


def histograms_of_all(parts: Iterable[Mapping[str, Histogram]]) -> dict[str, Histogram]:
    merged: dict[str, Histogram] = {}
    for part in parts:
        for name, histogram in part.items():
            merged[name] = merged[name] + histogram if name in merged else histogram
    return merged


def _replies(parts: Sequence[Results]) -> tuple[ReplyCount, ...]:
    merged: dict[ReplyKey, ReplyCount] = {}
    for reply in (reply for part in parts for reply in part.replies):
        key = reply.phase, reply.code, reply.enhanced
        merged[key] = replace(reply, count=reply.count + (merged[key].count if key in merged else 0))
    return tuple(merged.values())


def _failures(parts: Sequence[Results]) -> tuple[FailureCount, ...]:
    merged: dict[FailureKey, FailureCount] = {}
    for failure in (failure for part in parts for failure in part.failures):
        key = failure.phase, failure.reason
        merged[key] = replace(failure, count=failure.count + (merged[key].count if key in merged else 0))
    return tuple(merged.values())


def _tls(parts: Sequence[Results]) -> tuple[TlsCount, ...]:
    merged: dict[tuple[str, str], TlsCount] = {}
    for one in (one for part in parts for one in part.tls):
        before = merged.get((one.version, one.cipher), TlsCount(one.version, one.cipher, 0, 0))
        merged[one.version, one.cipher] = replace(
            one, sessions=before.sessions + one.sessions, resumed=before.resumed + one.resumed
        )
    return tuple(merged[kind] for kind in sorted(merged))


def commands_of_all(
    parts: Sequence[Mapping[str, CommandCounts]], timed: Mapping[str, Histogram], span_s: float
) -> dict[str, CommandCounts]:
    """By kind, together; `timed`: the histograms of all, `span_s`: how long it all took."""
    merged: dict[str, CommandCounts] = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        counts = [part[name] for part in parts if name in part]
        count, refused, failed = (sum(getattr(one, what) for one in counts) for what in ("count", "refused", "failed"))
        merged[name] = CommandCounts(
            count=count,
            refused=refused,
            failed=failed,
            bytes=sum(one.bytes for one in counts),
            per_s=(count - refused - failed) / span_s if span_s > 0 else 0.0,
            latency_ns=Latency.of(timed[name]) if name in timed else None,
        )
    return merged


def _domains(parts: Sequence[Results], started: int, timed: Mapping[str, Histogram]) -> dict[str, Domain]:
    """The wanted share of the whole is that of each part, by its part of all messages."""
    merged: dict[str, Domain] = {}
    for part in parts:
        part_share = part.messages.started / started if started else 1 / len(parts)
        for name, domain in part.domains.items():
            so_far = merged.get(name, Domain(0.0, 0, 0))
            merged[name] = Domain(
                so_far.weight + domain.weight * part_share,
                so_far.started + domain.started,
                so_far.accepted + domain.accepted,
                Latency.of(timed[name]) if name in timed else None,
            )
    return merged


def ledger_of_all(parts: Sequence[Results]) -> LedgerCounts | None:
    """None unless every part has one: half a proof is none."""
    ledgers = [part.ledger for part in parts if part.ledger]
    if len(ledgers) < len(parts):
        return None
    columns = zip(*map(astuple, ledgers), strict=True)
    return LedgerCounts(*map(sum, columns))


def generator_of_all(parts: Sequence[Results]) -> Generator:
    """Workers are numbered through."""
    generators = [part.generator for part in parts]
    workers = [worker for generator in generators for worker in generator.workers]
    offsets = [sum(len(before.workers) for before in generators[:index]) for index in range(len(generators))]
    return Generator(
        limited=any(generator.limited for generator in generators),
        sentences=tuple(sentence for generator in generators for sentence in generator.sentences),
        workers=tuple(replace(worker, worker=number) for number, worker in enumerate(workers)),
        lost_workers=tuple(
            worker + offset
            for generator, offset in zip(generators, offsets, strict=True)
            for worker in generator.lost_workers
        ),
        sessions_opened=sum(generator.sessions_opened for generator in generators),
    )


def _timeline(parts: Sequence[Results]) -> tuple[Interval, ...]:
    begun = _begun(parts[0])
    moved = (Timeline.of(part.timeline, shift_s=round((_begun(part) - begun).total_seconds())) for part in parts)

    def add(whole: Timeline, other: Timeline) -> Timeline:
        whole += other
        return whole

    return tuple(reduce(add, moved).intervals())

"""What must hold between the values of a results file, beyond the form of each.

Takes     `ResultsValues` each of the right form
Fails     ValueError in one line that names the place and what does not agree there
Not here  the form (document, and the types of each piece)
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from trafficgen.measure.codec import Amount, Count, Nanoseconds, from_plain
from trafficgen.measure.counts import CommandCounts, Latency, MessageCounts
from trafficgen.measure.delivered import LedgerCounts
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.phases import MESSAGE_STRETCHES, NAME
from trafficgen.measure.results_values import ResultsValues
from trafficgen.measure.timeline import MAX_BUCKETS, MAX_INTERVALS, Interval
from trafficgen.plan import Arrivals


@dataclass(frozen=True, slots=True)
class _StoredStage:
    duration_ns: Nanoseconds
    rate_per_s: Amount


@dataclass(frozen=True, slots=True)
class _StoredLoad:
    rate_per_s: Amount
    stages: tuple[_StoredStage, ...] = ()
    arrivals: Arrivals = Arrivals.CONSTANT


@dataclass(frozen=True, slots=True)
class _StoredContent:
    sizes: tuple[str, ...] = ()
    path: str = ""


@dataclass(frozen=True, slots=True)
class _StoredWorkload:
    content: _StoredContent | None = None


@dataclass(frozen=True, slots=True)
class _StoredPlan:
    """What reports and merging read of a plan; the rest is only compared."""

    sessions: Count = 0
    max_messages: Count | None = None
    duration_ns: Nanoseconds | None = None
    load: _StoredLoad | None = None
    workload: _StoredWorkload | None = None


def check(results: ResultsValues) -> None:
    """ValueError that names the first thing that does not hold."""
    try:
        from_plain(_StoredPlan, results.plan, closed=False)
    except ValueError as error:
        raise ValueError(f"plan.{error}") from error
    try:
        datetime.fromisoformat(results.run.started_at)
    except ValueError as error:
        raise ValueError(f"run.started_at: {error}") from error
    if results.server:
        try:
            results.server.check()
        except ValueError as error:
            raise ValueError(f"server.{error}") from error
    for place, holds, rule in _rules(results):
        if not holds:
            raise ValueError(f"{place}: {rule}")


def _rules(results: ResultsValues) -> Iterator[tuple[str, bool, str]]:
    """The place, whether all is well there, and what would be."""
    yield from _of_messages("messages", results.messages)
    for target in results.targets:
        yield f"targets.{target.target}", target.adds_up, "expected outcomes that add up to what was started"
    if results.targets and not results.retries:
        started = sum(target.started for target in results.targets)
        yield "targets", started <= results.messages.started, "expected no more started than messages.started"
    if retries := results.retries:
        yield "retries", retries.accepted <= retries.messages <= retries.retries, "retries do not fit their messages"
    if idle := results.idle:
        yield "idle", max(idle.lost, idle.most_held) <= idle.opened, "expected no more held or lost than opened"
    if recipients := results.recipients:
        yield "recipients", recipients.add_up, "recipients do not add up"
        some = "expected no more than messages.accepted"
        yield "recipients.partly_accepted", recipients.partly_accepted <= results.messages.accepted, some
    yield from _of_phases(results)
    yield from _of_latencies("", results.latency_ns, results.histograms, tuple(results.phases))
    yield from _of_commands("", results.commands, results.command_histograms)
    for name, domain in results.domains.items():
        yield f"domains.{name}", domain.accepted <= domain.started, "expected no more accepted than started"
    yield from _of_domains("", results.domain_histograms, results.domains)
    yield from _of_timeline(results.timeline, results.messages)
    if results.ledger:
        yield from _of_ledger(results.ledger)
    if results.mailboxes:
        yield "mailboxes", results.mailboxes.adds_up, "expected delivered = read + spam + not_yet_due + missing"
    for index, one in enumerate(results.thresholds):
        yield f"thresholds[{index}].passed", not (one.passed and one.value is None), "nothing was measured"
    lost = results.generator.lost_workers
    yield "valid", not (results.valid and lost), "expected false for a run with lost workers"
    numbers = [shard.number for shard in results.shards]
    yield "shards", numbers == sorted(set(numbers)), "expected every shard once, in order"
    of_one_run = len({(shard.of, shard.start_at) for shard in results.shards}) < 2
    yield "shards", of_one_run, "expected shards of one run"
    yield "shards", all(shard.number <= shard.of for shard in results.shards), "expected numbers up to their count"
    if window := results.window:
        yield "window.to_s", window.from_s < window.to_s, "expected a window that ends after it begins"
        yield from _of_messages("window.messages", window.messages)
        within = window.messages.started <= results.messages.started
        yield "window.messages.started", within, "expected no more than in the whole run"
        yield from _of_latencies("window.", window.latency_ns, window.histograms, tuple(results.phases))
        yield from _of_commands("window.", window.commands, window.command_histograms)
        unknown = window.commands.keys() - results.commands.keys()
        yield "window.commands", not unknown, f'expected those in "commands", got {", ".join(sorted(unknown))}'
        yield from _of_domains("window.", window.domain_histograms, results.domains)


def _of_messages(place: str, messages: MessageCounts) -> Iterator[tuple[str, bool, str]]:
    yield place, messages.add_up, "messages do not add up"


def _of_phases(results: ResultsValues) -> Iterator[tuple[str, bool, str]]:
    for name in results.phases:
        yield f"phases.{name}", NAME.fullmatch(name) is not None, "expected a name of lower-case letters, digits and _"
    known = f"expected one of {', '.join(results.phases)}, got"
    named = {"replies": [one.phase for one in results.replies], "failures": [one.phase for one in results.failures]}
    for place, phases in named.items():
        for index, phase in enumerate(phases):
            yield f"{place}[{index}].phase", phase in results.phases, f"{known} {json.dumps(phase)[:60]}"


def _of_commands(
    place: str, commands: Mapping[str, CommandCounts], histograms: Mapping[str, Histogram]
) -> Iterator[tuple[str, bool, str]]:
    for name, one in commands.items():
        here = f"{place}commands.{name}"
        yield here, NAME.fullmatch(name) is not None, "expected a name of lower-case letters, digits and _"
        yield here, one.errors <= one.count, "expected no more refused and failed than count"
        done = one.latency_ns.count if one.latency_ns else 0
        yield f"{here}.latency_ns", done == one.count - one.errors, "expected as many as were carried out"
        yield from _of_latency(f"{here}.latency_ns", one.latency_ns, histograms.get(name))
    for name in histograms:
        yield f"{place}command_histograms.{name}", name in commands, 'expected a name that is in "commands"'


def _of_latencies(
    place: str,
    latency_ns: Mapping[str, Latency | None],
    histograms: Mapping[str, Histogram],
    phases: tuple[str, ...],
) -> Iterator[tuple[str, bool, str]]:
    missing = [name for name in MESSAGE_STRETCHES if name not in latency_ns]
    known = tuple(dict.fromkeys((*MESSAGE_STRETCHES, *phases)))
    yield f"{place}latency_ns", not missing, f"expected the key {', '.join(missing)}, null where nothing was recorded"
    for name in (*latency_ns, *histograms):
        yield f"{place}latency_ns.{name}", name in known, f"expected one of {', '.join(known)}"
    for name, latency in latency_ns.items():
        yield from _of_latency(f"{place}latency_ns.{name}", latency, histograms.get(name))


def _of_latency(place: str, latency: Latency | None, histogram: Histogram | None) -> Iterator[tuple[str, bool, str]]:
    totals = latency and (latency.count, latency.min, latency.max)
    counted = histogram and histogram.count and (histogram.count, histogram.min_ns, histogram.max_ns)
    if histogram is not None:
        yield place, totals == (counted or None), "expected count, min and max of its histogram"
    if latency:
        rising = (latency.min, latency.p50, latency.p75, latency.p90, latency.p95, latency.p99, latency.p99_9)
        ordered = all(low <= high for low, high in pairwise((*rising, latency.max)))
        yield place, ordered, "expected min, p50, p75 … max in ascending order"
        yield f"{place}.mean", latency.min <= latency.mean <= latency.max, "expected a mean between min and max"


def _of_domains(
    place: str, histograms: Mapping[str, Histogram], domains: Mapping[str, Any]
) -> Iterator[tuple[str, bool, str]]:
    for name in histograms:
        yield f"{place}domain_histograms.{name}", name in domains, 'expected a name that is in "domains"'


def _of_timeline(timeline: tuple[Interval, ...], messages: MessageCounts) -> Iterator[tuple[str, bool, str]]:
    yield "timeline", len(timeline) <= MAX_INTERVALS, f"expected at most {MAX_INTERVALS} intervals"
    span_s = timeline[0].span_s if timeline else 1
    yield "timeline[0].span_s", 0 < span_s <= 2**30 and span_s.bit_count() == 1, "expected a power of two"
    for index, one in enumerate(timeline):
        place = f"timeline[{index}]"
        yield (
            place,
            (one.at_s, one.span_s) == (index * span_s, span_s),
            f"expected at_s {index * span_s}, span_s {span_s}",
        )
        buckets, counts = one.latencies[::2], one.latencies[1::2]
        rising = len(buckets) == len(counts) and all(low < high for low, high in pairwise((*buckets, MAX_BUCKETS)))
        yield f"{place}.latencies", rising, "expected bucket, count, bucket, count… in ascending order"
        yield f"{place}.latencies", not counts or sum(counts) == one.accepted, "expected as many as were accepted"
    # What a worker that died had begun is in doubt and in no interval.
    for name in ("accepted", "rejected_temporary", "rejected_permanent", "failed", "bytes"):
        total = sum(getattr(one, name) for one in timeline)
        yield "timeline", total == getattr(messages, name), f"expected {name} to add up to messages.{name}, got {total}"


def _of_ledger(ledger: LedgerCounts) -> Iterator[tuple[str, bool, str]]:
    most = max(ledger.received, ledger.missing)
    yield "ledger", most <= ledger.expected, "expected no more received or missing than expected"
    yield "ledger", ledger.received + ledger.missing >= ledger.expected, "expected each message received or missing"

"""What must hold between the values of a results file, each rule on both sides of its edge."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trafficgen.measure.counts import CommandCounts, MessageCounts, RecipientCounts, TargetCounts
from trafficgen.measure.delivered import LedgerCounts, MailboxCounts
from trafficgen.measure.generator import ShardRecord
from trafficgen.measure.results import Results, read_results
from trafficgen.measure.snapshot import IdleCounts, RetryCounts
from trafficgen.measure.soundness import check
from trafficgen.measure.timeline import MAX_BUCKETS, MAX_INTERVALS, Interval

RUN = read_results(Path(__file__).parent.parent / "report" / "recorded" / "results-0.1.0.json")
"""Of 60 messages, all accepted, 12 of them by aol.com; a window with 23 of them."""
EMPTY = replace(RUN, messages=MessageCounts(*[0] * 9), window=None, ledger=None)
assert RUN.window is not None
assert RUN.latency_ns["service"] is not None
WINDOW, SERVICE = RUN.window, RUN.latency_ns["service"]


def targets(*accepted: int, failed: int = 0, in_doubt: int = 0, started_more: int = 0) -> dict[str, Any]:
    """Each with two rejected messages besides."""
    return {
        "targets": tuple(
            TargetCounts("", 1.0, 1, done + 3 + failed + in_doubt + started_more, done, 1, 2, failed, in_doubt, None)
            for done in accepted
        )
    }


def shards(*numbers: int, of: int = 2, start_at: tuple[str | None, ...] = (None, None)) -> dict[str, Any]:
    empty = (None, "host", None, None, None, None, {})
    return {"shards": tuple(ShardRecord(number, of, at, *empty) for number, at in zip(numbers, start_at, strict=False))}


def mailboxes(delivered: int, read: int, spam: int, not_yet_due: int, missing: int) -> dict[str, Any]:
    counts = {"delivered": delivered, "read": read, "spam": spam, "not_yet_due": not_yet_due, "missing": missing}
    return {"mailboxes": replace(MailboxCounts.none(), **counts)}


def commands(count: int, refused: int, failed: int, name: str = "read") -> dict[str, Any]:
    return {"commands": {name: CommandCounts(count, refused, failed, 0, 0.0, None)}}


def window(from_s: float, to_s: float, started: int = 23) -> dict[str, Any]:
    messages = replace(WINDOW.messages, planned=started, started=started, in_doubt=started - 23)
    return {"window": replace(WINDOW, from_s=from_s, to_s=to_s, messages=messages)}


def timeline(*at_s: int, span_s: int = 1) -> dict[str, Any]:
    return {"timeline": tuple(Interval(at, span_s, 0, 0, 0, 0, 0, 0, 0, None, None) for at in at_s)}


def latencies(*pairs: int) -> dict[str, Any]:
    """All 60 in one interval."""
    octets = RUN.messages.bytes
    return {"timeline": (Interval(0, 1, 60, 60, 0, 0, 0, 0, octets, None, None, pairs),), "window": None}


def service(**changes: Any) -> dict[str, Any]:
    """Without the histogram that it was made from."""
    others = {name: one for name, one in RUN.histograms.items() if name != "service"}
    return {"latency_ns": {**RUN.latency_ns, "service": replace(SERVICE, **changes)}, "histograms": others}


def domain(accepted: int) -> dict[str, Any]:
    return {"domains": {**RUN.domains, "aol.com": replace(RUN.domains["aol.com"], accepted=accepted)}}


def retries(tried_again: int, messages: int, accepted: int) -> dict[str, Any]:
    return {"retries": RetryCounts(tried_again, messages, accepted)}


def recipients(started: int, partly_accepted: int) -> dict[str, Any]:
    return {"recipients": RecipientCounts(started, 1, 2, 3, 4, 5, partly_accepted)}


SOUND: tuple[tuple[Results, dict[str, Any]], ...] = (
    (RUN, targets(27, 27)),
    (RUN, targets(23, 23, failed=1, in_doubt=3)),
    (RUN, targets(27, 28) | retries(1, 1, 1)),
    (RUN, {"idle": IdleCounts(5, 5, 0, 9)}),
    (RUN, {"idle": IdleCounts(5, 0, 5, 9)}),
    (RUN, recipients(15, 60)),
    (RUN, domain(12)),
    (RUN, window(1.0, 1.25)),
    (RUN, window(1.0, 1.25, started=60)),
    (RUN, shards(1, 2)),
    (RUN, shards(2)),
    (RUN, commands(5, 2, 3)),
    (RUN, mailboxes(10, 1, 2, 3, 4)),
    (RUN, {"ledger": LedgerCounts(60, 60, 0, 0, 0)}),
    (RUN, {"ledger": LedgerCounts(60, 0, 60, 0, 0)}),
    (RUN, {"ledger": LedgerCounts(60, 31, 30, 0, 0)}),  # corrupted ones may be both
    (RUN, latencies(0, 1, MAX_BUCKETS - 1, 59)),
    (RUN, latencies()),
    (RUN, service(mean=SERVICE.min)),
    (RUN, service(mean=SERVICE.max)),
    (RUN, service(p50=SERVICE.min, p99=SERVICE.max, p99_9=SERVICE.max)),
    (EMPTY, timeline()),
    (EMPTY, timeline(0, span_s=2**30)),
    (EMPTY, timeline(*range(MAX_INTERVALS))),
    (EMPTY, timeline(0, 4, 8, span_s=4)),
)
UNSOUND: tuple[tuple[Results, dict[str, Any], str], ...] = (
    (RUN, targets(27, 28), "targets: expected no more started"),
    (RUN, targets(1, started_more=1), "targets.: expected outcomes that add up"),
    (RUN, retries(2, 3, 1), "retries: "),
    (RUN, retries(3, 2, 3), "retries: "),
    (RUN, {"idle": IdleCounts(5, 6, 0, 9)}, "idle: "),
    (RUN, {"idle": IdleCounts(5, 0, 6, 9)}, "idle: "),
    (RUN, recipients(15, 61), "recipients.partly_accepted: expected no more"),
    (RUN, recipients(16, 0), "recipients: recipients do not add up"),
    (RUN, domain(13), "domains.aol.com: expected no more accepted"),
    (RUN, window(1.25, 1.25), "window.to_s: expected a window that ends after it begins"),
    (RUN, window(1.0, 1.25, started=61), "window.messages.started: expected no more than in the whole run"),
    (RUN, shards(1, 1), "shards: expected every shard once, in order"),
    (RUN, shards(2, 1), "shards: expected every shard once, in order"),
    (RUN, shards(1, 2, start_at=(None, "2026-11-27T00:00:00+00:00")), "shards: expected shards of one run"),
    (RUN, shards(1, 2, of=1), "shards: expected numbers up to their count"),
    (RUN, commands(5, 3, 3), "commands.read: expected no more refused and failed than count"),
    (RUN, commands(5, 2, 2), "commands.read.latency_ns: expected as many as were carried out"),
    (RUN, commands(5, 2, 3, name="Read"), "commands.Read: expected a name of lower-case letters"),
    (RUN, mailboxes(11, 1, 2, 3, 4), "mailboxes: expected delivered = "),
    (RUN, {"ledger": LedgerCounts(60, 61, 0, 0, 0)}, "ledger: expected no more received or missing"),
    (RUN, {"ledger": LedgerCounts(60, 0, 61, 0, 0)}, "ledger: expected no more received or missing"),
    (RUN, {"ledger": LedgerCounts(60, 30, 29, 0, 0)}, "ledger: expected each message received or missing"),
    (RUN, latencies(0, 1, MAX_BUCKETS, 59), "latencies: expected bucket, count"),
    (RUN, latencies(5, 1, 5, 59), "latencies: expected bucket, count"),
    (RUN, latencies(5, 59), "latencies: expected as many as were accepted"),
    (RUN, service(mean=SERVICE.min - 1), "latency_ns.service.mean: "),
    (RUN, service(mean=SERVICE.max + 1), "latency_ns.service.mean: "),
    (RUN, service(p99_9=SERVICE.max + 1), "latency_ns.service: expected min, p50"),
    (EMPTY, timeline(0, span_s=0), "timeline.0..span_s: expected a power of two"),
    (EMPTY, timeline(0, span_s=3), "timeline.0..span_s: expected a power of two"),
    (EMPTY, timeline(0, span_s=2**31), "timeline.0..span_s: expected a power of two"),
    (EMPTY, timeline(0, 1, span_s=2), "timeline.1.: expected at_s 2, span_s 2"),
    (EMPTY, timeline(*range(MAX_INTERVALS + 1)), "timeline: expected at most 1800 intervals"),
)


@pytest.mark.parametrize(("run", "changes"), SOUND)
def test_what_lies_on_the_edge_is_sound(run: Results, changes: dict[str, Any]) -> None:
    check(replace(run, **changes))


@pytest.mark.parametrize(("run", "changes", "words"), UNSOUND)
def test_what_lies_beyond_the_edge_is_named(run: Results, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check(replace(run, **changes))

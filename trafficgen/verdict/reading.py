"""From one run to the numbers a gate compares: one run, one number a metric.

Takes     "throughput:5%", "p99:10%+2ms", "server.cpu:3%"; results of a run, and what its server used
Gives     metrics with their margins; a trial
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from mboxgen.counted import number_of
from trafficgen.measure.health import CaveatKind
from trafficgen.measure.results import Results
from trafficgen.units import parse_duration
from trafficgen.verdict.gating import PlannedRun, Trial
from trafficgen.verdict.quantities import QuantityKind, is_quantity, parse_quantity
from trafficgen.verdict.rule import Metric
from trafficgen.verdict.server_metrics import better_of, is_of_server

DEFAULT_METRICS: Final = ("throughput:5%", "p99:10%+2ms")
DEFAULT_METRICS_OF_MAILBOXES: Final = ("p95:10%+2ms", "seen.p95:10%+2ms")
"""How long a delivery takes, and until its reader is shown it. How many there are is the profile's."""
HELD_TO_ZERO: Final = frozenset(f"delivery.{name}" for name in ("lost", "missing", "doubled", "damaged", "misplaced"))
"""Any of them in a run of B fails the gate, whether or not it is named."""

_FORM: Final = re.compile(r"(.+?)(?::(\d+(?:\.\d+)?)%(?:\+(\S+))?)?")
_ALSO_READ: Final = ("throughput", "p50", "p99", "avg")


def parse_metric(text: str) -> Metric:
    """A metric and its margin, 5 % if none is given and 10 % for latencies. ValueError with what was expected."""
    found = _FORM.fullmatch(text.strip())
    if not found:
        raise ValueError(f'expected METRIC:MARGIN% such as throughput:5% or p99:10%+2ms, got "{text}"')
    name, percent, floor = found.groups()
    known, colon, margin = name.rpartition(":")
    if colon and (is_of_server(known) or is_quantity(known)):
        raise ValueError(f'expected a margin above 0%, such as {known}:10%, got "{margin}"')
    if is_of_server(name):
        return Metric(name, better_of(name), float(percent or 5) / 100)
    quantity = parse_quantity(name)
    if quantity.kind not in (QuantityKind.DURATION, QuantityKind.RATE):
        raise ValueError(f'"{name}" must be the same in every run; compare a latency or the throughput')
    is_latency = quantity.kind is QuantityKind.DURATION
    if floor and not is_latency:
        raise ValueError(f'only a latency has an absolute floor, got "{text}"')
    floor_ns = parse_duration(floor) if floor else 0
    return Metric(name, quantity.better, float(percent or (10 if is_latency else 5)) / 100, float(floor_ns))


def trial_of(
    step: PlannedRun,
    results: Results,
    metrics: Sequence[Metric],
    server: Mapping[str, float],
    *,
    tolerate_refusals: bool = False,
) -> Trial:
    """What this run says. `server`: the second channel, empty where it cannot be had."""
    harm = harm_of(results, tolerate_refusals=tolerate_refusals)
    names = dict.fromkeys((*(metric.name for metric in metrics if not is_of_server(metric.name)), *_ALSO_READ))
    read = {name: parse_quantity(name).read(results) for name in names}
    values = {name: value for name, value in read.items() if value is not None} | dict(server)
    missing = [metric.name for metric in metrics if values.get(metric.name, 0.0) <= 0.0]
    return Trial(step.index, step.side, values, harm, None if harm else _spoiled(results, missing))


def harm_of(results: Results, *, tolerate_refusals: bool) -> str | None:
    """What must be zero, without statistics. Of users of mailboxes also commands that were refused or not answered."""
    ledger, messages, mailboxes = results.ledger, results.messages, results.mailboxes
    counts = [("in doubt", messages.in_doubt)]
    if not tolerate_refusals:
        counts += [("refused", messages.rejected_temporary + messages.rejected_permanent), ("failed", messages.failed)]
    if ledger:
        counts += [("missing", ledger.missing), ("duplicated", ledger.duplicated), ("corrupted", ledger.corrupted)]
    if mailboxes:
        counts += [
            ("missing", mailboxes.missing), ("doubled", mailboxes.doubled), ("damaged", mailboxes.damaged),
            ("in somebody else's mailbox", mailboxes.misplaced),
        ]  # fmt: skip
    words = ", ".join(f"{count:,} {what}" for what, count in counts if count)
    harm = [f"of {number_of(messages.started, 'message')} {words}"] if words else []
    if words and not (tolerate_refusals or mailboxes) and (why := commonest_failure(results)):
        harm.append(f"most often {why}")
    if not tolerate_refusals:
        failed = {name: one for name, one in results.commands.items() if one.errors}
        harm += [f"of {one.count:,} {name} {one.errors:,} refused or not answered" for name, one in failed.items()]
    if mailboxes and not tolerate_refusals:
        harm += [
            f"{one.count:,} × {one.phase}: {one.reason}"
            for one in results.failures
            if one.phase not in results.commands
        ]
    return "; ".join(harm) if harm and results.valid else None


def commonest_failure(results: Results) -> str | None:
    """What came most often in place of a 250 for a message."""
    failures = [(one.count, f"{results.phases[one.phase]}: {one.example or one.reason}") for one in results.failures]
    refusals = [
        (one.count, f"{results.phases[one.phase]}: {one.code} {one.example}")
        for one in results.replies
        if one.code >= 400
    ]
    return max([*failures, *refusals], default=(0, None))[1]


def _spoiled(results: Results, missing: Sequence[str]) -> str | None:
    if not results.valid:
        return "; ".join(caveat.text for caveat in results.caveats) or "part of the measurement was lost"
    if results.generator.limited:
        return "; ".join(results.generator.sentences)
    if unproven := [caveat.text for caveat in results.caveats if caveat.kind is CaveatKind.PROOF_MISSING]:
        return "; ".join(unproven)
    return f"nothing was measured for {', '.join(missing)}" if missing else None

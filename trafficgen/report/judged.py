"""What a run had to keep to, in words.

Takes     `Results`
Gives     what it came to; sections for the summary: the window that verdicts are made from, and each threshold with
          its value
"""

from collections.abc import Sequence

from mboxgen.counted import number_of
from trafficgen.errors import ExitCode
from trafficgen.measure.counts import ThresholdVerdict
from trafficgen.measure.results import Results
from trafficgen.report import words
from trafficgen.report.section import Row, Section, Tone
from trafficgen.units import format_duration
from trafficgen.verdict.quantities import QuantityKind
from trafficgen.verdict.thresholds import parse_threshold


def verdict_of(results: Results) -> tuple[str, Tone] | None:
    """What a run came to, in a few words; None when there was nothing to judge."""
    ledger = results.ledger
    if ledger and not ledger.clean:
        return "FAILED: mail was lost, duplicated or damaged", Tone.BAD
    if reason := results.not_judged:
        return f"NOT VALID: {reason}", Tone.BAD
    if results.verdict_code is ExitCode.VERDICT_FAILED:
        failed = sum(not one.passed for one in results.thresholds)
        return f"FAILED: {failed} of {number_of(len(results.thresholds), 'threshold')}", Tone.BAD
    return ("PASSED", Tone.GOOD) if results.thresholds else None


def window_section(results: Results) -> Section:
    """Empty when verdicts are made from the whole run."""
    window = results.window
    if window is None:
        return Section("window", "ll", ())
    latency = window.latency_ns["response" if results.run.model == "open" else "service"]
    rows = [
        Row(("judged", f"from {format_duration(window.from_s * 1e9)} to {format_duration(window.to_s * 1e9)}")),
        Row(("accepted", f"{words.count(window.messages.accepted)}, {words.rate(window.rate.messages_per_s)}/s")),
    ]
    if latency:
        numbers = (("p50", latency.p50), ("p95", latency.p95), ("p99", latency.p99), ("max", latency.max))
        rows.append(Row(("latency", ", ".join(f"{name} {format_duration(ns)}" for name, ns in numbers))))
    return Section("window", "ll", tuple(rows))


def threshold_section(results: Results) -> Section:
    """Empty when there are none."""
    rows = tuple(
        Row(
            (verdict.expression, value_in_words(verdict), "passed" if verdict.passed else "failed"),
            Tone.GOOD if verdict.passed else Tone.BAD,
        )
        for verdict in results.thresholds
    )
    spoiled = (f"{results.not_judged}, so these verdicts are not valid",) if results.not_judged else ()
    return Section("thresholds", "lrl", rows, ("measured", ""), spoiled if rows else ())


def value_in_words(verdict: ThresholdVerdict) -> str:
    """What was measured, in the unit that suits it."""
    if verdict.value is None:
        return "nothing was measured"
    try:
        return quantity_in_words(verdict.value, parse_threshold(verdict.expression).quantity.kind)
    except ValueError:  # a file of another version may hold an expression that this one does not know
        return words.three_digits(verdict.value)


def quantities_in_words(values: Sequence[float | None], kind: QuantityKind) -> tuple[str, ...]:
    """Values that are meant to be compared: durations in one unit."""
    if kind is QuantityKind.DURATION:
        return words.together(values)
    return tuple("–" if value is None else quantity_in_words(value, kind) for value in values)


def quantity_in_words(value: float, kind: QuantityKind) -> str:
    """`value` in the unit that suits it."""
    match kind:
        case QuantityKind.DURATION:
            return format_duration(value)
        case QuantityKind.SHARE:
            return words.share(value, 1)
        case QuantityKind.RATE:
            return f"{words.rate(value)}/s"
        case QuantityKind.COUNT:
            return words.count(value)
        case QuantityKind.OCTETS:
            return words.size(value)
        case QuantityKind.OCTETS_RATE:
            return f"{words.size(value)}/s"
        case QuantityKind.NUMBER:
            return words.three_digits(value)

"""Sections of a summary that are times: of messages, of the steps of a session, of commands.

Takes     `Results`
Gives     a section each, all times of one table in one unit
Not here  the other sections (sections)
"""

from collections.abc import Sequence
from typing import Final

from trafficgen.measure.counts import Latency
from trafficgen.measure.phases import BEFORE_PHASES
from trafficgen.measure.results import Results
from trafficgen.report import words
from trafficgen.report.section import Row, Section, Tone

_QUANTILES: Final = (
    ("p50", 0.5), ("p75", 0.75), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99_9", 0.999),
)  # fmt: skip


def latencies(results: Results) -> Section:
    """From an intended start or a real one to the end, of messages."""
    names = [name for name in BEFORE_PHASES if name != "lateness"]
    notes: tuple[str, ...] = ()
    if results.run.model == "closed":
        notes = ("closed model: messages have no intended start, so there is no response time",)
    return _latency_section("latency", names, results, notes)


def phases(results: Results) -> Section:
    """Each step of a session."""
    return _latency_section("phases", [name for name in results.latency_ns if name not in BEFORE_PHASES], results)


def _latency_section(title: str, names: Sequence[str], results: Results, notes: tuple[str, ...] = ()) -> Section:
    named = words.stretches(results.phases)
    found = {named[name]: latency for name in names if (latency := results.latency_ns.get(name))}
    unit, ns_per_unit = words.unit_for_all(latency.p50 for latency in found.values())
    rows = tuple(_latency(name, latency, ns_per_unit) for name, latency in found.items())
    if any("–" in row.cells for row in rows):
        notes = (*notes, "–  too few values to tell this percentile from the maximum")
    header = ("count", "avg", "min", "p50", "p75", "p90", "p95", "p99", "p99.9", "max")
    return Section(f"{title}, {unit}", "l" + 10 * "r", rows, header, notes if rows else ())


def _latency(name: str, latency: Latency, ns_per_unit: float) -> Row:
    values = [latency.mean, latency.min, *(_supported(latency, *quantile) for quantile in _QUANTILES), latency.max]
    return Row((name, words.count(latency.count), *(in_unit(value, ns_per_unit) for value in values)))


def _supported(latency: Latency, field: str, q: float) -> int | None:
    """With fewer than 1/(1-q) values, none lies above the percentile q: it would only repeat the maximum."""
    return getattr(latency, field) if latency.count * (1 - q) >= 1 - 1e-9 else None


def in_unit(ns: float | None, ns_per_unit: float) -> str:
    """A time in the unit of its table; a dash where there is none."""
    return "–" if ns is None else words.three_digits(ns / ns_per_unit)


def commands(results: Results) -> Section:
    """A row for each kind that was used; the latencies are of commands that were carried out."""
    used = {name: one for name, one in results.commands.items() if one.count}
    unit, ns_per_unit = words.unit_for_all(one.latency_ns.p50 for one in used.values() if one.latency_ns)
    rows = tuple(
        Row(
            (
                name,
                words.count(one.count),
                words.count(one.errors),
                words.share(one.errors, one.count),
                words.rate(one.per_s),
                *_command_latency(one.latency_ns, ns_per_unit),
            ),
            Tone.BAD if one.errors else Tone.PLAIN,
        )
        for name, one in used.items()
    )
    header = ("count", "errors", "of count", "per second", "p50", "p90", "p99", "max")
    return Section(f"commands, {unit}", "l" + 8 * "r", rows, header)


def _command_latency(latency: Latency | None, ns_per_unit: float) -> tuple[str, ...]:
    if latency is None:
        return ("–",) * 4
    shown = [_supported(latency, field, q) for field, q in _QUANTILES if field in ("p50", "p90", "p99")]
    return tuple(in_unit(ns, ns_per_unit) for ns in (*shown, latency.max))

"""How a gate ended, in words, as JSON, JUnit, Markdown, and as a line of history.

Takes     `Ended`, the design, the trials; JUnit, Markdown and history also of a gate by slices
Gives     sections for people; documents for machines, all from the same numbers
Not here  sections, JSON and the page of a gate by slices (sliced, slices_page)
"""

import csv
import io
import json
import math
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from xml.etree import ElementTree as ET

from mboxgen.enums import table_of
from trafficgen.errors import ResultsError
from trafficgen.measure.codec import to_plain
from trafficgen.printable import csv_cell, markdown
from trafficgen.report import words
from trafficgen.report.judged import quantities_in_words
from trafficgen.report.section import Row, Section, Tone
from trafficgen.report.tables import add_suite, write_xml
from trafficgen.verdict.control import Control
from trafficgen.verdict.gating import Design, Ended, Trial
from trafficgen.verdict.quantities import QuantityKind, is_quantity, parse_quantity
from trafficgen.verdict.rule import Comparison, Judgement, Metric, Verdict
from trafficgen.verdict.server_metrics import DELIVERED, SERVER_METRICS

_SHOWN: Final = table_of(Verdict, {
    Verdict.PASS: (Tone.GOOD, "✅"),
    Verdict.FAIL: (Tone.BAD, "❌"),
    Verdict.WARN: (Tone.WARN, "⚠️"),
    Verdict.INCONCLUSIVE: (Tone.WARN, "⚠️"),
})  # fmt: skip
"""How a verdict looks in a table, and in Markdown."""

HISTORY: Final = (
    "time", "label", "verdict", "metric", "pairs", "ratio", "low", "high", "t_low", "t_high", "p", "margin_ratio",
    "median_a", "median_b",
)  # fmt: skip


class GateEnd(Protocol):
    """How a gate of either kind ended."""

    @property
    def verdict(self) -> Verdict | None: ...
    @property
    def reason(self) -> str: ...
    @property
    def judgement(self) -> Judgement | None: ...
    @property
    def others(self) -> tuple[Comparison, ...]: ...


def gate_sections(ended: Ended) -> tuple[Section, ...]:
    """The verdict, the comparisons, the control."""
    made = [verdict_section(ended), compared_section(ended), _controlled(ended.controls)]
    return tuple(section for section in made if section.rows or section.notes)


def gate_json(ended: Ended, design: Design, trials: Sequence[Trial]) -> str:
    """All of it; schema version 1."""
    plain: dict[str, Any] = {
        "schema_version": 1,
        "verdict": ended.verdict.value if ended.verdict else None,
        "exit_code": int(ended.code),
        "reason": ended.reason,
        "design": to_plain(design),
        "comparisons": [_plain(one) for one in comparisons_of(ended)],
        "controls": [
            {**_plain(one.comparison), "resolvable": one.resolvable, "trouble": one.trouble and one.trouble.value}
            for one in ended.controls
        ],
        "others": [_plain(one) for one in ended.others],
        "trials": to_plain(tuple(trials)),
    }
    return as_json(plain)


def as_json(plain: Mapping[str, Any]) -> str:
    """A document with a line for each key, and for each item of a list."""
    lines = (f"{json.dumps(key)}: {_one_line_each(value)}" for key, value in plain.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def verdict_section(ended: GateEnd) -> Section:
    """The verdict and its reason."""
    return Section(verdict_in_words(ended), "l", (), notes=(ended.reason,))


def verdict_tone(ended: GateEnd) -> Tone:
    """How it is meant."""
    return _SHOWN[ended.verdict][0] if ended.verdict else Tone.BAD


def verdict_in_words(ended: GateEnd) -> str:
    """In capitals."""
    return ended.verdict.value.upper() if ended.verdict else "NOT VALID"


def gate_markdown(ended: GateEnd) -> str:
    """A verdict and a table, for a job's summary page."""
    mark = _SHOWN[ended.verdict][1] if ended.verdict else "⚠️"
    lines = [
        f"**{mark} {verdict_in_words(ended)}**: {markdown(ended.reason)}",
        "",
    ]
    rows = [tuple(map(markdown, _cells(one))) for one in (*comparisons_of(ended), *ended.others)]
    if rows:
        lines += ["| metric | A | B | B / A | interval | margin |", "|---|---:|---:|---:|---|---:|"]
        lines += [f"| {' | '.join(cells[:6])} |" for cells in rows]
    return "\n".join(lines) + "\n"


def gate_junit(ended: GateEnd, metrics: Sequence[Metric], started_at: str, duration_s: float) -> str:
    """A test case for each metric, and one for the gate itself."""
    verdicts = {one.metric.name: one for one in comparisons_of(ended)}
    passed = ended.verdict is Verdict.PASS
    cases: list[tuple[str, str | None]] = [("the gate", None if passed else ended.reason)]
    for metric in metrics:
        one = verdicts.get(metric.name)
        wrong = None if one and one.verdict is Verdict.PASS else " ".join(_cells(one)) if one else "not judged"
        cases.append((metric.name, wrong))
    suites = ET.Element("testsuites", name="traffic-gen")
    add_suite(suites, "gate", started_at, duration_s, cases)
    return write_xml(suites)


def check_history(path: Path) -> None:
    """ResultsError for a file that is there and is no history: rows are only ever appended to one."""
    try:
        with path.open("rb") as file:
            first = file.readline(1000).removeprefix(BOM_UTF8).rstrip()
    except FileNotFoundError:
        return
    if first and first != ",".join(HISTORY).encode():
        raise ResultsError(f'expected a history of gates, or no file yet, got "{path}"')


def line_end(path: Path) -> str:
    """What must stand before rows that are appended to `path`: a line end where its last line, saved by an editor, has
    none."""
    if not path.is_file() or not path.stat().st_size:
        return ""
    with path.open("rb") as file:
        file.seek(-1, io.SEEK_END)
        return "" if file.read() == b"\n" else "\n"


@dataclass(frozen=True, slots=True)
class PastGate:
    """One metric of one gate, as a history keeps it."""

    time: str
    label: str
    ratio: float


def read_history(path: Path) -> dict[str, list[PastGate]]:
    """The gates of a history by metric, in their order. ResultsError for a file that is none."""
    line = 0
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # a spreadsheet writes a byte order mark
            rows = csv.reader(file)
            if tuple(next(rows, ())) != HISTORY:
                raise ResultsError(f'expected a history of gates, got "{path}"')
            found: dict[str, list[PastGate]] = {}
            for row in rows:
                line = rows.line_num
                metric, gate = _past_gate(row)
                found.setdefault(metric, []).append(gate)
    except (OSError, ValueError, csv.Error) as error:
        words = error.strerror if isinstance(error, OSError) else error
        where = f", line {line}" if line else ""
        raise ResultsError(f'expected a history of gates, got "{path}"{where}: {words}') from error
    return found


def _past_gate(row: Sequence[str]) -> tuple[str, PastGate]:
    if len(row) != len(HISTORY):
        raise ValueError(f"expected {len(HISTORY)} columns, got {len(row)}")
    cells = dict(zip(HISTORY, row, strict=True))
    return cells["metric"], PastGate(cells["time"], cells["label"], _ratio(cells["ratio"]))


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = 0.0
    if not 0 < ratio < math.inf:
        raise ValueError(f'expected a ratio above zero, got "{text}"')
    return ratio


def history_rows(ended: GateEnd, *, time: str, label: str, header: bool) -> str:
    """One CSV row a metric, with a header for a new file; also of what was not gated."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(HISTORY)
    verdict = ended.verdict.value if ended.verdict else "not valid"
    for one in (*comparisons_of(ended), *ended.others):
        writer.writerow((
            time, csv_cell(label), verdict, csv_cell(one.metric.name), one.pairs, one.ratio, *one.interval,
            *one.t_interval, one.p, one.margin_ratio, one.median_a, one.median_b,
        ))  # fmt: skip
    return text.getvalue()


def values_in_words(name: str, values: Sequence[float]) -> tuple[str, ...]:
    """Values of one metric, in the unit that suits them. A gate counts what a server uses by 1,000 messages."""
    if name == DELIVERED:
        return quantities_in_words(values, QuantityKind.SHARE)
    if name not in SERVER_METRICS and is_quantity(name):
        return quantities_in_words(values, parse_quantity(name).kind)
    form = words.size if name == "server.written" else words.three_digits
    return tuple(f"{form(value)}/1k" for value in values)


def comparisons_of(ended: GateEnd) -> tuple[Comparison, ...]:
    """Of the gated metrics, if it came to that."""
    return ended.judgement.comparisons if ended.judgement else ()


def compared_section(ended: GateEnd) -> Section:
    """Both builds side by side, metric by metric."""
    gated, others = comparisons_of(ended), ended.others
    tones = [_SHOWN[one.verdict][0] if one.verdict else Tone.PLAIN for one in gated]
    rows = [Row(_cells(one), tone) for one, tone in zip(gated, tones, strict=True)]
    rows += [Row((*_cells(one)[:5], "–", "not gated")) for one in others]
    header = ("A", "B", "B / A", "interval", "margin", "")
    return Section("metric", "lrrrrrl", tuple(rows), header, tuple(_notes(gated)))


def _notes(gated: Sequence[Comparison]) -> Iterator[str]:
    if gated:
        by_t = ", ".join(f"{one.metric.name} [{one.t_interval.low:.3f}, {one.t_interval.high:.3f}]" for one in gated)
        yield f"intervals at {1 - gated[0].alpha:.1%}, so that all looks together keep 95%; by Student's t: {by_t}"


def _controlled(controls: Sequence[Control]) -> Section:
    return Section("A against A", "l", (), notes=tuple(control.reason for control in controls))


def _cells(one: Comparison) -> tuple[str, ...]:
    name = one.metric.name
    return (
        name,
        *values_in_words(name, (one.median_a, one.median_b)),
        f"{one.ratio:.3f}×",
        f"[{one.interval.low:.3f}, {one.interval.high:.3f}]",
        f"{one.margin_ratio:.3f}×",
        one.verdict.value if one.verdict else "",
    )


def _plain(one: Comparison) -> dict[str, Any]:
    plain: dict[str, Any] = to_plain(one)
    return plain


def _one_line_each(value: Any) -> str:
    if isinstance(value, list) and value:
        return "[\n  " + ",\n  ".join(json.dumps(item) for item in value) + "\n]"
    return json.dumps(value)

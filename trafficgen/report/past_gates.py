"""What many gates say together: where a metric changed, and what small losses come to.

Takes     a history of gates by metric (gated.read_history)
Gives     stretches without a change, in words, as CSV and as a page; the metrics that have been getting worse
Not here  how changes are found (verdict.change_points)
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import exp, log

from trafficgen.printable import csv_cell
from trafficgen.report.gated import PastGate
from trafficgen.report.section import Row, Section, Tone
from trafficgen.report.still_page import Frame, document, line, svg, table
from trafficgen.verdict.change_points import stretches
from trafficgen.verdict.rule import Better
from trafficgen.verdict.server_metrics import better_of

COLUMNS = (
    "metric", "from_time", "from_label", "to_time", "to_label", "gates", "ratio", "low", "high", "together", "worse",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class GateEra:
    """Gates of one metric between which nothing changed. `ratio` of a gate on average, with its interval of 95 %;
    `together`: all of them multiplied, which is what was lost if each A was the B before."""

    metric: str
    first: PastGate
    last: PastGate
    gates: int
    ratio: float
    low: float
    high: float
    together: float

    @property
    def worse(self) -> bool:
        """Whether gates lose on average, beyond chance."""
        return self.low > 1 if better_of(self.metric) is Better.LOWER else self.high < 1


def eras_of(metric: str, gates: Sequence[PastGate]) -> list[GateEra]:
    """The stretches of one metric. ValueError when there are too many gates."""
    logarithms = [log(gate.ratio) for gate in gates]
    return [
        GateEra(
            metric, gates[one.first], gates[one.last], one.count, exp(one.mean), _exp(one.interval.low),
            _exp(one.interval.high), _exp(sum(logarithms[one.first : one.last + 1])),
        )
        for one in stretches(logarithms)
    ]  # fmt: skip


def history_sections(eras: Mapping[str, Sequence[GateEra]]) -> tuple[Section, ...]:
    """A table for each metric, newest stretch last."""
    return tuple(_section(metric, found) for metric, found in eras.items() if found)


def history_csv(eras: Mapping[str, Sequence[GateEra]]) -> str:
    """A row for each stretch."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in (era for found in eras.values() for era in found):
        writer.writerow((
            csv_cell(one.metric), one.first.time, csv_cell(one.first.label), one.last.time, csv_cell(one.last.label),
            one.gates, one.ratio, *((one.low, one.high) if one.gates > 1 else ("", "")), one.together, int(one.worse),
        ))  # fmt: skip
    return text.getvalue()


def history_page(gates: Mapping[str, Sequence[PastGate]], eras: Mapping[str, Sequence[GateEra]]) -> str:
    """A chart and a table for each metric."""
    body = ["<header><h1>traffic-gen history</h1></header>"]
    for metric, found in eras.items():
        body += [
            f"<h2>{escape(metric)}: B / A of each gate, and all of them together (line)</h2>",
            _chart(metric, gates[metric], found),
            table(_section(metric, found)),
        ]
    return document("traffic-gen history", body)


def _section(metric: str, eras: Sequence[GateEra]) -> Section:
    rows = [Row(tuple(_cells(one)), Tone.BAD if one.worse else Tone.PLAIN) for one in eras]
    header = ("to", "gates", "B / A", "95%", "together", "")
    notes = (
        "B / A: on average; its interval wants two gates",
        "together: what all of these gates come to, if each A was the B before; worse: on average, beyond chance",
    )
    return Section(f"{metric}, from", "llrrrrl", tuple(rows), header, notes)


def _cells(one: GateEra) -> Iterator[str]:
    yield one.first.label or one.first.time.partition("T")[0]  # both do not fit into 80 columns
    yield one.last.label or one.last.time.partition("T")[0]
    yield str(one.gates)
    yield f"{one.ratio:.3f}×"
    yield f"[{one.low:.3f}, {one.high:.3f}]" if one.gates > 1 else "–"
    yield f"{one.together:.3f}×"
    yield "worse" if one.worse else ""


def _named(gate: PastGate) -> str:
    return f"{gate.time} {gate.label}".strip()


def _chart(metric: str, gates: Sequence[PastGate], eras: Sequence[GateEra]) -> str:
    total, together = 0.0, []
    for gate in gates:
        total += log(gate.ratio)
        together.append(_exp(total))
    frame = Frame(max(len(gates) - 1, 1), [1.0, *together, *(gate.ratio for gate in gates)])
    points = "".join(
        f'<circle class="b" cx="{frame.x(at):.1f}" cy="{frame.y(gate.ratio):.1f}" r="4"><title>{escape(_named(gate))}: '
        f"{gate.ratio:.3f}×</title></circle>"
        for at, gate in enumerate(gates)
    )
    path = " ".join(f"{frame.x(at):.1f},{frame.y(value):.1f}" for at, value in enumerate(together))
    levels, at = "", 0
    for era in eras:
        y, last = frame.y(era.ratio), at + era.gates - 1
        levels += f'<line class="level" x1="{frame.x(at):.1f}" x2="{frame.x(last):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        at = last + 1
    drawn = f'{points}<polyline class="ratio" points="{path}"/>{levels}{line(frame, 1.0, "one", "1.000×")}'
    return svg(
        f"{metric}: B / A of each gate",
        drawn,
        f"{len(gates)} gates; thick lines are levels between which something changed",
    )


def _exp(value: float) -> float:
    return exp(max(-700.0, min(value, 700.0)))  # beyond is no float, or no logarithm

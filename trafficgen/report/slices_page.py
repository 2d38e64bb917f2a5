"""A gate by slices as one page: its slices over time, the ratio with its interval closing in, what was left out.

Takes     `SlicesEnded`, the design
Gives     one HTML file that opens offline, with charts as SVG; nothing in it runs
Not here  numbers for machines (sliced)
"""

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from itertools import chain
from math import exp, log
from typing import Final

from trafficgen.report.gated import compared_section, values_in_words, verdict_in_words
from trafficgen.report.sections import Row, Section
from trafficgen.report.sliced import served_in_words
from trafficgen.verdict.rule import Better, Metric
from trafficgen.verdict.sequence import SliceDesign, SlicesEnded, interval_history
from trafficgen.verdict.slices import REASONS, Block, Counted, Slice, value

_WIDTH: Final = 1100
_HEIGHT: Final = 240
_LEFT: Final = 90
_RIGHT: Final = 20
_EDGE: Final = 20

_STYLE: Final = """
svg { background: var(--panel); border-radius: 4px; height: auto; width: 100%; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
.a { fill: var(--line-1); } .b { fill: var(--line-2); } .out { fill: none; stroke: var(--soft); }
.band { fill: var(--line-2); opacity: .2; } .ratio { fill: none; stroke: var(--line-2); stroke-width: 2; }
.margin { stroke: var(--bad); stroke-dasharray: 6 4; } .one { stroke: var(--soft); }
.verdict { font-size: 1.1rem; }
"""


def slices_page(ended: SlicesEnded, design: SliceDesign) -> str:
    """The page."""
    style = files("trafficgen.report").joinpath("page", "page.css").read_text(encoding="utf-8")
    tone = "good" if ended.code == 0 else "bad"
    body = [
        f"<header><h1 class={tone}>{verdict_in_words(ended)}</h1></header>",
        f"<p class=verdict>{escape(ended.reason)}</p>",
        _table(compared_section(ended)),
        *(chain.from_iterable(_charts(ended, design, metric) for metric in design.metrics)),
        "<h2>What was served, and what does not count</h2>",
        *(f"<p>{escape(line)}</p>" for line in served_in_words(ended, design)),
        f"<p class=hint>The rule, fixed before the first slice: {escape(str(design.bounds))}.</p>",
        *_left_out(ended),
    ]
    title = f"traffic-gen gate: {verdict_in_words(ended)}"
    head = f'<meta charset="utf-8"><title>{title}</title><style>{style}{_STYLE}</style>'
    lines = "\n".join(body)
    return f'<!doctype html><html lang="en"><head>{head}</head><body>\n{lines}\n</body></html>\n'


def _table(section: Section) -> str:
    if not section.rows:
        return ""
    head = "".join(f"<th>{escape(word)}</th>" for word in (section.title, *section.header))
    rows = (
        f"<tr class={row.tone.value}>{''.join(f'<td>{escape(cell)}</td>' for cell in row.cells)}</tr>"
        for row in section.rows
    )
    notes = "".join(f"<p class=hint>{escape(note)}</p>" for note in section.notes)
    return f"<div class=table><table><tr>{head}</tr>{''.join(rows)}</table></div>{notes}"


def _left_out(ended: SlicesEnded) -> Iterator[str]:
    if not ended.left_out:
        return
    heads = ("block", "pair", "why", "stolen", "foreign", "loop lag p90", "generator")
    rows = [
        Row(
            (
                str(block + 1),
                f"{pair + 1}, {one.side.name}",
                REASONS[why],
                f"{one.disturbance.stolen:.1%}",
                "–" if one.disturbance.foreign is None else f"{one.disturbance.foreign:.1%}",
                f"{one.disturbance.lag_ns / 1e6:.1f} ms",
                f"{one.disturbance.generator:.0%}",
            )
        )
        for block, pair, why in ended.left_out
        for one in ended.counted[block].block.slices[2 * pair : 2 * pair + 2]
    ]
    yield _table(Section(heads[0], "lrlrrrr", tuple(rows), heads[1:]))


# -- charts ---------------------------------------------------------------------------------------------


class _Frame:
    """Where values lie on a chart, on a scale of ratios."""

    def __init__(self, xs: float, values: Sequence[float]) -> None:
        low, high = log(min(values)), log(max(values))
        room = max(high - low, 0.01) * 0.08
        self.low, self.high = low - room, high + room
        self._xs = max(xs, 1e-9)

    def x(self, at: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * at / self._xs

    def y(self, value: float) -> float:
        return _EDGE + (_HEIGHT - 2 * _EDGE) * (self.high - log(value)) / (self.high - self.low)

    @property
    def ticks(self) -> list[float]:
        return [exp(self.low + (self.high - self.low) * share) for share in (0.1, 0.5, 0.9)]


def _charts(ended: SlicesEnded, design: SliceDesign, metric: Metric) -> Iterator[str]:
    name = escape(metric.name)
    if not metric.name.startswith("server."):
        yield f"<h2>{name} of each slice <span class=hint>A blue, B orange, hollow: left out</span></h2>"
        yield _slices_chart(ended, metric.name)
    if ended.judgement is not None:
        yield f"<h2>{name}: B / A and its interval, block by block</h2>"
        yield _ratio_chart(ended, design, metric)


def _slices_chart(ended: SlicesEnded, name: str) -> str:
    points: list[tuple[float, float, Slice, bool]] = []
    at = 0.0
    for counted in ended.counted:
        for place, one in enumerate(counted.block.slices):
            found = value(name, one.side, [Counted(_alone(counted, place), (None, None))])
            if found:
                points.append((at + counted.block.lasted_s * place / 4, found, one, counted.why[place // 2] is None))
        at += counted.block.lasted_s
    if not points:
        return "<p class=hint>nothing was measured</p>"
    frame = _Frame(at, [found for _, found, _, _ in points])
    marks = "".join(
        f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(found):.1f}" r="4" class="{one.side.value if kept else "out"}">'
        f"<title>{one.side.name}, {x:.0f} s: {escape(values_in_words(name, (found,))[0])}</title></circle>"
        for x, found, one, kept in points
    )
    labels = "".join(_label(frame, tick, values_in_words(name, (tick,))[0]) for tick in frame.ticks)
    return _svg(labels + marks, f"0 s to {at:.0f} s")


def _alone(counted: Counted, place: int) -> Block:
    """A block of which this slice is all there is."""
    one = counted.block.slices[place]
    return Block((one, one, one, one), counted.block.used, counted.block.messages)


def _ratio_chart(ended: SlicesEnded, design: SliceDesign, metric: Metric) -> str:
    assert ended.judgement is not None
    history = interval_history(design, ended, metric.name)
    (margin,) = [one.margin_ratio for one in ended.judgement.comparisons if one.metric == metric]
    if not history:
        return "<p class=hint>too few blocks</p>"
    first = history[0][0]
    frame = _Frame(history[-1][0] - first, [1.0, margin, *(end for _, _, *ends in history for end in ends)])
    xs = [frame.x(many - first) for many, *_ in history]
    upper = [f"{x:.1f},{frame.y(high):.1f}" for x, (_, _, _, high) in zip(xs, history, strict=True)]
    lower = [f"{x:.1f},{frame.y(low):.1f}" for x, (_, _, low, _) in zip(xs, history, strict=True)]
    middle = [f"{x:.1f},{frame.y(ratio):.1f}" for x, (_, ratio, _, _) in zip(xs, history, strict=True)]
    marks = (
        f'<polygon class="band" points="{" ".join([*upper, *reversed(lower)])}"/>'
        f'<polyline class="ratio" points="{" ".join(middle)}"/>'
        + _line(frame, 1.0, "one", "1.000×")
        + _line(frame, margin, "margin", f"{margin:.3f}×")
    )
    worse = "below" if metric.better is Better.HIGHER else "above"
    return _svg(marks, f"block {first} to {history[-1][0]}; {worse} the dashed line, B is worse by the margin")


def _line(frame: _Frame, at: float, kind: str, words: str) -> str:
    y = frame.y(at)
    return f'<line class="{kind}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>' + _label(
        frame, at, words
    )


def _label(frame: _Frame, at: float, words: str) -> str:
    return f'<text x="{_LEFT - 8}" y="{frame.y(at) + 4:.1f}" text-anchor="end">{escape(words)}</text>'


def _svg(inside: str, caption: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 10}" role="img">{inside}<text x="{_LEFT}" y="{_HEIGHT + 4}">'
        f"{escape(caption)}</text></svg>"
    )

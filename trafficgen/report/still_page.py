"""Pages that are drawn once and in which nothing runs: a frame for charts of ratios, tables, the document around them.

Takes     values, sections
Gives     HTML and SVG, with the style of the page about runs
Not here  what is drawn (slices_page, history_page); the page that scripts draw (to_html)
"""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from math import exp, log
from typing import Final

from trafficgen.report.section import Row, Section

WIDTH: Final = 1100
HEIGHT: Final = 240
LEFT: Final = 90
RIGHT: Final = 20
EDGE: Final = 20

_STYLE: Final = """
svg { background: var(--panel); border-radius: 4px; height: auto; width: 100%; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
.a { fill: var(--line-1); } .b { fill: var(--line-2); } .out { fill: none; stroke: var(--soft); }
.band { fill: var(--line-2); opacity: .25; stroke: var(--line-2); stroke-width: 2; }
.ratio { fill: none; stroke: var(--line-2); stroke-width: 2; }
.level { stroke: var(--ink); stroke-width: 2; } .one { stroke: var(--soft); }
.margin { stroke: var(--bad); stroke-dasharray: 6 4; }
.verdict { font-size: 1.1rem; }
@media (max-width: 40rem) { svg text { font-size: 24px; } circle { r: 8px; } }
"""


def document(title: str, body: Sequence[str]) -> str:
    """The whole page. `body` is HTML already."""
    page = files("trafficgen.report").joinpath("page", "page.css").read_text(encoding="utf-8")
    phone = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f'<meta charset="utf-8">{phone}<title>{escape(title)}</title><style>{page}{_STYLE}</style>'
    lines = "\n".join(body)
    return f'<!doctype html><html lang="en"><head>{head}</head><body><main>\n{lines}\n</main></body></html>\n'


def table(section: Section) -> str:
    """A section as a table; nothing when it has no rows."""
    if not section.rows:
        return ""
    head = "".join(_heading(word) for word in (section.title, *section.header))
    rows = "".join(f"<tr class={row.tone.value}>{_cells(row)}</tr>" for row in section.rows)
    notes = "".join(f"<p class=hint>{escape(note)}</p>" for note in section.notes)
    made = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class=table role=region tabindex=0 aria-label="{escape(section.title)}">{made}</div>{notes}'


def _heading(word: str) -> str:
    return f"<th scope=col>{escape(word)}</th>" if word else "<td></td>"  # a heading that says nothing is none


def _cells(row: Row) -> str:
    """The first of them says what the row is about."""
    first, *others = row.cells
    return f"<th scope=row>{escape(first)}</th>" + "".join(f"<td>{escape(cell)}</td>" for cell in others)


class Frame:
    """Where values lie on a chart, on a scale of ratios."""

    def __init__(self, xs: float, values: Sequence[float]) -> None:
        low, high = log(min(values)), log(max(values))
        room = max(high - low, 0.01) * 0.08
        self.low, self.high = low - room, high + room
        self._xs = max(xs, 1e-9)

    def x(self, at: float) -> float:
        """Of a point on the axis that begins at 0."""
        return LEFT + (WIDTH - LEFT - RIGHT) * at / self._xs

    def y(self, value: float) -> float:
        """Of a value above zero."""
        return EDGE + (HEIGHT - 2 * EDGE) * (self.high - log(value)) / (self.high - self.low)

    @property
    def ticks(self) -> list[float]:
        """Values worth a label."""
        return [exp(self.low + (self.high - self.low) * share) for share in (0.1, 0.5, 0.9)]


def line(frame: Frame, at: float, kind: str, words: str) -> str:
    """A horizontal line over the whole chart."""
    y = frame.y(at)
    return f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>' + label(
        frame, at, words
    )


def label(frame: Frame, at: float, words: str) -> str:
    """Words on the left, at a value."""
    return f'<text x="{LEFT - 8}" y="{frame.y(at) + 4:.1f}" text-anchor="end">{escape(words)}</text>'


def svg(inside: str, caption: str) -> str:
    """A chart with a line below it."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 10}" role="img" aria-label="{escape(caption)}">{inside}'
        f'<text x="{LEFT}" y="{HEIGHT + 4}">'
        f"{escape(caption)}</text></svg>"
    )

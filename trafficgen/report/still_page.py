"""Pages that are drawn once and in which nothing runs: a frame for charts of ratios, tables, the document around them.

Takes     values, sections
Gives     HTML and SVG, with the style of the page about runs
Not here  what is drawn (slices_page, history_page); the page that scripts draw (to_html)
"""

from collections.abc import Container, Sequence
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
.a { fill: var(--line-1); stroke: var(--line-1); } .b { fill: var(--line-2); stroke: var(--line-2); }
.out { fill: none; }
.band { fill: var(--line-2); opacity: .25; stroke: var(--line-2); stroke-width: 2; }
.ratio { fill: none; stroke: var(--line-2); stroke-width: 2; }
.level { stroke: var(--ink); stroke-width: 2; } .one { stroke: var(--soft); }
.margin { stroke: var(--bad); stroke-dasharray: 6 4; }
.verdict { font-size: 1.1rem; }
@media (max-width: 40rem) { svg { min-width: 46rem; } svg text { font-size: 16px; } }
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
    words = {column for column, side in enumerate(section.aligned) if side == "l"}
    head = "".join(_heading(word, column in words) for column, word in enumerate((section.title, *section.header)))
    rows = "".join(f"<tr class={row.tone.value}>{_cells(row, words)}</tr>" for row in section.rows)
    notes = "".join(f"<p class=hint>{escape(note)}</p>" for note in section.notes)
    made = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class=table role=region tabindex=0 aria-label="{escape(section.title)}">{made}</div>{notes}'


def _heading(word: str, left: bool) -> str:
    if not word:
        return "<td></td>"  # a heading that says nothing is none
    return f"<th scope=col{' class=text' if left else ''}>{escape(word)}</th>"


def _cells(row: Row, words: Container[int]) -> str:
    """The first of them says what the row is about; those in the columns `words` are no numbers."""
    first, *others = row.cells
    cells = (f"<td{' class=text' if at in words else ''}>{escape(cell)}</td>" for at, cell in enumerate(others, 1))
    return f"<th scope=row>{escape(first)}</th>" + "".join(cells)


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


def line(frame: Frame, at: float, kind: str, words: str, *, below: bool = False) -> str:
    """A horizontal line over the whole chart. Its words stand on the side where the line next to it is not."""
    y = frame.y(at)
    drawn = f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return drawn + label(frame, at, words, 12 if below else -2)


def label(frame: Frame, at: float, words: str, lower: int = 4) -> str:
    """Words on the left, at a value; their foot is `lower` than it."""
    return f'<text x="{LEFT - 8}" y="{frame.y(at) + lower:.1f}" text-anchor="end">{escape(words)}</text>'


def mark(at: tuple[float, float], kind: str, words: str) -> str:
    """A point that says more under a mouse: a circle of A, a square of B, as colour alone tells too few."""
    x, y = at
    if kind.startswith("a"):
        return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{escape(words)}</title></circle>'
    return (
        f'<rect class="{kind}" x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7">'
        f"<title>{escape(words)}</title></rect>"
    )


def svg(title: str, inside: str, caption: str) -> str:
    """A chart with a line below it. `title`, which no other chart of the page has, is for those who cannot see it."""
    return (
        f'<div class=table role=region tabindex=0 aria-label="chart of {escape(title)}">'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 10}" role="img" aria-label="{escape(title)}, {escape(caption)}">{inside}'
        f'<text x="{LEFT}" y="{HEIGHT + 4}">'
        f"{escape(caption)}</text></svg></div>"
    )

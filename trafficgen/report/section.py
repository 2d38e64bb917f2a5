"""What every report is made of: titled tables of text, before anyone decides how they look.

Gives     `Section`, its rows, and how each is meant
Not here  what they say (sections, gated, logged …), how they look (to_text, to_html)
"""

from dataclasses import dataclass
from enum import Enum


class Tone(Enum):
    """How a row is meant."""

    PLAIN = "plain"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a section: as many cells as the section has columns."""

    cells: tuple[str, ...]
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Section:
    """A titled table. `aligned`: "l" or "r" a column; `header`: words over all columns but the first, over which
    the title stands. Without a header the rows speak for themselves."""

    title: str
    aligned: str
    rows: tuple[Row, ...]
    header: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

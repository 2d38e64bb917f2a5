"""The summary of a run, as text.

Takes     `Results`; where it is to be written
Gives     plain monospace text, or the same in colour on a terminal that has it
Honours   NO_COLOR (https://no-color.org) and TERM=dumb; an encoding without "µ" and "–" gets "u" and "-"
Not here  what is said (sections)
"""

import io
import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, TextIO

from mboxgen.enums import table_of
from trafficgen.measure.results import Results
from trafficgen.printable import printable
from trafficgen.report.judged import threshold_section, window_section
from trafficgen.report.observed import server_section, shape_section
from trafficgen.report.section import Section, Tone
from trafficgen.report.sections import sections
from trafficgen.report.words import shorten

MAX_WIDTH: Final = 100
MIN_WIDTH: Final = 60
INDENT: Final = "  "

_ASCII: Final = str.maketrans({"µ": "u", "–": "-", "…": "~", "→": ">"})
# Each can be read on black and on white, which yellow cannot; no colour says what no word does.
_STYLES: Final = table_of(Tone, {Tone.PLAIN: "", Tone.GOOD: "green", Tone.WARN: "magenta", Tone.BAD: "red"})


def to_text(results: Results, width: int = MAX_WIDTH) -> str:
    """The summary in plain text, at most `width` columns wide."""
    return sections_to_text(_summary(results), width)


def sections_to_text(shown: Sequence[Section], width: int = MAX_WIDTH) -> str:
    """Any sections in plain text."""
    blocks = (_plain(section, width) for section in shown)
    return "\n\n".join("\n".join(lines) for lines in blocks) + "\n"


def write_summary(results: Results, stream: TextIO) -> None:
    """Write the summary to `stream`: in colour when it is a terminal that wants it, else in plain text."""
    write_sections(_summary(results), stream)


def write_sections(shown: Sequence[Section], stream: TextIO) -> None:
    """The same for any sections."""
    if has_colour(stream):
        stream.write(_coloured(shown, stream))
    else:
        stream.write(encodable(sections_to_text(shown), stream))
    stream.flush()


def has_colour(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether `stream` is a terminal on which colour is welcome."""
    return stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def encodable(text: str, stream: TextIO) -> str:
    """`text` with nothing in it that `stream` could not write."""
    encoding = stream.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    return text


def _summary(results: Results) -> tuple[Section, ...]:
    judged = (server_section(results), shape_section(results), window_section(results), threshold_section(results))
    return sections(results) + tuple(section for section in judged if section.rows)


def _plain(section: Section, width: int) -> list[str]:
    return [line for line, _ in _lines(section, width)]


def _lines(section: Section, width: int) -> list[tuple[str, Tone | None]]:
    """Each line of a section and how it is meant; None for titles and notes."""
    section = _printable(section)
    widths, gap = _layout(section, width)
    indent = INDENT if section.title else ""
    lines: list[tuple[str, Tone | None]] = []
    if section.header and section.rows:
        titles = (section.title, *section.header)
        first = len(indent) + widths[0]
        lines.append((_line(titles, section.aligned, (first, *widths[1:]), gap, width), None))
    elif section.title:
        lines.append((section.title, None))
    for row in section.rows:
        if section.aligned == "l":  # a sentence, which means something else when its end is missing
            lines += [(line, row.tone) for line in _wrapped(row.cells[0], width, indent)]
            continue
        line = _line(row.cells, section.aligned, widths, gap, width - len(indent))
        lines.append((indent + line, row.tone))
    for note in section.notes:
        lines += [(line, None) for line in _wrapped(note, width, indent)]
    return lines


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent + INDENT)


def _printable(section: Section) -> Section:
    """The one way to a terminal: nothing that a server or a file said commands it."""
    rows = tuple(replace(row, cells=tuple(map(printable, row.cells))) for row in section.rows)
    header, notes = (tuple(map(printable, texts)) for texts in (section.header, section.notes))
    return replace(section, title=printable(section.title), rows=rows, header=header, notes=notes)


def _layout(section: Section, width: int) -> tuple[tuple[int, ...], str]:
    """How wide each column is, and what stands between two: less where the table would not fit otherwise."""
    table = [row.cells for row in section.rows]
    if section.header:
        table.append((section.title[len(INDENT) :], *section.header))
    widths = tuple(max(map(len, column)) for column in zip(*table, strict=True))
    fits = len(INDENT) + sum(widths) + 2 * (len(widths) - 1) <= width
    # Where the last column is text it is cut short instead: a number never is.
    return widths, "  " if fits or section.aligned.endswith("l") else " "


def _line(cells: Sequence[str], aligned: str, widths: Sequence[int], gap: str, width: int) -> str:
    set_cells = (
        cell.rjust(wide) if side == "r" else cell.ljust(wide)
        for cell, wide, side in zip(cells, widths, aligned, strict=True)
    )
    line = gap.join(set_cells).rstrip()
    return shorten(line, width) if aligned.endswith("l") else line


def _coloured(shown: Sequence[Section], stream: TextIO) -> str:
    from rich.console import Console
    from rich.text import Text

    # rich must not write to the stream itself: on a broken pipe it would end the process, and the caller has files
    # yet to close.
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, highlight=False, soft_wrap=True)
    for section in shown:
        for line, tone in _lines(section, max(console.width - 1, MIN_WIDTH)):
            console.print(Text(encodable(line, stream), _style(line, tone)))
        console.print()
    return drawn.getvalue()


def _style(line: str, tone: Tone | None) -> str:
    if tone is None:
        return "italic" if line.startswith(INDENT) else "bold"
    return _STYLES[tone]

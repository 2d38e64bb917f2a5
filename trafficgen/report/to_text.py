"""The summary of a run, as text.

Takes     `Results`; where it is to be written
Gives     plain monospace text, or the same in colour on a terminal that has it
Honours   NO_COLOR (https://no-color.org) and TERM=dumb; an encoding without "µ" and "–" gets "u" and "-"
Not here  what is said (sections)
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, TextIO

from trafficgen.measure.results import Results
from trafficgen.report.sections import Row, Section, Tone, sections
from trafficgen.report.words import shorten

if TYPE_CHECKING:
    from rich.text import Text

MAX_WIDTH: Final = 100
INDENT: Final = "  "

_ASCII: Final = str.maketrans({"µ": "u", "–": "-", "…": "~", "→": ">"})
_STYLES: Final = {Tone.PLAIN: "", Tone.GOOD: "green", Tone.BAD: "red"}


def to_text(results: Results, width: int = MAX_WIDTH) -> str:
    """The summary in plain text, at most `width` columns wide."""
    blocks = (_plain(section, width) for section in sections(results))
    return "\n\n".join("\n".join(lines) for lines in blocks) + "\n"


def write_summary(results: Results, stream: TextIO) -> None:
    """Write the summary to `stream`: in colour when it is a terminal that wants it, else in plain text."""
    if has_colour(stream):
        _write_coloured(results, stream)
    else:
        stream.write(encodable(to_text(results), stream))
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


def _plain(section: Section, width: int) -> list[str]:
    lines = [section.title] if section.title else []
    indent = INDENT if section.title else ""
    table = [Row(section.header), *section.rows] if section.header and section.rows else list(section.rows)
    lines += [_line(row, section, _widths(section), indent, width) for row in table]
    lines += [indent + note for note in section.notes]
    return [line.rstrip() for line in lines]


def _line(row: Row, section: Section, widths: Sequence[int], indent: str, width: int) -> str:
    cells = (
        cell.rjust(wide) if side == "r" else cell.ljust(wide)
        for cell, wide, side in zip(row.cells, widths, section.aligned, strict=True)
    )
    return shorten((indent + "  ".join(cells)).rstrip(), width)


def _widths(section: Section) -> list[int]:
    table = [row.cells for row in section.rows]
    if section.header:
        table.append(section.header)
    return [max(map(len, column)) for column in zip(*table, strict=True)]


def _write_coloured(results: Results, stream: TextIO) -> None:
    from rich.console import Console

    console = Console(file=stream, highlight=False, soft_wrap=True)
    width = max(console.width, 40)
    for section in sections(results):
        for line in _coloured(section, width):
            console.print(line)
        console.print()


def _coloured(section: Section, width: int) -> "list[Text]":
    from rich.text import Text

    indent = INDENT if section.title else ""
    widths = _widths(section)
    lines = [Text(section.title, "bold")] if section.title else []
    if section.header and section.rows:
        lines.append(Text(_line(Row(section.header), section, widths, indent, width), "dim"))
    lines += [Text(_line(row, section, widths, indent, width), _STYLES[row.tone]) for row in section.rows]
    return lines + [Text(indent + note, "italic") for note in section.notes]

"""What mail files hold: any mbox, Maildir or folder, ours or not.

Takes     a path
Gives     counts, sizes, MIME shapes and faults, as numbers
Limits    bounded memory: sizes are counted, not listed (different sizes of 3 GB of mail are 77,000 at most)
Not here  words and bars for the screen (display), checking against an index (verify)
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from stringzilla import find

from mboxgen.enums import table_of
from mboxgen.flags import Flag
from mboxgen.mbox.examine import examine
from mboxgen.mbox.reader import MessageBlock, Oddities, open_path
from mboxgen.mbox.scan import WINDOW, release

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_MULTIPART = "multipart/"
_CONTENT_TYPE = b"content-type"
_TYPE = re.compile(rb"[ \t]*:[ \t]*(?:\r?\n[ \t]+)?([!-:<-~]+)")
_FIELD = re.compile(rb"(?:[^\n]*\n[ \t])*[^\n]*")
_BOUNDARY = re.compile(rb"boundary[ \t]*=[ \t]*(?:\"([^\"\r\n]{1,70})\"|([!-:<-~]{1,70}))", re.IGNORECASE)
_FIELDS = {b"date": "no Date field", b"from": "no From field", b"message-id": "no Message-ID field"}
_FLAG_WORDS = table_of(Flag, {
    Flag.LF_ONLY: None,  # said as the line ends of the file
    Flag.LEADING_DOT: 'lines that begin with "."',
    Flag.EIGHT_BIT: "octets above 127 in the body",
    Flag.SMTPUTF8: "octets above 127 in the header",
    Flag.LONG_LINE: "lines above 998 octets",
    Flag.NUL: "NUL octets",
    Flag.BARE_LF: "LF without CR",
    Flag.BARE_CR: "CR without LF",
    Flag.FROM_LINE: 'lines that begin with "From "',
    Flag.UNTERMINATED: "no line end at the end",
    Flag.ODD_HEADER: "a header line that is no field",
    Flag.CHECKSUMS_KNOWN: None,
})  # fmt: skip
_LONGEST_SHAPE = 128  # octets of a Content-Type field that say the shape
_LONGEST_FIELD = 4096
_HEADERS_AT_ONCE = 1024


@dataclass(slots=True)
class Statistics:
    """Mail in numbers. `sizes`: how many messages have so many delivered octets.

    `note` says why an index that is there was not used.
    """

    indexed: bool = False
    note: str = ""
    sizes: Counter[int] = field(default_factory=Counter)
    header_octets: int = 0
    lf_messages: int = 0
    shapes: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    oddities: Oddities = field(default_factory=Oddities)

    @property
    def messages(self) -> int:
        """How many there are."""
        return self.sizes.total()

    @property
    def octets(self) -> int:
        """What a server receives in all."""
        return sum(size * count for size, count in self.sizes.items())

    @property
    def histogram(self) -> list[tuple[int, int]]:
        """How many messages have less than 1 kB, 2 kB, 4 kB, …: (upper end, messages), without empty ends."""
        ends = [1000 << power for power in range(23)]
        counts = [0] * len(ends)
        for size, count in self.sizes.items():
            counts[int(np.searchsorted(ends, size, side="right"))] += count
        used = [number for number, count in enumerate(counts) if count]
        return [(ends[number], counts[number]) for number in range(used[0], used[-1] + 1)]

    def quantile(self, percent: float) -> int:
        """The size that a share of the messages does not exceed."""
        sizes = sorted(self.sizes)
        upto = np.cumsum([self.sizes[size] for size in sizes])
        return sizes[int(np.searchsorted(upto, percent / 100 * self.messages, side="left"))]


def collect_statistics(path: Path, progress: Callable[[int, int], None] | None = None) -> Statistics:
    """Read all mail under a path; where an index says what is in it, only the headers.

    `progress` is told messages and octets so far.
    """
    opened = open_path(path)
    octets = opened.source.octets
    found = Statistics(opened.records is not None, opened.note)
    seen = 0
    for block in opened.blocks() if opened.records is None else _indexed(octets, opened.records):
        _note(octets, block, found, seen)
        seen += len(block.records)
        if progress:
            progress(seen, int(block.records[-1]["offset"]))
    found.oddities.text_from_lines, found.oddities.first_text_from_line = (
        opened.scan.text_from_lines,
        opened.scan.first_text_from_line,
    )
    return found


def _indexed(octets: mmap.mmap, records: NDArray[np.void]) -> Iterator[MessageBlock]:
    """Yield blocks of which only the headers were read."""
    released = 0
    for first in range(0, len(records), _HEADERS_AT_ONCE):
        part = np.asarray(records[first : first + _HEADERS_AT_ONCE])
        places = part[["offset", "header_length"]].tolist()
        headers = b"".join(octets[offset : offset + min(length, WINDOW)] for offset, length in places)
        ends = np.cumsum(np.minimum(part["header_length"], WINDOW).astype(np.int64))
        joined = np.frombuffer(headers, dtype=np.uint8)
        starts = np.concatenate(([0], ends))[:-1]
        yield MessageBlock(part, joined, examine(joined, starts, ends).header_lines)
        released = release(octets, released, places[-1][0])


def _note(octets: mmap.mmap, block: MessageBlock, found: Statistics, seen: int) -> None:
    """Count what a block's messages are like."""
    records, flags = block.records, block.records["flags"]
    sizes, counts = np.unique(records["delivered"], return_counts=True)
    found.sizes.update(dict(zip(sizes.tolist(), counts.tolist(), strict=True)))
    lf_only = (flags & Flag.LF_ONLY) != 0
    found.header_octets += _delivered_header_octets(block, lf_only)
    found.lf_messages += int(np.count_nonzero(lf_only))
    raised = int(np.bitwise_or.reduce(flags))
    for flag, words in _FLAG_WORDS.items():
        if words and raised & flag:
            found.findings[words] += int(np.count_nonzero(flags & np.uint32(flag)))
    for name, words in _FIELDS.items():
        having = block.header_lines.messages[block.header_lines.named(name)]
        lacking = len(records) - int(np.count_nonzero(having[1:] != having[:-1])) - bool(having.size)
        if lacking:
            found.findings[words] += lacking
    found.oddities.note_odd(block, seen)
    _note_shapes(octets, block, found)


def _delivered_header_octets(block: MessageBlock, lf_only: NDArray[np.bool_]) -> int:
    """Octets of all headers as a server receives them: each line end of a file with LF alone is one more there."""
    lengths, lines = block.records["header_length"].astype(np.int64), block.header_lines
    contents = np.bincount(lines.messages, lines.ends - lines.begins, minlength=len(lengths)).astype(np.int64)
    line_ends = np.minimum(lengths, WINDOW) - contents
    return int(lengths.sum() + line_ends[lf_only].sum())


def _note_shapes(octets: mmap.mmap, block: MessageBlock, found: Statistics) -> None:
    lines = block.header_lines
    places = lines.named(_CONTENT_TYPE)
    messages = lines.messages[places]
    first = np.flatnonzero(np.diff(messages, prepend=-1))
    messages = messages[first]
    if len(messages) < len(block.records):
        found.shapes["no Content-Type"] += len(block.records) - len(messages)
    header = block.octets.data
    begins = lines.begins[places[first]].tolist()
    shapes: list[str] = []
    for begin in begins:
        named = _TYPE.match(header, begin + len(_CONTENT_TYPE), begin + _LONGEST_SHAPE)
        shapes.append(named[1].decode("ascii", "replace").lower() if named else "no Content-Type")
    found.shapes.update(shapes)
    for begin, message, shape in zip(begins, messages.tolist(), shapes, strict=True):
        if shape.startswith(_MULTIPART):
            text = _FIELD.match(header, begin, begin + _LONGEST_FIELD)
            boundary = _BOUNDARY.search(text[0]) if text else None
            record = block.records[message]
            offset, length = int(record["offset"]), int(record["length"])
            if boundary is None or not _closed(octets, offset, offset + length, boundary[1] or boundary[2]):
                found.findings["a multipart that never ends"] += 1


def _closed(octets: mmap.mmap, begin: int, end: int, boundary: bytes) -> bool:
    """Tell whether the outer boundary's last line is near the message's end, or anywhere in it."""
    closing = b"--" + boundary + b"--"
    with memoryview(octets) as view:
        near: int = find(view[max(begin, end - 4096) : end], closing)
        return near >= 0 or int(find(view[begin:end], closing)) >= 0

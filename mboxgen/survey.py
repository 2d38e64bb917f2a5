"""What an mbox holds: any mbox, ours or not.

Takes     an open mbox
Gives     counts, sizes, MIME shapes and faults, as numbers
Not here  words and bars for the screen (cli), checking against an index (verify)
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mboxgen.flags import Flag

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mboxgen.mbox import Mbox

_CONTENT_TYPE = re.compile(rb"^content-type:[ \t]*(?:\r\n[ \t]+)?([!-:<-~]+)", re.IGNORECASE | re.MULTILINE)
_BOUNDARY = re.compile(rb"boundary[ \t]*=[ \t]*(?:\"([^\"\r\n]{1,70})\"|([!-:<-~]{1,70}))", re.IGNORECASE)
_FIELDS = (
    ("no Date field", re.compile(rb"^date:", re.IGNORECASE | re.MULTILINE)),
    ("no From field", re.compile(rb"^from:", re.IGNORECASE | re.MULTILINE)),
    ("no Message-ID field", re.compile(rb"^message-id:", re.IGNORECASE | re.MULTILINE)),
)
_FLAG_WORDS = (
    (Flag.LEADING_DOT, 'lines that begin with "."'),
    (Flag.EIGHT_BIT, "octets above 127 in the body"),
    (Flag.SMTPUTF8, "octets above 127 in the header"),
    (Flag.LONG_LINE, "lines above 998 octets"),
    (Flag.NUL, "NUL octets"),
    (Flag.BARE_LF, "LF without CR"),
    (Flag.FROM_LINE, 'lines that begin with "From "'),
    (Flag.UNTERMINATED, "no line end at the end"),
)
_HEADER_LIMIT = 256 << 10


@dataclass(frozen=True, slots=True)
class Survey:
    """An mbox in numbers: `sizes` are delivered octets, message by message."""

    sizes: NDArray[np.int64]
    header_sizes: NDArray[np.int64]
    lf_messages: int
    shapes: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)

    @property
    def histogram(self) -> list[tuple[int, int]]:
        """How many messages have less than 1 kB, 2 kB, 4 kB, …: (upper end, messages), without empty ends."""
        ends = [1000 << power for power in range(22)]
        counts = np.bincount(np.searchsorted(ends, self.sizes, side="right"), minlength=len(ends)).tolist()
        used = [number for number, count in enumerate(counts) if count]
        return [(ends[number], counts[number]) for number in range(used[0], used[-1] + 1)]

    def quantile(self, percent: float) -> int:
        """The size that a share of the messages does not exceed."""
        return int(np.percentile(self.sizes, percent, method="inverted_cdf"))


def survey(mbox: Mbox, progress: Callable[[int], None] | None = None) -> Survey:
    """Read every message of an mbox; where an index says what is in it, only the header."""
    sizes = np.zeros(len(mbox), dtype=np.int64)
    header_sizes = np.zeros(len(mbox), dtype=np.int64)
    shapes: Counter[str] = Counter()
    findings: Counter[str] = Counter()
    lf_messages = 0
    for number in range(len(mbox)):
        record = mbox.records[number]
        flags = Flag(int(record["flags"]))
        if flags & Flag.CHECKSUMS_KNOWN:
            sizes[number], header_sizes[number] = record["delivered"], record["header_length"]
        else:
            found = mbox.details(number)
            flags, sizes[number], header_sizes[number] = found.flags, found.delivered, found.header_length
        lf_messages += bool(flags & Flag.LF_ONLY)
        _note(mbox, number, int(header_sizes[number]), flags, shapes, findings)
        if progress and number % 1024 == 0:
            progress(number)
            mbox.release(number)
    return Survey(sizes, header_sizes, lf_messages, shapes, findings)


def _note(
    mbox: Mbox, number: int, header_octets: int, flags: Flag, shapes: Counter[str], findings: Counter[str]
) -> None:
    """Count one message's shape and what is odd about it."""
    with mbox.octets(number) as view:
        header = bytes(view[: min(header_octets, _HEADER_LIMIT)]).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        content_type = _CONTENT_TYPE.search(header)
        shape = content_type[1].decode("ascii", "replace").lower() if content_type else "no Content-Type"
        shapes[shape] += 1
        for words, pattern in _FIELDS:
            if not pattern.search(header):
                findings[words] += 1
        if shape.startswith("multipart/") and not _closed(header, view):
            findings["a multipart that never ends"] += 1
    for flag, words in _FLAG_WORDS:
        if flags & flag:
            findings[words] += 1


def _closed(header: bytes, view: memoryview) -> bool:
    """Tell whether the outer boundary's last line is near the message's end."""
    boundary = _BOUNDARY.search(header)
    if boundary is None:
        return False
    closing = b"--" + (boundary[1] or boundary[2]) + b"--"
    return closing in bytes(view[-4096:]) or closing in bytes(view)

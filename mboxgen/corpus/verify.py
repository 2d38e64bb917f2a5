"""Check a corpus against its index: every message, every octet.

Takes     the path of an mbox with an index beside it
Gives     what is broken, message by message
Refuses   an mbox without an index: MboxError; there is nothing to check it against
Not here  judging foreign mboxes (statistics)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zlib_ng.zlib_ng import crc32

from mboxgen.flags import Flag
from mboxgen.mbox import index
from mboxgen.mbox.from_lines import FROM
from mboxgen.mbox.reader import Mbox, MboxError, open_mbox
from mboxgen.mbox.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

MAX_NAMED = 10


@dataclass(slots=True)
class CorpusVerdict:
    """How many messages were checked, how many are broken, and words for the file and the first broken ones."""

    messages: int
    broken: int
    findings: list[str]

    @property
    def sound(self) -> bool:
        """Whether everything is as it was made."""
        return not self.broken and not self.findings


def verify(path: Path, progress: Callable[[int], None] | None = None) -> CorpusVerdict:
    """Read the whole corpus and compare it with its index."""
    header = index.read_header(path)
    if header is None:
        open_mbox(path).close()  # says what is wrong with the file itself, if anything
        raise MboxError(f'no index "{index.path_of(path)}" to check against; "mboxgen info" reads any mbox')
    records = index.load(path)
    if records is None:
        return CorpusVerdict(header.messages, 0, [_mismatch(path, header)])
    with Mbox(open_source(path).octets, records, True) as mbox:
        verdict = CorpusVerdict(len(mbox), 0, [])
        if crc32(mbox.records.tobytes()) != header.records_crc32:
            verdict.findings.append("the index itself was changed: its records do not match its own checksum")
        end = 0
        for number in range(len(mbox)):
            fault = _fault(mbox, number, end)
            end = int(mbox.records[number]["offset"]) + int(mbox.records[number]["length"])
            if fault:
                verdict.broken += 1
                if verdict.broken <= MAX_NAMED:
                    verdict.findings.append(f"message {number}: {fault}")
            if number % 1024 == 0:
                mbox.release(number)
                if progress:
                    progress(number)
    return verdict


def _mismatch(path: Path, header: index.IndexHeader) -> str:
    size = path.stat().st_size
    if size != header.octets:
        return f"the file has {size} octets, its index was made for {header.octets}"
    return "the index does not belong to the file: it was cut short, or first or last octets differ"


def _fault(mbox: Mbox, number: int, end: int) -> str | None:
    """Say what is wrong with a message, None when nothing is."""
    record = mbox.records[number]
    if int(record["offset"]) + int(record["length"]) > mbox.size or int(record["offset"]) < end:
        return "its place in the index lies outside the file or inside another message"
    if not mbox.from_line(number).startswith(FROM):
        return "no From_ line before it"
    message = mbox.crlf(number)
    try:
        return _checksum_fault(message, record)
    finally:
        if isinstance(message, memoryview):
            message.release()


def _checksum_fault(message: bytes | memoryview, record: np.void) -> str | None:
    delivered, crc, body_crc = (int(record[name]) for name in ("delivered", "crc32", "body_crc32"))
    if len(message) != delivered:
        return f"{len(message)} octets delivered, {delivered} expected"
    if crc32(message) != crc:
        header = int(record["header_length"])
        lf = int(record["flags"]) & Flag.LF_ONLY
        body_same = not lf and crc32(message[header:]) == body_crc
        return "its header was changed" if body_same else "its octets were changed"
    return None

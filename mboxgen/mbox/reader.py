"""Read any mbox without loading it.

Takes     a path, and the sidecar index beside it when there is a valid one; other sources of mail (sources)
Gives     the messages by number, as the file has them (octets) or as a server receives them (crlf)
Refuses   what is missing, empty, compressed in a way that cannot be read, or holds no mail: MboxError
Not here  where messages begin (scan), what is in them (examine), the sidecar's form (index), making a corpus (generate)

A message whose lines end in LF gets CRLF line ends; any other is handed over as it is. Quoting (`>From `) is left
alone: no reader used in load tests undoes it, and what is measured is what is in the file.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from zlib_ng.zlib_ng import crc32

from mboxgen import checksums
from mboxgen.flags import Flag
from mboxgen.mbox import index
from mboxgen.mbox.examine import ODD, Examined, HeaderLines, examine
from mboxgen.mbox.index import RECORD
from mboxgen.mbox.scan import MOST_BETWEEN, WINDOW, Scan, Spans, populate, release
from mboxgen.mbox.sources import MappedSource, MboxError, is_compressed, message_files, open_source

if TYPE_CHECKING:
    import mmap
    import os
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["Flag", "Mbox", "MboxError", "open_mbox", "read_mbox"]

_CHANGED = Flag.LF_ONLY | Flag.UNTERMINATED
_SUMMED_AT_ONCE = 4096
_SHOWN = 60  # octets of a line that is odd


class MessageBlock(NamedTuple):
    """Messages in order: their records without checksums; the lines of their headers, as parts of `octets`."""

    records: NDArray[np.void]
    octets: NDArray[np.uint8]
    header_lines: HeaderLines


@dataclass(slots=True)
class Oddities:
    """What of some mail will not come through as one may think.

    `text_from_lines` lines begin with "From " and were taken for text; the first is `first_text_from_line`.
    `odd_headers` messages have a header line that is neither a field nor continues one; the first is `first_odd_line`,
    of message `first_odd`.
    """

    text_from_lines: int = 0
    first_text_from_line: str = ""
    odd_headers: int = 0
    first_odd: int = 0
    first_odd_line: str = ""

    def note_odd(self, block: MessageBlock, before: int) -> None:
        """Count a block's odd headers; `before` messages are in front of it."""
        odd = np.flatnonzero(block.header_lines.names == ODD)
        if odd.size and not self.odd_headers:
            lines, first = block.header_lines, int(odd[0])
            self.first_odd = before + int(lines.messages[first])
            octets = block.octets[lines.begins[first] : lines.ends[first]][:_SHOWN]
            self.first_odd_line = octets.tobytes().decode("ascii", "backslashreplace")
        self.odd_headers += int(np.count_nonzero(block.records["flags"] & np.uint32(Flag.ODD_HEADER)))

    def in_words(self) -> list[str]:
        """One line each."""
        lines = []
        if self.text_from_lines:
            them = "1 line begins" if self.text_from_lines == 1 else f"{self.text_from_lines:,} lines begin"
            why = "no date in it, or no blank line before and header after"
            lines.append(f'{them} with "From " without beginning a message ({why}): "{self.first_text_from_line}"')
        if self.odd_headers:
            them = "1 message has" if self.odd_headers == 1 else f"{self.odd_headers:,} messages have"
            lines.append(
                f"{them} a header line that is neither a field nor continues one, which servers may mend: message "
                f'{self.first_odd}, "{self.first_odd_line}"'
            )
        return lines


class OpenedMbox(NamedTuple):
    """What was found under a path: `records` of a valid index; `note` says why one that is there is not used."""

    source: MappedSource
    records: NDArray[np.void] | None
    note: str
    scan: Scan

    def blocks(self) -> Iterator[MessageBlock]:
        """Yield all messages, examined."""
        octets, spans = self.source.octets, self.source.spans
        if spans is None:
            return _examined(octets, self.scan.spans())
        return _examined(octets, iter([Spans(spans[0], spans[1], np.zeros(spans.shape[1], dtype=np.bool_))]))


def open_path(path: Path, copy: Path | None = None) -> OpenedMbox:
    """Map what is there, and its index when that can be used; `copy` names the copy of what is no plain file."""
    source = open_source(path, copy)
    records, note = None, ""
    if source.plain:
        records = index.load(path)
        fault = None if records is None else index.mismatch(path, source.octets, records)
        if fault:
            records, note = None, f'the index "{index.path_of(path)}" is not used, the file is read instead: {fault}'
    return OpenedMbox(source, records, note, Scan(source.octets, str(path)))


def open_mbox(path: os.PathLike[str] | str) -> Mbox:
    """Map an mbox read-only; use its index when that belongs to it, read it through otherwise."""
    return _mbox(open_path(Path(path)))


def check(path: Path) -> None:
    """Refuse at once what is no mail: looks at the beginning of a plain file, and at whether there is anything else."""
    if path.is_file():
        with path.open("rb") as file:
            if not is_compressed(file, path):
                source = open_source(path)
                Scan(source.octets, str(path)).first_start()
    elif path.is_dir():
        message_files(path)
    elif str(path) != "-" and not path.is_fifo():
        open_source(path)  # says what is wrong with it


def prepare(path: Path, folder: Path, progress: Callable[[int], None] | None = None) -> tuple[Path, Mbox]:
    """Have mail ready for many readers: give a plain mbox that has an index, in `folder` unless it has one already."""
    copy = folder / "corpus.mbox"
    opened = open_path(path, copy)
    mbox = _mbox(opened)
    if mbox.indexed:
        return path, mbox
    mbox.compute_checksums(progress)
    if opened.source.plain:
        copy.symlink_to(path.absolute())
    index.write(index.path_of(copy), copy, mbox.records)
    return copy, mbox


def write_index(path: Path, progress: Callable[[int], None] | None = None) -> Mbox:
    """Write the index of any plain mbox beside it; one that is there and right stays."""
    opened = open_path(path)
    if not opened.source.plain:
        raise MboxError(f'an index lies beside a plain mbox file, "{path}" is none; unpack it into one first')
    mbox = _mbox(opened)
    if not mbox.indexed:
        mbox.compute_checksums(progress)
        index.write(index.path_of(path), path, mbox.records)
    return mbox


def _mbox(opened: OpenedMbox) -> Mbox:
    octets = opened.source.octets
    if opened.records is not None:
        return Mbox(octets, opened.records, True)
    return Mbox(octets, _kept(opened.blocks()), False, opened.note, opened.scan)


def read_mbox(path: os.PathLike[str] | str) -> Iterator[bytes]:
    """Yield every message in CRLF form, in order, in bounded memory and without an index.

    The file must not shrink while it is read.
    """
    path = Path(path)
    source = open_source(path)
    opened = OpenedMbox(source, None, "", Scan(source.octets, str(path)))
    for block in opened.blocks():
        columns = (block.records[name].tolist() for name in ("offset", "length", "flags"))
        for offset, length, flags in zip(*columns, strict=True):
            yield _as_crlf(source.octets[offset : offset + length], flags)


class Mbox:
    """An open mbox: `records` is one numpy record per message (mboxgen.mbox.index.RECORD), read-only when indexed.

    Without an index, records lack checksums until `compute_checksums`; `note` says why one that is there is not used.
    Close it, or use `with`; views handed out must be released before.
    """

    def __init__(
        self,
        octets: mmap.mmap,
        records: NDArray[np.void],
        indexed: bool,
        note: str = "",
        scan: Scan | None = None,
    ) -> None:
        self._octets = octets
        self._view = memoryview(octets)
        self.records = records
        self.indexed = indexed
        self.note = note
        self._scan = scan

    def __len__(self) -> int:
        return len(self.records)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmap the file; BufferError when a view of a message is still in use."""
        self._view.release()
        self._octets.close()

    @property
    def size(self) -> int:
        """Octets of the file."""
        return len(self._octets)

    def release(self, number: int) -> None:
        """Give mapped pages before message `number` back to the system; they stay in the page cache."""
        release(self._octets, 0, int(self.records[number]["offset"]))

    @property
    def oddities(self) -> Oddities:
        """What will not come through as one may think."""
        found = Oddities(self._scan.text_from_lines, self._scan.first_text_from_line) if self._scan else Oddities()
        odd = np.flatnonzero(self.records["flags"] & np.uint32(Flag.ODD_HEADER))
        if odd.size:
            record = self.records[int(odd[0]) : int(odd[0]) + 1]
            offset, length = int(record["offset"][0]), min(int(record["header_length"][0]), WINDOW)
            header = np.frombuffer(self._octets[offset : offset + length], dtype=np.uint8)
            lines = examine(header, np.array([0]), np.array([length])).header_lines
            found.note_odd(MessageBlock(record, header, lines), int(odd[0]))
            found.odd_headers = int(odd.size)
        return found

    def octets(self, number: int) -> memoryview:
        """Give message `number` (from 0) as the file has it, without a copy."""
        record = self.records[number]
        offset = int(record["offset"])
        return self._view[offset : offset + int(record["length"])]

    def crlf(self, number: int) -> bytes | memoryview:
        """Give message `number` as a server receives it; a copy only when line ends have to change."""
        view = self.octets(number)
        flags = int(self.records[number]["flags"])
        if not flags & _CHANGED:
            return view
        with view:
            return _as_crlf(bytes(view), flags)

    def from_line(self, number: int) -> bytes:
        """Give the From_ line before message `number`, without its line end."""
        end = int(self.records[number]["offset"])
        return bytes(self._view[max(0, end - 1024) : end - 1]).rpartition(b"\n")[2].rstrip(b"\r")

    def compute_checksums(self, progress: Callable[[int], None] | None = None) -> None:
        """Fill in the checksums of all messages, reading them once; nothing to do when there is an index."""
        if self.indexed:
            return
        for first in range(0, len(self), _SUMMED_AT_ONCE):
            records = self.records[first : first + _SUMMED_AT_ONCE]
            crcs = [self._crcs(*row) for row in records[["offset", "length", "header_length", "flags"]].tolist()]
            headers, bodies, lengths = np.array(crcs, dtype=np.int64).T
            records["body_crc32"] = bodies
            records["crc32"] = checksums.shift(headers.astype(np.uint32), lengths) ^ bodies.astype(np.uint32)
            records["flags"] |= np.uint32(Flag.CHECKSUMS_KNOWN)
            self.release(first)
            if progress:
                progress(first)

    def _crcs(self, offset: int, length: int, header_length: int, flags: int) -> tuple[int, int, int]:
        """Give the CRC-32 of a message's header and of its body in CRLF form, and the body's octets in that form."""
        split, end = offset + header_length, offset + length
        header: bytes | memoryview = self._view[offset:split]
        body: bytes | memoryview = self._view[split:end]
        if flags & _CHANGED:
            lf, all_header = flags & Flag.LF_ONLY, split == end
            header = _as_crlf(bytes(header), flags if all_header else lf)
            body = _as_crlf(bytes(body), lf if all_header else flags)
        return crc32(header), crc32(body), len(body)


def _kept(blocks: Iterator[MessageBlock]) -> NDArray[np.void]:
    """Give all records, in a nameless file: there may be more than memory has room for."""
    with tempfile.TemporaryFile() as spill:
        for block in blocks:
            spill.write(block.records.tobytes())
        spill.flush()
        return np.memmap(spill, dtype=RECORD, mode="r+")


def _examined(octets: mmap.mmap, all_spans: Iterator[Spans]) -> Iterator[MessageBlock]:
    whole = np.frombuffer(octets, dtype=np.uint8)
    for spans in all_spans:
        if int(spans.lengths.max()) >= 1 << 32:
            raise MboxError("cannot read a message of 4 GiB or more")
        windows = (spans.offsets - spans.offsets[0]) // WINDOW
        long = spans.lengths > WINDOW
        windows[1:] += np.cumsum(long[1:] | long[:-1])
        cuts = [0, *(np.flatnonzero(np.diff(windows)) + 1).tolist(), len(windows)]
        for first, last in pairwise(cuts):
            part = Spans(spans.offsets[first:last], spans.lengths[first:last], spans.lf[first:last], spans.line_ends)
            yield _examined_long(octets, whole, part) if long[first] else _examined_short(whole, part)


def _examined_short(whole: NDArray[np.uint8], spans: Spans) -> MessageBlock:
    begin, end = int(spans.offsets[0]), int(spans.offsets[-1] + spans.lengths[-1])
    octets, starts, line_ends = whole[begin:end], spans.offsets - begin, spans.line_ends
    if spans.lengths[0] > WINDOW - MOST_BETWEEN:
        line_ends = None
    if line_ends is not None:
        first, last = np.searchsorted(line_ends, (begin, end), side="right")
        line_ends = line_ends[first:last] - begin
    found = examine(octets, starts, starts + spans.lengths, line_ends=line_ends)
    return MessageBlock(_records(spans, found), octets, found.header_lines)


def _examined_long(octets: mmap.mmap, whole: NDArray[np.uint8], spans: Spans) -> MessageBlock:
    """Examine one message piece by piece; the header lines are those of the first piece."""
    start, length = int(spans.offsets[0]), int(spans.lengths[0])
    at, pieces = start, []
    in_header = True
    while at < start + length:
        cut = _cut(octets, at, start + length)
        piece = whole[at:cut]
        found = examine(piece, np.array([0]), np.array([len(piece)]), header=in_header)
        pieces.append(found)
        in_header = in_header and found.unended[0]
        release(octets, at, cut)
        populate(octets, cut, WINDOW)
        at = cut
    header_lengths, line_ends, bare = (
        np.sum([getattr(found, name) for found in pieces], axis=0) for name in ("header_lengths", "line_ends", "bare")
    )
    joined = Examined(
        header_lengths,
        np.bitwise_or.reduce([found.flags for found in pieces]),
        line_ends,
        bare,
        pieces[-1].unterminated,
        pieces[0].unended,
        pieces[0].header_lines,
    )
    return MessageBlock(
        _records(spans, joined), whole[start : _cut(octets, start, start + length)], joined.header_lines
    )


def _cut(octets: mmap.mmap, at: int, end: int) -> int:
    """Give where a piece ends that begins here: after a line end, or before what means the same anywhere in a line."""
    if end - at <= WINDOW:
        return end
    cut = octets.rfind(b"\n", at, at + WINDOW) + 1
    if not cut:
        cut = at + WINDOW
        while cut > at + 1 and octets[cut] in b"\r\n.F \t":
            cut -= 1
    return cut


def _records(spans: Spans, found: Examined) -> NDArray[np.void]:
    """Give the records of examined messages; their lines end in LF where none has a CR, or none but a few after LF."""
    bare, lf = found.bare, spans.lf
    lf_only = np.where(bare > 0, lf | (bare == found.line_ends), lf & (found.line_ends == 0))
    flags = found.flags.copy()
    flags[lf_only] |= np.uint32(Flag.LF_ONLY)
    flags[(bare > 0) & ~lf_only] |= np.uint32(Flag.BARE_LF)
    flags[found.unterminated] |= np.uint32(Flag.UNTERMINATED)
    records = np.zeros(len(spans.offsets), dtype=RECORD)
    records["offset"], records["length"] = spans.offsets, spans.lengths
    records["header_length"], records["flags"] = found.header_lengths, flags
    records["delivered"] = spans.lengths + np.where(lf_only, bare, 0) + 2 * found.unterminated
    return records


def _as_crlf(message: bytes, flags: int) -> bytes:
    """Give every line CRLF where the file's lines end in LF, and the last one an end where it has none."""
    if flags & Flag.LF_ONLY:
        message = (message.replace(b"\r\n", b"\n") if b"\r" in message else message).replace(b"\n", b"\r\n")
    return message + b"\r\n" if flags & Flag.UNTERMINATED else message

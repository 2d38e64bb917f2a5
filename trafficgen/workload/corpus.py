"""Whole messages from an mbox or one from a file, as they are, behind a mark and the user's headers.

Takes     an mbox of any size, mapped and never loaded; its index when there is one (mboxgen); also a packed one, a
          pipe, a Maildir, a folder of .eml files; or one message
Gives     heads, bodies and tails of a span: in the file's order or shuffled, again from the start at its end
Limits    a message with CRLF line ends and no leading dot is not copied; any other is converted for each block
Refuses   what is not an mbox, cannot be read, or is empty
Not here  envelopes: recipients and senders are the plan's, not those in the corpus

Without an index the file is read through once, before the first message is sent; `mboxgen index` writes one. A bare CR
or LF is sent as CRLF: a client must not send either by itself (RFC 5321 section 2.3.8).
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from mboxgen import streams
from mboxgen.columns import once_each
from mboxgen.mbox import reader
from mboxgen.mbox.reader import Flag
from trafficgen.errors import PlanError
from trafficgen.plan import Corpus, Plan
from trafficgen.workload.bodies import canonical
from trafficgen.workload.contents import Filled
from trafficgen.workload.grid import Span
from trafficgen.workload.headers import UserHeaders
from trafficgen.workload.mail_layout import AS_DELIVERED, MailLayout

CONVERTED: Final = int(Flag.LF_ONLY | Flag.BARE_LF | Flag.BARE_CR | Flag.UNTERMINATED)
"""What keeps a message from going over the wire as it lies in the file; for DATA, a leading dot does too."""

EIGHT_BIT: Final = int(Flag.EIGHT_BIT | Flag.SMTPUTF8)
_FIELDS: Final = ["header_length", "length", "body_crc32", "flags"]


class _CorpusMessage(NamedTuple):
    """A message of the corpus, wire-ready but for the mark. `octets` counts before dots were doubled."""

    head: bytes
    body: bytes | memoryview
    crc32: int
    octets: int
    eight_bit: bool


class CorpusContents:
    """The messages of an mbox, for ever."""

    def __init__(self, plan: Plan, content: Corpus, layout: MailLayout) -> None:
        self._wire = layout
        self._converted = CONVERTED | (int(Flag.LEADING_DOT) if layout.stuffed else 0)
        self._plan = plan
        self._shuffle = content.shuffle
        self._path = content.path
        with _refusing():
            reader.check(content.path)
        self._front = UserHeaders(plan)
        self._order = lru_cache(maxsize=2)(self._permutation)

    def prepare(self) -> None:
        """Map the file; without an index, read it through."""
        with _refusing():
            self._mbox = reader.open_mbox(self._path)
            self._mbox.compute_checksums()

    def fill(self, span: Span) -> Filled:
        """Heads, bodies and tails of a span."""
        places = self._places(np.arange(span.numbers.start, span.numbers.stop, span.numbers.step))
        entries = list(map(self._entry, places.tolist(), self._records(places)))
        crcs = np.array([entry.crc32 for entry in entries], dtype=np.uint32)
        fronts = self._front.rows(span, crcs)
        lengths = map(len, fronts)
        return Filled(
            heads=[front + entry.head for front, entry in zip(fronts, entries, strict=True)],
            bodies=[entry.body for entry in entries],
            tails=[self._wire.end_of_data] * len(entries),
            octets=[length + entry.octets for length, entry in zip(lengths, entries, strict=True)],
            eight_bit=[entry.eight_bit for entry in entries],
        )

    def mendable(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which messages of the run have a header that servers may mend (`Flag.ODD_HEADER`)."""
        odd = (self._mbox.records["flags"] & np.uint32(Flag.ODD_HEADER)) != 0
        return odd[self._places(numbers)] if odd.any() else np.zeros(numbers.size, np.bool_)

    def _places(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where in the file each message of the run is taken from."""
        rounds, places = np.divmod(numbers, len(self._mbox))
        if self._shuffle:
            for turn in once_each(rounds).tolist():
                chosen = rounds == turn
                places[chosen] = self._order(turn)[places[chosen]]
        return places

    def _records(self, places: NDArray[np.int64]) -> list[tuple[int, ...]]:
        """What the index says of these messages."""
        # One gather: taking fields of single records costs a microsecond each.
        records: list[tuple[int, ...]] = self._mbox.records[_FIELDS][places].tolist()
        return records

    def _permutation(self, turn: int) -> NDArray[np.int64]:
        """The order of one round through the file: another in every round."""
        return streams.permutation(self._plan.seed, f"workload/corpus-order/{turn}", len(self._mbox))

    def _entry(self, place: int, record: tuple[int, ...]) -> _CorpusMessage:
        split, length, body_crc32, flags = record
        eight_bit = bool(flags & EIGHT_BIT)
        message = self._mbox.octets(place)
        if flags & self._converted or split == length:
            return _convert(bytes(message), eight_bit, self._wire)
        return _CorpusMessage(bytes(message[:split]), message[split:], body_crc32, length, eight_bit)


class MessageContents:
    """The same message for all, from a file."""

    def __init__(self, plan: Plan, octets: bytes, layout: MailLayout) -> None:
        self._end = layout.end_of_data
        self._front = UserHeaders(plan)
        self._entry = _convert(octets, not octets.isascii(), layout)

    def prepare(self) -> None:
        """Nothing: the file is read."""

    def fill(self, span: Span) -> Filled:
        """Heads, bodies and tails of a span."""
        entry, count = self._entry, len(span.numbers)
        fronts = self._front.rows(span, np.full(count, entry.crc32, np.uint32))
        heads = [front + entry.head for front in fronts]
        octets = [len(head) - len(entry.head) + entry.octets for head in heads]
        return Filled(heads, repeat(entry.body), repeat(self._end), octets, [entry.eight_bit] * count)


@contextmanager
def prepared(plan: Plan, say: Callable[[str], None]) -> Iterator[Plan]:
    """Give the plan with its corpus as one file that has an index, so that no worker has to read it through again.

    `say` is told what of the corpus will not come through as one may think.
    """
    content = plan.workload.content
    if not isinstance(content, Corpus):
        yield plan
        return
    with tempfile.TemporaryDirectory(prefix="traffic-gen-corpus-", ignore_cleanup_errors=True) as folder:
        with _refusing():
            path, found = reader.prepare(content.path, Path(folder))
        with found:
            for line in (found.note, *found.oddities.in_words()):
                if line:
                    say(f"{content.path}: {line}")
        yield replace(plan, workload=replace(plan.workload, content=replace(content, path=path)))


def mendable(plan: Plan, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which messages of a run have a header that servers may mend, so that they do not come through as they were."""
    content = plan.workload.content
    if not isinstance(content, Corpus):
        return np.zeros(numbers.size, np.bool_)
    contents = CorpusContents(plan, content, AS_DELIVERED)
    contents.prepare()
    return contents.mendable(numbers)


@contextmanager
def _refusing() -> Iterator[None]:
    """What is wrong with the mbox is wrong with the plan."""
    try:
        yield
    except reader.MboxError as error:
        raise PlanError(str(error), field="content", flag="--mbox") from error


def _convert(message: bytes, eight_bit: bool, layout: MailLayout) -> _CorpusMessage:
    """Line ends made CRLF, laid out for the wire, and an empty line after headers that have none."""
    octets = canonical(message)
    if octets.startswith(b"\r\n"):
        head, body = octets[:2], octets[2:]
    else:
        lines, empty, body = octets.partition(b"\r\n\r\n")
        head = lines + empty if empty else octets + b"\r\n"
    return _CorpusMessage(layout.content(head), layout.content(body), crc32(body), len(head) + len(body), eight_bit)

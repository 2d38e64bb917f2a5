"""All lines of some logs, read one after the other, and what is to be said about the lines themselves.

Takes     log files in their order; who wants to know of which records
Gives     every record to whoever asked for its kind; how many lines there were, were understood, or said lines were
          lost
Fails     ResultsError for a file that cannot be read
Not here  what the records mean for a run (join) or for users (sessions)
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from trafficgen.logs.files import LogFile
from trafficgen.logs.lines import LineReader
from trafficgen.logs.records import LinesLost

Handler = Callable[[int, bool, Any], None]
"""Called with when (ns since 1970, as if UTC where the zone was not said), whether the zone was said, and the
record."""

EXAMPLES: Final = 20


@dataclass(slots=True)
class LinesRead:
    """About the lines. `strange` holds the first of those that were not understood."""

    lines: int = 0
    understood: int = 0
    foreign: int = 0
    """Lines of programs that are no mail server's."""
    not_understood: int = 0
    strange: list[bytes] = field(default_factory=list)
    lost: int = 0
    """Lines that the log's keeper says it dropped; each notice without a number counts as one."""
    lost_words: list[bytes] = field(default_factory=list)
    first_ns: int | None = None
    last_ns: int | None = None
    zoned: int = 0
    """Lines whose stamp says its zone."""
    kinds: Counter[str] = field(default_factory=Counter)
    cut_off: list[str] = field(default_factory=list)
    files: int = 0


class LogReading:
    """Reads files or lines into handlers."""

    def __init__(self, handlers: Mapping[type, Handler]) -> None:
        self.about = LinesRead()
        self._handlers = dict(handlers)

    def read_files(self, files: Iterable[LogFile]) -> LinesRead:
        """All of them."""
        for file in files:
            reader = LineReader(file.near_ns)
            self.about.files += 1
            for lines in file.blocks():
                self.read_lines(lines, reader)
            if file.cut_off:
                self.about.cut_off.append(str(file.path))
        return self.about

    def read_lines(self, lines: Iterable[bytes], reader: LineReader) -> None:
        """Some of one file."""
        about, handlers, kinds, read = self.about, self._handlers, self.about.kinds, reader.read
        total = understood = zoned = 0
        last_ns = first_ns = None
        for line in lines:
            if not line:
                continue
            total += 1
            found = read(line)
            if found is None or found.records is None:
                self._strange(line)
                continue
            at_ns, is_zoned, records = found
            zoned += is_zoned
            last_ns = at_ns
            if first_ns is None:
                first_ns = at_ns
            if not records:
                about.foreign += 1
                continue
            understood += 1
            for record in records:
                kind = type(record)
                kinds[kind.__name__] += 1
                if (handler := handlers.get(kind)) is not None:
                    handler(at_ns, is_zoned, record)
                elif isinstance(record, LinesLost):
                    about.lost += record.lines or 1
                    if len(about.lost_words) < EXAMPLES:
                        about.lost_words.append(record.words)
        about.lines += total
        about.understood += understood
        about.zoned += zoned
        if first_ns is not None and last_ns is not None:
            about.first_ns = first_ns if about.first_ns is None else min(about.first_ns, first_ns)
            about.last_ns = last_ns if about.last_ns is None else max(about.last_ns, last_ns)

    def _strange(self, line: bytes) -> None:
        self.about.not_understood += 1
        if len(self.about.strange) < EXAMPLES:
            self.about.strange.append(line[:1000])

"""What was received, message by message: the receiving half of the comparison with what was sent.

Takes     messages as a session receives them, whole or in pieces
Gives     for every run, how many recipients got each message, when, and which bodies were damaged; with a file, a line
          for every message, written before the message is answered
Fails     OSError when the file cannot be written, reported once, and nothing is entered; mail without our trace header
          is counted as `unmarked`
Cost      two finds, one CRC and one entry a message, 0.9 to 1.1 µs more with a file (benchmarks/sink.py); everything
          else in bulk

Counting recipients, not transactions, makes the proof hold through a relay that splits one message by recipient.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from stringzilla import find
from zlib_ng.zlib_ng import crc32

from trafficgen.clock import now_ns
from trafficgen.proof import digits, ledger_file, trace_header
from trafficgen.proof.ledger_file import LedgerFile
from trafficgen.proof.received import Received, Runs
from trafficgen.protocol.smtp.dots import unstuff
from trafficgen.protocol.smtp.receiver import consequence

if TYPE_CHECKING:
    from trafficgen.protocol.smtp.server import ServerSession

__all__ = ["Ledger", "Receipt", "Received", "SessionReceiver"]

_ENTRY: Final = struct.Struct(f"<{trace_header.VALUE_OCTETS}s?IqI")
_COLUMNS: Final = np.dtype(
    [
        ("trace", "u1", trace_header.VALUE_OCTETS),
        ("damaged", "?"),
        ("recipients", "<u4"),
        ("taken", "<i8"),
        ("digest", "<u4"),
    ]
)
"""An entry, as it is held until it is counted."""

_MAX_HELD: Final = 8192
_NO_TRACE: Final = b" " * trace_header.VALUE_OCTETS
_HEADER_OCTETS: Final = len(trace_header.HEADER)
_LINE: Final = b"\r\n" + trace_header.HEADER
_NO_SESSION: Final = b"00000000"


class Receipt(NamedTuple):
    """What was entered: enough to note later that the message was never answered."""

    value: bytes
    recipients: int


class Ledger:
    """All messages received by one sink; with a path also on disk. Call `close` at the end."""

    def __init__(
        self, path: Path | None = None, say: Callable[[str], None] = lambda _words: None, *, names: bool = False
    ) -> None:
        """`names`: note which recipients got a message, as one number (`trace_header.digest`); with a file always."""
        self.names = names or path is not None
        self.received = 0
        self.octets = 0
        self._file = LedgerFile(path, self._count) if path is not None else None
        self._say = say
        self._full_at = -1  # messages accepted when the last error was reported
        self._sessions = 0
        self._last, self._last_recipients = _NO_TRACE, 0
        self._runs = Runs()
        # Without a file, what was not counted yet; with one, its lines say it.
        self._entries = bytearray(_MAX_HELD * _ENTRY.size)
        self._waiting = 0
        self._unanswered: list[Receipt] = []

    @property
    def unmarked(self) -> int:
        """Messages without our trace header."""
        self._fold()
        return self._runs.unmarked

    def arrivals(self, run_id: str) -> Received:
        """What was received of this run; empty when nothing was."""
        self._fold()
        return self._runs.of(run_id)

    @property
    def runs(self) -> list[str]:
        """All runs of which something was received."""
        self._fold()
        return self._runs.ids

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def session(self) -> bytes:
        """An id for a new session in the file: eight digits, repeated after a hundred million."""
        self._sessions = (self._sessions + 1) % 10**8
        return b"%08d" % self._sessions

    def enter(
        self,
        value: bytes,
        damaged: bool,
        octets: int,
        recipients: int,
        session: bytes = _NO_SESSION,
        digest: int = 0,
    ) -> None:
        """Enter an accepted message: its trace header, whether the body differs from it, `trace_header.digest`."""
        if self._file is not None:
            # Of what a peer sent, only letters and digits get into the file.
            shown = value if value is _NO_TRACE or value.replace(b" ", b"", 2).isalnum() else _NO_TRACE
            kind = b"!" if damaged else b"+"
            try:
                self._file.write(b"%b %b %b %04d %08x %019d\n" % (shown, kind, session, recipients, digest, now_ns()))
            except OSError as error:
                self._report(error, self._file)
                raise
        else:
            if self._waiting == _MAX_HELD:
                self._fold()
            _ENTRY.pack_into(self._entries, self._waiting * _ENTRY.size, value, damaged, recipients, now_ns(), digest)
            self._waiting += 1
        self._last = value
        self._last_recipients = recipients
        self.received += 1
        self.octets += octets

    @property
    def receipt(self) -> Receipt:
        """Of the message entered last."""
        return Receipt(self._last, self._last_recipients)

    def unanswered(self, receipt: Receipt, session: bytes) -> None:
        """The reply to this message will never be sent, so the sender may send it again (RFC 1047)."""
        if self._file is not None:
            shown = receipt.value if trace_header.parse(receipt.value) else _NO_TRACE
            try:
                self._file.write(b"%b ~ %b %04d %08x %019d\n" % (shown, session, receipt.recipients, 0, now_ns()))
            except OSError as error:
                self._report(error, self._file)  # a second copy will then count as a duplicate
        else:
            self._unanswered.append(receipt)
            if len(self._unanswered) == _MAX_HELD:
                self._fold()

    def _report(self, error: OSError, file: LedgerFile) -> None:
        if self._full_at != self.received:
            self._full_at = self.received
            self._say(f'error: cannot write the ledger "{file.path}": {consequence(error)}')

    def _fold(self) -> None:
        """Count the entries held."""
        if self._file is not None:
            self._file.pass_on()
            return
        if self._waiting:
            entries = np.frombuffer(self._entries, _COLUMNS, self._waiting)
            self._waiting = 0
            digests = entries["digest"] if self.names else None
            self._runs.enter(entries["trace"], entries["recipients"], entries["damaged"], entries["taken"], digests)
        unanswered, self._unanswered = self._unanswered, []
        for receipt in unanswered:
            self._runs.unanswered(receipt.value, receipt.recipients)

    def _count(self, written: bytes) -> None:
        """Count these lines of the file."""
        lines = np.frombuffer(written, np.uint8).reshape(-1, ledger_file.LINE_OCTETS)
        notes = lines[:, ledger_file.KIND] == ledger_file.UNANSWERED
        unanswered, lines = lines[notes], lines[~notes]
        self._runs.enter(
            lines[:, : trace_header.VALUE_OCTETS],
            digits.from_text(lines[:, ledger_file.RECIPIENTS]),
            lines[:, ledger_file.KIND] == ledger_file.DAMAGED,
            digits.from_text(lines[:, ledger_file.TAKEN]),
            digits.from_hexadecimal(lines[:, ledger_file.DIGEST]),
        )
        for line in unanswered:
            self._runs.unanswered(
                line[: trace_header.VALUE_OCTETS].tobytes(), int(line[ledger_file.RECIPIENTS].tobytes())
            )


def _number(hexadecimal: bytes) -> int:
    """-1 for anything else. Cheaper than formatting the other number (benchmarks/sink.py)."""
    try:
        return int(hexadecimal, 16)
    except ValueError:
        return -1


class SessionReceiver:
    """Reads the messages of one session for the ledger; holds one header line at most.

    The trace header is found anywhere in a header block of any size: servers put their own fields in front of it.
    """

    __slots__ = ("_crc", "_held", "_in_body", "_ledger", "_names", "_octets", "_session", "_value", "envelope")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._session = ledger.session()
        self._names = ledger.names
        self.envelope: ServerSession | None = None
        """The session, for its recipients; None: no digest is entered."""
        self._held: bytes
        self._value: bytes
        self._in_body: bool
        self._crc: int
        self._octets: int
        self._begin()

    def leave(self) -> None:
        """The session has ended."""
        self.envelope = None

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        """A message that came in one piece, `data[:end]`, still dot-stuffed."""
        value, damaged = _NO_TRACE, False
        header_end = find(data, b"\r\n\r\n", 0, end) + 4
        if header_end < 4:
            header_end = end  # header and nothing else
        found = _HEADER_OCTETS if data.startswith(trace_header.HEADER) else _find(data, header_end)
        if found:
            value = data[found : found + trace_header.VALUE_OCTETS]
            if crc32(memoryview(data)[header_end:end]) != _number(value[30:]):
                # Stuffed dots are rare, so looking for them waits until the CRC asks.
                damaged = b"%08x" % crc32(unstuff(data[:end]).partition(b"\r\n\r\n")[2]) != value[30:]
                value = value.ljust(trace_header.VALUE_OCTETS)  # a trace header that is cut off ends up here, too
        digest = 0
        if self._names and self.envelope is not None:
            names = self.envelope.recipients
            # As `trace_header.digest` does it, without the call.
            digest = crc32(names[0].lower()) if recipients == 1 else trace_header.digest(names)
        self._ledger.enter(value, damaged, end, recipients, self._session, digest)

    def piece(self, octets: bytes) -> None:
        """The next piece, dot-stuffing undone."""
        self._octets += len(octets)
        if not self._in_body:
            self._read_header(octets)
        elif self._value is not _NO_TRACE:  # otherwise there is nothing to compare the body with
            self._crc = crc32(octets, self._crc)

    def _read_header(self, octets: bytes) -> None:
        text = self._held + octets
        # An empty first line ends the header: what is held at the beginning is the line end before it.
        end = find(text, b"\r\n\r\n")
        if self._value is _NO_TRACE and (found := find(text, _LINE, 0, end if end >= 0 else len(text))) >= 0:
            value = text[found + len(_LINE) :][: trace_header.VALUE_OCTETS]
            if end < 0 and len(value) < trace_header.VALUE_OCTETS:
                self._held = text[found:]
                return
            self._value = value.ljust(trace_header.VALUE_OCTETS)
        if end >= 0:
            self._in_body = True
            self._held = b""
            self._crc = crc32(memoryview(text)[end + 4 :])
        else:
            self._held = text[-len(_LINE) + 1 :]

    def ended(self, recipients: int) -> None:
        """The message is complete."""
        value = self._value
        damaged = value is not _NO_TRACE and b"%08x" % self._crc != value[30:]
        digest = trace_header.digest(self.envelope.recipients) if self._names and self.envelope is not None else 0
        self._ledger.enter(value, damaged, self._octets, recipients, self._session, digest)
        self._begin()

    def dropped(self) -> None:
        """Forget the pieces so far."""
        self._begin()

    def _begin(self) -> None:
        """Ready for another message."""
        self._held = b"\r\n"  # as if a line had just ended
        self._value = _NO_TRACE  # of the trace header, once it is there
        self._in_body = False
        self._crc = 0
        self._octets = 0

    @property
    def receipt(self) -> Receipt:
        """Of the message accepted last."""
        return self._ledger.receipt

    def unanswered(self, receipt: Receipt) -> None:
        """The reply to this message will never be sent."""
        self._ledger.unanswered(receipt, self._session)


def _find(data: bytes, header_end: int) -> int:
    """Where the value of the trace header begins when it is not the first line; 0 when there is none."""
    if data.startswith(b"\r\n"):
        return 0  # the header is empty: all of it is body
    line = find(data, _LINE, 0, header_end)
    return line + len(_LINE) if line >= 0 else 0

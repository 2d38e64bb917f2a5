"""Store whole messages on disk, up to a limit.

Takes     the messages of sessions; where to store them, in which format
Gives     an mbox, a Maildir, or one file a message; or a line with a digest of each
Limits    `max_octets` on the disk in all; beyond, messages are answered 452 (RFC 5321 section 4.2.2)
Fails     SetupError when the path cannot be written to; OSError when one cannot be stored later, reported once: then it
          is neither stored nor entered in the ledger
Not here  the ledger

A message is stored before it is entered in the ledger, and removed again when it cannot be entered. While it arrives it
is spooled, in memory up to a megabyte (64 for all sessions together), beyond that in a temporary file. Return-Path and
X-Envelope-To are put in front (RFC 5321 section 4.4); mbox is mboxrd, with LF line ends.
"""

import errno
import hashlib
import io
import itertools
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from trafficgen.errors import SetupError, reason_of
from trafficgen.protocol.smtp.dots import unstuff
from trafficgen.protocol.smtp.receiver import consequence
from trafficgen.sink.store.tee import Tee

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from trafficgen.sink.store.interface import Store

_IN_MEMORY: Final = 1 << 20
_ALL_IN_MEMORY: Final = 64 << 20
_PIECE: Final = 1 << 18
_FROM: Final = re.compile(rb"^(>*From )", re.MULTILINE)


class CaptureFormat(Enum):
    """The format in which messages are stored."""

    DIGESTS = "digests"
    MBOX = "mbox"
    MAILDIR = "maildir"
    FILES = "files"


class Capture:
    """The stored messages of all sessions of a sink."""

    def __init__(
        self, form: CaptureFormat, path: Path, max_octets: int | None, say: Callable[[str], None] = lambda _words: None
    ) -> None:
        self.form = form
        self.octets = 0
        self.messages = 0
        self.spooled = 0
        """Octets in memory, of messages that are still arriving."""
        self.max_octets = max_octets
        self._path = path
        self._say = say
        self._full_at = -1  # messages stored when the last error was reported
        self._numbers = itertools.count(1)
        self._unique = f"{int(time.time())}.P{os.getpid()}"
        self._file: io.FileIO | None = None
        try:
            if form in (CaptureFormat.MAILDIR, CaptureFormat.FILES):
                for folder in ("tmp", "new", "cur") if form is CaptureFormat.MAILDIR else ("",):
                    (path / folder).mkdir(parents=True, exist_ok=True)
            else:
                if path.exists() and not path.is_file() and not path.is_dir():
                    raise SetupError(f'cannot store messages in "{path}": expected a file, found a pipe or device')
                self._file = io.FileIO(path, "ab+")  # unbuffered: what was answered 250 is in the file
                self._end_lines(self._file)
        except OSError as error:
            raise SetupError(f'cannot store messages in "{path}": {reason_of(error)}') from error

    def _end_lines(self, file: io.FileIO) -> None:
        """Begin on a line of its own, in an mbox behind an empty one: a sink that was killed leaves half a message."""
        wanted = b"\n\n" if self.form is CaptureFormat.MBOX else b"\n"
        size = file.seek(0, os.SEEK_END)
        file.seek(-min(size, len(wanted)), os.SEEK_END)
        last = file.read(len(wanted))
        if size and last != wanted:
            file.write(b"\n" if last.endswith(b"\n") else wanted)

    def full(self) -> bool:
        """Whether the limit is reached."""
        return self.max_octets is not None and self.octets >= self.max_octets

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @contextmanager
    def stored(self, message: IO[bytes], sender: bytes, recipients: list[bytes]) -> Iterator[None]:
        """Store one whole message with CRLF line ends; remove it again if the block raises.

        Raises OSError when there is no room; then nothing of it is left.
        """
        before = self.octets
        try:
            message.seek(0)
            undo = self._store(message, sender, recipients)
        except OSError as error:
            self.octets = before
            self.report(error)
            raise
        try:
            yield
        except BaseException:
            self.octets = before
            undo()
            raise
        self.messages += 1

    def report(self, error: OSError) -> None:
        """Report, once until there is room again, that messages cannot be stored."""
        if self._full_at != self.messages:
            self._full_at = self.messages
            self._say(f'error: cannot store messages in "{self._path}": {consequence(error)}')

    def _store(self, message: IO[bytes], sender: bytes, recipients: list[bytes]) -> Callable[[], object]:
        """Write it; returns a function that removes it again."""
        to = b", ".join(recipients[:100])
        envelope = b"Return-Path: <%b>\r\nX-Envelope-To: %b\r\n" % (_clean(sender), _clean(to))
        match self.form:
            case CaptureFormat.DIGESTS:
                return self._append([_digest(message, sender, recipients)])
            case CaptureFormat.MBOX:
                return self._append(_as_mbox(message, envelope, sender))
            case CaptureFormat.MAILDIR | CaptureFormat.FILES:
                return self._write(message, envelope)

    def _append(self, pieces: Iterable[bytes]) -> Callable[[], object]:
        file = self._file
        assert file is not None
        begin = file.seek(0, os.SEEK_END)
        try:
            for piece in pieces:
                left = memoryview(piece)
                while left:
                    left = left[file.write(left) :]
                self.octets += len(piece)
        except OSError:
            file.truncate(begin)
            raise
        return lambda: file.truncate(begin)

    def _write(self, message: IO[bytes], envelope: bytes) -> Callable[[], object]:
        name = f"{self._unique}Q{next(self._numbers)}.{socket.gethostname().replace('/', '_')}"
        maildir = self.form is CaptureFormat.MAILDIR
        path = self._path / "tmp" / name if maildir else self._path / f"{name}.part"
        final = self._path / "new" / name if maildir else self._path / f"{name}.eml"
        try:
            with path.open("xb") as file:  # "x": never through an existing link
                self.octets += file.write(envelope)
                while piece := message.read(_PIECE):
                    self.octets += file.write(piece)
            path.replace(final)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return final.unlink


def _digest(message: IO[bytes], sender: bytes, recipients: list[bytes]) -> bytes:
    digest = hashlib.sha256()
    octets = 0
    while piece := message.read(_PIECE):
        digest.update(piece)
        octets += len(piece)
    return b"%b %d %d <%b>\n" % (digest.hexdigest().encode("ascii"), octets, len(recipients), _clean(sender))


def _as_mbox(message: IO[bytes], envelope: bytes, sender: bytes) -> Iterator[bytes]:
    stamp = time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime()).encode("ascii")
    piece = b"From %b %b\n" % (_clean(sender).replace(b" ", b"_") or b"MAILER-DAEMON", stamp)
    piece += envelope.replace(b"\r\n", b"\n")
    unfinished = b""
    while lines := b"".join(message.readlines(_PIECE)):  # whole lines, so that none is quoted by halves
        yield piece + _FROM.sub(rb">\1", lines.replace(b"\r\n", b"\n"))
        piece = b""
        unfinished = b"" if lines.endswith(b"\n") else b"\n"  # the last line of a chunk (RFC 3030) may have no end
    yield piece + unfinished + b"\n"


class CapturingStore(Tee):
    """Stores the messages of one session and passes them on: both or neither."""

    __slots__ = ("_capture", "_error", "_in_memory", "_octets", "_spool")

    def __init__(self, store: "Store", capture: Capture) -> None:
        super().__init__(store)
        self._capture = capture
        self._spool: tempfile.SpooledTemporaryFile[bytes] | None = None
        self._octets = self._in_memory = 0  # of the message under way
        self._error: OSError | None = None
        """Why it cannot be stored; raised when the message ends."""

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        with self._stored(io.BytesIO(unstuff(data[:end]))):
            self.store.whole(data, end, recipients)

    def piece(self, octets: bytes) -> None:
        self.store.piece(octets)
        if self._error is None:
            try:
                self._spool_piece(octets)
            except OSError as error:
                self._error = error
                self._drop()
                self._capture.report(error)

    def ended(self, recipients: int) -> None:
        try:
            if self._error is not None:
                raise self._error
            with self._stored(self._spool or io.BytesIO()):
                self.store.ended(recipients)
        finally:
            self._error = None
            self._drop()

    def dropped(self) -> None:
        self.store.dropped()
        self._error = None
        self._drop()

    def _stored(self, message: IO[bytes]) -> "AbstractContextManager[None]":
        return self._capture.stored(message, self._envelope.sender or b"", self._envelope.recipients)

    def _spool_piece(self, octets: bytes) -> None:
        capture = self._capture
        if self._spool is None:
            self._spool = tempfile.SpooledTemporaryFile()  # noqa: SIM115  (until the message ends)
        self._octets += len(octets)
        if capture.max_octets is not None and self._octets > capture.max_octets:
            raise OSError(errno.EFBIG, "a message is larger than the capture limit")
        if self._octets == self._in_memory + len(octets):  # all of it so far is in memory
            if self._octets <= _IN_MEMORY and capture.spooled + len(octets) <= _ALL_IN_MEMORY:
                self._in_memory += len(octets)
                capture.spooled += len(octets)
            else:
                self._spool.rollover()
                self._leave_memory()
        self._spool.write(octets)

    def _leave_memory(self) -> None:
        self._capture.spooled -= self._in_memory
        self._in_memory = 0

    def _drop(self) -> None:
        self._leave_memory()
        self._octets = 0
        if self._spool is not None:
            with suppress(OSError):  # of buffered octets that are discarded anyway
                self._spool.close()
            self._spool = None


def _clean(text: bytes) -> bytes:
    """An address cannot begin a header field: no line end and no NUL is written."""
    return text.translate(None, b"\r\n\0")

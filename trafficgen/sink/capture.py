"""Keep what arrives: whole messages on the disk, up to a limit.

Takes     the messages of sessions; where to keep them, in which form
Gives     an mbox, a Maildir, or one file a message; or a line with a digest of each
Limits    `max_octets` on the disk in all; beyond, messages are answered 452 (RFC 5321 section 4.2.2)
Fails     SetupError when the place cannot be written to
Not here  who else sees the message (ledger)

A message is spooled while it comes, in memory up to a megabyte and in a nameless file beyond. Form and envelope:
Return-Path, X-Envelope-To in front (RFC 5321 section 4.4); mbox in the mboxrd form, with CRLF made LF.
"""

import hashlib
import itertools
import os
import re
import socket
import tempfile
import time
from enum import Enum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from trafficgen.errors import SetupError
from trafficgen.sink.onlooker import Onlooker
from trafficgen.smtp.dots import unstuff

if TYPE_CHECKING:
    from trafficgen.sink.server import Store

_IN_MEMORY: Final = 1 << 20
_PIECE: Final = 1 << 18
_FROM: Final = re.compile(rb"^(>*From )", re.MULTILINE)


class Form(Enum):
    """How messages are kept."""

    DIGESTS = "digests"
    MBOX = "mbox"
    MAILDIR = "maildir"
    FILES = "files"


class Capture:
    """One place for all sessions of a sink."""

    def __init__(self, form: Form, path: Path, max_octets: int | None) -> None:
        self.form = form
        self.octets = 0
        self.messages = 0
        self._path = path
        self._max_octets = max_octets
        self._numbers = itertools.count(1)
        self._unique = f"{int(time.time())}.P{os.getpid()}"
        try:
            if form in (Form.MAILDIR, Form.FILES):
                for folder in ("tmp", "new", "cur") if form is Form.MAILDIR else ("",):
                    (path / folder).mkdir(parents=True, exist_ok=True)
                self._file: IO[bytes] | None = None
            else:
                self._file = path.open("ab")
        except OSError as error:
            raise SetupError(f'cannot keep messages in "{path}": {(error.strerror or str(error)).lower()}') from error

    def full(self) -> bool:
        """Whether no more is to be kept."""
        return self._max_octets is not None and self.octets >= self._max_octets

    def close(self) -> None:
        """Write out what is buffered."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def keep(self, message: IO[bytes], sender: bytes, recipients: list[bytes]) -> None:
        """One whole message, canonical."""
        self.messages += 1
        to = b", ".join(recipients[:100])
        envelope = b"Return-Path: <%b>\r\nX-Envelope-To: %b\r\n" % (_clean(sender), _clean(to))
        match self.form:
            case Form.DIGESTS:
                self._digest(message, sender, recipients)
            case Form.MBOX:
                self._append(message, envelope, sender)
            case Form.MAILDIR | Form.FILES:
                self._write(message, envelope)

    def _digest(self, message: IO[bytes], sender: bytes, recipients: list[bytes]) -> None:
        digest = hashlib.sha256()
        octets = 0
        while piece := message.read(_PIECE):
            digest.update(piece)
            octets += len(piece)
        line = b"%b %d %d <%b>\n" % (digest.hexdigest().encode("ascii"), octets, len(recipients), _clean(sender))
        self._put(line)

    def _append(self, message: IO[bytes], envelope: bytes, sender: bytes) -> None:
        stamp = time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime()).encode("ascii")
        self._put(b"From %b %b\n" % (_clean(sender).replace(b" ", b"_") or b"MAILER-DAEMON", stamp))
        self._put(envelope.replace(b"\r\n", b"\n"))
        while lines := b"".join(message.readlines(_PIECE)):  # whole lines, so that none is quoted by halves
            self._put(_FROM.sub(rb">\1", lines.replace(b"\r\n", b"\n")))
        self._put(b"\n")
        assert self._file is not None
        self._file.flush()

    def _put(self, octets: bytes) -> None:
        assert self._file is not None
        self._file.write(octets)
        self.octets += len(octets)

    def _write(self, message: IO[bytes], envelope: bytes) -> None:
        name = f"{self._unique}Q{next(self._numbers)}.{socket.gethostname().replace('/', '_')}"
        maildir = self.form is Form.MAILDIR
        path = self._path / "tmp" / name if maildir else self._path / f"{name}.part"
        with path.open("xb") as file:  # never through a link that was put there beforehand
            file.write(envelope)
            self.octets += len(envelope)
            while piece := message.read(_PIECE):
                self.octets += file.write(piece)
        path.replace(self._path / "new" / name if maildir else self._path / f"{name}.eml")


class Keeper(Onlooker):
    """Takes the messages of one session for the capture as well."""

    __slots__ = ("_capture", "_spool")

    def __init__(self, store: "Store", capture: Capture) -> None:
        super().__init__(store)
        self._capture = capture
        self._spool: tempfile.SpooledTemporaryFile[bytes] | None = None

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        self.store.whole(data, end, recipients)
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
            spool.write(unstuff(data[:end]))
            self._keep(spool)

    def piece(self, octets: bytes) -> None:
        self.store.piece(octets)
        if self._spool is None:
            self._spool = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  (until the message ends)
        self._spool.write(octets)

    def ended(self, recipients: int) -> None:
        self.store.ended(recipients)
        if self._spool is not None:
            self._keep(self._spool)
        self._drop()

    def dropped(self) -> None:
        self.store.dropped()
        self._drop()

    def _keep(self, spool: "tempfile.SpooledTemporaryFile[bytes]") -> None:
        spool.seek(0)
        self._capture.keep(spool, self._envelope.sender or b"", self._envelope.recipients)

    def _drop(self) -> None:
        if self._spool is not None:
            self._spool.close()
            self._spool = None


def _clean(text: bytes) -> bytes:
    """Nothing of an address can begin a header of its own: the session lets no line end through, and no NUL is kept."""
    return text.translate(None, b"\r\n\0")

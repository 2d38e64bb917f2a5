"""The mail that is delivered: messages of an mbox, or small ones made on the spot, behind a trace header.

Takes     an mbox (mboxgen reads it, mapped); the number of a message
Gives     its octets as LMTP and SMTP want them: CRLF line ends, dots stuffed, without the end of data
Refuses   an mbox that is missing or none: PlanError that names it
Limits    `KEPT_OCTETS` of converted messages are kept
"""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self
from zlib import crc32

from mboxgen.mbox import reader
from trafficgen.errors import PlanError
from trafficgen.mailbox.deliveries import PER_MAILBOX
from trafficgen.proof import trace_header
from trafficgen.protocol.smtp.dots import stuff
from trafficgen.workload.bodies import canonical

KEPT_OCTETS: Final = 64 * 1024 * 1024
_LINE: Final = b"What is written here is of no meaning to anybody; it is mail to measure with.\r\n"
_MADE: Final = (
    b"From: Sender <sender@example.com>\r\nTo: user@example.com\r\nSubject: mail to measure with\r\n"
    b"Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
) + _LINE * 50


class _Ready(NamedTuple):
    octets: bytes
    body_crc32: int
    size: int
    """Octets before dots were stuffed."""
    eight_bit: bool


class ReadyMail(NamedTuple):
    """A message of the run: trace header and the rest, dots stuffed; the octets of both before that."""

    mark: bytes
    rest: bytes
    octets: int
    eight_bit: bool


class Mail:
    """All there is to deliver. Use as a context manager."""

    def __init__(self, path: Path | None, run_id: str) -> None:
        self._run_id = run_id
        self._path = path
        self._stack = ExitStack()
        self._mbox: reader.Mbox | None = None
        self._kept: dict[int, _Ready] = {}
        self._kept_octets = 0

    def __enter__(self) -> Self:
        if self._path is not None:
            try:
                self._mbox = self._stack.enter_context(reader.open_mbox(self._path))
            except reader.MboxError as error:
                raise PlanError(str(error), field="mbox", flag="--mbox") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def of(self, number: int) -> ReadyMail:
        """Message `number` of the run."""
        mailbox, place = divmod(number, PER_MAILBOX)
        ready = self._ready((mailbox + place) % len(self._mbox) if self._mbox is not None else 0)
        mark = trace_header.render(self._run_id, number, ready.body_crc32)
        return ReadyMail(mark, ready.octets, len(mark) + ready.size, ready.eight_bit)

    def _ready(self, place: int) -> _Ready:
        if (ready := self._kept.get(place)) is not None:
            return ready
        octets = canonical(bytes(self._mbox.octets(place))) if self._mbox is not None else _MADE
        _, empty, body = octets.partition(b"\r\n\r\n")
        if not empty:
            octets, body = octets + b"\r\n", b""
        elif octets.startswith(b"\r\n"):
            body = octets[2:]
        ready = _Ready(stuff(octets), crc32(body), len(octets), not octets.isascii())
        if self._kept_octets + len(octets) > KEPT_OCTETS:
            self._kept.clear()
            self._kept_octets = 0
        self._kept[place] = ready
        self._kept_octets += len(octets)
        return ready


def draft(size: int, number: int) -> bytes:
    """A mail that a user writes himself, of about so many octets (0: 4 kB)."""
    head = b"Subject: draft %d\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n" % number
    room = max((size or 4096) - len(head), len(_LINE))
    return head + _LINE * (room // len(_LINE))

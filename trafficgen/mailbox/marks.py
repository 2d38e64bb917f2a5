"""Read the trace header of a message as it comes out of a mailbox, and check its body.

Takes     the octets of a message, CRLF line ends, in any pieces; or header fields alone
Gives     whose message it is, and whether its body is whole
Limits    `MAX_HEADER_OCTETS` of the header are kept; the body goes through a checksum and is forgotten
Not here  what is done about it (`deliveries`)
"""

import re
from typing import Final, NamedTuple

from zlib_ng.zlib_ng import crc32

from trafficgen.proof import trace_header

MAX_HEADER_OCTETS: Final = 256 * 1024
_FIELD: Final = re.compile(
    rb"(?:^|\r\n)" + re.escape(trace_header.HEADER.rstrip(b": ")) + rb":[ \t]*([^\r\n]*?)[ \t]*(?=\r\n|$)",
    re.IGNORECASE,
)


class Mark(NamedTuple):
    """What a trace header says."""

    run_id: str
    number: int
    body_crc32: int


def find_mark(header: bytes) -> Mark | None:
    """The trace header among header fields; None when there is none of ours."""
    found = _FIELD.search(header)
    parsed = trace_header.parse(found[1]) if found else None
    return Mark(*parsed) if parsed else None


class MessageReader:
    """Takes one message (`protocol.imap.reader.Content`, `protocol.pop3.client.Content`)."""

    __slots__ = ("_crc", "_header", "_header_ended", "octets")

    def __init__(self) -> None:
        self._header = b""
        self._header_ended = False
        self._crc = 0
        self.octets = 0

    def feed(self, octets: bytes | memoryview) -> None:
        """The next piece."""
        self.octets += len(octets)
        if self._header_ended:
            self._crc = crc32(octets, self._crc)
            return
        begin = max(len(self._header) - 3, 0)
        self._header += octets
        end = self._header.find(b"\r\n\r\n", begin)
        if end < 0 and self._header.startswith(b"\r\n"):
            end = -2
        if end != -1:
            self._header_ended = True
            self._crc = crc32(self._header[end + 4 :])
            self._header = self._header[: max(end, 0)]
        elif len(self._header) > MAX_HEADER_OCTETS:
            self._header_ended = True  # no message of ours is like this

    @property
    def mark(self) -> Mark | None:
        """The trace header; None when the message is not ours."""
        return find_mark(self._header)

    @property
    def whole(self) -> bool:
        """Whether the body is the one that was sent."""
        mark = self.mark
        return mark is not None and mark.body_crc32 == self._crc

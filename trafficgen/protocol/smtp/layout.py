"""How a message lies in memory: envelope and content as the octets that a session writes, made when blocks are built.

Takes     addresses, content with CRLF line ends, its octets
Gives     `WireLayout`, which workload is handed; `as_data`, for a server that does not offer what was laid out for
Not here  what a message holds (workload), when it is written (by_data, by_chunks)
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from trafficgen.protocol.smtp.dots import stuff
from trafficgen.protocol.smtp.interfaces import Buffer, Source, WireMessage, Work

_DATA: Final = b"DATA\r\n"
_CHUNK: Final = b"BDAT %d LAST\r\n"


class WireLayout(NamedTuple):
    """The octets of a transaction but for addresses and content: RFC 5321 section 4.1.1, RFC 3030 section 2.

    An envelope is `sender`, the first address, `recipient`, …, the last address, `end_of_addresses`; then what
    `envelopes` adds. Content is followed by `end_of_data`.
    """

    sender: bytes
    recipient: bytes
    end_of_addresses: bytes
    end_of_data: bytes
    stuffed: bool
    chunk: bytes = b""
    """The command behind an envelope that says how many octets come."""

    def content(self, canonical: bytes) -> bytes:
        """`canonical`, which begins a line, as it goes over the wire: if `stuffed`, with leading dots doubled."""
        return stuff(canonical) if self.stuffed else canonical

    def envelopes(self, envelopes: Iterable[bytes], octets: Iterable[int]) -> Iterable[bytes]:
        """Whole envelopes, of messages of so many octets."""
        if not self.chunk:
            return envelopes
        return [envelope + self.chunk % size for envelope, size in zip(envelopes, octets, strict=True)]


BY_DATA: Final = WireLayout(b"MAIL FROM:<", b">\r\nRCPT TO:<", b">\r\n" + _DATA, b".\r\n", stuffed=True)
BY_CHUNKS: Final = WireLayout(BY_DATA.sender, BY_DATA.recipient, b">\r\n", b"", stuffed=False, chunk=_CHUNK)


def layout_for(chunks: int) -> WireLayout:
    """The one that `SessionOptions.chunks` asks for."""
    return BY_CHUNKS if chunks else BY_DATA


class AsData(NamedTuple):
    """A message that was laid out for chunks, laid out for DATA."""

    number: int
    domain: int
    recipients: int
    envelope: bytes
    head: bytes
    body: Buffer
    tail: bytes
    octets: int
    eight_bit: bool
    original: WireMessage


def as_data(message: WireMessage) -> AsData:
    """For a server that was to get chunks and does not offer them: the one case in which octets are laid out twice."""
    addresses = message.envelope[: -len(_CHUNK % message.octets)]
    content = BY_DATA.content(b"".join((message.head, message.body, message.tail)))
    return AsData(
        message.number, message.domain, message.recipients, addresses + _DATA, b"", content, BY_DATA.end_of_data,
        message.octets, message.eight_bit, message,
    )  # fmt: skip


class DataSource:
    """Messages of another source, laid out for DATA. Implements `interfaces.Source`."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def take(self, now_ns: int) -> Work | None:
        work = self._source.take(now_ns)
        return None if work is None else (as_data(work[0]), work[1])

    def give_back(self, work: Work) -> None:
        message, due_ns = work
        assert isinstance(message, AsData)
        self._source.give_back((message.original, due_ns))

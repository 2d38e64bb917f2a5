"""How a message lies in memory: envelope and content as the octets that a session writes, made when blocks are built.

Takes     addresses, content with CRLF line ends, its octets
Gives     `WireLayout`, which workload is handed; `RelaidSource`, for a server that does not offer all that was laid out
Not here  what a message holds (workload), when it is written (by_data, by_steps, by_chunks)
"""

from collections.abc import Iterable
from itertools import repeat
from typing import Final, NamedTuple

from trafficgen.protocol.smtp.dots import stuff
from trafficgen.protocol.smtp.interfaces import Buffer, Extensions, SessionOptions, Source, WireMessage, Work

_DATA: Final = b"DATA\r\n"
_CHUNK: Final = b"BDAT %d LAST\r\n"
_END_OF_PATH: Final = b">\r\n"
_EIGHT_BIT: Final = b"> BODY=8BITMIME\r\n"  # RFC 6152 section 2


class WireLayout(NamedTuple):
    """The octets of a transaction but for addresses and content: RFC 5321 section 4.1.1, RFC 3030 section 2.

    Implements `workload.mail_layout.MailLayout`, which says what each part is.
    """

    end_of_addresses: bytes
    end_of_data: bytes
    stuffed: bool
    chunk: bytes = b""
    """The command behind an envelope that says how many octets come."""
    by_steps: bool = False
    """Whether each command waits for the reply to the one before."""
    sender: bytes = b"MAIL FROM:<"
    recipient: bytes = _END_OF_PATH + b"RCPT TO:<"

    def content(self, canonical: bytes) -> bytes:
        """`canonical`, which begins a line, as it goes over the wire: if `stuffed`, with leading dots doubled."""
        return stuff(canonical) if self.stuffed else canonical

    def envelopes(self, envelopes: list[bytes], octets: list[int], eight_bit: list[bool]) -> list[bytes]:
        """Whole envelopes, of messages of so many octets; MAIL says so of those that are not all ASCII."""
        if any(eight_bit):
            envelopes = [
                envelope.replace(_END_OF_PATH, _EIGHT_BIT, 1) if wide else envelope
                for envelope, wide in zip(envelopes, eight_bit, strict=True)
            ]
        if not self.chunk:
            return envelopes
        return [envelope + self.chunk % size for envelope, size in zip(envelopes, octets, strict=True)]

    def commands(self, envelopes: list[bytes]) -> Iterable[tuple[bytes, ...]]:
        """`WireMessage.commands` of these."""
        return map(_commands, envelopes) if self.by_steps else repeat(())


BY_DATA: Final = WireLayout(_END_OF_PATH + _DATA, b".\r\n", stuffed=True)
BY_STEPS: Final = BY_DATA._replace(by_steps=True)
BY_CHUNKS: Final = WireLayout(_END_OF_PATH, b"", stuffed=False, chunk=_CHUNK)


def layout_for(chunks: int, *, pipelining: bool) -> WireLayout:
    """The one that `SessionOptions` of a run ask for; see there."""
    if not pipelining:
        return BY_STEPS
    return BY_CHUNKS if chunks else BY_DATA


class Lacking(NamedTuple):
    """What messages were laid out for and the server does not offer."""

    chunks: bool
    pipelining: bool
    eight_bit: bool

    @classmethod
    def of(cls, options: SessionOptions, offered: Extensions) -> "Lacking":
        """`layout_for` these options against what is offered."""
        chunks = options.pipelining and options.chunks > 0 and not (offered.chunking and offered.pipelining)
        return cls(chunks, options.pipelining and not offered.pipelining, not offered.eight_bit)


class RelaidMessage(NamedTuple):
    """A message that was laid out for more than the server offers, laid out for what it does offer."""

    number: int
    domain: int
    recipients: int
    envelope: bytes
    commands: tuple[bytes, ...]
    head: bytes
    body: Buffer
    tail: bytes
    octets: int
    eight_bit: bool
    original: WireMessage


def laid_out_again(message: WireMessage, lacking: Lacking) -> WireMessage:
    """For a server that does not offer what the plan asks for: the one case in which octets are laid out twice."""
    if not (lacking.chunks or lacking.pipelining or message.eight_bit):
        return message
    envelope, head, body, tail = message.envelope, message.head, message.body, message.tail
    if lacking.chunks:
        envelope = envelope[: -len(_CHUNK % message.octets)] + _DATA
        head, body, tail = b"", BY_DATA.content(b"".join((head, body, tail))), BY_DATA.end_of_data
    if message.eight_bit and lacking.eight_bit:
        envelope = envelope.replace(_EIGHT_BIT, _END_OF_PATH, 1)
    commands = _commands(envelope) if lacking.pipelining or message.commands else ()
    return RelaidMessage(
        message.number, message.domain, message.recipients, envelope, commands, head, body, tail, message.octets,
        message.eight_bit, message,
    )  # fmt: skip


class RelaidSource:
    """Messages of another source, laid out for what the server offers. Implements `interfaces.Source`."""

    def __init__(self, source: Source, lacking: Lacking) -> None:
        self._source = source
        self._lacking = lacking

    def take(self, now_ns: int) -> Work | None:
        work = self._source.take(now_ns)
        return None if work is None else self.lay_out(work)

    def lay_out(self, work: Work) -> Work:
        """Work that was taken from the other source."""
        return laid_out_again(work[0], self._lacking), work[1]

    def give_back(self, work: Work) -> None:
        message, due_ns = work
        self._source.give_back((message.original if isinstance(message, RelaidMessage) else message, due_ns))


def _commands(envelope: bytes) -> tuple[bytes, ...]:
    return tuple(envelope.splitlines(keepends=True)[::-1])

"""How a message lies in memory: envelope and content as the octets that a session writes, made when blocks are built.

Takes     addresses, content with CRLF line ends, its octets; the extensions that a plan uses
Gives     `WireLayout`, which workload is handed; `adapted`, for a server that does not offer what was laid out for
Not here  what a message holds (workload), when it is written (by_data, by_steps, by_chunks)
"""

import re
from typing import Final, NamedTuple

from trafficgen.plan import ExtensionPlan
from trafficgen.protocol.smtp.dots import stuff
from trafficgen.protocol.smtp.interfaces import Buffer, Extensions, SessionOptions, Source, WireMessage, Work

_DATA: Final = b"DATA\r\n"
_CHUNK: Final = b"BDAT %d LAST\r\n"
_EIGHT_BIT: Final = b" BODY=8BITMIME"
_SIZE: Final = b" SIZE=%d"
_RCPT: Final = b"RCPT TO:<"
_NOT_XTEXT: Final = re.compile(rb"[^!-*,-<>-~]")
_NOT_UTF8_XTEXT: Final = re.compile(r"[^!-*,-<>-\[\]-~]")


class WireLayout(NamedTuple):
    """The octets of a transaction but for addresses and content: RFC 5321 section 4.1.1, RFC 3030 section 2.

    Implements `workload.mail_layout.MailLayout`, which says what its parts are.
    """

    sender: bytes
    after_sender: bytes
    first_recipient: bytes
    recipient: bytes
    end_of_addresses: bytes
    end_of_data: bytes
    stuffed: bool
    numbered: bytes = b""
    international: bytes = b""
    eight_bit: bytes = b""
    """Behind the parameters of MAIL where the content is not all ASCII."""
    size: bytes = b""
    """Behind them: how many octets come."""
    chunk: bytes = b""
    """The command behind an envelope that says how many octets come."""
    original_recipients: bool = False
    """Whether ORCPT stands behind each recipient."""

    def content(self, canonical: bytes) -> bytes:
        """`canonical`, which begins a line, as it goes over the wire: if `stuffed`, with leading dots doubled."""
        return stuff(canonical) if self.stuffed else canonical

    def envelopes(self, envelopes: list[bytes], octets: list[int], eight_bit: list[bool]) -> list[bytes]:
        """Whole envelopes, of messages of so many octets."""
        if self.eight_bit and any(eight_bit):
            envelopes = [
                _with_parameter(envelope, self.eight_bit) if one else envelope
                for envelope, one in zip(envelopes, eight_bit, strict=True)
            ]
        if self.size:
            envelopes = [
                _with_parameter(envelope, self.size % count) for envelope, count in zip(envelopes, octets, strict=True)
            ]
        if self.original_recipients:
            envelopes = list(map(_with_original_recipients, envelopes))
        if self.chunk:
            envelopes = [envelope + self.chunk % count for envelope, count in zip(envelopes, octets, strict=True)]
        return envelopes


def _with_parameter(envelope: bytes, parameter: bytes) -> bytes:
    """One more at the end of MAIL, the first line."""
    return envelope.replace(b"\r\n", parameter + b"\r\n", 1)


def _with_original_recipients(envelope: bytes) -> bytes:
    """ORCPT at the end of each RCPT."""
    lines = envelope.split(b"\r\n")
    return b"\r\n".join(
        line + original_recipient(line[len(_RCPT) :].rpartition(b">")[0]) if line.startswith(_RCPT) else line
        for line in lines
    )


def original_recipient(address: bytes) -> bytes:
    """The parameter that names this address: in xtext (RFC 3461 section 4), and as an address of UTF-8 where it is
    beyond ASCII, in the form that every server with DSN takes (utf-8-addr-xtext of RFC 6533 section 3)."""
    if address.isascii():
        return b" ORCPT=rfc822;" + _NOT_XTEXT.sub(lambda octet: b"+%02X" % ord(octet[0]), address)
    text = _NOT_UTF8_XTEXT.sub(lambda character: f"\\x{{{ord(character[0]):02X}}}", address.decode())
    return b" ORCPT=utf-8;" + text.encode("ascii")


def layout_for(chunks: int, extensions: ExtensionPlan, run_id: str) -> WireLayout:
    """The one for these `SessionOptions` and extensions, with their parameters of MAIL and RCPT in place."""
    mail, rcpt = _parameters(extensions)
    to = b"\r\n" + _RCPT
    return WireLayout(
        sender=b"MAIL FROM:<",
        after_sender=b">" + mail,
        numbered=b" ENVID=" + run_id.encode("ascii") + b"." if extensions.dsn else b"",
        international=b" SMTPUTF8",
        first_recipient=to,
        recipient=b">" + rcpt + to,
        end_of_addresses=b">" + rcpt + b"\r\n" + (b"" if chunks else _DATA),
        end_of_data=b"" if chunks else b".\r\n",
        stuffed=not chunks,
        eight_bit=b"" if extensions.binary else _EIGHT_BIT,
        size=_SIZE if extensions.declare_size else b"",
        chunk=_CHUNK if chunks else b"",
        original_recipients=extensions.original_recipient,
    )


def _parameters(extensions: ExtensionPlan) -> tuple[bytes, bytes]:
    """Of every MAIL and of every RCPT."""
    mail = []
    if extensions.ret is not None:
        mail.append(f" RET={extensions.ret.value}")
    if extensions.binary:
        mail.append(" BODY=BINARYMIME")
    if extensions.require_tls:
        mail.append(" REQUIRETLS")
    if extensions.priority is not None:
        mail.append(f" MT-PRIORITY={extensions.priority}")
    if (by := extensions.deliver_by) is not None:
        mail.append(f" BY={by.seconds};{by.mode.value}{'T' * by.trace}")
    notify = ",".join(one.value for one in extensions.notify)
    return "".join(mail).encode("ascii"), f" NOTIFY={notify}".encode("ascii") if notify else b""


BY_DATA: Final = layout_for(0, ExtensionPlan(), "")


class Lacking(NamedTuple):
    """What was laid out for and is not to be: chunks, a declared size, an eight-bit body."""

    chunks: bool
    size: bool
    eight_bit: bool

    @classmethod
    def of(cls, options: SessionOptions, offered: Extensions) -> "Lacking":
        """In a session with a server that offers this."""
        return cls(
            options.pipelining and options.chunks > 0 and not (offered.chunking and offered.pipelining),
            options.declares_size and not offered.size,
            not offered.eight_bit,
        )


class Adapted(NamedTuple):
    """A message laid out once more, for one session."""

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


def adapted(message: WireMessage, lacking: Lacking) -> WireMessage:
    """For a server that does not offer all that was laid out for: the one case in which octets are laid out twice."""
    envelope, content = message.envelope, (message.head, message.body, message.tail)
    if lacking.chunks:
        envelope = envelope[: -len(_CHUNK % message.octets)] + _DATA
        content = (b"", BY_DATA.content(b"".join(content)), BY_DATA.end_of_data)
    if lacking.size:
        envelope = envelope.replace(_SIZE % message.octets, b"", 1)
    if lacking.eight_bit and message.eight_bit:
        envelope = envelope.replace(_EIGHT_BIT, b"", 1)
    if envelope is message.envelope:
        return message
    return Adapted(
        message.number, message.domain, message.recipients, envelope, *content, message.octets, message.eight_bit,
        message,
    )  # fmt: skip


class AdaptedSource:
    """Messages of another source, adapted. Implements `interfaces.Source`."""

    def __init__(self, source: Source, lacking: Lacking) -> None:
        self._source = source
        self._lacking = lacking

    def take(self, now_ns: int) -> Work | None:
        work = self._source.take(now_ns)
        return None if work is None else self.adapt(work)

    def adapt(self, work: Work) -> Work:
        """Work that was taken from the other source."""
        return adapted(work[0], self._lacking), work[1]

    def give_back(self, work: Work) -> None:
        message, due_ns = work
        self._source.give_back((message.original if isinstance(message, Adapted) else message, due_ns))

"""Bounces and complaints as octets: delivery status notifications and abuse reports.

    bounce      multipart/report; report-type=delivery-status   RFC 3464 in RFC 6522's (once 3462's) wrapping
    complaint   multipart/report; report-type=feedback-report   RFC 5965

Takes     a message's envelope, header and parameters (RFC 3461); the reply that refused it
Gives     a whole message, 7 bit, with CRLF line ends; the same one for the same number and time
Leaves    out the message's body, also for RET=FULL: it was never stored
Not here  which messages get one (bounces), sending it (bounce_sender)
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

from trafficgen.protocol.smtp.capabilities import NAME

MAX_HEADER_OCTETS: Final = 16 * 1024
"""Of the message's header that are sent back."""

_MAX_LINE_OCTETS: Final = 998  # RFC 5322 section 2.1.1
_STATUS: Final = re.compile(rb"\A\d{3}[ -]([245]\.\d{1,3}\.\d{1,3})(?:[ \r]|$)")
_XTEXT: Final = re.compile(rb"\+([0-9A-F]{2})")
_FIELD_END: Final = re.compile(rb"\r\n(?![ \t])")


@dataclass(frozen=True, slots=True)
class Original:
    """The message that a report is about.

    `number` is its own among all of this sink; `parameters` are what stood behind MAIL (key b"") and each RCPT.
    `sink` is the name of the sink that took it.
    """

    number: int
    sender: bytes
    header: bytes
    arrived_s: float
    parameters: Mapping[bytes, bytes]
    sink: bytes = NAME

    @property
    def is_report(self) -> bool:
        """Whether it is a report itself, which must not be answered by another."""
        for field in _FIELD_END.split(self.header):
            name, _, value = field.partition(b":")
            if name.strip().lower() == b"content-type":
                return value.strip().lower().startswith(b"multipart/report")
        return False

    def wants_bounces(self, recipient: bytes) -> bool:
        """False when NOTIFY leaves out FAILURE (RFC 3461 section 4.1)."""
        notify = self.parameter(recipient, b"NOTIFY")
        return notify is None or b"FAILURE" in notify.upper().split(b",")

    def parameter(self, address: bytes, name: bytes) -> bytes | None:
        """The value of `NAME=value` behind this address."""
        for word in self.parameters.get(address, b"").split():
            key, equals, value = word.partition(b"=")
            if equals and key.upper() == name:
                return value
        return None


def bounce(original: Original, failed: Mapping[bytes, bytes]) -> bytes:
    """A failed delivery; `failed` has the reply for each recipient that did not get the message."""
    fields = [
        b"Reporting-MTA: dns; " + original.sink,
        *_xtext_field(b"Original-Envelope-Id: ", original.parameter(b"", b"ENVID")),
        b"Arrival-Date: " + _date(original.arrived_s),
    ]
    for recipient, reply in failed.items():
        fields += [
            b"",
            *_xtext_field(b"Original-Recipient: ", original.parameter(recipient, b"ORCPT")),
            b"Final-Recipient: rfc822; " + recipient,
            b"Action: failed",
            b"Status: " + status(reply),
            b"Diagnostic-Code: smtp; " + b"\r\n ".join(_ascii(reply).rstrip(b"\r\n").split(b"\r\n")),
        ]
    words = [
        b"Your message was accepted but could not be delivered to:",
        b"",
        *(b"  <%b>" % recipient for recipient in failed),
    ]
    return _report(original, b"Undelivered mail", b"delivery-status", words, fields, b"auto-replied")


def complaint(original: Original, recipient: bytes) -> bytes:
    """An abuse report by this recipient."""
    fields = [
        b"Feedback-Type: abuse",
        b"User-Agent: traffic-gen/1",
        b"Version: 1",
        *_xtext_field(b"Original-Envelope-Id: ", original.parameter(b"", b"ENVID")),
        b"Original-Mail-From: <%b>" % original.sender,
        b"Original-Rcpt-To: <%b>" % recipient,
        b"Arrival-Date: " + _date(original.arrived_s),
        b"Reporting-MTA: dns; " + original.sink,
    ]
    words = [b"A recipient has marked a message of yours as unwanted:", b"", b"  <%b>" % recipient]
    return _report(original, b"Complaint about mail", b"feedback-report", words, fields, b"auto-generated")


def status(reply: bytes) -> bytes:
    """The enhanced status code of a reply (RFC 3463); when it has none, the class of its code."""
    found = _STATUS.match(reply)
    return found[1] if found else b"%b.0.0" % reply[:1]


def _report(
    original: Original, subject: bytes, kind: bytes, words: list[bytes], fields: list[bytes], auto: bytes
) -> bytes:
    header = _header(original.header)
    name = hashlib.blake2b(b"%d %b" % (original.number, header), digest_size=12).hexdigest().encode("ascii")
    boundary = b"=_" + name
    lines = [
        b"From: Mail Delivery Subsystem <MAILER-DAEMON@%b>" % original.sink,
        b"To: <%b>" % original.sender,
        b"Subject: " + subject,
        b"Date: " + _date(original.arrived_s),
        b"Message-ID: <%b.%b@%b>" % (name, kind, original.sink),
        b"Auto-Submitted: " + auto,  # RFC 3834 section 5
        b"MIME-Version: 1.0",
        b"Content-Type: multipart/report; report-type=%b;" % kind,
        b'\tboundary="%b"' % boundary,
        b"",
        b"--" + boundary,
        b"Content-Type: text/plain; charset=us-ascii",
        b"",
        *words,
        b"",
        b"--" + boundary,
        b"Content-Type: message/" + kind,
        b"",
        *fields,
        b"",
        b"--" + boundary,
        b"Content-Type: text/rfc822-headers",
        b"",
        header,
        b"--%b--" % boundary,
        b"",
    ]
    return b"\r\n".join(lines)


def _header(octets: bytes) -> bytes:
    """Safe for any server: ASCII, no overlong line, no stray line end."""
    lines = _ascii(octets).split(b"\r\n")
    return b"\r\n".join(line.translate(None, b"\r\n\0")[:_MAX_LINE_OCTETS] for line in lines)


def _xtext_field(name: bytes, value: bytes | None) -> Iterator[bytes]:
    """With xtext (RFC 3461 section 4) undone; nothing when there is no value, or one that would break the field."""
    if value is not None:
        plain = _XTEXT.sub(lambda code: bytes([int(code[1], 16)]), value)
        if plain.isascii() and plain.decode("ascii").isprintable():
            yield name + plain


def _date(seconds: float) -> bytes:
    return formatdate(seconds).encode("ascii")


def _ascii(octets: bytes) -> bytes:
    return octets if octets.isascii() else octets.decode("ascii", "replace").encode("ascii", "replace")

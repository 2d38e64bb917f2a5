"""One message's body, to the octet, in one of six MIME shapes.

Takes     a letter (what was drawn for the message), the number of octets its body must have
Gives     pieces put into a draft: fixed octets, and runs still to be cut from a pool
Not here  cutting the runs (draft), header fields other than the content's (headers)

What a shape adds is counted first, attachments get what base64 can make of their share, and the text takes the rest,
so the sum is exact. A boundary begins with "=_", which neither base64 nor quoted-printable can contain (RFC 2045
section 6.7), and has the message's own number.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mboxgen import parts
from mboxgen.looks import Charset, Shape

if TYPE_CHECKING:
    from mboxgen.draft import Draft

BROKEN_FIELDS = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="=_never"\r\n'
MAX_ATTACHMENTS = 3
_MAX_TEXT = 6_000  # beside attachments: measured bodies end there, attachments have the rest
_LEAST_ATTACHMENT = 640
_COURTESY = 240  # below this a text has no greeting and no reference
_HTML_HEAD = b"<html><head><title>mail</title></head><body>\r\n"
_HTML_TAIL = b"</body></html>\r\n"
_LINE = 57
_SIGNATURE = 400

# Type, ending, first octets, weight: kinds as in office mail, by choice.
ATTACHMENTS = (
    (b"application/pdf", b"pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", 30),
    (b"image/jpeg", b"jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01", 25),
    (b"application/vnd.openxmlformats-officedocument.wordprocessingml.document", b"docx", b"PK\x03\x04\x14\x00", 15),
    (b"image/png", b"png", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", 12),
    (b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", b"xlsx", b"PK\x03\x04\x14\x00", 10),
    (b"application/zip", b"zip", b"PK\x03\x04\x14\x00\x00\x00", 8),
)


@dataclass(slots=True)
class Attachment:
    """One attachment as drawn: its kind, its share of the room, and `copy` above 0 when it occurs again elsewhere."""

    kind: int
    share: int
    copy: int = 0


@dataclass(slots=True)
class Letter:
    """What was drawn for one message."""

    shape: Shape
    charset: Charset
    pool: str
    html_pool: str
    token: bytes  # unique in the corpus
    greeting: bytes
    lead: bytes  # what faults put before the text
    attachments: list[Attachment]

    @property
    def boundary(self) -> bytes:
        """The outer boundary."""
        return b"=_" + self.token


def _multipart_fields(kind: bytes, extra: bytes = b"") -> bytes:
    return b"MIME-Version: 1.0\r\nContent-Type: multipart/" + kind + b"; " + extra + b'boundary="%b"\r\n'


_FIELDS = {
    Shape.ALTERNATIVE: _multipart_fields(b"alternative"),
    Shape.MIXED: _multipart_fields(b"mixed"),
    Shape.NESTED: _multipart_fields(b"mixed"),
    Shape.SIGNED: _multipart_fields(b"signed", b'micalg=pgp-sha256;\r\n\tprotocol="application/pgp-signature"; '),
}


def content_fields(letter: Letter, broken: bool) -> bytes:
    """Give MIME-Version and the Content-… fields of a message."""
    if broken:
        return BROKEN_FIELDS
    if letter.shape is Shape.PLAIN:
        undeclared = letter.charset is Charset.UNDECLARED
        return b"" if undeclared else b"MIME-Version: 1.0\r\n" + letter.charset.plain_fields
    if letter.shape is Shape.HTML:
        return b"MIME-Version: 1.0\r\n" + letter.charset.html_fields
    return _FIELDS[letter.shape] % letter.boundary


def put_body(draft: Draft, letter: Letter, octets: int) -> None:
    """Put a body of exactly `octets` octets, at least its shape's least and the lead, into the draft."""
    match letter.shape:
        case Shape.PLAIN:
            _put_plain(draft, letter, octets)
        case Shape.HTML:
            _put_html(draft, letter, octets, letter.lead)
        case Shape.ALTERNATIVE:
            _put_alternative(draft, letter, octets, letter.boundary)
        case Shape.SIGNED:
            _put_signed(draft, letter, octets)
        case Shape.MIXED | Shape.NESTED:
            _put_mixed(draft, letter, octets)


def _put_plain(draft: Draft, letter: Letter, octets: int) -> None:
    room = octets - len(letter.lead)
    if room < _COURTESY:
        draft.fixed(letter.lead)
        draft.run(letter.pool, room)
        return
    head = letter.lead + letter.greeting
    tail = b"\r\nRef. %b\r\n" % letter.token
    draft.fixed(head)
    draft.run(letter.pool, octets - len(head) - len(tail))
    draft.fixed(tail)


def _put_html(draft: Draft, letter: Letter, octets: int, lead: bytes = b"") -> None:
    head = _HTML_HEAD + lead
    draft.fixed(head)
    draft.run(letter.html_pool, octets - len(head) - len(_HTML_TAIL))
    draft.fixed(_HTML_TAIL)


def _put_alternative(draft: Draft, letter: Letter, octets: int, boundary: bytes) -> None:
    plain = b"--%b\r\n%b\r\n" % (boundary, letter.charset.plain_fields)
    html = b"\r\n--%b\r\n%b\r\n" % (boundary, letter.charset.html_fields)
    end = b"\r\n--%b--\r\n" % boundary
    room = octets - len(plain) - len(html) - len(end)
    in_plain = max(len(letter.lead) + 2, room * 3 // 10)
    draft.fixed(plain)
    _put_plain(draft, letter, in_plain)
    draft.fixed(html)
    _put_html(draft, letter, room - in_plain)
    draft.fixed(end)


def _put_signed(draft: Draft, letter: Letter, octets: int) -> None:
    boundary = letter.boundary
    head = b"--%b\r\n%b\r\n" % (boundary, letter.charset.plain_fields)
    middle = (
        b"\r\n--%b\r\nContent-Type: application/pgp-signature; name=signature.asc\r\n\r\n"
        b"-----BEGIN PGP SIGNATURE-----\r\n\r\n"
    ) % boundary
    end = b"-----END PGP SIGNATURE-----\r\n\r\n--%b--\r\n" % boundary
    signature = parts.base64_octets(_SIGNATURE)
    draft.fixed(head)
    _put_plain(draft, letter, octets - len(head) - len(middle) - signature - len(end))
    draft.fixed(middle)
    draft.run("base64", signature)
    draft.fixed(end)


def _put_mixed(draft: Draft, letter: Letter, octets: int) -> None:
    boundary = letter.boundary
    end = b"\r\n--%b--\r\n" % boundary
    if letter.shape is Shape.NESTED:
        inner = b"=_a" + letter.token
        head = b'--%b\r\nContent-Type: multipart/alternative; boundary="%b"\r\n\r\n' % (boundary, inner)
        least = Shape.ALTERNATIVE.least_body + len(letter.lead)
    else:
        head = b"--%b\r\n%b\r\n" % (boundary, letter.charset.plain_fields)
        least = 2 + len(letter.lead)
    room = octets - len(head) - len(end)
    attached = _fit(letter, room - max(least, min(_MAX_TEXT, room // 3)))
    in_text = room - sum(len(fields) + 78 * len(lines) + run for fields, lines, run, _ in attached)
    draft.fixed(head)
    if letter.shape is Shape.NESTED:
        _put_alternative(draft, letter, in_text, inner)
    else:
        _put_plain(draft, letter, in_text)
    for fields, lines, run, copy in attached:
        draft.fixed(fields + b"".join(lines))
        draft.run("base64", run, copy)
    draft.fixed(end)


def _fit(letter: Letter, room: int) -> list[tuple[bytes, list[bytes], int, int]]:
    """Share the room among the attachments: (fields, first lines, octets of the run, copy) for each that fits."""
    fitted = []
    total = sum(attachment.share for attachment in letter.attachments)
    for number, attachment in enumerate(letter.attachments):
        mime_type, ending, magic, _ = ATTACHMENTS[attachment.kind]
        name = b"copy-%03d" % attachment.copy if attachment.copy else b"%b-%d" % (letter.token[:10], number)
        fields = (
            b"\r\n--%b\r\nContent-Type: %b;\r\n\tname=%b.%b\r\nContent-Disposition: attachment; filename=%b.%b\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\n"
        ) % (letter.boundary, mime_type, name, ending, name, ending)
        share = min(room * attachment.share // total, room) - len(fields)
        lines = [_line(magic + name)] if attachment.copy else [_line(magic), _line(letter.token + b" %d" % number)]
        wanted = _copy_octets(attachment.copy) if attachment.copy else share - 78 * len(lines)
        if share < _LEAST_ATTACHMENT or wanted + 78 * len(lines) > share:
            continue
        fitted.append((fields, lines, parts.base64_octets(wanted), attachment.copy))
    return fitted


def _copy_octets(copy: int) -> int:
    """Give the size of attachment number `copy` of those that occur again: 1 to 130 kB."""
    return (1_000 << copy % 8) + 37 * copy


def _line(octets: bytes) -> bytes:
    """Give one full line of base64 that decodes to these octets and filling."""
    return base64.b64encode(octets[:_LINE].ljust(_LINE)) + b"\r\n"

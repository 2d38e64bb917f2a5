"""Bodies, to the octet, in one of eight MIME shapes.

Takes     what was drawn for messages of one shape (BodyDraws), the number of octets each body must have
Gives     columns of a block assembly: fixed octets, and runs still to be cut from a pool
Not here  cutting the runs (pool_set), header fields other than the content's (headers)

What a shape adds is counted first, attachments get what base64 can make of their share, and the text takes the rest,
so the sum is exact. A boundary begins with "=_", which neither base64 nor quoted-printable can contain (RFC 2045
section 6.7), and has the message's own number.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mboxgen.columns import TextTable, lengths, rows
from mboxgen.enums import table_of
from mboxgen.recipe.profiles import Charset, Era, Shape
from mboxgen.text import parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from mboxgen.message.assembly import BlockAssembly

CHARSETS = tuple(Charset)

BROKEN_FIELDS = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="=_never"\r\n'
MAX_ATTACHMENTS = 3
_MAX_TEXT = 6_000  # beside attachments: measured bodies end there, attachments have the rest
_LEAST_ATTACHMENT = 640
_COURTESY = 240  # below this a text has no greeting and no reference
_HTML_HEAD = b"<html><head><title>mail</title></head><body>\r\n"
_HTML_TAIL = b"</body></html>\r\n"
_LINE = 57
_SIGNATURE_HEAD = (
    b"\r\n--=_%b\r\nContent-Type: application/pgp-signature; name=signature.asc\r\n\r\n"
    b"-----BEGIN PGP SIGNATURE-----\r\n\r\n"
)
_NESTED_HEAD = b'--=_%b\r\nContent-Type: multipart/alternative; boundary="=_a%b"\r\n\r\n'
_PLAIN_FIELDS = tuple(charset.plain_fields for charset in CHARSETS)
_HTML_FIELDS = tuple(charset.html_fields for charset in CHARSETS)
_SIGNATURE = 400

# Type, ending, first octets: kinds as in office mail, by choice. Those of one place have one weight.
_NEW = (
    (b"application/pdf", b"pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"),
    (b"image/jpeg", b"jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01"),
    (b"application/vnd.openxmlformats-officedocument.wordprocessingml.document", b"docx", b"PK\x03\x04\x14\x00"),
    (b"image/png", b"png", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"),
    (b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", b"xlsx", b"PK\x03\x04\x14\x00"),
    (b"application/zip", b"zip", b"PK\x03\x04\x14\x00\x00\x00"),
)
_OLD = (  # before 2006
    (b"application/pdf", b"pdf", b"%PDF-1.3\n%\xe2\xe3\xcf\xd3\n"),
    (b"image/jpeg", b"jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01"),
    (b"application/msword", b"doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    (b"image/gif", b"gif", b"GIF89a"),
    (b"application/vnd.ms-excel", b"xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    (b"application/zip", b"zip", b"PK\x03\x04\x14\x00\x00\x00"),
)
ATTACHMENT_WEIGHTS = (30, 25, 15, 12, 10, 8)
_IMAGES = (1, 3)
_BEFORE_2006 = (Era.Y2002, Era.ARCHIVE)


def attachment_kinds(era: Era) -> tuple[tuple[bytes, bytes, bytes], ...]:
    """Give the kinds of attachments of a time."""
    return _OLD if era in _BEFORE_2006 else _NEW


@dataclass(frozen=True, slots=True)
class Attachment:
    """One attachment as drawn: its kind, its share of the room, and `copy` above 0 when it occurs again elsewhere."""

    kind: int
    share: int
    copy: int = 0


@dataclass(frozen=True, slots=True)
class BodyDraws:
    """What was drawn for messages of one shape, by column.

    charsets and pools are places in CHARSETS and in the pool set; tokens are unique in the corpus and equally long;
    greetings and prefixes (lines before the text, of faults or wide) are numbers in their tables, the last greeting is
    empty;
    attachments are found by a message's place in the block, `kinds` is what their kinds stand for.
    """

    at: NDArray[np.int64]
    charsets: NDArray[np.int64]
    pools: NDArray[np.int64]
    html_pools: NDArray[np.int64]
    tokens: NDArray[np.bytes_]
    greetings: NDArray[np.int64]
    prefixes: NDArray[np.int64]
    ready_greetings: TextTable
    ready_prefixes: TextTable
    attachments: Mapping[int, list[Attachment]]
    kinds: tuple[tuple[bytes, bytes, bytes], ...]

    def part(self, at: NDArray[np.int64]) -> BodyDraws:
        """Those of some messages."""
        return replace(
            self, at=at, charsets=self.charsets[at], pools=self.pools[at], html_pools=self.html_pools[at],
            tokens=self.tokens[at], greetings=self.greetings[at], prefixes=self.prefixes[at],
        )  # fmt: skip

    @property
    def prefix_octets(self) -> NDArray[np.int64]:
        """The octets of each prefix."""
        return self.ready_prefixes.octets[self.prefixes]


def _multipart_fields(kind: bytes, extra: bytes = b"") -> bytes:
    return b"MIME-Version: 1.0\r\nContent-Type: multipart/" + kind + b"; " + extra + b'boundary="=_%b"\r\n'


_FIELDS = table_of(
    [shape for shape in Shape if shape not in (Shape.PLAIN, Shape.HTML, Shape.BARE)],
    {
        Shape.ALTERNATIVE: _multipart_fields(b"alternative"),
        Shape.MIXED: _multipart_fields(b"mixed"),
        Shape.NESTED: _multipart_fields(b"mixed"),
        Shape.RELATED: _multipart_fields(b"related", b'type="text/html"; '),
        # RFC 3156 section 5; every OpenPGP program has had SHA-1 from 1996 on, and SHA-256 from 2003.
        Shape.SIGNED: _multipart_fields(b"signed", b'micalg=pgp-sha1;\r\n\tprotocol="application/pgp-signature"; '),
    },
)


def content_fields(shape: Shape, charset: Charset) -> bytes:
    """Give MIME-Version and the Content-… fields; those of a multipart have a %b for the token."""
    match shape:
        case Shape.BARE:
            return b""
        case Shape.PLAIN:
            return b"MIME-Version: 1.0\r\n" + charset.plain_fields
        case Shape.HTML:
            return b"MIME-Version: 1.0\r\n" + charset.html_fields
    return _FIELDS[shape]


def put_bodies(assembly: BlockAssembly, shape: Shape, bodies: BodyDraws, octets: NDArray[np.int64]) -> None:
    """Put bodies of exactly `octets` octets, at least their shape's least and the prefix, into the assembly."""
    match shape:
        case Shape.BARE | Shape.PLAIN:
            _put_plain(assembly, bodies, octets)
        case Shape.HTML:
            _put_html(assembly, bodies, octets, with_prefix=True)
        case Shape.ALTERNATIVE:
            _put_alternative(assembly, bodies, octets, b"")
        case Shape.SIGNED:
            _put_signed(assembly, bodies, octets)
        case Shape.MIXED | Shape.NESTED | Shape.RELATED:
            _put_mixed(assembly, bodies, octets, shape)


def _put_plain(assembly: BlockAssembly, bodies: BodyDraws, octets: NDArray[np.int64]) -> None:
    room = octets - bodies.prefix_octets
    polite, ready = room >= _COURTESY, bodies.ready_greetings
    greetings = np.where(polite, bodies.greetings, len(ready.texts) - 1)
    references = rows(len(octets), b"\r\nRef. ", bodies.tokens, b"\r\n")
    assembly.picked(bodies.ready_prefixes, bodies.prefixes)
    assembly.picked(ready, greetings)
    assembly.run(bodies.pools, room - ready.octets[greetings] - polite * references.itemsize)
    assembly.fixed(np.where(polite, references, b"").tolist(), polite * references.itemsize)


def _put_html(assembly: BlockAssembly, bodies: BodyDraws, octets: NDArray[np.int64], with_prefix: bool) -> None:
    assembly.same(_HTML_HEAD)
    if with_prefix:
        assembly.picked(bodies.ready_prefixes, bodies.prefixes)
        octets = octets - bodies.prefix_octets
    assembly.run(bodies.html_pools, octets - len(_HTML_HEAD) - len(_HTML_TAIL))
    assembly.same(_HTML_TAIL)


def _put_alternative(assembly: BlockAssembly, bodies: BodyDraws, octets: NDArray[np.int64], nesting: bytes) -> None:
    """Text and HTML; the boundary is the token after "=_" and the prefix."""
    plain = _for_each(bodies, b"--=_" + nesting + b"%b\r\n%b\r\n", _PLAIN_FIELDS)
    html = _for_each(bodies, b"\r\n--=_" + nesting + b"%b\r\n%b\r\n", _HTML_FIELDS)
    ends = rows(len(octets), b"\r\n--=_" + nesting, bodies.tokens, b"--\r\n")
    room = octets - lengths(plain) - lengths(html) - ends.itemsize
    in_plain = np.maximum(bodies.prefix_octets + 2, room * 3 // 10)
    assembly.fixed(plain)
    _put_plain(assembly, bodies, in_plain)
    assembly.fixed(html)
    _put_html(assembly, bodies, room - in_plain, with_prefix=False)
    assembly.fixed(ends.tolist())


def _put_signed(assembly: BlockAssembly, bodies: BodyDraws, octets: NDArray[np.int64]) -> None:
    heads = _for_each(bodies, b"--=_%b\r\n%b\r\n", _PLAIN_FIELDS)
    tokens = bodies.tokens.tolist()
    middles = [_SIGNATURE_HEAD % token for token in tokens]
    ends = [b"-----END PGP SIGNATURE-----\r\n\r\n--=_%b--\r\n" % token for token in tokens]
    signature = parts.base64_octets(_SIGNATURE)
    assembly.fixed(heads)
    _put_plain(assembly, bodies, octets - lengths(heads) - lengths(middles) - signature - lengths(ends))
    assembly.fixed(middles)
    assembly.run(_base64(assembly, len(ends)), np.full(len(ends), signature))
    assembly.fixed(ends)


def _put_mixed(assembly: BlockAssembly, bodies: BodyDraws, octets: NDArray[np.int64], shape: Shape) -> None:
    tokens = bodies.tokens.tolist()
    ends = [b"\r\n--=_%b--\r\n" % token for token in tokens]
    if shape is Shape.NESTED:
        in_text = Shape.ALTERNATIVE.least_body
        heads = [_NESTED_HEAD % (token, token) for token in tokens]
    else:
        in_text = Shape.HTML.least_body if shape is Shape.RELATED else 2
        fields = _HTML_FIELDS if shape is Shape.RELATED else _PLAIN_FIELDS
        heads = _for_each(bodies, b"--=_%b\r\n%b\r\n", fields)
    least = bodies.prefix_octets + in_text
    room = octets - lengths(heads) - lengths(ends)
    to_share = (room - np.maximum(least, np.minimum(_MAX_TEXT, room // 3))).tolist()
    attachments = map(bodies.attachments.__getitem__, bodies.at.tolist())
    related = shape is Shape.RELATED
    fitted = [_fit(bodies.kinds, related, *each) for each in zip(tokens, attachments, to_share, strict=True)]
    text_octets = room - np.array([sum(len(head) + run for head, run, _ in attached) for attached in fitted], np.int64)
    assembly.fixed(heads)
    if shape is Shape.NESTED:
        _put_alternative(assembly, bodies, text_octets, b"a")
    elif related:
        _put_html(assembly, bodies, text_octets, with_prefix=True)
    else:
        _put_plain(assembly, bodies, text_octets)
    for number in range(MAX_ATTACHMENTS):
        attached = [fits[number] if number < len(fits) else (b"", 0, 0) for fits in fitted]
        assembly.fixed([head for head, _, _ in attached])
        runs, copies = np.array([(run, copy) for _, run, copy in attached], dtype=np.int64).T
        assembly.run(_base64(assembly, len(runs)), runs, copies)
    assembly.fixed(ends)


def _for_each(bodies: BodyDraws, form: bytes, fields: tuple[bytes, ...]) -> list[bytes]:
    """Give a form filled with each message's token and the fields of its charset."""
    pairs = zip(bodies.tokens.tolist(), bodies.charsets.tolist(), strict=True)
    return [form % (token, fields[charset]) for token, charset in pairs]


def _base64(assembly: BlockAssembly, count: int) -> NDArray[np.int64]:
    return np.full(count, assembly.pool_set.numbers["base64"])


def _fit(
    kinds: tuple[tuple[bytes, bytes, bytes], ...],
    related: bool,
    token: bytes,
    attachments: list[Attachment],
    room: int,
) -> list[tuple[bytes, int, int]]:
    """Share the room among the attachments: (fields and first lines, octets of the run, copy) for each that fits.

    Related ones are images that the text shows.
    """
    fitted = []
    total = sum(attachment.share for attachment in attachments)
    for number, attachment in enumerate(attachments):
        mime_type, ending, magic = kinds[_IMAGES[attachment.kind % len(_IMAGES)] if related else attachment.kind]
        name = b"copy-%03d" % attachment.copy if attachment.copy else b"%b-%d" % (token[:10], number)
        fields = (
            b"\r\n--=_%b\r\nContent-Type: %b;\r\n\tname=%b.%b\r\nContent-Disposition: %b; filename=%b.%b\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\n"
        ) % (token, mime_type, name, ending, b"inline" if related else b"attachment", name, ending)
        share = min(room * attachment.share // total, room) - len(fields)
        lines = _line(magic + name) if attachment.copy else _line(magic) + _line(token + b" %d" % number)
        wanted = _copy_octets(attachment.copy) if attachment.copy else share - len(lines)
        if share >= _LEAST_ATTACHMENT and wanted + len(lines) <= share:
            fitted.append((fields + lines, parts.base64_octets(wanted), attachment.copy))
    return fitted


def _copy_octets(copy: int) -> int:
    """Give the size of attachment number `copy` of those that occur again: 1 to 130 kB."""
    return (1_000 << copy % 8) + 37 * copy


def _line(octets: bytes) -> bytes:
    """Give one full line of base64 that decodes to these octets and filling."""
    return base64.b64encode(octets[:_LINE].ljust(_LINE)) + b"\r\n"

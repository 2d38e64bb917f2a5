"""What kind of mail a corpus looks like.

Gives     LOOKS: name → Look (MIME shapes, charsets, header sizes, people, threads), each with where it was seen
Not here  sizes (presets), how a shape is built (mime), how a header is built (headers)

Weights are percent of messages as measured in public archives where `source` names one; the rest is choice, and
says so.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Shape(enum.Enum):
    """The MIME structure of a message; `least_body` is the smallest body it is made for."""

    PLAIN = ("text/plain", 2)
    HTML = ("text/html", 200)
    ALTERNATIVE = ("multipart/alternative", 700)
    MIXED = ("multipart/mixed", 1_600)
    NESTED = ("multipart/mixed with multipart/alternative inside", 2_200)
    SIGNED = ("multipart/signed", 1_000)

    # Plain attributes: a property that reads `value` costs a microsecond, several times per message.
    def __init__(self, words: str, least_body: int) -> None:
        self.words = words
        self.least_body = least_body


class Charset(enum.Enum):
    """How a text part is written: charset, transfer encoding, and the pool its lines come from."""

    UNDECLARED = ("", "", "ascii")
    ASCII = ("us-ascii", "7bit", "ascii")
    UTF8 = ("utf-8", "8bit", "utf-8")
    UTF8_QP = ("utf-8", "quoted-printable", "utf-8 qp")
    LATIN1 = ("iso-8859-1", "8bit", "latin-1")
    LATIN1_QP = ("iso-8859-1", "quoted-printable", "latin-1 qp")

    def __init__(self, declared: str, encoding: str, pool: str) -> None:
        self.pool = pool
        self.html_pool = f"html {pool}"
        self.eight_bit = encoding == "8bit"
        fields = f"charset={declared or 'us-ascii'}\r\nContent-Transfer-Encoding: {encoding or '7bit'}\r\n"
        self.plain_fields = f"Content-Type: text/plain; {fields}".encode()
        self.html_fields = f"Content-Type: text/html; {fields}".encode()


@dataclass(frozen=True, slots=True)
class Look:
    """One kind of mail.

    headers       quantiles of the header's octets (percent, octets); short messages get a shorter one
    unique_share  the share of attachments that occur once
    """

    name: str
    words: str
    source: str
    shapes: tuple[tuple[Shape, float], ...]
    charsets: tuple[tuple[Charset, float], ...]
    headers: tuple[tuple[str, int], ...]
    locales: str = "en_US"
    threads: bool = False
    list_mail: bool = False
    unique_share: float = 1.0


_ALL = (
    Look(
        "plain",
        "7-bit text, short headers: what most load generators send",
        "a choice, for comparison with other generators",
        ((Shape.PLAIN, 100),),
        ((Charset.ASCII, 100),),
        (("0", 300), ("50", 400), ("100", 600)),
    ),
    Look(
        "personal",
        "personal mail: mostly plain text, some HTML and attachments, threads",
        "shapes and header sizes of SpamAssassin ham 2002-2005, charsets of today by choice",
        (
            (Shape.PLAIN, 79), (Shape.HTML, 3), (Shape.ALTERNATIVE, 10),
            (Shape.MIXED, 4), (Shape.NESTED, 1.5), (Shape.SIGNED, 2.5),
        ),
        (
            (Charset.ASCII, 40), (Charset.UNDECLARED, 10), (Charset.UTF8, 20), (Charset.UTF8_QP, 15),
            (Charset.LATIN1, 10), (Charset.LATIN1_QP, 5),
        ),
        (("0", 500), ("50", 2_198), ("95", 3_446), ("99", 4_283), ("100", 6_000)),
        locales="en_US de_DE fr_FR es_ES",
        threads=True,
    ),
    Look(
        "list",
        "a developers' list: plain text, long threads, long headers",
        "linux-mips list 2017-2019, 6,012 messages",
        ((Shape.PLAIN, 94), (Shape.SIGNED, 5), (Shape.MIXED, 1)),
        (
            (Charset.UNDECLARED, 35), (Charset.UTF8, 24), (Charset.ASCII, 28), (Charset.UTF8_QP, 6),
            (Charset.LATIN1, 5), (Charset.LATIN1_QP, 2),
        ),
        (("0", 1_000), ("10", 2_345), ("50", 3_526), ("95", 7_834), ("99", 10_763), ("100", 14_000)),
        locales="en_US de_DE pl_PL",
        threads=True,
        list_mail=True,
    ),
    Look(
        "newsletter",
        "marketing mail: HTML with a text alternative, long headers, no attachments",
        "a choice; header sizes as in list mail",
        ((Shape.ALTERNATIVE, 90), (Shape.HTML, 10)),
        ((Charset.UTF8_QP, 80), (Charset.UTF8, 20)),
        (("0", 1_500), ("50", 3_500), ("95", 5_500), ("100", 8_000)),
        locales="en_US de_DE fr_FR es_ES",
        list_mail=True,
    ),
    Look(
        "spam",
        "spam: a great deal of HTML, undeclared and odd charsets",
        "SpamAssassin spam 2002-2005, 1,896 messages",
        (
            (Shape.HTML, 41), (Shape.PLAIN, 43), (Shape.ALTERNATIVE, 9),
            (Shape.MIXED, 5), (Shape.NESTED, 2),
        ),
        (
            (Charset.LATIN1, 13), (Charset.LATIN1_QP, 33), (Charset.ASCII, 16), (Charset.UNDECLARED, 30),
            (Charset.UTF8, 8),
        ),
        (("0", 500), ("50", 1_262), ("95", 2_586), ("99", 3_433), ("100", 5_000)),
        locales="en_US es_ES",
    ),
    Look(
        "corporate",
        "office mail: text and HTML, office documents attached, half of the attachments seen before",
        "duplicates as in 18.6 million corporate mails (256stuff.com); shapes by choice",
        (
            (Shape.PLAIN, 25), (Shape.ALTERNATIVE, 45), (Shape.MIXED, 12), (Shape.NESTED, 15), (Shape.HTML, 3),
        ),
        ((Charset.UTF8_QP, 40), (Charset.UTF8, 25), (Charset.ASCII, 25), (Charset.LATIN1_QP, 10)),
        (("0", 800), ("50", 2_600), ("95", 5_000), ("99", 8_000), ("100", 12_000)),
        locales="en_US de_DE fr_FR pl_PL ja_JP",
        threads=True,
        unique_share=0.52,
    ),
)  # fmt: skip

LOOKS: Mapping[str, Look] = MappingProxyType({look.name: look for look in _ALL})

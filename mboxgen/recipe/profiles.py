"""Mail profiles: what kind of mail a corpus is like.

Gives     PROFILES: name → MailProfile (MIME shapes, charsets, sizes and numbers of header fields, people, threads),
          each with where it was seen; Era: when it was sent
Not here  sizes (presets), how a shape is built (mime), how a header is built (headers), further fields (extra_fields)

Shapes and charsets are percent of messages; headers (octets), fields, received and recipients (To and Cc together) are
quantiles: percent, value. Where `source` names an archive, p50 and above were measured there; quantiles below p50 are a
choice unless the archive has them. tests/mboxgen/test_profiles.py holds the presets to their sources.
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Quantiles = tuple[tuple[str, int], ...]


class Era(enum.Enum):
    """When mail was sent: `start` and `days` unless asked otherwise, never before `since`.

    What did not exist yet at `since` is not in such mail: ESMTPS (RFC 3848, 2004), DKIM (RFC 4871, 2007), Office Open
    XML (2006), ARC (2016).
    """

    TIMELESS = (dt.date(2025, 11, 1), 30, dt.date(1971, 1, 1))
    Y2002 = (dt.date(2002, 8, 1), 120, dt.date(2002, 1, 1))
    ARCHIVE = (dt.date(2001, 7, 1), 6_570, dt.date(2001, 7, 1))
    Y2017 = (dt.date(2017, 1, 1), 880, dt.date(2017, 1, 1))
    TODAY = (dt.date(2025, 11, 1), 30, dt.date(2020, 1, 1))

    def __init__(self, start: dt.date, days: int, since: dt.date) -> None:
        self.start, self.days, self.since = start, days, since


DKIM_SINCE = dt.date(2007, 6, 1)
ARC_SINCE = dt.date(2016, 1, 1)


class Shape(enum.Enum):
    """The MIME structure of a message; `least_body` is the smallest body it is made for."""

    BARE = ("no Content-Type", 2)
    PLAIN = ("text/plain", 2)
    HTML = ("text/html", 200)
    ALTERNATIVE = ("multipart/alternative", 700)
    MIXED = ("multipart/mixed", 1_600)
    NESTED = ("multipart/mixed with multipart/alternative inside", 2_200)
    RELATED = ("multipart/related", 1_600)
    SIGNED = ("multipart/signed", 1_000)

    # Plain attributes: a property that reads `value` costs a microsecond, several times per message.
    def __init__(self, words: str, least_body: int) -> None:
        self.words = words
        self.least_body = least_body


class Charset(enum.Enum):
    """How a text part is written: charset and transfer encoding as declared, and the pool its lines come from."""

    UNDECLARED = ("", "", "ascii")
    ASCII_BARE = ("us-ascii", "", "ascii")
    ASCII = ("us-ascii", "7bit", "ascii")
    UTF8_BARE = ("utf-8", "", "ascii")
    UTF8_7BIT = ("utf-8", "7bit", "ascii")
    UTF8_UNUSED = ("utf-8", "8bit", "ascii")
    UTF8 = ("utf-8", "8bit", "utf-8")
    UTF8_QP = ("utf-8", "quoted-printable", "utf-8 qp")
    LATIN1_BARE = ("iso-8859-1", "", "ascii")
    LATIN1_7BIT = ("iso-8859-1", "7bit", "ascii")
    LATIN1 = ("iso-8859-1", "8bit", "latin-1")
    LATIN1_QP = ("iso-8859-1", "quoted-printable", "latin-1 qp")
    # The letters of the pool's languages have the same octets in all three.
    LATIN9 = ("iso-8859-15", "8bit", "latin-1")
    CP1252_7BIT = ("windows-1252", "7bit", "ascii")
    CP1252 = ("windows-1252", "8bit", "latin-1")
    CP1252_QP = ("windows-1252", "quoted-printable", "latin-1 qp")
    BIG5 = ("big5", "7bit", "ascii")
    GB2312 = ("gb2312", "7bit", "ascii")

    def __init__(self, declared: str, encoding: str, pool: str) -> None:
        self.declared = declared
        self.encoding = encoding
        self.pool = pool
        self.html_pool = f"html {pool}"
        fields = f"; charset={declared}\r\n" if declared else "\r\n"
        fields += f"Content-Transfer-Encoding: {encoding}\r\n" if encoding else ""
        self.plain_fields = f"Content-Type: text/plain{fields}".encode()
        self.html_fields = f"Content-Type: text/html{fields}".encode()


@dataclass(frozen=True, slots=True)
class MailProfile:
    """One kind of mail.

    headers       octets of the header, its last blank line included; short messages get a shorter one
    dkim, arc     shares of messages with a DKIM-Signature, and with complete ARC sets
    wide          share of messages whose longest line is above 78 octets
    extra_fields  which further fields there are, a name in extra_fields.FIELD_SETS; None: none, whatever `fields` says
    unique_share  the share of attachments that occur once
    """

    name: str
    words: str
    source: str
    era: Era
    shapes: tuple[tuple[Shape, float], ...]
    charsets: tuple[tuple[Charset, float], ...]
    headers: Quantiles
    fields: Quantiles
    received: Quantiles
    recipients: Quantiles
    dkim: float = 0.0
    arc: float = 0.0
    wide: float = 0.0
    extra_fields: str | None = None
    locales: str = "en_US"
    threads: bool = False
    unique_share: float = 1.0


_FEW_RECIPIENTS = (("0", 1), ("50", 1), ("90", 2), ("99", 4), ("100", 12))
# The charsets' percentages were published for themselves and the transfer encodings' for themselves; which goes with
# which is a choice that gives both sums. Encodings are those of messages that are one text.
_CHARSETS_2002 = (
    (Charset.UNDECLARED, 20.4), (Charset.ASCII_BARE, 18.7), (Charset.ASCII, 28.2), (Charset.LATIN1_BARE, 3.1),
    (Charset.LATIN1_7BIT, 4.0), (Charset.LATIN1, 9.5), (Charset.LATIN1_QP, 0.3), (Charset.LATIN9, 1.9),
    (Charset.UTF8_BARE, 0.4),
)  # fmt: skip
_CHARSETS_TODAY = ((Charset.UTF8_QP, 45), (Charset.UTF8, 30), (Charset.ASCII, 20), (Charset.LATIN1_QP, 5))

_ALL = (
    MailProfile(
        "plain",
        "7-bit text, short headers: what most load generators send",
        "a choice, for comparison with other generators",
        Era.TIMELESS,
        ((Shape.PLAIN, 100),),
        ((Charset.ASCII, 100),),
        (("0", 300), ("50", 400), ("100", 600)),
        (("0", 6), ("100", 10)),
        (("0", 1), ("75", 1), ("100", 2)),
        (("0", 1), ("85", 1), ("100", 4)),  # SPECmail2001: 85.7 % have one
    ),
    MailProfile(
        "personal",
        "personal mail of today: text, HTML and attachments, threads, DKIM",
        "a choice",
        Era.TODAY,
        (
            (Shape.PLAIN, 30), (Shape.HTML, 8), (Shape.ALTERNATIVE, 47),
            (Shape.MIXED, 6), (Shape.NESTED, 6), (Shape.RELATED, 2), (Shape.SIGNED, 1),
        ),
        _CHARSETS_TODAY,
        (("0", 900), ("50", 3_000), ("95", 6_000), ("99", 9_000), ("100", 14_000)),
        (("0", 8), ("50", 22), ("99", 45), ("100", 60)),
        (("0", 1), ("50", 3), ("95", 6), ("99", 9), ("100", 14)),
        _FEW_RECIPIENTS,
        dkim=85,
        arc=10,
        extra_fields="personal",
        locales="en_US de_DE fr_FR es_ES",
        threads=True,
    ),
    MailProfile(
        "personal-2002",
        "wanted mail of 2002: plain text, lists and threads",
        "SpamAssassin ham 2002-2005, 4,150 messages",
        Era.Y2002,
        (
            (Shape.BARE, 13.5), (Shape.PLAIN, 79.1), (Shape.HTML, 2.9), (Shape.SIGNED, 2.5),
            (Shape.ALTERNATIVE, 1.5), (Shape.MIXED, 0.5),
        ),
        _CHARSETS_2002,
        (
            ("0", 420), ("5", 560), ("10", 700), ("25", 1_500), ("50", 2_198), ("95", 3_446), ("99", 4_283),
            ("100", 6_000),
        ),
        (("0", 8), ("10", 11), ("25", 22), ("50", 30), ("99", 44), ("100", 52)),
        (("0", 1), ("10", 2), ("50", 6), ("95", 10), ("99", 13), ("100", 18)),
        _FEW_RECIPIENTS,
        wide=25,
        extra_fields="personal-2002",
        locales="en_US de_DE fr_FR es_ES",
        threads=True,
    ),
    MailProfile(
        "list",
        "a developers' list of 2017: plain text, long threads, many in Cc, long headers",
        "linux-mips list 2017-2019, 6,012 messages",
        Era.Y2017,
        ((Shape.BARE, 34.1), (Shape.PLAIN, 60.3), (Shape.SIGNED, 4.7), (Shape.MIXED, 0.9)),
        (
            (Charset.UNDECLARED, 6.3), (Charset.ASCII_BARE, 14.3), (Charset.ASCII, 5.2), (Charset.UTF8_BARE, 3.2),
            (Charset.UTF8_7BIT, 4.0), (Charset.UTF8_UNUSED, 12.0), (Charset.UTF8, 8.8), (Charset.UTF8_QP, 4.3),
            (Charset.LATIN1_7BIT, 1.0), (Charset.LATIN1, 3.1), (Charset.LATIN1_QP, 1.0), (Charset.LATIN9, 1.4),
            (Charset.CP1252, 0.7), (Charset.CP1252_QP, 0.6),
        ),
        (("0", 1_000), ("10", 2_345), ("50", 3_526), ("95", 7_834), ("99", 10_763), ("100", 14_000)),
        (("0", 14), ("10", 25), ("50", 35), ("99", 66), ("100", 80)),
        (("0", 1), ("10", 2), ("50", 4), ("95", 7), ("99", 11), ("100", 16)),
        (("0", 1), ("10", 2), ("25", 5), ("50", 11), ("90", 35), ("99", 67), ("100", 144)),
        dkim=47.3,
        arc=3.0,
        wide=61,
        extra_fields="list",
        locales="en_US de_DE pl_PL",
        threads=True,
    ),
    MailProfile(
        "list-archive",
        "a developers' list over many years: plain text, long threads",
        "linux-mips list 1994-2019, 6,007 messages; shapes and charsets by choice, ARC as in 2017-2019",
        Era.ARCHIVE,
        ((Shape.BARE, 40), (Shape.PLAIN, 56), (Shape.SIGNED, 3), (Shape.MIXED, 1)),
        (
            (Charset.UNDECLARED, 8), (Charset.ASCII_BARE, 14), (Charset.ASCII, 16), (Charset.LATIN1_7BIT, 5),
            (Charset.LATIN1, 6), (Charset.LATIN1_QP, 1), (Charset.UTF8_UNUSED, 5), (Charset.UTF8, 4),
            (Charset.UTF8_QP, 1),
        ),
        (("0", 500), ("10", 1_100), ("50", 2_272), ("95", 4_785), ("99", 8_486), ("100", 14_000)),
        (("0", 8), ("10", 18), ("50", 29), ("99", 61), ("100", 70)),
        (("0", 1), ("10", 2), ("50", 4), ("95", 7), ("99", 9), ("100", 14)),
        (("0", 1), ("25", 2), ("50", 4), ("90", 19), ("99", 52), ("100", 128)),
        dkim=21.7,
        arc=0.6,
        extra_fields="list-archive",
        locales="en_US de_DE pl_PL",
        threads=True,
    ),
    MailProfile(
        "newsletter",
        "marketing mail of today: HTML with a text alternative, DKIM, no attachments",
        "a choice; header sizes as in list mail",
        Era.TODAY,
        ((Shape.ALTERNATIVE, 90), (Shape.HTML, 10)),
        ((Charset.UTF8_QP, 80), (Charset.UTF8, 20)),
        (("0", 1_500), ("50", 3_500), ("95", 5_500), ("100", 8_000)),
        (("0", 14), ("50", 26), ("100", 45)),
        (("0", 1), ("50", 3), ("95", 5), ("100", 9)),
        (("0", 1), ("100", 1)),
        dkim=98,
        arc=2,
        extra_fields="newsletter",
        locales="en_US de_DE fr_FR es_ES",
    ),
    MailProfile(
        "newsletter-2002",
        "newsletters of 2002: a great deal of HTML",
        "SpamAssassin hard ham 2002-2005, 250 messages; charsets and headers as in wanted mail",
        Era.Y2002,
        (
            (Shape.HTML, 47.2), (Shape.PLAIN, 20.4), (Shape.ALTERNATIVE, 17.2), (Shape.BARE, 12), (Shape.MIXED, 3.2),
        ),
        _CHARSETS_2002,
        (("0", 600), ("10", 1_000), ("50", 2_198), ("95", 3_446), ("99", 4_283), ("100", 6_000)),
        (("0", 8), ("10", 14), ("50", 24), ("99", 40), ("100", 44)),
        (("0", 1), ("50", 4), ("95", 8), ("100", 13)),
        (("0", 1), ("98", 1), ("100", 2)),
        extra_fields="newsletter-2002",
        locales="en_US de_DE fr_FR es_ES",
    ),
    MailProfile(
        "spam",
        "spam of 2002: a great deal of HTML, undeclared and odd charsets",
        "SpamAssassin spam 2002-2005, 1,896 messages",
        Era.Y2002,
        (
            (Shape.HTML, 40.7), (Shape.PLAIN, 30.0), (Shape.BARE, 13.1), (Shape.ALTERNATIVE, 8.9),
            (Shape.MIXED, 5.2), (Shape.RELATED, 2.1),
        ),
        (
            (Charset.UNDECLARED, 11.5), (Charset.ASCII_BARE, 3.0), (Charset.ASCII, 13.4), (Charset.LATIN1_BARE, 6.0),
            (Charset.LATIN1_7BIT, 9.0), (Charset.LATIN1, 10.7), (Charset.LATIN1_QP, 20.6), (Charset.CP1252_7BIT, 1.5),
            (Charset.CP1252, 5.0), (Charset.CP1252_QP, 4.0), (Charset.BIG5, 1.4), (Charset.GB2312, 0.8),
        ),
        (("0", 420), ("10", 700), ("50", 1_262), ("95", 2_586), ("99", 3_433), ("100", 9_000)),
        (("0", 8), ("10", 12), ("50", 17), ("99", 37), ("100", 42)),
        (("0", 1), ("10", 2), ("50", 4), ("95", 9), ("99", 12), ("100", 16)),
        (("0", 1), ("50", 1), ("90", 9), ("99", 46), ("100", 311)),
        wide=51,
        extra_fields="spam",
        locales="en_US es_ES",
    ),
    MailProfile(
        "corporate",
        "office mail: text and HTML, office documents attached, half of the attachments seen before",
        "duplicates as in 18.6 million corporate mails (256stuff.com); all else by choice",
        Era.TODAY,
        (
            (Shape.PLAIN, 25), (Shape.ALTERNATIVE, 45), (Shape.MIXED, 12), (Shape.NESTED, 15), (Shape.HTML, 3),
        ),
        ((Charset.UTF8_QP, 40), (Charset.UTF8, 25), (Charset.ASCII, 25), (Charset.LATIN1_QP, 10)),
        (("0", 800), ("50", 2_600), ("95", 5_000), ("99", 8_000), ("100", 12_000)),
        (("0", 8), ("50", 22), ("99", 45), ("100", 60)),
        (("0", 1), ("50", 3), ("95", 6), ("99", 9), ("100", 14)),
        (("0", 1), ("50", 1), ("75", 3), ("90", 6), ("99", 20), ("100", 60)),
        dkim=60,
        arc=15,
        extra_fields="corporate",
        locales="en_US de_DE fr_FR pl_PL ja_JP",
        threads=True,
        unique_share=0.52,
    ),
)  # fmt: skip

PROFILES: Mapping[str, MailProfile] = MappingProxyType({profile.name: profile for profile in _ALL})

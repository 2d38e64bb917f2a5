"""The header of a message.

Takes     people, a date, an identity, and how long the header should be
Gives     header fields as octets with CRLF; the From_ line; trace fields of many lengths, built once per seed
Not here  MIME fields and the body (mime), who writes to whom (blocks)

RFC 5322 section 3.6: From, Date, Message-ID, To, Subject at most once; lines below 78 where they can be folded. There
are at most 20 Received fields: Postfix stops at 50, sendmail at 25. Every time in a message lies in the minute of its
Date, so a trace is built once and gets its minute when it is used. DKIM and ARC fields have the right shape and
length; their signatures are noise and verify nowhere.
"""

from __future__ import annotations

import base64
import itertools
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from mboxgen import streams
from mboxgen.people import gather

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mboxgen.people import People

TRACES = 384
MAX_RECEIVED = 20
DATE_OCTETS = 31  # Fri, 21 Nov 2025 22:55:03 +0000
MAX_REFERENCES = 10  # the first and the latest nine: RFC 5322 section 3.6.4 sets no limit, clients cut
_DAYS = (b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed")  # 1 January 1970 was a Thursday
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_MINUTES = tuple(b"%02d:%02d" % divmod(minute, 60) for minute in range(1440))


@dataclass(frozen=True, slots=True)
class Moment:
    """A minute, written both ways, without seconds; and the second of the epoch."""

    mail: bytes  # Fri, 21 Nov 2025 22:55
    weekday_month_day: bytes  # Fri Nov 21
    year: bytes
    minute: bytes
    epoch: int


@lru_cache(maxsize=4096)
def _day(number: int) -> tuple[bytes, bytes, bytes]:
    import datetime as dt

    date = dt.date(1970, 1, 1) + dt.timedelta(days=number)
    weekday, month = _DAYS[number % 7], _MONTHS[date.month - 1]
    return (
        b"%b, %02d %b %04d " % (weekday, date.day, month, date.year),
        b"%b %b %2d" % (weekday, month, date.day),
        b"%04d" % date.year,
    )


def moment(epoch: int) -> Moment:
    """Give the minute that a second of the epoch lies in, UTC."""
    day, second = divmod(epoch, 86_400)
    mail, short, year = _day(day)
    minute = _MINUTES[second // 60]
    return Moment(mail + minute, short, year, minute, epoch)


def from_line(sender: bytes, at: Moment) -> bytes:
    """Give the From_ line: asctime, UTC, no zone, which every known reader takes (docs/corpora.md)."""
    return b"From %b %b %b:%02d %b\r\n" % (sender, at.weekday_month_day, at.minute, 50 + at.epoch % 10, at.year)


class Identities:
    """Message-IDs: unique by number, the same for the same seed, computed for any message without a memory."""

    def __init__(self, seed: int, people: People) -> None:
        self.run = streams.stream_number(f"run {seed}")
        self._ends = [b".%08x@%b>" % (self.run, host) for host in people.hosts]

    def of(self, number: int) -> bytes:
        """Give the Message-ID of message `number` with its angle brackets."""
        return b"<%010x%b" % (number, self._ends[number * 2_654_435_761 % 4_294_967_291 % len(self._ends)])


def references(identities: Identities, earlier: list[int]) -> bytes:
    """Give In-Reply-To and References for a reply; `earlier` are the thread's messages before it, oldest first."""
    if not earlier:
        return b""
    kept = earlier if len(earlier) <= MAX_REFERENCES else [earlier[0], *earlier[1 - MAX_REFERENCES :]]
    written = [identities.of(number) for number in kept]
    return b"In-Reply-To: %b\r\nReferences: %b\r\n" % (written[-1], b"\r\n ".join(written))


def addresses(name: bytes, mailboxes: list[bytes]) -> bytes:
    """Give an address field, one mailbox per line."""
    return b"%b: %b\r\n" % (name, b",\r\n ".join(mailboxes))


def date_field(at: Moment) -> bytes:
    """Give the Date field; its second lies before those of the trace and of the From_ line."""
    return b"Date: %b:%02d +0000\r\n" % (at.mail, at.epoch % 7)


def short(sender: bytes, recipient: bytes, date: bytes, identity: bytes, content: bytes) -> bytes:
    """Give the shortest header that every reader takes, for messages that have no room."""
    return b"From: %b\r\nTo: %b\r\nSubject: note\r\n%bMessage-ID: %b\r\n%b\r\n" % (
        sender, recipient, date, identity, content,
    )  # fmt: skip


@lru_cache(maxsize=4)
def traces_of(seed: int, locales: str, list_mail: bool) -> Traces:
    """Give the traces of a seed; the same ones again while they are remembered."""
    return Traces(seed, gather(seed, locales), list_mail)


class Traces:
    """Trace fields of many lengths, each with the longest it can become."""

    def __init__(self, seed: int, people: People, list_mail: bool) -> None:
        longest = max((person.address for person in people.persons), key=len)
        at = moment(0)
        built = [
            (_expanded(template, at, b"0" * 10, longest), template) for template in traces(seed, people, list_mail)
        ]
        built.sort(key=lambda pair: len(pair[0]))
        self._templates = [template for _, template in built]
        self._lengths = [len(expanded) for expanded, _ in built]

    def within(self, octets: int, at: Moment, identity: bytes, recipient: bytes) -> bytes:
        """Give the longest trace of at most `octets` octets, empty when none is so short."""
        number = bisect_right(self._lengths, octets)
        return _expanded(self._templates[number - 1], at, identity, recipient) if number else b""


def _expanded(template: bytes, at: Moment, identity: bytes, recipient: bytes) -> bytes:
    return template % {b"d": at.mail, b"e": at.epoch, b"i": identity, b"r": recipient}


def traces(seed: int, people: People, list_mail: bool) -> list[bytes]:
    """Build trace fields (Received, DKIM, ARC, list fields), from about 200 to 12,000 octets.

    Each is a template for `%` with the keys d (minute), e (second of the epoch), i (identity) and r (recipient).
    """
    built = []
    for number in range(TRACES):
        draws = itertools.cycle(streams.raw(seed, "traces", number, 128).tolist())
        built.append(_trace(draws, people, list_mail, aim=200 * 60 ** (number / TRACES)))
    return built


def _trace(draws: Iterator[int], people: People, list_mail: bool, aim: float) -> bytes:
    hosts = people.hosts
    path = [hosts[next(draws) % len(hosts)] for _ in range(MAX_RECEIVED + 1)]
    fields: list[bytes] = []
    length = 0
    makers = [_received] * 3 + [_dkim, _results] + ([_list] if list_mail else []) + [_received] * 2 + [_arc, _extra]
    hops = 0
    for step in range(64):
        maker = makers[step] if step < len(makers) else (_received, _extra, _extra)[step % 3]
        if maker is _received:
            hops += 1
            if hops > MAX_RECEIVED:
                continue
        field = maker(draws, path, hops)
        if fields and length + len(field) > aim:
            break
        fields.append(field)
        length += len(field)
    received = [field for field in fields if field.startswith(b"Received")]
    return b"".join(received + [field for field in fields if not field.startswith(b"Received")])


def _received(draws: Iterator[int], path: list[bytes], hop: int) -> bytes:
    """One hop; the newest is first and has the latest second."""
    here, there, number = path[hop - 1], path[hop], next(draws)
    address = b"%d.%d.%d.%d" % (192, 0, 2, number % 254 + 1)  # 192.0.2.0/24 is for documentation (RFC 5737)
    second = max(48 - 2 * hop, 8)
    return (
        b"Received: from %b (%b [%b])\r\n\tby %b (Postfix) with ESMTPS id %%(i)b%02x\r\n"
        b"\tfor <%%(r)b>; %%(d)b:%02d +0000 (UTC)\r\n"
    ) % (there, there, address, here, number >> 8 & 0xFF, second)


def _noise(draws: Iterator[int], octets: int) -> bytes:
    """Give base64 noise, folded as header text."""
    raw = b"".join(next(draws).to_bytes(8, "little") for _ in range(4))
    text = base64.b64encode((raw * (octets // 24 + 1))[: octets * 3 // 4])
    return b"\r\n\t ".join(text[at : at + 68] for at in range(0, len(text), 68))


def _dkim(draws: Iterator[int], path: list[bytes], _: int) -> bytes:
    domain = path[-1].partition(b".")[2]
    return (
        b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=%b;\r\n\ts=s%d; t=%%(e)d;\r\n"
        b"\th=from:to:subject:date:message-id:mime-version:content-type;\r\n\tbh=%b=;\r\n\tb=%b==\r\n"
    ) % (domain, next(draws) % 900 + 100, _noise(draws, 43), _noise(draws, 342))


def _results(_: Iterator[int], path: list[bytes], __: int) -> bytes:
    domain = path[-1].partition(b".")[2]
    return (b"Authentication-Results: %b;\r\n\tdkim=pass header.d=%b;\r\n\tspf=pass smtp.mailfrom=%b\r\n") % (
        path[0],
        domain,
        domain,
    )


def _arc(draws: Iterator[int], path: list[bytes], _: int) -> bytes:
    return (
        b"ARC-Seal: i=1; a=rsa-sha256; t=%%(e)d; cv=none; d=%b; s=arc;\r\n\tb=%b==\r\n"
    ) % (path[1].partition(b".")[2], _noise(draws, 342))  # fmt: skip


def _list(draws: Iterator[int], path: list[bytes], _: int) -> bytes:
    domain = path[0].partition(b".")[2]
    name = b"list%d" % (next(draws) % 90)
    return (
        b"Precedence: list\r\nList-Id: <%b.%b>\r\nList-Post: <mailto:%b@%b>\r\n"
        b"List-Unsubscribe: <mailto:%b-leave@%b>\r\n"
    ) % (name, domain, name, domain, name, domain)


def _extra(draws: Iterator[int], _: list[bytes], __: int) -> bytes:
    """A field of a filter or a client, as they make up a third of today's headers."""
    number = next(draws)
    names = (b"X-Spam-Status", b"X-Mailer-Trace", b"X-Envelope-Check", b"X-Policy", b"X-Route")
    return b"%b: No, score=-%d.%d tests=%d,\r\n\t%b\r\n" % (
        names[number % 5], number >> 4 & 7, number >> 8 & 7, number >> 12 & 0xFFF, _noise(draws, 60 + number % 120),
    )  # fmt: skip

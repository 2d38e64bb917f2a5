"""The header of a message, and its From_ line.

Takes     people, times, identities: by column, for a block of messages
Gives     header fields as octets with CRLF; From_ lines
Not here  trace fields (traces), MIME fields and the body (mime), who writes to whom (blocks)

RFC 5322 section 3.6: From, Date, Message-ID, To, Subject at most once; lines below 78 where they can be folded. A field
is a look-up in a table of ready ones, and a header one join.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import repeat
from operator import add
from typing import TYPE_CHECKING

from mboxgen import streams
from mboxgen.mime import lengths

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from mboxgen.people import People

DATE_OCTETS = len(b"Date: Fri, 21 Nov 2025 22:55:03 +0000\r\n")
MAX_REFERENCES = 10  # the first and the latest nine: RFC 5322 section 3.6.4 sets no limit, clients cut
_DAYS = (b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed")  # 1 January 1970 was a Thursday
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_CLOCKS = tuple(b"%02d:%02d" % divmod(minute, 60) for minute in range(1440))
_SECONDS = tuple(b":%02d" % second for second in range(60))


class Moments:
    """The times of messages, UTC. The second of the Date lies before those of the trace and of the From_ line."""

    def __init__(self, epochs: NDArray[np.int64]) -> None:
        self.epochs: list[int] = epochs.tolist()
        mail, short, year = zip(*map(_day, (epochs // 86_400).tolist()), strict=True)
        clocks = list(map(_CLOCKS.__getitem__, (epochs % 86_400 // 60).tolist()))
        seconds, later = (map(_SECONDS.__getitem__, second.tolist()) for second in (epochs % 7, 50 + epochs % 10))
        self.minutes = list(map(add, mail, clocks))
        self.dates = list(map(b"".join, zip(repeat(b"Date: "), self.minutes, seconds, repeat(b" +0000\r\n"))))
        self._stamps = (short, clocks, later, year)

    def from_lines(self, senders: Iterable[bytes]) -> list[bytes]:
        """Give From_ lines, once: asctime, UTC, no zone, which every known reader takes (docs/corpora.md)."""
        return list(map(b"".join, zip(repeat(b"From "), senders, *self._stamps)))


@lru_cache(maxsize=4096)
def _day(number: int) -> tuple[bytes, bytes, bytes]:
    """Give a day since the epoch as a Date has it before its time, as a From_ line has it, and that line's end."""
    import datetime as dt

    date = dt.date(1970, 1, 1) + dt.timedelta(days=number)
    weekday, month = _DAYS[number % 7], _MONTHS[date.month - 1]
    return (
        b"%b, %02d %b %d " % (weekday, date.day, month, date.year),
        b" %b %b %2d " % (weekday, month, date.day),
        b" %d\r\n" % date.year,
    )


class Identities:
    """Message-IDs: unique by number, the same for the same seed, computed for any message without a memory."""

    def __init__(self, seed: int, people: People) -> None:
        self.run = streams.stream_number(f"run {seed}")
        self._ends = [b".%08x@%b>" % (self.run, host) for host in people.hosts]

    def of(self, numbers: range) -> list[bytes]:
        """Give the Message-IDs of messages with their angle brackets; the number is octets 1 to 10."""
        ends, count = self._ends, len(self._ends)
        return [b"<%010x%b" % (n, ends[n * 2_654_435_761 % 4_294_967_291 % count]) for n in numbers]


class Fields:
    """Ready fields of everyone who writes, and what they write about.

    Senders and subjects from `wide` on are in UTF-8; subjects come as they are, then again as replies.
    """

    def __init__(self, people: People) -> None:
        persons = people.persons
        wide = [person for person in persons if not person.utf8_address.isascii()]
        self.wide_senders, self.wide_subjects = range(len(persons), len(persons) + len(wide)), 2 * len(people.subjects)
        mailboxes = [person.mailbox for person in persons] + [person.utf8_mailbox for person in wide]
        self.addresses = [person.address for person in (*persons, *wide)]
        self.names = [person.first_name for person in persons]
        self.senders = [b"From: %b\r\n" % mailbox for mailbox in mailboxes]
        self.first = [b"To: %b" % person.mailbox for person in persons]
        self.more = [*(b",\r\n %b" % person.mailbox for person in persons), b""]
        written = (*people.subjects, *people.utf8_subjects)
        count = len(people.subjects)
        self.subjects = [
            b"\r\nSubject: %b%b\r\n" % (reply, subject)
            for some in (written[:count], written[count:]) for reply in (b"", b"Re: ") for subject in some
        ]  # fmt: skip
        self._lengths = [lengths(table) for table in (self.senders, self.first, self.more, self.subjects)]

    def octets(
        self, senders: NDArray[np.int64], recipients: NDArray[np.int64], subjects: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Give the octets of From, To and Subject; recipients are rows, filled up with the last of `more`."""
        in_from, first, more, subject = self._lengths
        others: NDArray[np.int64] = more[recipients[:, 1:]].sum(axis=1)
        return in_from[senders] + first[recipients[:, 0]] + others + subject[subjects]

    def rows(
        self, senders: NDArray[np.int64], recipients: NDArray[np.int64], subjects: NDArray[np.int64]
    ) -> list[map[bytes]]:
        """Give the columns of From, To and Subject."""
        first, *others = recipients.T.tolist()
        return [
            map(self.senders.__getitem__, senders.tolist()),
            map(self.first.__getitem__, first),
            *(map(self.more.__getitem__, column) for column in others),
            map(self.subjects.__getitem__, subjects.tolist()),
        ]


def references(identities: list[bytes], earlier: list[int]) -> bytes:
    """Give In-Reply-To and References for a reply; `earlier` are the thread's messages before it, oldest first."""
    kept = earlier if len(earlier) <= MAX_REFERENCES else [earlier[0], *earlier[1 - MAX_REFERENCES :]]
    written = [identities[number] for number in kept]
    return b"In-Reply-To: %b\r\nReferences: %b\r\n" % (written[-1], b"\r\n ".join(written))


def short(sender: bytes, recipient: bytes, date: bytes, identity: bytes, content: bytes) -> bytes:
    """Give the shortest header that every reader takes, for messages that have no room."""
    return b"From: %b\r\nTo: %b\r\nSubject: note\r\n%bMessage-ID: %b\r\n%b\r\n" % (
        sender, recipient, date, identity, content,
    )  # fmt: skip

"""The header of a message, and its From_ line.

Takes     people, times, identities: by column, for a block of messages
Gives     header fields as octets with CRLF; From_ lines
Not here  trace fields (traces), MIME fields and the body (mime), who writes to whom (blocks)

RFC 5322 section 3.6: From, Date, Message-ID, To, Subject at most once; lines below 78 where they can be folded. A field
is a look-up in a table of ready ones, and a header one join.
"""

from __future__ import annotations

from functools import lru_cache
from operator import add
from typing import TYPE_CHECKING

import numpy as np

from mboxgen import streams
from mboxgen.columns import Column, Table, distinct, hexadecimal, rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from mboxgen.people import People

DATE_OCTETS = len(b"Date: Fri, 21 Nov 2025 22:55:03 +0000\r\n")
_SPREAD = np.uint64(4_294_967_291)  # the largest prime below 2**32
MAX_REFERENCES = 10  # the first and the latest nine: RFC 5322 section 3.6.4 sets no limit, clients cut
_DAYS = (b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed")  # 1 January 1970 was a Thursday
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_CLOCKS = np.array([b"%02d:%02d" % divmod(minute, 60) for minute in range(1440)])
_SECONDS = np.array([b":%02d" % second for second in range(60)])


class Moments:
    """The times of messages, UTC. The second of the Date lies before those of the trace and of the From_ line."""

    def __init__(self, epochs: NDArray[np.int64]) -> None:
        self.epochs, count = epochs, len(epochs)
        days, on = distinct(epochs // 86_400)
        mail, short, year = (np.array(texts)[on] for texts in zip(*map(_day, days.tolist()), strict=True))
        clocks = _CLOCKS[epochs % 86_400 // 60]
        self.minutes = rows(count, mail, clocks)
        self.dates = rows(count, b"Date: ", self.minutes, _SECONDS[epochs % 7], b" +0000\r\n")
        self._stamps = rows(count, short, clocks, _SECONDS[50 + epochs % 10], year)

    def from_lines(self, openings: Table, senders: NDArray[np.int64]) -> Column:
        """Give From_ lines: asctime, UTC, no zone, which every known reader takes (docs/corpora.md)."""
        lines = list(map(add, openings.pick(senders), self._stamps.tolist()))
        return Column(lines, openings.octets[senders] + self._stamps.itemsize)


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
        self._ends = Table([b".%08x@%b>" % (self.run, host) for host in people.hosts])

    def of(self, numbers: NDArray[np.int64]) -> Column:
        """Give the Message-IDs of messages with their angle brackets; the number is octets 1 to 10."""
        spread = numbers.astype(np.uint64) % _SPREAD * np.uint64(2_654_435_761) % _SPREAD
        ends = (spread % np.uint64(len(self._ends.texts))).astype(np.int64)
        begins = rows(len(numbers), b"<", hexadecimal(numbers, 10))
        return Column(list(map(add, begins.tolist(), self._ends.pick(ends))), begins.itemsize + self._ends.octets[ends])


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
        self.persons = len(persons)
        self.openings = Table([b"From %b" % address for address in self.addresses])
        # The last one is for messages that are too short to greet anybody.
        self.greetings = Table([*(b"Dear %b,\r\n\r\n" % person.first_name for person in persons), b""])
        self._senders = Table([b"From: %b\r\n" % mailbox for mailbox in mailboxes])
        self._first = Table([b"To: %b" % person.mailbox for person in persons])
        self._more = Table([*(b",\r\n %b" % person.mailbox for person in persons), b""])
        written = (*people.subjects, *people.utf8_subjects)
        count = len(people.subjects)
        self._subjects = Table([
            b"\r\nSubject: %b%b\r\n" % (reply, subject)
            for some in (written[:count], written[count:]) for reply in (b"", b"Re: ") for subject in some
        ])  # fmt: skip

    def octets(
        self, senders: NDArray[np.int64], recipients: NDArray[np.int64], subjects: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Give the octets of From, To and Subject; recipients are rows, filled up with the last of `more`."""
        others: NDArray[np.int64] = self._more.octets[recipients[:, 1:]].sum(axis=1)
        octets = self._senders.octets[senders] + self._first.octets[recipients[:, 0]] + others
        return octets + self._subjects.octets[subjects]

    def columns(
        self, senders: NDArray[np.int64], recipients: NDArray[np.int64], subjects: NDArray[np.int64]
    ) -> list[Iterable[bytes]]:
        """Give From, To and Subject, in several columns."""
        first, *others = recipients.T
        more = (self._more.pick(column) for column in others)
        return [self._senders.pick(senders), self._first.pick(first), *more, self._subjects.pick(subjects)]


def references(identities: list[bytes], earlier: list[int]) -> bytes:
    """Give In-Reply-To and References for a reply; `earlier` are the thread's messages before it, oldest first."""
    kept = earlier if len(earlier) <= MAX_REFERENCES else [earlier[0], *earlier[1 - MAX_REFERENCES :]]
    written = [identities[number] for number in kept]
    return b"In-Reply-To: %b\r\nReferences: %b\r\n" % (written[-1], b"\r\n ".join(written))


def short(sender: bytes, recipient: bytes, dated: bytes, identity: bytes, content: bytes) -> bytes:
    """Give the shortest header that every reader takes, for messages that have no room.

    `dated` is the Date field, if any, and the name of the field that the identity is in.
    """
    return b"From: %b\r\nTo: %b\r\nSubject: note\r\n%b%b\r\n%b\r\n" % (sender, recipient, dated, identity, content)

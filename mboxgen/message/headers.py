"""The header of a message, and its From_ line.

Takes     people, times, Message-IDs: by column, for a block of messages
Gives     header fields as octets with CRLF; From_ lines
Not here  trace fields (trace_headers), signatures, what clients and lists add (extra_fields), MIME fields and the
          body (mime), who writes to whom (blocks)

RFC 5322 section 3.6: From, Date, Message-ID, To, Subject at most once; lines below 78 where they can be folded. A field
is a look-up in a table of ready ones, and a header one join.
"""

from __future__ import annotations

from functools import lru_cache
from operator import add
from typing import TYPE_CHECKING

import numpy as np

from mboxgen import streams
from mboxgen.columns import TextColumn, TextTable, distinct, hexadecimal, rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from mboxgen.text.people import People

_BETWEEN, _COPIED = b",\r\n ", b"\r\nCc: "
MESSAGE_ID = b"Message-ID: "
MAX_REFERENCES = 10  # the first and the latest nine: RFC 5322 section 3.6.4 sets no limit, clients cut
_DAYS = (b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed")  # 1 January 1970 was a Thursday
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_CLOCKS = np.array([b"%02d:%02d" % divmod(minute, 60) for minute in range(1440)])
_SECONDS = np.array([b":%02d" % second for second in range(60)])


class MessageTimes:
    """The times of messages, UTC. The second of the Date lies before those of the trace and of the From_ line."""

    def __init__(self, epochs: NDArray[np.int64]) -> None:
        self.epochs, count = epochs, len(epochs)
        days, on = distinct(epochs // 86_400)
        mail, short, year = (np.array(texts)[on] for texts in zip(*map(_day, days.tolist()), strict=True))
        clocks = _CLOCKS[epochs % 86_400 // 60]
        self.minutes = rows(count, mail, clocks)
        self.dates = rows(count, b"Date: ", self.minutes, _SECONDS[epochs % 7], b" +0000\r\n")
        self._stamps = rows(count, short, clocks, _SECONDS[50 + epochs % 10], year)

    def from_lines(self, openings: TextTable, senders: NDArray[np.int64]) -> TextColumn:
        """Give From_ lines: asctime, UTC, no zone, which every known reader takes (docs/reference/corpora.md)."""
        lines = list(map(add, openings.pick(senders), self._stamps.tolist()))
        return TextColumn(lines, openings.octets[senders] + self._stamps.itemsize)


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


class MessageIds:
    """Message-IDs: a message's number, what tells the recipe's corpus from all others, and a domain.

    `digest` is Recipe.digest: with the seed alone, corpora of two presets would share all of them.
    """

    def __init__(self, digest: bytes, domain: bytes) -> None:
        self._end = b".%b@%b>" % (digest, domain)

    def of(self, numbers: NDArray[np.int64]) -> NDArray[np.bytes_]:
        """Give the Message-IDs of messages with their angle brackets; the number is octets 1 to 10."""
        return rows(len(numbers), b"<", hexadecimal(numbers, 10), self._end)


class Fields:
    """Ready fields of everyone who writes, and what they write about.

    The last senders (`utf8_senders`) and subjects are in UTF-8; subjects come as they are, then again as replies.
    Recipients stand in a circle: the first is in To, those after it in Cc, so that any number of them is one slice.
    """

    def __init__(self, seed: int, people: People) -> None:
        persons = people.persons
        utf8 = [person for person in persons if not person.utf8_address.isascii()]
        self.utf8_senders, self.first_utf8_subject = (
            range(len(persons), len(persons) + len(utf8)),
            2 * len(people.subjects),
        )
        mailboxes = [person.mailbox for person in persons] + [person.utf8_mailbox for person in utf8]
        self.addresses = [person.address for person in (*persons, *utf8)]
        self.address_octets = np.array([len(address) for address in self.addresses])
        self.persons = len(persons)
        self.openings = TextTable([b"From %b" % address for address in self.addresses])
        # The last one is for messages that are too short to greet anybody.
        self.greetings = TextTable([*(b"Dear %b,\r\n\r\n" % person.first_name for person in persons), b""])
        self._senders = TextTable([b"From: %b\r\n" % mailbox for mailbox in mailboxes])
        self._first = TextTable([b"To: %b" % person.mailbox for person in persons])
        self.circle = streams.permutation(seed, "circle", len(persons))
        listed = [_BETWEEN + persons[number].mailbox for number in self.circle.tolist()] * 2
        self._listed = b"".join(listed)
        self._listed_ends = np.cumsum([0, *map(len, listed)])
        written = (*people.subjects, *people.utf8_subjects)
        count = len(people.subjects)
        self._subjects = TextTable([
            b"\r\nSubject: %b%b\r\n" % (reply, subject)
            for some in (written[:count], written[count:]) for reply in (b"", b"Re: ") for subject in some
        ])  # fmt: skip

    def octets(
        self, senders: NDArray[np.int64], to: NDArray[np.int64], subjects: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Give the octets of From, To and Subject."""
        octets: NDArray[np.int64] = (
            self._senders.octets[senders] + self._first.octets[to] + self._subjects.octets[subjects]
        )
        return octets

    def copied(
        self, places: NDArray[np.int64], recipients: NDArray[np.int64], octets: NDArray[np.int64]
    ) -> tuple[list[bytes], NDArray[np.int64]]:
        """Give Cc fields, without the CRLF after them, for the recipients after a place of the circle.

        `recipients` includes the one in To; there are fewer where they would need more than `octets`.
        """
        begins = self._listed_ends[places + 1]
        fitting = np.searchsorted(self._listed_ends, begins + np.maximum(octets, 0), side="right") - 1
        ends = self._listed_ends[np.minimum(fitting, np.minimum(places + recipients, places + self.persons))]
        some = np.flatnonzero(ends > begins)
        fields = [b""] * len(places)
        skipped = len(_BETWEEN)
        for at, begin, end in zip(some.tolist(), begins[some].tolist(), ends[some].tolist(), strict=True):
            fields[at] = _COPIED + self._listed[begin + skipped : end]
        return fields, np.where(ends > begins, len(_COPIED) + ends - begins - skipped, 0)

    def columns(
        self, senders: NDArray[np.int64], to: NDArray[np.int64], copied: list[bytes], subjects: NDArray[np.int64]
    ) -> list[Iterable[bytes]]:
        """Give From, To, Cc and Subject, in several columns."""
        return [self._senders.pick(senders), self._first.pick(to), copied, self._subjects.pick(subjects)]


def references(message_ids: list[bytes], earlier: list[int]) -> bytes:
    """Give In-Reply-To and References for a reply; `earlier` are the thread's messages before it, oldest first."""
    kept = earlier if len(earlier) <= MAX_REFERENCES else [earlier[0], *earlier[1 - MAX_REFERENCES :]]
    written = [message_ids[number] for number in kept]
    return b"In-Reply-To: %b\r\nReferences: %b\r\n" % (written[-1], b"\r\n ".join(written))


def short(sender: bytes, recipient: bytes, dated: bytes, message_id: bytes, content: bytes) -> bytes:
    """Give the shortest header that every reader takes, for messages that have no room.

    `dated` is the Date field, if any, and the name of the Message-ID field.
    """
    return b"From: %b\r\nTo: %b\r\nSubject: note\r\n%b%b\r\n%b\r\n" % (sender, recipient, dated, message_id, content)

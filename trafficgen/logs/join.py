"""Every message of a run, found in the server's log.

Takes     the manifest of the run, and records of the log in the order they were written
Gives     for each message of the run: how often it was queued, its queue id, attempts, recipients delivered, put off
          and given up, when it was first seen and last delivered, saved to how many mailboxes
Limits    62 octets of memory a message of the run, and some 300 for each that is in the server's queue at one time,
          whoever sent it; of those beyond `MAX_QUEUED` that are not of the run, no lost lines are inferred
Fails     never
Not here  what is then right or wrong (account), whether the log is whole (wholeness)

A message is known by its Message-ID, `<number.run@domain>` as `workload.headers` writes it, or by its trace header
where the server shows that (Postfix: header_checks with `/^X-Traffic-Gen:/ INFO`; kumod: `headers` in its
configuration). Then its queue id leads to everything else. A content filter or another Postfix in the same log gives
it a second queue id: the reply `queued as ID` of the first names it, and it is not taken for a second copy.
"""

import re
from array import array
from collections import Counter, OrderedDict
from typing import Final

from trafficgen.clock import NS_PER_S
from trafficgen.logs.delays import DelaysOverTime
from trafficgen.logs.reading import Handler
from trafficgen.logs.records import (
    Attempt,
    AttemptStatus,
    Discarded,
    Expired,
    Finished,
    Identified,
    Marked,
    MessageReceived,
    Queued,
    Rejected,
    Requeued,
    Saved,
)
from trafficgen.proof import trace_header

MAX_QUEUED: Final = 1_000_000
QUEUE_ID_OCTETS: Final = 32
_RECENT: Final = 10_000
_MANY: Final = 65_535
_QUEUED_AS: Final = re.compile(rb"\bqueued as ([0-9A-Za-z]+)").search
_LMTP_ID: Final = re.compile(rb" (\S+) Saved\)?$").search
_SLACK_NS: Final = 2 * NS_PER_S  # a stamp is a whole second, and delay is rounded to two digits

SEEN, TAKEN, LEFT, ZONED, TO_MAILBOX = 1, 2, 4, 8, 16
"""Bits of `Join.flags`: its Message-ID is in the log; the server took it over; it left the queue; its time has a
zone; a mailbox server said that it saved it."""


class Join:
    """What the log says of each message, by its number: arrays of one length, `planned`."""

    def __init__(self, run_id: str, planned: int) -> None:
        self.planned = planned
        self.flags = bytearray(planned)
        self.copies = bytearray(planned)
        """Queue ids that this message had, at most 255, without those that another of its queue ids was handed on
        to."""
        self.sent = array("H", bytes(2 * planned))
        self.bounced = array("H", bytes(2 * planned))
        self.deferred = array("H", bytes(2 * planned))
        """Recipients whose last attempt was put off."""
        self.attempts = array("H", bytes(2 * planned))
        self.saved = array("H", bytes(2 * planned))
        self.discarded = array("H", bytes(2 * planned))
        self.seen_ns = array("q", bytes(8 * planned))
        self.sent_ns = array("q", bytes(8 * planned))
        self.queue_ids = bytearray(QUEUE_ID_OCTETS * planned)
        self.delays = DelaysOverTime()
        self.headless = 0
        """Attempts for messages that came after the log begins and whose arrival it does not have: lines are
        missing."""
        self.refused: Counter[tuple[int, bool, bytes, bytes]] = Counter()
        """Refusals by second since 1970, whether its zone was said, stage and code: they have no queue id."""
        self._run = run_id.encode("ascii")
        self._live: dict[bytes, int] = {}
        """Numbers by queue id, of what is in the queue."""
        self._others: set[bytes] = set()
        self._put_off: dict[bytes, set[bytes]] = {}
        """Recipients that were put off, by queue id."""
        self._marked_sessions: OrderedDict[bytes, int] = OrderedDict()
        """Numbers by LMTP id, of messages known by their trace header only."""
        self._saves: OrderedDict[bytes, int] = OrderedDict()
        """Saves by LMTP id whose message is not known yet: Dovecot writes before Postfix does."""
        self._passed_on: OrderedDict[bytes, int] = OrderedDict()
        """Numbers by queue id, of what left the queue lately and had another id before."""
        self._known_by_mark: set[int] = set()
        self._first_ns: int | None = None

    @property
    def handlers(self) -> dict[type, Handler]:
        """For `reading.Reading`."""
        return {
            Identified: self._identified,
            Marked: self._marked,
            MessageReceived: self._received,
            Queued: self._queued,
            Attempt: self._attempt,
            Expired: self._expired,
            Requeued: self._requeued,
            Finished: self._finished,
            Rejected: self._refused,
            Saved: self._saved_to,
            Discarded: self._thrown_away,
        }

    def _refused(self, at_ns: int, zoned: bool, record: Rejected) -> None:
        self.refused[at_ns // NS_PER_S, zoned, record.stage, record.code] += 1

    def queue_id(self, number: int) -> str:
        """The last of this message; empty when it has none."""
        octets = self.queue_ids[number * QUEUE_ID_OCTETS : (number + 1) * QUEUE_ID_OCTETS]
        return octets.rstrip(b"\0").decode("ascii", "replace")

    # -- who is it? ---------------------------------------------------------------------------------------

    def _number_of(self, message_id: bytes) -> int | None:
        """Of a Message-ID of the run."""
        if message_id[13:29] == self._run and message_id[12:13] == b"." and message_id[29:30] == b"@":
            digits = message_id[:12]
            if digits.isdigit() and (number := int(digits)) < self.planned:
                return number
        return None

    def _identified(self, at_ns: int, zoned: bool, record: Identified) -> None:
        if (number := self._number_of(record.message_id)) is not None:
            self._enter(at_ns, zoned, record.queue_id, number)
        elif record.queue_id not in self._live:
            self._other(at_ns, record.queue_id)

    def _marked(self, at_ns: int, zoned: bool, record: Marked) -> None:
        parsed = trace_header.parse(record.value)
        if parsed is None or parsed[0].encode("ascii") != self._run or parsed[1] >= self.planned:
            return
        if self._live.get(record.queue_id) != parsed[1]:
            self._known_by_mark.add(parsed[1])
            self._enter(at_ns, zoned, record.queue_id, parsed[1])

    def _received(self, at_ns: int, zoned: bool, record: MessageReceived) -> None:
        number = self._number_of(record.message_id)
        if number is None and (parsed := trace_header.parse(record.mark)) is not None:
            number = parsed[1] if parsed[0].encode("ascii") == self._run and parsed[1] < self.planned else None
        if number is None:
            self._other(at_ns, record.queue_id)
        else:
            self._enter(at_ns, zoned, record.queue_id, number)
            self.flags[number] |= TAKEN

    def _enter(self, at_ns: int, zoned: bool, queue_id: bytes, number: int) -> None:
        if self._first_ns is None:
            self._first_ns = at_ns
        if self._live.get(queue_id) == number:  # a second Message-ID header, or the mark beside it
            return
        self._live[queue_id] = number
        self._others.discard(queue_id)
        self._put_off.pop(queue_id, None)
        if not self.flags[number] & SEEN:
            self.flags[number] |= SEEN | (ZONED if zoned else 0)
            self.seen_ns[number] = at_ns
        self.flags[number] &= ~LEFT
        self.copies[number] = min(self.copies[number] + 1, 255)
        at = number * QUEUE_ID_OCTETS
        self.queue_ids[at : at + QUEUE_ID_OCTETS] = queue_id[:QUEUE_ID_OCTETS].ljust(QUEUE_ID_OCTETS, b"\0")

    def _other(self, at_ns: int, queue_id: bytes) -> None:
        if self._first_ns is None:
            self._first_ns = at_ns
        if len(self._others) < MAX_QUEUED:
            self._others.add(queue_id)

    # -- what became of it? -------------------------------------------------------------------------------

    def _queued(self, at_ns: int, zoned: bool, record: Queued) -> None:
        if (number := self._live.get(record.queue_id)) is not None:
            self.flags[number] |= TAKEN

    def _attempt(self, at_ns: int, zoned: bool, record: Attempt) -> None:
        number = self._live.get(record.queue_id)
        if number is None:
            self._of_no_known_message(at_ns, record)
            return
        self.flags[number] |= TAKEN
        self.attempts[number] = min(self.attempts[number] + 1, _MANY)
        put_off = self._put_off.get(record.queue_id)
        if record.status is AttemptStatus.DEFERRED:
            if put_off is None:
                put_off = self._put_off[record.queue_id] = set()
            if record.recipient not in put_off:
                put_off.add(record.recipient)
                self.deferred[number] = min(self.deferred[number] + 1, _MANY)
            return
        if put_off is not None and record.recipient in put_off:
            put_off.discard(record.recipient)
            self.deferred[number] -= 1
        if record.status is AttemptStatus.BOUNCED:
            self.bounced[number] = min(self.bounced[number] + 1, _MANY)
        elif (onwards := _QUEUED_AS(record.reply)) and number in (
            self._live.get(onwards[1]), self._passed_on.get(onwards[1])
        ):  # fmt: skip
            self.copies[number] -= 1  # handed on to itself: what becomes of it stands under the other id
        else:
            self._was_sent(at_ns, number, record)

    def _was_sent(self, at_ns: int, number: int, record: Attempt) -> None:
        self.sent[number] = min(self.sent[number] + 1, _MANY)
        self.sent_ns[number] = max(self.sent_ns[number], at_ns)
        if (delays := record.delays) is not None:
            self.delays.add(
                at_ns, delays.before, delays.queued, delays.connecting, delays.sending, record.delay_s or 0.0
            )
        else:
            took = record.delay_s
            if took is None:
                took = (at_ns - self.seen_ns[number]) / NS_PER_S
            self.delays.add(at_ns, -1.0, -1.0, -1.0, -1.0, took)
        if b" Saved" not in record.reply or not (found := _LMTP_ID(record.reply)):
            return
        self.flags[number] |= TO_MAILBOX
        if number in self._known_by_mark:
            if self._saves.pop(found[1], None) is not None:
                self.saved[number] = min(self.saved[number] + 1, _MANY)
            else:
                _remember(self._marked_sessions, found[1], number)

    def _of_no_known_message(self, at_ns: int, record: Attempt) -> None:
        if record.queue_id in self._others or record.delay_s is None or self._first_ns is None:
            return
        arrived_ns = at_ns - int(record.delay_s * NS_PER_S)
        if arrived_ns > self._first_ns + _SLACK_NS and len(self._others) < MAX_QUEUED:
            self.headless += 1

    def _expired(self, at_ns: int, zoned: bool, record: Expired) -> None:
        number = self._live.get(record.queue_id)
        put_off = self._put_off.pop(record.queue_id, None)
        if number is not None:
            waited = len(put_off) if put_off else 1
            self.bounced[number] = min(self.bounced[number] + waited, _MANY)
            self.deferred[number] -= len(put_off) if put_off else 0

    def _requeued(self, at_ns: int, zoned: bool, record: Requeued) -> None:
        if (number := self._live.get(record.queue_id)) is not None:
            self.copies[number] -= 1
            self.deferred[number] -= len(self._put_off.pop(record.queue_id, ()))

    def _finished(self, at_ns: int, zoned: bool, record: Finished) -> None:
        number = self._live.pop(record.queue_id, None)
        if number is None:
            self._others.discard(record.queue_id)
            return
        self.deferred[number] -= len(self._put_off.pop(record.queue_id, ()))
        self.flags[number] |= LEFT
        if self.copies[number] > 1:
            _remember(self._passed_on, record.queue_id, number)

    # -- the mailbox --------------------------------------------------------------------------------------

    def _saved_to(self, at_ns: int, zoned: bool, record: Saved) -> None:
        number = self._number_of(record.message_id)
        if number is None and record.session:
            number = self._marked_sessions.pop(record.session, None)
            if number is None:
                _remember(self._saves, record.session, 1)
        if number is not None:
            self.saved[number] = min(self.saved[number] + 1, _MANY)

    def _thrown_away(self, at_ns: int, zoned: bool, record: Discarded) -> None:
        if (number := self._number_of(record.message_id)) is not None:
            self.discarded[number] = min(self.discarded[number] + 1, _MANY)


def _remember(table: "OrderedDict[bytes, int]", key: bytes, value: int) -> None:
    table[key] = value
    if len(table) > _RECENT:
        table.popitem(last=False)

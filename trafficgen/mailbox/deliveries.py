"""Delivered against read: every message of one worker's users, from the mailbox it was meant for to the one it is in.

Takes     what became of each delivery, and what mail programs find
Gives     how many were delivered, seen, read, are missing, doubled, damaged, in somebody else's mailbox; times to see
Limits    25 octets a message
Not here  how mail is delivered or found

A message's number says whose it is: mailbox · 10^6 + its place there. So whoever finds it can tell whether it is in the
right mailbox, and no two processes need to speak to each other.

Missing is a message that the server has accepted, and that was not there when a program was told, after that, all
that is in the inbox: until a program asks, it is not yet due. Missing is also one that was shown and that was not there
when its program came to read it, though none of ours had removed it.
"""

from array import array
from enum import Enum, auto
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trafficgen.mailbox.marks import Mark
from trafficgen.mailbox.profile import MailProtocol
from trafficgen.measure.delivered import MailboxCounts
from trafficgen.outcomes import Outcome

PER_MAILBOX: Final = 1_000_000
"""Messages that one mailbox can get in a run: a number has twelve digits."""

_ACCEPTED, _DOUBTFUL, _SPAM, _SEEN, _READ, _GONE, _DOUBLED, _DAMAGED = (1 << bit for bit in range(8))


class MessageOrigin(Enum):
    """What a message in a mailbox is."""

    OURS = auto()
    EARLIER = auto()
    """Of another run of ours."""
    MISPLACED = auto()
    """Of this run, for somebody else."""
    FOREIGN = auto()


class _Mailbox:
    __slots__ = ("accepted_ns", "listed_ns", "removed_ns", "states", "uids")

    def __init__(self) -> None:
        self.states = bytearray()
        self.accepted_ns = array("q")
        self.uids = {protocol: array("Q") for protocol in MailProtocol}  # under which it was seen first; 0: not seen
        self.listed_ns = -1
        """All that was accepted before this was listed then."""
        self.removed_ns = -1
        """When an IMAP program last had something removed, or asked for it."""


class Deliveries:
    """All mailboxes of one worker. `on_seen` is told how long each message took to be seen, in ns."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._mailboxes: dict[int, _Mailbox] = {}
        self.times_to_see: array[int] = array("q")
        """In ns, since this was emptied last."""
        self.dropped = 0
        """Deliveries that were due while as many as there may be were at work."""
        self.foreign = self.earlier = self.misplaced = 0
        self.deleted = self.moved = 0
        self._being_removed: set[int] = set()
        self._vanished: set[int] = set()

    def begin(self, mailbox: int, *, spam: bool) -> int:
        """The number of the next message for this mailbox."""
        box = self._mailboxes.setdefault(mailbox, _Mailbox())
        place = len(box.states)
        assert place < PER_MAILBOX
        box.states.append(_SPAM if spam else 0)
        box.accepted_ns.append(-1)
        for uids in box.uids.values():
            uids.append(0)
        return mailbox * PER_MAILBOX + place

    def ended(self, number: int, outcome: Outcome, now_ns: int) -> None:
        """What became of the delivery."""
        box, place = self._place(number)
        if outcome is Outcome.ACCEPTED:
            box.states[place] |= _ACCEPTED
            box.accepted_ns[place] = now_ns
            if box.states[place] & _SEEN:
                self.times_to_see.append(0)  # it was seen before the server said that it has it
        elif outcome is Outcome.IN_DOUBT:
            box.states[place] |= _DOUBTFUL

    def sent_to(self, mailbox: int) -> int:
        """How many messages were begun for this mailbox."""
        box = self._mailboxes.get(mailbox)
        return len(box.states) if box else 0

    # -- what programs find -----------------------------------------------------------------------------

    def identify(self, mailbox: int, mark: Mark | None) -> MessageOrigin:
        """What a message in this mailbox is. It is not counted."""
        if mark is None:
            return MessageOrigin.FOREIGN
        if mark.run_id != self._run_id:
            return MessageOrigin.EARLIER
        owner, place = divmod(mark.number, PER_MAILBOX)
        if owner != mailbox:
            return MessageOrigin.MISPLACED
        return MessageOrigin.OURS if place < self.sent_to(mailbox) else MessageOrigin.FOREIGN

    def saw(self, mailbox: int, mark: Mark | None, protocol: MailProtocol, uid: int, shown_ns: int) -> MessageOrigin:
        """A message was found for the first time by a program, which the server showed at `shown_ns`. `uid`, 64 bits,
        tells it from all others of its protocol: in IMAP UIDVALIDITY and UID, 32 bits each, as UIDs mean nothing under
        another UIDVALIDITY (RFC 9051 section 2.3.1.1); in POP3 a hash of the unique-id."""
        found = self.identify(mailbox, mark)
        if found is not MessageOrigin.OURS:
            self.foreign += found is MessageOrigin.FOREIGN
            self.earlier += found is MessageOrigin.EARLIER
            self.misplaced += found is MessageOrigin.MISPLACED
            return found
        assert mark is not None
        box, place = self._place(mark.number)
        uids, uid = box.uids[protocol], uid or 1
        renumbered = protocol is MailProtocol.IMAP and uids[place] >> 32 != uid >> 32
        if not uids[place] or renumbered:
            uids[place] = uid
        elif uids[place] != uid:
            box.states[place] |= _DOUBLED
        if not box.states[place] & _SEEN:
            box.states[place] |= _SEEN
            if (accepted_ns := box.accepted_ns[place]) >= 0:
                self.times_to_see.append(max(shown_ns - accepted_ns, 0))  # the server may show it before it answers
        return found

    def read(self, mark: Mark, *, whole: bool) -> None:
        """A message of this run was read to its end, in the mailbox where it belongs."""
        box, place = self._place(mark.number)
        box.states[place] |= _READ if whole else _READ | _DAMAGED

    def removing(self, mailbox: int, mark: Mark | None, now_ns: int) -> None:
        """An IMAP program asks the server to remove a message of this mailbox; `gone` when it was answered."""
        self._mailboxes.setdefault(mailbox, _Mailbox()).removed_ns = now_ns
        if self.identify_owner(mark) is not None:
            assert mark is not None
            self._being_removed.add(mark.number)

    def vanished(self, mark: Mark | None) -> None:
        """A program was shown this message, and it was not there when it wanted it. That is missing, unless somebody
        had read it or has it removed."""
        if self.identify_owner(mark) is not None:
            assert mark is not None
            self._vanished.add(mark.number)

    def removed_since(self, mailbox: int, since_ns: int) -> bool:
        """Whether a POP3 session that began then may find a message gone: in a mailbox that IMAP programs share, what
        is in its list may have been expunged meanwhile."""
        box = self._mailboxes.get(mailbox)
        return box is not None and box.removed_ns >= since_ns

    def gone(self, mailbox: int, mark: Mark | None, now_ns: int) -> bool:
        """A message was deleted or moved by us; whether nobody had done so before."""
        self._mailboxes.setdefault(mailbox, _Mailbox()).removed_ns = now_ns
        if self.identify_owner(mark) is None:
            return True  # of another run, or foreign: nobody keeps count
        assert mark is not None
        self._being_removed.discard(mark.number)
        box, place = self._place(mark.number)
        first = not box.states[place] & _GONE
        box.states[place] |= _GONE
        return first

    def identify_owner(self, mark: Mark | None) -> int | None:
        """Whose message it is, if it is one of this run that we have sent."""
        if mark is None or mark.run_id != self._run_id:
            return None
        owner, place = divmod(mark.number, PER_MAILBOX)
        return owner if place < self.sent_to(owner) else None

    def listed(self, mailbox: int, asked_ns: int) -> None:
        """A program was shown all that the inbox had at `asked_ns`, and has looked at each message."""
        box = self._mailboxes.setdefault(mailbox, _Mailbox())
        box.listed_ns = max(box.listed_ns, asked_ns)

    def waits_for_any(self, mailbox: int, asked_ns: int) -> bool:
        """Whether any mail would be missing if all that the inbox had at `asked_ns` were listed."""
        box = self._mailboxes.get(mailbox)
        return box is not None and any(
            0 <= accepted_ns < asked_ns and not state & (_SEEN | _SPAM)
            for state, accepted_ns in zip(box.states, box.accepted_ns, strict=True)
        )

    # -- the account ------------------------------------------------------------------------------------

    def count(self) -> MailboxCounts:
        """The account as it stands. It is asked for once a second, hence in bulk."""
        boxes = self._mailboxes.values()
        states = np.frombuffer(b"".join(box.states for box in boxes), np.uint8)
        accepted_ns = np.frombuffer(b"".join(box.accepted_ns for box in boxes), np.int64)
        lengths = np.array([len(box.states) for box in boxes], np.int64)
        listed_ns = np.repeat(np.array([box.listed_ns for box in boxes], np.int64), lengths)

        def of(bit: int) -> NDArray[np.bool_]:
            return np.asarray(states & bit, np.bool_)

        def number(which: NDArray[np.bool_]) -> int:
            return int(np.count_nonzero(which))

        accepted = of(_ACCEPTED)
        unread = accepted & ~of(_READ)
        late = ~of(_SEEN) & (accepted_ns < listed_ns)
        delivered, in_doubt = number(accepted), number(of(_DOUBTFUL))
        seen, read = number(accepted & of(_SEEN)), number(accepted & of(_READ))
        doubled, damaged = number(of(_DOUBLED)), number(of(_DAMAGED))
        spam = number(unread & of(_SPAM))
        missing, waiting = number(unread & ~of(_SPAM) & late), number(unread & ~of(_SPAM) & ~late)
        lost = sum(map(self._is_lost, self._vanished))
        missing, waiting = missing + lost, waiting - lost
        return MailboxCounts(
            delivered=delivered, in_doubt=in_doubt, dropped=self.dropped, seen=seen, read=read, spam=spam,
            not_yet_due=waiting, missing=missing, doubled=doubled, damaged=damaged, misplaced=self.misplaced,
            foreign=self.foreign, earlier=self.earlier, deleted=self.deleted, moved=self.moved,
        )  # fmt: skip

    def _is_lost(self, number: int) -> bool:
        """Whether a message that was not there any more was accepted, seen, never read, and removed by nobody here."""
        box, place = self._place(number)
        there = box.states[place] & (_ACCEPTED | _SEEN) == _ACCEPTED | _SEEN
        return there and not box.states[place] & (_SPAM | _READ | _GONE) and number not in self._being_removed

    def _place(self, number: int) -> tuple[_Mailbox, int]:
        owner, place = divmod(number, PER_MAILBOX)
        return self._mailboxes[owner], place

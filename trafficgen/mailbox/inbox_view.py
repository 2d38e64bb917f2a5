"""What one IMAP session was shown of the inbox, and what of it has been looked at.

Takes     EXISTS and EXPUNGE as they come; which question an answer was to; what a FETCH of new mail found
Gives     when to fetch, since when a message was shown, up to which moment everything has been looked at
Rules     an answer tells of all that was there when its own question was asked, not of what came later: SELECT
          (RFC 9051 section 6.3.2), NOOP (6.1.2). What EXISTS counts is looked at by a FETCH that was sent after it.
          UIDs rise with the order in which messages are shown (2.3.1.1); one FETCH answers in any order
Pure      no socket and no clock
"""

from collections import deque
from typing import Final

MAX_UID: Final = 2**32 - 1


class InboxView:
    """The inbox as a program knows it. It lasts for as long as UIDVALIDITY does, over sessions one after the other."""

    __slots__ = ("_again", "_answered_ns", "_looked", "_refused", "_shown", "fetching", "older_below", "uid_next")

    def __init__(self) -> None:
        self.uid_next = 1
        """All below it have been looked at, or are older."""
        self.older_below = 0
        """Messages with a UID below it were there before this program came, and have not been looked at. 0: none."""
        self.fetching = False
        """A FETCH of what is new is under way."""
        self._looked: set[int] = set()  # not below `uid_next`, and looked at
        self._shown: deque[tuple[int, int]] = deque()  # how many messages there were, and since when
        self._again = False  # EXISTS came while a FETCH was under way
        self._refused = False  # the last FETCH was
        self._answered_ns = -1

    def answered(self, asked_ns: int) -> None:
        """The question that was asked at `asked_ns` has been answered: all that was there then has been shown."""
        self._answered_ns = max(self._answered_ns, asked_ns)

    def selected(self, exists: int, now_ns: int, asked_ns: int) -> None:
        """SELECT was answered: a session begins."""
        self._shown = deque([(exists, now_ns)])
        self.fetching = self._again = self._refused = False
        self._answered_ns = -1
        self.answered(asked_ns)

    def exists(self, number: int, now_ns: int) -> bool:
        """EXISTS; whether to fetch now what is new."""
        if number <= self._shown[-1][0]:
            return False
        self._shown.append((number, now_ns))
        self._again = self.fetching
        return not self.fetching

    def expunged(self, number: int) -> None:
        """EXPUNGE."""
        self._shown = deque((count - (number <= count), since_ns) for count, since_ns in self._shown)

    def shown_ns(self, number: int, now_ns: int) -> int:
        """When the message of this number was shown."""
        return next((since_ns for count, since_ns in self._shown if count >= number), now_ns)

    def look_at(self, uid: int) -> bool:
        """A message is looked at; whether it is for the first time."""
        if uid < self.uid_next or uid in self._looked:
            return False
        self._looked.add(uid)
        if self.older_below:
            self.older_below = min(self.older_below, uid)
        return True

    def fetched(self, *, ok: bool) -> bool:
        """A FETCH of what is new was answered; whether to send another one."""
        self.fetching = False
        self._refused = not ok
        if ok and self._looked:
            self.uid_next = max(self._looked) + 1
            self._looked.clear()
        if self._again:
            self._again = False
            return True
        while len(self._shown) > 1:
            self._shown.popleft()
        return False

    def take_listed_ns(self) -> int | None:
        """All that was there at this moment has been looked at; None when nothing is known that was not told before."""
        if self.fetching or self._refused or self._answered_ns < 0:
            return None
        listed_ns, self._answered_ns = self._answered_ns, -1
        return listed_ns

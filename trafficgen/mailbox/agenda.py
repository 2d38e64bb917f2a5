"""What is due next: one heap of deadlines.

Takes     intents, each with the time when it is due and whom it concerns
Gives     them back in the order of their times, those of one time in the order in which they came
Not here  what an intent means (`director`, `habits`), waiting for the time to come (`worker`)

What has become pointless stays in the heap until its time: whoever it concerns passes it over.
"""

from enum import Enum, auto
from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Intent(Enum):
    """What somebody means to do."""

    DELIVER = auto()
    """Mail for the user's inbox."""
    DELIVER_SPAM = auto()
    LOGIN = auto()
    LOGOUT = auto()
    ACT = auto()
    """The next step with a mail that was seen."""
    STATUS = auto()
    WRITE = auto()
    """Begin a mail of one's own: a draft."""
    SEND = auto()
    """The draft is finished."""


class Subject(Protocol):
    """Whom an intent concerns."""

    def due(self, intent: Intent, due_ns: int, now_ns: int) -> None:
        """Its time has come."""


class AgendaEntry(NamedTuple):
    """An intent in the heap; `order` keeps what has one time in order, and subjects from being compared."""

    due_ns: int
    order: int
    intent: Intent
    subject: Subject


class Agenda:
    """All that is to come."""

    __slots__ = ("_count", "_heap", "on_sooner")

    def __init__(self) -> None:
        self.on_sooner: Callable[[int], None] = lambda _due_ns: None
        """Told when something becomes due before all else that is planned."""
        self._heap: list[AgendaEntry] = []
        self._count = 0

    def add(self, due_ns: int, intent: Intent, subject: Subject) -> None:
        """Plan something."""
        self._count += 1
        heappush(self._heap, AgendaEntry(due_ns, self._count, intent, subject))
        if self._heap[0].order == self._count:
            self.on_sooner(due_ns)

    @property
    def next_ns(self) -> int | None:
        """When the next one is due; None when nothing is planned."""
        return self._heap[0].due_ns if self._heap else None

    def run_due(self, now_ns: int, most: int = 1000, until_ns: int | None = None) -> int:
        """Let what is due by now happen, `most` at a time; returns how many it was. `until_ns`: nothing later than
        that, though it be due."""
        done = 0
        last_ns = now_ns if until_ns is None else min(now_ns, until_ns)
        while done < most and self._heap and self._heap[0].due_ns <= last_ns:
            entry = heappop(self._heap)
            entry.subject.due(entry.intent, entry.due_ns, now_ns)
            done += 1
        return done

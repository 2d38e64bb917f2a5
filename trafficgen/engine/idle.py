"""Sessions that hold a connection and carry no message, beside those that do.

Takes     how many; how often each says NOOP; a `Surroundings` whose sessions are `HoldingSession`s
Gives     as many open sessions as were asked for, as long as the run goes on; their counts
Limits    those of slots: `MAX_OPENING` at a time; one that a server closes is opened again after a second
Not here  what such a session says (protocol/smtp/holding)
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from trafficgen.clock import NS_PER_S
from trafficgen.engine.slot import MAX_OPENING, Slot, Surroundings
from trafficgen.measure.snapshot import IdleCounts
from trafficgen.protocol.smtp.interfaces import Work
from trafficgen.workload import BuiltMessage

_REST_NS: Final = NS_PER_S
_NO_WORK: Final[Work] = (BuiltMessage(-1, -1, 0, b"", b"", b"", b"", 0, eight_bit=False), -1)
"""What slots are given, and holding sessions do not look at."""


@dataclass(slots=True)
class _Place:
    """`held`: when somebody last looked, there was a session. `due_ns`: when it is opened, or says NOOP."""

    slot: Slot
    held: bool = False
    due_ns: int = 0


class IdleSessions:
    """Those of one worker. `tick` looks at all of them, a few times a second."""

    def __init__(self, surroundings: Surroundings, count: int, noop_ns: int, began_ns: int) -> None:
        """`began_ns`: none is opened before."""
        self._surroundings = surroundings
        self._noop_ns = noop_ns
        self._places = [_Place(Slot(surroundings), due_ns=began_ns) for _ in range(count)]
        self._to_open: deque[_Place] = deque()
        self._stopped = False
        self._noops = self._lost = self._most = 0

    @property
    def slots(self) -> list[Slot]:
        return [place.slot for place in self._places]

    @property
    def counts(self) -> IdleCounts:
        """So far."""
        opened = sum(place.slot.opened for place in self._places)
        return IdleCounts(opened, self._most, self._lost, self._noops)

    def tick(self, now: int) -> None:
        """Note which sessions are gone, have the others say NOOP when it is time, and open what is to be opened."""
        if self._stopped:
            return
        self._to_open.clear()
        held = 0
        for place in self._places:
            slot = place.slot
            if slot.working:
                held += place.held
            elif slot.open:
                held += 1
                self._keep(place, now)
            elif place.held:
                self._lost += 1
                place.held, place.due_ns = False, now + max(_REST_NS, slot.rest_ns)
            elif now >= place.due_ns:
                self._to_open.append(place)
        self._most = max(self._most, held)
        self.open_more(now)

    def _keep(self, place: _Place, now: int) -> None:
        if not place.held:
            place.held, place.due_ns = True, now + self._noop_ns
        elif self._noop_ns and now >= place.due_ns:
            place.due_ns = now + self._noop_ns
            self._noops += 1
            place.slot.give(_NO_WORK, now)

    def open_more(self, now: int) -> None:
        """Begin to open some, as far as that is allowed at the same time."""
        while self._to_open and self._surroundings.opening < MAX_OPENING and not self._stopped:
            place = self._to_open.popleft()
            place.due_ns = now + _REST_NS
            place.slot.give(_NO_WORK, now)

    def stop(self) -> None:
        """Open no more; those that are being opened are given up."""
        self._stopped = True
        self._to_open.clear()
        for place in self._places:
            if place.slot.working and not place.held:
                place.slot.stop("stopped", "the run was over")

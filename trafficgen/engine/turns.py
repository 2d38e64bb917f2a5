"""The handle to hold a run and let it go again, so that two runs can take turns on one machine.

Takes     turns from a thread that is not the run's
Gives     with each, all numbers of the run up to the moment when its workers took it: the exact ends of a slice
Fails     StoppedError when the run is over before all workers have answered
Not here  whose turn it is and for how long (gate), how a worker holds its messages (dispatch)
"""

from collections.abc import Iterator
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Event, Lock
from typing import Final

from trafficgen.engine.control import TakeTurn, Turn, TurnTaken
from trafficgen.errors import StoppedError
from trafficgen.measure.snapshot import Snapshot, merge

_PATIENCE_S: Final = 30.0
"""A worker that has not read its pipe for so long is suspended, or the machine is."""


class TurnControl:
    """One for each run that takes turns. The run begins held."""

    def __init__(self) -> None:
        self._orders: SimpleQueue[TakeTurn] = SimpleQueue()
        self._answers: dict[int, Future[Snapshot]] = {}
        self._parts: dict[int, dict[int, Snapshot]] = {}
        self._serial = 0
        self._lock = Lock()
        self._over = False
        self.begun = Event()
        """Set once the run takes orders, and when it is over."""

    def take(self, turn: Turn) -> Snapshot:
        """Let all workers take this turn; returns their numbers up to then."""
        answer: Future[Snapshot] = Future()
        with self._lock:
            if self._over:
                raise StoppedError("the run is over")
            self._serial += 1
            self._answers[self._serial] = answer
            self._orders.put(TakeTurn(self._serial, turn))
        try:
            return answer.result(_PATIENCE_S)
        except TimeoutError:
            raise StoppedError(f"a worker said nothing for {_PATIENCE_S:g} s") from None

    # -- the run's side ---------------------------------------------------------------------------------

    def orders(self) -> Iterator[TakeTurn]:
        """What was asked for since the last time."""
        self.begun.set()
        try:
            while True:
                yield self._orders.get_nowait()
        except Empty:
            return

    def taken(self, word: TurnTaken, worker: int, workers: int) -> None:
        """One of so many workers has taken a turn."""
        parts = self._parts.setdefault(word.serial, {})
        parts[worker] = word.snapshot
        if len(parts) == workers:
            del self._parts[word.serial]
            with self._lock:
                self._answers.pop(word.serial).set_result(merge(parts.values()))

    def close(self) -> None:
        """The run is over: nobody will answer any more."""
        with self._lock:
            self._over = True
            for answer in self._answers.values():
                answer.set_exception(StoppedError("the run ended before its turn did"))
            self._answers.clear()
        self.begun.set()

"""The coordinator's handle to one side of a gate by slices: a run of several shards that takes turns with another one.

Takes     slices for each host to serve, from a thread that is not the run's
Gives     what all shards measured in them
Fails     StoppedError when the run is over, or will be, before all of them have answered
Not here  whose turn it is and when (slices), one shard by its clock (shard_turns)
"""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Lock

from trafficgen.clock import now_ns
from trafficgen.cluster import words
from trafficgen.errors import StoppedError


@dataclass(slots=True)
class _Unserved:
    """Slices that not all shards have served yet. `due_ns`: when they will have, on our clock."""

    answer: Future[dict[str, words.ShardServed]]
    waiting: set[str]
    due_ns: int
    parts: dict[str, words.ShardServed]


class ClusterTurns:
    """One for each run of a gate. The run begins held."""

    def __init__(self) -> None:
        self.begun = Event()
        """Set once all shards are held and can take turns, and when the run is over."""
        self.found: Mapping[str, words.ShardPrepared] = {}
        """What each host has found before the start; known once it has begun."""
        self._orders: SimpleQueue[Mapping[str, words.ServeSlices]] = SimpleQueue()
        self._asked: dict[int, _Unserved] = {}
        self._lock = Lock()
        self._over = False

    def serve(self, orders: Mapping[str, words.ServeSlices], due_ns: int) -> "Future[dict[str, words.ShardServed]]":
        """Let each host serve its slices; what they say is there soon after `due_ns` (clock.now_ns)."""
        answer: Future[dict[str, words.ShardServed]] = Future()
        with self._lock:
            if self._over:
                answer.set_exception(StoppedError("the run is over"))
            else:
                (serial,) = {order.serial for order in orders.values()}
                self._asked[serial] = _Unserved(answer, set(orders), due_ns, {})
                self._orders.put(orders)
        return answer

    # -- the run's side ---------------------------------------------------------------------------------

    def begin(self, found: Mapping[str, words.ShardPrepared]) -> None:
        """All shards are held."""
        self.found = found
        self.begun.set()

    def orders(self) -> list[Mapping[str, words.ServeSlices]]:
        """What was asked for since the last time."""
        return [self._orders.get_nowait() for _ in range(self._orders.qsize())]  # one thread takes them

    @property
    def due(self) -> bool:
        """Whether shards must have something to say."""
        with self._lock:
            return any(one.due_ns <= now_ns() for one in self._asked.values())

    def served(self, host: str, word: words.ShardServed) -> None:
        """One shard has served its slices."""
        with self._lock:
            if (asked := self._asked.get(word.serial)) is None:
                return  # the run is over
            asked.parts[host] = word
            asked.waiting.discard(host)
            if not asked.waiting:
                del self._asked[word.serial]
                asked.answer.set_result(asked.parts)

    def close(self) -> None:
        """Nobody will answer any more."""
        with self._lock:
            self._over = True
            for one in self._asked.values():
                one.answer.set_exception(StoppedError("the run ended before its slices did"))
            self._asked.clear()
        self.begun.set()

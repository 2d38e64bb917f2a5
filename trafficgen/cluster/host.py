"""What a host of a cluster does when it is told to: start its shard, say how that goes, stop it.

Takes     calls by name, each of which returns at once (they run in the event loop of a Dask worker)
Gives     `clock`, `prepare`, `begin`, `serve`, `look`, `stop`, `end`
Promises  a shard is started at most once: whoever presents its token a second time is refused. A shard that nobody has
          looked at for `_ABANDONED_S` is stopped, as nobody would account for it
Not here  the shard itself (shard_process), when to call what (coordinator)
"""

import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import IO, Final

from trafficgen.cluster import words
from trafficgen.errors import TrafficgenError

_ABANDONED_S: Final = 60.0


class ShardHost:
    """All shards that this process has started. `wall_ns`: what this host takes for the time of day."""

    def __init__(self, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._wall_ns = wall_ns
        self._taken: dict[str, _ShardOfHost | None] = {}
        self._starting = threading.Lock()

    def clock(self) -> tuple[int, int]:
        """When the question came and when the answer left, ns since 1970 by this host's clock."""
        received_ns = self._wall_ns()
        return received_ns, self._wall_ns()

    def prepare(self, order: words.ShardOrder) -> None:
        """Start a process for this shard. TrafficgenError when it was started before."""
        with self._starting:
            if order.token in self._taken:
                raise TrafficgenError(f"shard {order.plan.shard} was started before, and is never started again")
            self._taken[order.token] = _ShardOfHost(order)

    def begin(self, token: str, start_at_ns: int) -> None:
        """Let it begin at this time by this host's clock."""
        self._shard(token).say(words.BeginShard(self._system_ns(start_at_ns)))

    def serve(self, token: str, order: words.ServeSlices) -> None:
        """Let it serve slices from an instant by this host's clock on."""
        self._shard(token).say(replace(order, begin_at_ns=self._system_ns(order.begin_at_ns)))

    def _system_ns(self, at_ns: int) -> int:
        """A time by this host's clock as its shards' processes tell it."""
        return time.time_ns() + at_ns - self._wall_ns()

    def look(self, token: str, serial: int) -> tuple[int, bytes | None]:
        """What a shard has said since the word with the number `serial`, pickled, and the number of its latest; None
        when that is `serial`. An answer that was lost is had again by asking with the same number."""
        return self._shard(token).latest(serial)

    def stop(self, token: str) -> None:
        """Ask the shard to stop."""
        self._shard(token).say(words.StopShard())

    def end(self, token: str) -> None:
        """End the shard's process, whatever it is doing. One that is not there yet is never started: calls may overtake
        each other."""
        with self._starting:
            shard = self._taken.setdefault(token, None)
        if shard is not None:
            shard.kill()

    def _shard(self, token: str) -> "_ShardOfHost":
        if (shard := self._taken[token]) is None:
            raise TrafficgenError("the shard was ended before it was started")
        return shard


class _ShardOfHost:
    """A shard's process, heard by a thread of its own."""

    def __init__(self, order: words.ShardOrder) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trafficgen.cluster.shard_process"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self._lock = threading.Lock()
        self._serial = 0
        self._unheard: list[tuple[int, object]] = []
        self._over = False
        self._looked_s = time.monotonic()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders: IO[bytes] = self._process.stdin
        self.say(order)
        threading.Thread(target=self._listen, args=(self._process.stdout,), name="shard", daemon=True).start()
        threading.Thread(target=self._guard, name="is anybody there", daemon=True).start()

    def say(self, word: object) -> None:
        """A short word into a pipe that is read at once."""
        try:
            pickle.dump(word, self._orders)
            self._orders.flush()
        except OSError:  # it has ended, and its last word says why
            return

    def latest(self, serial: int) -> tuple[int, bytes | None]:
        self._looked_s = time.monotonic()
        with self._lock:
            self._unheard = [(number, word) for number, word in self._unheard if number > serial]
            said = _in_short([word for _number, word in self._unheard])
            return self._serial, pickle.dumps(said) if said else None

    def kill(self) -> None:
        """Whatever it is doing; what it said last is of no use any more."""
        if not self._over:
            self._process.kill()
        with self._lock:
            self._unheard = []

    def _listen(self, heard: IO[bytes]) -> None:
        last: object = None
        with heard:
            while True:
                try:
                    last = pickle.load(heard)  # noqa: S301  (from a process that this one started)
                except (EOFError, pickle.UnpicklingError, OSError):
                    break
                self._keep(last)
        code = self._process.wait()
        self._over = True
        self._orders.close()
        if not isinstance(last, words.ShardEnded | words.ShardRefused):
            self._keep(words.ShardGone(f"its process ended with code {code}"))

    def _keep(self, word: object) -> None:
        with self._lock:
            self._serial += 1
            self._unheard.append((self._serial, word))

    def _guard(self) -> None:
        while not self._over:
            time.sleep(1)
            if time.monotonic() - self._looked_s > _ABANDONED_S:
                for _ in range(2):
                    self.say(words.StopShard(f"nobody asked after it for {_ABANDONED_S:g} s"))
                return


def _in_short(said: list[object]) -> list[object]:
    """The same in fewer words: of those on how it is going the last, with the changes of all, in its place."""
    running = [word for word in said if isinstance(word, words.ShardProgress)]
    changes = tuple(one for word in running for one in word.changes)
    return [
        replace(word, changes=changes) if isinstance(word, words.ShardProgress) else word
        for word in said
        if not isinstance(word, words.ShardProgress) or word is running[-1]
    ]


HERE: Final = ShardHost()
"""Of this process: a Dask worker has one."""

"""Mail for several domains, each with servers of its own: every session gets messages of its domain only.

Takes     one source; for each message the index of its domain
Gives     a source for each domain, which finds what waits for it or sorts more; `woken` says that something waits
Limits    `MOST_WAITING` messages of one domain wait here. Then none are taken until half of them are gone: the mix of
          domains is the plan's, so one whose servers are slow in the end holds up the others
Not here  which domain a message is for (workload), who is idle (lane)
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.engine.dispatch import SourceBehind, WorkerSource
from trafficgen.protocol.smtp.interfaces import Work

MOST_WAITING: Final = 1024
"""About 2 KB each."""

_AT_ONCE: Final = 64
"""As many are sorted for one session that asks, and then it is others' turn."""


class Sorting(SourceBehind):
    """Implements what a worker asks of its source, but that sessions take from `shares`.

    `woken` is called with the index of a domain for which something waits that nobody has asked for.
    """

    def __init__(
        self,
        source: WorkerSource,
        domains: int,
        loop: asyncio.AbstractEventLoop,
        woken: Callable[[int], None],
    ) -> None:
        super().__init__(source)
        self._loop = loop
        self._woken = woken
        self._waiting: list[deque[Work]] = [deque() for _ in range(domains)]
        self._full = 0  # domains with too much waiting
        self._is_full = [False] * domains
        self._timer: asyncio.TimerHandle | None = None
        self.shares = [DomainShare(self, index) for index in range(domains)]

    @property
    def waiting(self) -> int:
        """Messages that were taken and that no session has."""
        return sum(map(len, self._waiting))

    @property
    def exhausted(self) -> bool:
        """Whether no session will ever get another message."""
        return self._source.exhausted and not any(self._waiting)

    def exhausted_for(self, index: int) -> bool:
        """The same for sessions of one domain."""
        return self._source.exhausted and not self._waiting[index]

    def take(self, index: int, now_ns: int) -> Work | None:
        """The next message for this domain that is due."""
        mine = self._waiting[index]
        if not mine and not self._held:
            self._sort(index, now_ns)
        if not mine:
            return None
        work = mine.popleft()
        if self._is_full[index] and len(mine) <= MOST_WAITING // 2:
            self._is_full[index] = False
            self._full -= 1
            if not self._full:
                self._loop.call_soon(self._wake_all)
        return work

    def _sort(self, index: int, now_ns: int) -> None:
        """Take what is due, until something waits for this domain."""
        mine = self._waiting[index]
        for _ in range(_AT_ONCE):
            if mine or self._full:
                return
            if (work := self._source.take(now_ns)) is None:
                self._wait_for_more()
                return
            at = work[0].domain
            self._waiting[at].append(work)
            if at != index:
                self._woken(at)
                if len(self._waiting[at]) >= MOST_WAITING:
                    self._is_full[at] = True
                    self._full += 1
        self._loop.call_soon(self._woken, index)

    def _wait_for_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (due_ns := self._source.next_due_ns) is not None:
            wait_s = max(due_ns - now_ns(), 0) / NS_PER_S
            self._timer = self._loop.call_later(wait_s, self._due)

    def _due(self) -> None:
        self._timer = None
        self._wake_all()

    def _wake_all(self) -> None:
        for index in range(len(self._waiting)):
            self._woken(index)

    def give_back(self, work: Work) -> None:
        """To the source: it is sorted again."""
        self._source.give_back(work)
        self._woken(work[0].domain)

    def stop(self) -> None:
        """Hand out nothing more: what waits goes back."""
        self._source.stop()
        self._held = False
        for queue in self._waiting:
            while queue:
                self._source.give_back(queue.pop())


class DomainShare:
    """Messages of one domain. Implements `protocol.smtp.interfaces.Source`, and what a lane asks of it."""

    next_due_ns: int | None = None
    """Nobody waits for a time here: `Sorting` does."""

    def __init__(self, sorting: Sorting, index: int) -> None:
        self._sorting = sorting
        self._index = index

    @property
    def exhausted(self) -> bool:
        """Whether no session of this domain will ever get another message."""
        return self._sorting.exhausted_for(self._index)

    def take(self, now_ns: int) -> Work | None:
        return self._sorting.take(self._index, now_ns)

    def give_back(self, work: Work) -> None:
        self._sorting.give_back(work)

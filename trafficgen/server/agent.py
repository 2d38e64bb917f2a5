"""The observer: looks at a server again and again, and writes a line each time.

    {"samples": 1, "host": "mx", "boot_id": "4e12593fa2683a3d", "every_s": 1.0}
    {"mono_ns": 5204807824782, "wall_ns": 1795305188873267769, "cost_ns": 1180000, "values": {"queue.depth": 12, …}}
    {"mono_ns": …, "missing": ["pressure/io"]}

Takes     what to look at; where to write
Gives     NDJSON until it is told to end, its output is closed, or its time is over
Bounds    `Budget`: what a look costs in CPU is saved up at 1 % of a core. A look that costs more is taken less often;
those
          that cost little go first, so that a queue of 100,000 does not blind it
Not here  the clocks of two machines (transport), what the numbers mean (measure.observed)
"""

import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.host.machine_clock import boot_id
from trafficgen.server.host import HostSampler
from trafficgen.server.metrics import MetricsPage
from trafficgen.server.processes import CgroupSampler, TreeSampler, pid_in
from trafficgen.server.spool import EximSpool, PostfixSpool

VERSION: Final = 1
EVERY_NS: Final = NS_PER_S
SHARE: Final = 0.01
"""Of one core, for all looks together."""

_SAVED_NS: Final = NS_PER_S // 4
"""What may be saved up at most, but for a look that is known to cost more."""


class Sampler(Protocol):
    """One thing to look at."""

    missing: set[str]

    def sample(self, now_s: float) -> dict[str, float]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What to look at. All paths are on the machine that is looked at."""

    postfix_queue: Path | None = None
    exim_spool: Path | None = None
    cgroup: Path | None = None
    pid_file: Path | None = None
    metrics: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Addresses, and which names of each."""

    def samplers(self) -> list[Sampler]:
        """Cheap ones first."""
        spool = self.postfix_queue or self.exim_spool
        made: list[Sampler] = [HostSampler(room=spool)]
        if self.postfix_queue:
            postfix = PostfixSpool(self.postfix_queue)
            made += [_PostfixQueues(postfix, ("maildrop", "incoming", "active", "hold"))]
        if self.exim_spool:
            made.append(_EximQueue(EximSpool(self.exim_spool), self.exim_spool))
        pid_file = self.pid_file or (self.postfix_queue / "pid/master.pid" if self.postfix_queue else None)
        if self.cgroup:
            made.append(CgroupSampler(self.cgroup))
        elif pid_file:
            made.append(TreeSampler(pid_in(pid_file)))
        made += [MetricsPage(url, names) for url, names in self.metrics]
        if self.postfix_queue:
            made.append(_PostfixQueues(postfix, ("deferred",)))
        return made


class _PostfixQueues:
    """Some queues of one spool; ages are of all that were looked at."""

    def __init__(self, spool: PostfixSpool, queues: tuple[str, ...]) -> None:
        self._spool = spool
        self._queues = queues
        self.missing: set[str] = set()

    def sample(self, now_s: float) -> dict[str, float]:
        try:
            for queue in self._queues:
                self._spool.look(queue)
        except OSError as error:
            self.missing.add(f"{error.filename}: {(error.strerror or str(error)).lower()}")
            return {}
        return self._spool.values(time.time())


class _EximQueue:
    def __init__(self, spool: EximSpool, directory: Path) -> None:
        self._spool = spool
        self._directory = directory
        self.missing: set[str] = set()

    def sample(self, now_s: float) -> dict[str, float]:
        try:
            self._spool.look()
        except OSError as error:
            self.missing.add(f"{error.filename}: {(error.strerror or str(error)).lower()}")
            return {}
        return self._spool.values(time.time())


@dataclass(slots=True)
class Budget:
    """CPU time that looks may cost: saved up at `share` of a core, spent by each look."""

    share: float = SHARE
    saved_ns: float = field(default=float(_SAVED_NS), init=False)
    _since_ns: int | None = field(default=None, init=False)

    def earn(self, now: int, dearest_ns: float) -> None:
        """Save up for the time since the last call; more than the dearest look costs is not needed."""
        if self._since_ns is not None:
            self.saved_ns += (now - self._since_ns) * self.share
        self._since_ns = now
        self.saved_ns = min(self.saved_ns, max(_SAVED_NS, dearest_ns))

    def allows(self, cost_ns: float) -> bool:
        """Whether a look that cost this much the last time may be taken."""
        return self.saved_ns >= cost_ns

    def spend(self, cost_ns: float) -> None:
        """It was taken. One that cost more than there was is paid back before the next."""
        self.saved_ns -= cost_ns


class Observer:
    """Looks, and says what it saw."""

    def __init__(self, samplers: Sequence[Sampler], budget: Budget | None = None) -> None:
        self._samplers = list(samplers)
        self._costs = [0.0] * len(self._samplers)
        self._budget = budget or Budget()
        self._said: set[str] = set()

    @staticmethod
    def head(every_ns: int = EVERY_NS) -> str:
        """The first line."""
        head = {"samples": VERSION, "host": platform.node(), "boot_id": boot_id(), "every_s": every_ns / NS_PER_S}
        return json.dumps(head)

    def look(self) -> list[str]:
        """A line of what is so now; another one when something could not be seen for the first time."""
        began = now_ns()
        self._budget.earn(began, max(self._costs, default=0.0))
        values: dict[str, float] = {}
        spent = 0
        for place, sampler in enumerate(self._samplers):
            if not self._budget.allows(self._costs[place]):
                continue
            before = time.process_time_ns()
            values |= sampler.sample(now_ns() / NS_PER_S)
            cost = time.process_time_ns() - before
            self._costs[place] = cost
            self._budget.spend(cost)
            spent += cost
        lines = [
            json.dumps({"mono_ns": began, "wall_ns": time.time_ns(), "cost_ns": spent, "values": _rounded(values)})
        ]
        missing = {word for sampler in self._samplers for word in sampler.missing} - self._said
        if missing:
            self._said |= missing
            lines.append(json.dumps({"mono_ns": began, "missing": sorted(missing)}))
        return lines


def observe(
    observer: Observer,
    write: Callable[[str], None],
    *,
    every_ns: int = EVERY_NS,
    for_ns: int | None = None,
    wait: Callable[[float], bool],
) -> None:
    """Look every `every_ns` until `wait`, which is given seconds, says True, or the time is over."""
    began = now_ns()
    write(observer.head(every_ns))
    due = began
    while True:
        for line in observer.look():
            write(line)
        now = now_ns()
        due = max(due + every_ns, now)  # late looks are left out, not made up for
        if (for_ns is not None and due - began > for_ns) or wait((due - now) / NS_PER_S):
            return


def _rounded(values: dict[str, float]) -> dict[str, float]:
    """To seven digits: more is noise, and longer lines."""
    return {name: float(f"{value:.7g}") for name, value in values.items()}

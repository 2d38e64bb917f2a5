"""The observer: looks at a server again and again, and writes a line each time.

    {"samples": 1, "host": "mx", "boot_id": "4e12593fa2683a3d", "every_s": 1.0}
    {"mono_ns": 5204807824782, "wall_ns": 1795305188873267769, "cost_ns": 1180000, "values": {"queue.depth": 12, …}}
    {"mono_ns": …, "missing": ["pressure/io"]}
    {"mono_ns": …, "shape": {"looked": 12, "waiting": 12, "domains": {"gmail.com": [0, 12, 0, …]}}}

Takes     what to look at; where to write
Gives     NDJSON until it is told to end, its output is closed, or its time is over
Bounds    1 % of a core: what costs much is looked at less often (`paces`), so that nothing blinds it to the rest, and
          not before as much was saved up; the first look at everything is spent beforehand
Not here  the clocks of two machines (measure.clock_offset), what the numbers mean (measure.observed)
"""

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol, runtime_checkable

from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.errors import reason_of
from trafficgen.host.machine_clock import boot_id
from trafficgen.server.doveadm import DoveadmStats
from trafficgen.server.host import HostSampler
from trafficgen.server.metrics import MetricsPage
from trafficgen.server.postqueue import Postqueue
from trafficgen.server.processes import CgroupSampler, TreeSampler, pid_in
from trafficgen.server.shape import PostfixShape, ShapeRecord
from trafficgen.server.spool import EximSpool, PostfixSpool

VERSION: Final = 1
EVERY_NS: Final = NS_PER_S
SHARE: Final = 0.008
"""Of one core, for all looks together: 1 % is promised, and a look may cost more than the one before it."""


class ServerSampler(Protocol):
    """One thing to look at."""

    missing: set[str]

    def sample(self, now_s: float) -> dict[str, float]: ...


@runtime_checkable
class Shaping(Protocol):
    """One that sees domains, too."""

    def due(self, now_s: float) -> bool:
        """Whether a look could say more than the last one did; what is not due is left alone."""
        ...

    def shape(self) -> ShapeRecord | None:
        """By domain and age, of the last look; None where it has nothing new."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What to look at. All paths are on the machine that is looked at."""

    postfix_queue: Path | None = None
    postfix_config: Path | None = None
    """Postfix's configuration, for `postqueue -j` where the queue may not be read; None: its own default."""
    exim_spool: Path | None = None
    cgroup: Path | None = None
    pid_file: Path | None = None
    metrics: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Addresses, and which names of each."""
    doveadm: str | None = None
    """The command that asks Dovecot for its statistics."""

    def samplers(self) -> list[ServerSampler]:
        """Cheap ones first."""
        spool = self.postfix_queue or self.exim_spool
        made: list[ServerSampler] = [HostSampler(room=spool)]
        postfix = PostfixSpool(self.postfix_queue) if self.postfix_queue and readable(self.postfix_queue) else None
        if postfix:
            made.append(_PostfixQueues(postfix, ("maildrop", "incoming", "active", "hold")))
        elif self.postfix_queue:
            made.append(Postqueue(self.postfix_queue, self.postfix_config))
        if self.exim_spool:
            made.append(_EximQueue(EximSpool(self.exim_spool), self.exim_spool))
        pid_file = self.pid_file or (self.postfix_queue / "pid/master.pid" if self.postfix_queue else None)
        if self.cgroup:
            made.append(CgroupSampler(self.cgroup))
        elif pid_file:
            made.append(TreeSampler(pid_in(pid_file), named_by=pid_file))
        made += [MetricsPage(url, names) for url, names in self.metrics]
        made += [DoveadmStats(self.doveadm)] if self.doveadm else []
        if postfix:
            made += [_PostfixQueues(postfix, ("deferred",)), PostfixShape(postfix)]
        return made


def readable(queue: Path) -> bool:
    """False where we have no rights for Postfix's queues: its user's alone, with mode 0700 (postfix-files)."""
    try:
        with os.scandir(queue / "deferred"):
            return True
    except PermissionError:
        return False
    except OSError:
        return True  # which is told by the one that looks


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
            self.missing.add(f"{error.filename}: {reason_of(error)}")
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
            self.missing.add(f"{error.filename}: {reason_of(error)}")
            return {}
        return self._spool.values(time.time())


def paces(costs_ns: Sequence[float], every_ns: int, share: float = SHARE) -> list[float]:
    """How often to look at each thing, ns, so that all together take `share` of a core.

    Max-min fair: those that cost little are looked at every `every_ns`, and the rest of the share is divided evenly
    among the others, so that nothing starves beside what is dear.
    """
    found = [float(every_ns)] * len(costs_ns)
    left = share
    places = sorted(range(len(costs_ns)), key=costs_ns.__getitem__)
    for rank, place in enumerate(places):
        fair = left / (len(places) - rank)
        wanted = costs_ns[place] / every_ns
        if wanted > fair:
            found[place] = costs_ns[place] / fair
        left -= min(wanted, fair)
    return found


class Observer:
    """Looks, and says what it saw."""

    def __init__(self, samplers: Sequence[ServerSampler], every_ns: int = EVERY_NS, share: float = SHARE) -> None:
        self._samplers = list(samplers)
        self._every_ns = every_ns
        self._share = share
        self._costs = [0.0] * len(self._samplers)
        self._looked_ns: list[int | None] = [None] * len(self._samplers)
        self._began_ns: int | None = None
        self._spent = 0
        self._said: set[str] = set()

    def head(self) -> str:
        """The first line."""
        every_s = self._every_ns / NS_PER_S
        head = {"samples": VERSION, "host": platform.node(), "boot_id": boot_id(), "every_s": every_s}
        return json.dumps(head)

    def look(self) -> list[str]:
        """A line of what is so now; another one when something could not be seen for the first time."""
        began = now_ns()
        self._began_ns = self._began_ns or began
        values: dict[str, float] = {}
        shapes: list[ShapeRecord] = []
        spent = 0
        for place, pace_ns in enumerate(paces(self._costs, self._every_ns, self._share)):
            looked = self._looked_ns[place]
            if looked is not None and began - looked < pace_ns - self._every_ns / 2:
                continue
            saved = self._share * (began - self._began_ns) - self._spent - spent
            if looked is not None and pace_ns > self._every_ns and self._costs[place] > saved:
                continue
            sampler = self._samplers[place]
            if isinstance(sampler, Shaping) and not sampler.due(began / NS_PER_S):
                continue
            before = _cpu_ns()
            values |= sampler.sample(now_ns() / NS_PER_S)
            if isinstance(sampler, Shaping) and (shape := sampler.shape()) is not None:
                shapes.append(shape)
            cost = _cpu_ns() - before
            # The first look at a queue opens files that later ones need not: some ten times as dear.
            self._costs[place] = cost if looked is not None else cost / 10
            self._looked_ns[place] = began
            spent += cost
        self._spent += spent
        lines = [
            json.dumps({"mono_ns": began, "wall_ns": time.time_ns(), "cost_ns": spent, "values": _rounded(values)})
        ]
        missing = {word for sampler in self._samplers for word in sampler.missing} - self._said
        if missing:
            self._said |= missing
            lines.append(json.dumps({"mono_ns": began, "missing": sorted(missing)}))
        return lines + [
            json.dumps({"mono_ns": began, "wall_ns": time.time_ns(), "shape": shape}) for shape in shapes
        ]  # fmt: skip


def _cpu_ns() -> int:
    """Of this process, and of those that it started and has waited for."""
    times = os.times()
    return time.process_time_ns() + round((times.children_user + times.children_system) * NS_PER_S)


def observe(
    observer: Observer,
    write: Callable[[str], None],
    *,
    every_ns: int = EVERY_NS,
    for_ns: int | None = None,
    wait: Callable[[float], bool],
) -> None:
    """Look every `every_ns`, the observer's own, until `wait`, which is given seconds, says True, or time is over."""
    began = now_ns()
    write(observer.head())
    due = began
    while True:
        for line in observer.look():
            write(line)
        now = now_ns()
        due = max(due + every_ns, now)  # late looks are left out, not made up for
        if (for_ns is not None and due - began > for_ns) or wait((due - now) / NS_PER_S):
            return


def answer_clock_questions(questions: IO[bytes], write: Callable[[str], None], at_end: Callable[[], None]) -> None:
    """Answer each line "clock N" with when it came and when the answer left; `at_end` when no more will come."""
    for line in questions:
        received = now_ns()
        word, _, number = line.strip().partition(b" ")
        if word == b"clock" and number.isdigit():
            write(json.dumps({"clock": int(number), "received": received, "answered": now_ns()}, separators=(",", ":")))
    at_end()


def _rounded(values: dict[str, float]) -> dict[str, float]:
    """To seven digits: more is noise, and longer lines."""
    return {name: float(f"{value:.7g}") for name, value in values.items()}

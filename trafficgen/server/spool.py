"""How much waits in a mail server's queue and how long, from the names in its spool.

Takes     the queue directory of Postfix, or Exim's spool directory
Gives     messages by queue; how old the oldest is, the median and the 99th of a hundred
Limits    some 150 octets of memory for each message that waits
Needs     the right to list the directories: root or postfix, for Exim its user
Fails     OSError when that is missing
Cost      names only: 0.1 s of CPU at 100,000 messages, where `postqueue -j` takes 5 s and qshape 14 s (Postfix 3.7)
Sources   QSHAPE_README, qmgr(8), postconf(5) (enable_long_queue_ids, hash_queue_names); the queue file's records

When a message came is in its name where queue ids are long, so age costs no look into any file. Short ids have no
seconds in them: then it is the file's time of change in incoming and active, which is the arrival's; a deferred
file's is that of its next try, mostly in the future, so its first record is read, once for each name that was not
there before.
"""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trafficgen.clock import NS_PER_S

BASE52: Final = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
QUEUES: Final = ("maildrop", "incoming", "active", "deferred", "hold")
WAITING: Final = ("incoming", "active", "deferred")
"""What depth and age are about: maildrop is not taken over yet, and what is on hold nobody tries."""

Arrivals: TypeAlias = NDArray[np.float64]

_DIGITS52: Final = {digit: value for value, digit in enumerate(BASE52)}
_DIGITS62: Final = {digit: value for value, digit in enumerate(BASE62)}
_ARRIVAL: Final = re.compile(rb"T.(\d{9,11}) +(\d{1,6})", re.DOTALL)
_HEAD_OCTETS: Final = 160
_SHORT_ID: Final = frozenset("0123456789ABCDEF")


def arrival_of_long_id(name: str) -> float | None:
    """When a message with this queue id came, in seconds since 1970; None for a short id or another name.

    Six digits or more of seconds and four of microseconds in base 52, a z, the inode in base 51, which has no z.
    """
    end = name.rfind("z")
    if end < 10:
        return None
    seconds = microseconds = 0
    try:
        for digit in name[: end - 4]:
            seconds = seconds * 52 + _DIGITS52[digit]
        for digit in name[end - 4 : end]:
            microseconds = microseconds * 52 + _DIGITS52[digit]
    except KeyError:
        return None
    return seconds + microseconds / 1e6 if microseconds < 1_000_000 else None


def arrival_of_record(head: bytes) -> float | None:
    """When a message came, by the first records of its queue file: `T`, a length, seconds and microseconds."""
    found = _ARRIVAL.search(head)
    return int(found[1]) + int(found[2]) / 1e6 if found else None


def arrival_of_exim_id(name: str) -> float | None:
    """When Exim gave out this id: its first part is the time in base 62."""
    try:
        seconds = 0
        for digit in name.partition("-")[0]:
            seconds = seconds * 62 + _DIGITS62[digit]
    except KeyError:
        return None
    return float(seconds)


@dataclass(slots=True)
class _Directory:
    """What was in one directory when it was looked at. `arrivals`: by name, 0 where that is not known."""

    changed_ns: int
    settled: bool
    """It had not changed for a while then: a change within the same tick of the clock would not show."""
    arrivals: dict[str, float]
    known: Arrivals
    """Those that are known."""


class PostfixSpool:
    """Postfix's queue directory, looked at again and again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: dict[str, dict[str, _Directory]] = {}
        """By queue and directory: a large queue is hashed into many."""

    def look(self, queue: str) -> None:
        """Count one queue. Of a hashed one (deferred), directories that have not changed are left alone."""
        before = self._seen.get(queue, {})
        paths = list(self._directories(str(self._directory / queue)))
        hashed = len(paths) > 1
        self._seen[queue] = {path: self._directory_now(queue, path, before.get(path), hashed) for path in paths}

    def values(self, now_s: float) -> dict[str, float]:
        """By name of series, of what was last seen. `now_s`: seconds since 1970."""
        counts = {
            queue: float(sum(len(one.arrivals) for one in directories.values()))
            for queue, directories in self._seen.items()
        }
        values = {f"queue.{queue}": count for queue, count in counts.items()}
        values["queue.depth"] = sum(counts.get(queue, 0.0) for queue in WAITING)
        return values | ages(self.arrivals(), values["queue.depth"], now_s)

    def depth(self) -> int:
        """How many wait, as `waiting` has them."""
        return sum(len(one.arrivals) for queue in WAITING for one in self._seen.get(queue, {}).values())

    def arrivals(self) -> Arrivals:
        """When each of the waiting messages came, those that are known."""
        waiting = [one.known for queue in WAITING for one in self._seen.get(queue, {}).values()]
        return np.concatenate([np.zeros(0), *waiting])

    def waiting(self) -> Iterator[tuple[str, str, float]]:
        """Directory, queue id and arrival of each waiting message, 0 where that is not known."""
        for queue in WAITING:
            for path, one in self._seen.get(queue, {}).items():
                for name, arrived_s in one.arrivals.items():
                    yield path, name, arrived_s

    def _directories(self, top: str) -> Iterator[str]:
        """The queue's own and those that its names are hashed into: one character each, at most a few deep."""
        yield top
        if os.stat(top).st_nlink == 2:  # noqa: PTH116  (its name and its own "."; some file systems do not count: 1)
            return
        with os.scandir(top) as entries:
            inner = [entry.path for entry in entries if len(entry.name) == 1 and entry.is_dir(follow_symlinks=False)]
        for path in inner:
            yield from self._directories(path)

    def _directory_now(self, queue: str, path: str, before: _Directory | None, hashed: bool) -> _Directory:
        changed_ns = os.stat(path).st_mtime_ns  # noqa: PTH116  (a text is enough)
        if before is not None and hashed and before.settled and before.changed_ns == changed_ns:
            return before
        settled = time.time_ns() - changed_ns > NS_PER_S
        old = before.arrivals if before is not None else {}
        # Names alone, at half of what scandir costs; one character is a directory that the names are hashed into.
        names = [name for name in os.listdir(path) if len(name) > 1]  # noqa: PTH208
        arrivals = {name: old[name] if name in old else self._arrival(queue, path, name) for name in names}
        return _Directory(changed_ns, settled, arrivals, _known(arrivals))

    def _arrival(self, queue: str, path: str, name: str) -> float:
        found = arrival_of_long_id(name)
        if found is not None:
            return found
        file_name = f"{path}/{name}"
        try:
            if queue in ("incoming", "active", "maildrop") and set(name) <= _SHORT_ID:
                return os.stat(file_name, follow_symlinks=False).st_mtime  # noqa: PTH116
            with open(file_name, "rb", buffering=0) as file:  # noqa: PTH123  (100,000 of them)
                return arrival_of_record(file.read(_HEAD_OCTETS)) or 0.0
        except OSError:  # it has just left the queue
            return 0.0


def depth_of(directory: Path) -> int:
    """Messages in incoming, active and deferred of a Postfix, by their names alone. OSError where it may not look."""

    def told(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # a directory of names that has just been removed
            raise error

    for queue in WAITING:
        os.stat(directory / queue)  # noqa: PTH116  (that it is there)
    return sum(len(names) for queue in WAITING for _, _, names in os.walk(directory / queue, onerror=told))


class EximSpool:
    """Exim's spool directory: a message is there as long as its header file is."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._arrivals: dict[str, float] = {}

    def look(self) -> None:
        """Count it, also where `split_spool_directory` spread it over directories."""
        before, now = self._arrivals, {}
        top = self._directory / "input"
        with os.scandir(top) as entries:
            inner = [entry.path for entry in entries if len(entry.name) == 1 and entry.is_dir(follow_symlinks=False)]
        for path in (str(top), *inner):
            with os.scandir(path) as entries:
                for entry in entries:
                    if (name := entry.name).endswith("-H"):
                        known = before.get(name)
                        now[name] = (arrival_of_exim_id(name) or 0.0) if known is None else known
        self._arrivals = now

    def values(self, now_s: float) -> dict[str, float]:
        """By name of series."""
        depth = float(len(self._arrivals))
        return {"queue.depth": depth} | ages(_known(self._arrivals), depth, now_s)


def ages(known: Arrivals, depth: float, now_s: float) -> dict[str, float]:
    """Oldest, median and 99th of a hundred in seconds; 0 for an empty queue, nothing when no arrival is known."""
    if not known.size:
        return {} if depth else {"queue.oldest": 0.0, "queue.age_p50": 0.0, "queue.age_p99": 0.0}
    p50, p99 = np.percentile(known, (50, 1), method="inverted_cdf")  # the young have late arrivals
    # A message that came within the second that the clock is late is no younger than nothing.
    oldest, middle, most = (max(now_s - float(at), 0.0) for at in (known.min(), p50, p99))
    return {"queue.oldest": oldest, "queue.age_p50": middle, "queue.age_p99": most}


def _known(arrivals: dict[str, float]) -> Arrivals:
    found = np.fromiter(arrivals.values(), np.float64, len(arrivals))
    return found[found > 0]

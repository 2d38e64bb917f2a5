"""Snapshots of several workers together: every number in them against a count of its own, whatever field it is in."""

import itertools
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trafficgen.measure.commands import CommandAccount
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.snapshot import (
    IdleCounts,
    RetryCounts,
    Snapshot,
    Tally,
    TargetSnapshot,
    WorkerSnapshot,
    merge,
)
from trafficgen.measure.timeline import Timeline
from trafficgen.outcomes import Outcome

SEEDS = pytest.mark.parametrize("seed", range(25))


class Draw:
    """Snapshots with something in every field, and nothing in some; quicker than a strategy for each part."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def count(self) -> int:
        return self._random.randrange(1000)

    def moment(self) -> int | None:
        return self._random.choice((None, self._random.randrange(-1000, 1000)))

    def counts(self, size: int) -> tuple[int, ...]:
        return tuple(self.count() for _ in range(size))

    def array(self) -> NDArray[np.int64]:
        return np.array(self.counts(self._random.randrange(4)), np.int64)

    def histogram(self) -> Histogram:
        made = Histogram()
        for _ in range(self._random.randrange(3)):
            made.record(self._random.randrange(10**6))
        return made

    def table(self, make: Callable[[], Any], *widths: int) -> dict[Any, Any]:
        """With some of the keys that are tuples of letters below these widths; single letters for one width."""
        keys = list(itertools.product(*("abc"[:width] for width in widths)))
        some = self._random.sample(keys, self._random.randrange(len(keys) + 1))
        return {key if len(key) > 1 else key[0]: make() for key in some}

    def tally(self) -> Tally:
        return Tally(self.count(), self._random.choice(("", "a", "b")))

    def worker(self) -> WorkerSnapshot:
        number, cpu_ns, wall_ns, *sessions = self.counts(6)
        return WorkerSnapshot(number % 5, cpu_ns, wall_ns, self.histogram(), self.histogram(), *sessions)

    def snapshot(self) -> Snapshot:
        size = len(Outcome)
        return Snapshot(
            taken_ns=self.count(),
            open_loop=self._random.random() < 0.3,
            outcomes=self.counts(size),
            octets=self.count(),
            first_start_ns=self.moment(),
            last_start_ns=self.moment(),
            last_end_ns=self.moment(),
            last_answered_ns=self.moment(),
            histograms=self.table(self.histogram, 3),
            replies=self.table(self.tally, 2, 1, 2),
            failures=self.table(self.tally, 2, 2),
            domains_started=self.array(),
            domains_accepted=self.array(),
            timeline=Timeline(),
            workers=tuple(self.worker() for _ in range(self._random.randrange(3))),
            domain_latencies=self.table(self.histogram, 2),
            commands=self.table(
                lambda: CommandAccount(np.array(self.counts(size), np.int64), self.count(), self.histogram()), 2
            ),
            recipients=self._random.choice(((), self.counts(size))),
            partly_accepted=self.count(),
            targets=tuple(TargetSnapshot(self.count(), self.counts(size), self.histogram()) for _ in range(2)),
            retries=self._random.choice((None, RetryCounts(*self.counts(3)))),
            idle=self._random.choice((None, IdleCounts(*self.counts(4)))),
            protected=self.table(lambda: self.counts(2), 2, 2),
        )

    def snapshots(self) -> list[Snapshot]:
        return [self.snapshot() for _ in range(self._random.randrange(5))]


NO_SUMS = ("taken_ns", "open_loop", "first_start_ns", "last_start_ns", "last_end_ns", "last_answered_ns", "timeline")
"""Moments, and what has tests of its own. Workers are kept one by one."""


def counted(value: Any, *place: object) -> Counter[object]:
    """Every number in a value, by where it is."""
    if isinstance(value, Histogram):
        return counted({"sum": round((value.mean_ns or 0) * value.count), **dict(value.buckets())}, *place)
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value) if field.name not in NO_SUMS}
    elif isinstance(value, tuple | list | np.ndarray):
        value = dict(enumerate(value))
    if isinstance(value, Mapping):
        return sum((counted(item, *place, key) for key, item in value.items()), Counter())
    return Counter({place: int(value)}) if isinstance(value, int | np.integer) else Counter()


def without_workers(snapshot: Snapshot) -> Snapshot:
    return replace(snapshot, workers=())


@SEEDS
def test_every_number_of_all_is_the_sum_of_those_of_each(seed: int) -> None:
    parts = Draw(seed).snapshots()
    before = [counted(part) for part in parts]
    made = merge(parts)
    assert counted(without_workers(made)) == sum((counted(without_workers(part)) for part in parts), Counter())
    assert [counted(part) for part in parts] == before, "what is added up stays as it is"


@SEEDS
def test_moments_of_all_are_the_outermost_of_each(seed: int) -> None:
    parts = Draw(seed).snapshots()
    made = merge(parts)
    assert made.taken_ns == max([part.taken_ns for part in parts], default=0)
    assert made.open_loop == any(part.open_loop for part in parts)
    first = [part.first_start_ns for part in parts if part.first_start_ns is not None]
    assert made.first_start_ns == (min(first) if first else None)
    for name in ("last_start_ns", "last_end_ns", "last_answered_ns"):
        known = [getattr(part, name) for part in parts if getattr(part, name) is not None]
        assert getattr(made, name) == (max(known) if known else None)


@SEEDS
def test_all_workers_are_there_by_number_and_count_for_the_run(seed: int) -> None:
    parts = Draw(seed).snapshots()
    made = merge(parts)
    every = [worker for part in parts for worker in part.workers]
    assert sorted(map(id, made.workers)) == sorted(map(id, every))
    assert [worker.worker for worker in made.workers] == sorted(worker.worker for worker in every)
    assert made.in_flight == sum(part.in_flight for part in parts) == sum(worker.in_flight for worker in every)
    assert made.sessions_open == sum(worker.sessions_open for worker in every)
    assert made.sessions_opened == sum(worker.sessions_opened for worker in every)
    assert made.began_ns == made.taken_ns - max([worker.wall_ns for worker in every], default=0)


@SEEDS
def test_lost_messages_are_started_and_in_doubt_and_nothing_else(seed: int) -> None:
    snapshot, lost = Draw(seed).snapshot(), seed
    made = snapshot.with_lost(lost)
    assert (made.in_doubt, made.started) == (snapshot.in_doubt + lost, snapshot.started + lost)
    assert made.started == made.accepted + made.rejected + made.failed + made.in_doubt
    assert counted(replace(made, outcomes=snapshot.outcomes)) == counted(snapshot)


@SEEDS
def test_on_another_clock_all_moments_move_alike(seed: int) -> None:
    snapshot, by_ns, first_worker = Draw(seed).snapshot(), 100 * seed - 1000, seed % 4
    made = snapshot.moved(by_ns, first_worker)
    assert made.taken_ns - snapshot.taken_ns == by_ns
    for name in ("first_start_ns", "last_start_ns", "last_end_ns", "last_answered_ns"):
        before, after = getattr(snapshot, name), getattr(made, name)
        assert after is None if before is None else after - before == by_ns
    assert [worker.worker for worker in made.workers] == [first_worker + n for n in range(len(snapshot.workers))]
    assert counted(without_workers(made)) == counted(without_workers(snapshot))


@given(*[st.builds(Tally, st.integers(0, 3), st.sampled_from(["", "a", "b"]))] * 2)
def test_the_text_of_a_tally_is_what_was_said_most_often_in_any_order(one: Tally, other: Tally) -> None:
    assert one + other == other + one
    texts = {tally.example for tally in (one, other) if tally.example}
    assert (one + other).example in (texts or {""})
    if one.example and other.example and one.count > other.count:
        assert (one + other).example == one.example


def test_the_share_of_a_worker_is_of_its_own_time() -> None:
    worker = WorkerSnapshot(0, 25, 100, Histogram(), Histogram(), 0, 0, 0)
    assert worker.cpu_share == 0.25
    assert replace(worker, wall_ns=0).cpu_share == 0.0

"""One shard's slices by the common clock, to the nanosecond: the clock stands still but while somebody sleeps."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import pytest

from tests.cluster.test_merging_shards import PLAN
from trafficgen.clock import NS_PER_MS, NS_PER_S
from trafficgen.cluster import shard_turns, words
from trafficgen.engine.control import Turn
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.snapshot import Snapshot, WorkerSnapshot
from trafficgen.runs.slices import SideCounts, SliceTimes
from trafficgen.verdict.gating import Side

if TYPE_CHECKING:
    from trafficgen.engine.turns import TurnControl

A, B = Side.A, Side.B
MS = NS_PER_MS
AHEAD_NS = 3 * NS_PER_S
"""Of the monotonic clock is the system's."""


@dataclass
class Run:
    """A run that takes each turn `late_ns` after it was told, and has one message more each time."""

    late_ns: Callable[[int], int]
    now_ns: int = 40 * MS
    taken: list[tuple[Turn, int]] = field(default_factory=list)

    def take(self, turn: Turn) -> Snapshot:
        self.now_ns += self.late_ns(len(self.taken))
        self.taken.append((turn, self.now_ns))
        worker = WorkerSnapshot(0, self.now_ns // 4, self.now_ns, Histogram(), Histogram(), 1, 1, 0)
        outcomes = (len(self.taken), 0, 0, 0, 0)
        return replace(Snapshot.empty(), taken_ns=self.now_ns, outcomes=outcomes, workers=(worker,))

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_ns += round(seconds * NS_PER_S)


def served(monkeypatch: pytest.MonkeyPatch, run: Run, begin_ns: int, mine: Side = A) -> words.ShardServed:
    """A B B A, each 20 ms that are not measured and 80 ms that are."""
    monkeypatch.setattr(shard_turns, "now_ns", lambda: run.now_ns)
    monkeypatch.setattr("time.sleep", run.sleep)
    monkeypatch.setattr(shard_turns, "wall_offset_ns", lambda: AHEAD_NS)
    times = SliceTimes(skip_ns=20 * MS, slice_ns=80 * MS)
    order = words.ServeSlices(7, AHEAD_NS + begin_ns, (A, B, B, A), mine, times, ("throughput",), None)
    return shard_turns.serve_by_clock(order, cast("TurnControl", run), PLAN)


@pytest.mark.parametrize(("mine", "first", "second"), [(A, 100, 400), (B, 200, 300)])
def test_a_shard_turns_when_its_own_slices_are_due(
    monkeypatch: pytest.MonkeyPatch, mine: Side, first: int, second: int
) -> None:
    """Told 60 ms before the first slice begins, at 100 ms; a tenth of a second after the last one it is looked at."""
    run = Run(lambda _number: 0)
    said = served(monkeypatch, run, 100 * MS, mine)
    due = [
        (turn, at + more) for at in (first, second) for turn, more in ((Turn.GO, 0), (Turn.LOOK, 20), (Turn.HOLD, 100))
    ]
    assert [(turn, at_ns / MS) for turn, at_ns in run.taken] == [(Turn.LOOK, 100), *due, (Turn.LOOK, 600)]
    assert (said.serial, said.wall_offset_ns, said.ahead_ns) == (7, AHEAD_NS, 60 * MS)
    assert (said.before, said.after) == (SideCounts(1, 1, 0, 0, 0), SideCounts(8, 8, 0, 0, 0))
    assert [(one.side, one.seconds, one.accepted, one.disturbance.late_ns) for one in said.slices] == [
        (mine, 0.08, 1, 0), (mine, 0.08, 1, 0),
    ]  # fmt: skip


def test_the_latest_turn_of_a_slice_says_how_late_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns 1 to 3 are of the first slice, 4 to 6 of the second; what is late is not made up for by the next turn."""
    late = {2: 9_000, 3: 4_000, 5: 100, 6: 300}
    said = served(monkeypatch, Run(lambda number: late.get(number, 0)), 100 * MS)
    assert [one.disturbance.late_ns for one in said.slices] == [9_000, 300]


def test_a_shard_that_hears_of_its_slices_too_late_says_by_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """30 ms: its first turn is as late, and all after it are in time."""
    run = Run(lambda _number: 0)
    said = served(monkeypatch, run, 10 * MS)
    assert said.ahead_ns == -30 * MS
    assert [at_ns / MS for _, at_ns in run.taken] == [40, 40, 40, 110, 310, 330, 410, 510]
    assert [one.disturbance.late_ns for one in said.slices] == [30 * MS, 0]

"""One shard's part of slices, by the clock that all shards have in common.

Takes     slices that begin at a known instant; the handle to the shard's run
Gives     what it measured in its own side's slices, and how late it took its turns
Fails     StoppedError when the run is over
Not here  which instant that is (slices), what a slice measures (runs.slices)
"""

import time
from dataclasses import replace
from typing import Final

from trafficgen.clock import NS_PER_MS, NS_PER_S, now_ns
from trafficgen.cluster import words
from trafficgen.engine.control import Turn
from trafficgen.engine.turns import TurnControl
from trafficgen.host.machine_clock import wall_offset_ns
from trafficgen.measure.snapshot import Snapshot
from trafficgen.plan import Plan
from trafficgen.runs.slices import SideCounts, serve, stretches_of

SETTLE_NS: Final = 100 * NS_PER_MS
"""After the last slice: messages at work finish, and are counted."""


def serve_by_clock(order: words.ServeSlices, turns: TurnControl, plan: Plan) -> words.ShardServed:
    """Returns when the last slice is over, whichever side's it is."""
    offset_ns = wall_offset_ns()
    begin_ns = order.begin_at_ns - offset_ns
    ahead_ns = begin_ns - now_ns()
    stretches = stretches_of(order.metrics, plan)
    before = SideCounts.of(_Punctual(turns, begin_ns).take(0, Turn.LOOK))
    slices = []
    for place, side in enumerate(order.sides):
        if side is order.mine:
            clock = _Punctual(turns, begin_ns + place * order.times.whole_ns)
            one = serve(side, clock.take, order.times, stretches, order.roots)
            slices.append(replace(one, disturbance=replace(one.disturbance, late_ns=clock.late_ns)))
    end = _Punctual(turns, begin_ns + len(order.sides) * order.times.whole_ns + SETTLE_NS)
    return words.ShardServed(
        order.serial, tuple(slices), before, SideCounts.of(end.take(0, Turn.LOOK)), offset_ns, ahead_ns
    )


class _Punctual:
    """Takes turns when they are due; `late_ns` is the most by which one came later."""

    def __init__(self, turns: TurnControl, begin_ns: int) -> None:
        self._turns = turns
        self._due_ns = begin_ns
        self.late_ns = 0

    def take(self, pause_ns: int, turn: Turn) -> Snapshot:
        """So long after the turn before was due."""
        self._due_ns += pause_ns
        if (ahead_ns := self._due_ns - now_ns()) > 0:
            time.sleep(ahead_ns / NS_PER_S)
        snapshot = self._turns.take(turn)
        self.late_ns = max(self.late_ns, snapshot.taken_ns - self._due_ns)
        return snapshot

"""Slices of a gate by all hosts of a cluster: both builds' runs are held, and turn at instants of a common clock.

Takes     a cluster; the plan of each side; how long slices are, and whose histograms are wanted
Gives     slices that all shards served together, added up; both accounts at the end
Clock     each host is told the instants by its own clock, which is asked for again every `_ASK_AGAIN_NS`. What it may
          be wrong by counts as being late; the first part of a slice, which is not measured, is longer than two such
          errors, or SetupError
Fails     RunLostError when a shard is lost: the gate is not valid
Not here  whose turn it is (gate.slicing), one shard's part (shard_turns), what slices mean (verdict)
"""

import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial, reduce
from operator import add
from typing import Final, Self

from trafficgen.clock import NS_PER_MS, NS_PER_S, now_ns
from trafficgen.cluster import words
from trafficgen.cluster.clocks import Clock, clock_of
from trafficgen.cluster.coordinator import Cluster
from trafficgen.cluster.shard_turns import SETTLE_NS
from trafficgen.cluster.turns import ClusterTurns
from trafficgen.errors import SetupError, StoppedError
from trafficgen.host import cpu_time
from trafficgen.host.signals import RunControl
from trafficgen.measure.results import Results
from trafficgen.plan import Plan
from trafficgen.proof.waiting import DeliveryWait
from trafficgen.runs.slices import HeldRun, Served, SideCounts, SliceTimes
from trafficgen.verdict.gating import Side
from trafficgen.verdict.sequence import SliceDesign
from trafficgen.verdict.slices import Slice, added, most_late_ns

_ASK_AGAIN_NS: Final = 30 * NS_PER_S
_DRIFT: Final = 100e-6
"""What a clock may gain on another one: RFC 5905 allows 15 ppm for one that is disciplined, cheap quartz has 50."""

_LEAD_NS: Final = 500 * NS_PER_MS
_MOST_LEAD_NS: Final = 8 * NS_PER_S
_PATIENCE_NS: Final = 60 * NS_PER_S
_LOOK_S: Final = 0.05
_AT_ONCE: Final = 16


class ClusterSlices:
    """What `gate.slicing` asks of whoever sends its load. Use as a context manager."""

    def __init__(
        self,
        cluster: Cluster,
        design: SliceDesign,
        plans: Mapping[Side, Plan],
        delivery_wait: DeliveryWait | None,
        gate: RunControl,
    ) -> None:
        self._cluster = cluster
        self._design = design
        self._gate = gate
        self._times = SliceTimes(design.skip_ns, design.slice_ns)
        self._serial = 0
        self._lead_ns = _LEAD_NS
        self._base_ns = cluster.wall_ns() - now_ns()  # our own system clock may be set meanwhile
        self._clocks: dict[str, Clock] = {}
        self._offsets_ns: dict[str, int] = {}  # of each host's system clock, when it was last heard of
        self._asked_ns = self._clocks_due_ns = 0
        self._turns = {side: ClusterTurns() for side in plans}
        self._work = {side: partial(self._run, plan, self._turns[side], delivery_wait) for side, plan in plans.items()}
        self._runs: dict[Side, HeldRun] = {}

    def _run(self, plan: Plan, turns: ClusterTurns, delivery_wait: DeliveryWait | None, control: RunControl) -> Results:
        return self._cluster.run(plan, delivery_wait=delivery_wait, control=control, turns=turns)

    def __enter__(self) -> Self:
        self._ask_clocks()
        try:
            for side, work in self._work.items():
                self._runs[side] = HeldRun(work, self._turns[side], self._gate)
            for one in self._runs.values():
                one.wait_until_begun()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        """No shard is left behind: those of other machines do not end with this process."""
        for one in self._runs.values():
            one.stop()
        for one in self._runs.values():
            one.wait()

    def serve(self, sides: Sequence[Side], roots: Collection[int] | None) -> Served:
        """As `gate.slicing.SliceGenerator` says."""
        if now_ns() > self._clocks_due_ns:
            self._ask_clocks()
        self._serial += 1
        begin_ns = self._common_ns() + self._lead_ns
        due_ns = now_ns() + self._lead_ns + len(sides) * self._times.whole_ns + SETTLE_NS
        answers = {
            side: turns.serve({host: self._order(host, side, sides, begin_ns, roots) for host in turns.found}, due_ns)
            for side, turns in self._turns.items()
        }
        parts = {side: self._runs[side].ask(partial(self._heard, answer, due_ns)) for side, answer in answers.items()}
        served = self._added(sides, parts)
        if min(one.ahead_ns for every in parts.values() for one in every) < 0:
            self._lead_ns = min(2 * self._lead_ns, _MOST_LEAD_NS)
        return served

    def end(self) -> Mapping[Side, Results]:
        """As `gate.slicing.SliceGenerator` says."""
        for one in self._runs.values():
            one.stop()
        return {side: one.end() for side, one in self._runs.items()}

    def _order(
        self, host: str, mine: Side, sides: Sequence[Side], begin_ns: int, roots: Collection[int] | None
    ) -> words.ServeSlices:
        return words.ServeSlices(
            self._serial,
            begin_ns + self._clocks[host].offset_ns,
            tuple(sides),
            mine,
            self._times,
            tuple(metric.name for metric in self._design.metrics),
            self._roots(mine, host, roots),
        )

    def _roots(self, mine: Side, host: str, builds: Collection[int] | None) -> Collection[int] | None:
        """Processes that are not foreign on this host: its shards', the builds' where they are on our machine. A build
        that is elsewhere is not looked for."""
        found = self._turns[mine].found
        place = found[host].place
        ours = {one.parent for one in found.values() if one.place == place}
        if place != cpu_time.place():
            return ours
        return None if builds is None else {*ours, os.getpid(), *builds}

    def _heard(self, answer: Future[dict[str, words.ShardServed]], due_ns: int) -> list[words.ShardServed]:
        """In the order of the shards."""
        while not wait([answer], _LOOK_S).done:
            if self._gate.count:
                raise KeyboardInterrupt
            if now_ns() - due_ns > _PATIENCE_NS:
                raise StoppedError(f"not all shards said what they served within {_PATIENCE_NS / NS_PER_S:g} s")
        parts = answer.result()
        return [parts[host] for host in self._cluster.engine.hosts]

    def _added(self, sides: Sequence[Side], parts: Mapping[Side, list[words.ShardServed]]) -> Served:
        hosts = self._cluster.engine.hosts
        late_ns = dict(zip(hosts, map(self._late_ns, hosts, *parts.values()), strict=True))
        waiting = {
            side: [iter(_later(one.slices, late_ns[host])) for one, host in zip(every, hosts, strict=True)]
            for side, every in parts.items()
        }
        return Served(
            [added([next(one) for one in waiting[side]]) for side in sides],
            {side: _sum([one.before for one in every]) for side, every in parts.items()},
            {side: _sum([one.after for one in every]) for side, every in parts.items()},
        )

    # -- the common clock -------------------------------------------------------------------------------

    def _common_ns(self) -> int:
        return self._base_ns + now_ns()

    def _late_ns(self, host: str, *served: words.ShardServed) -> int:
        """By how much a host's clock may be wrong by now. One that was set meanwhile is asked for again."""
        offsets_ns = [self._offsets_ns.get(host, served[0].wall_offset_ns), *(one.wall_offset_ns for one in served)]
        self._offsets_ns[host] = offsets_ns[-1]
        set_by_ns = max(offsets_ns) - min(offsets_ns)
        if set_by_ns > self._error_ns(host) + NS_PER_MS:
            self._clocks_due_ns = 0
        return set_by_ns + self._error_ns(host)

    def _ask_clocks(self) -> None:
        """Of all hosts."""
        hosts = self._cluster.engine.hosts
        with ThreadPoolExecutor(min(len(hosts), _AT_ONCE)) as pool:
            asked = list(pool.map(self._ask_clock, hosts))
        self._clocks = {host: clock for host, clock in zip(hosts, asked, strict=True) if clock is not None}
        self._asked_ns = now_ns()
        self._clocks_due_ns = self._asked_ns + _ASK_AGAIN_NS
        for number, host in enumerate(hosts, 1):
            if host not in self._clocks:
                raise SetupError(f"shard {number} does not answer when it is asked for its clock")
            if (error_ns := self._clocks[host].error_ns) >= most_late_ns(self._times.skip_ns):
                raise SetupError(
                    f"the clock of shard {number} is known to {error_ns / NS_PER_MS:.1f} ms only, and two such errors "
                    f"must fit into the part of a slice that is not measured, {self._times.skip_ns / NS_PER_MS:g} ms: "
                    "serve longer slices (--slice)"
                )

    def _ask_clock(self, host: str) -> Clock | None:
        """What is known best: now, or from before, unless the clock was set since then. None: it never answered."""
        before = self._clocks.get(host)
        if before is not None:
            before = before._replace(error_ns=self._error_ns(host))
        try:
            now = clock_of(self._cluster.engine, host, self._common_ns)
        except OSError:  # whether it is lost, its runs say
            return before
        return now if before is None else better(before, now)

    def _error_ns(self, host: str) -> int:
        """By now."""
        return self._clocks[host].error_ns + round(_DRIFT * (now_ns() - self._asked_ns))


def better(before: Clock, now: Clock) -> Clock:
    """The one that is known better, or the newer one where both cannot be true: then the clock was set."""
    was_set = abs(before.offset_ns - now.offset_ns) > before.error_ns + now.error_ns
    return now if was_set or now.error_ns <= before.error_ns else before


def _later(slices: Sequence[Slice], by_ns: int) -> list[Slice]:
    return [
        replace(one, disturbance=replace(one.disturbance, late_ns=one.disturbance.late_ns + by_ns)) for one in slices
    ]


def _sum(counts: list[SideCounts]) -> SideCounts:
    return reduce(add, counts)

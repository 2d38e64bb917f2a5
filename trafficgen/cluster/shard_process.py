"""One shard in a process of its own: `python -m trafficgen.cluster.shard_process`.

Takes     pickled words on stdin: a `ShardOrder`, then `BeginShard`, `ServeSlices`…, `StopShard`…
Gives     pickled words on stdout: `ShardPrepared`, `ShardProgress` twice a second, `ShardServed`…, at last
          `ShardEnded` or `ShardRefused`
Stop      at once when stdin ends: nobody is there any more who could account for what is sent
Not here  who starts it (host)
"""

import os
import pickle
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, Final

from trafficgen.clock import NS_PER_MS, now_ns
from trafficgen.cluster import words
from trafficgen.cluster.shard_turns import serve_by_clock
from trafficgen.engine.address import routes
from trafficgen.engine.limits import check_memory, check_open_files, check_ports, check_sources
from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.engine.turns import TurnControl
from trafficgen.errors import StoppedError, TrafficgenError
from trafficgen.host import cpu_time, processes
from trafficgen.host.signals import RunControl
from trafficgen.host.version import VERSION
from trafficgen.mailbox.plan import MailboxPlan
from trafficgen.measure.delivered import MailboxCounts
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import Snapshot
from trafficgen.measure.timeline import Timeline
from trafficgen.measure.timeline_changes import TimelineTeller
from trafficgen.plan import Plan, Shard
from trafficgen.runs import mailbox, shards
from trafficgen.runs.monitor import MonitorOptions, run_monitored
from trafficgen.runs.run import default_workers, run
from trafficgen.workload import recipes

_TELL_NS: Final = 500 * NS_PER_MS
_telling: Final = threading.Lock()


def main() -> None:
    """The process from beginning to end."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything here prints is no word of ours
    orders = os.fdopen(os.dup(0), "rb")  # Python locks sys.stdin at its end, where a thread still waits for a word
    try:
        _run(_Shard(orders, out))
    except TrafficgenError as error:
        tell(out, words.ShardRefused(str(error)))


def tell(out: BinaryIO, word: object) -> None:
    """One word; nobody may be there to hear it."""
    try:
        with _telling:
            pickle.dump(word, out)
            out.flush()
    except OSError:
        os._exit(1)


class _Shard:
    def __init__(self, orders: BinaryIO, out: BinaryIO) -> None:
        order = pickle.load(orders)  # noqa: S301  (from the process that started this one)
        assert isinstance(order, words.ShardOrder)
        self.order = order
        self.out = out
        self.control = RunControl()
        self.start_at_ns: int | None = None
        self.stopped = "stopped before the start: its host is gone"
        self.begin = threading.Event()
        self.turns = TurnControl() if order.turns else None
        self._slices: SimpleQueue[words.ServeSlices] = SimpleQueue()
        self._orders = orders
        self._told_ns = 0
        self._teller = TimelineTeller()
        threading.Thread(target=self._listen, name="orders", daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                word = pickle.load(self._orders)  # noqa: S301
            except (EOFError, OSError, pickle.UnpicklingError):
                self.control.stop()
                self.control.stop()
                self.begin.set()
                return
            match word:
                case words.BeginShard():
                    self.start_at_ns = word.start_at_ns
                case words.ServeSlices():
                    self._slices.put(word)
                case words.StopShard():
                    self.stopped = f"stopped before the start{word.why and f': {word.why}'}"
                    self.control.stop()
            self.begin.set()

    def wait(self) -> Shard:
        """The shard with its start, once that is known. TrafficgenError when there is none."""
        self.begin.wait()
        if self.start_at_ns is None:
            raise TrafficgenError(self.stopped)
        return replace(self.order.plan.shard, start_at_ns=self.start_at_ns)

    def take_turns(self, turns: TurnControl) -> None:
        """Serve slices as long as the run goes on."""
        plan = self.order.plan
        assert isinstance(plan, Plan)
        turns.begun.wait()
        try:
            while True:
                tell(self.out, serve_by_clock(self._slices.get(), turns, plan))
        except StoppedError:  # the run's results say why
            return

    def progress(
        self, snapshot: Snapshot, planned: int | None, counts: Callable[[], MailboxCounts] | None = None
    ) -> None:
        """Tell it, unless something was told a moment ago. `planned`: None for as much as was taken up so far."""
        if now_ns() - self._told_ns < _TELL_NS:
            return
        self._told_ns = now_ns()
        mailboxes = counts() if counts else None
        if planned is None:
            planned = snapshot.started + snapshot.in_flight + (mailboxes.dropped if mailboxes else 0)
        changes = (self._teller.changes(snapshot.timeline),)
        tell(self.out, words.ShardProgress(replace(snapshot, timeline=Timeline()), planned, changes, mailboxes))


def _run(shard: _Shard) -> None:
    processes.prepare()  # what takes longest, before the start is near
    plan = shard.order.plan
    if isinstance(plan, MailboxPlan):
        _run_mailboxes(shard, plan)
    else:
        _send(shard, plan)


def _send(shard: _Shard, plan: Plan) -> None:
    recipes.make(plan.workload.content)
    resolved = ResolvedPlan.of(plan)
    tell(shard.out, _prepared(resolved))
    resolved = resolved.with_plan(replace(plan, shard=shard.wait()))
    runner = run
    if shard.turns is not None:
        runner = partial(run, turns=shard.turns)
        threading.Thread(target=shard.take_turns, args=(shard.turns,), name="turns", daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="traffic-gen-shard-") as folder:
        manifest = Path(folder) / "manifest" if shard.order.manifest else None
        results = run_monitored(
            resolved,
            MonitorOptions(),
            progress=lambda now: shard.progress(now.snapshot, now.planned),
            manifest=manifest,
            control=shard.control,
            runner=runner,
        )
        kept = manifest.read_bytes() if manifest and manifest.exists() else None
        tell(shard.out, words.ShardEnded(results, kept))


def _run_mailboxes(shard: _Shard, plan: MailboxPlan) -> None:
    found = mailbox.prepare(plan.with_password())
    check_memory(plan.shard.share(plan.connections), plan.workers)
    addresses = {str(address) for route in found.routes for address in route.addresses}
    prepared = words.ShardPrepared(VERSION, shards.host_name(), tuple(sorted(addresses)), found.files, None)
    tell(shard.out, prepared)

    def progress(snapshot: Snapshot, _elapsed_ns: int, build: Callable[[], Results]) -> None:
        shard.progress(snapshot, None, lambda: _counts(build()))

    results = mailbox.run_mailbox(replace(plan, shard=shard.wait()), progress=progress, control=shard.control)
    tell(shard.out, words.ShardEnded(results, None))


def _counts(results: Results) -> MailboxCounts:
    assert results.mailboxes is not None
    return results.mailboxes


def _prepared(resolved: ResolvedPlan) -> words.ShardPrepared:
    """Refuses what this host cannot do, before anything begins anywhere."""
    plan = resolved.plan
    addresses: tuple[str, ...] = ()
    if plan.target is not None:
        found = routes(plan)
        addresses = tuple(str(address) for route in found for address in route.addresses)
        workers = min(plan.workers or default_workers(resolved.sessions, embedded=False), resolved.sessions)
        check_open_files(-(-resolved.sessions // workers))
        check_memory(resolved.sessions, workers, (resolved.planned or 0) * plan.keep_begins)
        for route in found:
            check_ports(plan, resolved.sessions, route)
            check_sources(plan, route)
    return words.ShardPrepared(
        VERSION,
        shards.host_name(),
        addresses,
        shards.files_of(plan),
        resolved.planned,
        cpu_time.place(),
        os.getppid(),
    )


if __name__ == "__main__":
    main()

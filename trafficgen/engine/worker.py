"""One worker: a process with an event loop, told by the supervisor to begin, go on and stop, and its reports.

Takes     its part of the plan, and over a pipe what the supervisor says (see `control`)
Gives     over the same pipe snapshots while it runs, and its final account
Fails     never because of a peer. A bug here ends the process, which the supervisor sees and counts
Not here  processes and totals (supervisor), slots and what they send (sending)
"""

import asyncio
import gc
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, Final

import numpy as np
import uvloop

from mboxgen.text import prose
from trafficgen.clock import NS_PER_MS, NS_PER_S, now_ns
from trafficgen.engine import control
from trafficgen.engine.account import PHASES, RecipientTally, WorkerAccount
from trafficgen.engine.dispatch import ClosedSource
from trafficgen.engine.handing_over import layout
from trafficgen.engine.sending import GOODBYE_NS, Sending
from trafficgen.errors import TrafficgenError
from trafficgen.host.limits import raise_open_files
from trafficgen.host.memory import give_back
from trafficgen.host.pipes import listen
from trafficgen.measure.recorder import FOLD_FROM, Recorder
from trafficgen.measure.snapshot import Snapshot
from trafficgen.protocol.smtp.reply_cache import ReplyCache
from trafficgen.workload import Messages

_FOLD_NS: Final = 50 * NS_PER_MS
_PROGRESS_NS: Final = 250 * NS_PER_MS
_LOOKED_AT: Final = 2500
"""Slots that are looked at so often, and more of them more seldom: a look at 10,000 takes 30 ms of CPU (5 for what is
overdue, 25 for what is reported; 2026-11-27, 2-core AMD EPYC virtual machine)."""

_LOOK_S: Final = 0.05


def main(pipe: Connection, config: control.WorkerConfig) -> None:
    """A worker process from beginning to end."""
    raise_open_files(config.slots + config.idle)
    # Messages are tuples by the ten thousand and none of them is part of a cycle: looking for cycles less often saves
    # a tenth of what building them costs (benchmarks/workload.py).
    gc.set_threshold(50_000, 20, 20)
    try:
        worker = _SendingWorker(pipe, config)
    except TrafficgenError as error:
        pipe.send(control.SetupFailed(error))
        return
    prose.forget()  # its messages are made of what they have by now
    give_back()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(worker.run())


class _SendingWorker:
    def __init__(self, pipe: Connection, config: control.WorkerConfig) -> None:
        self._pipe = pipe
        self._config = config
        self._messages = Messages(
            config.plan,
            date=config.date,
            body=config.resolved.body,
            layout=layout(config.plan),
            signatures=config.resolved.signatures,
        )
        self._stop_ns: int | None = None  # when the grace period is over
        self._cut_short = False  # messages were at work when all sessions were ended
        self._leaving: int | None = None  # connections still open, once goodbye has been said
        self._finished = asyncio.Event()  # binds itself to the loop that first waits for it
        self._bug: BaseException | None = None
        self._ranges_assigned = 0
        # Servers repeat themselves, and not one another.
        self._replies = [ReplyCache() for _ in config.plan.targets or (None,)]

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._on_bug)
        listen(self._pipe, self._hear, self._finished.set)  # without a supervisor there is no reason to send
        self._tell(control.Ready())
        await self._finished.wait()
        if self._bug is not None:
            self._tell(control.LastWords(f"{type(self._bug).__name__}: {self._bug}"))
            raise self._bug

    def _tell(self, word: object) -> None:
        try:
            self._pipe.send(word)
        except OSError:  # without a supervisor there is no reason to send
            self._finished.set()

    def _on_bug(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An event loop only reports what a callback raised, and the run would wait for ever."""
        error = context.get("exception")
        told = isinstance(error, OSError) and "transport" in context  # a connection's own trouble: its link knows
        if error is None or told:
            return
        self._bug = self._bug or error
        self._finished.set()

    # -- the supervisor speaks --------------------------------------------------------------------------

    def _hear(self, word: object) -> None:
        match word:
            case control.Begin():
                self._begin(word.began_ns, held=word.held)
            case control.AssignRange():
                assert isinstance(self._sending.source, ClosedSource)
                self._ranges_assigned += 1
                self._sending.source.assign(word.first, word.last)
                self._sending.dispatch()
                self._settle()
            case control.TakeTurn():
                self._take_turn(word)
            case control.Stop():
                self._sending.work.stop()
                self._stop_ns = now_ns() + word.grace_ns
                self._sweep()
                self._settle()
                if not word.grace_ns:
                    self._hand_in()

    def _begin(self, began_ns: int, *, held: bool) -> None:
        plan, config = self._config.plan, self._config
        self._began_ns = began_ns
        self._cpu_ns = time.process_time_ns()
        self._recorder = Recorder(
            len(config.resolved.domains),
            began_ns,
            plan.load is not None,
            config.index,
            phases=PHASES,
            keep_begins=plan.keep_begins,
        )
        self._account = WorkerAccount(self._recorder, self._on_trouble)
        several = max(count for count, _ in plan.workload.recipients_per_message) > 1
        self._recipients = RecipientTally(self._messages, self._account) if several else None
        self._sending = Sending(
            config,
            self._messages,
            self._account,
            self._recorder,
            self._replies,
            began_ns,
            on_range_begun=lambda first: self._tell(control.RangeBegun(first)),
            on_rest=self._settle,
            on_closed=self._on_closed,
        )
        if (idle := self._sending.idle) is not None:
            self._every(_FOLD_NS, lambda _lag_ns: idle.tick(now_ns()))
            self._loop.call_later(max(began_ns - now_ns(), 0) / NS_PER_S, lambda: idle.tick(now_ns()))
        self._every(_FOLD_NS, self._fold)
        self._every(_PROGRESS_NS * max(config.slots // _LOOKED_AT, 1), self._progress)
        if held:
            self._sending.work.hold(began_ns)
        self._sending.dispatch()

    def _take_turn(self, word: control.TakeTurn) -> None:
        """Nothing of what is held or let go is in the numbers that go with it."""
        if self._finished.is_set():
            return
        snapshot = self._snapshot()
        if word.turn is control.Turn.HOLD:
            self._sending.work.hold(now_ns())
        elif word.turn is control.Turn.GO:
            self._sending.work.go(now_ns())
        self._sending.dispatch()
        self._tell(control.TurnTaken(word.serial, snapshot))

    def _on_trouble(self, words: str) -> None:
        """The first error: without keep-going nothing more starts here, though the supervisor has yet to hear of it."""
        self._tell(control.FirstError(words))
        if not self._config.plan.keep_going:
            self._sending.work.stop()

    # -- once in a while --------------------------------------------------------------------------------

    def _every(self, period_ns: int, act: Callable[[int], None]) -> None:
        """Call `act` with how late it is called, again and again until the end."""
        due_ns = now_ns() + period_ns

        def tick() -> None:
            nonlocal due_ns
            if self._finished.is_set():
                return
            now = now_ns()
            act(max(now - due_ns, 0))
            due_ns = max(due_ns + period_ns, now)
            self._loop.call_later(max(due_ns - now_ns(), 0) / NS_PER_S, tick)

        self._loop.call_later(period_ns / NS_PER_S, tick)

    def _fold(self, lag_ns: int) -> None:
        self._recorder.loop_lag(lag_ns)
        self._count()

    def _count(self, least: int = FOLD_FROM) -> None:
        """Fold the rows, if they are so many; those of recipients before they are gone."""
        if self._recipients is not None:
            self._recipients.tally()
        self._recorder.fold(least)
        if self._recipients is not None:
            self._recipients.folded()

    def _progress(self, _lag_ns: int) -> None:
        # In two turns of the loop: what is due meanwhile waits for half as long.
        self._sweep()
        self._count(1)
        self._loop.call_soon(self._report)

    def _show_traced(self) -> None:
        if lines := self._sending.tracer.take():
            self._tell(control.Traced(lines))

    def _report(self) -> None:
        if not self._finished.is_set():  # else the account is handed in, and nobody listens any more
            self._show_traced()
            snapshot = self._snapshot()
            sending = self._sending
            self._tell(control.WorkerProgress(snapshot, sending.source.taken, sending.held + sending.waiting))

    def _snapshot(self) -> Snapshot:
        for cache in self._replies:
            cache.tally_all(self._account)
        self._account.tally()
        self._count(1)
        now, sending = now_ns(), self._sending
        self._recorder.retries = sending.retrying.counts if sending.retrying else None
        snapshot = self._recorder.snapshot(
            now_ns=now,
            cpu_ns=time.process_time_ns() - self._cpu_ns,
            wall_ns=now - self._began_ns,
            sessions_open=sending.open,
            sessions_opened=sending.opened,
            in_flight=sending.in_flight,
        )
        if sending.targets:
            snapshot = replace(snapshot, targets=sending.targets.snapshots)
        if sending.idle is not None:
            snapshot = replace(snapshot, idle=sending.idle.counts)
        return snapshot if self._recipients is None else self._recipients.in_place(snapshot)

    def _sweep(self) -> None:
        now = now_ns()
        if self._stop_ns is not None and now >= self._stop_ns:
            self._end("the grace period was over")
        else:
            self._sending.sweep(now)

    # -- the end ----------------------------------------------------------------------------------------

    def _end(self, example: str) -> None:
        self._cut_short = self._cut_short or self._sending.held > 0
        self._sending.end(example)

    def _on_closed(self) -> None:
        """A connection is gone."""
        if self._leaving is not None:
            self._leaving -= 1
            if self._leaving <= 0:
                self._hand_in()

    def _settle(self) -> None:
        """When no slot has work and none will come: say goodbye on all sessions, then hand in the account."""
        sending = self._sending
        if self._leaving is not None or any(lane.working for lane in sending.lanes) or not sending.work.exhausted:
            return
        if sending.idle is not None:
            sending.idle.stop()
        self._leaving = sum(slot.open for slot in sending.all_slots)
        for slot in sending.all_slots:
            slot.say_goodbye()
        self._parted_ns = now_ns() + self._config.plan.grace_ns
        self._loop.call_later(GOODBYE_NS / NS_PER_S if self._leaving else 0, self._part)

    def _part(self) -> None:
        """Goodbyes have had their time. Where an answer is believed only with the one to QUIT, that is waited for."""
        if self._finished.is_set():
            return
        if self._sending.held and now_ns() < self._parted_ns:
            self._loop.call_later(_LOOK_S, self._part)
        else:
            self._hand_in()

    def _hand_in(self) -> None:
        if self._finished.is_set():
            return
        self._finished.set()
        self._end("no answer to QUIT")
        self._show_traced()
        snapshot = self._snapshot()
        accepted, in_doubt = self._recorder.accepted_numbers(), self._recorder.in_doubt_numbers()
        begins = self._recorder.begins()
        source, retrying = self._sending.source, self._sending.retrying
        self._tell(
            control.WorkerFinished(
                snapshot, self._ranges_assigned, source.taken, source.unsent, source.returned,
                accepted, in_doubt, self._account.partial, begins,
                np.array(retrying.doubtful if retrying else [], np.int64),
                self._cut_short or (retrying is not None and retrying.cut_short),
            )
        )  # fmt: skip

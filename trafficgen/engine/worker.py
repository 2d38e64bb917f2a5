"""One worker: an event loop, its slots, and the messages they send.

Takes     its part of the plan, and over a pipe what the supervisor says (see `control`)
Gives     over the same pipe snapshots while it runs, and its final account
Fails     never because of a peer. A bug here ends the process, which the supervisor sees and counts
Not here  processes and totals (supervisor), who is next (lane), what sessions speak (handing_over)
"""

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Final

import numpy as np
import uvloop

from mboxgen.text import prose
from trafficgen.clock import NS_PER_MS, NS_PER_S, now_ns
from trafficgen.engine import control
from trafficgen.engine.account import PHASES, RecipientTally, WorkerAccount
from trafficgen.engine.dispatch import ClosedSource, OneAtATime, OpenSource
from trafficgen.engine.fairness import Turns
from trafficgen.engine.handing_over import layout, session_maker, session_options
from trafficgen.engine.identity import Identities
from trafficgen.engine.idle import IdleSessions
from trafficgen.engine.lane import Lane, TimedSource
from trafficgen.engine.link import Session
from trafficgen.engine.opening import Opener
from trafficgen.engine.password import Draw
from trafficgen.engine.retrying import Retrying
from trafficgen.engine.slot import Slot, Surroundings, Way
from trafficgen.engine.socket_link import Poller
from trafficgen.engine.sorting import Sorting
from trafficgen.engine.targets import TargetAccount, Targets, Turntable, apportioned
from trafficgen.engine.tracing import Tracer
from trafficgen.errors import TrafficgenError
from trafficgen.guard import Route
from trafficgen.host.limits import raise_open_files
from trafficgen.host.memory import give_back
from trafficgen.host.pipes import listen
from trafficgen.measure.recorder import FOLD_FROM, Recorder
from trafficgen.measure.snapshot import Snapshot
from trafficgen.protocol.smtp.holding import HoldingSession
from trafficgen.protocol.smtp.interfaces import SessionAccount, SessionOptions
from trafficgen.protocol.smtp.reply_cache import ReplyCache
from trafficgen.workload import Messages

_FOLD_NS: Final = 50 * NS_PER_MS
_PROGRESS_NS: Final = 250 * NS_PER_MS
_LOOKED_AT: Final = 2500
"""Slots that are looked at so often, and more of them more seldom: a look at 10,000 takes 30 ms of CPU (5 for what is
overdue, 25 for what is reported; 2026-11-27, 2-core AMD EPYC virtual machine)."""

_MANY: Final = 1_000
"""Slots from which on what a session holds matters more: over a transport that is 1.9 kB more (what 6,000
of them, kept, take more than 20; benchmarks/many_sessions.py)."""

_GOODBYE_NS: Final = NS_PER_S
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
                assert isinstance(self._source, ClosedSource)
                self._ranges_assigned += 1
                self._source.assign(word.first, word.last)
                self._dispatch()
                self._settle()
            case control.TakeTurn():
                self._take_turn(word)
            case control.Stop():
                self._work.stop()
                self._stop_ns = now_ns() + word.grace_ns
                self._sweep()
                self._settle()
                if not word.grace_ns:
                    self._hand_in()

    def _begin(self, began_ns: int, *, held: bool) -> None:
        plan, config, resolved = self._config.plan, self._config, self._config.resolved
        assert resolved.route is not None
        self._began_ns = began_ns
        self._cpu_ns = time.process_time_ns()
        self._recorder = Recorder(
            len(resolved.domains),
            began_ns,
            plan.load is not None,
            config.index,
            phases=PHASES,
            keep_begins=plan.keep_begins,
        )
        self._account = WorkerAccount(self._recorder, self._on_trouble)
        first, step = plan.shard.lane(config.index, resolved.workers)
        several = max(count for count, _ in plan.workload.recipients_per_message) > 1
        self._recipients = RecipientTally(self._messages, self._account) if several else None
        self._source: ClosedSource | OpenSource
        self._retrying: Retrying | None = None
        if resolved.schedule is None:
            self._source = ClosedSource(self._messages, lambda first: self._tell(control.RangeBegun(first)))
        else:
            self._source = OpenSource(self._messages, resolved.schedule, began_ns=began_ns, index=first, step=step)
        source: ClosedSource | OpenSource | Retrying = self._source
        if plan.retry is not None:
            wake = lambda: self._loop.call_soon(self._dispatch)  # noqa: E731
            source = self._retrying = Retrying(self._source, self._account, plan.retry, wake)
        self._work: ClosedSource | OpenSource | Retrying | Sorting = source
        self._sorting: Sorting | None = None
        sources: Sequence[TimedSource] = [source]
        if plan.exchangers is not None and plan.more_targets:
            self._work = self._sorting = Sorting(source, len(plan.targets), self._loop, self._wake)
            sources = self._sorting.shares
        self._lanes = [Lane(source, self._loop, self._settle) for source in sources]
        shape = plan.session.shape
        logins = Draw(resolved.logins, f"{plan.seed}/{config.index}")
        options = session_options(plan)
        server = resolved.route.addresses[0]
        account: SessionAccount = self._retrying or self._account
        accounts = [TargetAccount(account) for _ in plan.targets] if plan.more_targets else []

        def way(at: int, route: Route) -> Way:
            """To one target."""
            lane = self._lanes[at if self._sorting else 0]
            source = OneAtATime(lane.source) if shape.one_at_a_time else lane.source
            mine = accounts[at] if accounts else account
            target = plan.targets[at].target if plan.target else None
            maker = session_maker(config, options, source, target, mine, self._replies[at])
            return Way(maker, Opener(route, plan.session, self._recorder, logins))

        self._ways = [[way(at, one) for one in route.rotated] for at, route in enumerate(resolved.routes)]
        weights = [one.weight for one in plan.targets]
        table = Turntable(weights, first=first) if accounts else None
        self._targets = Targets(self._ways, accounts, table) if table else None
        self._surroundings = Surroundings(
            way=self._ways[0][0],
            next_way=self._targets.next if self._targets else None,
            think_ns=shape.think_ns,
            slow_octets_per_s=shape.slow_octets_per_s,
            turns=Turns(self._loop.call_soon),
            poller=Poller.of(self._loop) if self._has_sockets_of_its_own else None,
            identities=Identities.of(plan, options, server, index=first, step=step),
            on_free=self._lanes[0].free,
            on_closed=self._on_closed,
            on_turn=self._lanes[0].next_turn,
        )
        self._tracer = Tracer(plan.trace_sessions, index=config.index, step=resolved.workers)
        if plan.trace_sessions:
            self._surroundings.new_link = self._tracer.link
        self._slots = self._make_slots(weights)
        self._idle_sessions = self._hold(options)
        self._every(_FOLD_NS, self._fold)
        self._every(_PROGRESS_NS * max(config.slots // _LOOKED_AT, 1), self._progress)
        if held:
            self._work.hold(began_ns)
        self._dispatch()

    @property
    def _has_sockets_of_its_own(self) -> bool:
        """Whether plain sessions are no transports of the event loop: where they come and go, or are many.

        A few kept sessions of 100 KB messages took 37.8 µs of CPU so, 27.7 by transports (benchmarks/peers.py).
        """
        plan = self._config.plan
        many = self._config.slots >= _MANY
        return bool(plan.session.max_messages or many) and not plan.trace_sessions

    def _make_slots(self, weights: list[float]) -> list[Slot]:
        """All slots, each in its lane; where domains have lanes, every one has its share, and one at least."""
        counts = apportioned(self._config.slots, weights) if self._sorting else [self._config.slots]
        slots = []
        for at, (lane, count) in enumerate(zip(self._lanes, counts, strict=True)):
            around = self._surroundings
            if self._sorting and self._targets:
                next_way = partial(self._targets.next_to, at)
                around = replace(around, next_way=next_way, on_free=lane.free, on_turn=lane.next_turn)
            for _ in range(count):
                slots.append(Slot(around))
                lane.add(slots[-1])
        return slots

    def _hold(self, options: SessionOptions) -> IdleSessions | None:
        """Sessions that carry no message, if some are asked for; they need no extension."""
        config, shape = self._config, self._config.plan.session.shape
        if not config.idle:
            return None
        plain = options._replace(needed=())

        def new_session(own: SessionOptions | None) -> Session:
            options = plain if own is None else own._replace(needed=())
            return HoldingSession(self._source, self._account, options, self._replies[0])

        ways = [Way(new_session, way.opener) for way, *_ in self._ways]
        table = Turntable([one.weight for one in config.plan.targets] or [1.0])
        next_way = (lambda: ways[table.next()]) if len(ways) > 1 else None
        surroundings = replace(
            self._surroundings, way=ways[0], next_way=next_way, think_ns=0, opening=0, on_free=lambda _: None,
            on_turn=lambda: sessions.open_more(now_ns()),
        )  # fmt: skip
        sessions = IdleSessions(surroundings, config.idle, shape.noop_ns, self._began_ns)
        self._every(_FOLD_NS, lambda _lag_ns: sessions.tick(now_ns()))
        wait_ns = max(self._began_ns - now_ns(), 0)
        self._loop.call_later(wait_ns / NS_PER_S, lambda: sessions.tick(now_ns()))
        return sessions

    @property
    def _all_slots(self) -> list[Slot]:
        return [*self._slots, *self._idle_sessions.slots] if self._idle_sessions is not None else self._slots

    def _take_turn(self, word: control.TakeTurn) -> None:
        """Nothing of what is held or let go is in the numbers that go with it."""
        if self._finished.is_set():
            return
        snapshot = self._snapshot()
        if word.turn is control.Turn.HOLD:
            self._work.hold(now_ns())
        elif word.turn is control.Turn.GO:
            self._work.go(now_ns())
        self._dispatch()
        self._tell(control.TurnTaken(word.serial, snapshot))

    def _on_trouble(self, words: str) -> None:
        """The first error: without keep-going nothing more starts here, though the supervisor has yet to hear of it."""
        self._tell(control.FirstError(words))
        if not self._config.plan.keep_going:
            self._work.stop()

    # -- work for idle slots ----------------------------------------------------------------------------

    def _dispatch(self) -> None:
        for lane in self._lanes:
            lane.dispatch()

    def _wake(self, lane: int) -> None:
        """Something waits for its slots."""
        self._lanes[lane].wake()

    def _on_closed(self) -> None:
        """A connection is gone."""
        if self._leaving is not None:
            self._leaving -= 1
            if self._leaving <= 0:
                self._hand_in()

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
        if lines := self._tracer.take():
            self._tell(control.Traced(lines))

    def _report(self) -> None:
        if not self._finished.is_set():  # else the account is handed in, and nobody listens any more
            self._show_traced()
            snapshot = self._snapshot()
            held = sum(slot.held for slot in self._slots)
            held += sum(one.waiting for one in (self._retrying, self._sorting) if one)
            self._tell(control.WorkerProgress(snapshot, self._source.taken, held))

    def _snapshot(self) -> Snapshot:
        for cache in self._replies:
            cache.tally_all(self._account)
        self._account.tally()
        self._count(1)
        now = now_ns()
        self._recorder.retries = self._retrying.counts if self._retrying else None
        snapshot = self._recorder.snapshot(
            now_ns=now,
            cpu_ns=time.process_time_ns() - self._cpu_ns,
            wall_ns=now - self._began_ns,
            sessions_open=sum(slot.open for slot in self._slots),
            sessions_opened=sum(slot.opened for slot in self._slots),
            in_flight=sum(slot.in_flight for slot in self._slots),
        )
        if self._targets:
            snapshot = replace(snapshot, targets=self._targets.snapshots)
        if self._idle_sessions is not None:
            snapshot = replace(snapshot, idle=self._idle_sessions.counts)
        return snapshot if self._recipients is None else self._recipients.in_place(snapshot)

    def _sweep(self) -> None:
        """One look at every session, in place of a timer for each message."""
        now = now_ns()
        if self._stop_ns is not None and now >= self._stop_ns:
            for slot in self._all_slots:
                slot.stop("stopped", "the grace period was over")
            return
        limits = self._config.plan.session
        for slot in self._all_slots:
            if (overdue := slot.overdue(now, limits.connect_timeout_ns, limits.reply_timeout_ns)) is not None:
                slot.give_up("timed out", overdue)
        parting = self._surroundings.parting
        for link in [link for link, since_ns in parting.items() if since_ns < now - _GOODBYE_NS]:
            del parting[link]
            link.hang_up()

    # -- the end ----------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """When no slot has work and none will come: say goodbye on all sessions, then hand in the account."""
        if self._leaving is not None or any(lane.working for lane in self._lanes) or not self._work.exhausted:
            return
        if self._idle_sessions is not None:
            self._idle_sessions.stop()
        self._leaving = sum(slot.open for slot in self._all_slots)
        for slot in self._all_slots:
            slot.say_goodbye()
        self._parted_ns = now_ns() + self._config.plan.grace_ns
        self._loop.call_later(_GOODBYE_NS / NS_PER_S if self._leaving else 0, self._part)

    def _part(self) -> None:
        """Goodbyes have had their time. Where an answer is believed only with the one to QUIT, that is waited for."""
        if self._finished.is_set():
            return
        if any(slot.held for slot in self._slots) and now_ns() < self._parted_ns:
            self._loop.call_later(_LOOK_S, self._part)
        else:
            self._hand_in()

    def _hand_in(self) -> None:
        if self._finished.is_set():
            return
        self._finished.set()
        for slot in self._all_slots:
            slot.stop("stopped", "no answer to QUIT")
        self._show_traced()
        snapshot = self._snapshot()
        accepted, in_doubt = self._recorder.accepted_numbers(), self._recorder.in_doubt_numbers()
        begins = self._recorder.begins()
        source = self._source
        self._tell(
            control.WorkerFinished(
                snapshot, self._ranges_assigned, source.taken, source.unsent, source.returned,
                accepted, in_doubt, self._account.partial, begins,
                np.array(self._retrying.doubtful if self._retrying else [], np.int64),
            )
        )  # fmt: skip

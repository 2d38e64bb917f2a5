"""One worker: an event loop, its slots, and the messages they send.

Takes     its part of the plan, and over a pipe what the supervisor says (see `control`)
Gives     over the same pipe snapshots while it runs, and its final account
Fails     never because of a peer. A bug here ends the process, which the supervisor sees and counts
Not here  processes and totals (supervisor), who is next (dispatch), a connection's life (slot)
"""

import asyncio
import gc
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, Final

import numpy as np
import uvloop

from mboxgen.enums import table_of
from trafficgen.clock import NS_PER_MS, NS_PER_S, now_ns
from trafficgen.engine import control
from trafficgen.engine.account import PHASES, RecipientTally, WorkerAccount
from trafficgen.engine.dispatch import ClosedSource, OneAtATime, OpenSource
from trafficgen.engine.fairness import Turns
from trafficgen.engine.identity import Identities
from trafficgen.engine.idle import IdleSessions
from trafficgen.engine.link import Session
from trafficgen.engine.opening import Opener
from trafficgen.engine.password import Draw
from trafficgen.engine.retrying import Retrying
from trafficgen.engine.slot import Slot, Surroundings, Way
from trafficgen.engine.socket_link import Poller
from trafficgen.engine.targets import TargetAccount, Targets, Turntable
from trafficgen.engine.tracing import Tracer
from trafficgen.errors import TrafficgenError
from trafficgen.host.limits import raise_open_files
from trafficgen.host.memory import give_back
from trafficgen.host.pipes import listen
from trafficgen.measure.recorder import FOLD_FROM, Recorder
from trafficgen.measure.snapshot import Snapshot
from trafficgen.outcomes import Phase
from trafficgen.plan import Dialect, Pipelining, Target, TcpTarget
from trafficgen.protocol.http.client import InjectionOptions, InjectionSession
from trafficgen.protocol.smtp.client import ClientSession
from trafficgen.protocol.smtp.holding import HoldingSession
from trafficgen.protocol.smtp.interfaces import SessionAccount, SessionOptions
from trafficgen.protocol.smtp.layout import layout_for
from trafficgen.protocol.smtp.reply_cache import ReplyCache
from trafficgen.workload import AS_DELIVERED, Messages
from trafficgen.workload.address_book import uses_smtputf8
from trafficgen.workload.mail_layout import MailLayout

_HELLO: Final = table_of(Dialect, {
    Dialect.SMTP: Phase.EHLO,
    Dialect.LMTP: Phase.LHLO,
    Dialect.HTTP: Phase.EHLO,  # never said
    Dialect.HTTPS: Phase.EHLO,
})  # fmt: skip
_FOLD_NS: Final = 50 * NS_PER_MS
_PROGRESS_NS: Final = 250 * NS_PER_MS
_LOOKED_AT: Final = 2500
"""Slots that are looked at so often, and more of them more seldom: a look at 10,000 takes 30 ms of CPU (5 for what is
overdue, 25 for what is reported; 2026-11-27, 2-core AMD EPYC virtual machine)."""

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
            layout=_layout(config),
            signatures=config.resolved.signatures,
        )
        self._idle: deque[Slot] = deque()
        self._queue: deque[Slot] = deque()  # idle, too, but as many others as may are being connected
        self._working = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stop_ns: int | None = None  # when the grace period is over
        self._leaving: int | None = None  # connections still open, once goodbye has been said
        self._finished = asyncio.Event()  # binds itself to the loop that first waits for it
        self._bug: BaseException | None = None
        self._ranges_assigned = 0
        self._all_targets: list[Target | None] = [one.target for one in config.plan.targets] or [None]
        self._replies = [ReplyCache() for _ in self._all_targets]  # servers repeat themselves, and not one another

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
        self._work: ClosedSource | OpenSource | Retrying = self._source
        if plan.retry is not None:
            wake = lambda: self._loop.call_soon(self._dispatch)  # noqa: E731
            self._work = self._retrying = Retrying(self._source, self._account, plan.retry, wake)
        shape = plan.session.shape
        logins = Draw(resolved.logins, f"{plan.seed}/{config.index}")
        options = SessionOptions(
            ehlo_name=plan.session.ehlo_name.encode("ascii"),
            max_messages=plan.session.max_messages,
            pipelining=plan.session.pipelining is Pipelining.AUTO,
            chunks=plan.session.chunks,
            hello=_HELLO[plan.target.dialect if plan.target else Dialect.SMTP],
            reset_between=shape.reset_between,
            needed=plan.session.extensions.needed + ("SMTPUTF8",) * uses_smtputf8(plan.workload),
            declares_size=plan.session.extensions.declare_size,
        )
        server = resolved.route.addresses[0]
        account: SessionAccount = self._retrying or self._account
        accounts = [TargetAccount(account) for _ in plan.more_targets] if plan.more_targets else []
        accounts += [TargetAccount(account)] if accounts else []
        ways = self._ways = [
            Way(
                self._session_maker(options, target, accounts[at] if accounts else account, self._replies[at]),
                Opener(route, plan.session, self._recorder, logins),
            )
            for at, (target, route) in enumerate(zip(self._all_targets, resolved.routes, strict=True))
        ]
        weights = [one.weight for one in plan.targets]
        table = Turntable(weights, first=first) if accounts else None
        self._targets = Targets(ways, accounts, table) if table else None
        self._surroundings = Surroundings(
            way=ways[0],
            next_way=self._targets.next if self._targets else None,
            think_ns=shape.think_ns,
            turns=Turns(self._loop.call_soon),
            # Kept sessions of 100 KB messages took 37.8 µs of CPU by it, 27.7 without (benchmarks/peers.py).
            poller=Poller.of(self._loop) if plan.session.max_messages and not plan.trace_sessions else None,
            identities=Identities.of(plan, options, server, index=first, step=step),
            on_free=self._on_free,
            on_closed=self._on_closed,
            on_turn=self._on_turn,
        )
        self._tracer = Tracer(plan.trace_sessions, index=config.index, step=resolved.workers)
        if plan.trace_sessions:
            self._surroundings.new_link = self._tracer.link
        self._slots = [Slot(self._surroundings) for _ in range(config.slots)]
        self._idle.extend(self._slots)
        self._idle_sessions = self._hold(options)
        self._every(_FOLD_NS, self._fold)
        self._every(_PROGRESS_NS * max(config.slots // _LOOKED_AT, 1), self._progress)
        if held:
            self._work.hold(began_ns)
        self._dispatch()

    def _hold(self, options: SessionOptions) -> IdleSessions | None:
        """Sessions that carry no message, if some are asked for; they need no extension."""
        config, shape = self._config, self._config.plan.session.shape
        if not config.idle:
            return None
        plain = options._replace(needed=())

        def new_session(own: SessionOptions | None) -> Session:
            options = plain if own is None else own._replace(needed=())
            return HoldingSession(self._source, self._account, options, self._replies[0])

        ways = [Way(new_session, way.opener) for way in self._ways]
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

    def _session_maker(
        self, options: SessionOptions, target: Target | None, account: SessionAccount, replies: ReplyCache
    ) -> Callable[[SessionOptions | None], Session]:
        """What makes a session for a new connection to this target."""
        plan = self._config.plan
        source = OneAtATime(self._work) if plan.session.shape.one_at_a_time else self._work
        if not _injects(self._config):
            return lambda own: ClientSession(source, account, own or options, replies)
        assert isinstance(target, TcpTarget)
        injecting = InjectionOptions(
            host=target.authority.encode("ascii"),
            path=target.path.encode("ascii"),
            authorization=self._config.resolved.authorization.encode("ascii"),
            defer_spool=plan.session.injection.defer_spool,
            defer_generation=plan.session.injection.defer_generation,
            max_messages=plan.session.max_messages,
        )
        return lambda _own: InjectionSession(source, account, injecting)

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

    def _on_free(self, slot: Slot) -> None:
        """A slot's session has nothing to do, or is over: give it the next message or let it rest."""
        self._working -= 1
        rest_ns = slot.rest_ns
        now = now_ns()
        if rest_ns and not self._work.exhausted:
            self._loop.call_later(rest_ns / NS_PER_S, self._rested, slot)
        elif not self._idle and (work := self._work.take(now)) is not None:
            self._working += 1
            slot.give(work, now)
        else:
            self._rested(slot)

    def _rested(self, slot: Slot) -> None:
        self._idle.append(slot)
        self._dispatch()
        self._settle()

    def _dispatch(self) -> None:
        """Give what is due to the slots that have been idle longest, as far as they may take it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = now_ns()
        while self._idle:
            if not self._idle[0].may_take:
                self._queue.append(self._idle.popleft())
            elif (work := self._work.take(now)) is not None:
                self._working += 1
                self._idle.popleft().give(work, now)
            else:
                break
        due_ns = self._work.next_due_ns
        if self._idle and due_ns is not None:
            self._timer = self._loop.call_later(max(due_ns - now, 0) / NS_PER_S, self._dispatch)

    def _on_turn(self) -> None:
        """One more slot may be connected."""
        if self._queue:
            self._idle.appendleft(self._queue.popleft())
            self._dispatch()

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
            held = sum(slot.held for slot in self._slots) + (self._retrying.waiting if self._retrying else 0)
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
        if self._leaving is not None or self._working or not self._work.exhausted:
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


def _layout(config: control.WorkerConfig) -> MailLayout:
    """How messages lie in memory for the protocol that hands them over."""
    if _injects(config):
        return AS_DELIVERED
    plan = config.plan
    pipelining = plan.session.pipelining is Pipelining.AUTO
    return layout_for(plan.session.chunks, plan.session.extensions, plan.run_id, pipelining=pipelining)


def _injects(config: control.WorkerConfig) -> bool:
    """Whether mail goes by HTTP."""
    target = config.plan.target
    return target is not None and target.dialect.injects

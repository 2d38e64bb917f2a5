"""What one worker sends with: a source of messages, ways to the targets, slots in their lanes. Made as the run begins.

Takes     the worker's part of the plan, time zero, its messages and its account
Gives     slots that take messages as these are due, looked at now and then; how many are open, at work, held
Not here  what the supervisor says, timers and the worker's end (worker), who is next (lane)
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.engine.account import WorkerAccount
from trafficgen.engine.control import WorkerConfig
from trafficgen.engine.dispatch import ClosedSource, OneAtATime, OpenSource, WorkerSource
from trafficgen.engine.fairness import Turns
from trafficgen.engine.handing_over import session_maker, session_options
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
from trafficgen.guard import Route
from trafficgen.measure.recorder import Recorder
from trafficgen.plan import Pipelining
from trafficgen.protocol.smtp.holding import HoldingSession
from trafficgen.protocol.smtp.interfaces import SessionAccount, SessionOptions
from trafficgen.protocol.smtp.reply_cache import ReplyCache
from trafficgen.workload import Messages

GOODBYE_NS: Final = NS_PER_S
"""How long a server may take over its goodbye."""

_MANY: Final = 1_000
"""Slots from which on what a session holds matters more: over a transport that is 1.9 kB more (what 6,000
of them, kept, take more than 20; benchmarks/many_sessions.py)."""


class Sending:
    """`source` counts what is handed out, `work` hands it out; the same, unless something lies between."""

    def __init__(
        self,
        config: WorkerConfig,
        messages: Messages,
        account: WorkerAccount,
        recorder: Recorder,
        replies: Sequence[ReplyCache],
        began_ns: int,
        *,
        on_range_begun: Callable[[int], None],
        on_rest: Callable[[], None],
        on_closed: Callable[[], None],
    ) -> None:
        """`replies`: a cache for each target. `on_rest`: a slot is idle; `on_closed`: a connection is gone."""
        plan, resolved = config.plan, config.resolved
        assert resolved.route is not None
        self._config = config
        self._account = account
        self._replies = replies
        loop = asyncio.get_running_loop()
        first, step = plan.shard.lane(config.index, resolved.workers)
        self.source: ClosedSource | OpenSource
        if resolved.schedule is None:
            self.source = ClosedSource(messages, on_range_begun)
        else:
            self.source = OpenSource(messages, resolved.schedule, began_ns=began_ns, index=first, step=step)
        source: WorkerSource = self.source
        self.retrying: Retrying | None = None
        if plan.retry is not None:
            wake = lambda: loop.call_soon(self.dispatch)  # noqa: E731
            source = self.retrying = Retrying(self.source, account, plan.retry, wake)
        self.work: WorkerSource | Sorting = source
        self._sorting: Sorting | None = None
        sources: Sequence[TimedSource] = [source]
        if plan.exchangers is not None and plan.more_targets:
            self.work = self._sorting = Sorting(source, len(plan.targets), loop, self._wake)
            sources = self._sorting.shares
        self.lanes = [Lane(source, loop, on_rest) for source in sources]
        shape = plan.session.shape
        logins = Draw(resolved.logins, f"{plan.seed}/{config.index}")
        options = session_options(plan)
        whole_account: SessionAccount = self.retrying or account
        accounts = [TargetAccount(whole_account) for _ in plan.targets] if plan.more_targets else []

        def way(at: int, route: Route) -> Way:
            """To one target."""
            lane = self.lanes[at if self._sorting else 0]
            source = OneAtATime(lane.source) if shape.one_at_a_time else lane.source
            mine = accounts[at] if accounts else whole_account
            target = plan.targets[at].target if plan.target else None
            opener = Opener(route, plan.session, recorder, logins)
            named = options if options.ehlo_name else options._replace(ehlo_name=opener.literal)
            return Way(session_maker(config, named, source, target, mine, replies[at]), opener)

        ways = [[way(at, one) for one in route.rotated] for at, route in enumerate(resolved.routes)]
        weights = [one.weight for one in plan.targets]
        self.targets = Targets(ways, accounts, Turntable(weights, first=first)) if accounts else None
        self._surroundings = Surroundings(
            way=ways[0][0],
            next_way=self.targets.next if self.targets else None,
            think_ns=shape.think_ns,
            slow_octets_per_s=shape.slow_octets_per_s,
            turns=Turns(loop.call_soon),
            poller=Poller.of(loop) if self._has_sockets_of_its_own else None,
            identities=Identities.of(plan, options, resolved.route.addresses[0], index=first, step=step),
            on_free=self.lanes[0].free,
            on_closed=on_closed,
            on_turn=self.lanes[0].next_turn,
        )
        self.tracer = Tracer(plan.trace_sessions, index=config.index, step=resolved.workers)
        if plan.trace_sessions:
            self._surroundings.new_link = self.tracer.link
        self._slots = self._make_slots(weights)
        self.idle = self._idle_sessions(options, [way.opener for way, *_ in ways], began_ns) if config.idle else None

    @property
    def _has_sockets_of_its_own(self) -> bool:
        """Whether plain sessions are no transports of the event loop: where they come and go, are many, or send command
        by command.

        Those take 2 to 5 % less CPU so, a few kept sessions in groups 2 % more (benchmarks/peers.py).
        """
        plan, session = self._config.plan, self._config.plan.session
        by_steps = session.pipelining is Pipelining.OFF
        many = self._config.slots >= _MANY
        return bool(session.max_messages or by_steps or many) and not plan.trace_sessions

    def _make_slots(self, weights: list[float]) -> list[Slot]:
        """All slots, each in its lane; where domains have lanes, every one has its share, and one at least."""
        counts = apportioned(self._config.slots, weights) if self._sorting else [self._config.slots]
        slots = []
        for at, (lane, count) in enumerate(zip(self.lanes, counts, strict=True)):
            around = self._surroundings
            if self._sorting and self.targets:
                next_way = partial(self.targets.next_to, at)
                around = replace(around, next_way=next_way, on_free=lane.free, on_turn=lane.next_turn)
            for _ in range(count):
                slots.append(Slot(around))
                lane.add(slots[-1])
        return slots

    def _idle_sessions(self, options: SessionOptions, openers: list[Opener], began_ns: int) -> IdleSessions:
        """Sessions that carry no message; they need no extension."""
        config, plain = self._config, options._replace(needed=())

        def new_session(own: SessionOptions | None) -> Session:
            options = plain if own is None else own._replace(needed=())
            return HoldingSession(self.source, self._account, options, self._replies[0])

        ways = [Way(new_session, opener) for opener in openers]
        table = Turntable([one.weight for one in config.plan.targets] or [1.0])
        next_way = (lambda: ways[table.next()]) if len(ways) > 1 else None
        surroundings = replace(
            self._surroundings, way=ways[0], next_way=next_way, think_ns=0, opening=0, on_free=lambda _: None,
            on_turn=lambda: sessions.open_more(now_ns()),
        )  # fmt: skip
        sessions = IdleSessions(surroundings, config.idle, config.plan.session.shape.noop_ns, began_ns)
        return sessions

    # -- work for idle slots ----------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Give what is due to the slots that are idle."""
        for lane in self.lanes:
            lane.dispatch()

    def _wake(self, lane: int) -> None:
        """Something waits for its slots."""
        self.lanes[lane].wake()

    # -- how it is going --------------------------------------------------------------------------------

    @property
    def all_slots(self) -> list[Slot]:
        """Also those of sessions that carry no message."""
        return [*self._slots, *self.idle.slots] if self.idle is not None else self._slots

    @property
    def open(self) -> int:
        """Connections of sessions that carry messages."""
        return sum(slot.open for slot in self._slots)

    @property
    def opened(self) -> int:
        """Such sessions so far."""
        return sum(slot.opened for slot in self._slots)

    @property
    def in_flight(self) -> int:
        """Messages at work."""
        return sum(slot.in_flight for slot in self._slots)

    @property
    def held(self) -> int:
        """Messages that sessions have taken and that have not ended."""
        return sum(slot.held for slot in self._slots)

    @property
    def waiting(self) -> int:
        """Messages that the source has handed out and that no session has."""
        return sum(one.waiting for one in (self.retrying, self._sorting) if one)

    # -- once in a while, and at the end ----------------------------------------------------------------

    def sweep(self, now: int) -> None:
        """One look at every session, in place of a timer for each message: what is overdue is given up."""
        limits = self._config.plan.session
        for slot in self.all_slots:
            if (overdue := slot.overdue(now, limits.connect_timeout_ns, limits.reply_timeout_ns)) is not None:
                slot.give_up("timed out", overdue)
        parting = self._surroundings.parting
        for link in [link for link, since_ns in parting.items() if since_ns < now - GOODBYE_NS]:
            del parting[link]
            link.hang_up()

    def end(self, example: str) -> None:
        """End all sessions, for this reason."""
        for slot in self.all_slots:
            slot.stop("stopped", example)

"""The sink alone, in the foreground, until somebody stops it.

Takes     `SinkConfig`; who wants to hear a line a second
Gives     the number of messages taken, when SIGINT or SIGTERM ends it
Reloads   the response table when its file changes or on SIGHUP; a bad file changes nothing, and is said. Without one
          SIGHUP ends it
Fails     SetupError when the address, a file or a certificate cannot be had, PlanError for a bad table at the start
"""

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Final

import uvloop

from trafficgen.errors import TrafficgenError
from trafficgen.guard import refuse_public, resolve
from trafficgen.host.limits import raise_open_files
from trafficgen.sink.api.api import Api, serving
from trafficgen.sink.bounces.bounce_sender import BounceSender
from trafficgen.sink.bounces.bounces import Bounces
from trafficgen.sink.config import SinkConfig, SinkSecurity
from trafficgen.sink.listen.certificate import context_from, context_made_here
from trafficgen.sink.listen.server import Sink
from trafficgen.sink.policy.destinations import Destinations
from trafficgen.sink.policy.judge import Policy
from trafficgen.sink.policy.limits import Limits
from trafficgen.sink.policy.responses import DEFAULT_PROFILE, read
from trafficgen.sink.store.capture import Capture
from trafficgen.sink.store.ledger import Ledger

_MAX_SESSIONS: Final = 65_536

Say = Callable[[str], None]

LISTENING: Final = "sink listening on {}; it relays nothing; Ctrl-C ends it"
RETURNS: Final = "bounces and complaints about what was taken go to {}, and nothing else goes anywhere"
SMUGGLING: Final = "{} times a message held what would have ended it elsewhere: somebody tries to smuggle"


def serve(orders: SinkConfig, *, say: Say) -> int:
    """Take mail until a signal comes."""
    raise_open_files(_MAX_SESSIONS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(orders, say))


async def _serve(orders: SinkConfig, say: Say) -> int:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    async with open_sink(orders, say) as (sink, reload):
        # Without a table there is nothing to read again, and a terminal that is gone means what it means to all others.
        loop.add_signal_handler(signal.SIGHUP, reload.now if orders.behaviour.responses is not None else over.set)
        say(LISTENING.format(sink.address))
        if orders.returns is not None:
            say(RETURNS.format(orders.returns.to))
        api = serving(Api(sink), orders.api) if orders.api is not None else nullcontext()
        async with api as api_address:
            if api_address is not None:
                say(f"API on http://{api_address}/api/v1/totals")
            await _watch(sink, over, reload, say)
    return sink.received


@asynccontextmanager
async def open_sink(orders: SinkConfig, say: Say) -> "AsyncIterator[tuple[Sink, Reload]]":
    """A sink that listens, and what reads its table again."""
    kept = orders.capture
    capture = Capture(kept.form, kept.path, kept.max_octets, say) if kept is not None else None
    policy = _policy(orders, say, capture)
    returns = _returns(orders, policy, say)
    # An error in a callback ends that connection and is said; the sink goes on.
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: say(f"error: {context.get('exception') or context['message']}")
    )
    ledger = Ledger(orders.ledger_file, say, names=orders.api is not None) if orders.ledger else False
    try:
        async with Sink(
            orders.listen,
            ledger=ledger,
            offer=orders.offer,
            policy=policy,
            tls=_context(orders.security),
            tls_at_once=orders.security is not None and orders.security.at_once,
            idle_s=orders.idle_s,
            stuck_s=orders.stuck_s,
            share_port=orders.workers > 1,
            capture=capture,
            returns=returns,
        ) as sink:
            if returns is not None:
                sink.own(returns.postman.run())
            yield sink, Reload(orders, policy, say)
    finally:
        if capture is not None:
            capture.close()
        if isinstance(ledger, Ledger):
            ledger.close()


async def _watch(sink: Sink, over: asyncio.Event, reload: "Reload", say: Say) -> None:
    """A line a second while mail comes, and one at the end."""
    before = 0
    while not over.is_set():
        try:
            await asyncio.wait_for(over.wait(), 1.0)
        except TimeoutError:
            reload.when_changed()
            if sink.received != before:
                say(f"{sink.received} messages, {sink.received - before}/s, {len(sink.links)} sessions open")
                before = sink.received
    say(f"{sink.received} messages taken, {sink.octets} octets")
    if sink.smuggling:
        say(SMUGGLING.format(sink.smuggling))
    if sink.returns is not None:
        say(sink.returns.line)


def _policy(orders: SinkConfig, say: Say, capture: Capture | None) -> Policy | None:
    full = capture.full if capture is not None and orders.capture and orders.capture.max_octets else None
    if orders.behaviour.peaceful and orders.api is None and full is None:
        return None  # nobody to ask: the fast way
    terms = orders.behaviour.terms()
    for warning in terms.responses.warnings:
        say(f"warning: {warning}")
    return Policy(terms, storage_full=full)


def _returns(orders: SinkConfig, policy: Policy | None, say: Say) -> Bounces | None:
    plan = orders.returns
    if plan is None:
        return None
    route = resolve(plan.to, "--bounce-to")
    if not plan.allow_public_target:
        refuse_public(route, "--bounce-to")
    behaviour = orders.behaviour
    if policy is None or behaviour.responses is None:
        shipped = Destinations(read(DEFAULT_PROFILE), behaviour.suffixes, behaviour.seed, kumo=False, limits=Limits())
        return Bounces(plan, BounceSender(route, say), lambda: shipped, behaviour.seed)
    return Bounces(plan, BounceSender(route, say), lambda: policy.destinations, behaviour.seed)


def _context(security: SinkSecurity | None) -> ssl.SSLContext | None:
    if security is None:
        return None
    if security.certificate is None:
        return context_made_here()
    return context_from(security.certificate, security.key)


class Reload:
    """Watches the file of the response table."""

    def __init__(self, orders: SinkConfig, policy: Policy | None, say: Say) -> None:
        self._behaviour = orders.behaviour
        self._policy = policy
        self._say = say
        self._seen = _stamp(orders.behaviour.responses)

    def when_changed(self) -> None:
        """Look whether the file is another one than before."""
        if _stamp(self._behaviour.responses) != self._seen:
            self.now()

    def now(self) -> None:
        """Read the file again; if it is bad, what was read before goes on."""
        self._seen = _stamp(self._behaviour.responses)
        if self._policy is None or self._behaviour.responses is None:
            return
        try:
            terms = self._behaviour.terms()
        except TrafficgenError as error:
            self._say(f"the response table stays as it was: {error}")
            return
        self._policy.replace(terms)
        self._say(f'read the response table "{self._behaviour.responses}" again')


def _stamp(path: Path | None) -> tuple[int, int] | None:
    """What changes when a file does."""
    try:
        status = path.stat() if path is not None else None
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size) if status is not None else None

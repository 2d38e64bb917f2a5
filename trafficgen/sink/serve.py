"""Run a sink in the foreground until a signal ends it, or it has accepted as many messages as it was to.

Takes     `SinkConfig`; a function that shows a line of progress
Gives     the number of messages accepted, when SIGINT, SIGTERM or `SinkConfig.messages` ends it; sessions are
          answered 421 then
Reloads   the response table when its file changes or on SIGHUP; a bad file, an empty one, or a pipe, is reported
          and changes nothing. Without a table SIGHUP ends it
Fails     SetupError when the address, a file or a certificate cannot be had, PlanError for a bad table at the start
"""

import asyncio
import signal
import ssl
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Final

import uvloop

from trafficgen.errors import TrafficgenError
from trafficgen.guard import refuse_public, resolve
from trafficgen.host.limits import files_for_a_sink
from trafficgen.sink.api.api import Api, serving
from trafficgen.sink.bounces.bounce_sender import BounceSender
from trafficgen.sink.bounces.bounces import Bounces
from trafficgen.sink.config import Behaviour, SinkConfig, SinkSecurity
from trafficgen.sink.listen.certificate import context_from, context_made_here
from trafficgen.sink.listen.server import Sink
from trafficgen.sink.policy.destinations import Destinations
from trafficgen.sink.policy.limits import Limits
from trafficgen.sink.policy.policy import Policy, PolicyConfig
from trafficgen.sink.policy.responses import DEFAULT_PROFILE, read
from trafficgen.sink.progress import Count, Say, SpokenCounts, announce
from trafficgen.sink.store.capture import Capture
from trafficgen.sink.store.ledger import Ledger

_MAX_SESSIONS: Final = 65_536
COUNT_S: Final = 0.05
"""How often messages are counted, when so many end the sink: the messages themselves cost nothing more."""


def serve(config: SinkConfig, *, say: Say) -> int:
    """Receive mail until a signal comes, or enough messages."""
    room = min(files_for_a_sink(_MAX_SESSIONS), _MAX_SESSIONS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(config, say, room))


async def _serve(config: SinkConfig, say: Say, room: int) -> int:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    async with open_sink(config, say, room) as sink:
        reload = Reload(config.behaviour, sink.policy, say)
        # Without a table there is nothing to reload, and SIGHUP ends the sink as it ends other programs.
        loop.add_signal_handler(signal.SIGHUP, reload.now if config.behaviour.responses is not None else over.set)
        api = serving(Api(sink), config.api) if config.api is not None else nullcontext()
        async with api as api_address:
            announce(sink.address, say, config.bounces)
            if api_address is not None:
                say(f"API on http://{api_address}/api/v1/totals")
            if config.messages is not None:
                sink.start_task(_count(sink, config.messages, over))
            await _watch(sink, over, reload, say)
    return sink.received


@asynccontextmanager
async def open_sink(config: SinkConfig, say: Say, max_sessions: int) -> AsyncIterator[Sink]:
    """A sink that listens."""
    kept = config.capture
    capture = Capture(kept.form, kept.path, kept.max_octets, say) if kept is not None else None
    policy = _policy(config, say, capture)
    bounces = _bounces(config, policy, say)
    # An error in a callback ends that connection and is reported; the sink goes on.
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: say(f"error: {context.get('exception') or context['message']}")
    )
    ledger = Ledger(config.ledger_file, say, names=config.api is not None) if config.ledger else False
    try:
        async with Sink(
            config.listen,
            ledger=ledger,
            capabilities=config.capabilities,
            policy=policy,
            tls=_context(config.security, config.capabilities.name),
            tls_at_once=config.security is not None and config.security.at_once,
            idle_s=config.idle_s,
            stuck_s=config.stuck_s,
            share_port=config.workers > 1,
            capture=capture,
            bounces=bounces,
            proxied=config.proxied,
            max_sessions=max_sessions,
        ) as sink:
            if bounces is not None:
                sink.start_task(bounces.bounce_sender.run())
            yield sink
    finally:
        if capture is not None:
            capture.close()
        if isinstance(ledger, Ledger):
            ledger.close()


async def _count(sink: Sink, messages: int, over: asyncio.Event) -> None:
    while sink.received < messages:  # noqa: ASYNC110  (to tell of it would cost each message)
        await asyncio.sleep(COUNT_S)
    over.set()


async def _watch(sink: Sink, over: asyncio.Event, reload: "Reload", say: Say) -> None:
    """A line a second while mail comes, and one at the end."""
    progress = SpokenCounts(say)
    while not over.is_set():
        try:
            await asyncio.wait_for(over.wait(), 1.0)
        except TimeoutError:
            reload.when_changed()
            progress.show(Count.of(sink))
    await sink.dismiss()
    progress.end(Count.of(sink), reports=sink.bounces is not None)


def _policy(config: SinkConfig, say: Say, capture: Capture | None) -> Policy | None:
    full = capture.full if capture is not None and config.capture and config.capture.max_octets else None
    if config.behaviour.accepts_everything and config.api is None and full is None:
        return None  # nothing to decide
    policy_config = config.behaviour.policy_config()
    _warn(policy_config, say)
    return Policy(policy_config, storage_full=full)


def _bounces(config: SinkConfig, policy: Policy | None, say: Say) -> Bounces | None:
    plan = config.bounces
    if plan is None:
        return None
    route = resolve(plan.to, "--bounce-to")
    if not plan.allow_public_target:
        refuse_public(route, "--bounce-to")
    behaviour = config.behaviour
    bounce_sender = BounceSender(route, say, config.capabilities.name)
    if policy is None or behaviour.responses is None:
        builtin = Destinations(read(DEFAULT_PROFILE), behaviour.suffixes, behaviour.seed, kumo=False, limits=Limits())
        return Bounces(plan, bounce_sender, lambda: builtin, behaviour.seed)
    return Bounces(plan, bounce_sender, lambda: policy.destinations, behaviour.seed)


def _context(security: SinkSecurity | None, name: bytes) -> ssl.SSLContext | None:
    if security is None:
        return None
    if security.certificate is None:
        return context_made_here(name)
    return context_from(security.certificate, security.key)


class FileChange:
    """Whether a file is another than when that was asked last."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen = self._stamp()

    def __call__(self) -> bool:
        """True once for each change. A pipe, and a file that is not there, never change."""
        before, self._seen = self._seen, self._stamp()
        return before != self._seen

    def _stamp(self) -> tuple[int, int] | None:
        """Time and size, which change when the file does."""
        try:
            status = self._path.stat() if self._path is not None else None
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_size) if status is not None and stat.S_ISREG(status.st_mode) else None


class Reload:
    """Reads the response table again."""

    def __init__(self, behaviour: Behaviour, policy: Policy | None, say: Say) -> None:
        self._behaviour = behaviour
        self._policy = policy
        self._say = say
        self._changed = FileChange(behaviour.responses)

    def when_changed(self) -> None:
        """Read the file again if it has changed."""
        if self._changed():
            self.now()

    def now(self) -> None:
        """Read the file again; a bad file is reported and changes nothing."""
        self._changed()  # whatever comes after this is another change
        if self._policy is None or self._behaviour.responses is None:
            return
        try:
            policy_config = self._behaviour.policy_config(again=True)
        except TrafficgenError as error:
            self._say(f"the response table was not changed: {error}")
            return
        self._policy.replace(policy_config)
        _warn(policy_config, self._say)
        self._say(f'read the response table "{self._behaviour.responses}" again')


def _warn(config: PolicyConfig, say: Say) -> None:
    for warning in config.responses.warnings:
        say(f"warning: {warning}")

"""The sink alone, in the foreground, until somebody stops it.

Takes     where to listen; who wants to hear a line a second
Gives     the number of messages taken, when SIGINT or SIGTERM ends it
"""

import asyncio
import signal
from collections.abc import Callable

import uvloop

from trafficgen.open_files import raise_open_files
from trafficgen.plan import Target
from trafficgen.sink.server import Sink

_MAX_SESSIONS = 65_536


def serve(listen: Target, *, say: Callable[[str], None]) -> int:
    """Take mail until a signal comes. Raises SetupError when the address cannot be had."""
    raise_open_files(_MAX_SESSIONS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(listen, say))


async def _serve(listen: Target, say: Callable[[str], None]) -> int:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    async with Sink(listen) as sink:
        say(f"sink listening on {sink.address}; it takes everything and relays nothing; Ctrl-C ends it")
        before = 0
        while not over.is_set():
            try:
                await asyncio.wait_for(over.wait(), 1.0)
            except TimeoutError:
                if sink.received != before:
                    say(f"{sink.received} messages, {sink.received - before}/s, {len(sink.links)} sessions open")
                    before = sink.received
        say(f"{sink.received} messages taken, {sink.octets} octets")
        return sink.received

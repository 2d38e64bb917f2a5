"""A server that answers everything so many milliseconds late; for a gate to tell from a quicker one.

    python -m tests.gate.slow_server PORT DELAY_MS [STALL_MS [STALL_AFTER_MS [QUEUE]]]

With a stall, nothing is answered for so long, 2 s after the first reply or as many ms as asked for. With a queue, every
message stays there for ever, as in one of Postfix that delivers nothing. Port 0 takes a free one. Writes the port it
listens on to stdout, and serves until its stdin closes or SIGTERM.
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast
from uuid import uuid4

from trafficgen.protocol.smtp.server import GREETING, ServerSession

STALL_AFTER_MS: Final = "2000"


class Receiver:
    """Takes everything and keeps nothing but a name for each message, where there is a queue."""

    def __init__(self, queue: Path | None) -> None:
        self._queue = queue

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        self.ended(recipients)

    def piece(self, octets: bytes) -> None: ...

    def ended(self, recipients: int) -> None:
        if self._queue is not None:
            (self._queue / "incoming" / uuid4().hex).touch()

    def dropped(self) -> None: ...


class Stall:
    """Holds back what is written between two times, and lets it go in its order."""

    def __init__(self, stall_s: float, after_s: float) -> None:
        self._stall_s = stall_s
        self._after_s = after_s
        self._from_s: float | None = None

    def wait_over(self, write: Callable[[bytes], None], octets: bytes) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        if self._from_s is None:
            self._from_s = now_s + self._after_s
        until_s = self._from_s + self._stall_s
        if self._from_s <= now_s < until_s:
            loop.call_at(until_s, write, octets)
        else:
            write(octets)


class Link(asyncio.Protocol):
    def __init__(self, delay_s: float, stall: "Stall", queue: Path | None) -> None:
        self._delay_s = delay_s
        self._stall = stall
        self._session = ServerSession(Receiver(queue))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        if reply := self._session.feed(data):
            # The same delay for all keeps replies in order.
            loop = asyncio.get_running_loop()
            loop.call_later(self._delay_s, self._stall.wait_over, self._transport.write, reply)


async def serve(port: int, delay_s: float, stall_s: float, after_s: float, queue: Path | None) -> None:
    loop = asyncio.get_running_loop()
    stall = Stall(stall_s, after_s)
    server = await loop.create_server(lambda: Link(delay_s, stall, queue), "127.0.0.1", port)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    port, *more = sys.argv[1:]
    *times_ms, directory = (*more, *("0", "0", STALL_AFTER_MS, "")[len(more) :])
    delay_s, stall_s, after_s = (float(ms) / 1000 for ms in times_ms)
    asyncio.run(serve(int(port), delay_s, stall_s, after_s, Path(directory) if directory else None))

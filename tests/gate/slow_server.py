"""A server that answers everything so many milliseconds late; for a gate to tell from a quicker one.

    python -m tests.gate.slow_server PORT DELAY_MS

Port 0 takes a free one. Writes the port it listens on to stdout, and serves until its stdin closes or SIGTERM.
"""

import asyncio
import sys
from typing import cast

from trafficgen.smtp.server import GREETING, ServerSession


class Receiver:
    """Takes everything and keeps nothing."""

    def whole(self, data: bytes, end: int, recipients: int) -> None: ...
    def piece(self, octets: bytes) -> None: ...
    def ended(self, recipients: int) -> None: ...
    def dropped(self) -> None: ...


class Link(asyncio.Protocol):
    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._session = ServerSession(Receiver())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        if reply := self._session.feed(data):
            # The same delay for all keeps replies in order.
            asyncio.get_running_loop().call_later(self._delay_s, self._transport.write, reply)


async def serve(port: int, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Link(delay_s), "127.0.0.1", port)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))

"""A bare uvloop request/reply loop with the byte counts of a 5 KB message: the ceiling of this machine.

One client and one server process, 20 connections, a request in three buffers, one reply, nothing else: no message is
built, parsed, scanned or recorded.
"""

import asyncio
import multiprocessing
import time
from multiprocessing.connection import Connection
from typing import cast

import uvloop

_REQUEST = (b"x" * 400, b"x" * 4_950, b"x" * 160)
_REQUEST_OCTETS = sum(map(len, _REQUEST))
_REPLY = b"y" * 88
_CONNECTIONS = 20


class _Server(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._octets = 0

    def data_received(self, data: bytes) -> None:
        self._octets += len(data)
        while self._octets >= _REQUEST_OCTETS:
            self._octets -= _REQUEST_OCTETS
            self._transport.write(_REPLY)


class _Client(asyncio.Protocol):
    left = 0

    def __init__(self, done: "asyncio.Future[None]") -> None:
        self._done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.writelines(_REQUEST)

    def data_received(self, data: bytes) -> None:
        _Client.left -= 1
        if _Client.left > 0:
            self._transport.writelines(_REQUEST)
        elif not self._done.done():
            self._done.set_result(None)


def _serve(pipe: Connection) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())


async def _ask(port: int, count: int) -> float:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    _Client.left = count
    began = time.perf_counter()
    for _ in range(_CONNECTIONS):
        await loop.create_connection(lambda: _Client(done), "127.0.0.1", port)
    await done
    return count / (time.perf_counter() - began)


def bare_loop(count: int) -> float:
    """Requests per second of this machine."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        return uvloop.run(_ask(ours.recv(), count))
    finally:
        process.kill()
        process.join()


if __name__ == "__main__":
    print(f"{bare_loop(300_000):,.0f} requests/s")

"""Ceilings of this machine, to hold floors against: what is left when nothing is built, parsed, proved or recorded.

`bare_loop`    a uvloop request/reply loop with the byte counts of a message, one client and one server process
`bare_sender`  a client of epoll that sends the same ready octets again and again to a real sink

No sender can do less for a message than the second one does, so no sender gets more out of that sink.
"""

import asyncio
import multiprocessing
import select
import socket
import time
from multiprocessing.connection import Connection
from typing import cast

import uvloop

_HEAD, _TAIL = b"x" * 400, b"x" * 160
_REPLY = b"y" * 88
_CONNECTIONS = 20


class _Server(asyncio.Protocol):
    def __init__(self, request: int) -> None:
        self._request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._octets = 0

    def data_received(self, data: bytes) -> None:
        self._octets += len(data)
        while self._octets >= self._request:
            self._octets -= self._request
            self._transport.write(_REPLY)


class _Client(asyncio.Protocol):
    left = 0

    def __init__(self, request: tuple[bytes, ...], done: "asyncio.Future[None]") -> None:
        self._request = request
        self._done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.writelines(self._request)

    def data_received(self, data: bytes) -> None:
        _Client.left -= 1
        if _Client.left > 0:
            self._transport.writelines(self._request)
        elif not self._done.done():
            self._done.set_result(None)


def _serve(pipe: Connection, request: int) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: _Server(request), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())


async def _ask(port: int, count: int, request: tuple[bytes, ...]) -> float:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    _Client.left = count
    began = time.perf_counter()
    for _ in range(_CONNECTIONS):
        await loop.create_connection(lambda: _Client(request, done), "127.0.0.1", port)
    await done
    return count / (time.perf_counter() - began)


def bare_loop(count: int, octets: int) -> float:
    """Requests per second of this machine, each of a body's `octets` and of what stands around it."""
    ours, theirs = multiprocessing.Pipe()
    request = _HEAD, b"x" * octets, _TAIL
    arguments = theirs, sum(map(len, request))
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=arguments, daemon=True)
    process.start()
    try:
        return uvloop.run(_ask(ours.recv(), count, request))
    finally:
        process.kill()
        process.join()


# -- a sender that does nothing but send ------------------------------------------------------------------

_ENVELOPE = b"MAIL FROM:<a@bench.test>\r\nRCPT TO:<b@bench.test>\r\nDATA\r\n"
_LINE = b"x" * 76 + b"\r\n"


class _Sender:
    """One connection that looks at nothing but whether it may go on; its first 354 answers no message."""

    def __init__(self, port: int, octets: int, *, kept: bool) -> None:
        message = b"Subject: bare\r\n\r\n" + _LINE * (octets // len(_LINE)) + b".\r\n"
        self._message = memoryview(message + (_ENVELOPE if kept else b"QUIT\r\n"))
        self._opening = [_ENVELOPE, b"EHLO bench.test\r\n"]
        self._unsent = memoryview(b"")
        self.peer = socket.create_connection(("127.0.0.1", port))
        self.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer.setblocking(False)

    def go_on(self) -> bytes:
        """Send what comes next; returns what was said."""
        if self._unsent:
            self._send(self._unsent)
            return b""
        said = self.peer.recv(65_536)
        if self._opening:
            self._send(memoryview(self._opening.pop()))
        elif b"354" in said:
            self._send(self._message)
        return said

    def _send(self, octets: memoryview) -> None:
        try:
            self._unsent = octets[self.peer.send(octets) :]
        except BlockingIOError:
            self._unsent = octets

    @property
    def events(self) -> int:
        """What it waits for."""
        return select.EPOLLOUT if self._unsent else select.EPOLLIN


def bare_sender(port: int, count: int, octets: int, *, kept: bool = True) -> float:
    """Messages per second to the sink at this port; `kept` or not: a session for every message."""
    poll = select.epoll()
    links: dict[int, tuple[_Sender, int]] = {}

    def open_one() -> None:
        link = _Sender(port, octets, kept=kept)
        links[link.peer.fileno()] = (link, select.EPOLLIN)
        poll.register(link.peer.fileno(), select.EPOLLIN)

    began = time.perf_counter()
    for _ in range(_CONNECTIONS):
        open_one()
    taken = -_CONNECTIONS if kept else 0
    while taken < count:
        for fd, _ in poll.poll():
            link, waiting_for = links[fd]
            said = link.go_on()
            if kept:
                taken += b"354" in said
            elif b"221" in said:
                taken += 1
                del links[fd]
                link.peer.close()
                open_one()
                continue
            if link.events != waiting_for:
                links[fd] = (link, link.events)
                poll.modify(fd, link.events)
    elapsed = time.perf_counter() - began
    for link, _ in links.values():
        link.peer.close()
    poll.close()
    return count / elapsed


if __name__ == "__main__":
    print(f"{bare_loop(300_000, 5_000):,.0f} requests/s of 5 KB")

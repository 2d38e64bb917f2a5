"""The HTTP server that the API, the live page and the metrics share, against clients that mean no good."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trafficgen.errors import SetupError
from trafficgen.host import http_server
from trafficgen.host.http_server import HttpResponse, HttpServer, RefusedRequest, Request, bind
from trafficgen.plan import TcpTarget

ANY = TcpTarget("127.0.0.1", 0)
MAX_BODY = 1000


class Visit:
    """A running server, and what its event loop heard of errors."""

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.port = server.address.port
        self.errors: list[str] = []

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, octets: bytes) -> bytes:
        """All that comes back until the server hangs up or the client has said all and reads on."""
        reader, writer = await self.open()
        try:
            writer.write(octets)
            writer.write_eof()
            return await reader.read()
        except OSError:
            return b""
        finally:
            writer.close()

    async def status(self, octets: bytes) -> int:
        answer = await self.say(octets)
        return int(answer.split()[1])


async def echo(request: Request) -> HttpResponse:
    if request.path == "/refused":
        raise RefusedRequest(HTTPStatus.CONFLICT, "not now", **{"Retry-After": "7"})
    if request.path == "/broken":
        raise KeyError("helo")
    body = json.dumps({"method": request.method, "path": request.path, "octets": len(request.body)})
    return HttpResponse(body.encode())


def visit(talk: Callable[[Visit], Awaitable[None]], answer: http_server.Answer = echo) -> None:
    """Run `talk` beside a server that answers so; nothing may reach the loop's handler unless `talk` took it out."""

    async def both() -> None:
        server = HttpServer(bind(ANY, "--api"), "sink.test", answer, max_body_octets=MAX_BODY, max_bodies_octets=1500)
        async with server:
            guest = Visit(server)
            asyncio.get_running_loop().set_exception_handler(
                lambda _loop, context: guest.errors.append(repr(context.get("exception") or context["message"]))
            )
            async with asyncio.timeout(60):
                await talk(guest)
            assert guest.errors == []

    asyncio.run(both())


def head(*lines: str, method: str = "GET", path: str = "/", host: str | None = "localhost") -> bytes:
    hosts = [] if host is None else [f"Host: {host}"]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *hosts, *lines, "", ""]).encode("latin-1")


def test_requests_of_one_connection_are_answered_one_after_the_other() -> None:
    async def talk(guest: Visit) -> None:
        post = head("Content-Length: 3", method="POST", path="/b") + b"abc"
        answer = await guest.say(head(path="/a?x=1") + post + head("Connection: close", path="/c"))
        bodies = [json.loads(part[part.index(b"{") :]) for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
        assert [(body["method"], body["path"], body["octets"]) for body in bodies] == [
            ("GET", "/a", 0),
            ("POST", "/b", 3),
            ("GET", "/c", 0),
        ]

    visit(talk)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        # who asks
        (head(host="127.0.0.1"), 200),
        (head(host="localhost:8026"), 200),
        (head(host="[::1]:80"), 200),
        (head(host="sink.test"), 200),
        (head(host="evil.example"), 421),
        (head(host="127.0.0.1.evil.example"), 421),
        (head(host="10.0.0.7"), 421),
        (head(host=""), 400),
        (head(host="a b"), 400),
        (head(host="evil.example@127.0.0.1"), 400),
        (head(host=None), 400),
        (head("Host: localhost"), 400),
        (b"GET / HTTP/1.0\r\n\r\n", 400),
        (head(path="http://localhost/"), 400),
        (head("Origin: http://evil.example"), 403),
        (head("Origin:"), 403),
        (head("Origin: null"), 403),
        (head("Origin: http://localhost"), 200),
        (head("Origin: https://localhost"), 403),
        (head("Sec-Fetch-Site: cross-site"), 403),
        (head("Sec-Fetch-Site: same-site"), 403),
        (head("Sec-Fetch-Site:"), 403),
        (head("Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"), 403),
        (head("Sec-Fetch-Site: same-origin"), 200),
        (head("Sec-Fetch-Site: none"), 200),
        # how much
        (head("Content-Length: \xb2", method="POST"), 400),
        (head("Content-Length: +3", method="POST"), 400),
        (head("Content-Length: -1", method="POST"), 400),
        (head("Content-Length: 0x3", method="POST"), 400),
        (head("Content-Length: 3, 4", method="POST"), 400),
        (head("Content-Length: 3", "Content-Length: 4", method="POST"), 400),
        (head(f"Content-Length: {'9' * 5000}", method="POST"), 400),
        (head("Content-Length: 1001", method="POST"), 413),
        (head("Content-Length: 99999999999", method="POST"), 413),
        (head("Transfer-Encoding: chunked", method="POST") + b"0\r\n\r\n", 411),
        (head("Transfer-Encoding: chunked", "Content-Length: 3", method="POST") + b"0\r\n\r\n", 400),
        (head("Transfer-Encoding: gzip, chunked", method="POST"), 501),
        (head("X: " + "x" * 70_000), 431),
        # what it is
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"EHLO client.test\r\n\r\n", 400),
        (head(path="/refused"), 409),
    ],
)
def test_a_request_is_let_in_or_refused(request_: bytes, status: int) -> None:
    async def talk(guest: Visit) -> None:
        assert await guest.status(request_) == status

    visit(talk)


def test_an_error_of_ours_is_a_500_and_reaches_the_handler() -> None:
    async def talk(guest: Visit) -> None:
        assert b"500 Internal" in await guest.say(head(path="/broken"))
        assert guest.errors == ["KeyError('helo')"]
        guest.errors.clear()

    visit(talk)


def test_what_is_not_wanted_is_answered_before_its_body_and_read_to_its_end() -> None:
    """A client that sends all of its body before it reads sees the answer, and no reset."""

    async def talk(guest: Visit) -> None:
        reader, writer = await guest.open()
        writer.write(head("Content-Length: 5000000", method="POST"))
        for _ in range(50):
            writer.write(b"x" * 100_000)
            await writer.drain()
        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")
        writer.close()

    visit(talk)


def test_a_client_that_asks_first_is_told_to_go_on_or_is_spared_the_body() -> None:
    async def talk(guest: Visit) -> None:
        expect = "Expect: 100-continue"
        reader, writer = await guest.open()
        writer.write(head("Content-Length: 3", expect, method="POST"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 \r\n\r\n"
        writer.write(b"abc")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        assert await guest.status(head("Content-Length: 3000", expect, method="POST")) == 413

    visit(talk)


def test_all_bodies_together_are_bounded() -> None:
    async def talk(guest: Visit) -> None:
        reader, writer = await guest.open()
        writer.write(head("Content-Length: 900", "Expect: 100-continue", method="POST"))
        await reader.readuntil(b"\r\n\r\n")  # it is in
        answer = await guest.say(head("Content-Length: 900", method="POST") + b"x" * 900)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in answer
        assert await guest.status(head("Content-Length: 600", method="POST") + b"x" * 600) == 200
        writer.write(b"x" * 900)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        assert await guest.status(head("Content-Length: 900", method="POST") + b"x" * 900) == 200

    visit(talk)


def test_a_client_that_leaves_gives_back_what_its_body_took() -> None:
    async def talk(guest: Visit) -> None:
        for _ in range(5):
            reader, writer = await guest.open()
            writer.write(head("Content-Length: 900", "Expect: 100-continue", method="POST"))
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"half")
            writer.write_eof()
            assert await reader.read() != b"never"  # until it has hung up
            writer.close()
        assert await guest.status(head("Content-Length: 1000", method="POST") + b"x" * 1000) == 200

    visit(talk)


@pytest.mark.parametrize("begun", [b"", b"GET / HT", head("Content-Length: 9", method="POST") + b"slow"])
def test_idle_and_slow_clients_are_hung_up_on(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "HEAD_S", 0.05)
    monkeypatch.setattr(http_server, "BODY_S", 0.05)

    async def talk(guest: Visit) -> None:
        reader, writer = await guest.open()
        writer.write(begun)
        assert await reader.read() == b""
        writer.close()

    visit(talk)


def test_a_thousand_idle_clients_keep_nobody_out() -> None:
    async def talk(guest: Visit) -> None:
        idle = [await guest.open() for _ in range(1000)]
        assert await guest.status(head()) == 200
        assert await idle[0][0].read() == b""  # the longest idle one made room
        assert len(asyncio.all_tasks()) <= http_server.MAX_CONNECTIONS + 5
        for _, writer in idle:
            writer.close()

    visit(talk)


def test_when_all_are_being_answered_the_next_one_is_hung_up_on() -> None:
    go_on, asked = asyncio.Event(), asyncio.Semaphore(0)

    async def slow(_request: Request) -> HttpResponse:
        asked.release()
        await go_on.wait()
        return HttpResponse(b"{}")

    async def talk(guest: Visit) -> None:
        busy = [await guest.open() for _ in range(http_server.MAX_CONNECTIONS)]
        for _, writer in busy:
            writer.write(head("Connection: close"))
        for _ in busy:
            await asked.acquire()
        assert await guest.say(head()) == b""
        go_on.set()
        for reader, writer in busy:
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            writer.close()

    visit(talk, slow)


def test_an_answer_that_does_not_come_is_a_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "ANSWER_S", 0.05)

    async def never(_request: Request) -> HttpResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async def talk(guest: Visit) -> None:
        assert await guest.status(head()) == 503

    visit(talk, never)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=60), st.just(head()), st.just(b"\r\n"), st.just(b"Host: ")), max_size=6))
def test_no_octets_break_it(pieces: list[bytes]) -> None:
    async def talk(guest: Visit) -> None:
        await guest.say(b"".join(pieces))
        assert await guest.status(head()) == 200

    visit(talk)


def test_a_port_that_is_taken_is_an_error_that_names_the_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = rf"cannot listen on 127\.0\.0\.1:{port}: address already in use \(--live-port\)"
        with pytest.raises(SetupError, match=text):
            bind(TcpTarget("127.0.0.1", port), "--live-port")


@pytest.mark.parametrize(("host", "status"), [("192.0.2.7:8026", 200), ("sink.test", 200), ("evil.example", 421)])
def test_on_every_address_a_name_that_is_not_ours_is_still_refused(host: str, status: int) -> None:
    async def both() -> None:
        async with HttpServer(bind(TcpTarget("0.0.0.0", 0), "--api"), "sink.test", echo) as server:
            assert await Visit(server).status(head(host=host)) == status

    asyncio.run(both())

"""A small HTTP/1.1 server for loopback that strangers, slow clients and web pages cannot harm.

Takes     an address; a coroutine that answers a request
Gives     a server in the running event loop; `answer` gets requests whose body is whole and within its bounds
Limits    `MAX_CONNECTIONS`, of which the longest idle one makes room for the next; times for a head, a body and an
          answer; octets of one body, and of all bodies that are there at a time (503 with Retry-After beyond)
Refuses   a Host that is not ours, so that no page can read us by rebinding its name to our address (421); requests of
          other origins, also when Origin or Sec-Fetch-Site is empty (403); a body of unknown length, and one whose
          length is given twice over (400, 411)
Fails     SetupError when the address cannot be had; an error of `answer` is a 500, and goes to the loop's handler
Not here  octets to requests (h11), what is served (sink.api, observers)
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Self

import h11

from trafficgen.host.listening import CANNOT_LISTEN, address_of, cannot_listen
from trafficgen.plan import TcpTarget

MAX_CONNECTIONS: Final = 64
HEAD_S: Final = 15.0
"""For a request's head, from the moment that the connection was opened or had its last answer."""

BODY_S: Final = 30.0
ANSWER_S: Final = 30.0
DISCARD_S: Final = 5.0
MAX_DISCARDED_OCTETS: Final = 64 << 20
_RETRY_S: Final = 1
_PIECE: Final = 1 << 17
_HEAD_PIECE: Final = 1 << 14
"""h11 bounds a head that is not whole by so much; one that comes whole in one piece would pass."""

_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/@\[\]]+)(?::[0-9]{1,5})?", re.IGNORECASE)
_OUR_PAGES: Final = ("same-origin", "none")
"""Sec-Fetch-Site of a page that we served, and of an address that a person typed (W3C Fetch Metadata)."""


@dataclass(frozen=True, slots=True)
class Request:
    """A path begins with a slash; what follows a question mark is cut off."""

    method: str
    path: str
    body: bytearray


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A body and what it is."""

    body: bytes
    kind: str = "application/json"
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusedRequest(Exception):  # noqa: N818  (it is an answer)
    """A request that is not answered as asked. `headers` go with the answer."""

    def __init__(self, status: HTTPStatus, words: str, **headers: str) -> None:
        super().__init__(words)
        self.status = status
        self.headers = headers


Answer = Callable[[Request], Awaitable[HttpResponse]]
Render = Callable[[str], tuple[bytes, str]]


def bind(listen: TcpTarget, option: str) -> socket.socket:
    """A listening socket; port 0 takes a free one. SetupError names `option`."""
    try:
        family, address = address_of(listen)
        return socket.create_server(address[:2], family=family, backlog=MAX_CONNECTIONS)
    except CANNOT_LISTEN as error:
        raise cannot_listen(listen, error, option=option) from error


class HttpServer:
    """Use as an async context manager. `listening` is of `bind`; `host` the host as the user wrote it.

    `render` makes the body of a refusal, and says what it is. `max_body_octets`: of one request. `max_bodies_octets`:
    of all that are there at a time.
    """

    def __init__(
        self,
        listening: socket.socket,
        host: str,
        answer: Answer,
        *,
        render: Render = lambda words: (words.encode("utf-8") + b"\n", "text/plain; charset=utf-8"),
        max_body_octets: int = 0,
        max_bodies_octets: int = 0,
    ) -> None:
        self._listening = listening
        self._host = host.lower()
        self._answer = answer
        self._render = render
        self._max_body_octets = max_body_octets
        self._max_bodies_octets = max_bodies_octets
        self._bodies_octets = 0
        self._connections: dict[asyncio.Task[None], _Connection] = {}
        self.address = TcpTarget(*listening.getsockname()[:2])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, sock=self._listening, limit=_PIECE)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*list(self._connections), return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS and not self._make_room():
            writer.close()  # everybody here is being answered
            return
        connection = _Connection(self, reader, writer)
        task = asyncio.get_running_loop().create_task(connection.converse())
        self._connections[task] = connection

        def ended(task: asyncio.Task[None]) -> None:  # here, since a task that is cancelled at once never runs
            self._connections.pop(task, None)
            writer.close()

        task.add_done_callback(ended)

    def _make_room(self) -> bool:
        """End the connection that has been idle longest."""
        for task, connection in self._connections.items():  # in the order they came
            if connection.idle:
                connection.idle = False
                task.cancel()
                self._connections.pop(task)
                return True
        return False

    def admit(self, request: h11.Request) -> int:
        """The length of its body, if it may come in. Raises `RefusedRequest`."""
        self._check_origin(request)
        named = [name for name, _ in request.headers]
        if b"transfer-encoding" in named:
            if b"content-length" in named:
                raise RefusedRequest(HTTPStatus.BAD_REQUEST, "expected one of Content-Length and Transfer-Encoding")
            raise RefusedRequest(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
        length = int(_values(request, b"content-length")[0]) if b"content-length" in named else 0
        if length > self._max_body_octets:
            text = f"expected a body of {self._max_body_octets} octets at most"
            raise RefusedRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
        if self._bodies_octets + length > max(self._max_bodies_octets, self._max_body_octets):
            text = "other requests have bodies of so many octets now: ask again"
            raise RefusedRequest(HTTPStatus.SERVICE_UNAVAILABLE, text, **{"Retry-After": str(_RETRY_S)})
        return length

    def _check_origin(self, request: h11.Request) -> None:
        if not request.target.startswith(b"/"):
            raise RefusedRequest(HTTPStatus.BAD_REQUEST, "expected a path that begins with a slash")
        hosts = _values(request, b"host")
        if len(hosts) != 1 or not (found := _HOST.fullmatch(hosts[0])):
            raise RefusedRequest(HTTPStatus.BAD_REQUEST, "expected one Host")
        if not self._is_ours(found[1].lower()):
            text = f"expected a Host of {self.address.host} or localhost; another name may be a web page's trick"
            raise RefusedRequest(HTTPStatus.MISDIRECTED_REQUEST, text)
        origins, sites = _values(request, b"origin"), _values(request, b"sec-fetch-site")
        if any(origin.lower() != f"http://{hosts[0].lower()}" for origin in origins) or not set(sites) <= {*_OUR_PAGES}:
            raise RefusedRequest(HTTPStatus.FORBIDDEN, "cross-origin requests are refused")

    def _is_ours(self, host: str) -> bool:
        """A name that a page rebinds to our address is in its Host; an address in digits cannot be rebound."""
        if host in ("localhost", self._host):
            return True
        try:
            address = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            return False
        return address.is_loopback or not ipaddress.ip_address(self.address.host.partition("%")[0]).is_loopback

    async def respond(self, head: h11.Request, body: bytearray) -> HttpResponse:
        """What `answer` says, or what stands for its error."""
        path = head.target.partition(b"?")[0].decode("ascii", "replace")
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._answer(Request(head.method.decode("ascii"), path, body))
        except RefusedRequest as refused:
            return self.refusal(refused)
        except TimeoutError:
            return self.refusal(RefusedRequest(HTTPStatus.SERVICE_UNAVAILABLE, "too busy to answer"))
        except Exception as error:
            context = {"message": f"no answer to {path[:100]!r}", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            return self.refusal(
                RefusedRequest(HTTPStatus.INTERNAL_SERVER_ERROR, "the answer failed: this is a bug of ours")
            )

    def refusal(self, refused: RefusedRequest) -> HttpResponse:
        """An answer that says why not."""
        body, kind = self._render(str(refused))
        return HttpResponse(body, kind, refused.status, refused.headers)

    def hold(self, octets: int) -> None:
        """A body of so many octets is there from now on; less than 0: no more."""
        self._bodies_octets += octets


class _Connection:
    """One client's requests, one after the other."""

    def __init__(self, server: HttpServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.idle = True
        self._server = server
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)

    async def converse(self) -> None:
        """Until the client leaves, is refused, or its time is up: none of which is news."""
        with suppress(OSError, TimeoutError, EOFError):
            while await self._exchange():
                self._http.start_next_cycle()

    async def _exchange(self) -> bool:
        """One request and its answer; whether there may be another."""
        self.idle = True
        try:
            async with asyncio.timeout(HEAD_S):
                head = await self._event(_HEAD_PIECE)
            self.idle = False
            if not isinstance(head, h11.Request):
                return False
            length = self._server.admit(head)
        except RefusedRequest as refused:
            await self._send(self._server.refusal(refused), close=True)
            await self._discard()
            return False
        except h11.RemoteProtocolError as error:
            await self._send_error(error)
            return False
        self._server.hold(length)
        try:
            return await self._answer(head)
        finally:
            self._server.hold(-length)

    async def _answer(self, head: h11.Request) -> bool:
        try:
            async with asyncio.timeout(BODY_S):
                body = await self._body()
        except h11.RemoteProtocolError as error:
            await self._send_error(error)
            return False
        response = await self._server.respond(head, body)
        close = response.status >= HTTPStatus.BAD_REQUEST
        async with asyncio.timeout(BODY_S):
            await self._send(response, close=close, with_body=head.method != b"HEAD")
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _body(self) -> bytearray:
        if self._http.they_are_waiting_for_100_continue:
            await self._write(h11.InformationalResponse(status_code=100, headers=[]))
        body = bytearray()
        while isinstance(event := await self._event(_PIECE), h11.Data):
            body += event.data
        if not isinstance(event, h11.EndOfMessage):
            raise EOFError  # noqa: TRY004  (the client left)
        return body

    async def _event(self, octets: int) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(octets))
        return event

    async def _send(self, response: HttpResponse, *, close: bool, with_body: bool = True) -> None:
        headers = {
            "Content-Type": response.kind,
            "Content-Length": str(len(response.body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Content-Security-Policy": "frame-ancestors 'none'",
            **response.headers,
            **({"Connection": "close"} if close else {}),
        }
        head = h11.Response(
            status_code=response.status, headers=list(headers.items()), reason=response.status.phrase.encode("ascii")
        )
        await self._write(head)
        for begin in range(0, len(response.body) if with_body else 0, _PIECE):
            await self._write(h11.Data(data=response.body[begin : begin + _PIECE]))
        await self._write(h11.EndOfMessage())

    async def _send_error(self, error: h11.RemoteProtocolError) -> None:
        self.idle = False
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        refused = RefusedRequest(HTTPStatus(error.error_status_hint), str(error)[:200])
        await self._send(self._server.refusal(refused), close=True)
        await self._discard()

    async def _write(self, event: h11.Event) -> None:
        if octets := self._http.send(event):
            self._writer.write(octets)
            await self._writer.drain()

    async def _discard(self) -> None:
        """Read on for a while what nobody wants: hung up on while it sends, a client would not see the answer."""
        if self._writer.can_write_eof():
            self._writer.write_eof()
        room = MAX_DISCARDED_OCTETS
        async with asyncio.timeout(BODY_S):
            while room > 0 and (piece := await asyncio.wait_for(self._reader.read(_PIECE), DISCARD_S)):
                room -= len(piece)


def _values(request: h11.Request, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in request.headers if key == name]

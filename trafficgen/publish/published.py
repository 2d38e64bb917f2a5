"""A few documents of a run on loopback, served by a thread of their own while it goes on.

Takes     a port and the option that named it; documents, put in place of the ones before whenever there are new ones
Gives     them over HTTP (`http_server`)
Fails     SetupError when the port cannot be had
"""

import asyncio
import threading
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

from trafficgen.host.http_server import HttpResponse, HttpServer, RefusedRequest, Request, bind
from trafficgen.plan import TcpTarget

_HOST: Final = "127.0.0.1"


class Published:
    """Use as a context manager. Port 0 takes a free one; `port` says which."""

    def __init__(self, port: int, option: str) -> None:
        self._documents: dict[str, HttpResponse] = {}
        self._listening = bind(TcpTarget(_HOST, port), option)
        self.port: int = self._listening.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=option, daemon=True)

    def put(self, path: str, body: bytes, kind: str) -> None:
        """What is at this path from now on."""
        self._documents[path] = HttpResponse(body, kind)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        async with HttpServer(self._listening, _HOST, self._answer):
            await self._over.wait()

    async def _answer(self, request: Request) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            raise RefusedRequest(HTTPStatus.METHOD_NOT_ALLOWED, "expected GET", Allow="GET, HEAD")
        found = self._documents.get(request.path)
        if found is None:
            raise RefusedRequest(HTTPStatus.NOT_FOUND, "nothing is here")
        return found

"""KumoMTA's injection as an ASGI application, served by uvicorn: HTTP and TLS of somebody else's making."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import uvicorn

from tests.peers.certificates import Certificate

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

PATIENCE_S = 60.0


@dataclass
class AsgiInjector:
    """`requests`: bodies in the order in which they came. `refused`: local parts that are not taken."""

    refused: frozenset[str] = frozenset()
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    schemes: set[str] = field(default_factory=set)
    ports: set[int] = field(default_factory=set)
    """Of clients: one for each connection."""

    async def __call__(self, scope: "Scope", receive: "ASGIReceiveCallable", send: "ASGISendCallable") -> None:
        assert scope["type"] == "http"
        body, more = b"", True
        while more:
            event = await receive()
            if event["type"] != "http.request":
                return
            body += event["body"]
            more = event["more_body"]
        status, answer = self._answer(scope["method"], scope["path"], body)
        self.schemes.add(scope["scheme"])
        assert scope["client"] is not None
        self.ports.add(scope["client"][1])
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        octets = json.dumps(answer).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(octets))]
        await send({"type": "http.response.start", "status": status, "headers": headers, "trailers": False})
        await send({"type": "http.response.body", "body": octets, "more_body": False})

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if (method, path) != ("POST", "/api/inject/v1"):
            return 404, {"error": f"{method} {path}"}
        request = json.loads(body)
        self.requests.append(request)
        names = [recipient["email"] for recipient in request["recipients"]]
        failed = [name for name in names if name.partition("@")[0] in self.refused]
        return 200, {
            "success_count": len(names) - len(failed), "fail_count": len(failed), "failed_recipients": failed,
            "errors": [f"{name}: 550 no such user" for name in failed],
        }  # fmt: skip


@contextmanager
def asgi_injector(
    certificate: Certificate | None = None, refused: frozenset[str] = frozenset()
) -> Iterator[tuple[int, AsgiInjector]]:
    """The server on a free loopback port, with TLS where a certificate is given."""
    injector = AsgiInjector(refused)
    files = {"ssl_certfile": certificate.certificate, "ssl_keyfile": certificate.key} if certificate else {}
    config = uvicorn.Config(injector, http="h11", ws="none", lifespan="off", log_config=None, loop="asyncio", **files)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], injector
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        listener.close()

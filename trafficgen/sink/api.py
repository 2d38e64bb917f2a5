"""The sink's HTTP API on loopback: what it has, how it misbehaves, and a place to inject into.

    GET  /api/v1/totals             what came so far
    GET  /api/v1/runs/ID            how much of one run has arrived
    GET  /api/v1/runs/ID/arrivals   all of it, message by message, in numpy's format
    GET  /api/v1/chaos              the faults at work; PUT changes them. Mailpit's shape, and our list beside it
    POST /api/inject/v1             KumoMTA's injection: every recipient is counted, the message is discarded

Takes     an address to listen on; a `Sink`
Gives     answers in JSON, made in the sink's own event loop: nothing is read while it changes
Limits    `MAX_BODY_OCTETS` a request; requests that come from a web page (Origin) are refused
Fails     SetupError when the address cannot be had; a bad request is answered 4xx
Not here  what the faults do (policy)
"""

import asyncio
import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple

import numpy as np

from trafficgen.boot import boot_id
from trafficgen.errors import PlanError, SetupError
from trafficgen.plan import TcpTarget
from trafficgen.sink.policy import faults
from trafficgen.sink.policy.faults import Fault, Kind
from trafficgen.sink.server import Sink
from trafficgen.smtp.judging import Stage

MAX_BODY_OCTETS: Final = 64 * 1024 * 1024
_ANSWER_S: Final = 30.0
_TRIGGERS: Final = {
    "Sender": (Stage.MAIL, 451), "Recipient": (Stage.RCPT, 451), "Authentication": (Stage.AUTH, 535),
}  # fmt: skip
"""Mailpit's names, our stages, Mailpit's codes when none is given."""


class Refused(Exception):  # noqa: N818  (it is an answer)
    """A request that cannot be answered as asked."""

    def __init__(self, status: HTTPStatus, words: str) -> None:
        super().__init__(words)
        self.status = status


class Answer(NamedTuple):
    """A body and what it is."""

    body: bytes
    kind: str = "application/json"


class Api:
    """The answers. Every method runs in the sink's event loop."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._chaos = {name: {"ErrorCode": code, "Probability": 0} for name, (_, code) in _TRIGGERS.items()}
        self._faults = sink.policy.terms.faults if sink.policy is not None else ()
        self.injected = 0

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Raises `Refused`."""
        match method, path.partition("?")[0].strip("/").split("/"):
            case "GET", ["api", "v1", "totals"]:
                return _json(self._totals())
            case "GET", ["api", "v1", "runs", run_id]:
                return _json(self._run(run_id))
            case "GET", ["api", "v1", "runs", run_id, "arrivals"]:
                return self._arrivals(run_id)
            case "GET", ["api", "v1", "chaos"]:
                return _json(self._shown_chaos())
            case "PUT", ["api", "v1", "chaos"]:
                return _json(self._set_chaos(_object(body)))
            case "POST", ["api", "inject", "v1"]:
                return _json(self._inject(_object(body)))
        raise Refused(HTTPStatus.NOT_FOUND, f"nothing is at {method} {path[:100]}")

    def _totals(self) -> dict[str, Any]:
        sink = self._sink
        return {
            "messages": sink.received,
            "octets": sink.octets,
            "unmarked": sink.ledger.unmarked if sink.ledger else None,
            "smuggled": sink.smuggling,
            "injected": self.injected,
            "sessions_open": len(sink.links),
            "sessions_opened": sink.opened,
            "returns": self._returns(),
            "runs": {run: self._run(run) for run in (sink.ledger.runs if sink.ledger else [])},
        }

    def _returns(self) -> dict[str, int] | None:
        returns = self._sink.returns
        if returns is None:
            return None
        made = {"bounces": returns.bounces, "complaints": returns.complaints, "waiting": returns.postman.waiting}
        return made | asdict(returns.postman.tally)

    def _run(self, run_id: str) -> dict[str, int | str]:
        if self._sink.ledger is None:
            raise Refused(HTTPStatus.CONFLICT, "this sink keeps no ledger")
        arrivals = self._sink.ledger.arrivals(run_id)
        return {
            "messages": arrivals.messages,
            "recipients": int(arrivals.counts.sum()),
            "damaged": len(arrivals.damaged),
            "unanswered": sum(arrivals.unanswered.values()),
            "boot_id": boot_id(),
        }

    def _arrivals(self, run_id: str) -> Answer:
        if self._sink.ledger is None:
            raise Refused(HTTPStatus.CONFLICT, "this sink keeps no ledger")
        file = io.BytesIO()
        columns = self._sink.ledger.arrivals(run_id).columns()
        np.savez(file, **columns)  # type: ignore[arg-type]  # no column has the name of an option
        return Answer(file.getvalue(), "application/octet-stream")

    def _shown_chaos(self) -> dict[str, Any]:
        return self._chaos | {"Faults": [str(fault) for fault in self._faults]}

    def _set_chaos(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if self._sink.policy is None:
            raise Refused(HTTPStatus.CONFLICT, "this sink was started without faults; start it with --api")
        table: list[Fault] = []
        chaos = {}
        for name, (stage, usual) in _TRIGGERS.items():
            trigger = wanted.get(name) or {}
            if not isinstance(trigger, dict):
                raise Refused(HTTPStatus.BAD_REQUEST, f"expected {name} to be an object")
            code, percent = trigger.get("ErrorCode") or usual, trigger.get("Probability") or 0
            if not (type(code) is int and 400 <= code <= 599 and type(percent) is int and 0 <= percent <= 100):
                words = f"expected {name} with an ErrorCode from 400 to 599 and a Probability from 0 to 100"
                raise Refused(HTTPStatus.BAD_REQUEST, words)
            chaos[name] = {"ErrorCode": code, "Probability": percent}
            table.append(Fault(stage, Kind.REJECT, percent / 100, code=code))
        listed = self._merged(wanted.get("Faults"))
        self._sink.policy.set_faults((*table, *listed))
        self._chaos, self._faults = chaos, listed
        return self._shown_chaos()

    def _merged(self, lines: object) -> tuple[Fault, ...]:
        """The faults at work with these put in: at the stages they name, they are all there is."""
        if lines is None:
            return self._faults
        if not isinstance(lines, list):
            raise Refused(HTTPStatus.BAD_REQUEST, "expected Faults to be a list")
        try:
            given = tuple(faults.read(str(line)) for line in lines)
        except PlanError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error
        stages = {fault.stage for fault in given}
        return (*(fault for fault in self._faults if given and fault.stage not in stages), *given)

    def _inject(self, message: dict[str, Any]) -> dict[str, Any]:
        recipients = message.get("recipients")
        if not isinstance(recipients, list) or "content" not in message:
            raise Refused(HTTPStatus.BAD_REQUEST, "expected content and recipients")
        self.injected += len(recipients)
        return {"success_count": len(recipients), "fail_count": 0, "failed_recipients": [], "errors": []}


@contextmanager
def serving(api: Api, listen: TcpTarget, loop: asyncio.AbstractEventLoop) -> Iterator[TcpTarget]:
    """Answer requests in threads of their own until the block ends; gives the address that was bound."""

    class Handler(_Handler):
        ask = staticmethod(_asker(api, loop))

    try:
        server = ThreadingHTTPServer((listen.host, listen.port), Handler)
    except OSError as error:
        raise SetupError(f"cannot listen on {listen} for the API: {error.strerror or error}") from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="api", daemon=True)
    thread.start()
    try:
        yield TcpTarget(str(server.server_address[0]), server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


_Ask = Callable[[str, str, bytes], Answer]


def _asker(api: Api, loop: asyncio.AbstractEventLoop) -> _Ask:
    def ask(method: str, path: str, body: bytes) -> Answer:
        async def answer() -> Answer:
            return api.answer(method, path, body)

        return asyncio.run_coroutine_threadsafe(answer(), loop).result(_ANSWER_S)

    return ask


class _Handler(BaseHTTPRequestHandler):
    """One connection's requests."""

    protocol_version = "HTTP/1.1"
    server_version = "traffic-gen"
    timeout = 60
    ask: _Ask

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        self._answer()

    do_PUT = do_POST = do_GET  # noqa: N815

    def _answer(self) -> None:
        try:
            if self.headers.get("Origin"):
                raise Refused(HTTPStatus.FORBIDDEN, "web pages have no business here")  # noqa: TRY301
            answer, status = self.ask(self.command, self.path, self._body()), HTTPStatus.OK
        except Refused as refused:
            answer, status = _json({"error": str(refused)}), refused.status
            self.close_connection = True
        except (TimeoutError, RuntimeError):
            answer, status = _json({"error": "the sink is too busy to answer"}), HTTPStatus.SERVICE_UNAVAILABLE
        self.send_response(status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or self.headers.get("Transfer-Encoding"):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
        if int(length) > MAX_BODY_OCTETS:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected {MAX_BODY_OCTETS} octets at most")
        return self.rfile.read(int(length))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: a library does not print."""


def _json(value: object) -> Answer:
    return Answer(json.dumps(value).encode("ascii"))


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, "expected JSON") from error
    if not isinstance(value, dict):
        raise Refused(HTTPStatus.BAD_REQUEST, "expected an object")
    return value

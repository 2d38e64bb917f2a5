"""The sink's HTTP API on loopback: totals, faults, and injection.

    GET  /api/v1/totals             what was received so far
    GET  /api/v1/runs/ID            how much of one run was received
    GET  /api/v1/runs/ID/arrivals   all of it, message by message, in numpy's format
    GET  /api/v1/chaos              the faults in use; PUT changes them. Mailpit's format, with our list added
    POST /api/inject/v1             KumoMTA's injection: entered in the ledger as a message of so many recipients

Takes     an address to listen on; a `Sink`
Gives     answers in JSON, made in the sink's own event loop, so that they are consistent
Limits    `MAX_BODY_OCTETS` a request and `MAX_BODIES_OCTETS` for all at a time (503 beyond); a body above
          `INLINE_OCTETS` is parsed by a separate process, one at a time, so that mail goes on meanwhile
Refuses   an unknown key, and then changes nothing; what the server refuses (http_server)
Fails     SetupError when the address cannot be had; a bad request is answered 4xx
Not here  what faults do (policy), HTTP (http_server), JSON (json_body)
"""

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Final

import numpy as np

from trafficgen.errors import PlanError, reason_of
from trafficgen.host.http_server import HttpResponse, HttpServer, RefusedRequest, Request, bind
from trafficgen.host.machine_clock import boot_id
from trafficgen.outcomes import Phase
from trafficgen.plan import TcpTarget
from trafficgen.proof import trace_header
from trafficgen.proof.ledger_file import MAX_RECIPIENTS
from trafficgen.sink.api import json_body
from trafficgen.sink.api.json_body import Injected
from trafficgen.sink.listen.server import Sink
from trafficgen.sink.policy import faults
from trafficgen.sink.policy.fault_kinds import FaultKind
from trafficgen.sink.policy.faults import SinkFault

MAX_BODY_OCTETS: Final = 64 << 20
MAX_BODIES_OCTETS: Final = 2 * MAX_BODY_OCTETS
INLINE_OCTETS: Final = 256 << 10
"""Parsed in place: up to some 5 ms."""

MAX_CHAOS_OCTETS: Final = 64 << 10
MAX_FAULTS: Final = 100
"""Each costs a draw for each time that its stage is reached."""

MAX_FAULT_CHARACTERS: Final = 200
_READER_S: Final = 20.0
_TRIGGERS: Final = {
    "Sender": (Phase.MAIL, 451),
    "Recipient": (Phase.RCPT, 451),
    "Authentication": (Phase.AUTH, 535),
}  # fmt: skip
"""Mailpit's names, our stages, Mailpit's codes when none is given."""


class Api:
    """The answers. Every method runs in the sink's event loop."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._chaos = {name: {"ErrorCode": code, "Probability": 0} for name, (_, code) in _TRIGGERS.items()}
        self._faults = sink.policy.config.faults if sink.policy is not None else ()
        self._reader = asyncio.Semaphore(1)
        self.injected = 0

    async def answer(self, request: Request) -> HttpResponse:
        """Raises `RefusedRequest`."""
        method, path, body = request.method, request.path, request.body
        match method, path.strip("/").split("/"):
            case "GET", ["api", "v1", "totals"]:
                return _json(self._totals())
            case "GET", ["api", "v1", "runs", run_id]:
                return _json(self._run(run_id))
            case "GET", ["api", "v1", "runs", run_id, "arrivals"]:
                return await self._arrivals(run_id)
            case "GET", ["api", "v1", "chaos"]:
                return _json(self._shown_chaos())
            case "PUT", ["api", "v1", "chaos"]:
                if len(body) > MAX_CHAOS_OCTETS:
                    text = f"expected {MAX_CHAOS_OCTETS} octets at most"
                    raise RefusedRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
                with _bad_request():
                    return _json(self._set_chaos(json_body.parse(body)))
            case "POST", ["api", "inject", "v1"]:
                with _bad_request():
                    return _json(self._inject(await self._read_injection(body)))
        raise RefusedRequest(HTTPStatus.NOT_FOUND, f"nothing is at {method[:20]} {path[:100]}")

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
            "turned_away": sink.turned_away,
            "reports": asdict(sink.bounces.totals) if sink.bounces is not None else None,
            "runs": {run: self._run(run) for run in (sink.ledger.runs if sink.ledger else [])},
        }

    def _run(self, run_id: str) -> dict[str, int | str]:
        if self._sink.ledger is None:
            raise RefusedRequest(HTTPStatus.CONFLICT, "this sink keeps no ledger")
        arrivals = self._sink.ledger.arrivals(run_id)
        return {
            "messages": arrivals.messages,
            "recipients": int(arrivals.counts.sum()),
            "damaged": len(arrivals.damaged),
            "unanswered": sum(arrivals.unanswered.values()),
            "boot_id": boot_id(),
        }

    async def _arrivals(self, run_id: str) -> HttpResponse:
        if self._sink.ledger is None:
            raise RefusedRequest(HTTPStatus.CONFLICT, "this sink keeps no ledger")
        columns = self._sink.ledger.arrivals(run_id).columns()

        def packed() -> bytes:
            file = io.BytesIO()
            np.savez(file, **columns)  # type: ignore[arg-type]  # no column has the name of an option
            return file.getvalue()

        return HttpResponse(await asyncio.to_thread(packed), "application/octet-stream")

    def _shown_chaos(self) -> dict[str, Any]:
        return self._chaos | {"Faults": [str(fault) for fault in self._faults]}

    def _set_chaos(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if self._sink.policy is None:
            raise RefusedRequest(HTTPStatus.CONFLICT, "this sink was started without faults; start it with --api")
        json_body.check_keys(wanted, (*_TRIGGERS, "Faults"), "chaos")
        table: list[SinkFault] = []
        chaos = {}
        for name, (stage, usual) in _TRIGGERS.items():
            code, percent = _trigger(name, wanted.get(name), usual)
            chaos[name] = {"ErrorCode": code, "Probability": percent}
            table.append(SinkFault(stage, FaultKind.REJECT, percent / 100, code))
        listed = self._merged(wanted.get("Faults"))
        self._sink.policy.set_faults((*table, *listed))  # only after all of it was parsed
        self._chaos, self._faults = chaos, listed
        return self._shown_chaos()

    def _merged(self, lines: object) -> tuple[SinkFault, ...]:
        """The faults in use, with those given in place of all others at the same stages."""
        if lines is None:
            return self._faults
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise ValueError("expected Faults to be a list of texts")
        if len(lines) > MAX_FAULTS or max(map(len, lines), default=0) > MAX_FAULT_CHARACTERS:
            raise ValueError(f"expected {MAX_FAULTS} Faults of {MAX_FAULT_CHARACTERS} characters at most")
        given = tuple(faults.read(line) for line in lines)
        stages = {fault.stage for fault in given}
        return (*(fault for fault in self._faults if given and fault.stage not in stages), *given)

    def _inject(self, injected: Injected) -> dict[str, Any]:
        if injected.recipients > MAX_RECIPIENTS:
            raise ValueError(f"expected {MAX_RECIPIENTS} recipients at most, got {injected.recipients}")
        if self._sink.ledger is not None:
            trace = injected.trace.encode("ascii", "replace")
            width = trace_header.VALUE_OCTETS
            damaged = bool(trace) and b"%08x" % injected.body_crc32 != trace[30:]
            try:
                self._sink.ledger.enter(
                    trace[:width].ljust(width), damaged, injected.octets, injected.recipients, digest=injected.digest
                )
            except OSError as error:
                words = f"the ledger cannot be written: {reason_of(error)}"
                raise RefusedRequest(HTTPStatus.INSUFFICIENT_STORAGE, words) from None
        self.injected += injected.recipients
        return {"success_count": injected.recipients, "fail_count": 0, "failed_recipients": [], "errors": []}

    async def _read_injection(self, body: bytearray) -> Injected:
        if len(body) <= INLINE_OCTETS:
            return json_body.read_injection(body)
        async with self._reader:
            return await asyncio.to_thread(_read_elsewhere, body)


@asynccontextmanager
async def serving(api: Api, listen: TcpTarget) -> AsyncIterator[TcpTarget]:
    """Answer requests until the block ends; gives the address that was bound."""
    async with HttpServer(
        bind(listen, "--api"),
        listen.host,
        api.answer,
        render=lambda words: (_json({"error": words}).body, "application/json"),
        max_body_octets=MAX_BODY_OCTETS,
        max_bodies_octets=MAX_BODIES_OCTETS,
    ) as server:
        yield server.address


@contextmanager
def _bad_request() -> Iterator[None]:
    """Answer 400 with what is wrong with a body."""
    try:
        yield
    except (ValueError, PlanError) as error:
        raise RefusedRequest(HTTPStatus.BAD_REQUEST, str(error)) from error


def _read_elsewhere(body: bytearray) -> Injected:
    """What an injection holds. Raises ValueError."""
    command = [sys.executable, "-I", json_body.__file__]
    try:
        done = subprocess.run(command, input=body, capture_output=True, timeout=_READER_S, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(f"expected JSON that can be read in {_READER_S:.0f} s") from None
    line = done.stdout.decode("utf-8")
    if done.returncode == 0:
        return Injected(*json.loads(line))
    if done.returncode == 1 and line:
        raise ValueError(line)
    raise RuntimeError(f"the reader of a large body ended with code {done.returncode}: {done.stderr[-200:]!r}")


def _trigger(name: str, given: object, usual: int) -> tuple[int, int]:
    """Code and percentage of one of Mailpit's triggers; one that is left out is off."""
    if given is None:
        return usual, 0
    if not isinstance(given, dict):
        raise ValueError(f"expected {name} to be an object")  # noqa: TRY004  (answered 400)
    json_body.check_keys(given, ("ErrorCode", "Probability"), name)
    code, percent = given.get("ErrorCode") or usual, given.get("Probability") or 0
    if not (type(code) is int and 400 <= code <= 599 and type(percent) is int and 0 <= percent <= 100):
        raise ValueError(f"expected {name} with an ErrorCode from 400 to 599 and a Probability from 0 to 100")
    return code, percent


def _json(value: object) -> HttpResponse:
    return HttpResponse(json.dumps(value).encode("ascii"))

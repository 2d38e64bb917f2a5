"""A sink of several processes that share one port (SO_REUSEPORT).

Takes     `SinkConfig` for more than one worker; who wants to hear a line a second
Gives     the number of messages taken by all, when SIGINT or SIGTERM ends it
Limits    each worker counts limits and rates for itself, and draws from a seed of its own
Fails     PlanError for what cannot be shared, SetupError when a worker does not come up; a worker that dies later is
          said, and the others go on
Not here  what a worker does (serve)

The first worker writes the ledger that was named, the others the same name with `.1`, `.2`, … behind it, so that none
waits for another. `ledger_reader` finds them by the first.
"""

import asyncio
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Final

import uvloop

from trafficgen.errors import PlanError, SetupError, TrafficgenError
from trafficgen.host import processes
from trafficgen.host.limits import raise_open_files
from trafficgen.host.pipes import listen
from trafficgen.host.processes import Child
from trafficgen.plan import TcpTarget
from trafficgen.sink.config import SinkConfig
from trafficgen.sink.serve import LISTENING, SMUGGLING, Say, open_sink
from trafficgen.sink.store.capture import Form

_MAX_SESSIONS: Final = 65_536
_START_S: Final = 60.0
_RELOAD: Final = "reload"


@dataclass(frozen=True, slots=True)
class _Count:
    received: int = 0
    octets: int = 0
    sessions: int = 0
    smuggling: int = 0


@dataclass(slots=True)
class _Process:
    child: Child
    count: _Count = _Count()
    gone: bool = False


def serve_many(orders: SinkConfig, *, say: Say) -> int:
    """Take mail until a signal comes."""
    _check(orders)
    assert isinstance(orders.listen, TcpTarget)
    with reserve(orders.listen) as reserved:
        orders = replace(orders, listen=TcpTarget(*reserved.getsockname()[:2]))
        crew = _ProcessPool(orders, say)
        try:
            crew.start()
            say(LISTENING.format(orders.listen))
            crew.watch()
        finally:
            crew.end()
    return crew.total().received


def _check(orders: SinkConfig) -> None:
    if not isinstance(orders.listen, TcpTarget):
        raise PlanError("expected HOST:PORT: processes cannot share a UNIX socket", field="workers", flag="--workers")
    if orders.api is not None:
        raise PlanError("expected one worker: the API tells of one process", field="workers", flag="--workers")
    if orders.capture is not None and orders.capture.form in (Form.MBOX, Form.DIGESTS):
        raise PlanError("expected one worker: several cannot write one file", field="workers", flag="--workers")


def reserve(address: TcpTarget) -> socket.socket:
    """Hold a port, without listening on it, so that processes can share it and nobody else comes first.

    SetupError when that cannot be.
    """
    found = None
    try:
        family, _, _, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        found.bind(where)
    except OSError as error:
        if found is not None:
            found.close()
        raise SetupError(f"cannot listen on {address}: {error.strerror or error}") from error
    return found


class _ProcessPool:
    def __init__(self, orders: SinkConfig, say: Say) -> None:
        self._orders = orders
        self._say = say
        self._workers: list[_Process] = []
        self._over = False
        self._reload = False

    def start(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_end)
        reloads = self._orders.behaviour.responses is not None
        signal.signal(signal.SIGHUP, self._on_reload if reloads else self._on_end)
        for index in range(self._orders.workers):
            self._workers.append(_Process(processes.start(_main, _share(self._orders, index))))
        for worker in self._workers:
            self._await(worker)

    def _await(self, worker: _Process) -> None:
        try:
            in_time = worker.child.pipe.poll(_START_S)
            word = worker.child.pipe.recv() if in_time else SetupError("a worker of the sink does not start")
        except (EOFError, OSError):
            word = SetupError("a worker of the sink died before it could listen")
        if isinstance(word, TrafficgenError):
            raise word

    def watch(self) -> None:
        """Until a signal comes: a line for every second in which mail came."""
        before = 0
        while not self._over and not all(worker.gone for worker in self._workers):
            self._hear(1.0)
            if self._reload:
                self._reload = False
                self._tell(_RELOAD)
            total = self.total()
            if total.received != before:
                self._say(f"{total.received} messages, {total.sessions} sessions open")
                before = total.received

    def end(self) -> None:
        """Tell all to end, and hear their last counts."""
        self._tell(None)
        while any(not worker.gone for worker in self._workers):
            self._hear(5.0)
            if not any(worker.child.process.is_alive() for worker in self._workers):
                self._hear(0)
                break
        for worker in self._workers:
            worker.child.end(5.0)
        if self._over:
            total = self.total()
            self._say(f"{total.received} messages taken, {total.octets} octets")
            if total.smuggling:
                self._say(SMUGGLING.format(total.smuggling))

    def total(self) -> _Count:
        counts = [worker.count for worker in self._workers]
        return _Count(
            sum(count.received for count in counts),
            sum(count.octets for count in counts),
            sum(count.sessions for count in counts),
            sum(count.smuggling for count in counts),
        )

    def _hear(self, patience_s: float) -> None:
        by_pipe = {worker.child.pipe: worker for worker in self._workers if not worker.gone}
        for pipe in wait(list(by_pipe), patience_s):
            worker = by_pipe[pipe]  # type: ignore[index]
            try:
                word = worker.child.pipe.recv()
            except (EOFError, OSError):
                worker.gone = True
                if not self._over:
                    self._say("error: a worker of the sink died; what it took is in its ledger")
                continue
            if isinstance(word, _Count):
                worker.count = word
            else:
                self._say(str(word))

    def _tell(self, word: str | None) -> None:
        for worker in self._workers:
            with suppress(OSError):
                worker.child.pipe.send(word)

    def _on_end(self, _signal: int, _frame: object) -> None:
        self._over = True

    def _on_reload(self, _signal: int, _frame: object) -> None:
        self._reload = True


def _share(orders: SinkConfig, index: int) -> SinkConfig:
    """One worker's part."""
    file = orders.ledger_file
    if file is not None and index:
        file = file.with_name(f"{file.name}.{index}")
    behaviour = replace(orders.behaviour, seed=(orders.behaviour.seed + index) % 2**64)
    return replace(orders, ledger_file=file, behaviour=behaviour)


def _main(pipe: Connection, orders: SinkConfig) -> None:
    raise_open_files(_MAX_SESSIONS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(pipe, orders))


async def _work(pipe: Connection, orders: SinkConfig) -> None:
    over = asyncio.Event()
    try:
        async with open_sink(orders, pipe.send) as (sink, reload):

            def hear(word: object) -> None:
                reload.now() if word == _RELOAD else over.set()

            listen(pipe, hear, over.set)
            pipe.send(_Count())
            while not over.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), 1.0)
                reload.when_changed()
                with suppress(OSError):
                    pipe.send(_Count(sink.received, sink.octets, len(sink.links), sink.smuggling))
    except TrafficgenError as error:
        with suppress(OSError):
            pipe.send(error)

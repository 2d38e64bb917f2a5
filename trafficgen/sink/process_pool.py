"""A sink of several processes that share one port (SO_REUSEPORT).

Takes     `SinkConfig` for more than one worker; a function that shows a line of progress
Gives     the number of messages accepted by all, when SIGINT, SIGTERM or `SinkConfig.messages` ends it
Limits    each worker counts limits and rates for itself, and draws from a seed of its own
Fails     PlanError for what cannot be shared, SetupError when a worker does not start; a worker that dies later is
          reported, and the others go on
Not here  what a worker does (serve)

The first worker writes the ledger file that was named, the others the same name with `.1`, `.2`, … appended, so that
none waits for another. `ledger_reader` finds them by the first name.
"""

import asyncio
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import Final

import uvloop

from trafficgen.errors import PlanError, SetupError, TrafficgenError
from trafficgen.host import processes
from trafficgen.host.limits import files_for_a_sink, raise_open_files
from trafficgen.host.pipes import listen
from trafficgen.host.processes import Child
from trafficgen.plan import TcpTarget
from trafficgen.sink.config import SinkConfig
from trafficgen.sink.progress import Count, Say, SpokenCounts, announce
from trafficgen.sink.serve import COUNT_S, FileChange, Reload, open_sink
from trafficgen.sink.shared_port import reserve
from trafficgen.sink.store.capture import CaptureFormat

_MAX_SESSIONS: Final = 65_536
_START_S: Final = 60.0
_RELOAD: Final = "reload"
_MAX_WARNINGS: Final = 100


@dataclass(frozen=True, slots=True)
class _Reloaded:
    """A worker has tried to read the response table again, and would say this."""

    lines: tuple[str, ...]


@dataclass(slots=True)
class _Process:
    child: Child
    count: Count = field(default_factory=Count)
    gone: bool = False
    owes: int = 0
    """Answers to `_RELOAD`."""


def serve_many(config: SinkConfig, *, say: Say) -> int:
    """Receive mail until a signal comes, or enough messages."""
    _check(config)
    files_for_a_sink(_MAX_SESSIONS)
    assert isinstance(config.listen, TcpTarget)
    with reserve(config.listen) as reserved:
        config = replace(config, listen=TcpTarget(*reserved.getsockname()[:2]))
        pool = _ProcessPool(config, say)
        try:
            pool.start()
            announce(config.listen, say, config.bounces)
            pool.watch()
        finally:
            pool.end()
    return pool.total().messages


def _check(config: SinkConfig) -> None:
    if not isinstance(config.listen, TcpTarget):
        raise PlanError("expected HOST:PORT: processes cannot share a UNIX socket", field="workers", flag="--workers")
    if config.api is not None:
        raise PlanError("expected one worker: the API serves one process", field="workers", flag="--workers")
    if config.capture is not None and config.capture.form in (CaptureFormat.MBOX, CaptureFormat.DIGESTS):
        raise PlanError("expected one worker: several cannot write one file", field="workers", flag="--workers")
    security = config.security
    for path in (config.behaviour.responses, *((security.certificate, security.key) if security else ())):
        if path is not None and path.is_fifo():
            text = f'expected a file that every worker can read, got the pipe "{path}": save it to a file first'
            raise PlanError(text, field="workers", flag="--workers")


class _ProcessPool:
    def __init__(self, config: SinkConfig, say: Say) -> None:
        self._config = config
        self._say = say
        self._workers: list[_Process] = []
        self._listening = self._over = False
        self._reload = False
        self._changed = FileChange(config.behaviour.responses)
        self._lines: dict[str, None] = {}  # what workers say alike, until all of them have
        self._warnings: set[str] = set()
        self._progress = SpokenCounts(say)

    def start(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_end)
        reloads = self._config.behaviour.responses is not None
        signal.signal(signal.SIGHUP, self._on_reload if reloads else self._on_end)
        for index in range(self._config.workers):
            self._workers.append(_Process(processes.start(_main, _share(self._config, index))))
        for worker in self._workers:
            self._await(worker)
        self._listening = True
        self._say_lines()

    def _await(self, worker: _Process) -> None:
        """Wait until it listens."""
        until_s = time.monotonic() + _START_S
        message: object = ""
        while isinstance(message, str):
            try:
                in_time = worker.child.pipe.poll(max(until_s - time.monotonic(), 0))
                message = worker.child.pipe.recv() if in_time else SetupError("a worker of the sink does not start")
            except (EOFError, OSError):
                message = SetupError("a worker of the sink died before it could listen")
            if isinstance(message, TrafficgenError):
                raise message
            if isinstance(message, str):
                self._lines[message] = None

    def watch(self) -> None:
        """Show a line for every second in which mail arrived, until a signal comes, or enough messages.

        Raises SetupError when no worker is left.
        """
        enough = self._config.messages
        while not self._over:
            self._receive(1.0)
            if all(worker.gone for worker in self._workers):
                raise SetupError("all workers of the sink died; what they accepted is in their ledgers")
            if self._changed() or self._reload:
                self._reload = False
                for worker in self._workers:
                    worker.owes += not worker.gone
                self._send(_RELOAD)
            total = self.total()
            if enough is not None and total.messages >= enough:
                self._over = True
            else:
                self._progress.show(total)

    def end(self) -> None:
        """End all workers and receive their last counts."""
        died = any(worker.gone for worker in self._workers)
        self._send(None)
        while any(not worker.gone for worker in self._workers):
            self._receive(5.0)
            if not any(worker.child.process.is_alive() for worker in self._workers):
                self._receive(0)
                break
        for worker in self._workers:
            worker.child.end(5.0)
        if self._over:
            self._progress.end(self.total(), reports=self._config.bounces is not None, at_least=died)

    def total(self) -> Count:
        return sum((worker.count for worker in self._workers), Count())

    def _receive(self, timeout_s: float) -> None:
        by_pipe = {worker.child.pipe: worker for worker in self._workers if not worker.gone}
        for pipe in wait(list(by_pipe), timeout_s):
            worker = by_pipe[pipe]  # type: ignore[index]
            try:
                message = worker.child.pipe.recv()
            except (EOFError, OSError):
                worker.gone = True
                worker.owes = 0
                if self._listening and not self._over:
                    self._say("error: a worker of the sink died; what it accepted is in its ledger")
                continue
            match message:
                case Count():
                    worker.count = message
                case _Reloaded():
                    worker.owes -= 1
                    self._lines.update(dict.fromkeys(message.lines))
                case _ if self._listening:  # before, the error that one of them told is what all of them have
                    self._say_once(str(message))
        if not any(worker.owes for worker in self._workers):
            self._say_lines()

    def _say_once(self, line: str) -> None:
        """Say what a worker says; a warning only if no other has said the same."""
        if line not in self._warnings:
            self._say(line)
        if line.startswith("warning:") and len(self._warnings) < _MAX_WARNINGS:
            self._warnings.add(line)

    def _say_lines(self) -> None:
        for line in self._lines:
            self._say(line)
        self._lines.clear()

    def _send(self, message: str | None) -> None:
        for worker in self._workers:
            with suppress(OSError):
                worker.child.pipe.send(message)

    def _on_end(self, _signal: int, _frame: object) -> None:
        self._over = True

    def _on_reload(self, _signal: int, _frame: object) -> None:
        self._reload = True


def _share(config: SinkConfig, index: int) -> SinkConfig:
    """The configuration of one worker."""
    file = config.ledger_file
    if file is not None and index:
        file = file.with_name(f"{file.name}.{index}")
    behaviour = replace(config.behaviour, seed=(config.behaviour.seed + index) % 2**64)
    return replace(config, ledger_file=file, behaviour=behaviour)


def _main(pipe: Connection, config: SinkConfig) -> None:
    room = min(raise_open_files(_MAX_SESSIONS), _MAX_SESSIONS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(pipe, config, room))


async def _work(pipe: Connection, config: SinkConfig, room: int) -> None:
    over = asyncio.Event()
    pause_s = 1.0 if config.messages is None else COUNT_S
    try:
        async with open_sink(config, pipe.send, room) as sink:

            def receive(message: object) -> None:
                if message != _RELOAD:
                    over.set()
                    return
                lines: list[str] = []
                Reload(config.behaviour, sink.policy, lines.append).now()
                pipe.send(_Reloaded(tuple(lines)))

            listen(pipe, receive, over.set)
            pipe.send(Count())
            while not over.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), pause_s)
                if over.is_set():
                    await sink.dismiss()
                with suppress(OSError):
                    pipe.send(Count.of(sink))
    except TrafficgenError as error:
        with suppress(OSError):
            pipe.send(error)

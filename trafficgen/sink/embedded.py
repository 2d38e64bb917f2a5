"""A sink in a process of its own, for the length of one run.

Takes     nothing but the wish for a ledger
Gives     the address it listens on (a free loopback port), and on demand what has arrived of a run
Fails     with SetupError when it does not come up or dies
"""

import asyncio
import multiprocessing
import signal
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Final, Self, cast

import uvloop

from trafficgen.errors import SetupError
from trafficgen.open_files import raise_open_files
from trafficgen.pipes import listen
from trafficgen.plan import Target, TcpTarget
from trafficgen.sink.ledger import Arrivals
from trafficgen.sink.server import Sink

_START_S: Final = 60.0
_ANSWER_S: Final = 60.0


class EmbeddedSink:
    """Use as a context manager."""

    def __init__(self, *, sessions: int, ledger: bool = True) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_main, args=(theirs, sessions, ledger), daemon=True)
        self._theirs = theirs
        self.address: Target = TcpTarget("127.0.0.1", 1)

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()
        self.address = cast("Target", self._hear(_START_S))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()  # the sink takes the end of its pipe for the order to end
        self._process.join(5.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def arrivals(self, run_id: str) -> Arrivals:
        """What has arrived of this run so far."""
        self._pipe.send(run_id)
        return cast("Arrivals", self._hear(_ANSWER_S))

    def _hear(self, patience_s: float) -> object:
        try:
            if self._pipe.poll(patience_s):
                return self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(1.0)
        code = self._process.exitcode
        raise SetupError("the embedded sink " + ("does not answer" if code is None else f"ended with code {code}"))


def _main(pipe: Connection, sessions: int, ledger: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends with its run, not before
    raise_open_files(sessions)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(pipe, ledger))


async def _serve(pipe: Connection, ledger: bool) -> None:
    over = asyncio.Event()
    async with Sink(TcpTarget("127.0.0.1", 0), ledger=ledger) as sink:

        def answer(run_id: object) -> None:
            pipe.send(sink.ledger.arrivals(str(run_id)) if sink.ledger else Arrivals())

        listen(pipe, answer, over.set)
        pipe.send(sink.address)
        await over.wait()

"""A sink in processes of its own, for the length of one run.

Takes     how many sessions it must hold, and the wish for a ledger
Gives     the address it listens on (a free loopback port), and on demand what has arrived of a run
Limits    one process, unless the sessions are more than one may hold open: then as few as can share them and the port
Fails     with SetupError when it does not come up or dies
"""

import asyncio
import math
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Final, Self, cast

import uvloop

from trafficgen import children
from trafficgen.children import Child
from trafficgen.errors import SetupError, TrafficgenError
from trafficgen.open_files import SPARE_FILES, raise_open_files
from trafficgen.pipes import listen
from trafficgen.plan import Target, TcpTarget
from trafficgen.sink.arrivals import Arrivals
from trafficgen.sink.crew import reserve
from trafficgen.sink.server import Sink

_START_S: Final = 60.0
_ANSWER_S: Final = 60.0
_DEVIATIONS: Final = 6
"""Which process gets a connection is a hash of its ports: a fair draw each time. One run in a billion has more sessions
in one process than this many standard deviations above its share."""

_ANY_PORT: Final = TcpTarget("127.0.0.1", 0)


class EmbeddedSink:
    """Use as a context manager."""

    def __init__(self, *, sessions: int, ledger: bool = True) -> None:
        self._sessions = sessions
        self._ledger = ledger
        self._children: list[Child] = []
        self.address: Target = _ANY_PORT

    def __enter__(self) -> Self:
        room = raise_open_files(self._sessions)
        if room < 1:
            files = room + SPARE_FILES
            raise SetupError(f"cannot start a sink: a process may open {files} files; raise the limit (ulimit -n)")
        count = processes_for(self._sessions, room)
        try:
            if count == 1:
                self.address = self._start(_ANY_PORT, 1)
            else:
                with reserve(_ANY_PORT) as port:  # none of them listens before all may share
                    self.address = self._start(TcpTarget(*port.getsockname()), count)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def arrivals(self, run_id: str) -> Arrivals:
        """What has arrived of this run so far."""
        for child in self._children:
            child.pipe.send(run_id)
        total, *others = (cast("Arrivals", _hear(child, _ANSWER_S)) for child in self._children)
        for other in others:
            total.add(other)
        return total

    def _start(self, address: TcpTarget, count: int) -> Target:
        for _ in range(count):
            self._children.append(children.start(_main, address, self._sessions, self._ledger, count > 1))
        addresses = [cast("Target", _hear(child, _START_S)) for child in self._children]
        return addresses[0]

    def _end(self) -> None:
        for child in self._children:
            child.pipe.close()  # the sink takes the end of its pipe for the order to end
        for child in self._children:
            child.end(5.0)


def processes_for(sessions: int, room: int) -> int:
    """As few processes with room for so many sessions each as will hold all; chance decides which gets how many."""
    count = 1
    while count < sessions and _most(sessions, count) > room:
        count += 1
    return count


def _most(sessions: int, processes: int) -> float:
    if processes == 1:
        return sessions
    share = 1 / processes
    return sessions * share + _DEVIATIONS * math.sqrt(sessions * share * (1 - share))


def _hear(child: Child, patience_s: float) -> object:
    try:
        if child.pipe.poll(patience_s):
            word = child.pipe.recv()
            if isinstance(word, TrafficgenError):
                raise word
            return word
    except (EOFError, OSError):
        child.process.join(1.0)
    code = child.process.exitcode
    raise SetupError("the embedded sink " + ("does not answer" if code is None else f"ended with code {code}"))


def _main(pipe: Connection, address: TcpTarget, sessions: int, ledger: bool, share_port: bool) -> None:
    raise_open_files(sessions)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(pipe, address, ledger, share_port))


async def _serve(pipe: Connection, address: TcpTarget, ledger: bool, share_port: bool) -> None:
    over = asyncio.Event()
    async with Sink(address, ledger=ledger, share_port=share_port) as sink:

        def answer(run_id: object) -> None:
            pipe.send(sink.ledger.arrivals(str(run_id)) if sink.ledger else Arrivals())

        listen(pipe, answer, over.set)
        pipe.send(sink.address)
        await over.wait()

"""A sink in child processes, for the length of one run.

Takes     how many sessions it must hold, and whether to keep a ledger
Gives     the address it listens on (a free loopback port), and on request what it has received of a run
Limits    one process, unless the sessions exceed the files that one may open: then as few as can share them and the
          port; an answer is waited for `_ANSWER_S` at most, and not at all once the run ends at once
Fails     SetupError when it does not start or dies, StoppedError when an answer is no longer waited for
"""

import math
from collections import deque
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Final, Self, cast

from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.errors import SetupError, StoppedError, TrafficgenError
from trafficgen.host import processes
from trafficgen.host.limits import files_for_a_sink
from trafficgen.host.pipes import END, Inbox
from trafficgen.host.signals import RunControl
from trafficgen.plan import Target, TcpTarget
from trafficgen.proof.received import Received
from trafficgen.sink.shared_port import reserve

_START_S: Final = 60.0
_ANSWER_S: Final = 60.0
_POLL_S: Final = 0.05
_END_S: Final = 5.0
_DEVIATIONS: Final = 6
"""The kernel picks a process by a hash of the ports, which is as good as chance. One run in a billion has more
sessions in one process than this many standard deviations above its share."""

_ANY_PORT: Final = TcpTarget("127.0.0.1", 0)


class EmbeddedSink:
    """Use as a context manager."""

    def __init__(self, *, sessions: int, ledger: bool = True, control: RunControl | None = None) -> None:
        self._control = control or RunControl()
        self._sessions = sessions
        self._ledger = ledger
        self._children: list[processes.Child] = []
        self._inbox: Inbox[int] = Inbox()
        self._answers: dict[int, deque[object]] = {}
        self.address: Target = _ANY_PORT

    def __enter__(self) -> Self:
        room = files_for_a_sink(self._sessions)
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

    def arrivals(self, run_id: str) -> Received:
        """What has been received of this run so far."""
        return self.received(run_id)[1]

    def received(self, run_id: str) -> tuple[int, Received]:
        """The number of all messages received, and with a ledger what has been received of this run."""
        for child in self._children:
            with suppress(OSError):  # it has died, and waiting for its answer reports that
                child.pipe.send(run_id)
        received, total = 0, Received()
        for index in range(len(self._children)):
            count, arrivals = cast("tuple[int, Received]", self._receive(index, _ANSWER_S))
            received += count
            total.add(arrivals)
        return received, total

    def _start(self, address: TcpTarget, count: int) -> Target:
        for index in range(count):
            child = processes.start(_main, address, self._sessions, self._ledger, count > 1)
            self._children.append(child)
            self._answers[index] = deque()
            self._inbox.add(index, child.pipe)
        try:
            addresses = [cast("Target", self._receive(index, _START_S)) for index in range(count)]
        except StoppedError:
            return address  # nothing will connect to it
        return addresses[0]

    def _receive(self, index: int, timeout_s: float) -> object:
        """The next message of this process. The first request to stop changes nothing: results are still wanted."""
        deadline_ns = now_ns() + int(timeout_s * NS_PER_S)
        while not self._answers[index]:
            if self._control.at_once:
                raise StoppedError("the embedded sink was not waited for: the run was told to end at once")
            if now_ns() > deadline_ns:
                raise SetupError("the embedded sink does not answer")
            for which, message in self._inbox.hear(_POLL_S):
                self._answers[which].append(message)
        message = self._answers[index].popleft()
        if isinstance(message, TrafficgenError):
            raise message
        if message is not END:
            return message
        self._answers[index].append(END)
        process = self._children[index].process
        process.join(1.0)
        raise SetupError(f"the embedded sink ended with code {process.exitcode}")

    def _end(self) -> None:
        for child in self._children:
            with suppress(OSError):
                child.pipe.send(None)  # end
        processes.end(self._children, 0.1 if self._control.at_once else _END_S)
        self._inbox.close()
        for child in self._children:
            child.pipe.close()


def processes_for(sessions: int, room: int) -> int:
    """The smallest number of processes that can hold all sessions, though chance decides which gets how many."""
    count = 1
    while count < sessions and _most(sessions, count) > room:
        count += 1
    return count


def _most(sessions: int, processes: int) -> float:
    if processes == 1:
        return sessions
    share = 1 / processes
    return sessions * share + _DEVIATIONS * math.sqrt(sessions * share * (1 - share))


def _main(pipe: Connection, address: TcpTarget, sessions: int, ledger: bool, share_port: bool) -> None:
    # Imported by the child alone: who has one started needs no event loop, no TLS and no sink.
    from trafficgen.sink.embedded_process import main

    main(pipe, address, sessions, ledger=ledger, share_port=share_port)

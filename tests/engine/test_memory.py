"""What a run's processes do not import, and what a session holds."""

import asyncio
import subprocess
import sys
import tracemalloc
from typing import Any, cast

import pytest
import uvloop

from tests.peers.running import plan_for
from tests.peers.scripted import PATIENCE_S
from trafficgen import TcpTarget
from trafficgen.engine import control, sending, worker
from trafficgen.engine.address import resolve
from trafficgen.engine.resolved import ResolvedPlan

SESSIONS = 400
"""Few enough for 1,024 open files, both ends of each connection counted."""


def loaded(program: str) -> set[str]:
    """Which of the heavy modules a program imports."""
    heavy = {"asyncio", "uvloop", "aiosmtplib", "numpy.ma", "trafficgen.sink.serve", "trafficgen.engine.worker"}
    heavy |= {"ssl", "http.client", "mboxgen.corpus.generate"}
    script = f"import sys\n{program}\nprint(*({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_who_starts_a_run_needs_no_event_loop_no_sink_and_no_client_of_another_protocol() -> None:
    assert loaded("import trafficgen.cli.send, trafficgen.runs.run") == set()


def test_a_worker_takes_no_part_of_numpy_that_nobody_needs() -> None:
    program = """
from tests.peers.running import plan_for
from trafficgen.engine.account import PHASES
from trafficgen.engine.worker import Messages, Recorder
import numpy as np
plan = plan_for(1, messages=9, body="5kb", workload={"recipients_per_message": ((3, 1.0),)})
messages = Messages(plan, date="")
messages.block(0, 9)
messages.recipient_domains(np.arange(9))
recorder = Recorder(4, 0, False, phases=PHASES)
recorder.rows.extend([1, 0, 2, -1, 5, 6, 7, 8, 100])
recorder.fold()
recorder.snapshot(now_ns=9, cpu_ns=1, wall_ns=1, sessions_open=0, sessions_opened=0, in_flight=0)
"""
    assert "numpy.ma" not in loaded(program)


class Holds(asyncio.Protocol):
    """Lets every message come, and never says what became of it."""

    def __init__(self, coming: asyncio.Semaphore) -> None:
        self.coming = coming

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.answers = [b"220 hello\r\n", b"250-here\r\n250 PIPELINING\r\n", b"250 ok\r\n250 ok\r\n354 go\r\n"]
        self.data_received(b"")

    def data_received(self, data: bytes) -> None:
        if self.answers:
            self.transport.write(self.answers.pop(0))
            if not self.answers:
                self.coming.release()


class NoPipe:
    """Who a worker would report to."""

    def send(self, word: object) -> None:
        pass


async def octets_a_session() -> float:
    """What our side of each session holds while its message is under way, by Python's own count."""
    loop = asyncio.get_running_loop()
    coming = asyncio.Semaphore(0)
    server = await loop.create_server(lambda: Holds(coming), "127.0.0.1", 0, backlog=SESSIONS)
    target = TcpTarget("127.0.0.1", server.sockets[0].getsockname()[1])
    plan = plan_for(target, messages=10 * SESSIONS, sessions=SESSIONS)
    resolved = ResolvedPlan.of(plan).at(resolve(target), 1)
    config = control.WorkerConfig(resolved, "Fri, 27 Nov 2026 00:00:00 +0000", 0, SESSIONS)
    sender = worker._SendingWorker(cast("Any", NoPipe()), config)
    running = loop.create_task(sender.run())
    await asyncio.sleep(0)
    tracemalloc.start(1)
    try:
        sender._hear(control.Begin(0))
        sender._hear(control.AssignRange(0, 10 * SESSIONS))
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(SESSIONS):
                await coming.acquire()
        of = [tracemalloc.Filter(True, f"*/trafficgen/{room}/*") for room in ("engine", "protocol", "workload")]
        found = tracemalloc.take_snapshot().filter_traces(of)
    finally:
        tracemalloc.stop()
    sender._hear(control.Stop(0))
    await running
    server.close()
    return sum(statistic.size for statistic in found.statistics("filename")) / SESSIONS


@pytest.mark.parametrize(("many", "most"), [(SESSIONS + 1, 5500), (SESSIONS, 4300)])
def test_a_session_holds_a_few_kilobytes_and_less_where_there_are_many(
    monkeypatch: pytest.MonkeyPatch, many: int, most: int
) -> None:
    monkeypatch.setattr(worker, "listen", lambda *_: None)
    monkeypatch.setattr(sending, "_MANY", many)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(octets_a_session()) < most

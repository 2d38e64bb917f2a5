"""Start a process that makes blocks: forked where that is safe, and a program of its own elsewhere.

Takes     a job and a renderer that is ready
Gives     the process, and the pipe to it
Limits    forked on Linux only, from a process that has one thread: other threads may hold locks that nobody would open
Not here  the conversation (worker_pool), what the process does (worker)

A forked worker shares the renderer's pools and begins at once; a program imports numpy and takes the pools over first.
Neither is started through multiprocessing's spawn: a script that calls `generate` needs no main guard.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Pipe
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mboxgen.corpus import worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mboxgen.corpus.worker import Job
    from mboxgen.message.blocks import Renderer

    _Pipe = Connection[Any, Any]

# Until a worker writes its first block: as a program 0.3 to 0.5 s, since it imports numpy and takes over the pools;
# forked 10 to 30 ms (AMD EPYC, 2 cores, 2026-11-27).
_PROGRAM_START_S, _FORK_START_S = 0.5, 0.05


class WorkerProcess(Protocol):
    """What the pool wants of a process."""

    @property
    def pid(self) -> int | None:
        """Its number."""

    def kill(self) -> None:
        """End it at once."""

    def wait(self, timeout: float | None = None) -> int:
        """Give its exit code, below zero the signal that ended it; subprocess.TimeoutExpired when it goes on."""


class _Forked(ForkProcess):
    def wait(self, timeout: float | None = None) -> int:
        self.join(timeout)
        if self.exitcode is None:
            raise subprocess.TimeoutExpired("worker", timeout or 0)
        return self.exitcode


def start_seconds() -> float:
    """How long it takes until a worker that is started now makes its first block."""
    return _FORK_START_S if _may_fork() else _PROGRAM_START_S


def start(job: Job, renderer: Renderer, pipes: Sequence[_Pipe]) -> tuple[WorkerProcess, _Pipe]:
    """Start a worker; `pipes` are this process's ends of those to other workers."""
    ours, theirs = Pipe()
    try:
        if _may_fork():
            return _forked(job, renderer, theirs, [ours, *pipes]), ours
        process = _program(theirs)
    finally:
        theirs.close()
    with suppress(OSError):  # it ended; the pool finds out when it asks for a block
        ours.send((job, renderer))  # pools are taken over: that is far cheaper than making them
    return process, ours


def _may_fork() -> bool:
    if sys.platform != "linux" or threading.active_count() > 1:
        return False
    return (
        sum(1 for _ in Path("/proc/self/task").iterdir()) == 1
    )  # also threads that Python does not know, such as OpenBLAS's


def _forked(job: Job, renderer: Renderer, theirs: _Pipe, ours: Sequence[_Pipe]) -> WorkerProcess:
    process = _Forked(target=_begin, args=(job, renderer, theirs, ours), daemon=True)
    with _signals_blocked():
        process.start()
    return process


def _begin(job: Job, renderer: Renderer, theirs: _Pipe, ours: Sequence[_Pipe]) -> None:
    os.setsid()  # Ctrl-C is for the process that waits
    for pipe in ours:  # so that the others' close when that process ends
        pipe.close()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    worker.run(theirs, job, renderer)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Keep a signal that comes while a child is not ready yet from running our handler in it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _program(theirs: _Pipe) -> WorkerProcess:
    command = [sys.executable, "-c", "from mboxgen.corpus.worker import main; main()", str(theirs.fileno())]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.Popen(
        command,
        pass_fds=(theirs.fileno(),),
        start_new_session=True,  # Ctrl-C is for us
        # Workers are as many as the user wants processes; nothing here multiplies matrices, so no threads for that.
        env={"OPENBLAS_NUM_THREADS": "1", **os.environ, "PYTHONPATH": path},
    )

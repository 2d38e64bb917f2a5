"""Processes of our own, with a pipe to each.

Takes     a function, which gets its end of the pipe and whatever else it is given
Gives     `Child`
Fails     in the child, with an error that goes through the pipe as the last word: what the system refused as a
          SetupError. A bug of ours keeps its traceback
Cost      on Linux a process of ours that has imported what children need, and no thread, forks them: a child is there
          in milliseconds, and all of them share those imports in memory. Elsewhere each begins from nothing
Alone     no resource tracker beside them (multiprocessing's, 6 MB): they have no named semaphores and no shared memory
Promise   SIGINT, SIGTERM and SIGHUP never reach a child, from its first instruction on: a terminal sends them to the
          whole group, and the process that a person started decides what they mean. A child ends when its pipe does
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final, NamedTuple

from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.errors import SetupError, TrafficgenError, reason_of
from trafficgen.host.signals import SIGNALS

_BLAS: Final = "OPENBLAS_NUM_THREADS"
_FORKED: Final = sys.platform == "linux"
_SHARED: Final = (
    "numpy.random",
    "trafficgen.engine.worker",
    "trafficgen.engine.worker_pool",
    "trafficgen.sink.embedded",
    "trafficgen.sink.embedded_process",
    "trafficgen.host.frozen",
)
"""What worker and sink import; the last makes it theirs in common."""

_STARTING: Final = threading.Lock()
"""Held while a process is started."""

_UNGUARDED: Final = (
    "trafficgen: a run starts processes that import this script again: put what it does under if __name__ == "
    "'__main__':"
)


class Child(NamedTuple):
    """A process and our end of its pipe."""

    process: BaseProcess
    pipe: Connection

    def end(self, patience_s: float) -> None:
        """Wait so long for it to end by itself, then kill it."""
        end([self], patience_s)


def end(children: Sequence[Child], patience_s: float) -> None:
    """Wait so long for all of them to end by themselves, and kill those that have not."""
    deadline_ns = now_ns() + int(patience_s * NS_PER_S)
    for child in children:
        child.process.join(max(deadline_ns - now_ns(), 0) / NS_PER_S)
    for child in children:
        if child.process.is_alive():
            child.process.kill()  # also ends one that is suspended
    for child in children:
        child.process.join()


def prepare() -> None:
    """Begin to import what children need, in a process of its own, while this one does something else."""
    if not _FORKED:
        return
    forkserver.set_forkserver_preload([*_SHARED])
    with _untracked(), _signals_held(), _one_thread():
        forkserver.ensure_running()


def start(main: Callable[..., None], *given: Any) -> Child:
    """Call `main(pipe, *given)` in a new process."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # This is a child that imports the user's script, and there the run begins again (multiprocessing, "Safe
        # importing of main module"). A line in place of the tracebacks that Python would write.
        sys.stderr.write(f"{_UNGUARDED}\n")
        sys.stderr.flush()
        raise SystemExit(1)
    prepare()
    context = multiprocessing.get_context("forkserver" if _FORKED else "spawn")
    ours, theirs = context.Pipe()
    given_to_it = (theirs, dict(os.environ), main, given)
    process = context.Process(target=_begin, args=given_to_it, daemon=True)  # type: ignore[attr-defined]
    with _untracked(), _signals_held():
        process.start()
    theirs.close()
    return Child(process, ours)


@contextmanager
def _untracked() -> Iterator[None]:
    """With its first process multiprocessing starts a resource tracker, and clears the mask of signals for that; none
    while it takes one for there already. A program that runs us gets its own, when it needs one."""
    tracker: Any = resource_tracker._resource_tracker
    with _STARTING, Path(os.devnull).open("wb") as nowhere:
        had_none = tracker._fd is None
        if had_none:
            tracker._fd = nowhere.fileno()
        try:
            yield
        finally:
            if had_none:
                tracker._fd = None


@contextmanager
def _signals_held() -> Iterator[None]:
    """A process inherits the mask, so that a signal cannot come before it has said that it ignores it."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenBLAS starts threads when numpy is imported, and we multiply no matrices (0.07 s of CPU time a process)."""
    before = os.environ.get(_BLAS)
    os.environ[_BLAS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_BLAS]
        else:
            os.environ[_BLAS] = before


def _begin(pipe: Connection, environment: dict[str, str], main: Callable[..., None], given: tuple[Any, ...]) -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    os.environ.clear()  # of the process that forked this one, which may be older than what the caller has set
    os.environ.update(environment)
    try:
        main(pipe, *given)
    except (TrafficgenError, OSError) as error:
        # Where the pipe itself is broken, whoever started this process has ended it, and says why.
        with suppress(OSError):
            pipe.send(error if isinstance(error, TrafficgenError) else SetupError(reason_of(error)))

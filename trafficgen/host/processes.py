"""Processes of our own, with a pipe to each.

Takes     a function, which gets its end of the pipe and whatever else it is given
Gives     `Child`
Fails     in the child, with an error that goes through the pipe as the last word: what the system refused as a
          SetupError. A bug of ours keeps its traceback
Promise   SIGINT, SIGTERM and SIGHUP never reach a child, from its first instruction on: a terminal sends them to the
          whole group, and the process that a person started decides what they mean. A child ends when its pipe does
"""

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Final, NamedTuple

from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.errors import SetupError, TrafficgenError
from trafficgen.host.signals import SIGNALS

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


def start(main: Callable[..., None], *given: Any) -> Child:
    """Call `main(pipe, *given)` in a new process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_begin, args=(theirs, main, given), daemon=True)
    # The mask is inherited, so that a signal cannot come before the child has said that it ignores it. Starting the
    # tracker, which multiprocessing does with the first process, would clear the mask.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        process.start()
    except RuntimeError:
        if not getattr(multiprocessing.current_process(), "_inheriting", False):
            raise
        # This is a child that imports the user's script, and there the run begins again (multiprocessing, "Safe
        # importing of main module"). A line in place of the tracebacks that Python would write.
        raise SystemExit(_UNGUARDED) from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    theirs.close()
    return Child(process, ours)


def _begin(pipe: Connection, main: Callable[..., None], given: tuple[Any, ...]) -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        main(pipe, *given)
    except (TrafficgenError, OSError) as error:
        # Where the pipe itself is broken, whoever started this process has ended it, and says why.
        with suppress(OSError):
            pipe.send(error if isinstance(error, TrafficgenError) else SetupError(str(error.strerror or error).lower()))

"""One process that makes blocks for another.

Takes     a pipe, a job, a renderer; over the pipe numbers of blocks
Gives     over the pipe, per block: its octets, then (once told its offset) what was written
Fails     an error of the system goes over the pipe; when the pipe closes, the process ends
Not here  order and names (generate), how it is started (worker_process)
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from mboxgen.mbox import writer
from mboxgen.mbox.writeback import Writeback
from mboxgen.recipe.recipe import Format

if TYPE_CHECKING:
    from pathlib import Path

    from mboxgen.mbox.writer import PlacedBlock, Written
    from mboxgen.message.blocks import Renderer
    from mboxgen.recipe.plan import CorpusPlan


@dataclass(frozen=True, slots=True)
class Job:
    """What all workers of a corpus share: the plan and the half-made file or folder."""

    plan: CorpusPlan
    partial: Path


class BlockMaker:
    """Makes and writes blocks; the same in a worker and in a process that works alone."""

    def __init__(self, job: Job, renderer: Renderer) -> None:
        self._job = job
        self._recipe = job.plan.recipe
        self._renderer = renderer
        one_file = self._recipe.format is Format.MBOX
        self._descriptor = os.open(job.partial, os.O_WRONLY | os.O_NOFOLLOW) if one_file else None
        self._writeback = None if self._descriptor is None else Writeback(self._descriptor)

    def make(self, number: int) -> PlacedBlock:
        """Render a block and count its octets."""
        return writer.lay_out(self._renderer.render(number), self._recipe.lf)

    def write(self, number: int, block: PlacedBlock, offset: int) -> Written:
        """Write a block: into the mbox at the offset, or as files."""
        if self._descriptor is not None and self._writeback is not None:
            written = writer.write_mbox(block, self._descriptor, offset)
            self._writeback.wrote(offset, block.octets)
            return written
        first = self._job.plan.numbers(number).start
        return writer.write_files(block, self._job.partial, first, self._recipe.format is Format.MAILDIR)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a worker stopped: an error of the system, or (errno 0) a traceback of ours."""

    errno: int
    words: str


def run(pipe: Connection, job: Job, renderer: Renderer) -> None:
    """Make blocks until the pipe says None or closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to every process; the one that waits decides
    # RLIMIT_FSIZE is met by OSError, not by a signal.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    gc.disable()  # nothing here makes cycles; no need to look for some among the pieces of every block
    try:
        _serve(pipe, BlockMaker(job, renderer))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except OSError as error:
        pipe.send(Failed(error.errno or 5, error.strerror or str(error)))
    except Exception:
        pipe.send(Failed(0, traceback.format_exc()))


def _serve(pipe: Connection, block_maker: BlockMaker) -> None:
    try:
        while (number := pipe.recv()) is not None:
            block = block_maker.make(number)
            pipe.send(block.octets)
            pipe.send(block_maker.write(number, block, pipe.recv()))
    finally:
        block_maker.close()


def main() -> None:
    """Take job and renderer over the pipe whose descriptor is the only argument, and run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = Connection(int(sys.argv[1]))
    with suppress(EOFError):
        run(pipe, *pipe.recv())

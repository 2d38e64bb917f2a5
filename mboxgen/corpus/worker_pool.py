"""Share the blocks of a corpus among processes, and hand the results back in order.

Takes     a job and the most workers there may be
Gives     what was written of each block, in the order of the blocks
Fails     WorkerPoolError when a worker dies or errs; OSError when the system refused it something
Not here  what a worker does (worker), around it (generate)

A block's place in the file is known when all blocks before it have said how many octets they have. Workers make blocks
at the same time and wait for their offset only then, so nobody writes a file twice or in the wrong order.

A worker first has to start, which takes longer than a small corpus. So this process makes blocks by itself until it
knows how long a block takes and whether workers would be done sooner.
"""

from __future__ import annotations

import gc
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mboxgen.corpus.worker import BlockMaker, Failed, Job
from mboxgen.message.blocks import Renderer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from mboxgen.corpus.worker_process import WorkerProcess
    from mboxgen.mbox.writer import PlacedBlock, Written

_EXIT_LIMIT_S = 10.0


class WorkerPoolError(RuntimeError):
    """A worker that died or failed on its own account."""


@dataclass(slots=True)
class _Worker:
    process: WorkerProcess
    pipe: Connection[Any, Any]
    block: int = -1
    placed: bool = False


@dataclass(slots=True)
class _Assignments:
    """Which blocks are where: `octets` counted but not placed, `written` but not handed back."""

    blocks: int
    started: int = 0
    placed: int = 0
    offset: int = 0
    octets: dict[int, int] = field(default_factory=dict)
    written: dict[int, Written] = field(default_factory=dict)


def processors() -> int:
    """Give how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_count(max_workers: int, blocks: int, seconds: float, start_s: float) -> int:
    """Give how many workers shall make `blocks` blocks that would take one process `seconds`; 1: it goes on alone.

    `start_s`: until a worker makes its first block.
    """
    workers = min(max_workers, blocks, processors())
    return workers if workers > 1 and seconds * (1 - 1 / workers) > start_s else 1


class BlockWorkers:
    """Makes the blocks of one job; `workers` is how many processes made them."""

    def __init__(self, job: Job, max_workers: int) -> None:
        self._job, self._max_workers = job, max_workers
        self.workers = 1

    def blocks(self) -> Iterator[Written]:
        """Make all blocks and yield what was written of each, in order."""
        blocks, renderer = self._job.plan.blocks, Renderer(self._job.plan)
        done = offset = 0
        for block, written in _by_this_process(self._job, renderer):
            yield written
            done, offset = done + 1, offset + block.octets
            if done == 1:
                begun = time.monotonic()  # the first block is no measure: it makes tables
                continue
            if self._max_workers > 1 and (left := blocks - done):
                from mboxgen.corpus.worker_process import start_seconds  # takes subprocess and multiprocessing with it

                alone_s = (time.monotonic() - begun) / (done - 1) * left
                self.workers = worker_count(self._max_workers, left, alone_s, start_seconds())
                if self.workers > 1:
                    break
        if done < blocks:
            yield from _by_workers(self._job, renderer, self.workers, _Assignments(blocks, done, done, offset))


def _by_workers(job: Job, renderer: Renderer, count: int, assignments: _Assignments) -> Iterator[Written]:
    with _started(job, renderer, count) as workers:
        first = assignments.started
        for worker in workers:
            _assign(worker, assignments)
        for number in range(first, assignments.blocks):
            while number not in assignments.written:
                _receive_from(workers, assignments)
            yield assignments.written.pop(number)


def _by_this_process(job: Job, renderer: Renderer) -> Iterator[tuple[PlacedBlock, Written]]:
    block_maker, offset = BlockMaker(job, renderer), 0
    try:
        for number in range(job.plan.blocks):
            with _without_collector():
                block = block_maker.make(number)
                written = block_maker.write(number, block, offset)
            yield block, written
            offset += block.octets
    finally:
        block_maker.close()


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep Python from looking for cycles among the pieces of a block again and again: there are none."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _assign(worker: _Worker, assignments: _Assignments) -> None:
    """Give a worker the next block, when there is one."""
    worker.block = assignments.started if assignments.started < assignments.blocks else -1
    if worker.block >= 0:
        assignments.started += 1
        worker.placed = False
        _send(worker, worker.block)


def _receive_from(workers: list[_Worker], assignments: _Assignments) -> None:
    """Take one message from each worker that has one."""
    from multiprocessing.connection import wait

    by_pipe = {worker.pipe: worker for worker in workers if worker.block >= 0}
    for pipe in wait(list(by_pipe)):
        worker = by_pipe[pipe]  # type: ignore[index]
        said = _receive(worker)
        if not worker.placed and isinstance(said, int):
            assignments.octets[worker.block] = said
            _place(workers, assignments)
        else:
            assignments.written[worker.block] = said
            _assign(worker, assignments)


def _place(workers: list[_Worker], assignments: _Assignments) -> None:
    """Tell every worker whose block's offset is now known."""
    while assignments.placed in assignments.octets:
        worker = next(worker for worker in workers if worker.block == assignments.placed)
        worker.placed = True
        _send(worker, assignments.offset)
        assignments.offset += assignments.octets.pop(assignments.placed)
        assignments.placed += 1


def _send(worker: _Worker, what: object) -> None:
    try:
        worker.pipe.send(what)
    except OSError:
        raise WorkerPoolError(_death(worker)) from None


def _receive(worker: _Worker) -> Any:
    try:
        said = worker.pipe.recv()
    except (EOFError, OSError):
        raise WorkerPoolError(_death(worker)) from None
    if isinstance(said, Failed):
        if said.errno:
            raise OSError(said.errno, said.words)
        raise WorkerPoolError(f"worker {worker.process.pid} failed:\n{said.words}")
    return said


def _death(worker: _Worker) -> str:
    import subprocess

    try:
        code = worker.process.wait(_EXIT_LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"worker {worker.process.pid} does not answer"
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"worker {worker.process.pid} {how}"


@contextmanager
def _started(job: Job, renderer: Renderer, count: int) -> Iterator[list[_Worker]]:
    """Start the workers; stop them whatever happens."""
    from mboxgen.corpus import worker_process

    workers: list[_Worker] = []
    try:
        for _ in range(count):
            workers.append(_Worker(*worker_process.start(job, renderer, [worker.pipe for worker in workers])))
        yield workers
        for worker in workers:
            _send(worker, None)
            worker.process.wait(_EXIT_LIMIT_S)
    finally:
        for worker in workers:
            worker.pipe.close()
            worker.process.kill()
            worker.process.wait()

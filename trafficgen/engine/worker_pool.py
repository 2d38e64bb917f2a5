"""The worker processes of a run: started, told, heard, ended.

Takes     a config for each worker
Gives     `WorkerHandle`s, with what each has said; a worker whose pipe breaks is lost
Never     waits for a worker longer than it is told to: one that is suspended or stuck holds up nobody
Not here  what is said to whom (supervisor), what a worker does (worker)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from trafficgen.clock import now_ns
from trafficgen.engine import control
from trafficgen.errors import TrafficgenError
from trafficgen.host import processes
from trafficgen.host.pipes import END, Inbox, Outbox
from trafficgen.host.processes import Child
from trafficgen.measure.snapshot import Snapshot


@dataclass(slots=True)
class WorkerHandle:
    """One worker, as it is known from outside."""

    index: int
    child: Child
    outbox: Outbox
    ready: bool = False
    snapshot: Snapshot | None = None
    taken: int = 0
    """Messages its source has handed to sessions and not got back, by its last word."""
    finished: control.WorkerFinished | None = None
    assigned: list[control.AssignRange] = field(default_factory=list)
    begun: int = 0  # how many of them it has begun
    lost_ns: int | None = None  # when its pipe broke, or when it was ended
    silent_ns: int = 0  # since its last word
    ended: bool = False  # by us, as it did not end by itself
    last_words: str = ""  # of one that could not go on

    @property
    def lost(self) -> bool:
        """Whether it will never hand in its account."""
        return self.lost_ns is not None

    @property
    def over(self) -> bool:
        """Whether it will say nothing more."""
        return self.lost or self.finished is not None

    @property
    def started(self) -> int:
        """Messages with an outcome that are known of."""
        return self.snapshot.started if self.snapshot is not None else 0

    def say(self, word: object) -> None:
        """Tell it, as soon as it reads; nothing happens when it is over."""
        if not self.over:
            self.outbox.send(word)


class WorkerPool:
    """All workers of a run, in the order of their configs."""

    def __init__(self) -> None:
        self.workers: list[WorkerHandle] = []
        self._inbox: Inbox[WorkerHandle] = Inbox()

    def start(self, configs: Sequence[control.WorkerConfig]) -> None:
        """Start one worker for each."""
        for config in configs:
            child = processes.start(_work, config)
            worker = WorkerHandle(config.index, child, Outbox(child.pipe))
            self.workers.append(worker)
            self._inbox.add(worker, child.pipe)

    @property
    def over(self) -> bool:
        """Whether all workers are."""
        return all(worker.over for worker in self.workers)

    def say(self, word: object) -> None:
        """Tell all."""
        for worker in self.workers:
            worker.say(word)

    def hear(self, patience_s: float) -> list[tuple[WorkerHandle, object]]:
        """What was said since the last time; None comes from a worker that is lost."""
        for worker in self.workers:
            worker.outbox.flush()
        heard: list[tuple[WorkerHandle, object]] = []
        for worker, word in self._inbox.hear(patience_s):
            if worker.over:
                continue
            worker.silent_ns = 0
            if word is END:
                worker.lost_ns = now_ns()
                worker.child.process.join(1.0)
            elif isinstance(word, control.WorkerFinished):
                worker.finished = word
            elif isinstance(word, (control.LastWords, TrafficgenError)):  # of a process that cannot go on
                worker.last_words = str(word)
            heard.append((worker, None if word is END else word))
        return heard

    def kill(self) -> None:
        """End the workers that are not over; they are lost."""
        for worker in self.workers:
            if not worker.over:
                _kill(worker)

    def kill_silent(self, elapsed_ns: int, limit_ns: int) -> bool:
        """So much time has passed; end those that have said nothing for too long. Whether there were any.

        Time is counted in the steps in which this is called: after a pause of the whole program nobody is late.
        """
        silent = []
        for worker in self.workers:
            worker.silent_ns += elapsed_ns
            if worker.silent_ns > limit_ns and not worker.over:
                silent.append(worker)
        for worker in silent:
            _kill(worker)
        return bool(silent)

    def end(self, patience_s: float) -> None:
        """Leave no process behind; those that have handed in their accounts get so long to end by themselves."""
        for worker in self.workers:
            if worker.finished is None:
                worker.child.process.kill()
        processes.end([worker.child for worker in self.workers], patience_s)
        self._inbox.close()
        for worker in self.workers:
            worker.child.pipe.close()


def _work(pipe: Connection, config: control.WorkerConfig) -> None:
    # Imported by the child alone: who has one started needs no event loop and no TLS.
    from trafficgen.engine.worker import main

    main(pipe, config)


def _kill(worker: WorkerHandle) -> None:
    worker.child.process.kill()
    worker.ended = True
    worker.lost_ns = now_ns()

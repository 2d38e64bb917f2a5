"""Random runs, each drawn from a number: whatever is asked for and whatever goes wrong, they end, and add up.

    python -m tests.engine.test_random_runs 0 200      # as many as you like

The server counts what it took, apart from our own account; the run is stopped when something has happened so and so
often, never after a time.
"""

import contextlib
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import active_children
from typing import Any

import pytest

import trafficgen
from tests.peers.running import counts, plan_for
from tests.peers.scripted import Script, scripted
from trafficgen import OpenLoop, Pipelining, Progress, Results, RunControl
from trafficgen.engine import supervisor
from trafficgen.measure.health import CaveatKind
from trafficgen.outcomes import StoppedBy

STEPS = ("greet", "ehlo", "mail", "rcpt", "data", "end_of_data", "quit")
FAULTS = ("refuse", "put_off", "shut_down", "hang_up", "reset", "stay_silent", "garbage")


@dataclass
class Stage:
    """What the threads of one server share."""

    rng: random.Random
    faults: dict[str, float]  # how often a step goes wrong
    control: RunControl
    stops: dict[int, int]  # after so many steps: this many wishes to stop
    freeze_at: int | None  # after so many steps a worker is suspended
    lock: threading.Lock = field(default_factory=threading.Lock)
    steps: int = 0
    taken: int = 0
    frozen: int = 0

    def step(self, name: str) -> str | None:
        """One more step of a session; which fault it is to have."""
        with self.lock:
            self.steps += 1
            for _ in range(self.stops.get(self.steps, 0)):
                self.control.stop()
            if self.steps == self.freeze_at and (workers := active_children()):
                self.frozen += 1
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.rng.choice(workers).pid or 0, signal.SIGSTOP)
                    self.control.stop()  # a worker that is suspended ends nothing by itself
                    self.control.stop()
            goes_wrong = self.rng.random() < self.faults.get(name, 0.0)
            return self.rng.choice(FAULTS) if goes_wrong else None


class Faulty(Script):
    """A server whose every step may go wrong."""

    stage: Stage

    def fails(self, name: str) -> bool:
        fault = self.stage.step(name)
        if fault is not None:
            getattr(self, fault)()
        return fault is not None

    def refuse(self) -> None:
        self.say("550 5.7.1 no")

    def put_off(self) -> None:
        self.say("450 4.2.0 later")

    def shut_down(self) -> None:
        self.say("421 4.3.2 closing")
        self.hang_up()

    def garbage(self) -> None:
        self.peer.sendall(b"\xff\xfe\r\n")


def _faulty(name: str) -> Callable[..., None]:
    """This step of a polite server, unless it goes wrong."""

    def step(self: Faulty, *line: str) -> None:
        with self.stage.lock:
            self.stage.taken += name == "end_of_data"
        if not self.fails(name):
            getattr(Script, name)(self, *line)

    return step


def script_for(stage: Stage) -> type[Script]:
    """A server on that stage."""
    extensions = tuple(stage.rng.sample(["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"], stage.rng.randint(0, 3)))
    steps = {name: _faulty(name) for name in STEPS}
    return type("FaultyHere", (Faulty,), {"stage": stage, "extensions": extensions, **steps})


def random_run(seed: int) -> tuple[Results, Stage]:
    """Draw everything from the seed, and run it."""
    rng = random.Random(seed)
    messages = rng.choice([None, rng.randint(1, 30), rng.randint(30, 1500)])
    timed = messages is None or rng.random() < 0.3
    stops: dict[int, int] = {}
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        stops[rng.randint(1, 200)] = rng.choice([1, 1, 2])
    bad = rng.choice([0.0, 0.02, 0.2, 1.0])
    faults = {step: bad for step in STEPS if rng.random() < 0.4}
    if bad == 1.0 and messages is not None:
        messages = min(messages, 20)  # each waits for a time limit and a rest
    control = RunControl()
    stage = Stage(rng, faults, control, stops, rng.randint(1, 100) if rng.random() < 0.1 else None)
    words: dict[str, Any] = {
        "messages": messages,
        "sessions": rng.choice([1, 3, rng.randint(4, 100)]),
        "workers": rng.choice([1, 1, 2]),
        "duration_s": rng.choice([0.05, 0.5]) if timed else None,
        "body": rng.choice([None, None, None, "100kb"]),
        "load": OpenLoop(rng.choice([20.0, 500.0, 5000.0])) if timed and rng.random() < 0.5 else None,
        "keep_going": rng.random() < 0.8,
        "grace_s": rng.choice([0.0, 0.2, 1.0]),
        "session": {
            "reply_timeout_ns": 300_000_000,
            "max_messages": rng.choice([0, 0, 1, 3]),
            "pipelining": rng.choice(list(Pipelining)),
        },
    }
    seen: list[Progress] = []

    def progress(now: Progress) -> None:
        assert now.planned >= now.snapshot.started == sum(now.snapshot.outcomes)
        assert not seen or now.snapshot.started >= seen[-1].snapshot.started
        seen.append(now)

    with scripted(script_for(stage)) as server, pytest.MonkeyPatch.context() as patch:
        if stage.freeze_at is None:  # on a busy machine a sound worker needs longer than a suspended one is given
            patch.setattr(supervisor, "_HURRY_NS", 60 * 10**9)
            patch.setattr(supervisor, "_PATIENCE_NS", 60 * 10**9)
        results = trafficgen.run(plan_for(server.port, **words), progress=progress, control=control)
    assert_consistent(results, stage)
    return results, stage


def assert_consistent(results: Results, stage: Stage) -> None:
    """The equations hold, no two counts differ, and the server has what it should."""
    found = counts(results)
    assert CaveatKind.ACCOUNT_DIFFERS not in {caveat.kind for caveat in results.caveats}, results.caveats
    assert results.complete
    assert results.valid or (stage.frozen and results.generator.lost_workers == ()), results.caveats
    # What it took and refused, or said nothing of, is no more than was begun. (With a worker gone, all it had is in
    # doubt.)
    started = results.messages.started
    assert found.accepted <= stage.taken <= started or stage.frozen
    if stage.control.count and results.stopped_by is not StoppedBy.FINISHED:
        assert results.stopped_by in (StoppedBy.INTERRUPTED, StoppedBy.DEADLINE, StoppedBy.FIRST_ERROR)


@pytest.mark.parametrize("seed", range(24))
def test_a_random_run_ends_and_adds_up(seed: int) -> None:
    random_run(seed)


if __name__ == "__main__":
    for number in range(int(sys.argv[1]), int(sys.argv[2])):
        results, stage = random_run(number)
        print(number, results.stopped_by.value, counts(results), f"taken {stage.taken}", flush=True)  # noqa: T201

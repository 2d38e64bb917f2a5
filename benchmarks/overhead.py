"""What recording, the timeline and the live display cost: the same run with them and without.

    python -m benchmarks.overhead [--rounds 10] [--messages 100000] [--write]

Takes     a machine on which nothing else runs
Gives     a table: messages/s of both sides, medians over rounds that take turns, and the ratio of the medians with its
          spread; beside it the CPU time of the worker and of its supervisor a message, which scatters less
Bare      the worker's rows are counted and thrown away: no histogram, no timeline, no domains, no numbers of accepted
          messages; nobody looks on. What stays: the clock readings and the row itself, a tuple of nine, and four
          nearly empty snapshots a second
On        the recorder and the timeline; live lines drawn by rich on a terminal; the results file written as the run
          goes. In the second line also the live page, asked for once a second, and the Prometheus metrics
"""

import argparse
import itertools
import os
import pty
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from unittest.mock import patch

from benchmarks.machine import birth_certificate, write_result
from trafficgen.engine import control, worker
from trafficgen.measure.journal import Journal
from trafficgen.measure.recorder import Recorder
from trafficgen.plan import Plan, SizedBodies, Target, Workload
from trafficgen.publish.live_page import LivePage
from trafficgen.publish.prometheus import Prometheus
from trafficgen.report.live import Live
from trafficgen.runs.monitor import MonitorOptions, Observer, run_monitored
from trafficgen.runs.run import Progress
from trafficgen.sink.embedded import EmbeddedSink

SESSIONS = 20
FLOOR = 0.95


class Measured(NamedTuple):
    """One run. CPU in µs a message; `recorded`: messages with a latency."""

    messages_per_s: float
    worker_us: float
    supervisor_us: float
    recorded: int


Side = Callable[[Target, int], Measured]


# -- the bare side --------------------------------------------------------------------------------------


class Rows:
    """Counts rows and drops them, with no Python in between: `frombytes` is next(counter, row)."""

    def __init__(self) -> None:
        self._counter = itertools.count()
        self._looks = 0
        self.frombytes = partial(next, self._counter)

    def count(self) -> int:
        self._looks += 1
        return next(self._counter) - self._looks + 1


class Counter(Recorder):
    """Counts rows, all of them as accepted: our sink refuses nothing."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._counted = Rows()
        self.rows = self._counted  # type: ignore[assignment]

    def fold(self, least: int = 0) -> None:
        """There is nothing to fold."""

    def _fold(self) -> None:
        for elapsed in (*self._phases.values(), self._lags):
            del elapsed[:]
        self._outcomes[0] = self._counted.count()


def bare_worker(pipe: Connection, orders: control.WorkerConfig) -> None:
    """A worker process that only counts."""
    worker.Recorder = Counter  # type: ignore[attr-defined]
    worker.main(pipe, orders)


def bare(target: Target, messages: int) -> Measured:
    with patch("trafficgen.engine.worker_pool._work", bare_worker):
        return measured(target, messages, lambda _now: None)


# -- the side with everything on ------------------------------------------------------------------------


def recorded(target: Target, messages: int) -> Measured:
    """As on a terminal, with --json."""
    return shown(target, messages, [])


def watched(target: Target, messages: int) -> Measured:
    """With --live-port and a browser, and --metrics-port and a Prometheus, too."""
    with LivePage(0) as page, Prometheus(0) as metrics:
        urls = (f"http://127.0.0.1:{page.port}/runs.json", f"http://127.0.0.1:{metrics.port}/metrics")
        with asked(urls):
            return shown(target, messages, [page, metrics])


def shown(target: Target, messages: int, observers: list[Observer]) -> Measured:
    with ExitStack() as stack:
        terminal = stack.enter_context(drained_terminal())
        live = stack.enter_context(
            Live(planned=messages, duration_ns=None, stream=terminal, environment={"TERM": "xterm-256color"})
        )
        journal = Journal(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run.json")
        return measured(
            target,
            messages,
            lambda now: live.update(now.snapshot, now.elapsed_ns),
            journal=journal,
            observers=observers,
        )


@contextmanager
def drained_terminal() -> Iterator[Any]:
    """A pseudo terminal whose other end is read and thrown away."""
    ours, theirs = pty.openpty()

    def read() -> None:
        try:
            while os.read(ours, 65536):
                pass
        except OSError:  # the other end is closed
            os.close(ours)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        yield stream
    reader.join()


@contextmanager
def asked(urls: tuple[str, ...]) -> Iterator[None]:
    """Somebody fetches the urls once a second, in a process of its own."""
    code = (
        "import sys, time, urllib.request\n"
        "while not time.sleep(1):\n"
        "    for url in sys.argv[1:]: urllib.request.urlopen(url).read()"
    )
    process = subprocess.Popen([sys.executable, "-c", code, *urls], stderr=subprocess.DEVNULL)
    with process:
        yield
        process.kill()


# -- both -----------------------------------------------------------------------------------------------


def measured(target: Target, messages: int, look: Callable[[Progress], None], **watching: Any) -> Measured:
    """One run of the plan, its messages counted by wall clock and by CPU."""
    last: list[Progress] = []

    def see(now: Progress) -> None:
        last[:] = [now]
        look(now)

    plan = Plan(
        target=target,
        sessions=SESSIONS,
        max_messages=messages,
        workload=Workload(content=SizedBodies(("5000",))),
        workers=1,
        run_id=os.urandom(8).hex(),
    )
    began_ns = time.process_time_ns()
    run_monitored(plan, MonitorOptions(), progress=see, **watching)
    supervisor_ns = time.process_time_ns() - began_ns
    (snapshot,) = (now.snapshot for now in last)
    (one,) = snapshot.workers
    assert snapshot.accepted == messages, snapshot.outcomes
    return Measured(
        messages_per_s=messages * 1e9 / one.wall_ns,
        worker_us=one.cpu_ns / messages / 1e3,
        supervisor_us=supervisor_ns / messages / 1e3,
        recorded=snapshot.latency.count,
    )


def row(words: str, sides: list[tuple[Measured, Measured]]) -> str:
    """One line of the table from the rounds of both sides."""
    rates, cpu, supervising = (
        [(getattr(on, name), getattr(off, name)) for on, off in sides]
        for name in ("messages_per_s", "worker_us", "supervisor_us")
    )
    ratios = sorted(on / off for on, off in rates)
    fast, slow = (median(side) for side in zip(*rates, strict=True))
    (on_us, off_us), (seen_us, unseen_us) = (
        [median(side) for side in zip(*pairs, strict=True)] for pairs in (cpu, supervising)
    )
    return (
        f"| {words} | {fast:,.0f} | {slow:,.0f} | **{fast / slow:.3f}** | {ratios[0]:.3f}–{ratios[-1]:.3f} | "
        f"{on_us:.2f} / {off_us:.2f} = {on_us / off_us:.3f} | {seen_us:.2f} / {unseen_us:.2f} |"
    )


def rounds_of(side: Side, target: Target, messages: int, rounds: int) -> list[tuple[Measured, Measured]]:
    """`side` and the bare one in turn, each first as often as the other."""
    pairs = []
    for turn in range(rounds):
        if turn % 2:
            off = bare(target, messages)
            pairs.append((side(target, messages), off))
        else:
            on = side(target, messages)
            pairs.append((on, bare(target, messages)))
    return pairs


def main() -> None:
    """Run both sides in turn and print the table."""
    parser = argparse.ArgumentParser(description="What recording and the live display cost.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--write", action="store_true", help="also write benchmarks/results/<date>-overhead.md")
    chosen = parser.parse_args()
    lines = [
        f"| {SESSIONS} sessions, 5 KB, our sink | on /s | bare /s | ratio | ratios | worker's CPU, µs | supervisor's |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    with EmbeddedSink(sessions=SESSIONS, ledger=False) as sink:
        bare(sink.address, chosen.messages // 4)
        for words, side in (
            ("recording, timeline, live lines, results file", recorded),
            ("live page and metrics too", watched),
        ):
            lines.append(row(words, rounds_of(side, sink.address, chosen.messages, chosen.rounds)))
            print(lines[-1], flush=True)
    lines += [
        "",
        f"Ratio of medians, which should be {FLOOR} or more; least and most of the rounds; CPU a message, on / bare.",
    ]
    if chosen.write:
        command = " ".join(["python -m benchmarks.overhead", *sys.argv[1:]])
        print("written to", write_result("overhead", [birth_certificate(command), "", *lines]))


if __name__ == "__main__":
    main()

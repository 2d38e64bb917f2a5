"""What an observer costs: a look at a long queue, and a run beside it.

    python -m benchmarks.observe look [MESSAGES]     # CPU time at 100,000 deferred, by long and by short queue ids
    python -m benchmarks.observe run [PAIRS]         # throughput with and without, 60 pairs, 5 minutes: quiet

The promises  a look at 100,000 queued takes 0.15 s of CPU, an observer 1 % of a core, and a run beside it keeps 0.99 of
              its throughput.
`run`         one run, closed, as fast as it can, to a sink in its own process: two full cores, so what an observer
              takes is missed. It looks at the host, the sink's processes and a spool of 10,000 messages each second.
              It is stopped (SIGSTOP) for `TURN_S` of every two, in random order: neighbours of seconds are more alike
              than runs are. The interval is of the ratio of neighbours; CPU a message is that of generator and sink.
              The observer's own CPU is that of its whole process over `WATCHED_S`, with the start of Python

The spool is made up: names as Postfix gives them, in 16 directories, and in each file the first three records. It
lies in a temporary folder. "again" is a look when all directories have changed and most names are known; "unchanged"
when none has. The host is this machine.
"""

import argparse
import math
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from tests.peers.running import plan_for
from tests.sink.sink_process import SinkProcess, sink_process
from trafficgen.clock import NS_PER_S
from trafficgen.measure.results import Results
from trafficgen.runs.monitor import MonitorOptions, run_monitored
from trafficgen.runs.observation import Observation
from trafficgen.runs.run import Progress
from trafficgen.server.host import HostSampler
from trafficgen.server.spool import BASE52, PostfixSpool
from trafficgen.verdict.signed_rank import estimate, interval

NOW_S = 1_795_748_590
QUEUED: Final = 10_000
TURN_S: Final = 2.0
WARM_S: Final = 5.0
WATCHED_S: Final = 60.0
LEAST_THROUGHPUT: Final = 0.99
MOST_CPU: Final = 0.01


def long_id(number: int) -> str:
    text = ""
    value = NOW_S - number % 5000
    for _ in range(6):
        value, digit = divmod(value, 52)
        text = BASE52[digit] + text
    micro = "".join(BASE52[number // 52**place % 52] for place in (2, 1, 0))
    return f"{text}0{micro}z{number:X}"


def short_id(number: int) -> str:
    return f"{number % 0xFFFFF:05X}{number + 0x980000:06X}"


def fill(folder: Path, name: Callable[[int], str], messages: int) -> None:
    for queue in ("maildrop", "incoming", "active", "hold"):
        (folder / queue).mkdir(parents=True)
    for digit in "0123456789ABCDEF":
        (folder / "deferred" / digit).mkdir(parents=True)
    for number in range(messages):
        one = name(number)
        arrival = b"T\x11%d %06d" % (NOW_S - number % 5000, number)
        head = b"C_" + b" " * 95 + arrival + b"R\x0cann@mx%d.test" % (number % 10)
        (folder / "deferred" / f"{number % 16:X}" / one).write_bytes(head)


def look(spool: PostfixSpool) -> float:
    began = time.process_time()
    for queue in ("maildrop", "incoming", "active", "hold", "deferred"):
        spool.look(queue)
    spool.values(time.time())
    return time.process_time() - began


def looks(messages: int) -> Iterator[str]:
    """A table, and a line for the host."""
    yield f"| {messages:,} deferred | first look, CPU s | again | unchanged |"
    yield "|---|---|---|---|"
    for words, name in (("long ids", long_id), ("short ids", short_id)):
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            fill(folder, name, messages)
            spool = PostfixSpool(folder)
            first = look(spool)
            for digit in "0123456789ABCDEF":
                (folder / f"deferred/{digit}/{digit}new").touch()
            again = look(spool)
            unchanged = look(spool)
            assert spool.values(time.time())["queue.deferred"] == messages + 16
            yield f"| {words} | {first:.2f} | {again:.3f} | {unchanged:.4f} |"
    host = HostSampler(room=Path("/"))
    host.sample(0.0)
    began = time.process_time()
    for second in range(1, 101):
        host.sample(float(second))
    yield ""
    yield f"one look at the host: {(time.process_time() - began) * 10:.2f} ms of CPU"


class Turns:
    """Of a run: an observer that looks, and one that is stopped, in turns. Is told of the run's progress."""

    def __init__(self, pairs: int, observer: int) -> None:
        chance = random.Random(1)
        self._turns = [looks for _ in range(pairs) for looks in chance.sample((True, False), 2)]
        self._observer = observer
        self._others: list[Any] = []
        """Generator and sink: all processes of this one but the observer."""
        self._marks: list[tuple[int, int, float]] = []
        """Where a turn began: time, messages accepted, CPU seconds of all but the observer."""

    @property
    def lasts_s(self) -> float:
        """All of them, and what a run needs to begin."""
        return len(self._turns) * TURN_S * 1.1 + WARM_S

    def see(self, now: Progress) -> None:
        """Go on to the next turn when it is time for it."""
        due = WARM_S + len(self._marks) * TURN_S
        if now.elapsed_ns < due * NS_PER_S or len(self._marks) > len(self._turns):
            return
        self._marks.append((now.elapsed_ns, now.snapshot.accepted, self._cpu_s()))
        looks = len(self._marks) > len(self._turns) or self._turns[len(self._marks) - 1]
        os.kill(self._observer, signal.SIGCONT if looks else signal.SIGSTOP)

    def _cpu_s(self) -> float:
        if not self._others:
            psutil: Any = import_module("psutil")
            own = psutil.Process()
            self._others = [own, *(one for one in own.children(recursive=True) if one.pid != self._observer)]
        return sum(sum(one.cpu_times()[:2]) for one in self._others)

    def ratios(self) -> Iterator[tuple[float, float]]:
        """With, by without: messages a second, and CPU a message."""
        found = []
        for (at, sent, cpu), (then, later, more) in pairwise(self._marks):
            found.append(((later - sent) / (then - at), (more - cpu) / (later - sent)))
        assert len(found) == len(self._turns), "the run ended before the last turn"
        for place in range(0, len(found), 2):
            first, second = found[place : place + 2]
            on, off = (first, second) if self._turns[place] else (second, first)
            yield on[0] / off[0], on[1] / off[1]


def runs(pairs: int) -> Iterator[str]:
    """Ratio and interval of throughput and CPU, CPU of the observer. SystemExit when a promise is broken."""
    with tempfile.TemporaryDirectory() as text, sink_process("127.0.0.1:0") as sink:
        folder = Path(text)
        fill(folder, long_id, QUEUED)
        (folder / "pid").write_text(str(sink.process.pid))
        what = ["--queue", text, "--pid-file", str(folder / "pid")]
        with Observation("local", what) as seen:
            turns = Turns(pairs, pid_of(seen))
            sent(sink, turns.lasts_s, seen, turns.see)
        began = time.monotonic()
        with Observation("local", what) as seen:
            results = sent(sink, WATCHED_S, seen)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)  # the observer has not been waited for
        after, lasted_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
        sink.end()
    whole = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert results.server is not None
    looks_share, share = results.server.cost_share, whole / lasted_s
    rates, cpu = zip(*turns.ratios(), strict=True)
    yield "| with / without | ratio | 95 % | pairs |"
    yield "|---|---|---|---|"
    for words, ratios in (("messages a second", rates), ("CPU a message", cpu)):
        logs = [math.log(one) for one in ratios]
        low, high = (math.exp(one) for one in interval(logs, 0.05))
        yield f"| {words} | {math.exp(estimate(logs)):.4f} | {low:.4f} to {high:.4f} | {pairs} |"
    low, high = (math.exp(one) for one in interval([math.log(one) for one in rates], 0.05))
    kept = "kept" if low >= LEAST_THROUGHPUT else "broken" if high < LEAST_THROUGHPUT else "not decided: more pairs"
    yield ""
    yield f"{LEAST_THROUGHPUT} of the throughput: {kept}"
    yield f"looks took {looks_share:.2%} of a core, the whole process {share:.2%}"
    if kept == "broken" or looks_share > MOST_CPU:
        sys.exit("a promise is broken")


def sent(
    sink: SinkProcess, seconds: float, observation: Observation, progress: Callable[[Progress], None] | None = None
) -> Results:
    plan = plan_for(sink.port, duration_s=seconds, sessions=20, body="5kb", seed=1)
    return run_monitored(plan, MonitorOptions(), observation=observation, progress=progress)


def pid_of(observation: Observation) -> int:
    process = observation._process
    assert process is not None
    return process.pid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["look", "run"])
    parser.add_argument("number", nargs="?", type=int, help="messages, or pairs")
    chosen = parser.parse_args()
    for line in looks(chosen.number or 100_000) if chosen.what == "look" else runs(chosen.number or 60):
        print(line, flush=True)


if __name__ == "__main__":
    main()

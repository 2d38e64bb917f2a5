"""What an observer costs: a look at a long queue, and a run beside it.

    python -m benchmarks.observe look [MESSAGES]     # CPU time at 100,000 deferred, by long and by short queue ids
    python -m benchmarks.observe run [PAIRS]         # throughput with and without, 20 pairs in turns, 9 minutes: quiet

The promises  a look at 100,000 queued takes 0.15 s of CPU, an observer 1 % of a core, and a run beside it keeps 0.99 of
              its throughput.
`run`         closed, as fast as it can, to a sink in its own process: two full cores, so what an observer takes
              is missed. It looks at the host, the sink's processes and a spool of 10,000 messages each second. CPU is
              that of its whole process over a minute, with the start of Python

The spool is made up: names as Postfix gives them, in 16 directories, and in each file the first two records. It
lies in a temporary folder. "again" is a look when all directories have changed and most names are known; "unchanged"
when none has. The host is this machine.
"""

import argparse
import math
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.peers.running import plan_for
from tests.sink.sink_process import SinkProcess, sink_process
from trafficgen.measure.results import Results
from trafficgen.runs.monitor import MonitorOptions, run_monitored
from trafficgen.runs.observation import Observation
from trafficgen.server.host import HostSampler
from trafficgen.server.spool import BASE52, PostfixSpool
from trafficgen.verdict.signed_rank import estimate, interval

NOW_S = 1_795_748_590
QUEUED: Final = 10_000
RUN_S: Final = 10.0
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
        head = b"C_" + b" " * 95 + b"T\x11%d %06d" % (NOW_S - number % 5000, number)
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


def sent(sink: SinkProcess, seconds: float, observation: Observation | None) -> Results:
    plan = plan_for(sink.port, duration_s=seconds, sessions=20, body="5kb", seed=1)
    return run_monitored(plan, MonitorOptions(), observation=observation)


def runs(pairs: int) -> Iterator[str]:
    """Ratio and interval of throughput, CPU of the observer. SystemExit when a promise is broken."""
    with tempfile.TemporaryDirectory() as text, sink_process("127.0.0.1:0") as sink:
        folder = Path(text)
        fill(folder, long_id, QUEUED)
        (folder / "pid").write_text(str(sink.process.pid))
        what = ["--queue", text, "--pid-file", str(folder / "pid")]
        sent(sink, RUN_S, None)  # the first one finds a cold machine
        ratios = []
        for number in range(pairs):
            rates = {}
            for watched in (False, True) if number % 2 else (True, False):
                if watched:
                    with Observation("local", what) as seen:
                        results = sent(sink, RUN_S, seen)
                else:
                    results = sent(sink, RUN_S, None)
                rates[watched] = results.rate.messages_per_s or 0.0
            ratios.append(rates[True] / rates[False])
        began = time.monotonic()
        with Observation("local", what) as seen:
            results = sent(sink, 60.0, seen)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)  # the observer has not been waited for
        after, lasted_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
        sink.end()
    whole = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert results.server is not None
    low, high = interval([math.log(one) for one in ratios], 0.05)
    middle = math.exp(estimate([math.log(one) for one in ratios]))
    looks_share, share = results.server.cost_share, whole / lasted_s
    yield "| throughput with / without | 95 % | pairs | looks, of a core | whole process, of a core |"
    yield "|---|---|---|---|---|"
    yield (
        f"| {middle:.4f} | {math.exp(low):.4f} to {math.exp(high):.4f} | {pairs} | {looks_share:.2%} | {share:.2%} |"
    )
    if math.exp(high) < LEAST_THROUGHPUT or looks_share > MOST_CPU:
        sys.exit("a promise is broken")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["look", "run"])
    parser.add_argument("number", nargs="?", type=int, help="messages, or pairs")
    chosen = parser.parse_args()
    for line in looks(chosen.number or 100_000) if chosen.what == "look" else runs(chosen.number or 20):
        print(line, flush=True)


if __name__ == "__main__":
    main()

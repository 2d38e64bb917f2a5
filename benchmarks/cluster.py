"""What a cluster costs and gives: its coordinator, two shards beside two workers, a million messages once each.

    python -m benchmarks.cluster coordinator [--seconds 20] [--write]
    python -m benchmarks.cluster throughput [--rounds 5] [--seconds 20] [--write]
    python -m benchmarks.cluster proof [--messages 1000000]

coordinator  cost with 4, 20 and 100 shards: what one shard really said is played back for each, so that nothing is sent
throughput   two shards by Dask beside one run with two workers, in turns, to our sink: messages/s of each, their ratio
proof        four hosts in network namespaces (root; else on loopback) by Dask beside one process, with one seed:
             the ledgers of both hold the same numbers, checksums and recipients, each once
"""

import argparse
import json
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.machine import birth_certificate, write_result
from tests.cluster.namespaces import hosts_by_dask
from tests.sink.sink_process import sink_process
from trafficgen import OpenLoop, Plan, Progress, Results, TcpTarget, Workload, run
from trafficgen.cluster import words
from trafficgen.cluster.coordinator import Cluster
from trafficgen.cluster.dask_engine import DaskEngine
from trafficgen.measure.timeline import Timeline
from trafficgen.measure.timeline_changes import TimelineTeller
from trafficgen.plan import Shard, SizedBodies
from trafficgen.runs.monitor import MonitorOptions, run_monitored

if TYPE_CHECKING:
    from collections.abc import Callable

SHARDS: Final = (4, 20, 100)
RUN_ID: Final = "00000000000000c5"
_PAST_S: Final = (0, 1_780)
_FIRST: Final = 2
_RECORDED_S: Final = 10
_CLOCK_ERROR_NS: Final = 5 * 10**9


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("coordinator", "throughput", "proof"))
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    runs: dict[str, Callable[[], list[str]]] = {
        "coordinator": lambda: coordinator(given.seconds),
        "throughput": lambda: throughput(given.rounds, given.seconds),
        "proof": lambda: proof(given.messages or 1_000_000),
    }
    lines = [f"# {given.what} of a cluster", "", *runs[given.what]()]
    lines += ["", birth_certificate(" ".join(["python -m benchmarks.cluster", *sys.argv[1:]]))]
    print("\n".join(lines))
    if given.write:
        write_result(f"cluster-{given.what}", lines)


# -- the coordinator ------------------------------------------------------------------------------------


class _Recorded:
    """An engine whose hosts say what one shard once said, each as its own. Implements `cluster.engine.Engine`."""

    def __init__(self, said: list[words.ShardProgress], results: Results, count: int, seconds: int) -> None:
        self.hosts = [f"host{number}" for number in range(count)]
        self._said = said
        self._begun = False
        self._began_s = 0.0
        self._seconds = seconds
        self._prepared = pickle.dumps([words.ShardPrepared(results.run.tool_version, "h", (), {}, 1)])
        self._ended = [pickle.dumps([_of_shard(results, number + 1, count)]) for number in range(count)]
        self.cpu_at_begin_s = self.cpu_at_end_s = self._hosts_cpu_s = 0.0
        self.octets: list[int] = []
        self._past_heard: set[str] = set()

    def ask(self, host: str, function: str, *given: Any) -> "Future[Any]":
        answer: Future[Any] = Future()
        answer.set_result(self._answer(host, function, given))
        return answer

    def _answer(self, host: str, function: str, given: tuple[Any, ...]) -> Any:
        if function == "clock":
            return time.time_ns(), time.time_ns()
        if function == "begin":
            self._begun = True
        if function != "look":
            return None
        if not self._begun:
            return 1, self._prepared
        if not self._began_s:
            return self._of_the_past(host, given[1])
        elapsed_s = time.monotonic() - self._began_s
        if elapsed_s > self._seconds:
            self.cpu_at_end_s = self.cpu_at_end_s or self._cpu_s()
            return 10**9, self._ended[int(host.removeprefix("host"))]
        latest = min(int(elapsed_s / self._seconds * len(self._said)), len(self._said) - 1) + 2
        return latest, self._since(given[1], latest)

    def _of_the_past(self, host: str, serial: int) -> tuple[int, bytes | None]:
        """The first word; once all have heard it, measuring begins. In a real run it came bit by bit."""
        if serial >= _FIRST:
            self._past_heard.add(host)
        if len(self._past_heard) == len(self.hosts):
            self._began_s, self.cpu_at_begin_s = time.monotonic(), self._cpu_s()
            self.octets.clear()
        return _FIRST, self._since(serial, _FIRST)

    def _since(self, serial: int, latest: int) -> bytes | None:
        """What a host packs, at its own expense."""
        before_s = time.process_time()
        unheard = self._said[max(serial - 1, 0) : latest - 1]
        packed = None
        if unheard:
            changes = tuple(one for word in unheard for one in word.changes)
            packed = pickle.dumps([replace(unheard[-1], changes=changes)])
            self.octets.append(len(packed))
        self._hosts_cpu_s += time.process_time() - before_s
        return packed

    def _cpu_s(self) -> float:
        return time.process_time() - self._hosts_cpu_s

    def close(self) -> None:
        """Nobody is there."""


def _of_shard(results: Results, number: int, count: int) -> words.ShardEnded:
    record = replace(results.shards[0], number=number, of=count)
    plan = dict(results.plan) | {"shard": {"number": number, "of": count, "start_at_ns": None}}
    return words.ShardEnded(replace(results, shards=(record,), plan=plan), None)


def coordinator(seconds: int) -> list[str]:
    """CPU of the coordinator while shards send, and what it holds."""
    plan = Plan(
        sessions=200, duration_ns=_RECORDED_S * 10**9, load=OpenLoop(4_000.0), seed=7, run_id=RUN_ID, workers=1,
        keep_going=True, shard=Shard(1, 2), workload=Workload(content=SizedBodies(("1kb",))),
    )  # fmt: skip
    said: list[Progress] = []
    results = run(plan, progress=said.append)
    whole = replace(plan, shard=Shard())
    lines = [
        f"What one shard said in {_RECORDED_S} s at 2,000/s with one worker, played back in {seconds} s, at the",
        "beginning of a run and when half an hour of it is past; no page, no thresholds. Memory: the most this process",
        "ever held, in one process from few shards to many, with what the playing back takes.",
        "",
        "| shards | past, s | CPU, of a core | a shard | CPU s for the account | memory, MB | octets a look |",
        "|---|---|---|---|---|---|---|",
    ]
    for past_s in _PAST_S:
        words_of_one = _told(said, past_s)
        for count in SHARDS:
            engine = _Recorded(words_of_one, results, count, seconds)
            run_monitored(whole, MonitorOptions(), runner=Cluster(engine, _CLOCK_ERROR_NS).run)
            share = (engine.cpu_at_end_s - engine.cpu_at_begin_s) / seconds
            account_s = engine._cpu_s() - engine.cpu_at_end_s
            held_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            lines.append(
                f"| {count} | {past_s:,} | {share:.2%} | {share / count:.3%} | {account_s:.2f} | {held_mb:.0f} "
                f"| {median(engine.octets):,.0f} |"
            )
    return lines


def _told(said: list[Progress], past_s: int) -> list[words.ShardProgress]:
    """What a shard says that has been sending like that for `past_s` already. The first word has all of it."""
    recorded, past = said[-1].snapshot.timeline, Timeline()
    for at_s in range(0, past_s, len(recorded)):
        past.add_rows(np.arange(len(recorded)) + at_s, recorded)
    teller, told = TimelineTeller(), []
    first = teller.changes(past)
    for now in said:
        timeline = past.copy()
        timeline.add_rows(np.arange(len(now.snapshot.timeline)) + past_s, now.snapshot.timeline)
        changes = (teller.changes(timeline),)
        told.append(words.ShardProgress(replace(now.snapshot, timeline=Timeline()), now.planned, changes))
    return [replace(told[0], changes=(first, *told[0].changes)), *told[1:]]


# -- two shards beside two workers ----------------------------------------------------------------------


def throughput(rounds: int, seconds: int) -> list[str]:
    """Messages/s while they send, in turns, by whole command lines."""
    common = f"--duration {seconds}s --concurrency 40 --body-size 5kb --keep-going --seed 7 --quiet".split()
    ways = {
        "one run, two workers": ["--workers", "2"],
        "two shards, a worker each": ["--cluster", "local:2", "--workers", "1", "--clock-error", "5s"],
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder, sink_process("127.0.0.1:0", "--no-ledger") as sink:
        for _ in range(rounds):
            for name, options in ways.items():
                path = Path(folder) / "results.json"
                target = ["--target", f"127.0.0.1:{sink.port}", "--json", str(path)]
                command = [sys.executable, "-m", "trafficgen", "send", *target, *common, *options]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                rates[name].append(json.loads(path.read_text())["rate"]["messages_per_s"])
    (one, first), (two, second) = rates.items()
    ratio = median(after / before for before, after in zip(first, second, strict=True))
    return [
        f"Messages of 5 kB over 40 sessions for {seconds} s, {rounds} rounds in turns.",
        "",
        "| | messages/s, median |",
        "|---|---|",
        f"| {one} | {median(first):,.0f} |",
        f"| {two} | {median(second):,.0f} |",
        f"| ratio, median of rounds (goal: 0.95) | {ratio:.2f} |",
    ]


# -- the same messages ----------------------------------------------------------------------------------


def proof(messages: int) -> list[str]:
    """Four hosts beside one process."""
    with tempfile.TemporaryDirectory() as folder, hosts_by_dask(4) as there:
        by_cluster, alone = Path(folder) / "cluster.ledger", Path(folder) / "alone.ledger"
        manifest = Path(folder) / "manifest"
        plan = Plan(
            sessions=40, max_messages=messages, seed=7, run_id=RUN_ID, workers=1, keep_going=True,
            workload=Workload(content=SizedBodies(("2kb",))),
        )  # fmt: skip
        with sink_process(f"{there.address}:0", "--ledger", str(by_cluster)) as sink:
            target = TcpTarget(there.address, sink.port)
            with closing(DaskEngine(there.scheduler, 4)) as engine:
                results = Cluster(engine, _CLOCK_ERROR_NS).run(replace(plan, target=target), manifest=manifest)
            sink.end()
        with sink_process(f"{there.address}:0", "--ledger", str(alone)) as sink:
            run(replace(plan, target=TcpTarget(there.address, sink.port), workers=2))
            sink.end()
        command = [sys.executable, "-m", "trafficgen", "verify", str(manifest), str(by_cluster)]
        verified = subprocess.run(command, check=False, capture_output=True, text=True)
        theirs, ours = _entries(by_cluster), _entries(alone)
        namespaces = "in network namespaces" if there.hosts[0].link else "on the loopback address"
    assert len(theirs) == len(set(theirs)) == messages, "a message is missing or there twice"
    assert theirs == ours, "the cluster sent other messages"
    assert verified.returncode == 0, verified.stdout
    counts = results.messages
    return [
        f"{messages:,} messages by 4 hosts {namespaces}: accepted {counts.accepted:,}, in doubt {counts.in_doubt:,}.",
        f"Their ledger has {len(theirs):,} entries: numbers, checksums and recipients of one process with that seed.",
        "",
        *(f"    {line}" for line in verified.stdout.splitlines()),
    ]


def _entries(ledger: Path) -> list[str]:
    """Number, checksum, whether whole, recipients of each message, sorted."""
    entries = []
    for line in ledger.read_text().splitlines():
        if not line.startswith("#"):
            _run, number, checksum, whole, _session, recipients, digest, _at = line.split()
            entries.append(f"{number} {checksum} {'whole' if whole in '+~' else 'damaged'} {recipients} {digest}")
    return sorted(entries)


if __name__ == "__main__":
    main()

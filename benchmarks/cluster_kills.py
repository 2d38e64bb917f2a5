"""What becomes of the account of a cluster that loses something in mid-run, at random moments, again and again.

    python -m benchmarks.cluster_kills [--count 50] [--kind shard worker host scheduler client] [--lanes 12]
    python -m benchmarks.cluster_kills --count 0                        # what all batches so far come to
    python -m benchmarks.cluster_kills --again 17 --kind shard          # one run once more; it is not written down

Each run is a command line over two hosts (in network namespaces as root; else on loopback) of a Dask cluster, to a sink
with a ledger of its own. Up to 3 s after the first message was accepted

shard       the process of one shard is killed (SIGKILL)
worker      the Dask worker of one host is killed
host        the link of one host is down (on loopback: its worker is suspended)
scheduler   the scheduler is killed
client      the command itself is killed: its last results so far are what there is, and shards stop by themselves

In every run both equations of the account hold, no message is there twice, and what was accepted has arrived; but for
the client, no more arrived than was accepted or is in doubt, and the exit code is 121.

Takes     how many runs of each kind to add. A run's number is its seed: the moment, the host and the messages
Gives     a line for each run in benchmarks/results/cluster-kills.jsonl as soon as it has ended (kills_record), and the
          sums over all batches, also as a page beside it. Exit code 1 when a run did not hold, or ended before it lost
          anything: that is said, and its number is left to the next batch
Stop      Ctrl-C: runs that are under way are made by the next batch
Lasts     some 5 s of CPU a run, most of it the start of its interpreters; a lane mostly waits (for the start, for what
          is lost), so there are many. Only what shards wait for a client that is gone is cut (impatient)
"""

import argparse
import multiprocessing
import os
import random
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, zip_longest
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from benchmarks import impatient
from benchmarks.kills_record import RECORD, Kill, KillsRecord
from tests.cluster.namespaces import HostsByDask, NamespacedHost, hosts_by_dask
from tests.sink.sink_process import SinkProcess, sink_process
from trafficgen.errors import ExitCode, ResultsError
from trafficgen.measure.results import read_results

_MOMENT_S: Final = 3.0
_PATIENCE_S: Final = 300.0
_TURN_S: Final = 0.1
_TURNS: Final = 5
"""Runs by the hosts of one cluster, which for each that is lost has one more."""
_ALONE: Final = "scheduler"
"""Without it hosts are of no use any more."""
_stopping: Final = threading.Event()
_forked: Final = multiprocessing.get_context("forkserver")
"""Clients come from a process that has imported Dask: 0.9 of 1.7 s of CPU each (2026-11-27, 2 cores of an AMD EPYC)."""


class _StoppedError(Exception):
    """The run is not to be finished."""


class _NotStruckError(Exception):
    """It ended before it could lose anything, as on a machine with too much to do: no run of the record."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where runs are made. One sink for all: each run has an id of its own."""

    dask: HostsByDask
    sink: SinkProcess
    folder: Path

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger"


@contextmanager
def _place(hosts: int) -> Iterator[_Place]:
    with (
        hosts_by_dask(hosts, "--preload", "benchmarks.impatient") as dask,
        tempfile.TemporaryDirectory() as folder,
        sink_process(f"{dask.address}:0", "--ledger", f"{folder}/ledger") as sink,
    ):
        yield _Place(dask, sink, Path(folder))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--kind", nargs="+", choices=tuple(_BLOWS), default=tuple(_BLOWS))
    parser.add_argument("--lanes", type=int, default=12, help="runs beside each other")
    parser.add_argument("--again", type=int, help="the number of a run to make once more")
    parser.add_argument("--record", type=Path, default=RECORD)
    given = parser.parse_args()
    record = KillsRecord(given.record, " ".join(["python -m benchmarks.cluster_kills", *sys.argv[1:]]))
    keep = record.add if given.again is None else lambda _kill: None
    held = True

    def ended(kill: Kill | str) -> None:
        nonlocal held
        if isinstance(kill, str):
            held = False
            print(kill, file=sys.stderr, flush=True)
            return
        keep(kill)
        held = held and kill.held
        print(f"{kill.kind} {kill.number}: {kill.why or 'held'}", file=sys.stderr, flush=True)

    _forked.set_forkserver_preload(["__main__", "trafficgen.cli.send", "trafficgen.cluster.dask_engine"])
    for wish in (signal.SIGINT, signal.SIGTERM):
        signal.signal(wish, lambda _signal, _frame: _stopping.set())
    numbers = {kind: record.next_numbers(kind, given.count) for kind in given.kind}
    if given.again is not None:
        numbers = {kind: [given.again] for kind in given.kind}
    with ThreadPoolExecutor(given.lanes) as pool:
        lanes = [pool.submit(_runs, kind, some, ended) for kind, some in _in_turns(numbers)]
        for lane in lanes:
            lane.result()
    record.write_page()
    print("\n".join(record.sums()))
    sys.exit(ExitCode.INTERRUPTED if _stopping.is_set() else not held)


def _in_turns(numbers: dict[str, list[int]]) -> Iterator[tuple[str, list[int]]]:
    """Kinds in turns, in stretches that one cluster has; single runs last, so that no lane is idle for long."""
    stretches = [
        [(kind, every[first : first + _TURNS]) for first in range(0, len(every), _TURNS)]
        for kind, every in numbers.items()
        if kind != _ALONE
    ]
    yield from (one for one in chain.from_iterable(zip_longest(*stretches)) if one is not None)
    yield from ((_ALONE, [number]) for number in numbers.get(_ALONE, ()))


def _runs(kind: str, numbers: list[int], ended: Callable[[Kill | str], None]) -> None:
    """One after the other, by the hosts of one cluster."""
    if _stopping.is_set():
        return
    try:
        loses_hosts = kind in ("worker", "host")
        with _place(1 + len(numbers) if loses_hosts else 2) as there:
            for number in numbers:
                try:
                    kill: Kill | str = _kill(kind, number, there)
                except _NotStruckError as error:
                    kill = f"{kind} {number}: not struck, {error}"
                if _stopping.is_set():  # Ctrl-C reaches everything that has this terminal
                    return
                ended(kill)
    except _StoppedError:
        return
    except AssertionError:
        if not _stopping.is_set():
            raise


def _kill(kind: str, number: int, there: _Place) -> Kill:
    rng = random.Random(f"{kind} {number}")
    moment_s = round(rng.uniform(0, _MOMENT_S), 3)
    try:
        return Kill(kind, number, moment_s, "", **_one(kind, number, moment_s, rng, there))
    except AssertionError as error:
        return Kill(kind, number, moment_s, str(error) or "an assertion without words")


def _sleep(seconds: float) -> None:
    if _stopping.wait(seconds):
        raise _StoppedError


def _until(true: Callable[[], bool], otherwise: str) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while not true():
        assert time.monotonic() < deadline_s, f"{otherwise} within {_PATIENCE_S:g} s"
        _sleep(_TURN_S)


def _shards(host: NamespacedHost) -> list[int]:
    """Processes of shards that its Dask worker has started."""
    found = []
    for path in Path(f"/proc/{host.process.pid}/task").glob("*/children"):
        found += [pid for pid in map(int, path.read_text().split()) if b"shard_process" in _command_of(pid)]
    return found


def _command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


def _busy(there: HostsByDask) -> list[NamespacedHost]:
    """Hosts that have a shard."""
    return [host for host in there.hosts if not host.lost and _shards(host)]


def _kill_shard(host: NamespacedHost) -> None:
    (shard,) = _shards(host)
    os.kill(shard, signal.SIGKILL)


_Blow = Callable[[HostsByDask, NamespacedHost, BaseProcess], None]
_BLOWS: Final[dict[str, _Blow]] = {
    "shard": lambda _there, host, _client: _kill_shard(host),
    "worker": lambda _there, host, _client: host.kill(),
    "host": lambda _there, host, _client: host.cut_off(),
    "scheduler": lambda there, _host, _client: there.scheduler_process.kill(),
    "client": lambda _there, _host, client: client.kill(),
}


def _one(kind: str, number: int, moment_s: float, rng: random.Random, there: _Place) -> dict[str, int]:
    """One run. AssertionError when its account does not hold."""
    results_file = there.folder / f"{number}.json"
    with _sending(number, there, results_file) as client:
        _until(lambda: _has_begun(results_file, client), "nothing was accepted")
        _sleep(moment_s)
        busy = _busy(there.dask)
        if len(busy) != 2:
            raise _NotStruckError(f"{len(busy)} of 2 hosts have a shard")
        _BLOWS[kind](there.dask, rng.choice(busy), client)
        _until(lambda: not client.is_alive(), "it did not end")
        code = client.exitcode
    results = read_results(results_file)
    if kind == "client":
        _until(lambda: not _busy(there.dask), "shards went on without their client")
    arrived = _numbers(there.ledger, results.run.id)
    counts = results.messages
    assert counts.planned == counts.started + counts.not_started, "what was planned is not accounted for"
    ended = (counts.accepted, counts.rejected_temporary, counts.rejected_permanent, counts.failed, counts.in_doubt)
    assert counts.started == sum(ended), "what was started is not accounted for"
    assert len(set(arrived)) == len(arrived), "a message came twice"
    assert counts.accepted <= len(arrived), f"{counts.accepted} accepted, {len(arrived)} arrived"
    if kind != "client":
        assert code == ExitCode.NOT_VALID, f"code {code}"
        assert not results.valid, "the results are called valid"
        assert len(arrived) <= counts.accepted + counts.in_doubt, f"{len(arrived)} arrived, more than may have"
    return {"accepted": counts.accepted, "in_doubt": counts.in_doubt, "arrived": len(arrived)}


@contextmanager
def _sending(number: int, there: _Place, results: Path) -> Iterator[BaseProcess]:
    words = (
        f"--cluster {there.dask.scheduler} --cluster-hosts 2 --target {there.sink.address} --rate 400/s --duration 10m "
        f"--workers 1 --concurrency 8 --body-size 1kb --keep-going --grace 2s --clock-error 5s --quiet "
        f"--seed {number} --json {results}"
    )
    client = _forked.Process(target=impatient.command, args=("send", *words.split()))
    client.start()
    try:
        yield client
    finally:
        client.kill()
        client.join()


def _has_begun(results: Path, client: BaseProcess) -> bool:
    ended = not client.is_alive()
    try:
        found = read_results(results)
    except ResultsError:
        if ended:
            raise _NotStruckError(f"it ended with code {client.exitcode} and without results") from None
        return False
    if ended:
        raise _NotStruckError("; ".join(caveat.text for caveat in found.caveats))
    return found.messages.accepted > 0


def _numbers(ledger: Path, run_id: str) -> list[str]:
    return re.findall(rf"^{run_id} (\d{{12}}) ", ledger.read_text("ascii", "replace"), re.MULTILINE)


if __name__ == "__main__":
    main()

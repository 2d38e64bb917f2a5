"""What becomes of the account of a cluster that loses something in mid-run, at random moments, again and again.

    python -m benchmarks.cluster_kills [--count 50] [--kinds shard worker host scheduler client] [--seed 1] [--write]

Each run is a command line over two hosts (in network namespaces as root; else on loopback) of a Dask cluster, to a sink
with a ledger of its own. Up to 3 s after the first message was accepted

shard       the process of one shard is killed (SIGKILL)
worker      the Dask worker of one host is killed
host        the link of one host is down (on loopback: its worker is suspended)
scheduler   the scheduler is killed
client      the command itself is killed: its last results so far are what there is, and shards stop by themselves

In every run both equations of the account hold, no message is there twice, and what was accepted has arrived; but for
the client, no more arrived than was accepted or is in doubt, and the exit code is 121. Kinds go on beside each other.
"""

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.machine import birth_certificate, write_result
from tests.cluster.namespaces import HostsByDask, NamespacedHost, hosts_by_dask
from tests.sink.sink_process import SinkProcess, sink_process
from trafficgen.errors import ExitCode, ResultsError
from trafficgen.measure.results import read_results

_MOMENT_S: Final = 3.0
_PATIENCE_S: Final = 300.0
_QUIET_S: Final = 5.0
_TURNS: Final = 6
"""Runs by the hosts of one cluster, which for each that is lost has one more."""
_ALONE: Final = "scheduler"
"""Without it hosts are of no use any more."""
_LANES: Final = {"client": 3, "scheduler": 2}
"""Runs of a kind beside each other: one whose client is killed goes on for a minute."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--kinds", nargs="+", choices=tuple(_BLOWS), default=tuple(_BLOWS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    lines = [
        "# Kills of a cluster",
        "",
        "| what | runs | held | accepted | in doubt | arrived |",
        "|---|---|---|---|---|---|",
    ]
    with ThreadPoolExecutor(sum(_LANES.get(kind, 1) for kind in given.kinds)) as pool:
        lanes = {kind: list(_lanes(pool, kind, given.count, given.seed)) for kind in given.kinds}
        for kind, futures in lanes.items():
            sums = sum((lane.result() for lane in futures), Counter[str]())
            cells = (sums[name] for name in ("runs", "held", "accepted", "in_doubt", "arrived"))
            lines.append(f"| {kind} | " + " | ".join(f"{cell:,}" for cell in cells) + " |")
    lines += ["", birth_certificate(" ".join(["python -m benchmarks.cluster_kills", *sys.argv[1:]]))]
    print("\n".join(lines))
    if given.write:
        write_result("cluster-kills", lines)


def _lanes(pool: ThreadPoolExecutor, kind: str, count: int, seed: int) -> "Iterator[Future[Counter[str]]]":
    rng = random.Random(f"{seed} {kind}")
    moments = [rng.uniform(0, _MOMENT_S) for _ in range(count)]
    lanes = _LANES.get(kind, 1)
    for lane in range(lanes):
        yield pool.submit(_runs, kind, moments[lane::lanes])


def _runs(kind: str, moments: list[float]) -> Counter[str]:
    """One after the other."""
    sums: Counter[str] = Counter()
    turns = 1 if kind == _ALONE else _TURNS
    while moments:
        now, moments = moments[:turns], moments[turns:]
        with hosts_by_dask(1 + len(now) if kind in ("worker", "host") else 2) as there:
            for moment_s in now:
                sums["runs"] += 1
                try:
                    sums.update(_one(kind, moment_s, there), held=1)
                except (AssertionError, subprocess.TimeoutExpired) as error:
                    print(f"{kind} at {moment_s:.3f} s: {error}", file=sys.stderr, flush=True)
                print(kind, dict(sums), file=sys.stderr, flush=True)
    return sums


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


def _victim(there: HostsByDask) -> NamespacedHost:
    """A host that has a shard."""
    return next(host for host in there.hosts if not host.lost and _shards(host))


def _kill_shard(there: HostsByDask, _client: "subprocess.Popen[str]") -> None:
    (shard,) = _shards(_victim(there))
    subprocess.run(["kill", "-KILL", str(shard)], check=True)


_BLOWS: Final[dict[str, Callable[[HostsByDask, "subprocess.Popen[str]"], None]]] = {
    "shard": _kill_shard,
    "worker": lambda there, _client: _victim(there).kill(),
    "host": lambda there, _client: _victim(there).cut_off(),
    "scheduler": lambda there, _client: there.scheduler_process.kill(),
    "client": lambda _there, client: client.kill(),
}


def _one(kind: str, moment_s: float, there: HostsByDask) -> dict[str, int]:
    """One run. AssertionError when its account does not hold."""
    with tempfile.TemporaryDirectory() as folder:
        ledger, results_file = Path(folder) / "ledger", Path(folder) / "results.json"
        with sink_process(f"{there.address}:0", "--ledger", str(ledger)) as sink:
            with _sending(there, sink, results_file) as client:
                _wait_for_first(results_file, client)
                time.sleep(moment_s)
                _BLOWS[kind](there, client)
                code = client.wait(_PATIENCE_S)
            results = read_results(results_file)
            if kind == "client":
                _wait_for_silence(ledger)
        arrived = _numbers(ledger)
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
def _sending(there: HostsByDask, sink: SinkProcess, results: Path) -> Iterator["subprocess.Popen[str]"]:
    words = (
        f"--cluster {there.scheduler} --cluster-hosts 2 --target {sink.address} --rate 400/s --duration 10m "
        f"--workers 1 --concurrency 8 --body-size 1kb --keep-going --grace 2s --clock-error 5s --quiet --json {results}"
    )
    command = [sys.executable, "-m", "trafficgen", "send", *words.split()]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True) as client:
        try:
            yield client
        finally:
            client.kill()


def _wait_for_first(results: Path, client: "subprocess.Popen[str]") -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline_s:
        try:
            if read_results(results).messages.accepted:
                return
        except ResultsError:
            pass
        assert client.poll() is None, f"it ended with code {client.poll()} before anything was accepted"
        time.sleep(0.2)
    raise AssertionError("nothing was accepted")


def _wait_for_silence(ledger: Path) -> None:
    """Until nothing has come for a while: shards that nobody looks at stop within a minute."""
    deadline_s, size, since_s = time.monotonic() + _PATIENCE_S, -1, time.monotonic()
    while time.monotonic() < deadline_s:
        if (now := len(_numbers(ledger))) != size:
            size, since_s = now, time.monotonic()
        elif time.monotonic() - since_s > _QUIET_S:
            return
        time.sleep(1)
    raise AssertionError("shards went on without their client")


def _numbers(ledger: Path) -> list[str]:
    lines = ledger.read_text("ascii", "replace").splitlines()
    return [line.split()[1] for line in lines if re.match(r"[0-9a-f]{16} \d{12} ", line)]


if __name__ == "__main__":
    main()

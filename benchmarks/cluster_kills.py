"""What becomes of the account of a cluster that loses something in mid-run, at random moments, again and again.

    python -m benchmarks.cluster_kills [--count 50] [--kinds shard worker host scheduler client] [--seed 1] [--write]

Each run is a command line over two hosts (in network namespaces as root; else on loopback) with a scheduler of its own
and a sink with a ledger. Up to 5 s after the first message was accepted

shard       the process of one shard is killed (SIGKILL)
worker      the Dask worker of one host is killed
host        the link of one host is down (on loopback: its worker is suspended)
scheduler   the scheduler is killed
client      the command itself is killed: its last results so far are what there is, and shards stop by themselves

In every run both equations of the account hold, no message is there twice, and what was accepted has arrived; but for
the client, no more arrived than was accepted or is in doubt, and the exit code is 121.
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
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.machine import birth_certificate, write_result
from tests.cluster.namespaces import HostsByDask, hosts_by_dask
from tests.sink.sink_process import SinkProcess, sink_process
from trafficgen.errors import ExitCode, ResultsError
from trafficgen.measure.results import read_results

_MOMENT_S: Final = 5.0
_PATIENCE_S: Final = 300.0
_QUIET_S: Final = 5.0


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--kinds", nargs="+", choices=tuple(_BLOWS), default=tuple(_BLOWS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    rng = random.Random(given.seed)
    lines = [
        "# Kills of a cluster",
        "",
        "| what | runs | held | accepted | in doubt | arrived |",
        "|---|---|---|---|---|---|",
    ]
    for kind in given.kinds:
        sums: Counter[str] = Counter()
        for _ in range(given.count):
            sums.update(_one(kind, rng.uniform(0, _MOMENT_S)), runs=1)
            print(kind, dict(sums), file=sys.stderr, flush=True)
        cells = (sums[name] for name in ("runs", "held", "accepted", "in_doubt", "arrived"))
        lines.append(f"| {kind} | " + " | ".join(f"{cell:,}" for cell in cells) + " |")
    lines += ["", birth_certificate(" ".join(["python -m benchmarks.cluster_kills", *sys.argv[1:]]))]
    print("\n".join(lines))
    if given.write:
        write_result("cluster-kills", lines)


def _shard(there: HostsByDask, _client: "subprocess.Popen[str]") -> None:
    children = Path(f"/proc/{there.hosts[0].process.pid}/task").glob("*/children")
    (shard,) = {
        int(child) for path in children for child in path.read_text().split()
        if b"shard_process" in Path(f"/proc/{child}/cmdline").read_bytes()
    }  # fmt: skip
    subprocess.run(["kill", "-KILL", str(shard)], check=True)


_BLOWS: Final[dict[str, Callable[[HostsByDask, "subprocess.Popen[str]"], None]]] = {
    "shard": _shard,
    "worker": lambda there, _client: there.hosts[0].kill(),
    "host": lambda there, _client: there.hosts[0].cut_off(),
    "scheduler": lambda there, _client: there.scheduler_process.kill(),
    "client": lambda _there, client: client.kill(),
}


def _one(kind: str, moment_s: float) -> dict[str, int]:
    """One run. AssertionError when its account does not hold."""
    with tempfile.TemporaryDirectory() as folder, hosts_by_dask(2) as there:
        ledger, results_file = Path(folder) / "ledger", Path(folder) / "results.json"
        with sink_process(f"{there.address}:0", "--ledger", str(ledger)) as sink:
            with _sending(there, sink, results_file) as client:
                _wait_for_first(results_file)
                time.sleep(moment_s)
                _BLOWS[kind](there, client)
                code = client.wait(_PATIENCE_S)
            results = read_results(results_file)
            if kind == "client":
                _wait_for_silence(ledger)
        arrived = _numbers(ledger)
    counts = results.messages
    assert counts.planned == counts.started + counts.not_started
    ended = (counts.accepted, counts.rejected_temporary, counts.rejected_permanent, counts.failed, counts.in_doubt)
    assert counts.started == sum(ended)
    assert len(set(arrived)) == len(arrived), "a message came twice"
    assert counts.accepted <= len(arrived)
    if kind != "client":
        assert code == ExitCode.NOT_VALID, code
        assert not results.valid
        assert len(arrived) <= counts.accepted + counts.in_doubt
    return {"held": 1, "accepted": counts.accepted, "in_doubt": counts.in_doubt, "arrived": len(arrived)}


@contextmanager
def _sending(there: HostsByDask, sink: SinkProcess, results: Path) -> Iterator["subprocess.Popen[str]"]:
    words = (
        f"--cluster {there.scheduler} --target {sink.address} --rate 400/s --duration 10m --concurrency 8 --workers 1 "
        f"--body-size 1kb --keep-going --grace 2s --clock-error 5s --quiet --json {results}"
    )
    command = [sys.executable, "-m", "trafficgen", "send", *words.split()]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True) as client:
        try:
            yield client
        finally:
            client.kill()


def _wait_for_first(results: Path) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline_s:
        try:
            if read_results(results).messages.accepted:
                return
        except ResultsError:
            pass
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

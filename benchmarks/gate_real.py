"""Does the gate see what is there, and nothing else? Real gates on this machine.

    python -m benchmarks.gate_real slices-same --write     # a sink against itself, beside two burners: PASS
    python -m benchmarks.gate_real slices-slower --write   # against one with 10 % more service time: FAIL
    python -m benchmarks.gate_real slices-near --write     # with 5 % more, and a margin of 2.5 %: FAIL
    python -m benchmarks.gate_real postfix --write         # two configurations of Postfix, B's with header checks
    python -m benchmarks.gate_real delay --write           # whole runs: a server against one that answers 15 % later
    python -m benchmarks.gate_real same --write            # whole runs: a server against itself: never FAIL
    python -m benchmarks.gate_real latency --write         # a known wait is read as it is, a stall is no secret

Takes     a machine with nothing else to do; options for the gate after `--` (then `--write` comes before the name).
          `--gates N` in place of 20 (slices), 10 (`same`), 5 (`postfix`, of each metric); `postfix` needs root and
          psutil. KEEP in the environment: a directory for the JSON of every gate
Lasts     on two cores at most 6 minutes a gate by slices (10 `slices-near`), and about 2 minutes in all (`delay`), 12
          (`same`), half a minute (`latency`)
Noise     gates by slices have two processes beside them that burn CPU in random bursts (benchmarks.burner), seeded by
          the number of the gate: a stand-in for a host with neighbours
`delay`   is judged by throughput and p50: the p99 of 800 messages is eight of them
`same`    is without the control: that might refuse to judge, and so hide a false alarm
`postfix` is asked at a rate that it has time to spare at, since on two cores a busy server takes the generator's core,
          by what a message costs and by time. Its mail goes on to a sink of ours: nothing may be lost
"""

import argparse
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.machine import birth_certificate, write_result
from trafficgen.plan import OpenLoop, Plan
from trafficgen.plan import TcpTarget as Target
from trafficgen.runs.monitor import MonitorOptions, run_monitored

SERVICE_MS = 20.0
LOAD = ("--message-count", "800", "--concurrency", "20", "--workers", "1", "--body-size", "1kb")
DELAY_METRICS = ("--metric", "throughput:5%", "--metric", "p50:10%+2ms")
SLICES_LOAD = ("--concurrency", "20", "--workers", "1", "--body-size", "1kb")
POSTFIX_LOAD = ("--rate", "50/s", "--concurrency", "10", "--workers", "1")
POSTFIX_METRICS = ("server.cpu:5%", "p50:10%+2ms")
HEADER_CHECKS = 1_000
EXAMPLE = Path(__file__).parents[1] / "examples" / "ci" / "gate_postfix.sh"
HEAD = ("| gate | verdict | runs or blocks | time | B / A, with intervals | why |", "|---|---|---|---|---|---|")


@contextmanager
def sink(delay_ms: float) -> Iterator[Target]:
    """Our sink, which waits so long after each end of data."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "trafficgen", "sink", f"127.0.0.1:{port}", "--delay", f"dot:{delay_ms:g}ms"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process:
        try:
            while "listening" not in process.stderr.readline():
                assert process.poll() is None
            yield Target("127.0.0.1", port)
        finally:
            process.terminate()


@contextmanager
def stalling_server(delay_ms: float, stall_ms: float) -> Iterator[Target]:
    """One that answers everything `delay_ms` late, and once, after 2 s, not at all for `stall_ms`."""
    command = [sys.executable, "-m", "tests.gate.slow_server", "0", str(delay_ms), str(stall_ms)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    with process:
        try:
            yield Target("127.0.0.1", int(process.stdout.readline()))
        finally:
            process.terminate()


def gated(name: str, command: Sequence[str], options: Sequence[str], load: Sequence[str]) -> str:
    """One gate by this command, as a row of the table."""
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "gate.json"
        began = time.monotonic()
        subprocess.run([*command, "--json", str(out), *options, "--", *load], stdout=subprocess.DEVNULL, check=False)
        minutes, seconds = divmod(round(time.monotonic() - began), 60)
        if (keep := os.environ.get("KEEP")) and out.exists():  # for benchmarks.recorded_slices
            shutil.copy(out, Path(keep) / f"{name.replace(' ', '-')}-{time.time_ns()}.json")
        if not out.exists():
            return f"| {name} | did not end | – | {minutes}:{seconds:02} | – | see above |"
        found = json.loads(out.read_text())
    ratios = "; ".join(map(compared, found["comparisons"])) or "–"
    verdict = (found["verdict"] or "not valid").upper()
    many = len(found.get("trials") or found["blocks"])
    return f"| {name} | **{verdict}** | {many} | {minutes}:{seconds:02} | {ratios} | {found['reason']} |"


def compared(one: dict[str, Any]) -> str:
    low, high = one["interval"]
    return f"{one['metric']['name']} {one['ratio']:.3f} [{low:.3f}, {high:.3f}]"


def two_sinks(name: str, b_ms: float, options: Sequence[str]) -> str:
    """A gate of a sink that waits `SERVICE_MS` against one that waits `b_ms`."""
    with ExitStack() as stack:
        a, b = (stack.enter_context(sink(delay)) for delay in (SERVICE_MS, b_ms))
        command = [sys.executable, "-m", "trafficgen", "gate", "--a", str(a), "--b", str(b)]
        return gated(name, command, options, LOAD if "--whole-runs" in options else SLICES_LOAD)


@contextmanager
def burners(seed: int) -> Iterator[None]:
    """Two neighbours for the length of a gate."""
    commands = [[sys.executable, "-m", "benchmarks.burner", str(2 * seed + number)] for number in range(2)]
    processes = [subprocess.Popen(command) for command in commands]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def slices(share: float, budget: str, options: Sequence[str], gates: int) -> Iterator[str]:
    """Gates by slices of a sink against one with so much more service time."""
    yield from HEAD
    for number in range(1, gates + 1):
        with burners(number):
            yield two_sinks(f"{number}", SERVICE_MS * (1 + share), ("--budget", budget, *options))


def slices_same(options: Sequence[str], gates: int) -> Iterator[str]:
    yield from slices(0.0, "6m", options, gates)


def slices_slower(options: Sequence[str], gates: int) -> Iterator[str]:
    yield from slices(0.10, "6m", options, gates)


def slices_near(options: Sequence[str], gates: int) -> Iterator[str]:
    yield from slices(0.05, "10m", ("--metric", "throughput:2.5%", *options), gates)


def delay(options: Sequence[str], _gates: int) -> Iterator[str]:
    yield from HEAD
    later_ms = SERVICE_MS * 1.15
    settings = ("--whole-runs", *DELAY_METRICS, *options)
    yield two_sinks(f"{SERVICE_MS:g} ms against {later_ms:g} ms", later_ms, settings)


def same(options: Sequence[str], gates: int) -> Iterator[str]:
    yield from HEAD
    for number in range(1, gates + 1):
        yield two_sinks(f"{number}", SERVICE_MS, ("--whole-runs", "--control", "0", *options))


def postfix(options: Sequence[str], gates: int) -> Iterator[str]:
    yield from HEAD
    with tempfile.TemporaryDirectory() as work:
        a, b, checks = (Path(work) / name for name in ("a.cf", "b.cf", "checks"))
        checks.write_text("".join(f"/^X-Never-{n}: (a+)+(b+)+$/ WARN\n" for n in range(HEADER_CHECKS)))
        a.write_text("")
        b.write_text(f"header_checks = regexp:{checks}\n")
        files = ["env", f"JUNIT={work}/gate.xml", f"HISTORY={work}/gate.csv", f"HTML={work}/gate.html"]
        name = f"without and with {HEADER_CHECKS:,} header checks"
        command = [*files, f"TRAFFIC_GEN={sys.executable} -m trafficgen", str(EXAMPLE), str(a), str(b)]
        for _ in range(gates):
            for metric in POSTFIX_METRICS:
                yield gated(f"{name}, {metric}", command, ("--metric", metric, *options), POSTFIX_LOAD)


def latency(_options: Sequence[str], _gates: int) -> Iterator[str]:
    """Two promises: a known wait is read as it is, and a stall is no secret."""
    with sink(50.0) as target:
        plan = Plan(target=target, sessions=10, duration_ns=5 * 10**9, load=OpenLoop(rate_per_s=100.0))
        known = run_monitored(plan, MonitorOptions()).latency_ns["end_of_data"]
    with stalling_server(2.0, 2_000.0) as target:
        plan = Plan(target=target, sessions=10, duration_ns=8 * 10**9, load=OpenLoop(rate_per_s=200.0))
        stalled = run_monitored(plan, MonitorOptions()).latency_ns
    assert known
    response, service = stalled["response"], stalled["service"]
    assert response
    assert service
    yield f"- a wait of 50 ms after the end of data: p50 {known.p50 / 1e6:.2f} ms"
    yield f"- a stall of 2 s at 200/s: response p90 {response.p90 / 1e6:.0f} ms, service p90 {service.p90 / 1e6:.1f} ms"


KINDS: dict[str, tuple[Callable[[Sequence[str], int], Iterator[str]], int]] = {
    "slices-same": (slices_same, 20),
    "slices-slower": (slices_slower, 20),
    "slices-near": (slices_near, 20),
    "postfix": (postfix, 5),
    "delay": (delay, 1),
    "same": (same, 10),
    "latency": (latency, 1),
}


def main() -> None:
    """Run one of them and print what it found, line by line."""
    parser = argparse.ArgumentParser(description="Gate real servers.")
    parser.add_argument("what", choices=KINDS)
    parser.add_argument("options", nargs="*", help="options for the gate, after --")
    parser.add_argument("--gates", type=int, help="how many, in place of the usual number")
    parser.add_argument("--write", action="store_true", help="also write benchmarks/results/<date>-gate-<what>.md")
    chosen = parser.parse_args()
    make, usual = KINDS[chosen.what]
    lines = []
    for line in make(chosen.options, chosen.gates or usual):
        print(line, flush=True)
        lines.append(line)
    if chosen.write:
        command = shlex.join(["python", "-m", "benchmarks.gate_real", *sys.argv[1:]])
        print("written to", write_result(f"gate-{chosen.what}", [birth_certificate(command), "", *lines]))


if __name__ == "__main__":
    main()

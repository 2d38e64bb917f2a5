"""Does the gate see what is there, and nothing else? Real gates on this machine.

    python -m benchmarks.gate_real slices-same --write     # a sink against itself, beside two burners: PASS
    python -m benchmarks.gate_real slices-slower --write   # against one with 10 % more service time: FAIL
    python -m benchmarks.gate_real slices-near --write     # with 5 % more, and a margin of 2.5 %: FAIL
    python -m benchmarks.gate_real postfix --write         # two configurations of Postfix, B's with header checks: FAIL
    python -m benchmarks.gate_real delay --write           # whole runs: a server against one that answers 15 % later
    python -m benchmarks.gate_real same --write            # whole runs: a server against itself: never FAIL
    python -m benchmarks.gate_real latency                 # a known wait is read as it is, a stall is no secret

Takes     a machine with nothing else to do; options for the gate after `--`, without `--write`: they change what a gate
          is. `--gates N`: the next N, in place of those that are missing of the planned ones; `postfix` needs root and
          psutil. KEEP in the environment: a directory for the JSON of every gate
Gives     a row for each gate on stdout; with `--write` also in the file of its kind, after each (benchmarks.gate_rows)
Ends      on Ctrl-C, SIGTERM and SIGHUP with 105, all servers and burners before it; the gate under way is lost
Lasts     on two cores at most 6 minutes a gate by slices (10 `slices-near`), and about 2 minutes in all (`delay`), 12
          (`same`), half a minute (`latency`)
Noise     gates by slices have two processes beside them that burn CPU in random bursts (benchmarks.burner), seeded by
          the number of the gate: a stand-in for a host with neighbours
`delay`   is judged by throughput and p50: the p99 of 800 messages is eight of them
`same`    is without the control: that might refuse to judge, and so hide a false alarm
`postfix` is asked at a rate that it has time to spare at, since on two cores a busy server takes the generator's core,
          by what a message costs and by time, each in a gate of its own. Its mail goes on to a sink: none may be lost.
          Time has no floor of milliseconds: on a quiet machine header checks cost less than two of them
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from benchmarks.gate_rows import KINDS, GateFile, Row, code, now
from benchmarks.machine import machine
from trafficgen.errors import ExitCode
from trafficgen.host.signals import CountedSignals, RunControl
from trafficgen.plan import OpenLoop, Plan
from trafficgen.plan import TcpTarget as Target
from trafficgen.runs.monitor import MonitorOptions, run_monitored

SERVICE_MS: Final = 20.0
LOAD: Final = ("--message-count", "800", "--concurrency", "20", "--workers", "1", "--body-size", "1kb")
DELAY_METRICS: Final = ("--metric", "throughput:5%", "--metric", "p50:10%+2ms")
SLICES_LOAD: Final = ("--concurrency", "20", "--workers", "1", "--body-size", "1kb")
POSTFIX_LOAD: Final = ("--rate", "50/s", "--concurrency", "10", "--workers", "1")
HEADER_CHECKS: Final = 1_000
EXAMPLE: Final = Path(__file__).parents[1] / "examples" / "ci" / "gate_postfix.sh"
PATIENCE_S: Final = 60.0
"""For what was asked to end: a gate lets its messages finish, Postfix is taken down."""
LOOK_S: Final = 0.1


@contextmanager
def started(command: Sequence[str], **settings: Any) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own, which gets no Ctrl-C; the whole group has ended afterwards."""
    process = subprocess.Popen(command, start_new_session=True, text=True, **settings)
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                os.killpg(process.pid, number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE_S)
        process.__exit__(None, None, None)  # its pipes


@contextmanager
def sink(delay_ms: float) -> Iterator[Target]:
    """Our sink, which waits so long after each end of data."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "trafficgen", "sink", f"127.0.0.1:{port}", "--delay", f"dot:{delay_ms:g}ms"]
    with started(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        while "listening" not in process.stderr.readline():
            assert process.poll() is None
        yield Target("127.0.0.1", port)


@contextmanager
def stalling_server(delay_ms: float, stall_ms: float) -> Iterator[Target]:
    """One that answers everything `delay_ms` late, and once, after 2 s, not at all for `stall_ms`."""
    command = [sys.executable, "-m", "tests.gate.slow_server", "0", str(delay_ms), str(stall_ms)]
    with started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield Target("127.0.0.1", int(process.stdout.readline()))


@dataclass(frozen=True, slots=True)
class Asked:
    """One gate: its number, the metric it is asked for where there are several, more options, the wish to end."""

    kind: str
    number: int
    metric: str
    options: Sequence[str]
    control: RunControl


def gated(asked: Asked, command: Sequence[str], options: Sequence[str], load: Sequence[str]) -> Row:
    """One gate by this command. KeyboardInterrupt when that was asked for before it ended."""
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "gate.json"
        began, about = time.monotonic(), (asked.number, asked.metric, now(), code(), machine())
        whole = [*command, "--json", str(out), *options, *asked.options, "--", *load]
        with started(whole, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                if asked.control.count:
                    raise KeyboardInterrupt
                time.sleep(LOOK_S)
        seconds = round(time.monotonic() - began)
        if asked.control.count:  # the gate may have had the signal first
            raise KeyboardInterrupt
        found = json.loads(out.read_text()) if out.exists() else None
        if found is not None and (keep := os.environ.get("KEEP")):  # for benchmarks.record_slices
            shutil.copy(out, Path(keep) / f"{asked.kind}-{asked.number}-{time.time_ns()}.json")
    if found is None:
        return Row(*about, "did not end", 0, seconds, "", "", f"exit {process.returncode}, see its stderr")
    verdict = found["verdict"].upper() if found["verdict"] else "not valid"
    pieces = len(found.get("trials") or found["blocks"])
    ratios = "; ".join(map(compared, found["comparisons"]))
    return Row(*about, verdict, pieces, seconds, others(found), ratios, found["reason"])


def others(found: Mapping[str, Any]) -> str:
    """Share of the machine's CPU time that went to its host and to foreign processes, over all slices."""
    shares = [one["stolen"] + (one["foreign"] or 0.0) for block in found.get("blocks", ()) for one in block["slices"]]
    return f"{fmean(shares):.0%}" if shares else ""


def compared(one: Mapping[str, Any]) -> str:
    low, high = one["interval"]
    return f"{one['metric']['name']} {one['ratio']:.3f} [{low:.3f}, {high:.3f}]"


def two_sinks(asked: Asked, b_ms: float, *options: str, load: Sequence[str]) -> Row:
    """A gate of a sink that waits `SERVICE_MS` against one that waits `b_ms`."""
    with sink(SERVICE_MS) as a, sink(b_ms) as b:
        command = [sys.executable, "-m", "trafficgen", "gate", "--a", str(a), "--b", str(b)]
        return gated(asked, command, options, load)


def slices(share: float, budget: str, *options: str) -> Callable[[Asked], Row]:
    """Beside two neighbours, against a sink with so much more service time."""

    def make(asked: Asked) -> Row:
        with ExitStack() as stack:
            for one in range(2):
                command = [sys.executable, "-m", "benchmarks.burner", str(2 * asked.number + one)]
                stack.enter_context(started(command))
            later_ms = SERVICE_MS * (1 + share)
            return two_sinks(asked, later_ms, "--budget", budget, *options, load=SLICES_LOAD)

    return make


def delay(asked: Asked) -> Row:
    return two_sinks(asked, SERVICE_MS * 1.15, "--whole-runs", *DELAY_METRICS, load=LOAD)


def same(asked: Asked) -> Row:
    return two_sinks(asked, SERVICE_MS, "--whole-runs", "--control", "0", load=LOAD)


def postfix(asked: Asked) -> Row:
    with tempfile.TemporaryDirectory() as work:
        a, b, checks = (Path(work) / name for name in ("a.cf", "b.cf", "checks"))
        checks.write_text("".join(f"/^X-Never-{n}: (a+)+(b+)+$/ WARN\n" for n in range(HEADER_CHECKS)))
        a.write_text("")
        b.write_text(f"header_checks = regexp:{checks}\n")
        files = ["env", f"JUNIT={work}/gate.xml", f"HISTORY={work}/gate.csv", f"HTML={work}/gate.html"]
        command = [*files, f"TRAFFIC_GEN={sys.executable} -m trafficgen", str(EXAMPLE), str(a), str(b)]
        return gated(asked, command, ("--metric", asked.metric), POSTFIX_LOAD)


def latency() -> Iterator[str]:
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


GATES: Final[Mapping[str, Callable[[Asked], Row]]] = {
    "slices-same": slices(0.0, "5m50s"),
    "slices-slower": slices(0.10, "5m50s"),
    "slices-near": slices(0.05, "9m50s", "--metric", "throughput:2.5%"),
    "postfix": postfix,
    "delay": delay,
    "same": same,
}
"""Within so much of what is promised that servers come up and go away in the rest."""


def make_gates(file: GateFile, gates: int | None, options: Sequence[str], *, write: bool) -> ExitCode:
    """One after the other, each written as it ends."""
    make, control = GATES[file.name], RunControl()
    with CountedSignals(control):
        for number, metric in file.following(file.rows() if write else (), gates):
            try:
                row = make(Asked(file.name, number, metric, options, control))
            except KeyboardInterrupt:
                print(f"interrupted: gate {number} is lost", file=sys.stderr)
                return ExitCode.INTERRUPTED
            print(row, flush=True)
            if write:
                file.add(row)
    return ExitCode.DONE


def main() -> None:
    """Make what was asked for, and print what it found, line by line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*GATES, "latency"])
    parser.add_argument("options", nargs="*", help="options for the gate, after --")
    parser.add_argument("--gates", type=int, help="how many; with --write the next ones that its file has not")
    parser.add_argument("--write", action="store_true", help="also add each to benchmarks/results/gate-<what>.md")
    chosen = parser.parse_args()
    if chosen.what == "latency":
        for line in latency():
            print(line, flush=True)
        return
    if chosen.write and chosen.options:
        parser.error("options change what a gate is: leave out --write with them")
    assert set(GATES) == set(KINDS)
    sys.exit(make_gates(GateFile(chosen.what), chosen.gates, chosen.options, write=chosen.write))


if __name__ == "__main__":
    main()

"""Does the gate see what is there, and nothing else? Real gates on this machine.

    python -m benchmarks.gate_real delay          # a server against one that answers 15 % later: FAIL
    python -m benchmarks.gate_real same           # a server against itself, ten gates: never FAIL
    python -m benchmarks.gate_real postfix        # two configurations of Postfix, the second with costly header checks
    python -m benchmarks.gate_real latency        # a known wait is read as it is, a stall shows in response time

The machine should have nothing else to do. `delay` takes about four minutes, `same` half an hour, `postfix` ten
minutes and root. Without the control (`--control 0`) they take two thirds of that.
"""

import argparse
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.machine import birth_certificate, write_result
from trafficgen.errors import ExitCode
from trafficgen.plan import OpenLoop, Plan
from trafficgen.plan import TcpTarget as Target
from trafficgen.watched import Watch, run_watched

SERVICE_MS = 20.0
LOAD = ("--message-count", "1500", "--concurrency", "20", "--workers", "1", "--body-size", "1kb")
EXAMPLE = Path(__file__).parents[1] / "examples" / "ci" / "gate_postfix.sh"


@contextmanager
def sink(delay_ms: float) -> Iterator[Target]:
    """Our sink, which waits so long after each end of data."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "trafficgen", "sink", f"127.0.0.1:{port}", "--delay", f"dot:{delay_ms:g}ms"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process:
        while "listening" not in process.stderr.readline():
            assert process.poll() is None
        yield Target("127.0.0.1", port)
        process.terminate()


@contextmanager
def stalling_server(delay_ms: float, stall_ms: float) -> Iterator[Target]:
    """One that answers everything `delay_ms` late, and once, after 2 s, not at all for `stall_ms`."""
    command = [sys.executable, "-m", "tests.gate.slow_server", "0", str(delay_ms), str(stall_ms)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    with process:
        yield Target("127.0.0.1", int(process.stdout.readline()))
        process.stdin.close()
        process.terminate()


def gate(a_ms: float, b_ms: float, options: Sequence[str]) -> str:
    """The verdict of one gate, in words."""
    with ExitStack() as stack:
        a, b = (stack.enter_context(sink(delay)) for delay in (a_ms, b_ms))
        command = [sys.executable, "-m", "trafficgen", "gate", "--a", str(a), "--b", str(b), *options, "--", *LOAD]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return said(done.returncode, done.stdout)


def said(code: int, text: str) -> str:
    paragraph = " ".join(line.strip() for line in text.partition("\n\n")[0].splitlines())
    return f"{ExitCode(code).name} {paragraph}"


def delay(options: Sequence[str]) -> list[str]:
    return [f"{SERVICE_MS:g} ms against {SERVICE_MS * 1.15:g} ms: {gate(SERVICE_MS, SERVICE_MS * 1.15, options)}"]


def same(options: Sequence[str]) -> list[str]:
    return [f"gate {number}: {gate(SERVICE_MS, SERVICE_MS, options)}" for number in range(1, 11)]


def postfix(options: Sequence[str]) -> list[str]:
    with tempfile.TemporaryDirectory() as work:
        a, b, checks = (Path(work) / name for name in ("a.cf", "b.cf", "checks"))
        checks.write_text("".join(f"/^X-Never-{n}: (a+)+(b+)+$/ WARN\n" for n in range(3_000)))
        a.write_text("")
        b.write_text(f"header_checks = regexp:{checks}\n")
        command = [str(EXAMPLE), str(a), str(b), *options, "--", "--message-count", "1000", "--concurrency", "10"]
        done = subprocess.run(command, cwd=work, stdout=subprocess.PIPE, text=True, check=False)
    return [f"3,000 header checks: {said(done.returncode, done.stdout)}"]


def latency(_options: Sequence[str]) -> list[str]:
    """Two promises: a known wait is read as it is, and a stall is no secret."""
    with sink(50.0) as target:
        plan = Plan(target=target, sessions=10, duration_ns=5 * 10**9, load=OpenLoop(rate_per_s=100.0))
        known = run_watched(plan, Watch()).latency_ns["end_of_data"]
    with stalling_server(2.0, 2_000.0) as target:
        plan = Plan(target=target, sessions=10, duration_ns=8 * 10**9, load=OpenLoop(rate_per_s=200.0))
        stalled = run_watched(plan, Watch()).latency_ns
    assert known
    response, service = stalled["response"], stalled["service"]
    assert response
    assert service
    return [
        f"a wait of 50 ms after the end of data: p50 {known.p50 / 1e6:.2f} ms",
        f"a stall of 2 s at 200/s: response p90 {response.p90 / 1e6:.0f} ms, service p90 {service.p90 / 1e6:.1f} ms",
    ]


def main() -> None:
    """Run one of them, print what it found and keep it under benchmarks/results."""
    parser = argparse.ArgumentParser(description="Gate real servers.")
    parser.add_argument("what", choices=["delay", "same", "postfix", "latency"])
    parser.add_argument("options", nargs="*", help="options for the gate, after --")
    chosen = parser.parse_args()
    found = {"delay": delay, "same": same, "postfix": postfix, "latency": latency}[chosen.what](chosen.options)
    command = shlex.join(["python", "-m", "benchmarks.gate_real", chosen.what, *chosen.options])
    lines = [birth_certificate(command), "", *(f"- {line}" for line in found)]
    print("\n".join(lines))
    write_result(f"gate-{chosen.what}", lines)


if __name__ == "__main__":
    main()

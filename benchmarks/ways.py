"""Rows of `benchmarks.peers`: other ways to hand mail over than plain SMTP, 5 KB a message, 20 sessions.

Takes     rounds, and what multiplies the number of messages; openssl for the rows of handshakes
Gives     lines of a table: CPU µs a message of our sender (all its processes) and messages/s, each beside what stands
          next to it, over rounds that take turns (`benchmarks/rounds.py`)
Handshake `openssl s_time` makes one connection after the other, sends nothing and is CPU-bound by the handshake. Ours
          greets, hands over a message and says goodbye besides. With TLS 1.3 it never resumes, as it hangs up before
          the ticket comes: so the row that resumes is of 1.2 on both sides
"""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks.cost import Cost, slope
from benchmarks.rivals import SESSIONS, tool, wait_for
from benchmarks.rounds import Measured, Rounds, apart, cpu_us, in_turns, per_s, rate_ratio
from benchmarks.sink import our_sink

HEADER: Final = (
    "| our sender, 5 KB, 20 sessions → our sink | beside | CPU µs a message: it / beside | messages/s: it / beside "
    "| rate of beside's | rounds apart: CPU / rate | goal |"
)

_KEPT: Final = (20_000, 100_000)
_INJECTED: Final = (3_000, 15_000)
_SHAKEN: Final = (1_000, 4_000)
_S_TIME_S: Final = 4


@dataclass(frozen=True, slots=True)
class Way:
    """A row. `least_of_beside`, `least_per_s`: goals, 0 for none."""

    name: str
    words: str
    beside: str
    least_of_beside: float = 0
    least_per_s: float = 0


LMTP: Final = Way("lmtp", "LMTP, kept sessions", "our SMTP", least_of_beside=0.8)
STARTTLS: Final = Way("starttls", "STARTTLS, kept sessions", "our plain SMTP", least_of_beside=0.35)
NEW: Final = Way("handshake-new", "TLS 1.3, full handshake and session a message", "openssl s_time -new")
RESUMED: Final = Way("handshake-resumed", "TLS 1.2, resumed, a session a message", "openssl s_time -reuse")
HTTP: Final = Way("http", "HTTP, a recipient a request", "our SMTP", least_per_s=3_000)
WAYS: Final = (LMTP, STARTTLS, NEW, RESUMED, HTTP)


def rows(wanted: Callable[[str], bool], rounds: int, scale: float) -> Iterator[str]:
    """A line of the table for each way that is wanted."""
    for way in WAYS:
        if wanted(way.name):
            with _measured(way, scale) as (ours, beside):
                yield _row(way, in_turns((ours, beside), rounds))


@contextmanager
def _measured(way: Way, scale: float) -> Iterator[tuple[Measured, Measured]]:
    """What measures the way once, and what stands beside it, while their sinks are up."""
    kept, injected, shaken = ([int(count * scale) for count in counts] for counts in (_KEPT, _INJECTED, _SHAKEN))
    if way in (NEW, RESUMED):
        most, version, kind = ("1.3", "-tls1_3", "-new") if way is NEW else ("1.2", "-tls1_2", "-reuse")
        options = ["--tls", "--messages-per-session", "1", "--tls-max", most, *(["--tls-resume"] * (way is RESUMED))]
        with our_sink("--no-ledger", "--tls") as (_, port):
            yield partial(_sent, f"127.0.0.1:{port}", options, *shaken), partial(_s_time, port, version, kind)
        return
    with our_sink("--no-ledger") as (_, plain):
        smtp = partial(_sent, f"127.0.0.1:{plain}", [], *kept)
        if way is LMTP:
            with our_sink("--no-ledger", "--lmtp") as (_, port):
                yield partial(_sent, f"lmtp://127.0.0.1:{port}", [], *kept), smtp
        elif way is STARTTLS:
            with our_sink("--no-ledger", "--starttls") as (_, port):
                yield partial(_sent, f"127.0.0.1:{port}", ["--starttls"], *kept), smtp
        else:
            api = _free_port()
            with our_sink("--api", f"127.0.0.1:{api}"):
                wait_for(api)
                yield partial(_sent, f"http://127.0.0.1:{api}/api/inject/v1", [], *injected), smtp


def _sent(target: str, options: Sequence[str], few: int, many: int) -> Cost:
    """One message more of our sender."""

    def command(count: int) -> list[str]:
        return [
            sys.executable, "-m", "trafficgen", "--target", target, "--concurrency", str(SESSIONS), "--body-size",
            "5000", "--message-count", str(count), "--workers", "1", "--quiet", *options,
        ]  # fmt: skip

    return slope(command, few, many)


def _s_time(port: int, version: str, kind: str) -> Cost:
    """One connection of openssl's, one after the other for some seconds; none of its sessions is verified."""
    command = [tool("openssl"), "s_time", "-connect", f"127.0.0.1:{port}", version, kind, "-time", str(_S_TIME_S)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    with process.stdout:
        said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    found = re.search(r"(\d+) connections in (\d+) real seconds", said)
    if found is None or process.returncode or not int(found[1]):
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: {said[-500:]}")
    connections = int(found[1])
    return Cost(int(found[2]) / connections, (used.ru_utime + used.ru_stime) / connections)


def _row(way: Way, rounds: Rounds) -> str:
    cpu, rates = cpu_us(rounds), per_s(rounds)
    goal = "—"
    if way.least_of_beside:
        goal = f"≥ {way.least_of_beside:.2f} of beside's rate"
    if way.least_per_s:
        goal = f"≥ {way.least_per_s:,.0f}/s; a core of it is worth {1e6 / cpu[0]:,.0f}/s"
    return (
        f"| {way.words} | {way.beside} | {cpu[0]:.1f} / {cpu[1]:.1f} | {rates[0]:,.0f} / {rates[1]:,.0f} "
        f"| {rate_ratio(rounds, 0, 1)} | {apart(rounds)} | {goal} |"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

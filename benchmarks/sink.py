"""What the sink costs: a message in the pure machine, finding its end, idle connections.

    python -m benchmarks.sink [--rounds 5] [--connections 10000] [--write]
                              [--only machine,dots,idle]

Takes     a machine on which nothing else runs
Gives     µs of CPU a message by what is switched on, and of finding its end; memory of idle connections
Not here  the sink beside smtp-sink (benchmarks/peers.py)
"""

import argparse
import contextlib
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

from benchmarks.machine import birth_certificate, write_result
from mboxgen.text import prose
from trafficgen.host.limits import raise_open_files
from trafficgen.proof import trace_header
from trafficgen.protocol.smtp.dots import END_OF_DATA, find_end
from trafficgen.protocol.smtp.server import ServerSession
from trafficgen.sink.policy.limits import Limits, RateLimit
from trafficgen.sink.policy.policy import Policy, PolicyConfig
from trafficgen.sink.policy.responses import parse
from trafficgen.sink.store.counting import CountingStore
from trafficgen.sink.store.ledger import Ledger, SessionReceiver

_ENVELOPE = (
    b"MAIL FROM:<user-000001@gmail.com.traffic-gen.test>\r\n"
    b"RCPT TO:<user-000123@gmail.com.traffic-gen.test>\r\nDATA\r\n"
)
_PLENTY = 10**9
_LIMITS = Limits(100, RateLimit(_PLENTY, 10**9), _PLENTY, 100, RateLimit(_PLENTY, 10**9), (), 10**9)
_TABLE = '[default]\nbounce = 0.0001\n[domain."gmail.com"]\ndefer = 0.0001'
"""So rarely that no round meets one: what is measured is asking, not refusing."""

_ON = (
    "--connections-per-client", "100000", "--client-rate", "1000000000/s", "--domain-rate", "1000000000/s",
    "--messages-per-session", "1000000000", "--max-recipients", "1000",
)  # fmt: skip


# -- the pure machine -----------------------------------------------------------------------------------


def machine(rounds: int, folder: Path) -> list[str]:
    """CPU time of one session that is handed 5 KB messages, each with the next envelope behind it."""
    body = b"".join(bytes([48 + row % 40]) * 76 + b"\r\n" for row in range(64))
    header = b"Subject: x\r\n" * 6 + b"\r\n"
    messages = [
        trace_header.render("0" * 16, n, crc32(body)) + header + body + b".\r\n" + _ENVELOPE for n in range(1000)
    ]
    feeds = {
        "counting only": _feed(CountingStore(), None),
        "ledger in memory": _feed(SessionReceiver(Ledger()), None),
        "ledger on disk": _feed(SessionReceiver(Ledger(folder / "plain")), None),
        "responses and limits, counting": _feed(CountingStore(), _policy()),
        "responses, limits, ledger in memory": _feed(SessionReceiver(Ledger()), _policy()),
        "responses, limits, ledger on disk": _feed(SessionReceiver(Ledger(folder / "judged")), _policy()),
    }
    chunk = b"RSET\r\n" + _ENVELOPE.replace(b"DATA", b"BDAT %d LAST" % len(header + body)) + header + body
    in_chunks, by_command = _feed(CountingStore(), None, b""), _feed(CountingStore(), None, b"")
    feeds["a chunk and its commands in one piece, counting"] = lambda _: in_chunks(chunk)
    feeds["the same, in two pieces: command by command"] = lambda _: by_command(chunk[:1]) + by_command(chunk[1:])
    best = dict.fromkeys(feeds, float("inf"))
    for _ in range(rounds * 8):
        for name, feed in feeds.items():
            began = time.process_time()
            for message in messages:
                feed(message)
            best[name] = min(best[name], time.process_time() - began)
    return ["| machine, 5 KB | µs a message |", "|---|---|"] + [
        f"| {name} | {s * 1e3:.2f} |" for name, s in best.items()
    ]


def _feed(
    receiver: CountingStore | SessionReceiver, policy: Policy | None, begin: bytes = _ENVELOPE
) -> Callable[[bytes], bytes]:
    session = ServerSession(receiver, policy.session(b"127.0.0.1") if policy else None)
    session.feed(b"EHLO x\r\n" + begin)
    return session.feed


def _policy() -> Policy:
    return Policy(PolicyConfig(parse(_TABLE), _LIMITS))


# -- the end of data ------------------------------------------------------------------------------------


def dots(rounds: int) -> list[str]:
    """CPU time of finding the end of a message of prose, beside one pass of a regular expression for the same dots."""
    search = re.compile(rb"\.(?<=[\r\n]\.)").search

    def by_expression(data: bytes) -> int:
        found = search(data)
        while found is not None and data[found.start() - 2 : found.start() + 3] != END_OF_DATA:
            found = search(data, found.end())
        return found.start() - 2 if found is not None else -1

    lines = ["| end of data, prose | ours, µs | a regular expression, µs | ratio |", "|---|---|---|---|"]
    for size in (5_000, 100_000):
        data = bytes(prose.lines(1, size, 0)[0]) + END_OF_DATA[2:]
        assert find_end(data) == (by_expression(data), 0)
        best = [float("inf"), float("inf")]
        for _ in range(rounds * 8):
            for place, find in enumerate((find_end, by_expression)):
                began = time.process_time()
                for _ in range(200):
                    find(data)
                best[place] = min(best[place], time.process_time() - began)
        ours, theirs = (s / 200 * 1e6 for s in best)
        lines.append(f"| {size:,} octets | {ours:.2f} | {theirs:.2f} | {theirs / ours:.1f} |")
    return lines


# -- sinks to send to ----------------------------------------------------------------------------------


@contextlib.contextmanager
def all_on_sink(folder: Path) -> Iterator[tuple[int, int]]:
    """Our sink with responses, limits and a ledger on disk; gives process id and port."""
    table = folder / "table.toml"
    table.write_text(_TABLE)
    with our_sink("--responses", str(table), *_ON, "--ledger", str(folder / "driven")) as place:
        yield place


@contextlib.contextmanager
def our_sink(*options: str) -> Iterator[tuple[int, int]]:
    """Our sink in a process of its own, on a free port; gives process id and port."""
    command = [sys.executable, "-m", "trafficgen", "sink", "127.0.0.1:0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        found = re.search(r"listening on \S+:(\d+);", process.stderr.readline())
        assert found is not None
        yield process.pid, int(found[1])
    finally:
        process.kill()
        process.communicate()


# -- idle connections -----------------------------------------------------------------------------------


def idle(connections: int) -> list[str]:
    """Resident memory of a sink with all on that this many clients have greeted and left alone."""
    room = raise_open_files(connections)
    connections = min(connections, room)
    with our_sink(*_ON) as (pid, port):
        before = _resident_mb(pid)
        clients = []
        for _ in range(connections):
            client = socket.create_connection(("127.0.0.1", port))
            client.recv(200)
            client.sendall(b"EHLO x\r\n")
            client.recv(1000)
            clients.append(client)
        after = _resident_mb(pid)
        for client in clients:
            client.close()
    return [
        "| idle connections | before | with them |",
        "|---|---|---|",
        f"| {connections} | {before:.0f} MB | {after:.0f} MB |",
    ]


def _resident_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--only", default="machine,dots,idle")
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        parts: dict[str, Callable[[], list[str]]] = {
            "machine": lambda: machine(chosen.rounds, Path(folder)),
            "dots": lambda: dots(chosen.rounds),
            "idle": lambda: idle(chosen.connections),
        }
        for name in chosen.only.split(","):
            tables.append("\n".join(parts[name]()))
            print(tables[-1], end="\n\n")
    if chosen.write:
        command = f"python -m benchmarks.sink --rounds {chosen.rounds}"
        print(write_result("sink", ["# The sink", "", birth_certificate(command), "", "\n\n".join(tables)]))


if __name__ == "__main__":
    main()

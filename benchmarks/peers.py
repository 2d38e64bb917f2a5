"""What a message costs: our sender beside Postfix's smtp-source and a bare loop, our sink beside smtp-sink.

    python -m benchmarks.peers [--rounds 5] [--only kept-5k … lmtp …] [--scale 1.0] [--write]

Takes     Debian's package postfix (smtp-source, smtp-sink), and a machine on which nothing else runs
Gives     CPU µs a message and messages/s of each, medians over rounds that take turns; of each ratio the median of the
          rounds' own ratios and [the lowest–the highest]; how far the figures of a side lie apart, where most. With
          --write also benchmarks/results/<date>-peers.md
Paired    why a ratio is of one round, and not of two medians: `benchmarks/rounds.py`
Slopes    of whole commands between two counts: starting is left out, every process of a command is counted, the other
          side's processes are not
Ways      LMTP, STARTTLS, handshakes beside openssl, HTTP: `benchmarks/ways.py`
Bare      `benchmarks/bare.py`: the same conversation by a loop that only moves its octets. No sender needs less, with
          that sink on that machine
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.cost import Cost, of_command, slope, used_by
from benchmarks.machine import birth_certificate, write_result
from benchmarks.rivals import SESSIONS, smtp_sink, smtp_source
from benchmarks.rounds import MEANING, apart, cpu_ratio, cpu_us, in_turns, per_s, rate_ratio
from benchmarks.sink import all_on_sink, our_sink
from benchmarks.ways import HEADER, WAYS, rows
from trafficgen import OpenLoop, Plan, TcpTarget, run

_SENDERS: Final = (
    "| senders → our sink, 20 sessions | CPU µs a message: ours / smtp-source / bare | ours of smtp-source's "
    "| messages/s: ours / smtp-source / bare | of smtp-source's | of the bare loop's | rounds apart: CPU / rate |"
)
_SINKS: Final = (
    "| sinks under smtp-source, 20 sessions kept | CPU µs a message: ours off / all on / smtp-sink "
    "| off of smtp-sink's | all on of it | messages/s: off / all on / smtp-sink | of smtp-sink's "
    "| rounds apart: CPU / rate |"
)
_RULE: Final = "|" + 7 * "---|"

Command = Callable[[int, int], list[str]]
"""Of a port and a count of messages."""


@dataclass(frozen=True, slots=True)
class Goals:
    """`cpu`: ours of theirs, at most; `rate`: ours of theirs, `of_bare`: of the bare loop's, at least. 0: none set."""

    cpu: float = 0
    rate: float = 0
    of_bare: float = 0


@dataclass(frozen=True, slots=True)
class Shape:
    """A row of the table of senders. `sink`: plain, ledger or smtp-sink; `mode`: of the bare loop."""

    name: str
    words: str
    octets: int
    counts: tuple[int, int]
    mode: str
    options: tuple[str, ...] = ()
    sink: str = "plain"
    goals: Goals = Goals()

    def ours(self, port: int, count: int) -> list[str]:
        """Our sender as it comes: unique headers, sampled recipients, everything recorded."""
        return [
            sys.executable, "-m", "trafficgen", "--target", f"127.0.0.1:{port}", "--concurrency", str(SESSIONS),
            "--message-count", str(count), "--body-size", str(self.octets), "--workers", "1", "--quiet", *self.options,
        ]  # fmt: skip

    def theirs(self, port: int, count: int) -> list[str]:
        """smtp-source."""
        return smtp_source(port, count, self.octets, kept=self.mode != "churn")

    def bare(self, port: int, count: int) -> list[str]:
        """The loop that does nothing else."""
        asked = (port, count, self.octets, "--mode", self.mode, "--sessions", SESSIONS)
        return [sys.executable, "-m", "benchmarks.bare", *map(str, asked)]


_MANY, _LARGE = (20_000, 100_000), (4_000, 24_000)
_CHUNKS = ("--chunking", "16")
SHAPES: Final = (
    Shape("kept-5k", "5 KB, kept sessions", 5_000, _MANY, "kept", goals=Goals(0.45, 2.0, 0.80)),
    Shape("kept-5k-ledger", "the same, ledger on", 5_000, _MANY, "kept", sink="ledger"),
    Shape("kept-100k", "100 KB, kept sessions", 100_000, _LARGE, "kept", goals=Goals(0.70, 1.4, 0.90)),
    Shape("kept-100k-ledger", "the same, ledger on", 100_000, _LARGE, "kept", sink="ledger"),
    Shape(
        "churn-5k", "5 KB, a session a message", 5_000, (4_000, 20_000), "churn",
        ("--messages-per-session", "1"), goals=Goals(1.20, 1.1, 0.85),
    ),
    Shape(
        "lock-step-5k", "5 KB, kept, lock-step", 5_000, (10_000, 50_000), "lock-step",
        ("--pipelining", "off"), goals=Goals(1.4, 0.9, 0.8),
    ),
    Shape("chunks-5k", "5 KB, --chunking 16 (theirs DATA)", 5_000, _MANY, "kept", _CHUNKS, "ledger"),
    Shape("chunks-100k", "100 KB, --chunking 16 (theirs DATA)", 100_000, _LARGE, "kept", _CHUNKS, "ledger"),
    Shape("smtp-sink-5k", "5 KB, kept, to smtp-sink", 5_000, _MANY, "kept", sink="smtp-sink"),
)  # fmt: skip


def senders(shape: Shape, port: int, rounds: int, scale: float) -> str:
    """One row: three senders to the same sink, in turns."""
    few, many = (int(count * scale) for count in shape.counts)
    commands: tuple[Command, ...] = (shape.ours, shape.theirs, shape.bare)
    found = in_turns([partial(slope, partial(command, port), few, many) for command in commands], rounds)
    goals = shape.goals
    return (
        f"| {shape.words} | {_figures(cpu_us(found), '.1f')} | {cpu_ratio(found, 0, 1)}{_goal('≤', goals.cpu)} "
        f"| {_figures(per_s(found), ',.0f')} | {rate_ratio(found, 0, 1)}{_goal('≥', goals.rate)} "
        f"| {rate_ratio(found, 0, 2)}{_goal('≥', goals.of_bare)} | {apart(found)} |"
    )


def _figures(numbers: Sequence[float], digits: str) -> str:
    return " / ".join(format(number, digits) for number in numbers)


def _goal(sign: str, value: float) -> str:
    return f" ({sign} {value:.2f})" if value else ""


# -- sinks ----------------------------------------------------------------------------------------------


def sinks(words: str, octets: int, count: int, places: Sequence[tuple[int, int]], rounds: int) -> str:
    """One row: what a message costs each sink (process id, port) under smtp-source, in turns."""
    found = in_turns([partial(_of_sink, pid, port, octets, count) for pid, port in places], rounds)
    goals = (" (≤ 0.65)", " (≤ 0.90)") if octets == 5_000 else ("", "")
    return (
        f"| {words} | {_figures(cpu_us(found), '.1f')} "
        f"| {cpu_ratio(found, 0, 2)}{goals[0]} | {cpu_ratio(found, 1, 2)}{goals[1]} "
        f"| {_figures(per_s(found), ',.0f')} | {rate_ratio(found, 0, 2)} / {rate_ratio(found, 1, 2)} "
        f"| {apart(found)} |"
    )


def _of_sink(pid: int, port: int, octets: int, count: int) -> Cost:
    """A message: the time of smtp-source's command, and the CPU time of the sink that took it."""
    before = used_by(pid)
    wall_s = of_command(smtp_source(port, count, octets)).wall_s
    return Cost(wall_s / count, (used_by(pid) - before) / count)


# -- open model -----------------------------------------------------------------------------------------


def open_model(port: int) -> str:
    """5,000 messages/s for ten seconds: how exact, and how late."""
    plan = Plan(
        target=TcpTarget("127.0.0.1", port), sessions=100, duration_ns=10**10, load=OpenLoop(5000.0), workers=1,
        run_id=os.urandom(8).hex(),
    )  # fmt: skip
    results = run(plan)
    lateness, response = results.latency_ns["lateness"], results.latency_ns["response"]
    assert lateness is not None
    assert response is not None
    return (
        f"Open model, 5,000/s for 10 s → our sink: {results.rate.messages_per_s:,.1f}/s accepted, "
        f"{results.rate.started_per_s:,.1f}/s started, lateness p99 {lateness.p99 / 1e6:.2f} ms, "
        f"response p50 {response.p50 / 1e6:.2f} ms p99 {response.p99 / 1e6:.2f} ms."
    )


def _tables_of_senders_and_sinks(
    asked: argparse.Namespace, wanted: Callable[[str], bool], say: Callable[[str], None]
) -> None:
    """Rows that need sinks of their own, which are up for all of them."""
    shapes = [shape for shape in SHAPES if wanted(shape.name)]
    if not (shapes or wanted("sinks") or wanted("open")):
        return
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        plain = stack.enter_context(our_sink("--no-ledger"))
        ledger = stack.enter_context(our_sink())
        all_on = stack.enter_context(all_on_sink(Path(folder)))
        theirs = stack.enter_context(smtp_sink())
        ports = {"plain": plain[1], "ledger": ledger[1], "smtp-sink": theirs[1]}
        if shapes:
            say(_SENDERS)
            say(_RULE)
        for shape in shapes:
            say(senders(shape, ports[shape.sink], asked.rounds, asked.scale))
        if wanted("sinks"):
            say("")
            say(_SINKS)
            say(_RULE)
            for words, octets, count in (("5 KB", 5_000, 40_000), ("100 KB", 100_000, 8_000)):
                places = (plain, all_on, theirs)
                say(sinks(words, octets, int(count * asked.scale), places, asked.rounds))
        if wanted("open"):
            say("")
            say(open_model(plain[1]))


def _table_of_ways(asked: argparse.Namespace, wanted: Callable[[str], bool], say: Callable[[str], None]) -> None:
    if any(wanted(way.name) for way in WAYS):
        say("")
        say(HEADER)
        say(_RULE)
        for row in rows(wanted, asked.rounds, asked.scale):
            say(row)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of messages")
    parser.add_argument("--only", nargs="*", default=[], help="names of shapes and of ways; sinks; open")
    parser.add_argument("--write", action="store_true", help="also write benchmarks/results/<date>-peers.md")
    asked = parser.parse_args()
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    def wanted(name: str) -> bool:
        return not asked.only or name in asked.only

    for table in (_tables_of_senders_and_sinks, _table_of_ways):
        table(asked, wanted, say)
    say("")
    say(MEANING.format(rounds=asked.rounds))
    if asked.write:
        command = " ".join(["python -m benchmarks.peers", *sys.argv[1:]])
        print("written to", write_result("peers", [birth_certificate(command), "", *lines]))


if __name__ == "__main__":
    main()

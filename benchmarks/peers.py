"""Side by side with Postfix's smtp-source and smtp-sink, and with a bare event loop.

    python -m benchmarks.peers [--rounds 5] [--seconds 2] [--only kept-5k …] [--write]

Takes     Debian's package postfix (smtp-source, smtp-sink), and a machine on which nothing else runs
Gives     a table: messages/s of every pair, median over rounds that take turns, and the ratio of the medians;
          with --write also benchmarks/results/<date>-peers.md
Rate      accepted messages over the time from the first start to the last end. For smtp-source, which reports no time,
          the wall time of its process: it starts in a millisecond, so that is the same thing.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.bare import bare_loop, bare_sender
from benchmarks.machine import birth_certificate, write_result
from benchmarks.rivals import SESSIONS, SIZES, smtp_sink, smtp_source
from benchmarks.sink import all_on_sink
from trafficgen import OpenLoop, Plan, Results, SessionPlan, SizedBodies, TcpTarget, Workload, run
from trafficgen.sink.embedded import EmbeddedSink


@dataclass(frozen=True, slots=True)
class Contest:
    """One line of the table: `ours` against `theirs`, and maybe `most`, the ceiling of both; all return messages/s when
    asked to send `count`."""

    name: str
    words: str
    floor: float
    ours: Callable[[int], float]
    theirs: Callable[[int], float]
    count: int
    most: Callable[[int], float] | None = None


# -- senders --------------------------------------------------------------------------------------------


def traffic_gen(port: int, count: int, size: str, *, kept: bool = True, chunks: int = 0) -> float:
    """Our sender, as it comes: unique headers, sampled recipients, everything recorded."""
    return results_of(port, count, size, kept=kept, chunks=chunks).rate.messages_per_s


def results_of(port: int, count: int, size: str, *, kept: bool = True, chunks: int = 0) -> Results:
    plan = Plan(
        target=TcpTarget("127.0.0.1", port),
        sessions=SESSIONS,
        max_messages=count,
        workload=Workload(content=SizedBodies((str(SIZES[size]),))),
        session=SessionPlan(max_messages=0 if kept else 1, chunks=chunks),
        workers=1,
        run_id=os.urandom(8).hex(),
    )
    results = run(plan)
    assert results.messages.accepted == count, results.messages
    return results


# -- sinks ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def our_sink(*, ledger: bool) -> Iterator[int]:
    """Our sink in a process of its own."""
    with EmbeddedSink(sessions=SESSIONS, ledger=ledger) as sink:
        assert isinstance(sink.address, TcpTarget)
        yield sink.address.port


# -- contests -------------------------------------------------------------------------------------------


def contests(theirs: int, plain: int, ledger: int, all_on: int) -> list[Contest]:
    """All lines of the table; the arguments are the ports of smtp-sink, our sink without and with its ledger, and with
    responses, limits and a ledger on disk.

    Unless a line says otherwise both senders send to the same sink. The most there is: what a sender gets that does
    nothing but send ("at most"). A floor above it is out of reach of every sender, with that sink on that machine.
    """

    def ours(port: int, size: str, *, kept: bool = True, chunks: int = 0) -> Callable[[int], float]:
        return lambda count: traffic_gen(port, count, size, kept=kept, chunks=chunks)

    def source(port: int, size: str, *, kept: bool = True) -> Callable[[int], float]:
        return lambda count: smtp_source(port, count, size, kept=kept)

    def senders(name: str, words: str, floor: float, port: int, size: str, count: int, *, kept: bool = True) -> Contest:
        return Contest(
            name, words, floor, ours(port, size, kept=kept), source(port, size, kept=kept), count,
            lambda n: bare_sender(port, n, SIZES[size], kept=kept),
        )  # fmt: skip

    def bare(name: str, words: str, floor: float, port: int, size: str, count: int) -> Contest:
        return Contest(name, words, floor, ours(port, size), lambda n: bare_loop(n, SIZES[size]), count)

    return [
        senders("their-sink", "senders → smtp-sink, 5 KB, kept sessions", 1.8, theirs, "5k", 25_000),
        senders("kept-5k", "senders → our sink, 5 KB, kept", 3.0, plain, "5k", 40_000),
        senders("kept-5k-ledger", "the same, ledger on", 2.5, ledger, "5k", 40_000),
        senders("kept-100k", "senders → our sink, 100 KB, kept", 4.0, plain, "100k", 4_000),
        senders("kept-100k-ledger", "the same, ledger on", 3.5, ledger, "100k", 4_000),
        Contest(
            "chunks-5k", "senders → our sink, ledger on, 5 KB; ours --chunking 16, theirs DATA", 2.5,
            ours(ledger, "5k", chunks=16), source(ledger, "5k"), 60_000,
        ),
        Contest(
            "chunks-100k", "senders → our sink, ledger on, 100 KB; ours --chunking 16, theirs DATA", 3.5,
            ours(ledger, "100k", chunks=16), source(ledger, "100k"), 6_000,
        ),
        senders("churn-5k", "senders → our sink, 5 KB, a session a message", 1.4, plain, "5k", 8_000, kept=False),
        bare("bare-5k", "our pair, of a bare loop with the same octets, 5 KB", 0.45, plain, "5k", 80_000),
        bare("bare-5k-ledger", "the same, ledger on", 0, ledger, "5k", 80_000),
        bare("bare-100k", "our pair, of a bare loop with the same octets, 100 KB", 0, plain, "100k", 20_000),
        bare("bare-100k-ledger", "the same, ledger on", 0, ledger, "100k", 20_000),
        Contest("sink-5k", "sinks, under smtp-source, 5 KB", 1.3, source(plain, "5k"), source(theirs, "5k"), 20_000),
        Contest(
            "sink-100k", "sinks, under smtp-source, 100 KB", 2.0, source(plain, "100k"), source(theirs, "100k"), 2_000
        ),
        Contest(
            "sink-5k-on", "the same, 5 KB, ours with responses, limits and a ledger on disk", 1.15,
            source(all_on, "5k"), source(theirs, "5k"), 20_000,
        ),
        Contest(
            "sink-100k-on", "the same, 100 KB", 2.0, source(all_on, "100k"), source(theirs, "100k"), 2_000,
        ),
        Contest("pair-5k", "our pair, of Postfix's pair, 5 KB", 0, ours(ledger, "5k"), source(theirs, "5k"), 25_000),
        Contest("pair-100k", "our pair, of Postfix's, 100 KB", 0, ours(ledger, "100k"), source(theirs, "100k"), 2_000),
        Contest(
            "pair-churn-5k", "our pair, of Postfix's, 5 KB, a session a message", 0,
            ours(plain, "5k", kept=False), source(theirs, "5k", kept=False), 6_000,
        ),
    ]  # fmt: skip


def compare(contest: Contest, rounds: int, scale: float) -> str:
    """One row: medians of all, their ratios, and the spread of the ratios round by round."""
    count = max(int(contest.count * scale), 100)
    contest.theirs(count // 4)
    sides = [contest.ours, contest.theirs] + ([contest.most] if contest.most else [])
    rates: list[list[float]] = [[] for _ in sides]
    for turn in range(rounds):
        for side in range(len(sides)):  # another one first in every round
            place = (turn + side) % len(sides)
            rates[place].append(sides[place](count))
    ours, theirs, *most = map(median, rates)
    ratios = sorted(a / b for a, b in zip(rates[0], rates[1], strict=True))
    return (
        f"| {contest.words} | {ours:,.0f} | {theirs:,.0f} | **{ours / theirs:.2f}** | {ratios[0]:.2f}–{ratios[-1]:.2f} "
        f"| {f'{most[0] / theirs:.2f}' if most else '–'} | {contest.floor or '–'} |"
    )


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


def main() -> None:
    """Run the contests and print the table."""
    parser = argparse.ArgumentParser(description="side by side with smtp-source and smtp-sink")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of messages")
    parser.add_argument("--only", nargs="*", default=[], help="names of contests")
    parser.add_argument("--write", action="store_true", help="also write benchmarks/results/<date>-peers.md")
    options = parser.parse_args()
    lines = [
        "| what (20 sessions, loopback) | ours /s | theirs /s | ratio of medians | least–most | at most | floor |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        smtp_sink() as theirs,
        our_sink(ledger=False) as plain,
        our_sink(ledger=True) as ledger,
        all_on_sink(Path(folder)) as all_on,
    ):
        for contest in contests(theirs, plain, ledger, all_on):
            if not options.only or contest.name in options.only:
                lines.append(compare(contest, options.rounds, options.scale))
                print(lines[-1], flush=True)
        if not options.only or "open" in options.only:
            lines += ["", open_model(plain)]
            print(lines[-1])
    if options.write:
        command = " ".join(["python -m benchmarks.peers", *sys.argv[1:]])
        print("written to", write_result("peers", [birth_certificate(command), "", *lines]))


if __name__ == "__main__":
    main()

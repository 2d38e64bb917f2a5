"""Every figure that README and the book quote, measured one after another.

    python -m benchmarks.everything [NAME ...] [--list]

Takes     a machine on which nothing else runs, 2 cores and 12 GB of disk; root for the network namespaces of `proof`
Gives     benchmarks/results/<date>-NAME.md of each; how long each took, and which ended otherwise than with 0. Gates of
          real servers, hours of them and only when named, add what is missing to gate-KIND.md (gate_real)
Not here  simulated gates (slice_power)
"""

import argparse
import subprocess
import sys
import time
from typing import Final

from benchmarks.gate_real import make_gates
from benchmarks.gate_rows import KINDS, GateFile
from benchmarks.machine import birth_certificate, write_result
from trafficgen.errors import ExitCode

FIGURES: Final = {
    "startup": ("startup",),
    "peers": ("peers", "--rounds", "2"),
    "many-sessions": ("many_sessions",),
    "greetings": ("greetings",),
    "sink": ("sink", "--rounds", "3"),
    "mbox-reading": ("mbox_reading",),
    "corpus": ("corpus", "--rounds", "3"),
    "mailbox": ("mailbox",),
    "mailbox-idle": ("mailbox_runs", "idle"),
    "mailbox-logins": ("mailbox_runs", "logins"),
    "mailbox-commands": ("mailbox_runs", "commands"),
    "mailbox-dovecot": ("mailbox_runs", "dovecot"),
    "mailbox-profiles": ("mailbox_profiles",),
    "observe-look": ("observe", "look"),
    "observe-run": ("observe", "run"),
    "observe-queue": ("observe_postfix", "queue"),
    "observe-shortage": ("observe_postfix", "shortage"),
    "logs": ("logs", "join", "10000000"),
    "logs-followed": ("logs", "followed"),
    "cluster-coordinator": ("cluster", "coordinator"),
    "cluster-throughput": ("cluster", "throughput"),
    "cluster-proof": ("cluster", "proof"),
}
"""Name of the result, and the benchmark with its arguments."""

GATES: Final = {f"gate-{kind}": kind for kind in KINDS}
"""Name of a result that is added to, and the kind of gates."""


def measure(name: str) -> bool:
    """Run one benchmark and write what it printed; whether it ended with 0."""
    if name in GATES:
        if (code := make_gates(GateFile(GATES[name]), None, (), write=True)) is ExitCode.INTERRUPTED:
            sys.exit(code)
        return True
    module, *arguments = FIGURES[name]
    words = " ".join(["python -m", f"benchmarks.{module}", *arguments])
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *arguments], capture_output=True, text=True)
    took = f"{time.monotonic() - began:,.0f} s"
    table = "\n|" in f"\n{done.stdout}"
    shown = done.stdout.rstrip() if table else f"```\n{done.stdout.rstrip()}\n```"
    if done.returncode:
        print(f"{name}: exit {done.returncode} after {took}, not written\n{done.stdout}{done.stderr}", flush=True)
        return False
    path = write_result(name, [f"{birth_certificate(words)} It took {took}.", "", shown])
    print(f"{name}: {took}, {path.name}\n{done.stdout}", flush=True)
    return True


def main() -> None:
    """Measure what was asked for, or everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *FIGURES, *GATES], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the names and commands")
    asked = parser.parse_args()
    if asked.list:
        for name, words in FIGURES.items():
            print(f"{name:20} python -m benchmarks.{' '.join(words)}")
        for name, kind in GATES.items():
            print(f"{name:20} python -m benchmarks.gate_real {kind} --write")
        return
    ended = [measure(name) for name in asked.names or FIGURES]
    sys.exit(0 if all(ended) else 1)


if __name__ == "__main__":
    main()

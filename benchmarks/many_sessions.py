"""What thousands of sessions cost: memory of all generator processes, and the rate while they are open.

    python -m benchmarks.many_sessions [--sessions 20000] [--messages 300000] [--body-size 100000] [--write]

Takes     room for so many open files in each process (ulimit -n; half of the sessions in each worker), 2 cores
Gives     for few sessions and for many: the proportional set size of every process of the command at its peak (Pss of
          /proc/PID/smaps_rollup, proc(5)), sessions opened, messages/s in every second; and the octets that a session
          more costs
Apart     the sink is ours in two other processes, without a ledger; its memory is not counted
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep

from benchmarks.machine import birth_certificate, write_result

FEW = 20
_LOOK_S = 0.3
_PORT = 2626


@dataclass
class Seen:
    """One run: kB by process at the moment when all of them together were largest, and its results."""

    sessions: int
    kilobytes: dict[str, int] = field(default_factory=dict)
    opened: int = 0
    rates: list[int] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.kilobytes.values())


def watch(sessions: int, messages: int, size: int, folder: Path) -> Seen:
    """Send, and look at the processes until the end."""
    json_file = folder / "results.json"
    command = [
        sys.executable, "-m", "trafficgen", "--target", f"127.0.0.1:{_PORT}", "--concurrency", str(sessions),
        "--message-count", str(messages), "--body-size", str(size), "--json", str(json_file), "--workers", "2",
    ]  # fmt: skip
    seen = Seen(sessions)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sender:
        while sender.poll() is None:
            found = dict(_family(sender.pid))
            if sum(found.values()) > seen.total:
                seen.kilobytes = found
            sleep(_LOOK_S)
    results = json.loads(json_file.read_text())
    assert results["messages"]["accepted"] == messages, results["messages"]
    seen.opened = results["generator"]["sessions_opened"]
    seen.rates = [interval["accepted"] for interval in results["timeline"]]
    return seen


def _family(pid: int) -> list[tuple[str, int]]:
    """A process and all below it: what each is, and its proportional set size in kB."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(path.name))
    found, left = [], [pid]
    while left:
        one = left.pop()
        left += children.get(one, [])
        try:
            size = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{one}/smaps_rollup").read_text(), re.MULTILINE)
        except OSError:
            continue
        kind = "command" if one == pid else "forked"
        if size:
            found.append((f"{kind} {one}", int(size[1])))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--messages", type=int, default=300_000)  # the last session is open before they are out
    parser.add_argument("--body-size", type=int, default=100_000)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    sink = [sys.executable, "-m", "trafficgen", "sink", f"127.0.0.1:{_PORT}", "--workers", "2"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(sink, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as serving,
    ):
        assert serving.stderr is not None
        for line in serving.stderr:
            if "listening" in line:
                break
        runs = [watch(sessions, given.messages, given.body_size, Path(folder)) for sessions in (FEW, given.sessions)]
        serving.terminate()
    few, many = runs
    lines = [f"# {given.sessions:,} sessions of {given.body_size:,} octets a message", ""]
    lines += [birth_certificate(" ".join(["python -m benchmarks.many_sessions", *sys.argv[1:]])), ""]
    lines += [
        "| sessions | opened | all processes, MB | of these | messages/s, second by second |",
        "|---|---|---|---|---|",
    ]
    for run in runs:
        parts = ", ".join(f"{name.split()[0]} {kilobytes / 1024:.0f}" for name, kilobytes in run.kilobytes.items())
        rates = " ".join(map(str, run.rates))
        lines.append(f"| {run.sessions:,} | {run.opened:,} | {run.total / 1024:.0f} | {parts} | {rates} |")
    each = (many.total - few.total) * 1024 / (given.sessions - FEW)
    lines += ["", f"A session more costs {each:,.0f} octets."]
    print("\n".join(lines))
    if given.write:
        print(write_result("many-sessions", lines))


if __name__ == "__main__":
    main()

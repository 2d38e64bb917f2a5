"""How long commands take that have next to nothing to do: wall and CPU time of all their processes, medians.

    python -m benchmarks.startup [--rounds 10]

CPU time is that of every process that the command starts, also of those that it does not wait for: this process is
their subreaper (prctl(2), PR_SET_CHILD_SUBREAPER) and waits for all.
"""

import argparse
import ctypes
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

_SUBREAPER: Final = 36
COMMANDS: Final = {
    "traffic-gen --help": ("trafficgen", "--help"),
    "mboxgen --help": ("mboxgen", "--help"),
    "ten messages to the embedded sink": ("trafficgen", "--message-count", "10"),
    "mboxgen x --count 10": ("mboxgen", "x.mbox", "--force", "--size", "10kb", "--count", "10"),
}


def once(arguments: tuple[str, ...], folder: str) -> tuple[float, float]:
    """Wall and CPU seconds of `python -m` with these arguments."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", *arguments]
    with Path(os.devnull).open("r+b") as nothing:
        actions = [(os.POSIX_SPAWN_DUP2, nothing.fileno(), number) for number in (0, 1, 2)]
        here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PWD": folder}
        pid = os.posix_spawn(sys.executable, command, here, file_actions=actions)
    os.waitpid(pid, 0)
    wall_s = time.monotonic() - began
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for arguments in COMMANDS.values():
            once(arguments, folder)  # so that every module has its byte code
        found = [{name: once(arguments, folder) for name, arguments in COMMANDS.items()} for _ in range(rounds)]
    print("| command | wall s | CPU s |\n|---|---|---|")
    for name in COMMANDS:
        wall_s, cpu_s = (statistics.median(times) for times in zip(*(one[name] for one in found), strict=True))
        print(f"| {name} | {wall_s:.2f} | {cpu_s:.2f} |")


if __name__ == "__main__":
    main()

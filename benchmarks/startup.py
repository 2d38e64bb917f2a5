"""How long commands take that have next to nothing to do: wall and CPU time of all their processes, medians.

python -m benchmarks.startup [--rounds 10]
"""

import argparse
import statistics
import sys
import tempfile
from typing import Final

from benchmarks.cost import of_command

COMMANDS: Final = {
    "traffic-gen --help": ("trafficgen", "--help"),
    "mboxgen --help": ("mboxgen", "--help"),
    "ten messages to the embedded sink": ("trafficgen", "--message-count", "10"),
    "mboxgen x --count 10": ("mboxgen", "x.mbox", "--force", "--size", "10kb", "--count", "10"),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    commands = {name: [sys.executable, "-m", *arguments] for name, arguments in COMMANDS.items()}
    with tempfile.TemporaryDirectory() as folder:
        for command in commands.values():
            of_command(command, folder)  # so that every module has its byte code
        found = [{name: of_command(command, folder) for name, command in commands.items()} for _ in range(rounds)]
    print("| command | wall s | CPU s |\n|---|---|---|")
    for name in COMMANDS:
        wall_s = statistics.median(one[name].wall_s for one in found)
        cpu_s = statistics.median(one[name].cpu_s for one in found)
        print(f"| {name} | {wall_s:.2f} | {cpu_s:.2f} |")


if __name__ == "__main__":
    main()

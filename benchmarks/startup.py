"""How long commands take that have next to nothing to do, and where the time goes.

python -m benchmarks.startup [--rounds 10]            wall and CPU time of all their processes, medians
python -m benchmarks.startup --imports [--rounds 10]  milliseconds that each package's imports take, the least of all
                                                      rounds module by module, which other programs hardly disturb
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from benchmarks.cost import of_command

COMMANDS: Final = {
    "traffic-gen --help": ("trafficgen", "--help"),
    "mboxgen --help": ("mboxgen", "--help"),
    "ten messages to the embedded sink": ("trafficgen", "--message-count", "10"),
    "mboxgen x --count 10": ("mboxgen", "x.mbox", "--force", "--size", "10kb", "--count", "10"),
}
_THEIRS: Final = ("click", "numpy", "rich", "msgspec", "aiosmtplib", "asyncio", "email", "trafficgen", "mboxgen")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--imports", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for arguments in COMMANDS.values():
            of_command([sys.executable, "-m", *arguments], folder)  # so that every module has its byte code
        (_show_imports if asked.imports else _show_times)(asked.rounds, folder)


def _show_times(rounds: int, folder: str) -> None:
    commands = {name: [sys.executable, "-m", *arguments] for name, arguments in COMMANDS.items()}
    found = [{name: of_command(command, folder) for name, command in commands.items()} for _ in range(rounds)]
    print("| command | wall s | CPU s |\n|---|---|---|")
    for name in COMMANDS:
        wall_s = statistics.median(one[name].wall_s for one in found)
        cpu_s = statistics.median(one[name].cpu_s for one in found)
        print(f"| {name} | {wall_s:.2f} | {cpu_s:.2f} |")


def _show_imports(rounds: int, folder: str) -> None:
    print(f"| ms of imports | all | {' | '.join(_THEIRS)} | Python's own |\n|{'---|' * (len(_THEIRS) + 3)}")
    for name, arguments in COMMANDS.items():
        least_us: dict[str, int] = {}
        for _ in range(rounds):
            for module, us in _imports(arguments, folder):
                least_us[module] = min(us, least_us.get(module, us))
        by_package: Counter[str] = Counter()
        for module, us in least_us.items():
            package = module.partition(".")[0]
            by_package[package if package in _THEIRS else ""] += us
        cells = [sum(by_package.values()), *(by_package[package] for package in (*_THEIRS, ""))]
        print(f"| {name} | {' | '.join(f'{us / 1000:.0f}' for us in cells)} |")


def _imports(arguments: Sequence[str], folder: str) -> Iterable[tuple[str, int]]:
    """Modules and microseconds, of the command's own process and of the one that forks others."""
    command = [sys.executable, "-X", "importtime", "-m", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    for line in done.stderr.splitlines():
        if line.startswith("import time:") and not line.endswith("imported package"):
            us, _, module = line.removeprefix("import time:").split("|")
            yield module.strip(), int(us)


if __name__ == "__main__":
    main()

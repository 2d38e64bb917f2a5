"""Where and when a figure was measured: every result carries it."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def birth_certificate(command: str) -> str:
    """One paragraph: command, commit, machine, versions, date."""
    return (
        f"`{command}` at commit {commit()}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. "
        f"{machine()}, uvloop {version('uvloop')}, numpy {version('numpy')}. "
        "All of it on this one machine, what needs a network over loopback; what is compared takes turns."
    )


def commit() -> str:
    """What is checked out here."""
    said = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return said.stdout.strip() or "unknown"


def machine() -> str:
    """Its cores and system, and Python's version."""
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores ({_processor()}), {system}"


def write_result(name: str, lines: list[str]) -> Path:
    """Write benchmarks/results/<date>-<name>.md; returns its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-{name}.md"
    path.write_text("\n".join(lines) + "\n")
    return path


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

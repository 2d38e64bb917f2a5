"""How much of the pure rooms their own tests run through, branches counted: measured in one process, with a floor each.

The rooms that open sockets and processes are left out: a second run of their tests would take minutes.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mboxgen.enums import table_of

ROOT = Path(__file__).parent.parent
ROOMS = ("measure", "schedule", "verdict", "protocol/smtp")
FLOORS = table_of(ROOMS, {"measure": 95.0, "schedule": 99.0, "verdict": 75.0, "protocol/smtp": 87.0})
"""Percent of lines and branches. Raise one when its room is above it for good; lower none without a reason here.
What the gate reads of a server, and logging in to the sink, are run by tests that start servers, and not counted."""

TESTS = (
    "tests/measure", "tests/schedule", "tests/smtp", "tests/verdict", "tests/gate/test_gate.py",
    "tests/report/test_commands_on_files.py", "tests/cluster/test_merging_shards.py",
    "--ignore=tests/measure/test_overhead.py",
    *(f"--ignore=tests/verdict/test_{name}.py" for name in ("ceiling", "known_waits", "watched_runs")),
)  # fmt: skip
"""None that starts servers or runs."""


@pytest.mark.timeout(900)  # a minute of its own on a quiet machine, beside all other tests more
def test_the_tests_of_the_pure_rooms_run_through_them(tmp_path: Path) -> None:
    if not os.environ.get("CI"):
        pytest.importorskip("coverage")
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = quiet | {"COVERAGE_FILE": str(tmp_path / "data")}
    options = ("-q", "-n", "0", "-p", "no:cacheprovider", "--hypothesis-profile", "few examples")

    def coverage(*arguments: str) -> None:
        command = [sys.executable, "-m", "coverage", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    sources = ",".join(f"trafficgen/{room}" for room in ROOMS)
    coverage("run", f"--source={sources}", "-m", "pytest", *options, *TESTS)
    coverage("json", "-q", "-o", str(tmp_path / "report.json"))
    found: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for name, file in json.loads((tmp_path / "report.json").read_text())["files"].items():
        room = next(room for room in ROOMS if name.startswith(f"trafficgen/{room}/"))
        totals = file["summary"]
        found[room] += totals["covered_lines"] + totals["covered_branches"]
        whole[room] += totals["num_statements"] + totals["num_branches"]
    shares = {room: round(100 * found[room] / whole[room], 1) for room in ROOMS}
    assert {room: share for room, share in shares.items() if share < FLOORS[room]} == {}, shares

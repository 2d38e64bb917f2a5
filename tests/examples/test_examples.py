"""Every example runs and shows what it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import program
from tests.peers.postfix import private_postfix
from tests.peers.private_sink import private_sink

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def run(*command: str | Path) -> str:
    """What it says on stdout. stderr must stay empty, or hold notices only."""
    traffic_gen = f"{sys.executable} -m trafficgen"
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "TRAFFIC_GEN": traffic_gen},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_first_run() -> None:
    said = run(sys.executable, EXAMPLES / "first_run.py")
    assert "no --target given: sending to the embedded sink at 127.0.0.1:" in said
    assert re.search(r"^2000 accepted at \d+/s$", said, re.MULTILINE)
    assert said.splitlines()[-1] == "0 missing, 0 duplicated, 0 corrupted"


def test_ramp() -> None:
    said = run(sys.executable, EXAMPLES / "ramp.py").splitlines()
    found = re.fullmatch(r"(\d+) of (\d+) planned messages accepted", said[0])
    assert found is not None
    # The area under the ramp is 800; Poisson arrivals scatter around it by 28.
    assert found[1] == found[2]
    assert 650 < int(found[1]) < 950
    assert len(said) >= 4, "a line for every second"


def test_private_sink() -> None:
    assert run(sys.executable, EXAMPLES / "private_sink.py") == "500 accepted, 500 arrived, 0 damaged\n"


def test_postfix_under_test() -> None:
    program("postqueue", "postfix")
    with private_sink() as reserved:
        port = reserved.port
    with private_postfix(port) as postfix:
        said = run(
            EXAMPLES / "postfix_under_test.sh", f"127.0.0.1:{postfix.port}", str(port), "200",
            str(postfix.folder / "config"),
        )  # fmt: skip
    assert said.splitlines()[-1].startswith("200 messages accepted")

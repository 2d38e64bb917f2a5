"""The example runs and shows what it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[3] / "examples" / "sink_proof.sh"


def test_the_proof_with_two_programs() -> None:
    environment = {**os.environ, "TRAFFIC_GEN": f"{sys.executable} -m trafficgen"}
    done = subprocess.run([EXAMPLE], capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.match(r"(\d+) accepted: (\d+) delivered, 0 missing\n", done.stdout)
    assert found is not None
    assert 850 <= int(found[1]) == int(found[2]) <= 940

"""Words cost nothing until they are wanted."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import trafficgen.report", ("rich", "numpy")),
        ("import trafficgen.report.to_text, trafficgen.report.live", ("rich", "socket", "ssl", "asyncio")),
    ],
)
def test_importing_brings_in_no_more_than_is_needed(statement: str, absent: tuple[str, ...]) -> None:
    program = f"import sys; {statement}; print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

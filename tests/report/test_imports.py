"""Words cost nothing until they are wanted."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import trafficgen.report", ("rich", "numpy")),
        ("import trafficgen.report.to_text, trafficgen.report.live", ("rich", "socket", "ssl", "asyncio")),
        (
            "import trafficgen.report.to_html, trafficgen.report.gated, trafficgen.measure.merging",
            ("rich", "socket", "ssl", "asyncio", "trafficgen.engine", "prometheus_client", "psutil"),
        ),
        (
            "import trafficgen.verdict.reading, trafficgen.verdict.comparing, trafficgen.verdict.control",
            ("socket", "ssl", "asyncio", "scipy", "trafficgen.engine", "trafficgen.report"),
        ),
    ],
)
def test_importing_brings_in_no_more_than_is_needed(statement: str, absent: tuple[str, ...]) -> None:
    program = f"import sys; {statement}; print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

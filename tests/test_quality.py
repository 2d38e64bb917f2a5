"""The tools that watch over the code, run as tests: format and lint, types, who may import whom."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "command",
    [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",), ("lint-imports",)],
    ids=lambda command: "-".join(word for word in command if word != "."),
)
def test_tool_has_nothing_to_say(command: tuple[str, ...]) -> None:
    program = Path(sys.executable).parent / command[0]
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_benchmark_that_a_line_names_is_there() -> None:
    sources = [path for room in ("trafficgen", "mboxgen", "docs") for path in (ROOT / room).rglob("*.*")]
    texts = (path.read_text() for path in sources if path.suffix in (".py", ".md"))
    named = {name for text in texts for name in re.findall(r"benchmarks/\w+\.py", text)}
    assert len(named) > 3
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []

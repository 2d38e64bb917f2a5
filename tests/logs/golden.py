"""Lines of real servers and what they say; run it to make the expected files again, and read the change.

The lines are those of Postfix 3.7.11, Dovecot 2.3.19 and 2.4.1, Exim 4.96 and journalctl 252, recorded on private
instances, and kumod's in the shape of its manual. Run as `python -m tests.logs.golden`.
"""

from pathlib import Path

from trafficgen.logs.lines import LineReader

LINES = Path(__file__).parent / "lines"
NEAR_NS = 1_795_748_000_000_000_000
"""2026-11-27, when they were recorded."""


def expected_of(path: Path) -> Path:
    return path.with_suffix(path.suffix + ".expected")


def files() -> list[Path]:
    return sorted(path for path in LINES.iterdir() if path.suffix != ".expected")


def said(path: Path) -> str:
    """What each line says, a line each."""
    reader = LineReader(NEAR_NS)
    return "".join(f"{reader.read(line)}\n" for line in path.read_bytes().splitlines())


if __name__ == "__main__":
    for one in files():
        expected_of(one).write_text(said(one))

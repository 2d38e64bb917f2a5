"""Lines on standard error may quote a server."""

from pathlib import Path

import pytest

from trafficgen.cli import program
from trafficgen.cli.notices import show_notice


def test_nothing_that_a_server_says_commands_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_notice("Error: CAPABILITY: BYE: \x1b[2J\x00\u202e…")
    assert capsys.readouterr().err == "Error: CAPABILITY: BYE: \\x1b[2J\\x00\\u202e…\n"


def test_notices_go_out_in_one_place() -> None:
    """A line that may quote a server goes through `show_notice`: no command prints one by itself."""
    folder = Path(program.__file__).parent
    others = [path.name for path in folder.glob("*.py") if "partial(click.echo" in path.read_text()]
    assert others == []

"""Options of send that a gate does not act on are refused, not passed over in silence."""

from dataclasses import fields

import pytest

from trafficgen.cli.gate_plan import NOT_HERE
from trafficgen.cli.options import SendOptions
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode


def test_observers_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    observing = {field.name for field in fields(SendOptions) if field.name.startswith("observe")}
    assert observing
    assert observing <= set(NOT_HERE)
    assert call(["gate", "--a", "127.0.0.1:9", "--b", "127.0.0.1:8", "--", "--observe", "local"]) is ExitCode.USAGE
    assert "(--observe)" in capsys.readouterr().err

"""How many processes send when nobody says it."""

import os

import pytest

from trafficgen.runs import run as module
from trafficgen.runs.run import default_workers


@pytest.mark.parametrize(
    ("cores", "sessions", "open_files", "embedded", "workers"),
    [
        (4, 20, 1_000, False, 4),  # a core each
        (4, 20, 1_000, True, 3),  # one of them is the sink's
        (1, 20, 1_000, True, 1),
        (2, 2_001, 1_000, False, 3),  # as many as it takes to hold the sessions
        (2, 2_000, 1_000, False, 2),
        (2, 3, 0, False, 3),  # a process holds one at least
    ],
)
def test_a_core_each_and_as_many_as_hold_the_sessions(
    monkeypatch: pytest.MonkeyPatch, cores: int, sessions: int, open_files: int, embedded: bool, workers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(cores)), raising=False)
    monkeypatch.setattr(module, "raise_open_files", lambda _sessions: open_files)
    assert default_workers(sessions, embedded=embedded) == workers

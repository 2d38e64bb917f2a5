"""A made-up protocol with sessions, phases and commands of its own: no mail is sent."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from trafficgen.measure.generator import Host
from trafficgen.measure.phases import PhaseTable
from trafficgen.measure.recorder import Recorder
from trafficgen.measure.results import Results
from trafficgen.measure.snapshot import Snapshot
from trafficgen.outcomes import Outcome
from trafficgen.plan import OpenLoop

MS, S = 1_000_000, 1_000_000_000

TOY: PhaseTable = PhaseTable(
    {"connect": "connect", "greeting": "greeting", "login": "LOGIN", "selected": "selected state"},
    timed=("connect", "greeting", "login"),
    commands=("login", "fetch", "expunge"),
)


@dataclass(frozen=True)
class ToyPlan:
    """What a run without messages was asked for."""

    run_id: str = "00000000000000aa"
    seed: int = 7
    destination: str | None = "imap://127.0.0.1:143"
    load: OpenLoop | None = None
    max_messages: int | None = None
    duration_ns: int | None = 10 * S
    users: int = field(default=5)

    def to_dict(self) -> dict[str, Any]:
        return {"sessions": self.users, "duration_ns": self.duration_ns}


def recorder_of(commands: list[tuple[str, Outcome, int]], *, start_ns: int = 0, worker: int = 0) -> Recorder:
    """Commands of (kind, outcome, milliseconds taken), one every 10 ms from `start_ns` on; each brings 100 octets."""
    recorder = Recorder(0, 0, False, worker, phases=TOY)
    for index, (name, outcome, took_ms) in enumerate(commands):
        began = start_ns + index * 10 * MS
        recorder.command(name, outcome, start_ns=began, end_ns=began + took_ms * MS, octets=100)
    return recorder


def snapshot_of(recorder: Recorder, wall_ns: int = 2 * S) -> Snapshot:
    return recorder.snapshot(
        now_ns=wall_ns, cpu_ns=wall_ns // 10, wall_ns=wall_ns, sessions_open=1, sessions_opened=1, in_flight=0
    )


def results_of(snapshot: Snapshot, **changes: Any) -> Results:
    facts: dict[str, Any] = {
        "phases": TOY,
        "domains": (),
        "planned": 0,
        "not_started": 0,
        "started_at": datetime(2026, 11, 27, 3, 0, tzinfo=UTC),
        "duration_ns": 2 * S,
        "host": Host("3.11.7", "Linux", 2),
        "tool_version": "0.1.0",
    }
    return Results.build(ToyPlan(), snapshot, **(facts | changes))

"""The shipped JSON Schema and the results are the same thing."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from trafficgen.engine.account import PHASES
from trafficgen.measure.generator import Host
from trafficgen.measure.recorder import Recorder
from trafficgen.measure.results import Results
from trafficgen.outcomes import Outcome, Phase
from trafficgen.plan import Plan

SCHEMA: dict[str, Any] = Results.schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())


def recorded() -> Results:
    """Results by the way that real ones take."""
    recorder = Recorder(1, 0, True, phases=PHASES)
    for number, outcome in enumerate(Outcome):
        recorder.rows.extend((number, outcome, 0, 0, 5, 10, 15, 2_000_000_000, 700))
    recorder.reply(Phase.RCPT, 550, "5.1.1", "no")
    recorder.failure(Phase.TLS, "TLS handshake failed", "bad certificate")
    recorder.phase(Phase.CONNECT, 80_000)
    recorder.loop_lag(1)
    snapshot = recorder.snapshot(now_ns=1, cpu_ns=95, wall_ns=100, sessions_open=1, sessions_opened=1, in_flight=0)
    return Results.build(
        Plan(max_messages=6).identified(),
        snapshot,
        phases=PHASES,
        domains=[("gmail.com.test", 1.0)],
        planned=6,
        not_started=1,
        started_at=datetime(2026, 11, 22, tzinfo=UTC),
        duration_ns=1,
        host=Host.here(),
        tool_version="0.1.0",
    )


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_recorded_results_fit_the_schema() -> None:
    VALIDATOR.validate(json.loads(recorded().to_json()))


def test_results_with_all_that_is_optional_fit_the_schema(results: Results) -> None:
    VALIDATOR.validate(json.loads(results.to_json()))


def test_every_piece_is_closed_and_described() -> None:
    for name, piece in (*SCHEMA["$defs"].items(), ("Results", SCHEMA)):
        if "properties" in piece:
            assert piece["additionalProperties"] is False, name
        assert piece["description"], name


@pytest.mark.parametrize(
    ("key", "value"),
    [("stopped_by", "boredom"), ("messages", {}), ("latency_ns", []), ("ledger", 1), ("schema_version", 2)],
)
def test_the_schema_refuses_what_is_not_results(key: str, value: object, results: Results) -> None:
    assert not VALIDATOR.is_valid(results.to_dict() | {key: value})


def test_every_key_is_in_the_manual() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "reference" / "results.md").read_text(encoding="utf-8")
    keys = [*SCHEMA["properties"]] + [key for piece in SCHEMA["$defs"].values() for key in piece.get("properties", ())]
    assert [key for key in keys if f"`{key}`" not in manual] == []

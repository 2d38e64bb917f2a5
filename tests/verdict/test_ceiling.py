"""What a machine is capable of, and how much of it a run used."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from tests.engine.moments import not_before
from trafficgen.cli.program import call
from trafficgen.cli.schema import scenario_schema
from trafficgen.errors import ExitCode, ResultsError
from trafficgen.measure.results import Results, read_results
from trafficgen.runs.calibration import ceiling_path
from trafficgen.verdict.ceiling import Ceiling, CeilingPoint, read_ceiling


def ceiling(results: Results, *points: tuple[float, int, float]) -> Ceiling:
    return Ceiling("2026-11-22T00:00:00+00:00", "0.1.0", results.host, tuple(CeilingPoint(*point) for point in points))


def test_cost_is_on_a_line_between_sizes(results: Results) -> None:
    # 100 µs at 5 kB, 290 µs at 100 kB: 2 µs more a kB
    made = ceiling(results, (5_000, 20, 10_000.0), (100_000, 20, 1e6 / 290), (5_000, 1, 1_000.0))
    assert made.rate_per_s(5_000, 20) == pytest.approx(10_000)
    assert made.rate_per_s(52_500, 20) == pytest.approx(1e6 / 195)
    assert made.rate_per_s(195_000, 20) == pytest.approx(1e6 / 480)
    assert made.rate_per_s(1_000, 20) == pytest.approx(10_000)  # never above the best measured
    assert made.rate_per_s(5_000, 50) == made.rate_per_s(5_000, 20)  # the nearest number of sessions
    assert made.rate_per_s(5_000, 2) == pytest.approx(1_000)


def test_the_share_of_a_run(results: Results) -> None:
    made = ceiling(results, (5_000, 20, 793.6))
    assert made.share_used(results) == pytest.approx(0.5)
    assert made.share_used(replace(results, host=replace(results.host, cpus=64))) is None
    nothing = replace(results, messages=replace(results.messages, accepted=0))
    assert made.share_used(nothing) is None


def test_a_damaged_calibration_is_named(results: Results, tmp_path: Path) -> None:
    file = tmp_path / "ceiling.json"
    assert read_ceiling(file) is None
    made = ceiling(results, (5_000, 20, 793.6))
    file.write_text(made.to_json())
    assert read_ceiling(file) == made
    file.write_text('{"points": 1}')
    with pytest.raises(ResultsError, match="cannot use the calibration"):
        read_ceiling(file)


def test_later_runs_say_what_share_they_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    not_before(monkeypatch, lambda seen: seen.accepted > 0)
    assert call(["calibrate", "--size", "1kb", "--sessions", "2", "--duration", "200ms"]) is ExitCode.DONE
    assert ceiling_path().is_relative_to(tmp_path)
    assert "2 sessions:" in capsys.readouterr().out
    run = ["--quiet", "--seed", "1", "--rate", "100/s", "--message-count", "20", "--body-size", "1kb"]
    assert call([*run, "--concurrency", "2", "--json", str(tmp_path / "run.json")]) is ExitCode.DONE
    results, found = read_results(tmp_path / "run.json"), read_ceiling(ceiling_path())
    assert found is not None
    share = results.generator.ceiling_share
    assert share == found.share_used(results)
    assert share
    assert "of the rate this machine was found capable of" in capsys.readouterr().out


def test_schemas_are_schemas(capsys: pytest.CaptureFixture[str]) -> None:
    for what in ("scenario", "results"):
        assert call(["schema", what]) is ExitCode.DONE
        jsonschema.Draft202012Validator.check_schema(json.loads(capsys.readouterr().out))


def test_the_scenario_schema_knows_every_option() -> None:
    validator = jsonschema.Draft202012Validator(scenario_schema())
    phase = {"kind": "steady", "duration": "1m", "rate": "100/s"}
    good = {"message-count": 5, "domain": ["a.com:1"], "keep-going": True, "threshold": "p99<1s", "phase": [phase]}
    assert validator.is_valid(good)
    for wrong in ({"mesage-count": 5}, {"keep-going": 1}, {"phase": [{"kind": "stedy", "duration": "1m"}]}):
        assert not validator.is_valid(wrong)

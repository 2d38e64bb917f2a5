"""What observers saw of two servers, beside each other; and who waited in a queue, in a table."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.peers.running import send
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.measure.observed import QueueShape, ServerSamples
from trafficgen.measure.results import Results
from trafficgen.report.observed import shape_section
from trafficgen.report.to_text import sections_to_text
from trafficgen.verdict.comparing import compare_runs


def seen(depths: tuple[float, ...], pressure: float) -> ServerSamples:
    return ServerSamples(
        source="local", host="mx", clock="same", every_s=1.0, cost_share=0.001, at_s=(-1.0, 1.0, 9.0, 11.0),
        series={"queue.depth": depths, "host.io_pressure": (0.0, pressure, pressure, 0.0)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def run() -> Results:
    whole = send(None, messages=20)
    return replace(whole, run=replace(whole.run, duration_s=8.0, last_end_s=10.0))


@pytest.fixture
def pair(run: Results) -> tuple[Results, Results]:
    return (
        replace(run, server=seen((5.0, 20.0, 10.0, 5.0), 0.1)),
        replace(run, server=seen((5.0, 200.0, 400.0, 505.0), 0.3)),
    )


def test_what_both_observers_saw_is_compared(pair: tuple[Results, Results]) -> None:
    found = compare_runs([pair[0]], [pair[1]])
    by_name = {one.name: one for one in found.quantities}
    assert (by_name["queue.depth"].a, by_name["queue.depth"].b) == (20.0, 400.0)
    assert by_name["host.io_pressure"].ratio == pytest.approx(3.0)
    assert "queue.oldest" not in by_name
    assert found.queue_grew == (0.0, 500.0)


def test_what_one_side_did_not_see_is_left_out(run: Results, pair: tuple[Results, Results]) -> None:
    found = compare_runs([run], [pair[1]])
    assert not any(one.name.startswith(("queue.", "host.")) for one in found.quantities)
    assert found.queue_grew is None


def test_the_command_says_whose_queue_grew(
    pair: tuple[Results, Results], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file, one in zip(files, pair, strict=True):
        file.write_text(one.to_json())
    assert call(["compare", *map(str, files)]) is ExitCode.DONE
    said = capsys.readouterr().out
    assert "A's queue did not grow, B's queue grew by 500 messages" in said
    assert "20.000×" in said
    assert call(["compare", *map(str, files), "--json"]) is ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["queue_grew"] == [0.0, 500.0]


def test_the_shape_is_kept_in_results_and_shown_as_a_table(run: Results) -> None:
    shape = QueueShape(3.2, 7, 9, (5, 10), {"a.test": (4, 1, 0), "b.test": (0, 1, 3)})
    results = replace(run, server=replace(seen((0.0,) * 4, 0.0), shape=shape))
    again = Results.from_dict(json.loads(results.to_json()))
    assert again.server is not None
    assert again.server.shape == shape
    shown = [line.split() for line in sections_to_text([shape_section(again)], 100).splitlines()]
    assert ["all", "9", "4", "2", "3"] in shown
    assert ["a.test", "5", "4", "1", "0"] in shown
    assert "recipients of 7 of the 9 messages" in sections_to_text([shape_section(again)], 100)

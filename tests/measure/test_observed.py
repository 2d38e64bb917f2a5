"""What an observer saw, on the run's clock; what the server was short of; how its queue drained."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.errors import ResultsError
from trafficgen.measure.bottleneck import Drain, Shortage, drain, find
from trafficgen.measure.observed import (
    MAX_SAMPLES,
    Gap,
    Recording,
    RunClock,
    ServerSamples,
    on_the_runs_clock,
    read_recording,
    silent_until,
)

NS = 1_000_000_000
BOOT = "4e12593fa2683a3d"
CLOCK = RunClock(BOOT, 100 * NS, 1_795_000_000 * NS)


def recording(
    series: dict[str, list[float | None]], *, boot: str = BOOT, from_s: float = -1.0, every_s: float = 1.0
) -> Recording:
    made = Recording()
    assert made.add(json.dumps({"samples": 1, "host": "mx", "boot_id": boot, "every_s": every_s}))
    for place in range(len(next(iter(series.values())))):
        at = round((100 + from_s + place * every_s) * NS)
        values = {name: column[place] for name, column in series.items() if column[place] is not None}
        line = {"mono_ns": at, "wall_ns": at + 1_795_000_000 * NS, "cost_ns": 5_000_000, "values": values}
        assert made.add(json.dumps(line))
    return made


def samples(**series: list[float | None]) -> ServerSamples:
    """A second apart, from a second before the run on; __ in a name stands for a point."""
    named = {name.replace("__", "."): values for name, values in series.items()}
    return on_the_runs_clock(recording(named), CLOCK, "local")


def test_on_one_machine_times_are_exact() -> None:
    found = samples(queue__depth=[0, 5, None, 7])
    assert found.at_s == (-1.0, 0.0, 1.0, 2.0)
    assert found.series == {"queue.depth": (0, 5, None, 7)}
    assert found.clock == "same"
    assert found.cost_share == pytest.approx(4 * 0.005 / 3)
    found.check()


def test_on_two_machines_times_are_by_the_time_of_day() -> None:
    found = on_the_runs_clock(recording({"queue.depth": [0, 5]}, boot="0" * 16), CLOCK, "mx")
    assert found.at_s == (-1.0, 0.0)
    assert found.clock == "time of day"


def test_silence_is_a_gap_also_at_the_end() -> None:
    made = recording({"queue.depth": [1, 1, 1]})
    made.mono_ns[2] += 20 * NS
    found = on_the_runs_clock(made, CLOCK, "local")
    assert found.gaps == (Gap(0.0, 21.0),)
    assert silent_until(found, 22.0) == found.gaps
    assert silent_until(found, 60.0) == (*found.gaps, Gap(21.0, 60.0))


def test_a_long_run_is_thinned_and_keeps_its_peaks() -> None:
    many = MAX_SAMPLES * 3
    depth: list[float | None] = [0.0] * many
    depth[1234] = 999.0
    found = on_the_runs_clock(recording({"queue.depth": depth, "host.cpu_busy": [0.5] * many}), CLOCK, "local")
    assert len(found.at_s) <= MAX_SAMPLES
    assert max(v for v in found.series["queue.depth"] if v is not None) == 999.0
    assert set(found.series["host.cpu_busy"]) == {0.5}
    found.check()


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e6)), min_size=1, max_size=30))
def test_no_value_is_lost_or_made(values: list[float | None]) -> None:
    found = samples(queue__depth=values)
    found.check()
    assert list(found.series.get("queue.depth", [None] * len(values))) == values


def test_a_file_of_samples_may_end_in_the_middle_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "s.ndjson"
    head = {"samples": 1, "host": "mx", "boot_id": BOOT, "every_s": 1.0}
    line = {"mono_ns": 1, "wall_ns": 2, "cost_ns": 3, "values": {"queue.depth": 4}}
    path.write_text(f'{json.dumps(head)}\n{json.dumps(line)}\n{{"mono_ns": 5, "val')
    assert read_recording(path).values == [{"queue.depth": 4.0}]
    path.write_text(f"{json.dumps(head)}\nrubbish\n{json.dumps(line)}\n")
    with pytest.raises(ResultsError, match="damaged in line 2"):
        read_recording(path)
    path.write_text("{}\n")
    with pytest.raises(ResultsError, match='expected samples of "observe --write"'):
        read_recording(path)


@given(st.binary(max_size=100))
def test_no_line_is_too_strange(line: bytes) -> None:
    Recording().add(line)


# -- what it was short of -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ({"host__cpu_busy": [0.99] * 9, "host__io_pressure": [0.5] * 9}, Shortage.CPU),
        ({"host__cpu_busy": [0.4] * 9, "host__memory_pressure": [0.3] * 9}, Shortage.MEMORY),
        ({"host__cpu_busy": [0.4] * 9, "host__io_pressure": [0.5] * 9, "disk__vda__busy": [0.8] * 9}, Shortage.DISK),
        ({"host__cpu_busy": [0.4] * 9, "host__listen_overflows": [3.0] * 9}, Shortage.CONNECTIONS),
        ({"host__cpu_busy": [0.4] * 9, "queue__active": [100.0 * n for n in range(9)]}, Shortage.SLOTS),
        ({"host__cpu_busy": [0.4] * 9, "queue__incoming": [100.0 * n for n in range(9)]}, Shortage.QUEUE_MANAGER),
        ({"host__cpu_busy": [0.4] * 9, "queue__incoming": [50.0, 90.0] * 4 + [50.0]}, Shortage.NOTHING),
        ({"space__free": [4.0] * 9}, Shortage.UNKNOWN),
    ],
)  # fmt: skip
def test_the_first_shortage_in_order_of_cause_is_named(series: dict[str, Any], expected: Shortage) -> None:
    assert find(samples(**series), 0.0, 8.0).shortage is expected


def test_only_the_time_of_the_sending_counts() -> None:
    found = find(samples(host__cpu_busy=[1.0, 1.0, 0.2, 0.2, 0.2, 1.0, 1.0]), 1.0, 3.0)
    assert found.shortage is Shortage.NOTHING
    assert found.numbers["host.cpu_busy"] == pytest.approx(0.2)


def test_the_drain_lasts_until_the_queue_is_back_where_it_was() -> None:
    found = drain(samples(queue__depth=[3, 3, 50, 103, 83, 43, 3, 0]), 2.0)
    assert found == Drain(before=3, at_end_of_sending=103, left=3, took_s=3.0, per_s=100 / 3)


def test_a_drain_that_was_not_seen_to_its_end_says_what_was_left() -> None:
    assert drain(samples(queue__depth=[0, 0, 100, 60]), 1.0) == Drain(0, 100, 60, None, 40.0)
    assert drain(samples(host__cpu_busy=[0.5, 0.5]), 0.0) is None
    assert drain(samples(queue__depth=[0, 50]), 10.0) is None

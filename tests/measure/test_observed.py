"""What an observer saw, on the run's clock; what the server was short of; how its queue drained."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.peers.running import send
from trafficgen.errors import ResultsError
from trafficgen.measure.bottleneck import ClientView, Drain, Shortage, drain, find
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
from trafficgen.report.observed import drain_in_words, sentence

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


def test_a_run_is_thinned_as_soon_as_it_is_too_long_and_not_before() -> None:
    whole = samples(queue__depth=[*map(float, range(MAX_SAMPLES))])
    assert (len(whole.at_s), whole.every_s) == (MAX_SAMPLES, 1.0)
    seen: list[float | None] = [1.0, 5.0, 7.0, 3.0, *[0.0] * (MAX_SAMPLES - 4), 9.0]
    halved = on_the_runs_clock(recording({"queue.depth": seen, "host.cpu_busy": seen}), CLOCK, "local")
    assert (len(halved.at_s), halved.every_s) == (MAX_SAMPLES // 2 + 1, 2.0)
    assert (halved.at_s[:2], halved.at_s[-2:]) == ((0.0, 2.0), (MAX_SAMPLES - 2.0, MAX_SAMPLES - 1.0))
    assert (halved.series["queue.depth"][:2], halved.series["queue.depth"][-1]) == ((5.0, 7.0), 9.0)
    assert (halved.series["host.cpu_busy"][:2], halved.series["host.cpu_busy"][-1]) == ((3.0, 5.0), 9.0)


@pytest.mark.parametrize(("silent_s", "gaps"), [(10.0, 0), (10.001, 1)])
def test_a_gap_is_more_than_five_times_the_observers_own_pace(silent_s: float, gaps: int) -> None:
    made = recording({"queue.depth": [1.0] * 20}, every_s=2.0)
    made.mono_ns[-1] = made.mono_ns[-2] + round(silent_s * NS)
    found = on_the_runs_clock(made, CLOCK, "local")
    assert len(found.gaps) == gaps
    assert len(silent_until(found, found.at_s[-1] + silent_s)) == 2 * gaps


def test_what_is_missing_is_said_once_and_a_short_look_has_a_cost() -> None:
    made = recording({"queue.depth": [1.0, 1.0]})
    for words in (["meminfo"], ["meminfo", "stat"]):
        assert made.add(json.dumps({"mono_ns": 1, "missing": words}))
    found = on_the_runs_clock(made, CLOCK, "local")
    assert found.missing == ("meminfo", "stat")
    assert found.cost_share == pytest.approx(0.01)
    assert samples(queue__depth=[1.0]).cost_share == 0.0


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


FULL = {"host.cpu_busy": 0.99, "host.cores": 2.0}
IDLE = {"host.cpu_busy": 0.2, "host.cores": 2.0}
QUIET = {"server.cpu": 0.1, "server.cpu_wait": 0.02, "server.blocked": 0.1, "server.busiest": 0.05}
DISK_BOUND = {"server.cpu": 0.01, "server.cpu_wait": 0.75, "server.blocked": 14.09}
CPU_BOUND = {"server.cpu": 1.8, "server.cpu_wait": 6.0, "server.blocked": 0.2}
STARVED = {"server.cpu": 0.32, "server.cpu_wait": 6.63, "server.blocked": 0.4}
GROWS = [100.0 * n for n in range(9)]
WAITED_FOR = ClientView(in_hand=8.0, generator_cpu=0.2)


@pytest.mark.parametrize(
    ("means", "clients", "expected"),
    [
        # nothing to go by
        ({"server.cpu": 0.3, "server.cpu_wait": 0.0, "server.blocked": 0.0}, None, Shortage.NOTHING),
        ({"space.free": 4.0}, WAITED_FOR, Shortage.UNKNOWN),
        # memory comes first: what it makes of CPU and disk is its doing
        (FULL | DISK_BOUND | {"host.memory_pressure": 0.3}, None, Shortage.MEMORY),
        (IDLE | QUIET | {"host.memory_pressure": 0.09}, None, Shortage.NOTHING),
        # the disk, however busy the machine is with others (as recorded on one whose cores all were)
        (FULL | DISK_BOUND, WAITED_FOR, Shortage.DISK),
        (IDLE | DISK_BOUND, None, Shortage.DISK),
        (IDLE | DISK_BOUND | {"host.listen_overflows": 3.0}, None, Shortage.DISK),
        (IDLE | QUIET | {"server.blocked": 0.49}, None, Shortage.NOTHING),
        (IDLE | QUIET | {"server.cpu": 0.9, "server.blocked": 0.8}, None, Shortage.NOTHING),
        # CPU: its own
        (FULL | CPU_BOUND, WAITED_FOR, Shortage.CPU),
        (FULL | CPU_BOUND | {"host.io_pressure": 0.5, "host.listen_overflows": 3.0}, None, Shortage.CPU),
        (FULL | CPU_BOUND | {"server.blocked": 3.0, "host.io_pressure": 0.9}, None, Shortage.CPU),
        ({"host.cpu_busy": 0.7, "host.cores": 2.0, "server.cpu": 1.0, "server.cpu_wait": 1.2, "server.blocked": 0.0},
         None, Shortage.CPU),
        ({"host.cpu_busy": 0.1, "host.cores": 16.0} | QUIET | {"server.busiest": 0.97}, None, Shortage.CPU),
        # ... and somebody else's
        (FULL | STARVED, None, Shortage.CPU_OF_OTHERS),
        (FULL | STARVED, ClientView(in_hand=9.0, generator_cpu=None), Shortage.CPU_OF_OTHERS),
        (FULL | STARVED, ClientView(in_hand=9.0, generator_cpu=0.7), Shortage.CPU_OF_OTHERS),
        (FULL | STARVED, ClientView(in_hand=9.0, generator_cpu=1.2), Shortage.CPU_OF_GENERATOR),
        (FULL | QUIET, None, Shortage.NOTHING),
        # a kernel that does not tell of waits for a core: by what would run, and did not
        (FULL | {"server.cpu": 0.3, "server.running": 5.0, "server.blocked": 0.0}, None, Shortage.CPU_OF_OTHERS),
        # connections
        (IDLE | QUIET | {"host.listen_overflows": 3.0, "queue.active": GROWS}, WAITED_FOR, Shortage.CONNECTIONS),
        (IDLE | QUIET | {"host.listen_overflows": [300.0, *[0.0] * 19]}, None, Shortage.NOTHING),
        # queues
        (IDLE | QUIET | {"queue.active": GROWS, "queue.incoming": GROWS}, WAITED_FOR, Shortage.SLOTS),
        (IDLE | QUIET | {"queue.active": 3.0, "queue.incoming": GROWS}, WAITED_FOR, Shortage.QUEUE_MANAGER),
        (IDLE | QUIET | {"queue.active": 3.0, "queue.deferred": GROWS, "queue.depth": GROWS}, None, Shortage.NEXT_HOP),
        (IDLE | QUIET | {"queue.depth": GROWS}, None, Shortage.SLOTS),
        (IDLE | {"queue.incoming": [50.0, 90.0] * 4 + [50.0]}, None, Shortage.NOTHING),
        # clients wait, and nobody here knows for what
        (IDLE | QUIET, WAITED_FOR, Shortage.ELSEWHERE),
        # ... also where others keep the cores busy, as recorded of a library that sleeps in fsync
        (FULL | {"server.cpu": 0.55, "server.cpu_wait": 3.69, "server.blocked": 0.2},
         ClientView(in_hand=16.0, generator_cpu=0.2), Shortage.ELSEWHERE),
        (IDLE | QUIET, ClientView(in_hand=0.9, generator_cpu=None), Shortage.NOTHING),
        (IDLE | QUIET | {"server.blocked": 0.4}, ClientView(in_hand=1.0, generator_cpu=None), Shortage.NOTHING),
        (IDLE, WAITED_FOR, Shortage.NOTHING),
        # no process was seen: its machine in their place
        (FULL | {"host.io_pressure": 0.5, "host.running": 9.0, "host.blocked": 1.0}, None, Shortage.CPU),
        (FULL | {"host.io_pressure": 0.5, "host.running": 4.0, "host.blocked": 7.0}, None, Shortage.DISK),
        (IDLE | {"host.io_pressure": 0.5, "disk.vda.busy": 0.8}, None, Shortage.DISK),
        (IDLE | {"host.io_pressure": 0.19}, None, Shortage.NOTHING),
        ({"host.cpu_busy": 0.99, "host.io_pressure": 0.5}, None, Shortage.CPU),
    ],
)  # fmt: skip
def test_the_first_shortage_in_order_of_cause_is_named(
    means: dict[str, Any], clients: ClientView | None, expected: Shortage
) -> None:
    length = max(len(value) if isinstance(value, list) else 9 for value in means.values())
    columns = {name: value if isinstance(value, list) else [value] * length for name, value in means.items()}
    seen = on_the_runs_clock(recording(columns, from_s=0.0), CLOCK, "local")
    found = find(seen, 0.0, float(length), clients)
    assert found.shortage is expected
    assert sentence(found)


def test_what_the_busiest_disk_did_is_shown_with_a_shortage_of_it() -> None:
    seen = IDLE | {"host.io_pressure": 0.5}
    seen |= {"disk.vda.busy": 0.3, "disk.vda.await": 0.1, "disk.vdb.busy": 0.8, "disk.vdb.flushes": 70.0}
    columns: dict[str, list[float | None]] = {name: [value] * 9 for name, value in seen.items()}
    found = find(on_the_runs_clock(recording(columns, from_s=0.0), CLOCK, "local"), 0.0, 9.0)
    assert found.shortage is Shortage.DISK
    numbers = {name: value for name, value in found.numbers.items() if name.startswith("disk.")}
    assert numbers == pytest.approx({"disk.vdb.busy": 0.8, "disk.vdb.flushes": 70.0})


def test_what_clients_had_in_hand_is_by_littles_law_without_the_wire() -> None:
    results = send(None, messages=5)
    service, connect = results.latency_ns["service"], results.latency_ns["connect"]
    assert service is not None
    assert connect is not None
    a_hundred_a_second = replace(results.rate, messages_per_s=100.0)
    took_50_ms = {"service": replace(service, mean=50e6), "connect": replace(connect, p50=2_500_000)}
    run = replace(results, rate=a_hundred_a_second, latency_ns=took_50_ms, plan={"sessions": 20})
    assert ClientView.of(run) == ClientView(4.0, None)
    assert ClientView.of(replace(run, plan={"sessions": 3})).in_hand == 3.0
    assert ClientView.of(replace(run, latency_ns={"service": None})).in_hand == 0.0
    here = samples(host__cpu_busy=[0.5] * 3)
    cores = sum(worker.cpu_share for worker in results.generator.workers)
    assert ClientView.of(replace(run, server=here)).generator_cpu == cores
    assert ClientView.of(replace(run, server=replace(here, clock="measured"))).generator_cpu is None


def test_only_the_time_of_the_sending_counts() -> None:
    found = find(samples(host__cpu_busy=[1.0, 1.0, 0.2, 0.2, 0.2, 1.0, 1.0]), 1.0, 3.0)
    assert found.shortage is Shortage.NOTHING
    assert found.numbers["host.cpu_busy"] == pytest.approx(0.2)


def test_the_drain_lasts_until_the_queue_is_back_where_it_was() -> None:
    found = drain(samples(queue__depth=[3, 3, 50, 103, 83, 43, 3, 0]), 2.0)
    assert found == Drain(before=3, at_end_of_sending=103, left=3, took_s=3.0, per_s=100 / 3)


def test_a_queue_that_was_empty_when_the_sending_ended_has_no_drain_to_tell_of() -> None:
    assert drain_in_words(Drain(3, 103, 3, 3.0, 100 / 3)).endswith(
        "103 when the sending ended, back after 3.00 s at 33/s"
    )
    assert drain_in_words(Drain(0, 0, 0, 0.9, None)) == "queue: 0 before, 0 when the sending ended"


def test_a_drain_that_was_not_seen_to_its_end_says_what_was_left() -> None:
    assert drain(samples(queue__depth=[0, 0, 100, 60]), 1.0) == Drain(0, 100, 60, None, 40.0)
    assert drain(samples(host__cpu_busy=[0.5, 0.5]), 0.0) is None
    assert drain(samples(queue__depth=[0, 50]), 10.0) is None

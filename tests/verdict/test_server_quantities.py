"""What an observer saw, as thresholds name it."""

from dataclasses import replace

import pytest

from tests.peers.running import send
from trafficgen.measure.delivered import Delivery
from trafficgen.measure.observed import ServerSamples
from trafficgen.measure.results import Results
from trafficgen.verdict.thresholds import judge_all, parse_threshold


@pytest.fixture(scope="module")
def results() -> Results:
    seen = ServerSamples(
        source="local",
        host="mx",
        clock="same",
        every_s=1.0,
        cost_share=0.001,
        at_s=(-1.0, 0.0, 0.0001, 1e6),
        series={
            "queue.depth": (900.0, 5.0, 7.0, 800.0),
            "queue.oldest": (0.0, 1.5, 2.5, None),
            "host.io_pressure": (0.9, 0.1, 0.3, 0.9),
            "disk.vda.flushes": (None, 100.0, 300.0, None),
            "server.cpu": (0.0, 0.5, 1.5, 9.0),
            "server.written": (0.0, 1e6, 3e6, 9e9),
            "space.free": (None, 4e9, 3e9, 1e9),
            "dovecot.imap_command": (None, 1.0, 3.0, None),
            "dovecot.imap_command.took": (None, 0.004, 0.008, None),
            "metric.ready_count": (None, 1.0, 2.0, None),
        },
    )
    run = send(None, messages=5)
    waiting = Delivery(0, 1.0, 1.0, True, 0, 0, None, 5.0, (1, 8, 2, 900))
    return replace(
        run, server=seen, delivery=waiting, run=replace(run.run, duration_s=0.00005, last_end_s=10.0), window=None
    )


@pytest.mark.parametrize(
    ("text", "value", "passed"),
    [
        ("queue.depth<8", 7.0, True),
        ("queue.depth.min<5", 5.0, False),
        ("queue.depth.last==7", 7.0, True),
        ("queue.oldest<2.5s", 2.5e9, False),
        ("host.io_pressure<21%", 0.2, True),
        ("host.io_pressure.max<0.25", 0.3, False),
        ("host.io_pressure.p50<=10%", 0.1, True),
        ("disk.vda.flushes<250/s", 200.0, True),
        ("queue.active<10", None, False),
        ("server.cpu<1.01", 1.0, True),
        ("server.cpu.max<1.5", 1.5, False),
        ("server.written<2.1MB/s", 2e6, True),
        ("server.written<1MiB", 2e6, False),
        ("space.free>2.9GB", 3e9, True),
        ("space.free.avg>=4gb", 3.5e9, False),
        ("metric.ready_count<1.6", 1.5, True),
        ("dovecot.imap_command<3/s", 2.0, True),
        ("dovecot.imap_command.took<5ms", 6e6, False),
        ("queue.undelivered<9", 8.0, True),
        ("queue.undelivered.last<9", 2.0, True),
    ],
)
def test_a_series_is_judged_over_the_time_of_the_sending(
    results: Results, text: str, value: float | None, passed: bool
) -> None:
    (verdict,) = judge_all([parse_threshold(text)], results)
    assert verdict.value == (value if value is None else pytest.approx(value))
    assert verdict.passed is passed


def test_without_an_observer_nothing_passes(results: Results) -> None:
    (verdict,) = judge_all([parse_threshold("queue.depth<8")], replace(results, server=None))
    assert (verdict.value, verdict.passed) == (None, False)


@pytest.mark.parametrize(
    "text", ["server.cpu<many", "space.free<much", "server.written<3/min", "space.inodes_free<1.5"]
)
def test_a_limit_of_another_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a"):
        parse_threshold(text)


@pytest.mark.parametrize(
    "text", ["queue.dept<8", "host.luck<1%", "queue.depth.p101<8", "disk.vda.colour<1", "metric.9<1"]
)
def test_a_series_that_nobody_knows_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a known metric"):
        parse_threshold(text)

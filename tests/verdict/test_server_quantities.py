"""What an observer saw, as thresholds name it."""

from dataclasses import replace

import pytest

from tests.peers.running import send
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
        },
    )
    run = send(None, messages=5)
    return replace(run, server=seen, run=replace(run.run, duration_s=10.0), window=None)


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


@pytest.mark.parametrize("text", ["queue.dept<8", "host.luck<1%", "queue.depth.p101<8", "disk.vda.colour<1"])
def test_a_series_that_nobody_knows_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a known metric"):
        parse_threshold(text)

"""HdrHistogram's own tools read what we export."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.measure.counts import Latency
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.results import Results
from trafficgen.report.to_hdr import encode


def histogram_of(values: list[int]) -> Histogram:
    histogram = Histogram()
    histogram.record_many(np.array(values, np.int64))
    return histogram


@pytest.mark.parametrize("values", [[1], [0, 1, 2047, 2048, 5000], [10**9, 3, 10**12 + 7, 2**62], list(range(5000))])
def test_an_encoded_histogram_is_read_count_for_count(values: list[int]) -> None:
    histogram = histogram_of(values)
    theirs = HdrHistogram.decode(encode(histogram))
    assert theirs is not None
    assert theirs.get_total_count() == len(values)
    for highest, count in histogram.buckets():
        assert theirs.get_count_at_value(highest) == count


def test_the_log_of_a_run_is_read_by_name(results: Results, tmp_path: Path) -> None:
    stretches = {"service": [10_000_000] * 99 + [5 * 10**9], "connect": [7]}
    made = {name: histogram_of(values) for name, values in stretches.items()}
    latencies = dict(results.latency_ns) | {name: Latency.of(histogram) for name, histogram in made.items()}
    (tmp_path / "run.json").write_text(replace(results, histograms=made, latency_ns=latencies).to_json())
    log = tmp_path / "run.hlog"
    assert call(["export", str(tmp_path / "run.json"), "--hdr", "-o", str(log)]) is ExitCode.DONE
    reader = HistogramLogReader(str(log), HdrHistogram(1, 2**62, 3))
    found = {}
    while (histogram := reader.get_next_interval_histogram()) is not None:
        found[histogram.get_tag()] = histogram.get_total_count(), histogram.get_value_at_percentile(50)
    reader.close()
    assert found == {"service": (100, pytest.approx(10_000_000, rel=2**-10)), "connect": (1, 7)}

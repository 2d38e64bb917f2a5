"""Where a series changed."""

import math
import random
import re
from codecs import BOM_UTF8
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trafficgen.cli.program import call
from trafficgen.errors import ExitCode
from trafficgen.report.gated import HISTORY, PastGate, check_history, line_end, read_history
from trafficgen.report.past_gates import COLUMNS, eras_of, history_csv, history_page, history_sections
from trafficgen.report.to_text import sections_to_text
from trafficgen.verdict.change_points import MOST, _best_split, _best_splits, _to_earlier, change_points, stretches


def noise(count: int, level: float, spread: float, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(level, spread) for _ in range(count)]


def test_one_change_of_level_is_found_where_it_is() -> None:
    assert change_points([*noise(20, 0, 0.004), *noise(20, -0.05, 0.004, 2)]) == [20]


def test_several_changes_are_found() -> None:
    series = [*noise(20, 0, 0.01), *noise(20, -0.05, 0.01, 2), *noise(15, 0.03, 0.01, 3)]
    found = change_points(series)
    assert len(found) == 2
    assert all(abs(at - real) <= 1 for at, real in zip(found, (20, 40), strict=True))


def test_a_change_of_spread_alone_is_one() -> None:
    (at,) = change_points([*noise(60, 0, 0.01), *noise(60, 0, 0.2, 2)])
    assert abs(at - 60) <= 6


def test_noise_has_no_changes_nineteen_times_in_twenty() -> None:
    assert sum(bool(change_points(noise(25, 0, 1, seed))) for seed in range(40)) <= 5


@pytest.mark.parametrize("series", [[], [1.0], [1.0] * 9, [2.0] * 30])
def test_what_never_changes_has_none(series: list[float]) -> None:
    assert change_points(series) == []


def test_series_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(ValueError, match=f"at most {MOST:,} finite numbers"):
        change_points([0.0] * (MOST + 1))
    with pytest.raises(ValueError, match="finite"):
        change_points([math.nan])


def energy(left: list[float], right: list[float]) -> float:
    """Matteson and James (2014), formula 5 with alpha 1, scaled as in formula 7."""
    m, n = len(left), len(right)
    across = sum(abs(x - y) for x in left for y in right) * 2 / (m * n)
    within = [
        sum(abs(x - y) for x, y in combinations(side, 2)) * 2 / k / (k - 1) for side, k in ((left, m), (right, n))
    ]
    return (across - sum(within)) * m * n / (m + n)


@given(st.lists(st.integers(-50, 50).map(float), min_size=10, max_size=24))
def test_the_best_split_is_that_of_the_largest_energy_distance(series: list[float]) -> None:
    found, at = _best_split(np.array(series))
    every = {cut: energy(series[:cut], series[cut:]) for cut in range(5, len(series) - 4)}
    assert found == pytest.approx(max(every.values()), abs=1e-9)
    assert every[at] == pytest.approx(found, abs=1e-9)


@given(st.lists(st.lists(st.integers(-50, 50).map(float), min_size=17, max_size=17), min_size=1, max_size=4))
def test_many_orders_at_once_are_each_by_itself(orders: list[list[float]]) -> None:
    largest, at = _best_splits(np.array(orders))
    assert list(zip(largest, at, strict=True)) == [_best_split(np.array(one)) for one in orders]


@given(st.lists(st.integers(-50, 50).map(float), min_size=1, max_size=40))
def test_distances_to_what_came_earlier(series: list[float]) -> None:
    expected = [sum(abs(x - y) for y in series[:place]) for place, x in enumerate(series)]
    assert _to_earlier(np.array([series, series])).tolist() == [expected, expected]


def test_as_many_numbers_as_are_allowed() -> None:
    assert change_points([*noise(MOST // 2, 0, 0.01), *noise(MOST // 2, -0.05, 0.01, 2)]) == [MOST // 2]


@pytest.mark.parametrize("series", [[0.0] * 5 + [1.0] * 5, [0.0] * 5 + [1.0] * 20, [0.0] * 20 + [1.0] * 5])
def test_five_numbers_are_a_level_and_four_are_none(series: list[float]) -> None:
    assert change_points(series) == [series.index(1.0)]
    assert change_points(series[1:])[:1] != [4]
    assert all(5 <= at <= len(series) - 6 for at in change_points(series[:-1]))


@pytest.mark.parametrize(("as_large", "found"), [(9, [5]), (10, [])])
def test_a_change_is_one_that_fewer_than_one_in_twenty_random_orders_have(
    monkeypatch: pytest.MonkeyPatch, as_large: int, found: list[int]
) -> None:
    class Orders:
        drawn = 0

        def permutation(self, part: NDArray[np.float64]) -> NDArray[np.float64]:
            self.drawn += 1
            return part if self.drawn <= as_large else part * 0

    orders = Orders()
    monkeypatch.setattr(np.random, "default_rng", lambda _seed: orders)
    assert change_points([0.0] * 5 + [1.0] * 5) == found
    assert orders.drawn == 199


def test_stretches_cover_everything_once() -> None:
    found = stretches([*noise(20, 0, 0.004), *noise(20, -0.05, 0.004, 2)])
    assert [(one.first, one.last, one.count) for one in found] == [(0, 19, 20), (20, 39, 20)]
    assert found[1].interval.low < found[1].mean < found[1].interval.high < 0
    assert stretches([]) == []


# -- a history of gates ---------------------------------------------------------------------------------


def history(path: Path, ratios: list[float], metric: str = "throughput") -> Path:
    rest = ",".join(["0"] * 8)
    rows = [f"2026-01-{day:02},v{day},pass,{metric},8,{ratio},{rest}" for day, ratio in enumerate(ratios, 1)]
    path.write_text("\n".join([",".join(HISTORY), *rows]) + "\n")
    return path


def test_ten_losses_of_one_per_cent_are_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(4)
    levels = [1.0] * 20 + [0.99] * 10
    ratios = [level * math.exp(rng.gauss(0, 0.006)) for level in levels]
    path = history(tmp_path / "gates.csv", ratios)
    page, table = tmp_path / "history.html", tmp_path / "history.csv"
    assert call(["history", str(path), "--fail", "--html", str(page), "--csv", str(table)]) is ExitCode.VERDICT_FAILED
    shown = capsys.readouterr().out
    assert "worse\n" in shown
    last = eras_of("throughput", read_history(path)["throughput"])[-1]
    assert last.last.label == "v30"
    assert last.worse
    assert 0.88 < last.together < 0.93
    assert table.read_text().splitlines()[-1].endswith(",1")
    assert page.read_text().count("<circle") == 30
    assert call(["history", str(path)]) is ExitCode.DONE


def test_many_gates_are_said_to_be_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["history", str(history(tmp_path / "gate.csv", [1.0] * 300))]) is ExitCode.DONE
    assert capsys.readouterr().err == "throughput: looking for changes in 300 gates (1 of 1)\n"


@pytest.mark.parametrize("label", ["v2.10.1", ""])
def test_a_history_fits_into_eighty_columns(label: str) -> None:
    gates = [PastGate("2026-11-27T12:54:50+00:00", label, ratio) for ratio in (0.9, 0.91, 0.92) * 4]
    shown = sections_to_text(history_sections({"throughput": eras_of("throughput", gates)}), 80)
    assert re.search(r"12  0\.910×  \[0\.9\d\d, 0\.9\d\d\]    0\.322×  worse\n", shown)
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count(label or "2026-11-27") == 2
    single = sections_to_text(history_sections({"throughput": eras_of("throughput", gates[:1])}), 80)
    assert "1  0.900×    –    0.900×\n" in single


def test_a_history_that_a_spreadsheet_saved(tmp_path: Path) -> None:
    path = history(tmp_path / "gates.csv", [0.99, 1.01])
    path.write_bytes(BOM_UTF8 + path.read_bytes().replace(b"\n", b"\r\n"))
    check_history(path)
    assert [gate.ratio for gate in read_history(path)["throughput"]] == [0.99, 1.01]


def test_rows_are_not_appended_to_a_line_without_an_end(tmp_path: Path) -> None:
    path = history(tmp_path / "gates.csv", [0.99])
    assert line_end(tmp_path / "none yet") == line_end(path) == ""
    path.write_text(path.read_text().rstrip())
    assert line_end(path) == "\n"


@pytest.mark.parametrize("ratio", [1e-300, 1e300])
def test_ratios_that_come_to_more_than_a_float_holds(ratio: float, tmp_path: Path) -> None:
    path = history(tmp_path / "gates.csv", [ratio] * 6)
    assert call(["history", str(path), "--html", str(tmp_path / "page")]) is ExitCode.DONE


def test_gates_that_win_are_not_worse(tmp_path: Path) -> None:
    path = history(tmp_path / "gates.csv", [1.02, 1.03, 1.01, 1.02, 1.02, 1.03])
    assert call(["history", str(path), "--fail"]) is ExitCode.DONE
    slower = history(tmp_path / "slower.csv", [1.02, 1.03, 1.01, 1.02, 1.02, 1.03], "p99")
    assert call(["history", str(slower), "--fail"]) is ExitCode.VERDICT_FAILED


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time,label\n", "expected a history of gates"),
        (",".join(HISTORY) + "\n", "holds no gate yet"),
        (",".join(HISTORY) + "\n1,2,3,p99,8,x,0,0,0,0,0,0,0,0\n", "expected a history of gates"),
        (",".join(HISTORY) + "\n1,2,3,p99,8,-1,0,0,0,0,0,0,0,0\n", 'line 2: expected a ratio above zero, got "-1"'),
        (",".join(HISTORY) + "\n1,2,3,p99,8,1.0,0,0,0,0\n", "line 2: expected 14 columns, got 10"),
        (",".join(HISTORY) + "\n1,2,3,p99,8,1.0" + ",0" * 16 + "\n", "line 2: expected 14 columns, got 22"),
    ],
)
def test_what_is_no_history(text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gates.csv"
    path.write_text(text)
    assert call(["history", str(path)]) is ExitCode.NOT_COMPARABLE
    assert words in capsys.readouterr().err


def test_a_metric_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = history(tmp_path / "gates.csv", [1.0])
    assert call(["history", str(path), "--metric", "p99"]) is ExitCode.USAGE
    assert "it holds throughput" in capsys.readouterr().err


def test_a_gate_alone_has_no_interval_in_the_csv_either() -> None:
    gate = PastGate("2026-11-27T16:04:54+00:00", "one", 0.9)
    header, alone = history_csv({"p50": eras_of("p50", [gate])}).splitlines()
    row = dict(zip(header.split(","), alone.split(","), strict=True))
    assert (row["gates"], row["low"], row["high"], row["worse"]) == ("1", "", "", "0")
    both = history_csv({"p50": eras_of("p50", [gate, PastGate(gate.time, "two", 0.91)])}).splitlines()[1].split(",")
    assert float(both[COLUMNS.index("low")]) < 0.905 < float(both[COLUMNS.index("high")])


def test_all_gates_of_an_era_come_to_their_product_and_the_next_begins_anew() -> None:
    gates = [PastGate("2026-11-27", str(number), ratio) for number, ratio in enumerate([2.0] * 5 + [0.5] * 5)]
    eras = eras_of("p50", gates)
    assert [(one.first.label, one.last.label, one.gates) for one in eras] == [("0", "4", 5), ("5", "9", 5)]
    assert [one.together for one in eras] == pytest.approx([32.0, 1 / 32])
    assert [one.ratio for one in eras] == pytest.approx([2.0, 0.5])


def test_the_chart_has_a_point_for_each_gate_a_line_for_all_of_them_and_a_level_for_each_era() -> None:
    gates = [PastGate("2026-11-27", "", ratio) for ratio in [2.0] * 5 + [0.5] * 5]
    page = history_page({"p50": gates}, {"p50": eras_of("p50", gates)})
    points = re.findall(r'<circle class="b" cx="([\d.]+)" cy="([\d.]+)"', page)
    (path,) = re.findall(r'<polyline class="ratio" points="([^"]+)"', page)
    together = [tuple(point.split(",")) for point in path.split()]
    levels = re.findall(r'<line class="level" x1="([\d.]+)" x2="([\d.]+)" y1="([\d.]+)" y2="([\d.]+)"', page)
    assert levels == [(points[first][0], points[last][0], *(points[first][1],) * 2) for first, last in ((0, 4), (5, 9))]
    assert [x for x, _ in together] == [x for x, _ in points]
    (one,) = re.findall(r'<line class="one" [^>]*y1="([\d.]+)"', page)
    doublings = [(float(one) - float(y)) / (float(one) - float(points[0][1])) for _, y in together]
    assert doublings == pytest.approx([1, 2, 3, 4, 5, 4, 3, 2, 1, 0], abs=0.02)

"""Results as tables: the same numbers for pandas, polars and Arrow, and advice where one of them is missing."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from trafficgen import ResultTables, SetupError, read_results, tables_of
from trafficgen.report.to_tables import ResultTable

OLD = Path(__file__).parent.parent / "report" / "recorded" / "results-0.1.0.json"
BIG = 2**53 + 1
"""No float holds it."""


def table() -> ResultTable:
    return ResultTable(
        {"name": ["a", None], "p99_ns": [None, BIG], "per_s": [0.5, None]}, {"name": str, "p99_ns": int, "per_s": float}
    )


def test_whole_numbers_stay_whole_beside_missing_ones() -> None:
    frame = table().to_pandas()
    assert frame["p99_ns"].isna().tolist() == [True, False]
    assert frame["p99_ns"].iloc[1] == BIG
    assert [str(one) for one in frame.dtypes] == ["string", "Int64", "Float64"]
    assert table().to_polars().to_dicts() == list(table().rows())
    assert table().to_arrow().to_pylist() == list(table().rows())
    assert len(table()) == 2


def test_a_table_without_rows_has_its_columns_and_types() -> None:
    empty = ResultTable({"name": [], "p99_ns": []}, {"name": str, "p99_ns": int})
    assert len(empty) == 0
    assert list(empty.to_pandas().columns) == ["name", "p99_ns"]
    assert [str(one) for one in empty.to_arrow().schema.types] == ["string", "int64"]
    assert [str(one) for one in empty.to_polars().schema.values()] == ["String", "Int64"]


def test_every_list_of_results_is_a_table_and_runs_are_below_one_another() -> None:
    run = read_results(OLD)
    other = replace(run, run=replace(run.run, id="00000000000000ff"))
    tables = tables_of(run, other)
    assert tables.timeline.columns["run"] == [run.run.id] * len(run.timeline) + [other.run.id] * len(run.timeline)
    assert sum(one or 0 for one in tables_of(run).timeline.columns["accepted"]) == run.messages.accepted  # type: ignore[misc]
    assert set(tables.domains.columns["name"]) == set(run.domains)
    service = next(row for row in tables.latencies.rows() if row["name"] == "service")
    assert run.latency_ns["service"] is not None
    assert (service["count"], service["p99_ns"]) == (run.latency_ns["service"].count, run.latency_ns["service"].p99)
    assert {"at_s", "span_s", "p99_ns", "bytes"} <= set(tables.timeline.columns)
    assert {"latency_p99_ns", "latency_count"} <= set(tables.commands.columns) & set(tables.domains.columns)
    for name in ResultTables.__slots__:
        made = getattr(tables, name)
        assert set(made.columns) == set(made.types), name
        assert made.to_pandas().shape == (len(made), len(made.columns)), name


@pytest.mark.parametrize(
    ("library", "method"), [("pandas", "to_pandas"), ("polars", "to_polars"), ("pyarrow", "to_arrow")]
)
def test_a_missing_library_is_named_with_what_installs_it(
    library: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SetupError, match=f"needs {library}: .*pip install .*{library}>="):
        getattr(table(), method)()

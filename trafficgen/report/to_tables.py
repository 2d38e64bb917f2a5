"""Results as tables for pandas, polars and Arrow: for a notebook, or for a program of one's own.

Takes     one or more `Results`
Gives     `tables_of`: a `ResultTable` for each list of the results, a row an interval, a stretch of time, a command…
Fails     SetupError in one line when the library of the wanted kind is not installed
Not here  a row for each run (tables: CSV), every bucket of a histogram (to_hdr)
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from types import NoneType
from typing import Any, Final, get_args, get_type_hints

from trafficgen.errors import SetupError
from trafficgen.host.extras import advice
from trafficgen.measure.counts import CommandCounts, Domain, FailureCount, Latency, ReplyCount, TargetCounts
from trafficgen.measure.results import Results
from trafficgen.measure.timeline import Interval

_PLAIN: Final = (int, float, str)


@dataclass(frozen=True, slots=True)
class ResultTable:
    """Rows and named columns; a unit is in the column's name, and a number that was not measured is None.

    `columns` needs no other library; the methods need theirs, which is imported when they are called. SetupError with
    the line that installs it when it is missing.

    >>> table = ResultTable({"name": ["connect"], "p99_ns": [None]}, {"name": str, "p99_ns": int})
    >>> table.to_pandas()["p99_ns"].isna().all()
    np.True_
    """

    columns: Mapping[str, Sequence[int | float | str | None]]
    """By name, in order; all of one length."""
    types: Mapping[str, type]
    """What is in each column besides None: int, float or str."""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def rows(self) -> Iterator[dict[str, int | float | str | None]]:
        """One dict for each row."""
        for values in zip(*self.columns.values(), strict=True):
            yield dict(zip(self.columns, values, strict=True))

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` of the types Int64, Float64 and string, so that whole numbers stay whole beside a
        missing one."""
        pandas = _library("pandas")
        names = {int: "Int64", float: "Float64", str: "string"}
        return pandas.DataFrame(
            {name: pandas.array(list(values), names[self.types[name]]) for name, values in self.columns.items()}
        )

    def to_polars(self) -> Any:
        """A `polars.DataFrame` of the types Int64, Float64 and String."""
        polars = _library("polars")
        names = {int: polars.Int64, float: polars.Float64, str: polars.String}
        schema = {name: names[self.types[name]] for name in self.columns}
        return polars.DataFrame(dict(self.columns), schema=schema)

    def to_arrow(self) -> Any:
        """A `pyarrow.Table` of the types int64, float64 and string."""
        pyarrow = _library("pyarrow", "arrow")
        names = {int: pyarrow.int64(), float: pyarrow.float64(), str: pyarrow.string()}
        schema = pyarrow.schema([(name, names[self.types[name]]) for name in self.columns])
        return pyarrow.table(dict(self.columns), schema=schema)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultTables:
    """What `tables_of` gives. The first column of each is `run`, its id; docs/reference/results.md explains the others.

    `timeline`     a row an interval: `at_s` and `span_s`, messages by outcome, octets, p50 and p99
    `latencies`    a row a stretch of time: connecting, greeting, service time, response time…
    `commands`     a row a kind of command besides sending a message: IMAP, POP3 and HTTP
    `domains`      a row a recipient domain
    `targets`      a row a target, where there are several
    `replies`      a row a kind of reply
    `failures`     a row a kind of end that was no reply
    """

    timeline: ResultTable
    latencies: ResultTable
    commands: ResultTable
    domains: ResultTable
    targets: ResultTable
    replies: ResultTable
    failures: ResultTable


def tables_of(*runs: Results) -> ResultTables:
    """The lists of these results as tables, the runs below one another.

    >>> from trafficgen import Plan, run, tables_of
    >>> tables = tables_of(run(Plan(max_messages=100)))
    >>> tables.timeline.to_pandas()["accepted"].sum()
    np.int64(100)
    >>> tables.latencies.to_polars().filter(name="service")["count"].to_list()
    [100]
    >>> tables.latencies.to_arrow().column_names[:4]
    ['run', 'name', 'count', 'min_ns']
    """
    return ResultTables(
        timeline=_table(Interval, ((run, None, one) for run in runs for one in run.timeline)),
        latencies=_table(Latency, _named((run, run.latency_ns) for run in runs), name="name"),
        commands=_table(CommandCounts, _named((run, run.commands) for run in runs), name="name"),
        domains=_table(Domain, _named((run, run.domains) for run in runs), name="name"),
        targets=_table(TargetCounts, ((run, None, one) for run in runs for one in run.targets)),
        replies=_table(ReplyCount, ((run, None, one) for run in runs for one in run.replies)),
        failures=_table(FailureCount, ((run, None, one) for run in runs for one in run.failures)),
    )


_Row = tuple[Results, str | None, object]


def _named(runs: Iterable[tuple[Results, Mapping[str, object]]]) -> Iterator[_Row]:
    """Without what was not measured."""
    return ((run, name, one) for run, found in runs for name, one in found.items() if one is not None)


def _table(kind: type, rows: Iterable[_Row], name: str | None = None) -> ResultTable:
    """A column for each plain field of `kind`, and for each number of a latency that is one of its fields."""
    types = {"run": str} | ({name: str} if name else {}) | _types(kind)
    columns: dict[str, list[Any]] = {column: [] for column in types}
    for run, key, one in rows:
        cells = {"run": run.run.id} | ({name: key} if name else {}) | _cells(one)
        for column, values in columns.items():
            values.append(cells.get(column))
    return ResultTable(columns, types)


def _types(kind: type) -> dict[str, type]:
    found: dict[str, type] = {}
    for name, hint in get_type_hints(kind).items():
        (plain, *others) = [one for one in get_args(hint) if one is not NoneType] or [hint]
        if plain is Latency:
            found |= {f"{name.removesuffix('_ns')}_{column}": one for column, one in _types(Latency).items()}
        elif plain in _PLAIN and not others:
            found[_column(kind, name)] = plain
    return found


def _cells(one: object) -> dict[str, object]:
    found: dict[str, object] = {}
    for field in fields(one):  # type: ignore[arg-type]
        value = getattr(one, field.name)
        if isinstance(value, Latency):
            found |= {f"{field.name.removesuffix('_ns')}_{column}": cell for column, cell in _cells(value).items()}
        else:
            found[_column(type(one), field.name)] = value
    return found


def _column(kind: type, field: str) -> str:
    """The numbers of a latency have their unit in the name of the latency; as columns they have their own."""
    return f"{field}_ns" if kind is Latency and field != "count" else field


def _library(name: str, extra: str | None = None) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SetupError(f"this table needs {name}: {advice(extra or name)}") from error

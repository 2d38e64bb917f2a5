"""The table that imaptest's users read: a row a second, with a column for errors.

Takes     what happened in each second
Gives     lines: a header before every tenth row, from the second header on the averages before it, totals at the end
Source    imaptest's form: cells of four and a blank, `x/ y` connections that speak of those that are open, `[P%]` of
          the places that were ever taken while that is below 100
Differs   numbers that are wider than their cell push the row; "Errs" counts what was refused or got no answer; the
          averages are of whole commands (imaptest times USER and PASS apart, and QUIT not at all)
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Self

from trafficgen.mailbox.operations import TableColumn

ROWS_A_HEADER: Final = 10
ERRORS: Final = "Errs"
_NS_PER_MS: Final = 1_000_000


@dataclass(slots=True)
class Second:
    """What happened in one second, of one worker or of all."""

    counts: dict[TableColumn, int] = field(default_factory=lambda: dict.fromkeys(TableColumn, 0))
    elapsed_ns: dict[TableColumn, int] = field(default_factory=lambda: dict.fromkeys(TableColumn, 0))
    errors: int = 0
    connections: int = 0
    """Open at its end."""
    speaking: int = 0
    """Of them, those whose server has said something."""
    most: int = 0
    """Connections that were ever open at one time."""
    stalled: int = 0
    """Of them, those that have waited for an answer for more than three seconds."""
    stalls: tuple[str, ...] = ()
    """A line for each that has waited for more than fifteen."""

    def count(self, column: TableColumn, elapsed_ns: int) -> None:
        """A command was carried out."""
        self.counts[column] += 1
        self.elapsed_ns[column] += elapsed_ns

    def __iadd__(self, other: "Second") -> Self:
        for column in TableColumn:
            self.counts[column] += other.counts[column]
            self.elapsed_ns[column] += other.elapsed_ns[column]
        self.errors += other.errors
        self.connections += other.connections
        self.speaking += other.speaking
        self.most += other.most
        self.stalled += other.stalled
        self.stalls += other.stalls
        return self


class ConsoleTable:
    """All rows of a run. `clients`: how many connections there may be."""

    def __init__(self, clients: int) -> None:
        self._clients = clients
        self._rows = 0
        self._since_header = Second()
        self._totals = Second()

    def row(self, second: Second) -> Iterator[str]:
        """The lines for one second."""
        if self._rows % ROWS_A_HEADER == 0:
            if self._rows:
                yield self._averages()
            yield _header()
        self._rows += 1
        self._since_header += second
        self._totals += second
        taken = second.most * 100 // self._clients
        yield (
            _cells(*second.counts.values(), second.errors)
            + f"{second.speaking:3d}/{second.connections:3d}"
            + (f" ({second.stalled} stalled >3s)" if second.stalled else "")
            + (f" [{taken}%]" if taken < 100 else "")
        )
        yield from second.stalls

    def totals(self) -> Iterator[str]:
        """The lines at the end."""
        if self._rows % ROWS_A_HEADER:
            yield self._averages()
        yield ""
        yield "Totals:"
        yield _header()
        yield _cells(*self._totals.counts.values(), self._totals.errors)

    def _averages(self) -> str:
        since = self._since_header
        means = (
            since.elapsed_ns[column] // (since.counts[column] * _NS_PER_MS) if since.counts[column] else 0
            for column in TableColumn
        )
        self._since_header = Second()
        return f"{_cells(*means)}     ms/cmd avg"


def tabbed_header() -> str:
    """The first line of a file for other programs: two fields a column, and the errors."""
    return "\t".join([*(f"{column.value} {of}" for column in TableColumn for of in ("count", "msecs")), ERRORS]) + "\n"


def tabbed(second: Second) -> str:
    """One second in it: how many, and how long they took together."""
    fields = ((second.counts[column], second.elapsed_ns[column] // _NS_PER_MS) for column in TableColumn)
    return "\t".join([*(str(value) for both in fields for value in both), str(second.errors)]) + "\n"


def _header() -> str:
    return " ".join([*(f"{column.value:>4}" for column in TableColumn), ERRORS])


def _cells(*numbers: int) -> str:
    return "".join(f"{number:4d} " for number in numbers)

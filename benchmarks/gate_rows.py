"""Gates of one kind, in a file under benchmarks/results that later runs add to.

Takes     rows, one for each gate: its number and metric, when and with which code it was made, how it ended
Gives     gate-KIND.md: on top how many ended how, beside what is promised; one line for each gate. Which come next
Fails     ValueError for a file that is none of these, with the line
Numbered  the number of a gate seeds its burners, so each is made once. Take a row out, and the next run makes it again
Commit    the newest that changed what can change a verdict (`CODE`); a + after it: and something not committed did
"""

import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.machine import RESULTS

ROOT: Final = Path(__file__).parents[1]
CODE: Final = ("trafficgen", "mboxgen", "examples/ci", "benchmarks/gate_real.py", "benchmarks/burner.py")
VERDICTS: Final = ("PASS", "FAIL", "WARN", "INCONCLUSIVE", "not valid", "did not end")
HEADS: Final = (
    "gate", "metric", "made, UTC", "commit", "machine", "verdict", "blocks or runs", "time", "CPU time of others",
    "B / A, with intervals", "why",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One gate, in the order of `HEADS`. `metric`: the one it is asked for, where each gate is made by several."""

    number: int
    metric: str
    made: str
    commit: str
    machine: str
    verdict: str
    pieces: int
    seconds: int
    others: str
    ratios: str
    why: str

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f'expected one of {", ".join(VERDICTS)}, got "{self.verdict}"')

    def __str__(self) -> str:
        words = list(map(str, astuple(self)))
        words[5], words[7] = f"**{self.verdict}**", clock(self.seconds)
        return "| " + " | ".join(word.replace("\n", " ").replace("|", r"\|") or "–" for word in words) + " |"

    @classmethod
    def read(cls, line: str) -> "Row":
        words = [word.replace(r"\|", "|").strip() for word in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
        if len(words) != len(fields(cls)):
            raise ValueError(f'expected a row of {len(HEADS)} columns, got "{line}"')
        number, metric, made, commit, machine, verdict, pieces, time, *rest = words
        minutes, seconds = map(int, time.split(":"))
        return cls(
            int(number), metric.replace("–", ""), made, commit, machine, verdict.strip("*"), int(pieces),
            60 * minutes + seconds, *rest,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Promise:
    """`words` with how many of `planned` gates may break it; those that do."""

    words: str
    breaks: Callable[[Row], bool]
    allowed: int = 0

    def told(self, rows: Sequence[Row], planned: int) -> str:
        """Kept or broken, as soon as that is sure; else so far."""
        kept = len(rows) - (broken := sum(map(self.breaks, rows)))
        most = self.allowed * max(len(rows), planned) // planned
        sure = "broken" if broken > most else "kept" if len(rows) >= planned else "so far"
        return f"{self.words} ({sure}, {kept} of {len(rows)})"


def every(verdict: str, *, allowed: int = 0, within_s: int | None = None) -> Callable[[int], Promise]:
    """A verdict that is promised, for all gates but so many."""

    def breaks(row: Row) -> bool:
        return row.verdict != verdict or (within_s is not None and row.seconds > within_s)

    def make(planned: int) -> Promise:
        many = f"at least {planned - allowed} of {planned}" if allowed else f"all {planned}"
        return Promise(f"{many} {verdict}{f' within {clock(within_s)}' if within_s else ''}", breaks, allowed)

    return make


def none(*verdicts: str) -> Callable[[int], Promise]:
    """Verdicts that never come."""
    return lambda _planned: Promise(f"none {' or '.join(verdicts)}", lambda row: row.verdict in verdicts)


def each_within(within_s: int) -> Callable[[int], Promise]:
    return lambda _planned: Promise(f"each within {clock(within_s)}", lambda row: row.seconds > within_s)


@dataclass(frozen=True, slots=True)
class Kind:
    """What is gated, how many gates are planned, what is promised of them. `metrics`: one gate by each has a number."""

    title: str
    planned: int
    promises: tuple[Callable[[int], Promise], ...]
    metrics: tuple[str, ...] = ("",)
    median_within_s: int | None = None


INVALID: Final = ("not valid", "did not end")
KINDS: Final = {
    "slices-same": Kind(
        "A sink against itself, beside two burners", 20,
        (none("FAIL"), every("PASS", allowed=2), none(*INVALID), each_within(360)),
    ),
    "slices-slower": Kind(
        "A sink against one with 10 % more service time, beside two burners", 20,
        (none("PASS"), every("FAIL", allowed=2)), median_within_s=240,
    ),
    "slices-near": Kind(
        "A sink against one with 5 % more service time, a margin of 2.5 %, beside two burners", 20,
        (every("FAIL", allowed=5, within_s=600),),
    ),
    "postfix": Kind(
        "Postfix against Postfix with 1,000 header checks", 5, (every("FAIL"),),
        metrics=("server.cpu:5%", "p50:10%"),
    ),
    "delay": Kind("By whole runs: a sink against one that answers 15 % later", 1, (every("FAIL"),)),
    "same": Kind("By whole runs: a sink against itself", 10, (none("FAIL"),)),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class GateFile:
    """The file of one kind."""

    name: str
    folder: Path = RESULTS

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]

    @property
    def path(self) -> Path:
        return self.folder / f"gate-{self.name}.md"

    def rows(self) -> list[Row]:
        """In the order of their numbers; none without a file."""
        if not self.path.exists():
            return []
        lines = self.path.read_text().splitlines()
        if _line(HEADS) not in lines:
            raise ValueError(f'expected a table of gates in "{self.path}", found none: move the file away')
        rows = [Row.read(line) for line in lines[lines.index(_line(HEADS)) + 2 :] if line]
        return sorted(rows, key=self._place)

    def following(self, rows: Sequence[Row], gates: int | None = None) -> list[tuple[int, str]]:
        """Number and metric of what is missing beside these: of the next so many numbers; None: of those planned."""
        made = {(row.number, row.metric) for row in rows}
        numbers = count(1) if gates is not None else range(1, self.kind.planned + 1)
        missing = ([(one, metric) for metric in self.kind.metrics if (one, metric) not in made] for one in numbers)
        return [one for ones in islice(filter(None, missing), gates) for one in ones]

    def add(self, row: Row) -> None:
        """Write the file with it; another run may have added to it meanwhile."""
        rows = [one for one in self.rows() if self._place(one) != self._place(row)]
        new = self.path.with_suffix(".new")
        self.folder.mkdir(exist_ok=True)
        new.write_text(self.text([*rows, row]))
        new.replace(self.path)

    def text(self, rows: Sequence[Row]) -> str:
        """The whole file."""
        rows = sorted(rows, key=self._place)
        lines = [
            f"# {self.kind.title}",
            "",
            *(f"{line}\n" for line in self._summary(rows)),
            f"`python -m benchmarks.gate_real {self.name} --gates N --write` makes the next N and adds them here.",
            "",
            _line(HEADS),
            _line(["---"] * len(HEADS)),
            *map(str, rows),
        ]
        return "\n".join(lines) + "\n"

    def _place(self, row: Row) -> tuple[int, int]:
        return row.number, self.kind.metrics.index(row.metric)

    def _summary(self, rows: Sequence[Row]) -> Iterator[str]:
        for metric in self.kind.metrics:
            mine = [row for row in rows if row.metric == metric]
            yield f"{f'`{metric}`: ' if metric else ''}{self._ended(mine)} Promised: {self._promised(mine)}."
        codes = list(dict.fromkeys(row.commit for row in rows))
        if len(codes) > 1:
            each = (f"`{code}` {_verdicts([row for row in rows if row.commit == code])}" for code in codes)
            yield f"Made with the code of {len(codes)} commits: {'; '.join(each)}."

    def _ended(self, rows: Sequence[Row]) -> str:
        if not rows:
            return f"**0 of {self.kind.planned} gates.**"
        times = [row.seconds for row in rows]
        longest = f"time {clock(round(median(times)))} (median), {clock(max(times))} (longest)"
        return f"**{len(rows)} of {self.kind.planned} gates: {_verdicts(rows)}; {longest}.**"

    def _promised(self, rows: Sequence[Row]) -> str:
        planned, limit_s = self.kind.planned, self.kind.median_within_s
        told = [make(planned).told(rows, planned) for make in self.kind.promises]
        if limit_s is not None and rows:
            middle = round(median(row.seconds for row in rows))
            sure = "so far" if len(rows) < planned else "kept" if middle <= limit_s else "broken"
            told.append(f"median time at most {clock(limit_s)} ({sure}, it is {clock(middle)})")
        return "; ".join(told)


def clock(seconds: int) -> str:
    return f"{seconds // 60}:{seconds % 60:02}"


def now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M}"


def code() -> str:
    """The commit of what is run here."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words, "--", *CODE], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    changed = [line for line in git("status", "--porcelain").splitlines() if not line.endswith(".pyc")]
    return git("log", "-1", "--format=%h", "--abbrev=10").strip() + ("+" if changed else "")


def _line(words: Sequence[str]) -> str:
    return f"| {' | '.join(words)} |"


def _verdicts(rows: Sequence[Row]) -> str:
    many = {verdict: sum(row.verdict == verdict for row in rows) for verdict in VERDICTS}
    always = ("PASS", "FAIL", "INCONCLUSIVE", "not valid")
    return ", ".join(f"{number} {verdict}" for verdict, number in many.items() if number or verdict in always)

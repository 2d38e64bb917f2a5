"""All runs of `benchmarks.cluster_kills` there ever were, in one file that each adds a line to, and a page of them.

Takes     runs as they end, from any thread
Gives     the numbers that a kind has not had, sums over all batches
Promises  a line is in the file as soon as its run has ended: whatever cuts a batch off takes only what was under way.
          The page beside it (.md) says what the lines say, after each
Format    JSON, one object a line: {"batch", "commit", "machine", "command"} before the first run of a batch, which has
          its time as its name, and {"batch", "kind", "number", "moment_s", "held", "why", "accepted", …} of each run
"""

import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, commit, machine

RECORD = RESULTS / "cluster-kills.jsonl"

_HEAD = (
    "At random moments a shard, a worker, a host, the scheduler or the client was killed or cut off",
    "(benchmarks/cluster_kills.py). Held: both equations of the account are true, no message came twice, what was",
    "accepted has arrived; but for the client, no more arrived than was accepted or is in doubt,",
    "and the run is not valid.",
)


@dataclass(frozen=True, slots=True)
class Kill:
    """One run. `number` is its seed; `why` it did not hold, else nothing."""

    kind: str
    number: int
    moment_s: float
    why: str
    accepted: int = 0
    in_doubt: int = 0
    arrived: int = 0

    @property
    def held(self) -> bool:
        return not self.why


@dataclass(frozen=True, slots=True)
class Batch:
    """Runs by one command."""

    name: str
    commit: str
    machine: str
    command: str


class KillsRecord:
    """What is in the file, and one batch that is added to it."""

    def __init__(self, path: Path, command: str) -> None:
        """ValueError, with the line, when something else is in the file."""
        self._path = path
        self._command = command
        self._batch: Batch | None = None
        self._lock = threading.Lock()
        self.batches: dict[str, Batch] = {}
        self.kills: list[tuple[str, Kill]] = []
        for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], 1):
            try:
                self._take(json.loads(line))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path}:{number}: expected a batch or a run of one: {error}") from error

    def _take(self, found: dict[str, Any]) -> None:
        name = found.pop("batch")
        if "kind" not in found:
            self.batches[name] = Batch(name, **found)
            return
        if name not in self.batches:
            raise ValueError(f"no batch {name} before it")
        held = found.pop("held")
        kill = Kill(**found)
        if kill.held is not held:
            raise ValueError("it held, or there is a reason why not")
        self.kills.append((name, kill))

    def next_numbers(self, kind: str, many: int) -> list[int]:
        """The lowest that this kind has not had: those first that a batch left out when it was cut off."""
        had = {kill.number for _batch, kill in self.kills if kill.kind == kind}
        return list(islice((number for number in count(1) if number not in had), many))

    def add(self, kill: Kill) -> None:
        """One more, also to the file."""
        with self._lock:
            if self._batch is None:
                name = datetime.now(UTC).isoformat(timespec="seconds")
                self._batch = Batch(name, commit(), machine(), self._command)
                self.batches[name] = self._batch
                batch = asdict(self._batch)
                self._write({"batch": batch.pop("name")} | batch)
            self.kills.append((self._batch.name, kill))
            self._write({"batch": self._batch.name} | asdict(kill) | {"held": kill.held})
            self.write_page()

    def _write(self, what: dict[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(what) + "\n")

    @property
    def page_path(self) -> Path:
        """Beside the file."""
        return self._path.with_suffix(".md")

    def page(self) -> str:
        """All there is to say, with what it was made by."""
        lines = ["# Clusters that lost something in mid-run", "", *_HEAD, "", *self.sums(), "", "Commands:", ""]
        return "\n".join([*lines, *(f"- {batch.name}: `{batch.command}`" for batch in self.batches.values())]) + "\n"

    def write_page(self) -> None:
        """Anew, also where only its words are other ones."""
        if self.kills:
            self.page_path.write_text(self.page())

    def sums(self) -> Iterator[str]:
        """Tables in Markdown: kinds over all batches, batches, whatever did not hold."""
        kinds = sorted({kill.kind for _batch, kill in self.kills})
        yield from ("| what | runs | held | accepted | in doubt | arrived |", "|---|---|---|---|---|---|")
        for kind in kinds:
            of_kind = [kill for _batch, kill in self.kills if kill.kind == kind]
            yield f"| {kind} | {_cells(of_kind)} |"
        yield f"| all | {_cells([kill for _batch, kill in self.kills])} |"
        yield from ("", "| batch | commit | held | machine |", "|---|---|---|---|")
        for batch in self.batches.values():
            runs = [kill for name, kill in self.kills if name == batch.name]
            held, many = Counter(kill.kind for kill in runs if kill.held), Counter(kill.kind for kill in runs)
            each = ", ".join(f"{kind} {held[kind]} of {many[kind]}" for kind in sorted(many))
            yield f"| {batch.name} | {batch.commit} | {each} | {batch.machine} |"
        for name, kill in self.kills:
            if not kill.held:
                yield f"\nNot held: {kill.kind} {kill.number} of {name}, at {kill.moment_s:.3f} s: {kill.why}"


def _cells(kills: Sequence[Kill]) -> str:
    held = sum(kill.held for kill in kills)
    sums = [sum(column) for column in zip(*((one.accepted, one.in_doubt, one.arrived) for one in kills), strict=True)]
    return f"{len(kills):,} | {held:,} of {len(kills):,} | " + " | ".join(f"{cell:,}" for cell in sums or (0, 0, 0))

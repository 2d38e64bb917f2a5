"""The trials or blocks of a gate on disk: a line each, so that a gate that was interrupted goes on where it stopped.

Takes     a file, and what the gate is: its design, its plan, its builds
Gives     what was measured so far; appends each new one and has it on the disk before the next begins
Refuses   with ResultsError a file of another gate
Fails     OutputError for a file that cannot be written at the start; later `failed` is that error, and the gate goes on
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from trafficgen.errors import OutputError, ResultsError
from trafficgen.host.output import Output
from trafficgen.measure.codec import from_plain, parse, to_plain
from trafficgen.verdict.gating import Trial


@dataclass(frozen=True, slots=True)
class _Seeded:
    seed: int


@dataclass(frozen=True, slots=True)
class _GateHead:
    plan: _Seeded
    design: _Seeded


_Record = TypeVar("_Record")


class RecordFile(Generic[_Record]):
    """Records of one `kind`, in memory and, with a path, on disk."""

    def __init__(self, path: Path | None, gate: Mapping[str, Any], kind: type[_Record]) -> None:
        self.records: list[_Record] = []
        self._kind = kind
        self.failed: OutputError | None = None
        self._path = path
        if path is None:
            return
        gate = json.loads(json.dumps(gate))
        if path.exists() and path.stat().st_size:
            self._read(path, gate)
        else:
            self._append(gate)

    def add(self, record: _Record) -> OutputError | None:
        """Keep one more. An error of the disk does not end the gate: it is returned, and no more is written."""
        self.records.append(record)
        if self._path is None or self.failed is not None:
            return None
        try:
            self._append(to_plain(record))
        except OutputError as error:
            self.failed = error
        return self.failed

    def _read(self, path: Path, gate: Mapping[str, Any]) -> None:
        # A line that a power cut left half written is no trial.
        text = path.read_bytes()
        *lines, rest = text.split(b"\n")
        try:
            known, *records = map(parse, lines)
            from_plain(_GateHead, known, closed=False)
            same = [key for key in gate if known.get(key) == gate[key]]
            self.records = [from_plain(self._kind, plain) for plain in records if len(same) == len(gate)]
        except ValueError as error:
            raise ResultsError(f'expected the trials of a gate, got "{path}": {error}') from error
        if different := [key for key in gate if key not in same]:
            raise ResultsError(f'"{path}" holds the trials of another gate: its {", ".join(different)} differs')
        if rest:
            os.truncate(path, len(text) - len(rest))

    def _append(self, plain: Mapping[str, Any]) -> None:
        assert self._path is not None
        Output(self._path, "--state").append(json.dumps(plain) + "\n", sync=True)


class TrialFile(RecordFile[Trial]):
    """The trials of a gate of whole runs."""

    def __init__(self, path: Path | None, gate: Mapping[str, Any]) -> None:
        super().__init__(path, gate, Trial)

    @property
    def trials(self) -> list[Trial]:
        """All so far."""
        return self.records


def seed_in(path: Path | None) -> tuple[int, int] | None:
    """The seeds of the plan and of the design in a file of trials; None when there is none yet."""
    if path is None or not path.exists() or not path.stat().st_size:
        return None
    try:
        with path.open("rb") as file:
            head = from_plain(_GateHead, parse(file.readline()), closed=False)
    except ValueError as error:
        raise ResultsError(f'expected the trials of a gate, got "{path}": {error}') from error
    return head.plan.seed, head.design.seed

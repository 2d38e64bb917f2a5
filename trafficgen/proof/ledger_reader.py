"""Read ledgers of the sink: those of one run together, from however many sinks and restarts.

Takes     paths; a ledger of several processes is found by its first file (`ledger`, `ledger.1`, `ledger.2`, …)
Gives     every copy that arrived of one run: which message, for how many recipients, when, whole or not, and whether
          its sender can have been told
Limits    27 octets of memory a copy of the run that is asked for; other runs are only counted
Fails     ResultsError for a file that is no ledger. A torn last line of a killed sink is counted, not an error
Not here  what should have arrived (manifest), comparing (measure.proof)

A sink that was killed has no closing line. What each of its sessions handed over last may then lack its answer: the
line is written before the answer is. Those copies count as unanswered, and no others.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trafficgen.errors import ResultsError
from trafficgen.proof import digits
from trafficgen.proof.ledger_file import (
    ANY_MAGIC,
    CLOSED,
    DAMAGED,
    DIGEST,
    KIND,
    LINE_OCTETS,
    MAGIC,
    NUMBER,
    RECIPIENTS,
    SESSION,
    TAKEN,
    UNANSWERED,
)
from trafficgen.proof.mapped_file import octets_of
from trafficgen.proof.received import well_formed

_LINES_AT_ONCE: Final = 1 << 16
_HASH, _LINE_END = b"#\n"


@dataclass(frozen=True, slots=True, eq=False)
class Copies:
    """Copies of one run's messages, all arrays of one length, in the order they came within each file.

    `digests`: who got this copy (`trace_header.digest`), -1 where that is not known.
    `unanswered`: recipients of this copy whose sender was surely (`~`) or perhaps (killed) never told.
    `intact`: damaged ones whose body is whole behind a header that somebody ended early; None where nobody looked: a
    ledger has checksums only.
    """

    numbers: NDArray[np.int64]
    recipients: NDArray[np.int64]
    taken_ns: NDArray[np.int64]
    damaged: NDArray[np.bool_]
    unanswered: NDArray[np.int64]
    digests: NDArray[np.int64]
    intact: NDArray[np.bool_] | None = None


class _Form(NamedTuple):
    """Where things stand in a line."""

    octets: int
    taken: slice
    digest: slice | None


_FORMS: Final = {
    ANY_MAGIC + b"1 ": _Form(75, slice(55, 74), None),
    MAGIC: _Form(LINE_OCTETS, TAKEN, DIGEST),
}


@dataclass(slots=True)
class Log:
    """Everything in some ledgers. `boot_ids`: whose clock its times are from."""

    copies: Copies
    boot_ids: set[str]
    runs: dict[str, int]
    sinks: int = 0
    """How often a sink was started on these files."""
    killed: int = 0
    """How many of them never said that they ended: killed, or still running."""
    unmarked: int = 0
    torn: int = 0


def read(paths: Iterable[Path], run_id: str) -> Log:
    """All copies of this run in these ledgers."""
    log = Log(joined([]), set(), {})
    parts: list[Copies] = []
    for path in _all_files(paths):
        parts += _read_file(path, run_id, log)
    log.copies = joined(parts)
    return log


def _all_files(paths: Iterable[Path]) -> Iterator[Path]:
    seen = set()
    for path in paths:
        siblings = sorted(path.parent.glob(path.name + ".[0-9]*"))
        for file in [path, *(s for s in siblings if s.suffix[1:].isdigit())]:
            if file not in seen:
                seen.add(file)
                yield file


def _read_file(path: Path, run_id: str, log: Log) -> Iterator[Copies]:
    """One file, the lives of its sinks one after the other."""
    octets = octets_of(path)
    form = _FORMS.get(octets[: len(MAGIC)].tobytes())
    if form is None:
        raise ResultsError(f'expected a ledger of "sink --ledger", got "{path}"')
    life: _Life | None = None
    for begin in range(0, octets.size - form.octets + 1, _LINES_AT_ONCE * form.octets):
        piece = octets[begin : begin + _LINES_AT_ONCE * form.octets]
        lines = np.asarray(piece[: piece.size // form.octets * form.octets]).reshape(-1, form.octets)
        written = lines[:, -1] == _LINE_END
        log.torn += int(np.count_nonzero(~written & (lines != 0).any(axis=1)))
        lines = lines[written]
        notes = np.flatnonzero(lines[:, 0] == _HASH).tolist()
        before = 0
        for note in [*notes, len(lines)]:
            if life is not None:
                life.add(lines[before:note], log)
            before = note + 1
            text = lines[note].tobytes() if note < len(lines) else b""
            if text.startswith(ANY_MAGIC):
                if life is not None:
                    yield life.ended(closed=False, log=log)
                life = _Life(run_id, form)
                log.sinks += 1
                log.boot_ids.add(text[len(MAGIC) :].split()[0].decode("ascii", "replace"))
            elif text.startswith(CLOSED) and life is not None:
                yield life.ended(closed=True, log=log)
                life = None
    if life is not None:
        yield life.ended(closed=False, log=log)


class _Life:
    """What one sink entered between its start and its end."""

    def __init__(self, run_id: str, form: _Form) -> None:
        self._form = form
        self._run_id = run_id.encode("ascii")
        self._columns: list[tuple[NDArray[np.int64], ...]] = []

    def add(self, lines: digits.Text, log: Log) -> None:
        ours = well_formed(lines[:, :38]) & digits.all_digits(lines[:, SESSION])
        log.unmarked += int(np.count_nonzero(~ours & (lines[:, KIND] != UNANSWERED)))
        lines = lines[ours]
        taken = lines[lines[:, KIND] != UNANSWERED, :16]
        ids, counts = np.unique(np.ascontiguousarray(taken).view("S16"), return_counts=True)
        for name, count in zip(ids.tolist(), counts.tolist(), strict=True):
            log.runs[name.decode("ascii")] = log.runs.get(name.decode("ascii"), 0) + count
        lines = lines[(lines[:, :16] == np.frombuffer(self._run_id, np.uint8)).all(axis=1)]
        parts = (NUMBER, RECIPIENTS, self._form.taken, SESSION)
        found = self._form.digest
        digests = digits.from_hexadecimal(lines[:, found]) if found else np.full(len(lines), -1, np.int64)
        columns = (digits.from_text(lines[:, part]) for part in parts)
        self._columns.append((*columns, lines[:, KIND].astype(np.int64), digests))

    def ended(self, *, closed: bool, log: Log) -> Copies:
        log.killed += not closed
        if not self._columns:
            return joined([])
        numbers, recipients, taken_ns, sessions, kinds, digests = map(np.concatenate, zip(*self._columns, strict=True))
        copies = np.flatnonzero(kinds != UNANSWERED)
        unanswered = np.zeros(numbers.size, np.int64)
        if not closed:
            last = copies[::-1][np.unique(sessions[copies][::-1], return_index=True)[1]]
            unanswered[last] = recipients[last]
        for note in np.flatnonzero(kinds == UNANSWERED).tolist():
            same = copies[(numbers[copies] == numbers[note]) & (sessions[copies] == sessions[note]) & (copies < note)]
            if same.size:
                unanswered[same[-1]] = recipients[note]
        return Copies(
            numbers[copies],
            recipients[copies],
            taken_ns[copies],
            kinds[copies] == DAMAGED,
            unanswered[copies],
            digests[copies],
        )


def joined(parts: Sequence[Copies]) -> Copies:
    """All copies together: a message that several sinks have got has a row of each."""
    empty = np.zeros(0, np.int64)
    return Copies(
        np.concatenate([part.numbers for part in parts] or [empty]),
        np.concatenate([part.recipients for part in parts] or [empty]),
        np.concatenate([part.taken_ns for part in parts] or [empty]),
        np.concatenate([part.damaged for part in parts] or [empty.astype(bool)]),
        np.concatenate([part.unanswered for part in parts] or [empty]),
        np.concatenate([part.digests for part in parts] or [empty]),
    )

"""What was sent in one run, message by message: the sending half of the proof.

    # traffic-gen manifest 2
    {"run_id": "9f3a6c1e02b4d857", "boot_id": "…", "wall_offset_ns": …, "planned": …}
    000000000000 a 0001 5d0f8e21 0000012345678901234
    number       what recipients and their digest (`mark.digest`; spaces: not known), began, ns
    # end 1

`A` and `D` in place of `a` and `d`: the header has a line that is no field, so that a server may mend the message on
its way. A file with such messages says 3 in its first line, since readers of version 2 would pass over them.

A sender that tried a message again, because a try of it was in doubt, has a line of `d` for each such try besides one
of `a` if it was accepted in the end: each may have been delivered. Such a file says 4 in its first line.

Takes     numbers of accepted messages (`a`) and of those in doubt (`d`), how many recipients each has, when it began
Gives     a text file, whole or not at all, and its content back
Fails     ResultsError for a file that is no manifest or is cut off
Not here  what arrived (the sink's ledger), comparing (measure.proof)

What was refused, failed or never started is not in it: none of that may arrive. `began` is the intended start in the
open model, the real one in the closed model, on `clock.now_ns` of the machine `boot_id` names; 0 when not known.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from trafficgen.errors import ResultsError
from trafficgen.host.machine_clock import boot_id, wall_offset_ns
from trafficgen.host.output import Output
from trafficgen.proof import digits
from trafficgen.proof.mapped_file import octets_of

OPTION: Final = "--manifest"
MAGIC: Final = b"# traffic-gen manifest 2\n"
_MENDABLE_MAGIC: Final = b"# traffic-gen manifest 3\n"
_RETRIED_MAGIC: Final = b"# traffic-gen manifest 4\n"
_OLD_MAGIC: Final = b"# traffic-gen manifest 1\n"
_WIDTH: Final = 12 + 1 + 1 + 1 + 4 + 1 + 8 + 1 + 19 + 1
_OLD_WIDTH: Final = _WIDTH - 9
_NUMBER, _RECIPIENTS = slice(0, 12), slice(15, 19)
_ACCEPTED: Final = ord("a")
_IN_DOUBT: Final = ord("d")
_CAPITAL: Final = ord("a") - ord("A")
_ROWS_AT_ONCE: Final = 1 << 18


@dataclass(frozen=True, slots=True, eq=False)
class SentRecords:
    """Messages, all arrays of one length.

    Their numbers, recipients of each, when each began (0: not known), and who its recipients are, as one number
    (`mark.digest`; -1: not known). `mendable`: whose header a server may mend; None: nobody's.
    """

    numbers: NDArray[np.int64]
    recipients: NDArray[np.int64]
    began_ns: NDArray[np.int64]
    digests: NDArray[np.int64]
    mendable: NDArray[np.bool_] | None = None

    @classmethod
    def none(cls) -> Self:
        """No messages."""
        numbers = np.zeros(0, np.int64)
        return cls(numbers, numbers, numbers, numbers)


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """One run as its sender saw it. `boot_id` and `wall_offset_ns`: see `trafficgen.host.machine_clock`."""

    run_id: str
    planned: int
    accepted: SentRecords
    in_doubt: SentRecords
    boot_id: str
    wall_offset_ns: int

    @classmethod
    def here(cls, run_id: str, planned: int, accepted: SentRecords, in_doubt: SentRecords) -> Self:
        """Of a run on this machine."""
        return cls(run_id, planned, accepted, in_doubt, boot_id(), wall_offset_ns())

    def write(self, path: Path) -> None:
        """Put it into a file, over what was there. Raises OutputError when that cannot be done."""
        head = {
            "run_id": self.run_id,
            "boot_id": self.boot_id,
            "wall_offset_ns": self.wall_offset_ns,
            "planned": self.planned,
        }
        rows = self.accepted.numbers.size + self.in_doubt.numbers.size
        marks = (part.mendable for part in (self.accepted, self.in_doubt))
        mendable = any(mark is not None and mark.any() for mark in marks)
        retried = _any_twice(self.accepted, self.in_doubt)
        magic = _RETRIED_MAGIC if retried else _MENDABLE_MAGIC if mendable else MAGIC
        with Output(path, OPTION).replacing() as file:
            file.write(magic + json.dumps(head).encode("ascii") + b"\n")
            for records, kind in ((self.accepted, _ACCEPTED), (self.in_doubt, _IN_DOUBT)):
                for begin in range(0, records.numbers.size, _ROWS_AT_ONCE):
                    file.write(_rows(records, kind, slice(begin, begin + _ROWS_AT_ONCE)).tobytes())
            file.write(b"# end %d\n" % rows)


class _ManifestHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The second line. `planned` messages are numbered from 0 in at most 12 digits."""

    run_id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
    boot_id: str
    wall_offset_ns: int
    planned: Annotated[int, msgspec.Meta(ge=0, le=10**12)]


def check_writable(path: Path) -> None:
    """Find out before a run that its manifest could not be written. Raises PlanError."""
    Output(path, OPTION).check()


def is_manifest(path: Path) -> bool:
    """Whether the file begins as one does. A pipe is left as it is."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) in (MAGIC, _MENDABLE_MAGIC, _RETRIED_MAGIC, _OLD_MAGIC)
    except OSError:
        return False  # whoever reads it says why


def join(parts: Sequence[Manifest]) -> Manifest:
    """What all shards of a run sent. ResultsError when they are of different runs, or two have sent one message."""
    if not parts:
        raise ResultsError("expected manifests of a run, got none")
    first = parts[0]
    if len(parts) == 1:
        return first
    if len(runs := dict.fromkeys(part.run_id for part in parts)) > 1:
        raise ResultsError(f"expected manifests of one run, got those of {' and '.join(runs)}")
    accepted, in_doubt = (
        _joined([part.accepted for part in parts]), _joined([part.in_doubt for part in parts])
    )  # fmt: skip
    # One sender may have tries in doubt of a message that was accepted in the end; two never have one message.
    numbers = np.sort(np.concatenate([np.union1d(part.accepted.numbers, part.in_doubt.numbers) for part in parts]))
    if (twice := numbers[1:][np.diff(numbers) == 0]).size:
        raise ResultsError(
            f"expected every message in one manifest, got {twice[0]:012d} in two: was a shard run twice?"
        )
    boots = {part.boot_id for part in parts}
    # Times of different machines are on no common clock: no latency is made of them.
    boot_id = first.boot_id if len(boots) == 1 else ""
    return Manifest(
        first.run_id, max(part.planned for part in parts), accepted, in_doubt, boot_id, first.wall_offset_ns
    )


def _joined(parts: Sequence[SentRecords]) -> SentRecords:
    marks = [np.zeros(one.numbers.size, bool) if one.mendable is None else one.mendable for one in parts]
    return SentRecords(
        np.concatenate([one.numbers for one in parts]),
        np.concatenate([one.recipients for one in parts]),
        np.concatenate([one.began_ns for one in parts]),
        np.concatenate([one.digests for one in parts]),
        np.concatenate(marks),
    )


def from_octets(octets: bytes) -> Manifest:
    """The manifest in a file that came over the network. Raises ResultsError when it is none."""
    return _read_octets(np.frombuffer(octets, np.uint8), "of a shard")


def read(path: Path) -> Manifest:
    """The manifest in a file. Raises ResultsError when there is none."""
    return _read_octets(octets_of(path), str(path))


def _read_octets(octets: digits.Text, path: str) -> Manifest:
    top = octets[:4096].tobytes()
    line_end = top.find(b"\n", len(MAGIC))
    tail = octets[-40:].tobytes().rpartition(b"# end ")
    if not top.startswith((MAGIC, _MENDABLE_MAGIC, _RETRIED_MAGIC, _OLD_MAGIC)) or line_end < 0:
        raise ResultsError(f'expected a manifest of "send --manifest", got "{path}"')
    try:
        return _parsed(octets, top, line_end, tail)
    except ValueError as error:
        reason = str(error).replace("`", "")
        text = (
            f'the manifest "{path}" is damaged: {reason[:1].lower()}{reason[1:]}; make it again with "send --manifest"'
        )
        raise ResultsError(text) from error


def _parsed(octets: digits.Text, top: bytes, line_end: int, tail: tuple[bytes, bytes, bytes]) -> Manifest:
    head = msgspec.json.decode(top[len(MAGIC) : line_end], type=_ManifestHead)
    begin = line_end + 1
    width = _OLD_WIDTH if top.startswith(_OLD_MAGIC) else _WIDTH
    count = int(tail[2]) if tail[1] and re.fullmatch(rb"\d{1,15}\n", tail[2]) else -1
    end = begin + count * width
    if count < 0 or end + len(tail[1] + tail[2]) != octets.size:
        raise ValueError("it is cut off")
    rows = octets[begin:end].reshape(-1, width)
    accepted, in_doubt = (_read(rows, kind) for kind in (_ACCEPTED, _IN_DOUBT))
    if accepted.numbers.size + in_doubt.numbers.size != count:
        raise ValueError('a line is neither of an accepted message, "a", nor of one in doubt, "d"')
    retried = top.startswith(_RETRIED_MAGIC)
    if _any_twice(accepted, None if retried else in_doubt):
        raise ValueError("a message is there twice")
    return Manifest(head.run_id, head.planned, accepted, in_doubt, head.boot_id, head.wall_offset_ns)


def _any_twice(accepted: SentRecords, in_doubt: SentRecords | None) -> bool:
    numbers = [accepted.numbers] if in_doubt is None else [accepted.numbers, in_doubt.numbers]
    return bool((np.diff(np.sort(np.concatenate(numbers))) == 0).any())


def _read(rows: digits.Text, kind: int) -> SentRecords:
    """The messages of one kind. ValueError when a line of theirs is not as `_rows` writes it.

    A piece at a time: what is made on the way takes six times the memory of what is kept.
    """
    pieces = [_read_piece(rows[begin : begin + _ROWS_AT_ONCE], kind) for begin in range(0, len(rows), _ROWS_AT_ONCE)]
    marks = [piece.mendable for piece in pieces if piece.mendable is not None]
    numbers, recipients, began_ns, digests = (
        np.concatenate([getattr(piece, name) for piece in pieces] or [np.zeros(0, np.int64)])
        for name in ("numbers", "recipients", "began_ns", "digests")
    )
    mendable = np.concatenate(marks) if marks else np.zeros(0, bool)
    return SentRecords(numbers, recipients, began_ns, digests, mendable)


def _read_piece(rows: digits.Text, kind: int) -> SentRecords:
    found = rows[rows[:, 13] | _CAPITAL == kind]
    records = _records(found)
    sound = digits.all_digits(found[:, _NUMBER]) & digits.all_digits(found[:, _RECIPIENTS])
    sound &= digits.all_digits(found[:, slice(-20, -1)]) & (records.began_ns >= 0) & (found[:, -1] == 10)
    sound &= (found[:, [12, 14, 19, -21]] == 32).all(axis=1)
    if found.shape[1] == _WIDTH:
        sound &= (records.digests >= 0) | (found[:, 20:28] == 32).all(axis=1)
    if not sound.all():
        line = found[int(np.argmin(sound))].tobytes().decode("ascii", "replace").rstrip("\n")
        raise ValueError(f'expected a number, "a" or "d", recipients, digest and time, got "{line}"')
    return records


def _rows(records: SentRecords, kind: int, part: slice) -> digits.Text:
    numbers = records.numbers[part]
    rows = np.full((numbers.size, _WIDTH), 32, np.uint8)
    rows[:, :12] = digits.to_text(numbers, 12)
    rows[:, 13] = kind if records.mendable is None else kind - _CAPITAL * records.mendable[part]
    rows[:, 15:19] = digits.to_text(records.recipients[part], 4)
    digests = records.digests[part]
    rows[:, 20:28] = np.where(digests[:, None] >= 0, digits.to_hexadecimal(digests, 8), 32)
    rows[:, 29:48] = digits.to_text(records.began_ns[part], 19)
    rows[:, 48] = 10
    return rows


def _records(rows: digits.Text) -> SentRecords:
    numbers, recipients, began_ns = (digits.from_text(rows[:, part]) for part in (_NUMBER, _RECIPIENTS, slice(-20, -1)))
    digests = np.full(len(rows), -1, np.int64)
    if rows.shape[1] == _WIDTH:
        known = digits.all_hexadecimal(rows[:, 20:28])
        digests[known] = digits.from_hexadecimal(rows[known, 20:28])
    return SentRecords(numbers, recipients, began_ns, digests, rows[:, 13] & _CAPITAL == 0)

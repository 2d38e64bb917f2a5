"""What was handed over in one run, message by message: the sending half of the proof.

    # traffic-gen manifest 2
    {"run_id": "9f3a6c1e02b4d857", "boot_id": "…", "wall_offset_ns": …, "planned": …}
    000000000000 a 0001 5d0f8e21 0000012345678901234
    number       what recipients and their digest (`mark.digest`; spaces: not known), began, ns
    # end 1

Takes     numbers of accepted messages (`a`) and of those in doubt (`d`), how many recipients each has, when it began
Gives     a text file, whole or not at all, and its content back
Fails     ResultsError for a file that is no manifest or is cut off
Not here  what arrived (the sink's ledger), comparing (measure.proof)

What was refused, failed or never started is not in it: none of that may arrive. `began` is the intended start in the
open model, the real one in the closed model, on `clock.now_ns` of the machine `boot_id` names; 0 when not known.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from trafficgen import decimals
from trafficgen.boot import boot_id, wall_offset_ns
from trafficgen.errors import ResultsError
from trafficgen.output import Output

OPTION: Final = "--manifest"
MAGIC: Final = b"# traffic-gen manifest 2\n"
_OLD_MAGIC: Final = b"# traffic-gen manifest 1\n"
_WIDTH: Final = 12 + 1 + 1 + 1 + 4 + 1 + 8 + 1 + 19 + 1
_OLD_WIDTH: Final = _WIDTH - 9
_NUMBER, _RECIPIENTS = slice(0, 12), slice(15, 19)
_ACCEPTED: Final = ord("a")
_IN_DOUBT: Final = ord("d")
_ROWS_AT_ONCE: Final = 1 << 18


@dataclass(frozen=True, slots=True, eq=False)
class Handed:
    """Messages, all arrays of one length.

    Their numbers, recipients of each, when each began (0: not known), and who its recipients are, as one number
    (`mark.digest`; -1: not known).
    """

    numbers: NDArray[np.int64]
    recipients: NDArray[np.int64]
    began_ns: NDArray[np.int64]
    digests: NDArray[np.int64]

    @classmethod
    def none(cls) -> Self:
        """No messages."""
        return cls(*(np.zeros(0, np.int64) for _ in range(4)))


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """One run as its sender saw it. `boot_id` and `wall_offset_ns`: see `trafficgen.boot`."""

    run_id: str
    planned: int
    accepted: Handed
    in_doubt: Handed
    boot_id: str
    wall_offset_ns: int

    @classmethod
    def here(cls, run_id: str, planned: int, accepted: Handed, in_doubt: Handed) -> Self:
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
        with Output(path, OPTION).replacing() as file:
            file.write(MAGIC + json.dumps(head).encode("ascii") + b"\n")
            for handed, kind in ((self.accepted, _ACCEPTED), (self.in_doubt, _IN_DOUBT)):
                for begin in range(0, handed.numbers.size, _ROWS_AT_ONCE):
                    file.write(_rows(handed, kind, slice(begin, begin + _ROWS_AT_ONCE)).tobytes())
            file.write(b"# end %d\n" % rows)


def check_writable(path: Path) -> None:
    """Find out before a run that its manifest could not be written. Raises PlanError."""
    Output(path, OPTION).check()


def read(path: Path) -> Manifest:
    """The manifest in a file. Raises ResultsError when there is none."""
    try:
        octets = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is empty"
        raise ResultsError(f'cannot read "{path}": {reason.lower()}') from error
    top = octets[:4096].tobytes()
    line_end = top.find(b"\n", len(MAGIC))
    tail = octets[-40:].tobytes().rpartition(b"# end ")
    if not top.startswith((MAGIC, _OLD_MAGIC)) or line_end < 0:
        raise ResultsError(f'expected a manifest of "send --manifest", got "{path}"')
    try:
        head = json.loads(top[len(MAGIC) : line_end])
        count = int(tail[2])
    except ValueError:
        count = -1
    begin = line_end + 1
    width = _WIDTH if top.startswith(MAGIC) else _OLD_WIDTH
    end = begin + count * width
    if not tail[1] or not tail[2].endswith(b"\n") or count < 0 or end + len(tail[1] + tail[2]) != octets.size:
        raise ResultsError(f'the manifest "{path}" is cut off or damaged: make it again with "send --manifest"')
    rows = octets[begin:end].reshape(-1, width)
    return Manifest(
        str(head["run_id"]),
        int(head["planned"]),
        _handed(rows[rows[:, 13] == _ACCEPTED]),
        _handed(rows[rows[:, 13] == _IN_DOUBT]),
        str(head["boot_id"]),
        int(head["wall_offset_ns"]),
    )


def _rows(handed: Handed, kind: int, part: slice) -> decimals.Text:
    numbers = handed.numbers[part]
    rows = np.full((numbers.size, _WIDTH), 32, np.uint8)
    rows[:, :12] = decimals.to_text(numbers, 12)
    rows[:, 13] = kind
    rows[:, 15:19] = decimals.to_text(handed.recipients[part], 4)
    digests = handed.digests[part]
    rows[:, 20:28] = np.where(digests[:, None] >= 0, decimals.to_hexadecimal(digests, 8), 32)
    rows[:, 29:48] = decimals.to_text(handed.began_ns[part], 19)
    rows[:, 48] = 10
    return rows


def _handed(rows: decimals.Text) -> Handed:
    numbers, recipients, began_ns = (
        decimals.from_text(rows[:, part]) for part in (_NUMBER, _RECIPIENTS, slice(-20, -1))
    )
    digests = np.full(len(rows), -1, np.int64)
    if rows.shape[1] == _WIDTH:
        known = decimals.all_hexadecimal(rows[:, 20:28])
        digests[known] = decimals.from_hexadecimal(rows[known, 20:28])
    return Handed(numbers, recipients, began_ns, digests)

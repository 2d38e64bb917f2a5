"""The header block of a generated message.

Takes     senders, pools of subjects, the run's id and date, the user's own headers
Gives     a `columns.Layout`: mark first, then Date, From, To, Subject, Message-ID, MIME, the user's, the empty line
Refuses   a header of the user's that would stand in for the mark
Not here  the To addresses (envelopes), the body's type and encoding (bodies)

A header of the user's replaces ours of the same name: RFC 5322 section 3.6 allows one Date, From, To, Subject and
Message-ID. Lines are folded to 78 where they have a place to fold (2.1.1). Values beyond ASCII become encoded words
(RFC 2047), so that no server needs SMTPUTF8 for them.
"""

import re
from collections.abc import Sequence
from email.header import Header as EncodedHeader
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mboxgen import streams
from trafficgen.errors import PlanError
from trafficgen.plan import Plan
from trafficgen.proof import trace_header
from trafficgen.workload import people
from trafficgen.workload.columns import Columns, ColumnTable, Digits, Layout, Piece, hexadecimal
from trafficgen.workload.envelopes import Envelopes, Sender
from trafficgen.workload.grid import GRID, NUMBER, Span, digits

MAX_LINE: Final = 78
_FOLD: Final = re.compile(r"[ \t]+(?=[^ \t])")

CRLF: Final = b"\r\n"


def header_layout(plan: Plan, date: str, envelopes: Envelopes, content: Sequence[str]) -> Layout:
    """Columns: digits number and crc32; picks subject, and "header N" for N's alternatives; those of the envelopes."""
    own = {header.name.lower() for header in plan.workload.headers}
    _refuse_mark(plan)
    senders = envelopes.senders
    message_id_ends = [f".{plan.run_id}@{sender.domain}>\r\n".encode("ascii") for sender in senders]
    generated: dict[str, list[Piece]] = {
        "date": [folded("Date", date)],
        "from": [ColumnTable("sender", [_from(sender) for sender in senders])],
        "to": [*envelopes.to_pieces, CRLF],
        "subject": [b"Subject: ", ColumnTable("subject", people.subjects(plan.seed)), CRLF],
        "message-id": [_message_id_start(plan, senders), NUMBER, ColumnTable("sender", message_id_ends)],
        **{line.partition(":")[0].lower(): [line.encode("ascii") + CRLF] for line in content},
    }
    pieces: list[Piece] = [*mark_pieces(plan.run_id)]
    for name, made in generated.items():
        pieces += made if name not in own else []
    return Layout((*pieces, *users_own(plan), CRLF))


class UserHeaders:
    """The mark and the user's own headers, for messages that bring the rest themselves."""

    def __init__(self, plan: Plan) -> None:
        _refuse_mark(plan)
        self._layout = Layout((*mark_pieces(plan.run_id), *users_own(plan)))
        self._alternatives = lru_cache(maxsize=2)(Alternatives(plan).picks)

    def rows(self, span: Span, crc32: NDArray[np.uint32]) -> list[bytes]:
        """The first lines of a span's messages."""
        picks = {name: column[span.part] for name, column in self._alternatives(span.grid).items()}
        number = digits(span.grid)[span.part]
        rows = self._layout.rows(Columns(picks, {"number": number, "crc32": hexadecimal(crc32)}, {}))
        return rows.part(slice(None))


class Alternatives:
    """Which value each message gets of the user's headers that have several."""

    def __init__(self, plan: Plan) -> None:
        self._seed = plan.seed
        self._thresholds = {
            f"header {number}": streams.cumulative([weight for _, weight in header.values])
            for number, header in enumerate(plan.workload.headers)
            if len(header.values) > 1
        }

    def picks(self, grid: int) -> dict[str, NDArray[np.int64]]:
        """By layout column, for a whole grid block."""
        return {
            name: streams.choose(streams.raw(self._seed, f"workload/{name}", grid, GRID), thresholds)
            for name, thresholds in self._thresholds.items()
        }


def mark_pieces(run_id: str) -> tuple[Piece, ...]:
    """The line of `trafficgen.proof.trace_header.render`, by column; a test holds the two together."""
    return (trace_header.HEADER + run_id.encode("ascii") + b" ", NUMBER, b" ", Digits("crc32", 8), CRLF)


def folded(name: str, value: str) -> bytes:
    """A header line with its CRLF: encoded words where it must, folded to 78 where it can."""
    if not value.isascii():
        encoded = EncodedHeader(value, "utf-8", header_name=name, maxlinelen=MAX_LINE - 2).encode(linesep="\r\n")
        return f"{name}: {encoded}\r\n".encode("ascii")
    lines, line = [], f"{name}: {value}"
    while len(line) > MAX_LINE:
        # Never right after the name: a first line with nothing in it is not understood everywhere.
        folds = [match.start() for match in _FOLD.finditer(line, len(name) + 2)]
        place = max((fold for fold in folds if 0 < fold <= MAX_LINE), default=min(folds, default=0))
        if place == 0:
            break
        lines.append(line[:place])
        line = line[place:]
    return "\r\n".join([*lines, line, ""]).encode("ascii")


def _from(sender: Sender) -> bytes:
    return folded("From", f"{sender.name} <{sender.address}>")


def _message_id_start(plan: Plan, senders: Sequence[Sender]) -> bytes:
    longest = max(len(sender.domain) for sender in senders)
    fits = len(f"Message-ID: <{0:012d}.{plan.run_id}@>") + longest <= MAX_LINE
    return b"Message-ID: <" if fits else b"Message-ID:\r\n <"


def users_own(plan: Plan) -> list[Piece]:
    """The user's headers in their order; one with alternatives is a table that the column "header N" picks from."""
    pieces: list[Piece] = []
    for number, header in enumerate(plan.workload.headers):
        lines = [folded(header.name, value) for value, _ in header.values]
        pieces.append(lines[0] if len(lines) == 1 else ColumnTable(f"header {number}", lines))
    return pieces


def _refuse_mark(plan: Plan) -> None:
    name = trace_header.HEADER.decode("ascii").rstrip(": ")
    if any(header.name.lower() == name.lower() for header in plan.workload.headers):
        text = f"{name} carries the run's id, the message's number and its checksum, and cannot be set"
        raise PlanError(text, field="headers", flag="--header")

"""The header block of a generated message.

Takes     senders, pools of subjects, the run's id and date, the user's own headers
Gives     a `columns.Layout`: mark first, then Date, From, To, Subject, Message-ID, MIME, the user's, the empty line
Refuses   a header of the user's that would stand in for the mark
Not here  the To addresses (envelopes), the body's type and encoding (bodies)

{name} in a header of the user's is the value of that column for the recipient, where recipients come from a file; {{
and }} are braces there.
A header of the user's replaces ours of the same name: RFC 5322 section 3.6 allows one Date, From, To, Subject and
Message-ID. Lines are folded to 78 where they have a place to fold (2.1.1). Values beyond ASCII become encoded words
(RFC 2047), so that no server needs SMTPUTF8 for them.
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from email.header import Header as EncodedHeader
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mboxgen import streams
from trafficgen.errors import PlanError
from trafficgen.plan import Header, Plan, Workload
from trafficgen.plan.refusals import shown
from trafficgen.proof import trace_header
from trafficgen.workload import people
from trafficgen.workload.address_book import given, read_recipients
from trafficgen.workload.columns import Columns, ColumnTable, Digits, Layout, Piece, hexadecimal
from trafficgen.workload.envelopes import Envelopes, Sender
from trafficgen.workload.grid import GRID, NUMBER, Span, digits

MAX_LINE: Final = 78
_BRACES: Final = re.compile(r"(\{\{|\}\})|\{([^{}|]+)\}")
"""A brace that is meant as such, or the name of a column."""

_FOLD: Final = re.compile(r"[ \t]+(?=[^ \t])")

CRLF: Final = b"\r\n"
_OF_EACH: Final = ("to", "message-id")


def header_layout(plan: Plan, date: str, envelopes: Envelopes, content: Sequence[str]) -> Layout:
    """Columns: digits number and crc32; picks subject, and "header N" for N's alternatives; those of the envelopes."""
    _refuse_mark(plan)
    if envelopes.several or plan.workload.recipients:
        refuse_columns(plan)
    pieces: list[Piece] = [*mark_pieces(plan.run_id)]
    for made in _generated(plan, date, envelopes, content).values():
        pieces += made
    return Layout((*pieces, *users_own(plan), CRLF))


def shared_layout(plan: Plan, date: str, envelopes: Envelopes, content: Sequence[str]) -> Layout:
    """What several messages of a sender may share: neither mark nor To nor Message-ID, and no empty line."""
    _refuse_mark(plan)
    pieces: list[Piece] = []
    for name, made in _generated(plan, date, envelopes, content).items():
        pieces += made if name not in _OF_EACH else []
    # The last piece has no octets: where all is the user's own, the number of rows is still that of the senders.
    return Layout((*pieces, *users_own(plan), ColumnTable("sender", [b""] * len(envelopes.senders))))


def signed_layout(plan: Plan, envelopes: Envelopes, signed: Sequence[bytes]) -> Layout:
    """The rest before and behind `signed`, from which the column "signed" picks: mark, To, Message-ID, empty line."""
    generated = _generated(plan, "", envelopes, ())
    own = [piece for name in _OF_EACH for piece in generated.get(name, ())]
    return Layout((*mark_pieces(plan.run_id), ColumnTable("signed", signed), *own, CRLF))


def _generated(plan: Plan, date: str, envelopes: Envelopes, content: Sequence[str]) -> dict[str, list[Piece]]:
    """The lines of our making by name, without those that the user's own stand in for."""
    own = {header.name.lower() for header in plan.workload.headers}
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
    return {name: made for name, made in generated.items() if name not in own}


class UserHeaders:
    """The mark and the user's own headers, for messages that bring the rest themselves."""

    def __init__(self, plan: Plan) -> None:
        _refuse_mark(plan)
        refuse_columns(plan)
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
        workload = plan.workload
        self._thresholds = {
            f"header {number}": streams.cumulative([weight for _, weight in header.values])
            for number, header in enumerate(workload.headers)
            if len(header.values) > 1
        }
        self._filled_in = {
            f"header {number}" for number, one in enumerate(workload.headers) if uses_column(one, workload)
        }
        self._addresses = len(given(workload)) if self._filled_in else 0

    def picks(self, grid: int, recipients: NDArray[np.int64] | None = None) -> dict[str, NDArray[np.int64]]:
        """By layout column, for a whole grid block; `recipients`: places of the messages' recipients in their list."""
        picks = {
            name: streams.choose(streams.raw(self._seed, f"workload/{name}", grid, GRID), thresholds)
            for name, thresholds in self._thresholds.items()
        }
        for name in self._filled_in:
            assert recipients is not None
            picks[name] = picks.get(name, np.zeros(GRID, np.int64)) * self._addresses + recipients
        return picks


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
    if not sender.address.isascii():  # RFC 6532 section 3.2: an address is no place for encoded words
        return f"From: <{sender.address}>\r\n".encode()
    return folded("From", f"{sender.name} <{sender.address}>".lstrip())


def _message_id_start(plan: Plan, senders: Sequence[Sender]) -> bytes:
    longest = max(len(sender.domain) for sender in senders)
    fits = len(f"Message-ID: <{0:012d}.{plan.run_id}@>") + longest <= MAX_LINE
    return b"Message-ID: <" if fits else b"Message-ID:\r\n <"


def users_own(plan: Plan) -> list[Piece]:
    """The user's headers in their order; one with alternatives is a table that the column "header N" picks from."""
    pieces: list[Piece] = []
    for number, header in enumerate(plan.workload.headers):
        values = [value for value, _ in header.values]
        if uses_column(header, plan.workload):
            values = [filled for value in values for filled in _filled_in(value, plan.workload)]
        elif plan.workload.recipients_file is not None:
            values = [_BRACES.sub(lambda found: found[1][0], value) for value in values]
        lines = [folded(header.name, value) for value in values]
        pieces.append(lines[0] if len(lines) == 1 else ColumnTable(f"header {number}", lines))
    return pieces


def uses_column(header: Header, workload: Workload) -> bool:
    """Whether one of its values names a column. PlanError for a name that no column has."""
    path = workload.recipients_file
    if path is None:
        return False
    known = read_recipients(path).columns
    named = [name for value, _ in header.values for literal, name in _BRACES.findall(value) if not literal]
    for name in named:
        if name not in known:
            nearest = get_close_matches(name, known, 1, 0.5)
            hint = f'; did you mean "{{{nearest[0]}}}"' if nearest else f", its columns are {', '.join(known)}"
            text = f'"{path}" has no column for "{{{shown(name)}}}"{shown(hint)}; as text it is "{{{{{shown(name)}}}}}"'
            raise PlanError(text, field="headers", flag=header.flag)
    return bool(named)


def _filled_in(value: str, workload: Workload) -> list[str]:
    """`value` for every recipient; only line ends of a cell are no part of it, as a header holds none."""
    assert workload.recipients_file is not None
    columns = read_recipients(workload.recipients_file).columns
    rows = len(columns["address"])
    parts: list[list[str]] = []
    end = 0
    for found in _BRACES.finditer(value):
        literal, name = found.groups()
        parts += [[value[end : found.start()]] * rows, [literal[0]] * rows if literal else columns[name]]
        end = found.end()
    parts.append([value[end:]] * rows)
    return [" ".join("".join(row).split()) for row in zip(*parts, strict=True)]


def refuse_columns(plan: Plan) -> None:
    """PlanError for headers that name a column, where no message has one recipient's row."""
    for header in plan.workload.headers:
        if uses_column(header, plan.workload):
            text = "a column can stand in the headers of generated messages with one recipient, and in no others"
            raise PlanError(text, field="headers", flag="--header")


def _refuse_mark(plan: Plan) -> None:
    name = trace_header.HEADER.decode("ascii").rstrip(": ")
    if any(header.name.lower() == name.lower() for header in plan.workload.headers):
        text = f"{name} carries the run's id, the message's number and its checksum, and cannot be set"
        raise PlanError(text, field="headers", flag="--header")

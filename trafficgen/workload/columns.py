"""Rows of bytes, made by columns: the cheapest way to put a few thousand messages together.

Takes     numbers as numpy arrays; a layout: constants, digits, tables to pick from, names of ready columns
Gives     digits as matrices, a row a number; rows, joined a part at a time; their octets without joining them
Not here  what the columns mean (envelopes, headers)

Formatting row by row with `%` costs about 1.6 µs a message, more than twice of what it takes here: digits are looked up
four at a time for a whole block, what has a fixed width lies in one matrix with its constants around it, and a row is
one `bytes.join` of few pieces, driven by `map` and `zip`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from operator import add
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Text = NDArray[np.uint8]
"""ASCII of one width, a row a message."""


def _digits(base: int) -> NDArray[np.bytes_]:
    """All numbers of four digits. Made by columns: one by one it took 30 ms of every start."""
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    return digits[np.indices((base,) * 4, np.uint8).reshape(4, -1).T].copy().view("S4").ravel()


_DECIMAL: Final = _digits(10)
_HEXADECIMAL: Final = _digits(16)
_MAX_ROWS: Final = 1 << 20
"""Octets of a table whose every text has its whole row ready."""


def decimal(values: NDArray[np.int64], width: int) -> Text:
    """`values` (below 10^12) as `width` digits each, 12 at most; higher digits are cut off."""
    groups = -(-width // 4)
    digits = np.empty((len(values), groups), dtype="S4")
    for group in range(groups - 1, -1, -1):
        higher = values // 10_000
        digits[:, group] = _DECIMAL[values - higher * 10_000]
        values = higher
    return digits.view(np.uint8)[:, 4 * groups - width :]


def hexadecimal(values: NDArray[np.uint32]) -> Text:
    """`values` as eight lower-case hexadecimal digits each."""
    digits = np.empty((len(values), 2), dtype="S4")
    digits[:, 0] = _HEXADECIMAL[values >> 16]
    digits[:, 1] = _HEXADECIMAL[values & 0xFFFF]
    return digits.view(np.uint8)


def strings(text: Text) -> NDArray[np.bytes_]:
    """One string per row, without NULs at its end."""
    return np.ascontiguousarray(text).view(f"S{text.shape[1]}").ravel()


class Digits(NamedTuple):
    """A piece of a row that is as wide in every row."""

    key: str
    width: int


class ColumnTable(NamedTuple):
    """A piece of a row that is one of several texts; the column `key` says which."""

    key: str
    texts: Sequence[bytes]


Piece = bytes | str | Digits | ColumnTable
"""A constant, the name of a column of ready texts, digits, or a table to pick from."""


_Column = bytes | list[bytes] | NDArray[np.bytes_] | NDArray[np.object_]
"""What a part of a layout is in every row: a constant, ready texts, strings, or references to texts of a table."""


class Columns(NamedTuple):
    """Entries for a layout, one per row: places in its tables, digits, ready texts."""

    picks: Mapping[str, NDArray[np.int64]]
    digits: Mapping[str, Text]
    texts: Mapping[str, list[bytes]]

    def with_more(self, picks: Mapping[str, NDArray[np.int64]], digits: Mapping[str, Text]) -> "Columns":
        """These and others beside them."""
        return self._replace(picks={**self.picks, **picks}, digits={**self.digits, **digits})


class Layout:
    """What a row is made of, with constants grown into their neighbours so that little is left to join."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        merged: list[Piece] = []
        for piece in pieces:
            whole = _merge(merged[-1], piece) if merged else None
            if whole is None:
                merged.append(piece)
            else:
                merged[-1] = whole
        self._parts = list(_parts(merged))
        tables = [piece for piece in merged if isinstance(piece, ColumnTable)]
        self._lengths = [(table.key, np.fromiter(map(len, table.texts), np.int64)) for table in tables]
        self._texts = [piece for piece in merged if isinstance(piece, str)]
        constants = sum(len(piece) for piece in merged if isinstance(piece, bytes))
        self._fixed_octets = constants + sum(piece.width for piece in merged if isinstance(piece, Digits))

    def rows(self, columns: Columns) -> "Rows":
        """One row per entry of the columns; all that the layout names must be there, all of one length."""
        return Rows([part(columns) for part in self._parts])

    def octets(self, columns: Columns) -> NDArray[np.int64]:
        """How long each row will be; digits need not be there."""
        total: NDArray[np.int64] = np.array(self._fixed_octets)
        for key, lengths in self._lengths:
            total = total + lengths[columns.picks[key]]
        for name in self._texts:
            total = total + np.fromiter(map(len, columns.texts[name]), np.int64)
        return total


class Rows:
    """Rows by their parts, not joined yet."""

    def __init__(self, columns: Sequence[_Column]) -> None:
        self._columns = columns

    def part(self, part: slice) -> list[bytes]:
        """Some of them, each as one bytes object."""
        taken = [_entries(column, part) for column in self._columns]
        if len(taken) == 2:
            return list(map(add, *taken))  # a third of what join takes
        return list(map(b"".join, zip(*taken, strict=False)))


def _entries(column: _Column, part: slice) -> Iterable[bytes]:
    if isinstance(column, bytes):
        return repeat(column)
    taken = column[part]
    return taken if isinstance(taken, list) else taken.tolist()


class _Picked:
    """A table's texts, as they are."""

    def __init__(self, table: ColumnTable) -> None:
        self._key = table.key
        self._texts = np.array(table.texts, dtype=object)

    def __call__(self, columns: Columns) -> _Column:
        return self._texts[columns.picks[self._key]]


class _Constant:
    """The same in every row."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def __call__(self, columns: Columns) -> _Column:
        return self._text


class _TextColumn:
    """A column of ready texts."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, columns: Columns) -> _Column:
        return columns.texts[self._name]


class _Matrix:
    """Constants and digits, each in its place, and maybe a table's texts after them, which NULs make equally wide.

    Objects are what costs: one string of three hundred octets is made in less time than three that are joined.
    """

    def __init__(self, fixed: Sequence[bytes | Digits], end: ColumnTable | None) -> None:
        self._digits: list[tuple[str, slice]] = []
        template = b""
        for piece in fixed:
            if isinstance(piece, Digits):
                self._digits.append((piece.key, slice(len(template), len(template) + piece.width)))
                piece = b"0" * piece.width
            template += piece
        self._end = self._rows = None
        self._template = np.frombuffer(template, np.uint8)
        self._width = len(template)
        if end is not None:
            texts = np.array(end.texts, dtype=np.bytes_)
            self._end = end.key, texts.view(np.uint8).reshape(len(texts), -1)
            self._width += texts.itemsize
            if len(texts) * self._width <= _MAX_ROWS:
                fixed_part = np.broadcast_to(self._template, (len(texts), len(template)))
                self._rows = end.key, np.hstack([fixed_part, self._end[1]])

    def __call__(self, columns: Columns) -> _Column:
        text = self._without_digits(columns)
        for key, place in self._digits:
            text[:, place] = columns.digits[key]
        return strings(text)

    def _without_digits(self, columns: Columns) -> Text:
        if self._rows is not None:  # half of what putting rows together takes (benchmarks/workload.py)
            key, rows = self._rows
            return rows.take(columns.picks[key], axis=0)
        text = np.empty((len(columns.digits[self._digits[0][0]]), self._width), np.uint8)
        text[:, : len(self._template)] = self._template
        if self._end is not None:
            key, texts = self._end
            text[:, len(self._template) :] = texts[columns.picks[key]]
        return text


_Part = _Constant | _Picked | _TextColumn | _Matrix


def _parts(pieces: Sequence[Piece]) -> Iterator[_Part]:
    fixed: list[bytes | Digits] = []
    for piece in pieces:
        if isinstance(piece, bytes | Digits):
            fixed.append(piece)
            continue
        end = piece if isinstance(piece, ColumnTable) and fixed else None
        yield from _fixed(fixed, end)
        fixed = []
        if isinstance(piece, str):
            yield _TextColumn(piece)
        elif end is None:
            yield _Picked(piece)
    yield from _fixed(fixed, None)


def _fixed(pieces: Sequence[bytes | Digits], end: ColumnTable | None) -> Iterator[_Part]:
    match pieces:
        case []:
            return
        case [bytes() as text]:  # between ready texts; elsewhere it has grown into a table
            yield _Constant(text)
        case _:
            yield _Matrix(pieces, end)


def _merge(left: Piece, right: Piece) -> Piece | None:
    """Both pieces as one, if nothing varies between them."""
    match left, right:
        case bytes(), bytes():
            return left + right
        case bytes(), ColumnTable(key, texts):
            return ColumnTable(key, [left + text for text in texts])
        case ColumnTable(key, texts), bytes():
            return ColumnTable(key, [text + right for text in texts])
        case ColumnTable(key, texts), ColumnTable(other, others) if key == other:
            return ColumnTable(key, [text + more for text, more in zip(texts, others, strict=True)])
    return None

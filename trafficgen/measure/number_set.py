"""Remember which message numbers had an outcome, at one bit each.

Takes     message numbers, 0 or more, in bulk and in any order
Gives     them back sorted, once each; pickles as bitmaps, 8 KiB for every 65,536 numbers touched
Limits    a worker that had 90 million messages holds 11 MB; as 64-bit integers they would be 720 MB
Not here  what the numbers mean (recorder), whether the sink has them (the sink's ledger)
"""

from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from mboxgen.columns import once_each

_CHUNK_BITS: Final = 16
_CHUNK: Final = 1 << _CHUNK_BITS


class NumberSet:
    """A set of message numbers. Numbers come in blocks, so its bitmaps are dense."""

    __slots__ = ("_chunks",)

    def __init__(self) -> None:
        self._chunks: dict[int, NDArray[np.uint8]] = {}

    def add_many(self, numbers: NDArray[np.int64]) -> None:
        """Put all `numbers` in; one that is already there changes nothing."""
        chunk_of = numbers >> _CHUNK_BITS
        for chunk in once_each(chunk_of).tolist():
            marks = np.zeros(_CHUNK, np.bool_)
            marks[numbers[chunk_of == chunk] & (_CHUNK - 1)] = True
            self._merge(chunk, np.packbits(marks))

    def __ior__(self, other: "NumberSet") -> Self:
        for chunk, bits in other._chunks.items():
            self._merge(chunk, bits)
        return self

    def __len__(self) -> int:
        return sum(int(np.unpackbits(bits).sum()) for bits in self._chunks.values())

    def to_array(self) -> NDArray[np.int64]:
        """All numbers, ascending: 8 bytes each."""
        parts = [
            np.flatnonzero(np.unpackbits(self._chunks[chunk])) + (chunk << _CHUNK_BITS)
            for chunk in sorted(self._chunks)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def _merge(self, chunk: int, bits: NDArray[np.uint8]) -> None:
        if chunk in self._chunks:
            self._chunks[chunk] |= bits
        else:
            self._chunks[chunk] = bits.copy()

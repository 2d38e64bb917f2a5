"""Have the system write to the disk while more is made, and not all of it at the end.

Takes     the stretches of a file as they are written
Gives     the system a hint for every 16 MiB; a corpus smaller than that is left to the flush at its end
Fails     never: it is a hint, and what cannot be written is told by the flush
Not here  the flush itself (generate)

Linux has sync_file_range(2) for this and the standard library does not, so it is called in the C library. Elsewhere the
system decides for itself.
"""

from __future__ import annotations

import sys

_STRETCH = 16 << 20
_WRITE = 2  # SYNC_FILE_RANGE_WRITE: begin to write what is not being written yet, and do not wait for it


class Writeback:
    """What was written to one open file by one process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: list[tuple[int, int]] = []
        self._octets = 0

    def wrote(self, offset: int, octets: int) -> None:
        """Note a stretch; hint at all that were noted once they are worth it."""
        self._waiting.append((offset, octets))
        self._octets += octets
        if self._octets >= _STRETCH:
            for stretch in self._waiting:
                _begin(self._descriptor, *stretch)
            self._waiting.clear()
            self._octets = 0


if sys.platform == "linux":

    def _begin(descriptor: int, offset: int, octets: int) -> None:
        import ctypes

        begin = getattr(ctypes.CDLL(None), "sync_file_range", None)  # not every C library has it
        if begin is not None:
            begin(descriptor, ctypes.c_int64(offset), ctypes.c_int64(octets), ctypes.c_uint(_WRITE))

else:

    def _begin(descriptor: int, offset: int, octets: int) -> None:
        """Leave it to the system."""

"""The ledger on disk: a line for every message taken, there before the message is answered.

    # traffic-gen ledger 2 <boot id> <offset to the time of day, ns>
    9f3a6c1e02b4d857 000000000123 1c291ca3 + 00000042 0001 5d0f8e21 0000012345678901234
    run id           number       CRC-32   what session recipients and their digest, taken at, ns
    # closed 0000012345678999999

    +  taken, the body is whole          !  taken, the body's checksum is wrong
    ~  the reply to what this session handed over last, this message, was never sent

Takes     lines of `LINE_OCTETS` each
Gives     a file that only grows; a sink started again on the same file goes on behind what is there
Limits    one sink a file at a time
Fails     SetupError when the file cannot be had or is something else; OSError when the disk is full, without harm: the
          next line is tried anew
Survives  a killed process, without losing a line: what is stored in a shared mapping belongs to the system the moment
          it is stored, at a tenth of what write(2) costs. A power cut may lose what the system had not written yet
Not here  reading (ledger_reader), what the lines say (ledger)
"""

import fcntl
import mmap
import os
from pathlib import Path
from typing import Final

from trafficgen.boot import boot_id, wall_offset_ns
from trafficgen.clock import now_ns
from trafficgen.errors import SetupError

ANY_MAGIC: Final = b"# traffic-gen ledger "
MAGIC: Final = ANY_MAGIC + b"2 "
CLOSED: Final = b"# closed "
LINE_OCTETS: Final = 84

_WINDOW_OCTETS: Final = 1 << 20
"""Mapped at a time: room for 12,000 messages. A multiple of every page size in use."""


_LINES_END: Final = _WINDOW_OCTETS - LINE_OCTETS
"""The closing line goes behind it, so that a sink on a full disk can still say that it ended."""


class LedgerFile:
    """The writer. `write` one line at a time; `close` says in the file that nothing is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._base = self._position = 0  # of the window in the file, of the next line in the window
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise SetupError(f'cannot write the ledger "{path}": {(error.strerror or str(error)).lower()}') from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._open_window(_end_of_lines(self._file, path))
        except BlockingIOError:
            os.close(self._file)
            raise SetupError(f'another sink writes the ledger "{path}": give each its own') from None
        except BaseException:
            os.close(self._file)
            raise
        self.write(padded(MAGIC + b"%s %019d" % (boot_id().encode("ascii"), wall_offset_ns())))

    def write(self, line: bytes) -> None:
        """Append one line of `LINE_OCTETS` octets, its line end included."""
        position = self._position
        end = position + LINE_OCTETS
        if end > _LINES_END:
            self._open_window(self._base + position)
            position = self._position
            end = position + LINE_OCTETS
        self._window[position:end] = line
        self._position = end

    def close(self) -> None:
        """Write the closing line, which always has room, and cut off what was reserved."""
        self._window[self._position : self._position + LINE_OCTETS] = padded(CLOSED + b"%019d" % now_ns())
        end = self._base + self._position + LINE_OCTETS
        self._window.close()
        os.ftruncate(self._file, end)
        os.close(self._file)

    def _open_window(self, offset: int) -> None:
        """Map the part of the file that begins about `offset`, where the next line goes."""
        base = offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        # Room is reserved before it is mapped: a store into a hole of a full disk would end the process (SIGBUS).
        _reserve(self._file, base, _WINDOW_OCTETS)
        self._window = mmap.mmap(self._file, _WINDOW_OCTETS, offset=base)
        self._base = base
        self._position = offset - base


def padded(text: bytes) -> bytes:
    """`text` as a line of the right length."""
    return text.ljust(LINE_OCTETS - 1) + b"\n"


def _end_of_lines(file: int, path: Path) -> int:
    """Where the next line goes. Behind the last whole line; a torn one is kept, and read as such."""
    size = os.fstat(file).st_size
    if size == 0:
        return 0
    if (begins := os.pread(file, len(MAGIC), 0)) != MAGIC:
        if begins.startswith(ANY_MAGIC):
            raise SetupError(
                f'"{path}" is a ledger of another version, which cannot be gone on with: name another file'
            )
        raise SetupError(f'"{path}" is there and is no ledger: name another file')
    end = size
    while end > 0:
        begin = max(end - _WINDOW_OCTETS, 0)
        if written := os.pread(file, end - begin, begin).rstrip(b"\0"):
            return -(-(begin + len(written)) // LINE_OCTETS) * LINE_OCTETS
        end = begin
    return 0


def _reserve(file: int, offset: int, octets: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, offset, octets)
        return
    end = os.fstat(file).st_size
    while end < offset + octets:
        end += os.pwrite(file, bytes(min(offset + octets - end, 1 << 20)), end)

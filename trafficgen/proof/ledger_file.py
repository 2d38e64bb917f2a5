"""The ledger on disk: a line for every message taken, there before the message is answered.

    # traffic-gen ledger 2 <boot id> <offset to the time of day, ns>
    9f3a6c1e02b4d857 000000000123 1c291ca3 + 00000042 0001 5d0f8e21 0000012345678901234
    run id           number       CRC-32   what session recipients and their digest, taken at, ns
    # closed 0000012345678999999

    +  taken, the body is whole          !  taken, the body's checksum is wrong
    ~  the reply to what this session handed over last, this message, was never sent

Takes     lines of `LINE_OCTETS` each
Gives     a file that only grows; a sink started again on the same file goes on behind what is there; the lines of this
          sink, many at a time, to whoever counts them
Limits    one sink a file at a time
Fails     SetupError when the file cannot be had or is something else; OSError when the disk is full, without harm: the
          next line is tried anew
Survives  a killed process, without losing a line: what is stored in a shared mapping belongs to the system the moment
          it is stored, at a tenth of what write(2) costs. A power cut may lose what the system had not written yet.
          Any number of open files: the descriptor that a window takes is kept back
Not here  reading (ledger_reader), what the lines say (ledger)
"""

import fcntl
import mmap
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from trafficgen.clock import now_ns
from trafficgen.errors import SetupError, reason_of
from trafficgen.host.machine_clock import boot_id, wall_offset_ns

ANY_MAGIC: Final = b"# traffic-gen ledger "
MAGIC: Final = ANY_MAGIC + b"2 "
CLOSED: Final = b"# closed "
LINE_OCTETS: Final = 84

KIND: Final = 39
NUMBER, SESSION, RECIPIENTS = slice(17, 29), slice(41, 49), slice(50, 54)
DIGEST, TAKEN = slice(55, 63), slice(64, 83)
"""Where things stand in a line."""

MAX_RECIPIENTS: Final = 9999
"""Of one message: four digits of its line."""

DAMAGED, UNANSWERED = b"!~"

_WINDOW_OCTETS: Final = 1 << 20
"""Mapped at a time: room for 12,000 messages. A multiple of every page size in use."""


class LedgerFile:
    """The writer. `write` one line at a time; `close` says in the file that nothing is missing.

    `read` is given all lines but the first and the closing one, when a window is full and on `pass_on`.
    """

    def __init__(self, path: Path, read: Callable[[bytes], None] = lambda _lines: None) -> None:
        self.path = path
        self._read = read
        self._window: mmap.mmap | None = None
        self._base = self._passed = 0  # of the window in the file; in the window, what was passed on
        self._spare: int | None = None  # a descriptor that the next window can have, however many files are open
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise SetupError(f'cannot write the ledger "{path}": {reason_of(error)}') from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._open_window(_end_of_lines(self._file, path))
        except BlockingIOError:
            os.close(self._file)
            raise SetupError(f'another sink writes the ledger "{path}": give each its own') from None
        except BaseException:
            self._give_up_spare()
            os.close(self._file)
            raise
        self.write(padded(MAGIC + b"%s %019d" % (boot_id().encode("ascii"), wall_offset_ns())))
        self._passed = self._position

    def write(self, line: bytes) -> None:
        """Append one line of `LINE_OCTETS` octets, its line end included."""
        try:
            self._store(line)
        except ValueError:  # the window is full
            self._open_window(self._base + self._position)
            self._store(line)

    def pass_on(self) -> None:
        """Give what was written since the last time to the one who reads it."""
        if self._window is not None and self._position > self._passed:
            written = self._window[self._passed : self._position]
            self._passed = self._position
            self._read(written)

    def close(self) -> None:
        """Write the closing line, which always has room, and cut off what was reserved."""
        self.pass_on()
        end = self._base + self._position
        if self._window is not None:
            self._window.close()
        self._give_up_spare()
        os.pwrite(self._file, padded(CLOSED + b"%019d" % now_ns()), end)
        os.ftruncate(self._file, end + LINE_OCTETS)
        os.close(self._file)

    @property
    def _position(self) -> int:
        """Of the next line in the window."""
        return self._window.tell() if self._window is not None else 0

    def _open_window(self, offset: int) -> None:
        """Map the part of the file that begins about `offset`, where the next line goes."""
        base = offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        # Room is reserved before it is mapped: a store into a hole of a full disk would end the process (SIGBUS). And
        # for one line more, so that a sink on a full disk can still say that it ended.
        _reserve(self._file, base, _WINDOW_OCTETS + LINE_OCTETS)
        self._give_up_spare()
        try:
            window = mmap.mmap(self._file, _WINDOW_OCTETS, offset=base)  # has a descriptor of its own
            window.seek(offset - base)
            self.pass_on()
            self._window = window
            self._base = base
            self._passed = offset - base
            self._store: Callable[[bytes], object] = window.write  # the window before is closed here
        finally:
            with suppress(OSError):  # a thread was faster; the next window asks again
                self._spare = os.dup(self._file)

    def _give_up_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            os.close(spare)


def padded(text: bytes) -> bytes:
    """`text` as a line of the right length."""
    return text.ljust(LINE_OCTETS - 1) + b"\n"


def _end_of_lines(file: int, path: Path) -> int:
    """Where the next line goes. Behind the last whole line; a torn one is kept, and read as such."""
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        raise SetupError(f'cannot write the ledger "{path}": expected a file, found a pipe or device')
    size = status.st_size
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

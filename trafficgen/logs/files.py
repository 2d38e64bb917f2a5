"""Log files as they lie about: plain or packed, rotated, still growing.

Takes     paths in any order; gzip, bzip2, xz and zstd are told by their first octets; `-` is the standard input
Gives     lines without their ends, a block at a time; the files of a rotated set in the order of their time; a
          growing file across its rotation
Limits    a line is cut at 1 MiB
Fails     ResultsError for a file that cannot be read. One that is cut off gives what it has, and says so
Not here  what a line says (lines)
"""

import bz2
import gzip
import lzma
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from trafficgen.errors import ResultsError, reason_of
from trafficgen.logs.lines import LineReader

BLOCK_OCTETS: Final = 1 << 20
_LINES_BEFORE_THE_FIRST_STAMP: Final = 1000


class _Packing(NamedTuple):
    magic: bytes
    open: Callable[[IO[bytes]], IO[bytes]]


def _open_gzip(file: IO[bytes]) -> IO[bytes]:
    opened: Any = gzip.GzipFile(fileobj=file)
    return opened  # type: ignore[no-any-return]


def _open_zstd(file: IO[bytes]) -> IO[bytes]:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            zstd: Any = import_module(name)
        except ImportError:
            continue
        opened: IO[bytes] = zstd.open(file)
        return opened
    raise ResultsError(
        "a log packed with zstd needs Python 3.14 or the package backports.zstd (the extra `zstd`); or unzstd it first"
    )


_PACKINGS: Final = (
    _Packing(b"\x1f\x8b", _open_gzip),
    _Packing(b"BZh", bz2.BZ2File),
    _Packing(b"\xfd7zXZ", lzma.LZMAFile),
    _Packing(b"\x28\xb5\x2f\xfd", _open_zstd),
)


@dataclass(slots=True)
class LogFile:
    """One file. `cut_off`: it is packed, and ended in the middle of a block."""

    path: Path
    near_ns: int
    """When it was last changed, for stamps without a year."""
    cut_off: bool = False

    def blocks(self) -> Iterator[list[bytes]]:
        """All lines, those of about a MiB at a time."""
        rest = b""
        with ExitStack() as opened:
            file = self._open(opened)
            while block := self._block(file):
                lines = (rest + block).split(b"\n")
                rest = lines.pop()
                if len(rest) > BLOCK_OCTETS:
                    lines.append(rest[:BLOCK_OCTETS])
                    rest = b""
                yield lines
        if rest:
            yield [rest]

    def _block(self, file: IO[bytes]) -> bytes:
        try:
            return file.read(BLOCK_OCTETS)
        except (EOFError, zlib.error, lzma.LZMAError):
            self.cut_off = True
            return b""
        except OSError as error:
            if error.errno is None:  # the packed stream's, not the disk's
                self.cut_off = True
                return b""
            raise ResultsError(f'cannot read "{self.path}": {reason_of(error)}') from error

    def _open(self, opened: ExitStack) -> IO[bytes]:
        if str(self.path) == "-":
            return sys.stdin.buffer
        try:
            file = opened.enter_context(self.path.open("rb", buffering=0))
            head = file.read(6)
            file.seek(0)
        except OSError as error:
            raise ResultsError(f'cannot read "{self.path}": {reason_of(error)}') from error
        for packing in _PACKINGS:
            if head.startswith(packing.magic):
                return opened.enter_context(packing.open(file))
        return file


def in_order(paths: Iterable[Path], near_ns: int | None = None) -> list[LogFile]:
    """The files by their first time stamp, whatever their names; those without one come first.

    `near_ns`: a time near that of all of them; else it is when each was changed last.
    """
    found = []
    for path in dict.fromkeys(paths):
        file = LogFile(path, near_ns if near_ns is not None else _changed_ns(path))
        found.append((_first_ns(file) if str(path) != "-" else 0, file))
    return [file for _, file in sorted(found, key=lambda pair: pair[0])]


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        if str(path) == "-":
            return time.time_ns()
        raise ResultsError(f'cannot read "{path}": {reason_of(error)}') from error


def _first_ns(file: LogFile) -> int:
    reader = LineReader(file.near_ns)
    probe = LogFile(file.path, file.near_ns)
    for lines in probe.blocks():
        for line in lines[:_LINES_BEFORE_THE_FIRST_STAMP]:
            if (found := reader.read(line)) is not None:
                return found.at_ns
        break
    return 0


class Growing:
    """A plain file that is still written: what has come since the last look, across rotation as `tail -F` does it.

    `from_end`: what is in it at the first look is passed over.
    """

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        self._path = path
        self._from_end = from_end
        self._file: IO[bytes] | None = None
        self._rest = b""

    def new_lines(self) -> list[bytes]:
        """Whole lines that were written since; all of the file at first."""
        octets = self._read()
        if self._rotated():
            octets += self._read()  # written between the last look and the rotation
            if self._file is not None:
                self._file.close()
            self._file = None
            octets += self._read()
        *lines, self._rest = (self._rest + octets).split(b"\n")
        return lines

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _read(self) -> bytes:
        if self._file is None:
            try:
                self._file = self._path.open("rb", buffering=0)
            except FileNotFoundError:  # between a rotation and the first line of the new file
                self._from_end = False
                return b""
            except OSError as error:
                raise ResultsError(f'cannot read "{self._path}": {reason_of(error)}') from error
            if self._from_end:
                self._file.seek(0, os.SEEK_END)
        self._from_end = False
        if os.fstat(self._file.fileno()).st_size < self._file.tell():  # rotated by copying (copytruncate)
            self._file.seek(0)
        return b"".join(iter(lambda: self._file.read(BLOCK_OCTETS) if self._file else b"", b""))

    def _rotated(self) -> bool:
        if self._file is None:
            return False
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        mine = os.fstat(self._file.fileno())
        return (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino)

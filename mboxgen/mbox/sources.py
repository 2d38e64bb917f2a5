"""Octets of mail from wherever they are, as one mapped file.

Takes     an mbox, plain or compressed (gzip, bzip2, xz, zstd); `-` or a pipe; a Maildir; a folder of .eml files
Gives     one read-only map, and for a folder where each message lies in it
Limits    what is not a plain file is first copied into a nameless file in the folder for temporary files (TMPDIR)
Refuses   what is missing, empty, or compressed in a way that cannot be read: MboxError
Not here  where the messages of an mbox begin (scan)

The name decides how a folder is read: with `cur`, `new` and `tmp` in it, it is a Maildir, and so is every folder inside
that has them too (Maildir++); any other folder is one of .eml files. Compressed files are told by their first octets.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import mmap
import os
import shutil
import stat
import sys
import tempfile
import zlib
from array import array
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

_PIECE = 1 << 20
_FROM_LINE = b"From MAILER-DAEMON Thu Jan  1 00:00:00 1970\n"
_MAILDIR = ("cur", "new", "tmp")
_REFUSED = {
    b"PK\x03\x04": "a zip file; unpack it first (unzip)",
    b"!BDN": "an Outlook PST file; convert it first (readpst)",
}


class _Compression(NamedTuple):
    open: Callable[..., Any]
    errors: tuple[type[Exception], ...]


class MboxError(ValueError):
    """What cannot be read as mail; the text says what was expected and what was found."""


class MappedSource(NamedTuple):
    """Mapped octets. `spans`: offset and length of each message (two rows), None where an mbox has to be searched."""

    octets: mmap.mmap
    spans: NDArray[np.int64] | None
    plain: bool
    """Whether the map is of the file itself, and not of a copy."""


def open_source(path: Path, copy: Path | None = None) -> MappedSource:
    """Map what lies under a path; `-` is the standard input. A copy, where one is needed, gets the name `copy`."""
    try:
        if str(path) == "-":
            return MappedSource(_copied(sys.stdin.buffer, path, copy), None, False)
        if path.is_dir():
            return _folder(path, copy)
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISFIFO(mode):
                return MappedSource(_copied(file, path, copy), None, False)
            if not stat.S_ISREG(mode):
                raise MboxError(f'expected an mbox file, "{path}" is neither a regular file nor a pipe')
            compressed = is_compressed(file, path)
            return MappedSource(_copied(file, path, copy) if compressed else _mapped(file, path), None, not compressed)
    except OSError as error:
        raise MboxError(f'cannot read "{path}": {error.strerror or error}') from None


def is_compressed(file: IO[bytes], path: Path) -> bool:
    """Tell whether a file is compressed; MboxError when in a way that cannot be read."""
    compressed = _compression(file.read(6), path) is not None
    file.seek(0)
    return compressed


def message_files(folder: Path) -> list[Path]:
    """Give the files of a Maildir, or the .eml files of any other folder, in the order of their names."""
    found = [inner for inner in sorted({folder, *folder.rglob("*")}) if _is_maildir(inner)]
    if found:
        return [file for inner in found for name in ("cur", "new") for file in sorted((inner / name).iterdir())]
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() == ".eml")
    if not files:
        text = f'expected a Maildir (cur, new, tmp) or a folder of .eml files, "{folder}" has neither'
        raise MboxError(f"{text}; name a file in it")
    return files


def _is_maildir(folder: Path) -> bool:
    return folder.is_dir() and all((folder / name).is_dir() for name in _MAILDIR)


def _folder(path: Path, copy: Path | None) -> MappedSource:
    """Copy all message files into one mbox."""
    ends = array("q")
    with _spool(copy) as spool:
        for name in message_files(path):
            spool.write(_FROM_LINE)
            ends.append(spool.tell())
            with name.open("rb") as file:
                shutil.copyfileobj(file, spool, _PIECE)
            ends.append(spool.tell())
        if not ends:
            raise MboxError(f'expected mail in "{path}", found no message')
        octets = _mapped(spool, path)
    begins, after = np.frombuffer(ends, dtype=np.int64).reshape(-1, 2).T
    return MappedSource(octets, np.stack([begins, after - begins]), False)


def _spool(copy: Path | None) -> IO[bytes]:
    return tempfile.TemporaryFile() if copy is None else copy.open("w+b")


def _copied(file: IO[bytes], path: Path, copy: Path | None) -> mmap.mmap:
    """Map a copy of what comes from a pipe or is compressed, decompressed."""
    head = file.read(6)
    compression = _compression(head, path)
    with _spool(copy) as spool, tempfile.TemporaryFile() as compressed:
        spooled = spool if compression is None else compressed
        spooled.write(head)
        shutil.copyfileobj(file, spooled, _PIECE)
        if compression is not None:
            compressed.seek(0)
            _decompress(compression, compressed, spool, path)
        return _mapped(spool, path)


def _decompress(compression: _Compression, compressed: IO[bytes], spool: IO[bytes], path: Path) -> None:
    try:
        with compression.open(compressed) as plain:
            shutil.copyfileobj(plain, spool, _PIECE)
    except OSError as error:
        if error.errno is not None:  # the disk's, not the stream's
            raise
        raise _damaged(path, error) from None
    except compression.errors as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> MboxError:
    return MboxError(f'cannot decompress "{path}": it is cut off or damaged ({error})')


def _mapped(file: IO[bytes], path: Path) -> mmap.mmap:
    file.flush()
    if os.fstat(file.fileno()).st_size == 0:
        raise MboxError(f'expected an mbox file, "{path}" is empty')
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _compression(head: bytes, path: Path) -> _Compression | None:
    """Give how a file that begins like this is compressed; None when it is not."""
    for magic, words in _REFUSED.items():
        if head.startswith(magic):
            raise MboxError(f'expected an mbox in "{path}", found {words}')
    if head.startswith(b"\x1f\x8b"):
        return _Compression(gzip.open, (EOFError, zlib.error))
    if head.startswith(b"BZh"):
        return _Compression(bz2.open, (EOFError,))
    if head.startswith(b"\xfd7zXZ"):
        return _Compression(lzma.open, (EOFError, lzma.LZMAError))
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        zstd = _zstd(path)
        return _Compression(zstd.open, (EOFError, zstd.ZstdError))
    return None


def _zstd(path: Path) -> Any:
    """Give the module that reads zstd: Python's own since 3.14, or the same one from PyPI."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ImportError:
            continue
    needs = "Python 3.14 or the package backports.zstd (the extra `zstd`)"
    raise MboxError(f'"{path}" is a zstd file, which needs {needs}; or decompress it first (unzstd)')

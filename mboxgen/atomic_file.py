"""Write a file whole or not at all.

Takes     a path, and what is to stand there
Gives     a file to write to; it gets its name when all of it is on the disk, and until then what was there before stays
Limits    what is no regular file (a pipe, a device, /dev/stdout) is written to as it is
Fails     OSError; nothing half-made is left, and an appended file is as long as before
Not here  which option named the path (the caller's error says it)

A symbolic link is followed where the system lets us follow it (Linux refuses those that others planted in a folder like
/tmp, fs.protected_symlinks): the file behind it is replaced and the link stays. The half-made file beside it has a
random name and is opened with O_EXCL, so that nothing that somebody put there beforehand is followed or written to.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

_EXCLUSIVE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_STANDARD: Final = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR: Final = re.compile(r"/(?:dev|proc/self)/fd/(\d{1,6})")
_NAME_CHARACTERS: Final = (
    32  # of the target's name in that of the half-made file: 4 octets each, of 255 that a name has
)


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[IO[bytes]]:
    """A file that becomes `path` when the block ends well. `sync`: on the disk before that, against power cuts."""
    if ((found := _status(path)) is not None and not stat.S_ISREG(found.st_mode)) or _descriptor(path) is not None:
        with _as_it_is(path) as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    beside, descriptor = _create_beside(target)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if found is not None:
                os.fchmod(descriptor, stat.S_IMODE(found.st_mode) & 0o777)  # before there is anything to read in it
            yield file
            file.flush()
            if sync:
                os.fsync(descriptor)
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def is_replaced(path: Path) -> bool:
    """Whether `replacing` can be called again and again: a pipe or a device would get all versions."""
    found = _status(path)
    return _descriptor(path) is None and (found is None or stat.S_ISREG(found.st_mode))


def append(path: Path, octets: bytes, *, sync: bool = False) -> None:
    """Put `octets` behind what is in `path`, all or none of them. One writer at a time."""
    with path.open("ab", buffering=0) as file:
        regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        end = os.fstat(file.fileno()).st_size
        try:
            rest = memoryview(octets)
            while rest:
                rest = rest[file.write(rest) :]
            if sync and regular:
                os.fsync(file.fileno())
        except OSError:
            if regular:
                os.ftruncate(file.fileno(), end)
            raise


def check(path: Path) -> None:
    """Find out that `replacing` would be refused, and change nothing. Room on the disk is not looked at."""
    if _descriptor(path) is not None:
        return
    found = _status(path)
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(21, "is a directory", str(path))
    if found is not None and not os.access(path, os.W_OK):
        raise PermissionError(13, "permission denied", str(path))
    if found is None or stat.S_ISREG(found.st_mode):
        beside, descriptor = _create_beside(Path(os.path.realpath(path)))
        os.close(descriptor)
        beside.unlink()


def _status(path: Path) -> os.stat_result | None:
    """Of what the path leads to; None when that is not there yet. PermissionError for a link we may not follow."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _create_beside(target: Path) -> tuple[Path, int]:
    beside = target.with_name(f".{target.name[:_NAME_CHARACTERS]}.{secrets.token_hex(8)}.part")
    return beside, os.open(beside, _EXCLUSIVE, 0o666)


def _descriptor(path: Path) -> int | None:
    """The open descriptor that a path such as /dev/stdout or /dev/fd/3 stands for."""
    named = _DESCRIPTOR.fullmatch(str(path))
    return int(named[1]) if named else _STANDARD.get(str(path))


@contextmanager
def _as_it_is(path: Path) -> Iterator[IO[bytes]]:
    descriptor = _descriptor(path)
    # Opened anew, /dev/stdout that leads to a file would be written from its beginning, over what stands there.
    # A named pipe that nobody reads is an error (ENXIO) in place of waiting for ever.
    opened = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC) if descriptor is None else os.dup(descriptor)
    if descriptor is None:
        os.set_blocking(opened, True)
    with os.fdopen(opened, "wb") as file:
        yield file

"""Read a file that somebody named, as much of it as can be meant.

Takes     a path, and how much there may be
Gives     its octets, also those of a pipe
Fails     with OSError; also for a device, which may have no end, and for more octets than there may be
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read_limited(path: Path, most: int) -> bytes:
    """What is in the file at `path`."""
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise OSError(errno.EINVAL, "it is a device, not a file", str(path))
        octets = file.read(most + 1)
    if len(octets) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} octets", str(path))
    return octets

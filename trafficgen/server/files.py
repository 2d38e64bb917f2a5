"""Small files of the kernel, read at a third of what `Path.read_text` costs.

Takes     a path
Gives     its text; octets beyond ASCII are replaced
Fails     OSError
Cost      7 µs a file of /proc, in place of 20: an observer reads some hundred each second
"""

import os
from typing import Final

_ROOM: Final = 65536


def text_of(path: str) -> str:
    """All of it: the kernel may give a long one in parts."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(descriptor, _ROOM)
        while more := os.read(descriptor, _ROOM):
            text += more
    finally:
        os.close(descriptor)
    return text.decode("ascii", "replace")

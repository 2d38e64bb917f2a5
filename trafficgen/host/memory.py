"""What this process has freed and the system does not have back yet."""

import ctypes


def give_back() -> None:
    """Hand freed memory back to the system, where the C library has a word for that (malloc_trim(3), glibc).

    glibc keeps what lies below anything in use. Of what a worker needs to write its text that is 8 MB.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

"""The limit of open files of a process (getrlimit(2), RLIMIT_NOFILE)."""

import resource
from typing import Final

SPARE_FILES: Final = 64
"""Open files that are not sessions: pipes, the event loop, modules, a corpus."""


def raise_open_files(sessions: int) -> int:
    """Make room for `sessions` connections as far as the system allows; returns for how many there is room."""
    needed = sessions + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        for limits in ((needed, max(needed, hard)), (min(needed, hard), hard)):
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            except (ValueError, OSError):
                continue  # only root may raise the hard limit
            soft = limits[0]
            break
    return soft - SPARE_FILES

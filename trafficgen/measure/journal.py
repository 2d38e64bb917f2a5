"""Results on disk while the run goes on: what a killed run leaves behind.

Takes     results so far, marked as not complete, and in the end the whole ones
Gives     a file that is at every moment one or the other, never half of one: written beside and moved into place
Limits    spends at most a fiftieth of the time on it: a file that takes 100 ms is written every 5 s
Fails     never while the run goes on: a full disk must not end it; the last write does raise
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.measure.results import Results

_PERIOD_NS: Final = NS_PER_S
_SHARE: Final = 50


class Journal:
    """One results file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._due_ns = 0
        # A device, a pipe or a link is written to as it is, once, at the end.
        self._in_place = path.is_symlink() or (path.exists() and not path.is_file())

    def keep(self, results_so_far: Callable[[], Results]) -> None:
        """Write the state, unless it was written a moment ago."""
        began_ns = now_ns()
        if began_ns < self._due_ns or self._in_place:
            return
        with suppress(OSError):
            self._replace(results_so_far())
        ended_ns = now_ns()
        self._due_ns = ended_ns + max(_PERIOD_NS, _SHARE * (ended_ns - began_ns))

    def close(self, results: Results) -> None:
        """Write the whole results. Raises OSError."""
        if self._in_place:
            self._path.write_text(results.to_json(), encoding="utf-8")
        else:
            self._replace(results)

    def _replace(self, results: Results) -> None:
        beside = self._path.with_name(f".{self._path.name}.part")
        try:
            beside.write_text(results.to_json(), encoding="utf-8")
            beside.replace(self._path)
        finally:
            beside.unlink(missing_ok=True)

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

from mboxgen import atomic_file
from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.errors import OutputError
from trafficgen.host.output import Output
from trafficgen.measure.results import Results

_PERIOD_NS: Final = NS_PER_S
_SHARE: Final = 50


class Journal:
    """One results file. `option` is what named it, for errors."""

    def __init__(self, path: Path, option: str = "--json") -> None:
        self._output = Output(path, option)
        self._due_ns = 0
        # A device or a pipe is written to once, at the end.
        self._once = not atomic_file.is_replaced(path)

    def keep(self, results_so_far: Callable[[], Results]) -> None:
        """Write the state, unless it was written a moment ago."""
        began_ns = now_ns()
        if began_ns < self._due_ns or self._once:
            return
        with suppress(OutputError):
            self._output.write(results_so_far().to_json(), sync=False)
        ended_ns = now_ns()
        self._due_ns = ended_ns + max(_PERIOD_NS, _SHARE * (ended_ns - began_ns))

    def close(self, results: Results) -> None:
        """Write the whole results. Raises OutputError."""
        self._output.write(results.to_json())

"""One line about a run while it goes on.

Takes     the merged snapshot and the elapsed time, some four times a second
Gives     three live lines with a bar on a terminal, else one plain line a second
Never     throws because its stream went away: it falls silent and the run goes on; nor waits for a stream that takes
          nothing (a terminal held with Ctrl-S, a pipe that nobody reads): that state is not shown
Not here  clocks, threads; the summary at the end (to_text)
"""

import os
import select
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TextIO

from mboxgen.counted import number_of, plural
from trafficgen.clock import NS_PER_S
from trafficgen.measure.snapshot import Snapshot
from trafficgen.report import words
from trafficgen.report.to_text import encodable
from trafficgen.units import format_duration

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live as RichLive

_WINDOW_NS: Final = NS_PER_S
_BAR_WIDTH: Final = 40
_PATIENCE_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """What is said at one moment. `done` is the share of the run that is over, 0 to 1."""

    elapsed: str
    outcomes: tuple[str, ...]
    speeds: tuple[str, ...]
    done: float
    left: str

    def __str__(self) -> str:
        return "  ".join((self.elapsed, *self.outcomes, *self.speeds, f"{self.done:.0%}", self.left)).rstrip()


class ProgressLine:
    """Snapshots in, `LiveStatus` out. `planned` messages, `duration_ns` of time, whichever is first; None: no limit."""

    def __init__(self, *, planned: int | None, duration_ns: int | None) -> None:
        self._planned = planned
        self._duration_ns = duration_ns
        self._recent: deque[tuple[int, int, int, int]] = deque([(0, 0, 0, 0)])

    def advance(self, snapshot: Snapshot, elapsed_ns: int) -> LiveStatus:
        """The state after `elapsed_ns`; rates are those of the last second."""
        commands = sum(account.count for account in snapshot.commands.values())
        self._recent.append((elapsed_ns, snapshot.accepted, snapshot.octets, commands))
        while len(self._recent) > 2 and self._recent[1][0] <= elapsed_ns - _WINDOW_NS:
            self._recent.popleft()
        since_ns, *before = self._recent[0]
        per_s = NS_PER_S / max(elapsed_ns - since_ns, 1)
        now = (snapshot.accepted, snapshot.octets, commands)
        rates = [(after - earlier) * per_s for earlier, after in zip(before, now, strict=True)]
        return LiveStatus(
            elapsed=_seconds(elapsed_ns // NS_PER_S),
            outcomes=(*_outcomes(snapshot, *rates[:2]), *_commands(snapshot, rates[2])),
            speeds=_speeds(snapshot),
            done=self._done(snapshot, elapsed_ns),
            left=self._left(snapshot, elapsed_ns),
        )

    def _done(self, snapshot: Snapshot, elapsed_ns: int) -> float:
        by_count = snapshot.started / self._planned if self._planned else 0.0
        by_time = elapsed_ns / self._duration_ns if self._duration_ns else 0.0
        return min(max(by_count, by_time), 1.0)

    def _left(self, snapshot: Snapshot, elapsed_ns: int) -> str:
        left = []
        if self._planned is not None:
            unsent = max(self._planned - snapshot.started, 0)
            left.append(f"{words.count(unsent)} {plural(unsent, 'message')}")
        if self._duration_ns is not None:
            left.append(_seconds(-(min(elapsed_ns - self._duration_ns, 0) // NS_PER_S)))
        return f"{' or '.join(left)} left" if left else ""


class Live:
    """A context manager that shows how a run goes.

    `stream` is usually stderr. `planned` and `duration_ns` as in `ProgressLine`.
    """

    def __init__(
        self,
        *,
        planned: int | None,
        duration_ns: int | None,
        stream: TextIO | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._on_terminal = self._stream.isatty() and environment.get("TERM") != "dumb"
        self._progress = ProgressLine(planned=planned, duration_ns=duration_ns)
        self._seconds_shown = 0
        self._display: RichLive | None = None
        self._gone = False

    def __enter__(self) -> Self:
        if self._on_terminal:
            self._start()
        return self

    def update(self, snapshot: Snapshot, elapsed_ns: int) -> None:
        """Show the run as it is after `elapsed_ns`. In plain mode, what comes within the same second is passed over."""
        status = self._progress.advance(snapshot, elapsed_ns)
        if self._gone or not _takes_more(self._stream):
            return
        try:
            if self._display:
                self._display.update(_drawn(status), refresh=True)
            elif not self._on_terminal and elapsed_ns // NS_PER_S > self._seconds_shown:
                self._seconds_shown = elapsed_ns // NS_PER_S
                self._stream.write(encodable(f"{status}\n", self._stream))
                self._stream.flush()
        except (OSError, ValueError):  # the terminal or pipe went away, or the stream was closed
            self._gone = True

    def line(self, text: str) -> None:
        """Show a line that stays, above what changes."""
        if self._gone or not _takes_more(self._stream):
            return
        try:
            if self._display:
                self._display.console.print(text, markup=False, highlight=False, soft_wrap=True)
            else:
                self._stream.write(encodable(f"{text}\n", self._stream))
                self._stream.flush()
        except (OSError, ValueError):
            self._gone = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._display:
            try:
                if _takes_more(self._stream):
                    self._display.stop()
            except (OSError, ValueError):
                self._gone = True

    def _start(self) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        class OpenEndedConsole(Console):
            """A console that leaves it to us what a broken pipe means; rich would end the process."""

            def on_broken_pipe(self) -> None:
                raise BrokenPipeError

        # Without auto_refresh there is no thread. stdout is left alone: it may carry JSON.
        console = OpenEndedConsole(file=self._stream, highlight=False)
        self._display = RichLive(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        try:
            self._display.start()
        except (OSError, ValueError):
            self._gone = True


class LinesBetween:
    """Lines of what goes on beside the live ones, such as a trace: above them on a terminal, which rich sees to.

    A stream that takes nothing for `_PATIENCE_S` is not waited for: what was left out is counted, and said when it
    takes more.
    """

    def __init__(self) -> None:
        self._left_out = 0

    def __call__(self, line: str) -> None:
        if not _takes_more(sys.stderr, 0.0 if self._left_out else _PATIENCE_S):
            self._left_out += 1
            return
        if self._left_out:
            line = f"*** {number_of(self._left_out, 'line')} left out, as nothing took more\n{line}"
            self._left_out = 0
        sys.stderr.write(encodable(f"{line}\n", sys.stderr))
        sys.stderr.flush()


def _takes_more(stream: TextIO, patience_s: float = 0.0) -> bool:
    """Whether a line can be written without waiting: a pipe that is ready has room for PIPE_BUF octets (pipe(7))."""
    try:
        return bool(select.select([], [stream.fileno()], [], patience_s)[1])
    except (OSError, ValueError):  # no descriptor, or it is gone, which the write will find out
        return True


def _seconds(seconds: int) -> str:
    return f"{seconds} s" if seconds < 100 else format_duration(seconds * NS_PER_S)


def _outcomes(snapshot: Snapshot, messages_per_s: float, octets_per_s: float) -> tuple[str, ...]:
    if snapshot.commands and not snapshot.started:
        return ()
    outcomes = [
        f"{words.rate(messages_per_s)}/s",
        f"{words.size(octets_per_s)}/s",
        f"accepted {words.count(snapshot.accepted)}",
        f"rejected {words.count(snapshot.rejected)}",
        f"failed {words.count(snapshot.failed)}",
    ]
    if snapshot.in_doubt:
        outcomes.append(f"in doubt {words.count(snapshot.in_doubt)}")
    return tuple(outcomes)


def _commands(snapshot: Snapshot, per_s: float) -> tuple[str, ...]:
    if not snapshot.commands:
        return ()
    errors = sum(account.errors for account in snapshot.commands.values())
    return f"commands {words.rate(per_s)}/s", f"errors {words.count(errors)}"


def _speeds(snapshot: Snapshot) -> tuple[str, ...]:
    sessions = f"sessions {words.count(snapshot.sessions_open)}"
    p50, p99 = snapshot.latency.quantiles_ns((0.5, 0.99))
    if p50 is None or p99 is None:
        return (sessions,)
    return sessions, f"p50 {format_duration(p50)}", f"p99 {format_duration(p99)}"


def _drawn(status: LiveStatus) -> "RenderableType":
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        Text(status.elapsed.rjust(7)),
        ProgressBar(total=1.0, completed=status.done, width=_BAR_WIDTH),
        Text(f"{status.done:.0%}"),
        Text(status.left, "dim"),
    )
    lines = (
        Text("  ".join(numbers), overflow="ellipsis", no_wrap=True) for numbers in (status.outcomes, status.speeds)
    )
    return Group(*lines, bar)

"""What `mboxgen` shows on the terminal.

Takes     statistics of mail, or a verdict
Gives     numbers on stdout, progress and talk on stderr
Not here  the numbers themselves (generate, statistics, verify)
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mboxgen.counted import number_of
from mboxgen.recipe.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mboxgen.corpus.verify import CorpusVerdict
    from mboxgen.mbox.reader import Mbox
    from mboxgen.mbox.statistics import Statistics

_BAR = 40
_DRAWN_EVERY_S = 0.1


@contextmanager
def progress(unit: str, quiet: bool) -> Iterator[Callable[..., None]]:
    """Show a bar with rate and time left on stderr while something is made; nothing when stderr is no terminal."""
    from rich import progress as bars

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda *_: None
        return
    columns = (
        bars.BarColumn(), bars.TaskProgressColumn(), bars.TextColumn("{task.completed:,.0f} " + unit),
        bars.TextColumn("{task.fields[octets]}"), bars.TextColumn("{task.fields[rate]}/s"), bars.TimeRemainingColumn(),
    )  # fmt: skip
    # No thread that draws: processes with one thread can fork workers.
    with bars.Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("", total=None, octets="", rate="–")
        drawn_s = 0.0

        def update(done: int, total: int | None = None, octets: int = 0) -> None:
            nonlocal drawn_s
            if (now_s := time.monotonic()) - drawn_s < _DRAWN_EVERY_S:
                return
            drawn_s = now_s
            elapsed = bar.tasks[0].elapsed or 0
            rate = format_size(round(octets / elapsed)) if elapsed > 0 and octets else "–"
            bar.update(task, completed=done, total=total, octets=format_size(octets), rate=rate, refresh=True)

        yield update


def show_statistics(path: Path, found: Statistics) -> None:
    """Show an mbox in numbers, with a histogram of its sizes."""
    console = Console(highlight=False)
    count = found.messages
    console.print(
        f"{escape(_shown(path))}: {number_of(count, 'message')}, {format_size(found.octets)} delivered", soft_wrap=True
    )
    ends = "LF" if found.lf_messages == count else "CRLF" if not found.lf_messages else "CRLF and LF"
    console.print(f"line ends {ends}, index {'used' if found.indexed else 'none, scanned'}")
    for words in (found.note, *found.oddities.in_words()):
        if words:
            console.print(escape(words), soft_wrap=True)
    quantiles = ", ".join(f"p{p} {found.quantile(p):,}" for p in (1, 25, 50, 75, 95, 99))
    mean = found.octets / count
    console.print(f"octets: mean {mean:,.0f}, {quantiles}, max {found.quantile(100):,}", soft_wrap=True)
    console.print(f"header octets: mean {found.header_octets / count:,.0f}")
    _show_histogram(console, found)
    _show_counts(console, "MIME shape", found.shapes.most_common(12), count)
    _show_counts(console, "found", sorted(found.findings.items()), count)


def show_index(path: Path, mbox: Mbox) -> None:
    """Say that an index is there, and what was found on the way."""
    console = Console(stderr=True, highlight=False)
    done = "has an index already" if mbox.indexed else "index written"
    for words in (f"{_shown(path)}: {number_of(len(mbox), 'message')}, {done}", *mbox.oddities.in_words()):
        console.print(escape(words), soft_wrap=True)


def show_verdict(path: Path, verdict: CorpusVerdict) -> None:
    """Say whether a corpus is as it was made."""
    console = Console(highlight=False)
    for finding in verdict.findings:
        console.print(escape(finding), soft_wrap=True)
    if verdict.sound:
        words = f"{number_of(verdict.messages, 'message')}, all as they were made"
    else:
        words = f"{verdict.broken:,} of {number_of(verdict.messages, 'message')} broken" if verdict.broken else "broken"
    console.print(f"{escape(_shown(path))}: {words}", soft_wrap=True)


def _show_histogram(console: Console, found: Statistics) -> None:
    table = Table("size", "messages", "", box=None, pad_edge=False, show_header=False)
    buckets = found.histogram
    most = max(count for _, count in buckets)
    for end, count in buckets:
        bar = "█" * (count * _BAR // most) or ("▏" if count else "")
        table.add_row(f"< {format_size(end)}", f"{count:,}", bar)
    console.print(table)


def _show_counts(console: Console, title: str, rows: list[tuple[str, int]], messages: int) -> None:
    if not rows:
        return
    table = Table(title, "messages", "share", box=None, pad_edge=False)
    for words, count in rows:
        table.add_row(escape(words), f"{count:,}", f"{100 * count / messages:.2f} %")
    console.print(table)


def _shown(path: Path) -> str:
    """Give a path as text even when its octets are not UTF-8."""
    return str(path).encode("utf-8", "replace").decode()

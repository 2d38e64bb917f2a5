"""The live line: right numbers, once a second, and silence when nobody listens any more."""

import io
import os
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from trafficgen.clock import NS_PER_S
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.snapshot import Snapshot, WorkerSnapshot
from trafficgen.report.live import Live, ProgressLine


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    """A pipe whose reader has left."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


class GoneTerminal(Gone):
    def isatty(self) -> bool:
        return True


def snapshot_of(accepted: int, *, rejected: int = 0, failed: int = 0, in_doubt: int = 0) -> Snapshot:
    service = Histogram()
    service.record_many(np.full(accepted, 420_000, np.int64))
    empty = Snapshot.empty()
    worker = WorkerSnapshot(0, 1, 2, Histogram(), Histogram(), 20, 20, 5)
    return replace(
        empty,
        outcomes=(accepted, rejected, 0, failed, in_doubt),
        octets=accepted * 5_000,
        histograms={**empty.histograms, "service": service},
        workers=(worker,),
    )


def test_plain_line_says_all() -> None:
    status = ProgressLine(planned=100_000, duration_ns=None).advance(snapshot_of(4_000, rejected=2, failed=1), NS_PER_S)
    assert str(status) == (
        "1 s  4,000/s  20.0 MB/s  accepted 4,000  rejected 2  failed 1  sessions 20  p50 420 µs  p99 420 µs"
        "  4%  95,997 messages left"
    )


def test_before_the_first_message_nothing_is_known() -> None:
    status = ProgressLine(planned=None, duration_ns=60 * NS_PER_S).advance(Snapshot.empty(), 0)
    assert str(status) == "0 s  0/s  0 B/s  accepted 0  rejected 0  failed 0  sessions 0  0%  60 s left"


def test_messages_in_doubt_are_shown_when_there_are_any() -> None:
    status = ProgressLine(planned=10, duration_ns=None).advance(snapshot_of(1, in_doubt=3), NS_PER_S)
    assert "in doubt 3" in status.outcomes


def test_rate_is_that_of_the_last_second() -> None:
    progress = ProgressLine(planned=None, duration_ns=None)
    for quarter in range(1, 9):
        progress.advance(snapshot_of(1_000 * quarter), quarter * NS_PER_S // 4)
    status = progress.advance(snapshot_of(8_500), 9 * NS_PER_S // 4)
    # From 5,000 at 1.25 s to 8,500 at 2.25 s.
    assert status.outcomes[:2] == ("3,500/s", "17.5 MB/s")


def test_whichever_limit_is_nearer_fills_the_bar() -> None:
    progress = ProgressLine(planned=1_000, duration_ns=100 * NS_PER_S)
    assert progress.advance(snapshot_of(100), 50 * NS_PER_S).done == 0.5
    late = progress.advance(snapshot_of(900), 60 * NS_PER_S)
    assert (late.done, late.left) == (0.9, "100 messages or 40 s left")
    assert progress.advance(snapshot_of(900), 130 * NS_PER_S).left == "100 messages or 0 s left"


def test_plain_mode_writes_one_line_a_second() -> None:
    stream = io.StringIO()
    with Live(planned=None, duration_ns=3 * NS_PER_S, stream=stream) as live:
        for quarter in range(13):
            live.update(snapshot_of(quarter), quarter * NS_PER_S // 4)
    assert [line.split("  ")[0] for line in stream.getvalue().splitlines()] == ["1 s", "2 s", "3 s"]


def test_a_terminal_gets_a_bar_that_is_gone_afterwards() -> None:
    stream = Terminal()
    with Live(planned=1_000, duration_ns=None, stream=stream, environment={"TERM": "xterm"}) as live:
        live.update(snapshot_of(500), NS_PER_S)
        drawn = stream.getvalue()
    assert "accepted 500" in drawn
    assert "50%" in drawn
    assert "━" in drawn
    assert stream.getvalue().endswith("\x1b[2K")


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_lines_that_stay_are_whole_and_above_what_changes(term: str) -> None:
    stream = Terminal()
    wide = "Logi List " * 30 + "[50%]"
    with Live(planned=1_000, duration_ns=None, stream=stream, environment={"TERM": term}) as live:
        live.update(snapshot_of(500), NS_PER_S)
        live.line(wide)
        assert stream.getvalue().rindex(wide) > stream.getvalue().index("accepted 500")
    assert f"{wide}\n" in stream.getvalue()


def test_a_dumb_terminal_gets_plain_lines() -> None:
    stream = Terminal()
    with Live(planned=1_000, duration_ns=None, stream=stream, environment={"TERM": "dumb"}) as live:
        live.update(snapshot_of(500), NS_PER_S)
    assert stream.getvalue().startswith("1 s  500/s")


@pytest.mark.parametrize("stream", [Gone(), GoneTerminal()])
def test_a_reader_that_leaves_stops_nothing(stream: io.StringIO) -> None:
    with Live(planned=1_000, duration_ns=None, stream=stream, environment={"TERM": "xterm"}) as live:
        live.update(snapshot_of(1), NS_PER_S)
        live.update(snapshot_of(2), 2 * NS_PER_S)
        live.line("nobody reads it")


def test_a_closed_stream_stops_nothing() -> None:
    stream = io.StringIO()
    with Live(planned=1_000, duration_ns=None, stream=stream) as live:
        stream.close()
        live.update(snapshot_of(1), NS_PER_S)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_stream_that_takes_nothing_is_not_waited_for(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that nobody reads is full: written to, it would hold up the run for ever."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(1 << 16))
    os.set_blocking(writing, True)
    with os.fdopen(writing, "w") as stream, Live(planned=10, duration_ns=None, stream=stream) as live:
        monkeypatch.setattr(live, "_display", Frozen() if terminal else None)
        live.update(Snapshot.empty(), 2 * NS_PER_S)
        os.close(reading)


class Frozen:
    """A display that must not be drawn."""

    def update(self, *_: object, **__: object) -> None:
        pytest.fail("drawn")

    def stop(self) -> None:
        """At the end, when there is a reader again or none at all."""


def test_one_message_is_not_one_messages() -> None:
    assert ProgressLine(planned=2, duration_ns=None).advance(snapshot_of(1), NS_PER_S).left == "1 message left"

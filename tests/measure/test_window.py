"""The window of a run: what ended in it, over exactly its length."""

import pytest

from trafficgen.engine.account import PHASES
from trafficgen.measure.recorder import Recorder
from trafficgen.measure.snapshot import Snapshot
from trafficgen.measure.window import WindowTracker, difference
from trafficgen.outcomes import Outcome

S, MS = 1_000_000_000, 1_000_000
BEGAN = 7 * S
DOMAINS = ("gmail.com.test", "aol.com.test")


def snapshot(recorder: Recorder, wall_ns: int) -> Snapshot:
    return recorder.snapshot(
        now_ns=BEGAN + wall_ns, cpu_ns=1, wall_ns=wall_ns, sessions_open=1, sessions_opened=1, in_flight=0
    )


def second(recorder: Recorder, at_s: int, messages: int, took_ns: int, outcome: Outcome = Outcome.ACCEPTED) -> None:
    """`messages` that ended in second `at_s`."""
    for number in range(messages):
        end = BEGAN + at_s * S + (number + 1) * S // messages
        row = (at_s * 1_000 + number, outcome, number % 2, -1, end - took_ns, -1, end - took_ns, end, 700)
        recorder.rows.extend(row)


def warmed_up() -> tuple[Snapshot, Snapshot, Snapshot]:
    """A slow first second, two quick ones, a snapshot after each; the last one late, after the goodbyes."""
    recorder = Recorder(2, BEGAN, open_loop=False, phases=PHASES)
    second(recorder, 0, 10, 400 * MS)
    first = snapshot(recorder, S)
    second(recorder, 1, 100, 4 * MS)
    middle = snapshot(recorder, 2 * S)
    second(recorder, 2, 90, 4 * MS)
    second(recorder, 2, 10, 4 * MS, Outcome.REJECTED_TEMPORARY)
    return first, middle, snapshot(recorder, 4 * S)


def test_a_warm_up_is_left_out() -> None:
    watch = WindowTracker(S)
    for seen in warmed_up():
        watch.see(seen)
    window = watch.window(DOMAINS, 3 * S)
    assert window is not None
    assert (window.from_s, window.to_s) == (1.0, 3.0)
    assert (window.messages.started, window.messages.accepted, window.messages.rejected_temporary) == (200, 190, 10)
    assert window.messages.add_up
    assert window.rate.messages_per_s == pytest.approx(95.0)
    assert window.rate.messages_per_hour == pytest.approx(342_000.0)
    assert window.rate.started_per_s == pytest.approx(100.0)
    service = window.latency_ns["service"]
    assert service is not None
    assert service.count == 190
    assert service.max <= 4 * MS * 1.001
    assert window.latency_ns["response"] is None
    assert {name: histogram.count for name, histogram in window.domain_histograms.items()} == {
        "gmail.com.test": 95,
        "aol.com.test": 95,
    }


def test_a_drain_is_left_out() -> None:
    watch = WindowTracker(S, 2 * S)
    for seen in warmed_up():
        watch.see(seen)
    window = watch.window(DOMAINS)
    assert window is not None
    assert (window.from_s, window.to_s, window.messages.accepted) == (1.0, 2.0, 100)


def test_a_window_begins_when_every_worker_has_reached_it() -> None:
    """A snapshot of several workers is as old as the report of the one that spoke last but one: not yet a second."""
    recorder = Recorder(2, BEGAN, open_loop=False, worker=1, phases=PHASES)
    second(recorder, 0, 10, 4 * MS)
    early = snapshot(recorder, 879 * MS)
    _, middle, last = warmed_up()
    watch = WindowTracker(S)
    watch.see(middle + early)
    assert watch.window(DOMAINS) is None
    recorder.rows.extend((900, Outcome.ACCEPTED, 0, -1, BEGAN + S, -1, BEGAN + S, BEGAN + S + 1, 700))
    watch.see(middle + snapshot(recorder, 1_100 * MS))
    watch.see(last + snapshot(recorder, 4 * S))
    window = watch.window(DOMAINS, 3 * S)
    assert window is not None
    assert window.from_s == pytest.approx(1.55)  # one of them had got to 2 s, the other one to 1.1 s
    assert window.messages.accepted == 90


def test_a_window_of_a_run_that_goes_on_reaches_to_now() -> None:
    """A server that stands still must not keep the rate that it had before."""
    first, _, last = warmed_up()
    watch = WindowTracker(S)
    watch.see(first)
    watch.see(last)
    window = watch.window(DOMAINS)
    assert window is not None
    assert window.to_s == 4.0


def test_no_window_before_it_has_any_length() -> None:
    first, middle, _ = warmed_up()
    watch = WindowTracker(S)
    assert watch.window(DOMAINS) is None
    watch.see(snapshot(Recorder(2, BEGAN, open_loop=False, phases=PHASES), S // 2))
    assert watch.window(DOMAINS) is None
    watch.see(first)
    assert watch.window(DOMAINS) is None
    watch.see(middle)
    assert watch.window(DOMAINS) is not None
    assert difference(Snapshot.empty(), Snapshot.empty(), ()) is None


def test_the_difference_to_nothing_is_the_run() -> None:
    _, _, last = warmed_up()
    whole = difference(Snapshot.empty(), last, DOMAINS, 3 * S)
    assert whole is not None
    assert (whole.from_s, whole.to_s, whole.messages.started) == (0.0, 3.0, 210)
    assert whole.histograms["service"] == last.histograms["service"]

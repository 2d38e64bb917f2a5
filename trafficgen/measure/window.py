"""The part of a run that verdicts are made from: without warm-up and without drain.

Takes     snapshots as they come while the run goes on, and where the window lies
Gives     what ended within it: the last snapshot less the one at its beginning, so exact whatever the two are
Limits    a window begins with the first snapshot taken after the time asked for, up to 0.25 s later, and ends with the
          last one before; its length is known exactly and its rates are over that length. It ends with the sending:
          replies that are waited for after that count in it, the waiting does not
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from trafficgen.clock import NS_PER_S
from trafficgen.measure.codec import Seconds
from trafficgen.measure.commands import CommandAccount
from trafficgen.measure.counts import CommandCounts, Latency, MessageCounts, Rate
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Window:
    """What ended between `from_s` and `to_s`, in seconds since the run began. Minima and maxima are those of their
    histogram's buckets, at most 0.1 % away."""

    from_s: Seconds
    to_s: Seconds
    messages: MessageCounts
    rate: Rate
    latency_ns: Mapping[str, Latency | None]
    histograms: Mapping[str, Histogram]
    domain_histograms: Mapping[str, Histogram]
    commands: Mapping[str, CommandCounts] = field(default_factory=dict)
    command_histograms: Mapping[str, Histogram] = field(default_factory=dict)


class WindowTracker:
    """Show it every snapshot of a run. `to_ns` None: the window lasts to the end of the run."""

    def __init__(self, from_ns: int, to_ns: int | None = None) -> None:
        self._from_ns = from_ns
        self._to_ns = to_ns
        self._first: Snapshot | None = None
        self._last: Snapshot | None = None

    def see(self, snapshot: Snapshot) -> None:
        """A snapshot of the whole run."""
        # Every worker must have got there: each reports in its turn, so their times differ by up to 0.25 s.
        times_ns = [worker.wall_ns for worker in snapshot.workers]
        if not times_ns or min(times_ns) < self._from_ns:
            return
        if self._first is None:
            self._first = snapshot
        if self._to_ns is None or max(times_ns) <= self._to_ns or self._last is None:
            self._last = snapshot

    def window(self, domains: Sequence[str], sending_ended_ns: int | None = None) -> Window | None:
        """What has been seen so far; None before the window has any length. `domains`: names by index.

        `sending_ended_ns`: since the run's start; None while the run goes on.
        """
        if self._first is None or self._last is None:
            return None
        return difference(self._first, self._last, domains, sending_ended_ns)


def difference(
    first: Snapshot, last: Snapshot, domains: Sequence[str], sending_ended_ns: int | None = None
) -> Window | None:
    """What ended after `first` and up to `last`; None when that is no time."""
    from_ns, to_ns = _reached_ns(first), _reached_ns(last)
    if sending_ended_ns is not None:
        to_ns = min(to_ns, sending_ended_ns)
    return between(first, last, domains, from_ns, to_ns) if to_ns > from_ns else None


def between(first: Snapshot, last: Snapshot, domains: Sequence[str], from_ns: float, to_ns: float) -> Window:
    """What ended after `first` and up to `last`, which were taken then."""
    nothing = Histogram()
    histograms = {name: later.since(first.histograms.get(name, nothing)) for name, later in last.histograms.items()}
    commands = {name: later.since(first.commands.get(name, CommandAccount())) for name, later in last.commands.items()}
    timed = {
        domains[index]: histogram.since(first.domain_latencies.get(index, nothing))
        for index, histogram in last.domain_latencies.items()
    }
    outcomes = [after - before for before, after in zip(first.outcomes, last.outcomes, strict=True)]
    messages = MessageCounts.of(outcomes, last.octets - first.octets)
    return Window(
        from_s=from_ns / NS_PER_S,
        to_s=to_ns / NS_PER_S,
        messages=messages,
        rate=rate_over(messages, to_ns - from_ns),
        latency_ns={name: Latency.of(histogram) for name, histogram in histograms.items()},
        histograms={name: histogram for name, histogram in histograms.items() if histogram.count},
        domain_histograms={name: histogram for name, histogram in timed.items() if histogram.count},
        commands={name: CommandCounts.of(account, (to_ns - from_ns) / NS_PER_S) for name, account in commands.items()},
        command_histograms={name: account.latency for name, account in commands.items() if account.latency.count},
    )


def _reached_ns(snapshot: Snapshot) -> float:
    """How long the run had lasted. Workers report in turn, so it is the mean of their times that counts."""
    return fmean(worker.wall_ns for worker in snapshot.workers) if snapshot.workers else 0.0


def rate_over(messages: MessageCounts, span_ns: float) -> Rate:
    """What so many messages are a second."""
    per_s = NS_PER_S / span_ns
    return Rate(
        messages_per_s=messages.accepted * per_s,
        messages_per_hour=messages.accepted * per_s * 3600,
        bytes_per_s=messages.bytes * per_s,
        started_per_s=messages.started * per_s,
    )

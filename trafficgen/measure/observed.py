"""What an observer saw of the server, on the clock of the run.

Takes     the observer's lines; which clock the run had
Gives     `ServerSamples`, a part of `Results`: times since the run began, a list of values for each series; gaps
Limits    `MAX_SAMPLES`; beyond, two neighbours become one: the higher of counts and ages, the mean of shares and rates
Fails     ResultsError for a file that is none of an observer's. A last line that is cut off is left out
Not here  looking at a server (server), what it was short of (bottleneck)

On one machine since it was started, observer and run have one monotonic clock, and times are exact. Otherwise they are
mapped by what questions and answers told of both clocks, with its error; or, for a file, by the time of day of both
machines, whose difference nobody knows. `clock` says which.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from trafficgen.clock import NS_PER_S
from trafficgen.errors import ResultsError, reason_of
from trafficgen.measure.clock_offset import ClockExchange, to_ours
from trafficgen.measure.codec import Amount, Seconds

MAX_SAMPLES: Final = 3600
GAP: Final = 5
"""Times its pace that an observer may be silent before that is a gap."""

SHAPE_LIMITS_S: Final = (5, 10, 20, 40, 80, 160, 320, 640, 1280)
"""Those of qshape(1), in seconds in place of minutes: most load tests are over before its first is reached."""

NAME: Final = r"[a-z][A-Za-z0-9_.:-]*"
_SUMMED: Final = ("queue.", "space.", "host.running", "host.blocked", "host.memory")
"""What is so at a moment, of which the higher of two neighbours is kept."""

SeriesName = Annotated[str, msgspec.Meta(pattern=f"^{NAME}$")]
Moment = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]
"""Seconds since the run began; below 0 before it did."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Seconds since the run began in which nothing was seen."""

    from_s: Moment
    to_s: Moment


@dataclass(frozen=True, slots=True)
class QueueShape:
    """How many recipients waited and how long, by domain, when most did. `looked`: messages whose recipients are known,
    of `waiting`."""

    at_s: Moment
    looked: Annotated[int, msgspec.Meta(ge=0)]
    waiting: Annotated[int, msgspec.Meta(ge=0)]
    limits_s: tuple[int, ...]
    domains: Mapping[str, tuple[int, ...]]
    """Of each the counts below the first limit, the second and so on, and beyond the last."""


@dataclass(frozen=True, slots=True)
class RunClock:
    """Which clock a run's times were read from. `wall_offset_ns`: what to add for nanoseconds since 1970."""

    boot_id: str
    began_ns: int
    wall_offset_ns: int


@dataclass(frozen=True, slots=True)
class ServerSamples:
    """All series have a value, or None, for each of `at_s`."""

    source: str
    host: str
    clock: Literal["same", "measured", "time of day"]
    every_s: Seconds
    cost_share: Amount
    """What the observer cost, as a share of one core."""
    at_s: tuple[Moment, ...]
    series: Mapping[SeriesName, tuple[float | None, ...]]
    gaps: tuple[Gap, ...] = ()
    missing: tuple[str, ...] = ()
    """What could not be looked at."""
    clock_error_s: Seconds | None = None
    """Of a measured clock: by how much times may be wrong."""
    shape: QueueShape | None = None

    def check(self) -> None:
        """ValueError when lists that belong together have different lengths, or times go back."""
        if any(after <= before for before, after in pairwise(self.at_s)):
            raise ValueError("at_s: expected times that ascend")
        for name, values in self.series.items():
            if len(values) != len(self.at_s):
                raise ValueError(f"series.{name}: expected {len(self.at_s)} values, got {len(values)}")
        if self.shape and any(len(row) != len(self.shape.limits_s) + 1 for row in self.shape.domains.values()):
            raise ValueError("shape: expected a count for each limit, and one beyond")

    def within(self, name: str, from_s: float, to_s: float) -> list[float]:
        """The values of one series in a stretch of the run."""
        values = self.series.get(name, ())
        return [v for at, v in zip(self.at_s, values, strict=False) if v is not None and from_s <= at <= to_s]


@dataclass(slots=True)
class Recording:
    """What an observer wrote, on its own clock."""

    host: str = ""
    boot_id: str = ""
    every_s: float = 1.0
    mono_ns: list[int] = field(default_factory=list)
    wall_ns: list[int] = field(default_factory=list)
    cost_ns: int = 0
    values: list[dict[str, float]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    exchanges: list[ClockExchange] = field(default_factory=list)
    """Which tell its clock from ours, in order; none where nobody asked."""
    shapes: list[tuple[int, int, "_Shape"]] = field(default_factory=list)
    """With their times by both clocks."""

    def add(self, line: bytes | str) -> bool:
        """One line. False when it is none of an observer's."""
        try:
            entry = _DECODE(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        if entry.samples is not None:
            self.host, self.boot_id, self.every_s = entry.host, entry.boot_id, entry.every_s
        elif entry.values is not None:
            if self.mono_ns and entry.mono_ns <= self.mono_ns[-1]:
                return False
            self.mono_ns.append(entry.mono_ns)
            self.wall_ns.append(entry.wall_ns)
            self.cost_ns += entry.cost_ns
            self.values.append(entry.values)
        if entry.shape is not None:
            self.shapes.append((entry.mono_ns, entry.wall_ns, entry.shape))
        self.missing += [word for word in entry.missing if word not in self.missing]
        return True


_Row = Annotated[tuple[int, ...], msgspec.Meta(min_length=len(SHAPE_LIMITS_S) + 1, max_length=len(SHAPE_LIMITS_S) + 1)]


class _Shape(msgspec.Struct):
    looked: int
    waiting: int
    domains: dict[str, _Row]


class _Line(msgspec.Struct):
    samples: int | None = None
    host: str = ""
    boot_id: str = ""
    every_s: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 1.0
    mono_ns: int = 0
    wall_ns: int = 0
    cost_ns: Annotated[int, msgspec.Meta(ge=0)] = 0
    values: dict[SeriesName, float] | None = None
    missing: list[str] = []
    shape: _Shape | None = None


_DECODE: Final = msgspec.json.Decoder(_Line).decode


def read_recording(path: Path) -> Recording:
    """The file of `observe --write`. ResultsError when it is none."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ResultsError(f'cannot read "{path}": {reason_of(error)}') from error
    recording = Recording()
    if not (recording.add(lines[0]) and recording.boot_id):
        raise ResultsError(f'expected samples of "observe --write", got "{path}"')
    for number, line in enumerate(lines[1:-1], start=2):
        if not recording.add(line):
            raise ResultsError(f'the samples "{path}" are damaged in line {number}')
    return recording


def on_the_runs_clock(recording: Recording, clock: RunClock, source: str) -> ServerSamples:
    """What was seen, since the run began. ResultsError when nothing was."""
    if not recording.mono_ns:
        raise ResultsError(f"the observer ({source}) saw nothing")
    same, error_ns = recording.boot_id == clock.boot_id, None
    began_ns, times = clock.began_ns, recording.mono_ns
    if not same and recording.exchanges:
        times, error_ns = to_ours(recording.mono_ns, recording.exchanges)
    elif not same:
        began_ns, times = clock.began_ns + clock.wall_offset_ns, recording.wall_ns
    at_s, values = _ascending([(at - began_ns) / NS_PER_S for at in times], recording.values)
    every_s = recording.every_s
    gaps = tuple(Gap(before, after) for before, after in pairwise(at_s) if after - before > GAP * every_s)
    span_s = (recording.mono_ns[-1] - recording.mono_ns[0]) / NS_PER_S
    names = sorted({name for one in values for name in one})
    while len(at_s) > MAX_SAMPLES:
        at_s, values = _halved(at_s, values)
        every_s *= 2
    return ServerSamples(
        source=source,
        host=recording.host,
        clock="same" if same else "time of day" if error_ns is None else "measured",
        every_s=every_s,
        cost_share=recording.cost_ns / NS_PER_S / span_s if span_s > 0 else 0.0,
        at_s=tuple(round(at, 3) for at in at_s),
        series={name: tuple(one.get(name) for one in values) for name in names},
        gaps=tuple(Gap(round(gap.from_s, 3), round(gap.to_s, 3)) for gap in gaps),
        missing=tuple(recording.missing),
        clock_error_s=None if error_ns is None else error_ns / NS_PER_S,
        shape=_fullest(recording, began_ns, same=same),
    )


def _fullest(recording: Recording, began_ns: int, *, same: bool) -> QueueShape | None:
    """The shape of when most waited, since the run began; the earliest of these."""
    if not recording.shapes:
        return None
    monos, walls, shapes = zip(*recording.shapes, strict=True)
    times: Sequence[int] = monos if same else walls
    if not same and recording.exchanges:
        times = to_ours(monos, recording.exchanges)[0]
    at_s = [(at - began_ns) / NS_PER_S for at in times]
    found = max(
        ((shape.waiting, -at, shape) for at, shape in zip(at_s, shapes, strict=True) if at >= 0),
        key=lambda one: one[:2],
        default=None,
    )
    if found is None:
        return None
    waiting, before, shape = found
    return QueueShape(round(-before, 3), shape.looked, waiting, SHAPE_LIMITS_S, shape.domains)


def silent_until(samples: ServerSamples, ended_s: float) -> tuple[Gap, ...]:
    """The gaps, with the one from the last sample to the end of the run when the observer died before it."""
    last = samples.at_s[-1] if samples.at_s else 0.0
    return (*samples.gaps, Gap(last, ended_s)) if ended_s - last > GAP * samples.every_s else samples.gaps


def _ascending(at_s: list[float], values: list[dict[str, float]]) -> tuple[list[float], list[dict[str, float]]]:
    """Without those that a clock set back would put before others, or onto the same millisecond."""
    kept: list[float] = []
    kept_values: list[dict[str, float]] = []
    for at, one in zip(at_s, values, strict=True):
        if not kept or round(at, 3) > round(kept[-1], 3):
            kept.append(at)
            kept_values.append(one)
    return kept, kept_values


def _halved(at_s: Sequence[float], values: Sequence[dict[str, float]]) -> tuple[list[float], list[dict[str, float]]]:
    """Two neighbours become one, at the time of the later."""
    pairs = [values[place : place + 2] for place in range(0, len(values), 2)]
    return list(at_s[1::2]) + list(at_s[-1:] if len(at_s) % 2 else ()), [_joined(pair) for pair in pairs]


def _joined(pair: Iterable[dict[str, float]]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for one in pair:
        for name, value in one.items():
            found.setdefault(name, []).append(value)
    return {
        name: max(values) if name.startswith(_SUMMED) else sum(values) / len(values) for name, values in found.items()
    }

"""What an observer saw of the server, in a table and one sentence.

Takes     `Results` with `server`
Gives     a section: the sentence of what it was short of, the drain, the most telling series with mean and highest
Not here  finding it out (measure.bottleneck)
"""

from typing import Final

from mboxgen.counted import number_of
from mboxgen.enums import table_of
from trafficgen.clock import NS_PER_S
from trafficgen.measure.bottleneck import ClientView, Drain, Shortage, Shortfall, drain, find
from trafficgen.measure.observed import ServerSamples, silent_until
from trafficgen.measure.results import Results
from trafficgen.report.section import Row, Section
from trafficgen.report.words import whole_seconds
from trafficgen.units import format_duration

_SHOWN: Final = (
    "queue.depth", "queue.incoming", "queue.active", "queue.deferred", "queue.oldest",
    "host.cpu_busy", "host.cpu_pressure", "host.io_pressure", "host.memory_pressure", "host.cpu_steal",
    "host.running", "host.blocked", "host.listen_overflows",
    "server.cpu", "server.cpu_wait", "server.busiest", "server.blocked", "server.written", "server.faults",
    "server.processes",
)  # fmt: skip
SERVER_QUEUES: Final = ("queue.depth", "queue.incoming", "queue.active", "queue.deferred")
SERVER_LOADS: Final = (
    "host.cpu_busy",
    "host.cpu_pressure",
    "host.io_pressure",
    "host.memory_pressure",
    "host.cpu_steal",
)
"""What the page draws."""

_DISK_PARTS: Final = ("flushes", "await", "busy", "in_flight")
_SHARES: Final = (
    "_pressure",
    "_pressure_full",
    ".busy",
    "cpu_user",
    "cpu_system",
    "cpu_iowait",
    "cpu_steal",
    "cpu_busy",
)
_DURATIONS: Final = ("queue.oldest", "queue.age_p50", "queue.age_p99")

_WORDS: Final = table_of(
    Shortage,
    {
        Shortage.CPU: "the server was short of CPU",
        Shortage.CPU_OF_GENERATOR: "the server was short of CPU, which the generator on its machine used",
        Shortage.CPU_OF_OTHERS: "the server was short of CPU, which others on its machine used",
        Shortage.MEMORY: "the server was short of memory",
        Shortage.DISK: "the server was short of its disk",
        Shortage.CONNECTIONS: "the server refused connections: its listen queue was full (backlog, somaxconn)",
        Shortage.SLOTS: "the server was short of delivery slots, or its next hop was slow: the active queue grew",
        Shortage.QUEUE_MANAGER: "the queue manager did not keep up: the incoming queue grew",
        Shortage.NEXT_HOP: "deliveries were put off, as the next hop did not take them: the deferred queue grew",
        Shortage.ELSEWHERE: "clients waited, and the server's processes neither worked nor waited for CPU or disk: "
        "they slept, or waited for a lock, for DNS, for a filter or for another server",
        Shortage.NOTHING: "the server was short of nothing that was looked at",
        Shortage.UNKNOWN: "what the server was short of cannot be known: neither CPU nor queues were seen",
    },
)


def server_section(results: Results) -> Section:
    """Empty without an observer."""
    samples = results.server
    if samples is None:
        return Section("", "lrr", ())
    to_s = results.run.ended_s
    rows = [row for name in _names(samples) if (row := _row(samples, name, to_s))]
    drained = drain(samples, to_s)
    notes = [
        sentence(find(samples, 0.0, to_s, ClientView.of(results))),
        *([drain_in_words(drained)] if drained else []),
        _source(samples),
    ]
    notes += [
        f"nothing was seen from {whole_seconds(gap.from_s)} to {whole_seconds(gap.to_s)}"
        for gap in silent_until(samples, to_s)
    ]
    if samples.missing:
        notes.append(f"could not be looked at: {', '.join(samples.missing)}")
    return Section("server", "lrr", tuple(rows), ("mean", "highest"), tuple(notes))


def shape_section(results: Results) -> Section:
    """Recipients that waited by domain and age, when most messages did; empty where nobody saw domains."""
    shape = results.server.shape if results.server else None
    if shape is None:
        return Section("", "l", ())
    columns = ("total", *(f"<{limit}s" for limit in shape.limits_s), "more")
    counts = [("all", [sum(column) for column in zip(*shape.domains.values(), strict=True)]), *shape.domains.items()]
    rows = tuple(Row((name, f"{sum(row):,}", *(f"{count:,}" for count in row))) for name, row in counts if row)
    of = (
        f"of {shape.looked:,} of the {number_of(shape.waiting, 'message')}"
        if shape.looked < shape.waiting
        else "of all messages"
    )
    note = f"recipients {of} in the queue {whole_seconds(shape.at_s)} after the run began, when it was fullest, by age"
    return Section("queue by domain and age", "l" + "r" * len(columns), rows, columns, (note,))


def sentence(finding: Shortfall) -> str:
    """What the server was short of, and the numbers that say so."""
    words = _WORDS[finding.shortage]
    numbers = ", ".join(f"{name} {in_words(name, value)}" for name, value in finding.numbers.items())
    return f"{words} ({numbers})" if numbers else words


def in_words(name: str, value: float) -> str:
    """A value of a series, with its unit."""
    if name.endswith(_SHARES):
        return f"{value:.1%}"
    if name in _DURATIONS or name.endswith((".await", ".took")):
        return format_duration(value * NS_PER_S)
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.2f}"


def _names(samples: ServerSamples) -> list[str]:
    disks = sorted({name.split(".")[1] for name in samples.series if name.startswith("disk.")})
    of_disks = [f"disk.{disk}.{part}" for disk in disks for part in _DISK_PARTS]
    metrics = [name for name in samples.series if name.startswith(("metric.", "dovecot."))]
    return [name for name in (*_SHOWN, *of_disks, *metrics) if name in samples.series]


def _row(samples: ServerSamples, name: str, to_s: float) -> Row | None:
    values = samples.within(name, 0.0, to_s)
    if not values or not max(values):
        return None
    return Row((name, in_words(name, sum(values) / len(values)), in_words(name, max(values))))


def drain_in_words(found: Drain) -> str:
    """The queue before, at the end of the sending, and how long until it was back."""
    begin = f"queue: {found.before:,.0f} before, {found.at_end_of_sending:,.0f} when the sending ended"
    rate = f" at {found.per_s:,.0f}/s" if found.per_s else ""
    if found.at_end_of_sending <= found.before:
        return begin  # nothing to drain: `took_s` is the time until the next look
    if found.took_s is None:
        return f"{begin}, {found.left:,.0f} when the observer ended{rate}"
    return f"{begin}, back after {format_duration(found.took_s * NS_PER_S)}{rate}"


def _source(samples: ServerSamples) -> str:
    error = format_duration((samples.clock_error_s or 0.0) * NS_PER_S)
    clock = {
        "same": "on the run's own clock",
        "measured": f"on the run's clock to {error}",
        "time of day": "by the time of day of two machines, whose difference nobody knows",
    }[samples.clock]
    looked = f"looked every {samples.every_s:g} s, for {samples.cost_share:.2%} of a core"
    return f"the observer ({samples.source}) {looked}, {clock}"

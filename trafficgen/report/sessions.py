"""Where the sessions of a run went and how they were kept: targets, TLS, sessions that carry no message.

Takes     `Results`
Gives     the target in words; sections, empty where there is nothing to say
Not here  what became of messages and recipients (sections)
"""

from typing import Final

from trafficgen.measure.results import Results
from trafficgen.report import words
from trafficgen.report.section import Row, Section, Tone
from trafficgen.units import format_duration

MAX_NAMED: Final = 3
"""Of several targets; the others are counted, and have rows of their own."""


def target_in_words(results: Results) -> str:
    """What was asked for, and where that was."""
    if several := results.targets:
        named = [f"{one.target} ({words.share(one.weight, 1)})" for one in several[:MAX_NAMED]]
        more = [f"{len(several) - MAX_NAMED} more"] if len(several) > MAX_NAMED else []
        return ", ".join((*named, *more))
    target, addresses = results.run.target or "the embedded sink", ", ".join(results.run.addresses)
    return f"{target} ({addresses})" if addresses and addresses != target else target


def targets(results: Results) -> Section:
    """Where there are several."""
    sessions = sum(one.sessions for one in results.targets)
    rows = []
    for one in results.targets:
        quantiles = (one.latency_ns.p50, one.latency_ns.p99) if one.latency_ns else (None, None)
        times = [format_duration(value) if value is not None else "–" for value in quantiles]
        cells = (words.share(one.weight, 1), words.share(one.sessions, sessions), words.count(one.sessions))
        counts = (words.count(one.started), words.count(one.accepted))
        rows.append(Row((words.shorten(one.target, 40), *cells, *counts, *times)))
    header = ("wanted", "got", "sessions", "started", "accepted", "p50", "p99")
    return Section("targets", "lrrrrrrr", tuple(rows), header=header)


def tls(results: Results) -> Section:
    """Protected sessions by what was negotiated."""
    rows = [
        Row((one.version, one.cipher, words.count(one.sessions), words.count(one.resumed)))
        for one in sorted(results.tls, key=lambda one: -one.sessions)
    ]
    return Section("TLS", "llrr", tuple(rows), header=("cipher", "sessions", "resumed"))


def idle(results: Results) -> Section:
    """Sessions that carry no message."""
    if (held := results.idle) is None:
        return Section("idle sessions", "lr", ())
    asked = (results.plan.get("session") or {}).get("shape", {}).get("idle_sessions", held.most_held)
    rows = [
        Row((f"held at once, of {words.count(asked)}", words.count(held.most_held))),
        Row(("opened", words.count(held.opened))),
        Row(("lost while held", words.count(held.lost)), tone=Tone.BAD if held.lost else Tone.PLAIN),
        Row(("NOOPs", words.count(held.noops))),
    ]
    return Section("idle sessions", "lr", tuple(rows))

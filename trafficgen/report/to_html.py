"""A page about one or more runs: one file that opens offline, with charts.

Takes     `Results`
Gives     HTML with everything inside: style, script, numbers, and uPlot 1.6.32, which draws the charts (MIT, its
          licence beside it in `page`)
Safe      what a server said reaches the page as JSON and is shown as text; the page loads nothing from anywhere
"""

import json
import shlex
from collections.abc import Sequence
from importlib.resources import files
from math import inf
from typing import Any, Final

from trafficgen.clock import NS_PER_S
from trafficgen.measure.counts import Latency, MessageCounts
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.phases import BEFORE_PHASES
from trafficgen.measure.results import Results
from trafficgen.measure.timeline import Interval
from trafficgen.plan import Stage
from trafficgen.report import words
from trafficgen.report.judged import value_in_words, verdict_of
from trafficgen.report.observed import SERVER_LOADS, SERVER_QUEUES, server_section, shape_section
from trafficgen.report.section import Section, Tone
from trafficgen.report.sections import (
    content_in_words,
    end_in_words,
    load_in_words,
    mailboxes_in_words,
    recipients,
    sends_mail,
)
from trafficgen.report.sessions import idle, target_in_words, targets, tls
from trafficgen.schedule.rates import Ramps

MAX_ROWS: Final = 50
"""Of domains and of replies; the rest is in the results file."""

_STEPS: Final = 10
"""Points of a spectrum for each nine."""

_NOT_DRAWN: Final = ("service_rejected", "response_rejected", "lateness")
"""Stretches of a message that are in the table only."""


def to_html(runs: Sequence[Results]) -> str:
    """The page; several runs are drawn over each other."""
    return _page(page_runs(runs))


def live_page() -> str:
    """The same page, which asks for `runs.json` beside it once a second."""
    return _page(None)


def page_runs(runs: Sequence[Results]) -> list[dict[str, Any]]:
    """What the page's script draws."""
    most = max((_most(run) for run in runs), default=0)
    return [_run(run, most) for run in runs]


def _page(plain: Any) -> str:
    page = files("trafficgen.report").joinpath("page")
    pieces = {
        "/*{uplot.css}*/": page.joinpath("uPlot.min.css").read_text(encoding="utf-8"),
        "/*{page.css}*/": page.joinpath("page.css").read_text(encoding="utf-8"),
        "/*{uplot.js}*/": page.joinpath("uPlot.iife.min.js").read_text(encoding="utf-8"),
        "/*{page.js}*/": page.joinpath("page.js").read_text(encoding="utf-8"),
        # "</script>" in a server's words must not end the script that holds them.
        "/*{runs}*/": json.dumps(plain, allow_nan=False).replace("<", "\\u003c"),
    }
    text = page.joinpath("page.html").read_text(encoding="utf-8")
    for mark, piece in pieces.items():
        text = text.replace(mark, piece)
    return text


def _run(run: Results, most: int) -> dict[str, Any]:
    main = "response" if run.run.model == "open" else "service"
    stretches = words.stretches(run.phases)
    drawn = [name for name in stretches if name in run.histograms and name not in (main, *_NOT_DRAWN)]
    xs = _shares(most)
    judged = run.window or run
    return {
        "name": run.run.id[:8],
        "complete": run.complete,
        "target": target_in_words(run),
        "started_at": f"{run.run.started_at[:10]} {run.run.started_at[11:19]} UTC",
        "rate": f"{words.rate(judged.rate.messages_per_s)}/s",
        "percentiles": list(zip(("p50", "p99"), words.together(_p50_p99(judged.latency_ns[main])), strict=True)),
        "outcomes": f"{_outcomes(judged.messages)}, {_part(run)}",
        "whole": _whole(run),
        "ended": end_in_words(run),
        "verdict": _verdict(run),
        "thresholds": [
            {"text": f"{one.expression}: {value_in_words(one)}", "passed": one.passed} for one in run.thresholds
        ],
        "caveats": [f"{caveat.text}; {caveat.advice}" for caveat in run.caveats],
        "facts": _facts(run),
        "timeline": _timeline(run),
        "server": _server(run),
        "undelivered": _undelivered(run),
        "latency": f"{stretches[main]} time",
        "spectrum": [xs, _spectrum(run.histograms.get(main), xs)],
        "phases": {
            "x": xs,
            "names": [stretches[name] for name in drawn],
            "series": [_spectrum(run.histograms[name], xs) for name in drawn],
        },
        "latencies": _latencies(run, [name for name in run.latency_ns if name in BEFORE_PHASES])
        + _latencies(run, [name for name in run.latency_ns if name not in BEFORE_PHASES]),
        "commands": _commands(run),
        "sections": [made for section in (recipients, tls, idle, targets) if (made := _section(section(run)))],
        "domains": _domains(run),
        "replies": _replies(run),
        "workers": _workers(run),
    }


def _facts(run: Results) -> list[list[str]]:
    """What was run, where, and by what."""
    host = run.host
    mail = [["load", load_in_words(run.plan)], ["content", content_in_words(run.plan, len(run.domains))]]
    facts = [
        *(mail if sends_mail(run) else []),
        *([["mailboxes", mailboxes_in_words(run.mailboxes)]] if run.mailboxes else []),
        ["seed", str(run.run.seed)],
        ["host", f"{host.platform}, {host.cpus} CPUs, Python {host.python}"],
        ["version", f"traffic-gen {run.run.tool_version}"],
    ]
    return facts + ([["command", shlex.join(run.run.command)]] if run.run.command else [])


def _most(run: Results) -> int:
    return max((histogram.count for histogram in run.histograms.values()), default=0)


def _shares(most: int) -> list[float]:
    """1/(1 - p) from p = 0 to where one of `most` values lies above."""
    points, x = [], 1.0
    while x <= most:
        points.append(x)
        x = 10 ** ((len(points)) / _STEPS)
    return points


def _spectrum(histogram: Histogram | None, xs: Sequence[float]) -> list[int | None]:
    """The latency at each of `xs`; None where there are too few values to tell it from the maximum."""
    if histogram is None:
        return [None] * len(xs)
    supported = [x for x in xs if x <= histogram.count]
    found = histogram.quantiles_ns([1 - 1 / x for x in supported])
    # A logarithmic axis has no zero.
    return [max(ns or 1, 1) for ns in found] + [None] * (len(xs) - len(supported))


def _server(run: Results) -> dict[str, Any] | None:
    """What an observer saw, for the charts that have the run's own time axis."""
    if run.server is None:
        return None
    series = run.server.series
    shown = {
        key: [name for name in names if name in series]
        for key, names in (("queue", SERVER_QUEUES), ("load", SERVER_LOADS))
    }
    drawn = {key: {"names": names, "series": [series[name] for name in names]} for key, names in shown.items()}
    return {"at_s": run.server.at_s, **drawn, "words": list(server_section(run).notes), "shape": _shape(run)}


def _section(section: Section) -> dict[str, Any] | None:
    """A section as it is in the summary; None for an empty one."""
    head = [section.title, *(section.header or [""] * (len(section.aligned) - 1))]
    head += [""] * (len(section.aligned) - len(head))
    rows = [[row.tone.value if row.tone is Tone.BAD else "", *row.cells] for row in section.rows]
    return {"title": section.title[:1].upper() + section.title[1:], "head": head, "rows": rows} if rows else None


def _shape(run: Results) -> dict[str, Any] | None:
    section = shape_section(run)
    if not section.rows:
        return None
    return {"head": ["", *section.header], "rows": [["", *row.cells] for row in section.rows], "note": section.notes[0]}


def _undelivered(run: Results) -> list[list[float]] | None:
    delivery = run.delivery
    if delivery is None or not delivery.undelivered:
        return None
    return [[place * delivery.every_s for place in range(len(delivery.undelivered))], list(delivery.undelivered)]


def _timeline(run: Results) -> dict[str, list[Any] | None]:
    intervals = run.timeline
    # The end of a run is seldom that of an interval: its rate is over the part that there was, and a sliver has none.
    if len(intervals) > 1 and run.run.ended_s < intervals[-1].at_s + intervals[-1].span_s / 10:
        intervals = intervals[:-1]
    per_s = [1 / min(max(run.run.ended_s - one.at_s, one.span_s / 10), one.span_s) for one in intervals]
    unsuccessful = [one.rejected_temporary + one.rejected_permanent + one.failed + one.in_doubt for one in intervals]
    return {
        "at_s": [one.at_s for one in intervals],
        "accepted": [one.accepted * each for one, each in zip(intervals, per_s, strict=True)],
        "started": [one.started * each for one, each in zip(intervals, per_s, strict=True)],
        "unsuccessful": [number * each for number, each in zip(unsuccessful, per_s, strict=True)],
        "wanted": _wanted(run, intervals),
        "p50_ns": [one.p50_ns for one in intervals],
        "p99_ns": [one.p99_ns for one in intervals],
    }


def _wanted(run: Results, intervals: Sequence[Interval]) -> list[float] | None:
    """Messages a second that the plan asked for in each interval; None in the closed model."""
    if not (load := run.plan.get("load")):
        return None
    rate, stages = load["rate_per_s"], load.get("stages")
    ramps = Ramps(rate, [Stage(one["duration_ns"], one["rate_per_s"]) for one in stages]) if stages else None
    end_ns = run.plan.get("duration_ns") or inf

    def due(at_s: int) -> float:
        ns = min(at_s * NS_PER_S, end_ns)
        return ramps.integral(int(ns)) if ramps else rate * ns / NS_PER_S

    return [(due(one.at_s + one.span_s) - due(one.at_s)) / one.span_s for one in intervals]


def _verdict(run: Results) -> list[str] | None:
    verdict = verdict_of(run) if run.complete else None
    return [verdict[0], "good" if verdict[1] is Tone.GOOD else "bad"] if verdict else None


def _outcomes(messages: MessageCounts) -> str:
    parts = [f"{words.count(messages.accepted)} of {words.count(messages.started)} accepted"]
    others = (("rejected", messages.rejected_temporary + messages.rejected_permanent), ("failed", messages.failed),
              ("in doubt", messages.in_doubt), ("not started", messages.not_started))  # fmt: skip
    return ", ".join(parts + [f"{words.count(number)} {what}" for what, number in others if number])


def _part(run: Results) -> str:
    """Which part of the run the card's numbers are of."""
    window = run.window
    return f"judged from {window.from_s:.1f} s to {window.to_s:.1f} s" if window else "in the whole run"


def _whole(run: Results) -> str:
    """What is known of the whole run only."""
    parts = [f"whole run: {_outcomes(run.messages)}"] if run.window else []
    if ledger := run.ledger:
        lost = f"{ledger.missing} missing, {ledger.duplicated} duplicated, {ledger.corrupted} corrupted"
        parts.append("ledger clean" if ledger.clean else f"ledger: {lost}")
    return ", ".join(parts)


def _latencies(run: Results, names: Sequence[str]) -> list[list[Any]]:
    """Rows that are meant to be compared, so in one unit."""
    stretches = words.stretches(run.phases)
    found = {name: latency for name in names if (latency := run.latency_ns.get(name))}
    unit = words.unit_for_all(one.p50 for one in found.values())
    return [
        ["", stretches[name], words.count(one.count),
         *(words.in_unit(ns, unit) for ns in (one.mean, one.p50, *_tail(one), one.max))]
        for name, one in found.items()
    ]  # fmt: skip


def _commands(run: Results) -> list[list[Any]]:
    used = {name: one for name, one in run.commands.items() if one.count}
    unit = words.unit_for_all(one.latency_ns.p50 for one in used.values() if one.latency_ns)
    return [
        ["bad" if one.errors else "", name, words.count(one.count), words.count(one.errors),
         words.share(one.errors, one.count), words.rate(one.per_s),
         *(words.in_unit(ns, unit) for ns in _p50_p90_p99_max(one.latency_ns))]
        for name, one in used.items()
    ]  # fmt: skip


def _p50_p90_p99_max(latency: Latency | None) -> tuple[int | None, ...]:
    if latency is None:
        return (None,) * 4
    p90, _, p99, _ = _tail(latency)
    return latency.p50, p90, p99, latency.max


def _tail(latency: Latency) -> list[int | None]:
    """None where too few values were recorded to tell a percentile from the maximum, as in the summary."""
    enough = ((10, latency.p90), (20, latency.p95), (100, latency.p99), (1000, latency.p99_9))
    return [value if latency.count >= least else None for least, value in enough]


def _domains(run: Results) -> list[list[Any]]:
    ranked = sorted(run.domains.items(), key=lambda item: -item[1].weight)[:MAX_ROWS]
    unit = words.unit_for_all(one.latency_ns.p50 for _, one in ranked if one.latency_ns)
    return [
        ["", name, words.share(one.weight, 1), words.share(one.started, run.messages.started),
         words.count(one.started), words.count(one.accepted),
         *(words.in_unit(ns, unit) for ns in _p50_p99(one.latency_ns))]
        for name, one in ranked
    ]  # fmt: skip


def _p50_p99(latency: Latency | None) -> tuple[int | None, int | None]:
    return (latency.p50, latency.p99) if latency else (None, None)


def _replies(run: Results) -> list[list[Any]]:
    replies = [
        ("bad" if one.code >= 400 else "", run.phases[one.phase], str(one.code), one.enhanced, one.count, one.example)
        for one in run.replies
    ]
    failures = [("bad", run.phases[one.phase], one.reason, "", one.count, one.example) for one in run.failures]
    ranked = sorted(replies + failures, key=lambda row: -row[4])[:MAX_ROWS]
    return [[*start, words.count(count), example] for *start, count, example in ranked]


def _workers(run: Results) -> list[list[Any]]:
    workers = run.generator.workers
    waits = [(_p50_p99(one.loop_lag_ns)[1], _p50_p99(one.lateness_ns)[1]) for one in workers]
    unit = words.unit_for_all(ns for two in waits for ns in two if ns is not None)
    return [
        ["", f"worker {one.worker}", f"{one.cpu_share:.0%}", *(words.in_unit(ns, unit) for ns in two),
         words.count(one.sessions_opened)]
        for one, two in zip(workers, waits, strict=True)
    ]  # fmt: skip

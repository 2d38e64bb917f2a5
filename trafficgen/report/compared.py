"""A comparison, in words.

Takes     `RunsCompared`
Gives     a table for people, or the same as JSON
"""

import json

from mboxgen.counted import number_of
from trafficgen.measure.codec import to_plain
from trafficgen.report.judged import quantities_in_words
from trafficgen.report.section import Row, Section
from trafficgen.verdict.comparing import ALPHA, Compared, RunsCompared


def comparison_section(compared: RunsCompared) -> Section:
    """One row a quantity."""
    rows = tuple(Row(_cells(one)) for one in compared.quantities)
    return Section("B / A", "lrrrl", rows, ("A", "B", "ratio", "interval"), (_note(compared), *_queues(compared)))


def comparison_json(compared: RunsCompared) -> str:
    return json.dumps(to_plain(compared), indent=1) + "\n"


def _cells(one: Compared) -> tuple[str, ...]:
    ratio = f"{one.ratio:.3f}×" if one.ratio is not None else "–"
    interval = f"[{one.interval.low:.3f}, {one.interval.high:.3f}]" if one.interval else ""
    return one.name, *quantities_in_words((one.a, one.b), one.kind), ratio, interval


def _queues(compared: RunsCompared) -> tuple[str, ...]:
    if compared.queue_grew is None:
        return ()
    words = [
        f"{side}'s queue grew by {number_of(round(grew), 'message')}" if grew > 0 else f"{side}'s queue did not grow"
        for side, grew in zip("AB", compared.queue_grew, strict=True)
    ]
    return (f"while mail was sent {words[0]}, {words[1]}",)


def _note(compared: RunsCompared) -> str:
    runs = f"{compared.runs_a} run{'s' if compared.runs_a > 1 else ''} of A, {compared.runs_b} of B"
    if any(one.interval for one in compared.quantities):
        return (
            f"{runs}, paired in their order; intervals at {1 - ALPHA:.0%}, which hold if A and B took turns at random: "
            "traffic-gen gate sees to that"
        )
    return f"{runs}: too few for an interval, so a difference may be chance; traffic-gen gate tells the two apart"

"""How a gate by slices ended, in words and as JSON.

Takes     `SlicesEnded`, the design
Gives     sections for people; a document for machines, with every slice
Not here  JUnit, Markdown, history (gated); the page (slices_page)
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from mboxgen.counted import number_of
from trafficgen.measure.codec import to_plain
from trafficgen.measure.histogram import Histogram
from trafficgen.report.gated import as_json, compared_section, comparisons_of, verdict_section
from trafficgen.report.section import Section
from trafficgen.verdict.gating import Side
from trafficgen.verdict.sequence import SliceDesign, SlicesEnded, not_read
from trafficgen.verdict.slices import REASONS, Slice


def slices_sections(ended: SlicesEnded, design: SliceDesign) -> tuple[Section, ...]:
    """The verdict, the comparisons, what was left out."""
    notes = tuple(served_in_words(ended, design))
    made = [verdict_section(ended), compared_section(ended), Section("slices", "l", (), notes=notes)]
    return tuple(section for section in made if section.rows or section.notes)


def served_in_words(ended: SlicesEnded, design: SliceDesign) -> Iterator[str]:
    """What was served, what does not count and why, and what would have been judged with it."""
    lasted_s = sum(one.block.lasted_s for one in ended.counted)
    spent_s = ended.counted[-1].block.spent_s if ended.counted else 0.0
    around = f", {spent_s:.0f} s with what was around them" if spent_s >= lasted_s + 1 else ""
    of_all = f"of at most {design.budget_ns / 1e9:g} s"
    yield f"{number_of(len(ended.counted), 'block')} of four slices in {lasted_s:.0f} s{around}, {of_all}"
    if ended.left_out:
        why = Counter(REASONS[reason] for _, _, reason in ended.left_out)
        words = ", ".join(f"{number} as {reason}" for reason, number in why.most_common())
        yield f"left out: {len(ended.left_out)} of {2 * len(ended.counted)} pairs, {words}"
        if ended.with_all is not None and ended.with_all.verdict is not None:
            others = "; ".join(
                f"{one.metric.name} {one.ratio:.3f}× [{one.interval.low:.3f}, {one.interval.high:.3f}]"
                for one in ended.with_all.comparisons
            )
            yield f"with nothing left out it would be {ended.with_all.verdict.value.upper()}: {others}"
    for name, many in not_read(design, ended.counted).items():
        kept = "; a process that ends takes what it wrote with it, --a-cgroup and --b-cgroup keep it"
        mended = kept if name == "server.written" else ""
        yield f"left out: {many} of {number_of(len(ended.counted), 'block')}, as {name} could not be read{mended}"
    if grew := queues_in_words(ended):
        yield grew
    if ended.joined > 1:
        yield (
            f"blocks are like their neighbours (lag-1 autocorrelation {ended.correlation:.2f}), so {ended.joined} of "
            "them are one observation"
        )


def queues_in_words(ended: SlicesEnded) -> str | None:
    """Whose queue grew from the first block to the last; None where none was looked at."""
    blocks = [one.block for one in ended.counted]
    told = []
    for side in Side:
        depths = [block.queued[side.value] for block in blocks if side.value in block.queued]
        if len(depths) > 1:
            grew = depths[-1] - depths[0]
            told.append(
                f"{side.name}'s queue grew by {number_of(grew, 'message')}"
                if grew > 0
                else f"{side.name}'s queue did not grow"
            )
    return ", ".join(told) or None


def slices_json(ended: SlicesEnded, design: SliceDesign) -> str:
    """All of it; schema version 1."""
    comparisons = comparisons_of(ended)
    return as_json({
        "schema_version": 1,
        "kind": "slices",
        "verdict": ended.verdict.value if ended.verdict else None,
        "exit_code": int(ended.code),
        "reason": ended.reason,
        "rule": str(design.bounds),
        "design": to_plain(design),
        "comparisons": [to_plain(one) for one in comparisons],
        "with_all": to_plain(ended.with_all) if ended.with_all else None,
        "others": [to_plain(one) for one in ended.others],
        "joined": ended.joined,
        "autocorrelation": ended.correlation,
        "left_out": [{"block": block, "pair": pair, "why": why.value} for block, pair, why in ended.left_out],
        "blocks": [
            {
                "slices": [_slice(one) for one in counted.block.slices],
                "why": [why and why.value for why in counted.why],
                "used": to_plain(counted.block.used),
                "messages": to_plain(counted.block.messages),
                "lasted_s": counted.block.lasted_s,
                "queued": to_plain(counted.block.queued),
            }
            for counted in ended.counted
        ],
    })  # fmt: skip


def _slice(one: Slice) -> dict[str, Any]:
    latency = one.latencies.get("latency", Histogram())
    p50, p95, p99 = latency.quantiles_ns((0.5, 0.95, 0.99))
    return {
        "side": one.side.value,
        "seconds": one.seconds,
        "accepted": one.accepted,
        "p50_ns": p50,
        "p95_ns": p95,
        "p99_ns": p99,
        **to_plain(one.disturbance),
        "shards": to_plain(one.shards),
    }

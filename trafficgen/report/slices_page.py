"""A gate by slices as one page: its slices over time, the ratio with its interval closing in, what was left out.

Takes     `SlicesEnded`, the design
Gives     one HTML file that opens offline, with charts as SVG; nothing in it runs
Not here  numbers for machines (sliced)
"""

from collections.abc import Iterator
from html import escape
from itertools import chain

from mboxgen.counted import number_of
from trafficgen.report.gated import compared_section, values_in_words, verdict_in_words, verdict_tone
from trafficgen.report.section import Row, Section
from trafficgen.report.sliced import served_in_words
from trafficgen.report.still_page import Frame, document, label, line, mark, svg, table
from trafficgen.verdict.rule import Better, Metric
from trafficgen.verdict.sequence import SliceDesign, SlicesEnded, interval_history
from trafficgen.verdict.slices import REASONS, Block, Counted, Slice, value


def slices_page(ended: SlicesEnded, design: SliceDesign) -> str:
    """The page."""
    body = [
        f"<header><h1 class={verdict_tone(ended).value}>{verdict_in_words(ended)}</h1></header>",
        f"<p class=verdict>{escape(ended.reason)}</p>",
        table(compared_section(ended)),
        *(chain.from_iterable(_charts(ended, design, metric) for metric in design.metrics)),
        "<h2>What was served, and what does not count</h2>",
        *(f"<p>{escape(line)}</p>" for line in served_in_words(ended, design)),
        f"<p class=hint>The rule, fixed before the first slice: {escape(str(design.bounds))}.</p>",
        *_left_out(ended),
    ]
    return document(f"traffic-gen gate: {verdict_in_words(ended)}", body)


def _left_out(ended: SlicesEnded) -> Iterator[str]:
    if not ended.left_out:
        return
    heads = ("block", "pair", "why", "stolen", "foreign", "woke late p90", "generator", "turned late")
    rows = [
        Row(
            (
                str(block + 1),
                f"{pair + 1}, {one.side.name}" + f", shard {machine}" * bool(one.shards),
                REASONS[why],
                f"{found.stolen:.1%}",
                "–" if found.foreign is None else f"{found.foreign:.1%}",
                f"{found.lag_ns / 1e6:.1f} ms",
                f"{found.generator:.0%}",
                f"{found.late_ns / 1e6:.1f} ms" if one.shards else "–",
            )
        )
        for block, pair, why in ended.left_out
        for one in ended.counted[block].block.slices[2 * pair : 2 * pair + 2]
        for machine, found in enumerate(one.disturbances, 1)
    ]
    yield table(Section(heads[0], "lrlrrrrr", tuple(rows), heads[1:]))


# -- charts ---------------------------------------------------------------------------------------------


def _charts(ended: SlicesEnded, design: SliceDesign, metric: Metric) -> Iterator[str]:
    name = escape(metric.name)
    if not metric.name.startswith("server."):
        yield f"<h2>{name} of each slice <span class=hint>A round, B square, hollow: left out</span></h2>"
        yield _slices_chart(ended, metric.name)
    if ended.judgement is not None:
        yield f"<h2>{name}: B / A and its interval, block by block</h2>"
        yield _ratio_chart(ended, design, metric)


def _slices_chart(ended: SlicesEnded, name: str) -> str:
    points: list[tuple[float, float, Slice, bool]] = []
    at = 0.0
    for counted in ended.counted:
        for place, one in enumerate(counted.block.slices):
            found = value(name, one.side, [Counted(_alone(counted, place), (None, None))])
            if found:
                points.append((at + counted.block.lasted_s * place / 4, found, one, counted.why[place // 2] is None))
        at += counted.block.lasted_s
    if not points:
        return "<p class=hint>nothing was measured</p>"
    frame = Frame(at, [found for _, found, _, _ in points])
    marks = "".join(
        mark(
            (frame.x(x), frame.y(found)),
            one.side.value if kept else f"{one.side.value} out",
            f"{one.side.name}, {x:.0f} s: {values_in_words(name, (found,))[0]}",
        )
        for x, found, one, kept in points
    )
    labels = "".join(label(frame, tick, values_in_words(name, (tick,))[0]) for tick in frame.ticks)
    return svg(f"{name} of each slice", labels + marks, f"0 s to {at:.0f} s")


def _alone(counted: Counted, place: int) -> Block:
    """A block of which this slice is all there is."""
    one = counted.block.slices[place]
    return Block((one, one, one, one), counted.block.used, counted.block.messages)


def _ratio_chart(ended: SlicesEnded, design: SliceDesign, metric: Metric) -> str:
    assert ended.judgement is not None
    history = interval_history(design, ended, metric.name)
    (margin,) = [one.margin_ratio for one in ended.judgement.comparisons if one.metric == metric]
    ends = [end for _, _, *both in history.intervals for end in both]
    frame = Frame(len(history.ratios) - 1, [1.0, margin, *history.ratios, *ends])
    xs = [frame.x(many - 1) for many, *_ in history.intervals]
    upper = [f"{x:.1f},{frame.y(high):.1f}" for x, (*_, high) in zip(xs, history.intervals, strict=True)]
    lower = [f"{x:.1f},{frame.y(low):.1f}" for x, (_, _, low, _) in zip(xs, history.intervals, strict=True)]
    middle = [f"{x:.1f},{frame.y(ratio):.1f}" for x, (_, ratio, _, _) in zip(xs, history.intervals, strict=True)]
    outline = " ".join([*upper, *reversed(lower)])  # of one look alone it is a line
    blocks = "".join(
        mark((frame.x(at), frame.y(ratio)), "b", f"block {at + 1}: {ratio:.3f}×")
        for at, ratio in enumerate(history.ratios)
    )
    marks = (
        f'<polygon class="band" points="{outline}"/><polyline class="ratio" points="{" ".join(middle)}"/>{blocks}'
        + line(frame, 1.0, "one", "1.000×", below=margin > 1)
        + line(frame, margin, "margin", f"{margin:.3f}×", below=margin < 1)
    )
    worse = "below" if metric.better is Better.HIGHER else "above"
    title = f"{metric.name}: B / A, block by block"
    return svg(
        title, marks, f"{number_of(len(history.ratios), 'block')}; {worse} the dashed line, B is worse by the margin"
    )

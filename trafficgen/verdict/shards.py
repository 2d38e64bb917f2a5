"""The verdict of a run that several machines sent together, made from the results of its shards.

Takes     results of all shards
Gives     the merged results, each threshold of theirs judged anew from the sums
Not here  adding them up (measure.merging_shards)
"""

from collections.abc import Sequence

from trafficgen.errors import ResultsError
from trafficgen.measure.merging_shards import merge_shards
from trafficgen.measure.results import Results
from trafficgen.verdict.thresholds import parse_threshold, rejudge


def merged_shards(parts: Sequence[Results], *, partial: bool = False) -> Results:
    """As `merge_shards`, with verdicts. ResultsError also when shards were held to different thresholds."""
    merged = merge_shards(parts, partial=partial)
    asked = {tuple(one.expression for one in part.thresholds) for part in parts}
    if len(asked) > 1:
        raise ResultsError("expected shards that were held to the same thresholds, got different ones")
    try:
        thresholds = [parse_threshold(expression) for expression in asked.pop()]
    except ValueError as error:
        raise ResultsError(f"damaged results: {error}") from error
    return rejudge(thresholds, merged)

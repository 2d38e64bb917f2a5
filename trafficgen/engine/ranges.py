"""Deal out message numbers in the closed model, range by range.

Takes     the shard, how many messages the whole run has (None: only time ends it), how many workers ask
Gives     `next()`: the range for whoever asks next; an empty one when there are no more
Promises  the ranges of all shards of a run have no number in common; with a number of messages, they leave none out
"""

from typing import Final

from trafficgen.plan.shard import RANGE, Shard

_RANGES_EACH: Final = 8


class Ranges:
    """Small enough that all workers end together, large enough that asking costs nothing."""

    def __init__(self, shard: Shard, messages: int | None, workers: int) -> None:
        self._shard = shard
        self._left = None if messages is None else shard.numbers(messages)
        self._size = RANGE if self._left is None else min(max(len(self._left) // (workers * _RANGES_EACH), 1), RANGE)
        self._serial = 0

    def next(self) -> range:
        """The next range."""
        if self._left is not None:
            dealt, self._left = self._left[: self._size], self._left[self._size :]
            return dealt
        self._serial += 1
        return self._shard.block(self._serial - 1)

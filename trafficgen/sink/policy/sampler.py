"""Random choices drawn ahead, so that one costs a `pop`.

Takes     a seed, the stream's name, alternatives with weights
Gives     the same sequence for the same seed and name, whatever else happens
Not here  what the alternatives are (responses, faults)
"""

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from mboxgen import streams

_BLOCK: Final = 1024
_T = TypeVar("_T")


class Sampler(Generic[_T]):
    """Weighted alternatives."""

    __slots__ = ("_alternatives", "_block", "_seed", "_stream", "_thresholds", "ahead")

    def __init__(self, seed: int, stream: str, alternatives: Sequence[_T], weights: Sequence[float]) -> None:
        self._seed = seed
        self._stream = stream
        self._alternatives = alternatives
        self._thresholds = streams.cumulative(weights)
        self._block = 0
        self.ahead: list[_T] = []
        """Drawn already, the next one last: pop it, and `draw` when there is none."""

    def draw(self) -> _T:
        """The next one."""
        if not self.ahead:
            draws = streams.raw(self._seed, self._stream, self._block, _BLOCK)
            self._block += 1
            chosen = streams.choose(draws, self._thresholds)[::-1].tolist()
            self.ahead = [self._alternatives[index] for index in chosen]
        return self.ahead.pop()

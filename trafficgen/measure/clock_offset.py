"""How far the clock of another machine is from ours, from questions and answers.

Takes     of each question: when it left us, when it came there, when the answer left, when that came back
Gives     the offset with its error at each round of questions; in between, a straight line
Source    RFC 5905 section 8 (offset and delay of an exchange), section 10 (of several, the one with the least delay)
Not here  asking (runs.observation, agent)
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class ClockExchange(NamedTuple):
    """One question and its answer, ns: ours, theirs, theirs, ours."""

    asked: int
    received: int
    answered: int
    back: int

    @property
    def offset(self) -> int:
        """What their clock is ahead of ours."""
        return ((self.received - self.asked) + (self.answered - self.back)) // 2

    @property
    def delay(self) -> int:
        """How long it was on its way, there and back; the offset is known to half of this."""
        return (self.back - self.asked) - (self.answered - self.received)


def best(exchanges: Sequence[ClockExchange]) -> ClockExchange:
    """The one that says most: the quickest."""
    return min(exchanges, key=lambda one: one.delay)


def to_ours(theirs_ns: Sequence[int], rounds: Sequence[ClockExchange]) -> tuple[list[int], int]:
    """Times of their clock on ours, and the largest error. `rounds`: the best exchange of each, one at least."""
    base = rounds[0].received
    at = [one.received - base for one in rounds]
    offsets = [one.offset - rounds[0].offset for one in rounds]
    ahead = np.interp([theirs - base for theirs in theirs_ns], at, offsets)
    times = [theirs - rounds[0].offset - round(float(more)) for theirs, more in zip(theirs_ns, ahead, strict=True)]
    return times, max(-(-one.delay // 2) for one in rounds)

"""Distributions of delays.

Takes     "50ms", "uniform:10ms-2s", "exponential:100ms", "lognormal:80ms,0.5"; a seed and the stream's name
Gives     the same delays for the same seed and name
Refuses   with a ValueError anything else
"""

import math
import re
from typing import Final

from trafficgen.units import parse_duration

DISTRIBUTIONS: Final = ("uniform", "lognormal", "exponential")
_DISTRIBUTION: Final = re.compile(f"({'|'.join(DISTRIBUTIONS)}):(.+)")


class Delay:
    """A distribution. `exponential` takes the mean; `lognormal` the median and the standard deviation of the logarithm.

    Nothing heavy is imported until delays are drawn: the command line reads the kinds of faults for its help.
    """

    __slots__ = ("_kind", "_shape", "longest_ns", "text")

    def __init__(self, text: str) -> None:
        """Raises ValueError for anything else."""
        self.text = text
        found = _DISTRIBUTION.fullmatch(text.strip().lower())
        self._kind = found[1] if found else "constant"
        parts = re.split("[-,]", found[2]) if found else [text]
        wanted = {"constant": 1, "exponential": 1, "uniform": 2, "lognormal": 2}[self._kind]
        if len(parts) != wanted:
            raise ValueError(f'expected {wanted} numbers in "{text}"')
        first_ns = parse_duration(parts[0])
        second = 0.0
        if self._kind == "uniform":
            second = parse_duration(parts[1])
            if second < first_ns:
                raise ValueError(f'expected the shorter time first, got "{text}"')
        elif self._kind == "lognormal":
            second = float(parts[1])
            if not 0 <= second <= 10:
                raise ValueError(f'expected a deviation from 0 to 10, got "{text}"')
        self._shape = (float(first_ns), second)
        self.longest_ns = 3600 * 10**9

    def __str__(self) -> str:
        return self.text

    @property
    def never(self) -> bool:
        """Whether it is always no time at all."""
        return self._shape == (0.0, 0.0)

    def block(self, seed: int, stream: str, block: int, count: int) -> list[int]:
        """The delays of one block of a stream, in ns; none is over an hour."""
        first, second = self._shape
        if self._kind == "constant":
            return [min(int(first), self.longest_ns)] * count
        import numpy as np

        from mboxgen import streams

        raw = streams.raw(seed, stream, block, 2 * count)
        draws = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53  # in (0, 1)
        if self._kind == "uniform":
            delays = first + draws[:count] * (second - first)
        elif self._kind == "exponential":
            delays = -np.log(draws[:count]) * first
        else:  # Box and Muller (1958)
            normal = np.sqrt(-2.0 * np.log(draws[:count])) * np.cos(2.0 * math.pi * draws[count:])
            delays = first * np.exp(second * normal)
        return [int(delay) for delay in np.minimum(delays, self.longest_ns).tolist()]

"""Draws that a user makes: the same for the same seed, whatever process he lives in.

Gives     `Chance`: a stream of numbers of one user for one purpose, in eight octets; `interval_ns`
Source    SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014)
Why       numpy's generators take 200 octets and more each, and there are several streams for each of a million users
"""

from math import log, sqrt
from typing import Final

_MASK: Final = (1 << 64) - 1
_STEP: Final = 0x9E3779B97F4A7C15


def mixed(value: int) -> int:
    """64 bits that depend on all 64 bits of `value`."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class Chance:
    """One stream."""

    __slots__ = ("_state",)

    def __init__(self, seed: int, user: int, purpose: int) -> None:
        self._state = mixed((mixed((mixed(seed & _MASK) + user * _STEP) & _MASK) + purpose * _STEP) & _MASK)

    def share(self) -> float:
        """From 0 up to, not including, 1."""
        self._state = (self._state + _STEP) & _MASK
        return (mixed(self._state) >> 11) * 2.0**-53

    def hits(self, percent: int) -> bool:
        """True this often."""
        return self.share() * 100 < percent

    def interval_ns(self, mean_ns: int) -> int:
        """A time whose mean is `mean_ns`, from 0 to twice that.

        imaptest's spread, mean ± mean/2 · sqrt(-ln U), with both ends cut alike so that the mean is kept. (There the
        lower end is at 0 and times are whole seconds: its "1s" comes 1.5 times as often as it says.)
        """
        away = min(mean_ns / 2 * sqrt(-log(1.0 - self.share())), mean_ns)
        return round(mean_ns + away) if self.share() < 0.5 else round(mean_ns - away)

    def rest_of_interval_ns(self, mean_ns: int) -> int:
        """From any moment to the end of the interval that it is in, as if intervals had followed each other for ever.

        A long interval is met more often than a short one (Feller, vol. II, section XI.4). With a first time that is
        merely anywhere below the mean, an eighth of an event too many would come to each user: 4 % more sessions of
        20 minutes in an hour.
        """
        while True:
            interval_ns = self.interval_ns(mean_ns)
            if self.share() * 2 * mean_ns <= interval_ns:
                return int(self.share() * interval_ns)

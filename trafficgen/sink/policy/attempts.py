"""Earlier attempts: greylisting, and recipients whose first attempts fail.

Takes     client, sender, recipient and time of an attempt
Gives     whether this attempt is refused for now
Limits    `MAX_REMEMBERED` of each kind; the oldest are forgotten and then start again
Not here  the reply (policy)
"""

from collections import OrderedDict
from hashlib import blake2b
from typing import Final

MAX_REMEMBERED: Final = 262_144
"""Some 60 MB when full: digests are stored, so that long names take no more room than short ones."""


def _key(*names: bytes) -> bytes:
    return blake2b(b"\0".join(names), digest_size=16).digest()  # no name has a NUL in it


class Attempts:
    """Counts attempts of a sender for a recipient."""

    def __init__(self) -> None:
        self._attempts: OrderedDict[bytes, int] = OrderedDict()

    def fails(self, sender: bytes, recipient: bytes, first: int) -> bool:
        """Whether this attempt is among the `first` ones. After them the pair passes for good."""
        key = _key(sender, recipient)
        attempts = self._attempts.get(key, 0)
        if attempts >= first:
            return False
        self._attempts[key] = attempts + 1
        if len(self._attempts) > MAX_REMEMBERED:
            self._attempts.popitem(last=False)
        return True


class Greylist:
    """Puts off a triplet of client, sender and recipient until it has waited (Harris 2003)."""

    def __init__(self) -> None:
        self._first_ns: OrderedDict[bytes, int] = OrderedDict()

    def defers(self, client: bytes, sender: bytes, recipient: bytes, wait_ns: int, now_ns: int) -> bool:
        """Whether `wait_ns` has not yet passed since the triplet's first attempt."""
        key = _key(client, sender, recipient)
        first_ns = self._first_ns.setdefault(key, now_ns)
        if len(self._first_ns) > MAX_REMEMBERED:
            self._first_ns.popitem(last=False)
        return now_ns - first_ns < wait_ns

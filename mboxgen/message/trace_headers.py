"""Trace headers: the Received fields of a message.

Takes     people, whether the time knows ESMTPS, how many hops and octets a message may have
Gives     Received fields, built once per seed and filled for each message
Not here  the other fields (headers, signatures, extra_fields), who writes to whom (blocks)

There are at most 20: Postfix stops at 50, sendmail at 25. Every time in a message lies in the minute of its Date, so a
trace header is built once and gets its minute when it is used.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from mboxgen import streams

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from mboxgen.text.people import People

VARIANTS = 16
MAX_RECEIVED = 20
LONGEST_HOP = 320  # hosts have at most 26 octets, addresses 52
_Values = tuple[bytes, ...]
_Choice = Callable[[_Values], _Values]
_PLACE = re.compile(rb"%\((.)\)b")
_KEYS = b"dir"  # minute, queue id, recipient
_MINUTE_OCTETS = len(b"Fri, 21 Nov 2025 22:55")
_QUEUE_ID_OCTETS = 10


class TraceHeaders:
    """Trace headers of every length up to `max_hops` hops, in variants."""

    def __init__(self, seed: int, people: People, protocol: bytes, max_hops: int) -> None:
        self._forms: list[tuple[bytes, _Choice]] = []
        fixed, recipients = [], []
        for variant in range(VARIANTS):
            draws = itertools.cycle(streams.raw(seed, "traces", variant, 128).tolist())
            for template in _templates(draws, people, protocol, min(max_hops, MAX_RECEIVED)):
                keys = _PLACE.findall(template)
                # By place and not by name: a third less to do for each message.
                self._forms.append(
                    (_PLACE.sub(b"%b", template), itemgetter(*map(_KEYS.index, keys)) if keys else _nothing)
                )
                filled = {b"d": b"-" * _MINUTE_OCTETS, b"i": b"0" * _QUEUE_ID_OCTETS, b"r": b""}
                fixed.append(len(template % filled))
                recipients.append(keys.count(b"r"))
        self._fixed = np.array(fixed).reshape(VARIANTS, -1)
        self._recipients = np.array(recipients).reshape(VARIANTS, -1)

    def within(
        self,
        variants: NDArray[np.int64],
        hops: NDArray[np.int64],
        recipient_octets: NDArray[np.int64],
        octets: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Choose trace headers of at most so many hops and octets: hops, octets, and places for `filled`."""
        lengths = self._fixed[variants] + self._recipients[variants] * recipient_octets[:, None]
        kept = np.minimum((lengths <= octets[:, None]).sum(axis=1) - 1, np.minimum(hops, lengths.shape[1] - 1))
        kept = np.maximum(kept, 0)
        return kept, np.take_along_axis(lengths, kept[:, None], axis=1)[:, 0], variants * lengths.shape[1] + kept

    def filled(self, places: NDArray[np.int64], values: Iterable[_Values]) -> list[bytes]:
        """Give the fields; `values` are each message's minute, queue id and recipient."""
        forms = map(self._forms.__getitem__, places.tolist())
        return [text % chosen(value) for (text, chosen), value in zip(forms, values, strict=True)]


def _nothing(_: _Values) -> _Values:
    return ()


def _templates(draws: Iterator[int], people: People, protocol: bytes, max_hops: int) -> list[bytes]:
    """Give templates of 0 to `max_hops` hops, for `%` with the keys d (minute), i (queue id) and r (recipient)."""
    hosts = people.hosts
    path = [hosts[next(draws) % len(hosts)] for _ in range(max_hops + 1)]
    hops = [_received(next(draws), path[hop], path[hop - 1], hop, protocol) for hop in range(1, max_hops + 1)]
    return [b"".join(hops[:number]) for number in range(max_hops + 1)]


def _received(draw: int, there: bytes, here: bytes, hop: int, protocol: bytes) -> bytes:
    """One hop; the newest is first and has the latest second."""
    address = b"192.0.2.%d" % (draw % 254 + 1)  # 192.0.2.0/24 is for documentation (RFC 5737)
    second, more = max(48 - 2 * hop, 8), draw >> 8 & 0xFF
    ending = b"; %%(d)b:%02d +0000 (UTC)\r\n" % second
    if hop > 1 and draw >> 16 & 3 == 0:
        return (
            b"Received: by %b (Postfix, from userid %d)\r\n\tid %%(i)b%02x" % (here, draw >> 20 & 0x3FF, more) + ending
        )
    known = b"" if draw >> 17 & 1 else there + b" "
    start = b"Received: from %b (%b[%b])\r\n\tby %b (Postfix) with %b\r\n\tid %%(i)b%02x" % (
        there, known, address, here, protocol, more,
    )  # fmt: skip
    return start + (b"\r\n\tfor <%(r)b>" if hop == 1 or draw >> 18 & 1 else b"") + ending

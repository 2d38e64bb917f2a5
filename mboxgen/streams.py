"""Random streams that give the same integers for ever.

Takes     a seed, the name of a stream, the number of a block
Gives     unsigned 64-bit draws, and pure integer maps of them (below, choose, permutation)
Refuses   a negative seed, a bound that is not positive, weights that are negative or all zero
Not here  what the numbers mean (distributions, message)

Only bit generators and integer arithmetic are used. numpy promises that PCG64DXSM with a fixed seed always
gives the same integers; it makes no such promise for the methods of `Generator`, and libm differs between
machines. A stream is found by what it is (seed, name, block), never by which worker asks.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BLOCK = 4096  # draws per block of the streams that number single things, part of the format
_ROUNDS = 6


def raw(seed: int, stream: str, block: int, count: int) -> NDArray[np.uint64]:
    """Give the first `count` draws of one block of a stream: a pure function of its arguments."""
    if seed < 0:
        raise ValueError(f"seed must be zero or above, got {seed}")
    sequence = np.random.SeedSequence(seed, spawn_key=(stream_number(stream), block))
    return np.random.PCG64DXSM(sequence).random_raw(count)


@lru_cache(maxsize=256)
def stream_number(stream: str) -> int:
    """Turn a stream's name into its spawn key; `hash()` would change with every process."""
    return int.from_bytes(hashlib.sha256(stream.encode()).digest()[:4], "big")


def below(raw: NDArray[np.uint64], bound: int) -> NDArray[np.int64]:
    """Map draws to integers in [0, bound), bound up to 2**31.

    The upper 32 bits times the bound, shifted down; the bias is below bound / 2**32.
    """
    if not 0 < bound <= 1 << 31:
        raise ValueError(f"bound must be from 1 to 2**31, got {bound}")
    return (((raw >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32)).astype(np.int64)


def below_each(raw: NDArray[np.uint64], bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Like `below`, with a bound (1 to 2**31) of its own for every draw."""
    return (((raw >> np.uint64(32)) * bounds.astype(np.uint64)) >> np.uint64(32)).astype(np.int64)


def cumulative(weights: Sequence[float]) -> NDArray[np.uint64]:
    """Turn weights into thresholds for `choose`, exactly: the last threshold is 2**64 - 1.

    Weights are read as the decimal numbers they print as, so 0.1 is one tenth on every machine.
    """
    from fractions import Fraction

    parts = [Fraction(str(weight)) for weight in weights]
    total = sum(parts)
    if any(part < 0 for part in parts) or total <= 0:
        raise ValueError(f"weights must not be negative and not all zero, got {list(weights)}")
    thresholds, seen = [], Fraction(0)
    for part in parts:
        seen += part
        thresholds.append(min(int(seen * (1 << 64) / total), (1 << 64) - 1))
    return np.array(thresholds, dtype=np.uint64)


def choose(raw: NDArray[np.uint64], thresholds: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Map draws to the numbers of weights; a weight of zero is never chosen."""
    chosen = np.searchsorted(thresholds, raw, side="right")
    # The one draw 2**64 - 1 lies on the last threshold: it belongs to the first weight that reaches it.
    last = int(np.searchsorted(thresholds, thresholds[-1], side="left"))
    return np.minimum(chosen, last).astype(np.int64)


def permutation(seed: int, stream: str, n: int) -> NDArray[np.int64]:
    """Give a shuffled 0..n-1: sorted by (random key, number), so equal keys cannot make it differ."""
    blocks = [raw(seed, stream, block, min(BLOCK, n - block * BLOCK)) for block in range(-(-n // BLOCK))]
    keys = np.concatenate(blocks) if blocks else np.empty(0, dtype=np.uint64)
    return np.argsort(keys, kind="stable").astype(np.int64)


def shuffled(seed: int, stream: str, n: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give what stands at some positions of a shuffled 0..n-1 without making the rest: no memory grows with n.

    A Feistel network of six rounds over the next power of four; what falls outside n goes round again.
    """
    half = np.uint64(max(1, (max(n - 1, 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    keys = raw(seed, stream, 0, _ROUNDS)
    found = positions.astype(np.uint64)
    outside = np.ones(len(found), dtype=bool)
    while outside.any():
        left, right = found[outside] >> half, found[outside] & mask
        for key in keys:
            left, right = right, left ^ (_mixed(right + key) & mask)
        found[outside] = (left << half) | right
        outside = found >= np.uint64(n)
    return found.astype(np.int64)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread every bit of a 64-bit value over all others (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))

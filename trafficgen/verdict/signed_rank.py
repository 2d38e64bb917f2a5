"""What a few paired differences say about their middle, whatever their distribution.

Takes     differences, one a pair, each as likely to come out with either sign if nothing changed
Gives     the exact two-sided p value (Wilcoxon 1945), the Hodges-Lehmann estimate (1963), and the interval of all
          shifts that the test does not reject
Ties      share the mean of their ranks, and the null distribution is that of these very ranks, so p stays exact
Zeros     are ranked with the others and then left out (Pratt 1959): a pair without a difference is no evidence, but it
          does not make the others weigh more either
Not here  that signs are random if nothing changed: whoever ran the pairs in random order made it so
"""

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class RankInterval(NamedTuple):
    """Both ends belong to it; infinite when there are too few pairs for the level asked for."""

    low: float
    high: float


def p_value(differences: Sequence[float]) -> float:
    """How probable it is that random signs lean to one side at least as much as these do; 1 when all are zero."""
    ranks = _doubled_ranks([abs(difference) for difference in differences])
    signed = [(rank, difference > 0) for rank, difference in zip(ranks, differences, strict=True) if difference]
    positive = sum(rank for rank, above in signed if above)
    used = tuple(sorted(rank for rank, _ in signed))
    return _tail(used, min(positive, sum(used) - positive))


def estimate(differences: Sequence[float]) -> float:
    """The Hodges-Lehmann estimate: the median of all means of two differences, each also with itself."""
    return float(np.median(_walsh_averages(differences)))


def interval(differences: Sequence[float], alpha: float) -> RankInterval:
    """All shifts that the test does not reject at level `alpha`.

    It holds the true middle with a probability of at least 1 - `alpha`; with ties, by more (Noether 1967: the interval
    that includes its ends keeps its level in the discrete case).
    """
    cut = critical(len(differences), alpha)
    if cut is None:
        return RankInterval(-math.inf, math.inf)
    averages = np.sort(_walsh_averages(differences))
    return RankInterval(float(averages[cut]), float(averages[-1 - cut]))


@cache
def critical(pairs: int, alpha: float) -> int | None:
    """The largest sum of ranks, of the rarer sign, at which the two-sided test rejects; None if it never can."""
    patterns: int = 2**pairs
    cut, below = None, 0
    for total, count in enumerate(_null(tuple(range(1, pairs + 1)))):
        below += count
        if 2 * below / patterns > alpha:
            break
        cut = total
    return cut


@lru_cache(maxsize=256)  # a few numbers of pairs; with ties, any ranks
def _null(ranks: tuple[int, ...]) -> tuple[int, ...]:
    """How many of the 2^n patterns of signs give each sum of positive ranks.

    They are the coefficients of the product of all 1 + x^rank. Here x is a power of two above each of them, so that one
    long integer holds all coefficients side by side: for 97 ranks four times as fast as a list of them.
    """
    octets = len(ranks) // 8 + 1
    product = 1
    for rank in ranks:
        product += product << 8 * octets * rank
    raw = product.to_bytes(octets * (sum(ranks) + 1), "little")
    return tuple(int.from_bytes(raw[at : at + octets], "little") for at in range(0, len(raw), octets))


def _tail(ranks: tuple[int, ...], total: int) -> float:
    """Twice the probability of a sum up to `total`, at most 1."""
    patterns: int = 2 ** len(ranks)
    return min(1.0, 2 * sum(_null(ranks)[: total + 1]) / patterns)


def _doubled_ranks(sizes: Sequence[float]) -> list[int]:
    """Twice the mean rank of each size among all: whole numbers also where some are equal."""
    ordered = sorted(sizes)
    first: dict[float, int] = {}
    last: dict[float, int] = {}
    for rank, size in enumerate(ordered, start=1):
        first.setdefault(size, rank)
        last[size] = rank
    return [first[size] + last[size] for size in sizes]


def _walsh_averages(differences: Sequence[float]) -> NDArray[np.float64]:
    if not differences:
        raise ValueError("expected at least one difference")
    values = np.array(differences, float)
    first, second = _with_later_ones(values.size)
    averages: NDArray[np.float64] = (values[first] + values[second]) / 2
    return averages


@cache
def _with_later_ones(size: int) -> tuple[NDArray[np.intp], ...]:
    """Places of every value and of itself or a later one."""
    return np.triu_indices(size)

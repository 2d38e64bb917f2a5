"""Who gets how much of the mail: domains and their shares, users and their popularity.

Takes     weighted domains, a long tail, a population; raw 64-bit draws
Gives     the list of domains with shares that sum to 1; thresholds for `mboxgen.streams.choose`
Not here  presets of real mixes (presets), the addresses themselves (envelopes)

Popularity by rank follows Zipf's law: rank r has weight r^-s. For e-mail s is about 1 (the exponent is the plan's).
"""

import numpy as np
from numpy.typing import NDArray

from trafficgen.plan import LongTail, Users, Workload


def domain_names(workload: Workload) -> tuple[str, ...]:
    """The domains of a plan without their suffix: the named ones in their order, then the long tail's."""
    return (*(domain.name for domain in workload.domains), *tail_names(workload.long_tail))


def domain_shares(workload: Workload) -> NDArray[np.float64]:
    """The wanted share of each of `domain_names`; they sum to 1."""
    weights = np.array([domain.weight for domain in workload.domains])
    tail = workload.long_tail
    if tail is not None:
        ranks = zipf_weights(tail.domains, 1.0)
        weights = np.concatenate((weights, ranks * (tail.weight / ranks.sum())))
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def tail_names(tail: LongTail | None) -> tuple[str, ...]:
    """Synthetic domains under the reserved `.example` (RFC 2606), so they are nobody's even without a suffix."""
    return tuple(f"tail-{rank:06d}.example" for rank in range(1, tail.domains + 1)) if tail else ()


def user_thresholds(users: Users) -> NDArray[np.uint64] | None:
    """Thresholds that draw the popularity rank of a user, rank 0 first; None when all users are alike."""
    return None if users.zipf is None else thresholds(zipf_weights(users.count, users.zipf))


def zipf_weights(count: int, exponent: float) -> NDArray[np.float64]:
    """Weights of ranks 1 … `count`."""
    ranks = np.arange(1, count + 1, dtype=np.float64)
    # Division is the same on every machine, pow is not to the last bit: keep the usual case on division.
    weights: NDArray[np.float64] = 1.0 / ranks if exponent == 1.0 else ranks**-exponent
    return weights


def thresholds(weights: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Cumulative weights scaled to 64 bits, as `mboxgen.streams.choose` wants them.

    In floating point: `mboxgen.streams.cumulative` is exact, and takes a minute for ten million users.
    """
    reached = np.cumsum(weights)
    below_one = np.minimum(reached / reached[-1], 1.0 - 2.0**-53)
    scaled: NDArray[np.uint64] = (below_one * 2.0**64).astype(np.uint64)
    scaled[-1] = np.uint64(2**64 - 1)
    return scaled

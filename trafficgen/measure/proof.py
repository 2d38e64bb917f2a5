"""Hold what arrived against what was accepted.

Takes     the numbers of accepted and doubtful messages, how many recipients each has; arrivals by number
Gives     a `Ledger`: expected, received, missing, duplicated, corrupted

A message is missing when fewer of its recipients got it than the server accepted, duplicated when more did. One in
doubt may have arrived or not, but not twice. What was refused or failed must not have arrived at all: if it did,
somebody has mail of which we were told that it was not taken, and it counts as duplicated.
"""

import numpy as np
from numpy.typing import NDArray

from trafficgen.measure.parts import Ledger


def compare(
    *,
    accepted: NDArray[np.int64],
    recipients: NDArray[np.int64],
    in_doubt: NDArray[np.int64],
    in_doubt_recipients: NDArray[np.int64],
    arrived: NDArray[np.uint32],
    damaged: list[int],
) -> Ledger:
    """`recipients[i]` belongs to `accepted[i]`; `arrived[n]` counts recipients that got message n."""
    top = max((int(numbers.max()) + 1 for numbers in (accepted, in_doubt) if numbers.size), default=0)
    got = np.zeros(max(top, arrived.size), np.int64)
    got[: arrived.size] = arrived
    least = np.zeros(got.size, np.int64)
    least[accepted] = recipients
    most = least.copy()
    most[in_doubt] = np.maximum(most[in_doubt], in_doubt_recipients)
    return Ledger(
        expected=int(accepted.size),
        received=int(np.count_nonzero(got[accepted] >= recipients)),
        missing=int(np.count_nonzero(got < least)),
        duplicated=int(np.count_nonzero(got > most)),
        corrupted=len(set(damaged)),
    )

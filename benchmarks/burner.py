"""Burn CPU time in random bursts, as a neighbour on a shared host does; seeded.

    python -m benchmarks.burner SEED     # until it is ended, or who started it has

Bursts and pauses last 2 s on average each, exponentially distributed, so that one of these takes half a core.
"""

import os
import random
import sys
import time

MEAN_S = 2.0


def main() -> None:
    rng = random.Random(int(sys.argv[1]))
    parent = os.getppid()
    while os.getppid() == parent:
        until_s = time.monotonic() + rng.expovariate(1 / MEAN_S)
        while time.monotonic() < until_s:
            sum(range(1000))
        time.sleep(rng.expovariate(1 / MEAN_S))


if __name__ == "__main__":
    main()

"""In which order the two runs of each pair are made.

Takes     a source of random numbers, a number of pairs
Gives     for each pair whether B goes first: at random, and B first as often as A over any eight pairs

Random order makes every slow change of the machine look like noise instead of like a difference (Abedi and Brecht,
ICPE 2017); balance keeps an advantage of the second place from leaning to one side.
"""

import random
from typing import Final

BLOCK: Final = 8


def balanced_order(rng: random.Random, pairs: int) -> list[bool]:
    """True where B goes first."""
    order: list[bool] = []
    while len(order) < pairs:
        block = [False, True] * (BLOCK // 2)
        rng.shuffle(block)
        order += block
    return order[:pairs]

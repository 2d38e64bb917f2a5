"""How many messages a corpus has and how large each one is, without keeping a list.

Takes     a Recipe
Gives     the number of messages, the sizes of any block, the octets in all
Refuses   a total that not even one message fits into
Not here  what is in the messages (blocks), the smallest size that can be made (blocks)

Sizes of a block are a pure function of the recipe and the block's number. Counts as given are shuffled by position
(a Feistel network), so a corpus of any length needs the same memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from mboxgen import streams
from mboxgen.recipe.distributions import Mix
from mboxgen.recipe.recipe import Order, Recipe, RecipeError
from mboxgen.recipe.sizes import format_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_BLOCK_MESSAGES = 4096  # these two are part of the format: other numbers give other octets
MAX_BLOCK_OCTETS = 1 << 26


@dataclass(frozen=True)
class CorpusPlan:
    """A recipe with its messages counted."""

    recipe: Recipe
    messages: int

    @property
    def block_messages(self) -> int:
        """How many messages a block has: 4,096, fewer when that would be more than 64 MiB."""
        return _block_messages(self.recipe)

    @property
    def blocks(self) -> int:
        """How many blocks; the last may be short."""
        return -(-self.messages // self.block_messages)

    def numbers(self, block: int) -> range:
        """Give the numbers of the messages in a block."""
        many = self.block_messages
        return range(block * many, min((block + 1) * many, self.messages))

    def sizes(self, block: int) -> NDArray[np.int64]:
        """Give the octets of every message of a block, as a server receives them."""
        numbers = self.numbers(block)
        counts = self.recipe.counts
        if counts is None:
            return _drawn(self.recipe, block)[: len(numbers)]
        mix = self.recipe.distribution
        assert isinstance(mix, Mix)
        positions = np.arange(numbers.start, numbers.stop, dtype=np.int64)
        if self.recipe.order is Order.SHUFFLED:
            positions = streams.shuffled(self.recipe.seed, "order", self.messages, positions)
        ends = np.array(list(accumulate(counts)), dtype=np.int64)
        return np.array(mix.sizes, dtype=np.int64)[np.searchsorted(ends, positions, side="right")]

    @property
    def expected_octets(self) -> int:
        """What all messages have together: exact for counts as given, else what is expected."""
        counts, mix = self.recipe.counts, self.recipe.distribution
        if counts is not None and isinstance(mix, Mix):
            return sum(size * count for size, count in zip(mix.sizes, counts, strict=True))
        return self.recipe.total_octets or round(mix.mean_octets * self.messages)


def make(recipe: Recipe) -> CorpusPlan:
    """Count the messages of a recipe."""
    if recipe.count is not None:
        return CorpusPlan(recipe, recipe.count)
    if recipe.counts is not None:
        return CorpusPlan(recipe, sum(recipe.counts))
    assert recipe.total_octets is not None
    return CorpusPlan(recipe, _fitting(recipe, recipe.total_octets))


def _block_messages(recipe: Recipe) -> int:
    return min(max(MAX_BLOCK_OCTETS // int(recipe.distribution.mean_octets), 1), MAX_BLOCK_MESSAGES)


def _drawn(recipe: Recipe, block: int) -> NDArray[np.int64]:
    return recipe.distribution.draw(streams.raw(recipe.seed, "sizes", block, _block_messages(recipe)))


def _fitting(recipe: Recipe, total: int) -> int:
    """Count the messages, from the first, that fit into a total together."""
    block = messages = used = 0
    while True:
        ends = used + np.cumsum(_drawn(recipe, block))
        inside = int(np.searchsorted(ends, total, side="right"))
        messages += inside
        if inside < len(ends):
            break
        used = int(ends[-1])
        block += 1
    if messages == 0:
        first = format_size(int(ends[0]))
        raise RecipeError(f"no message fits into {format_size(total)}: the first has {first}; raise --total-size")
    return messages

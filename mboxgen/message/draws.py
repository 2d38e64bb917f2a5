"""What is drawn for a block of messages before any of it is written.

Takes     a plan and the number of a block
Gives     for every message: people, date, shape, charset, thread, attachments, faults
Not here  the octets that follow from it (blocks)

Each property has a stream of its own, so a new property does not change the octets of the others. Draws are always made
for a whole block, so a longer corpus begins like a shorter one wherever dates do not tell. Threads live inside a
block: a reply never needs what another process made.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from mboxgen import streams
from mboxgen.message.mime import ATTACHMENT_WEIGHTS, MAX_ATTACHMENTS, Attachment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mboxgen.recipe.profiles import MailProfile

_COPIES = 64  # attachments that occur again and again
_ATTACHED_WEIGHTS = (70, 20, 10)[:MAX_ATTACHMENTS]
# Messages per thread of the Enron corpus: 200,399 mails, 123,501 of them in threads of two and more (Klimt and Yang
# 2004); above 10 the source has classes, taken here as 14 and 24.
_THREAD_LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 24)
_THREADED_TOGETHER = 1024  # messages, shuffled: a thread's lie inside, so that short corpora have replies, too
_THREAD_WEIGHTS = (76_898, 16_736, 4_782, 3_049, 1_282, 879, 903, 378, 214, 178, 1_260, 430)


@dataclass(frozen=True, slots=True)
class Draws:
    """The streams of one block."""

    seed: int
    block: int
    messages: int

    def raw(self, stream: str, columns: int = 1) -> NDArray[np.uint64]:
        """Give one draw per message, or several one after the other."""
        return streams.raw(self.seed, stream, self.block, self.messages * columns)

    def below(self, stream: str, bound: int, columns: int = 1) -> NDArray[np.int64]:
        """Give integers in [0, bound)."""
        return streams.below(self.raw(stream, columns), bound)

    def choose(self, stream: str, weights: Sequence[float], columns: int = 1) -> NDArray[np.int64]:
        """Give numbers of weights."""
        if len(weights) == 1:
            return np.zeros(self.messages * columns, dtype=np.int64)
        return streams.choose(self.raw(stream, columns), _thresholds(tuple(weights)))

    def hits(self, stream: str, share: float) -> NDArray[np.bool_]:
        """Tell for each message whether it belongs to a share of them."""
        if share in (0, 1):
            return np.full(self.messages, share == 1)
        found: NDArray[np.bool_] = streams.choose(self.raw(stream), _thresholds((1 - share, share))) == 1
        return found

    def near(self, raw: NDArray[np.uint64], stream: str, part: int = 8) -> NDArray[np.uint64]:
        """Give draws near others, at most one part of the whole away, and uniform as those are.

        What would pass an end is folded back there. So long headers come with long messages and with many recipients,
        and each still has its own distribution.
        """
        away = np.uint64((1 << 63) // part)
        moved = (raw >> np.uint64(1)) + self.raw(stream) // np.uint64(part) - away
        return np.where(moved >> np.uint64(63), ~moved, moved) << np.uint64(1)

    def threads(self, profile: MailProfile) -> tuple[NDArray[np.int64], dict[int, list[int]]]:
        """Give each message's thread, and for replies the places in the block of the thread's earlier messages."""
        if not profile.threads:
            return np.arange(self.messages), {}
        lengths = np.array(_THREAD_LENGTHS)[self.choose("thread", _THREAD_WEIGHTS)]
        order, threads = self.raw("thread order"), np.empty(self.messages, dtype=np.int64)
        for begin in range(0, self.messages, _THREADED_TOGETHER):
            end = min(begin + _THREADED_TOGETHER, self.messages)
            members = np.repeat(np.arange(begin, end), lengths[begin:end])[: end - begin]
            threads[begin:end] = members[np.argsort(order[begin:end], kind="stable")]
        seen: dict[int, list[int]] = {}
        earlier = {}
        for at, thread in enumerate(threads.tolist()):
            before = seen.get(thread)
            if before is None:
                seen[thread] = [at]
            else:
                earlier[at] = before[:]
                before.append(at)
        return threads, earlier

    def attachments(self, wanted: NDArray[np.bool_], unique_share: float) -> dict[int, list[Attachment]]:
        """Give one to three attachments for each message that wants some; kinds are places in a table of mime's."""
        if not wanted.any():
            return {}
        counts = self.choose("attachments", _ATTACHED_WEIGHTS)
        columns = (
            self.choose("attachment kind", ATTACHMENT_WEIGHTS, MAX_ATTACHMENTS),
            self.below("attachment share", 8, MAX_ATTACHMENTS),
            self.choose("attachment unique", (unique_share, 1 - unique_share), MAX_ATTACHMENTS),
            self.below("attachment copy", _COPIES, MAX_ATTACHMENTS),
        )
        rows = np.column_stack(columns).reshape(-1, MAX_ATTACHMENTS, len(columns))
        return {
            at: [_attachment(*row) for row in rows[at, : counts[at] + 1].tolist()]
            for at in np.flatnonzero(wanted).tolist()
        }


@lru_cache(maxsize=64)
def _thresholds(weights: tuple[float, ...]) -> NDArray[np.uint64]:
    return streams.cumulative(weights)


def _attachment(kind: int, share: int, again: int, copy: int) -> Attachment:
    if not again:
        return Attachment(kind, share + 1)
    return Attachment(copy % len(ATTACHMENT_WEIGHTS), share + 1, copy + 1)  # a copy always is of the same kind

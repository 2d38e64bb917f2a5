"""Several targets: which session goes where, and what became of each one's messages.

Takes     a way for each target, that is how to open a session to it, and the weights
Gives     the way of each new session, so that of any number of sessions each has its share, to within two
Counts    for each target: sessions, outcomes and latencies. With a client that tries again, tries
Not here  addresses (guard), how a session is opened (opening)
"""

import array
from collections.abc import Sequence
from struct import Struct
from typing import Final

import numpy as np

from trafficgen.engine.slot import Way
from trafficgen.measure.histogram import Histogram
from trafficgen.measure.snapshot import TargetSnapshot
from trafficgen.outcomes import Outcome, Phase
from trafficgen.protocol.smtp.interfaces import SessionAccount
from trafficgen.protocol.smtp.replies import Reply

_ROW: Final = Struct("=9q").unpack
_FOLD_FROM: Final = 4096


class _CountedRows:
    """Counts rows on their way to the account."""

    def __init__(self, account: SessionAccount) -> None:
        self._enter = account.rows.frombytes
        self.outcomes = [0] * len(Outcome)
        self._latencies: array.array[int] = array.array("q")
        self._histogram = Histogram()

    def frombytes(self, row: bytes, /) -> None:
        _, outcome, _, due_ns, start_ns, _, _, end_ns, _ = _ROW(row)
        self.outcomes[outcome] += 1
        if outcome == Outcome.ACCEPTED:
            self._latencies.append(end_ns - (start_ns if due_ns < 0 else due_ns))
            if len(self._latencies) >= _FOLD_FROM:
                self._fold()
        self._enter(row)

    def _fold(self) -> None:
        self._histogram.record_many(np.array(self._latencies, np.int64))
        del self._latencies[:]

    @property
    def histogram(self) -> Histogram:
        """From the intended start, in the closed model from the real one, to the end."""
        self._fold()
        return self._histogram.copy()


class TargetAccount:
    """The account of the sessions to one target. Implements `protocol.smtp.interfaces.SessionAccount`."""

    def __init__(self, account: SessionAccount) -> None:
        self.rows = _CountedRows(account)
        self.sessions = 0
        self._account = account

    def phase(self, phase: Phase, elapsed_ns: int) -> None:
        self._account.phase(phase, elapsed_ns)

    def reply(self, phase: Phase, reply: Reply, count: int = 1) -> None:
        self._account.reply(phase, reply, count)

    def failure(self, phase: Phase, reason: str, example: str, count: int = 1) -> None:
        self._account.failure(phase, reason, example, count)

    def recipients_differ(self, number: int, outcome: Outcome, recipients: tuple[int, ...]) -> None:
        self._account.recipients_differ(number, outcome, recipients)

    def trouble(self, words: str) -> None:
        self._account.trouble(words)

    @property
    def snapshot(self) -> TargetSnapshot:
        return TargetSnapshot(self.sessions, tuple(self.rows.outcomes), self.rows.histogram)


class Turntable:
    """Which of several each next one is: in turn, each as often as its weight says (smooth weighted round robin).

    `first` turns are left out, so that not all workers begin with the same one.
    """

    def __init__(self, weights: Sequence[float], *, first: int = 0) -> None:
        self._weights = weights
        self._total = sum(weights)
        self._due = [0.0] * len(weights)
        for _ in range(first):
            self.next()

    def next(self) -> int:
        """Its index."""
        self._due = [due + weight for due, weight in zip(self._due, self._weights, strict=True)]
        index = max(range(len(self._due)), key=self._due.__getitem__)
        self._due[index] -= self._total
        return index


def apportioned(count: int, weights: Sequence[float]) -> list[int]:
    """So many for each that they are as near to its weight as they can be, and one at least; `count` in all.

    There must be one for each.
    """
    assert len(weights) <= count
    wanted = [count * weight / sum(weights) for weight in weights]
    given = [max(int(one), 1) for one in wanted]
    while sum(given) > count:
        most = max((at for at in range(len(given)) if given[at] > 1), key=lambda at: given[at] - wanted[at])
        given[most] -= 1
    order = sorted(range(len(given)), key=lambda at: given[at] - wanted[at])
    for at in order[: count - sum(given)]:
        given[at] += 1
    return given


class Targets:
    """The ways of one worker."""

    def __init__(self, ways: Sequence[Sequence[Way]], accounts: Sequence[TargetAccount], turntable: Turntable) -> None:
        """`ways`: to each target, by all of its addresses that are equally good."""
        self._ways = ways
        self._accounts = accounts
        self._turntable = turntable

    def next(self) -> Way:
        """The way of the session that is opened next."""
        return self.next_to(self._turntable.next())

    def next_to(self, index: int) -> Way:
        """The same for one to this target: its addresses take turns."""
        account, ways = self._accounts[index], self._ways[index]
        account.sessions += 1
        return ways[account.sessions % len(ways)]

    @property
    def snapshots(self) -> tuple[TargetSnapshot, ...]:
        """Of each target, in the order of the plan."""
        return tuple(account.snapshot for account in self._accounts)

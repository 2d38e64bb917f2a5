"""A client that tries again: what was not taken over comes back after a while, as from the queue of a small MTA.

Takes     the worker's source and account; what to try again, how often and after how long
Gives     itself as the source, which hands out again what is due; to sessions an account that keeps their rows back
Counts    tries beyond the first, apart from messages. A message has one row: that of its last try, whose times it has.
          It is in doubt if one of its tries was and none was accepted: the server may have it
Limits    messages that some recipients got are not sent again; what waits stays in memory, about 2 KB each
Not here  when anything else is due (dispatch)

What waits when the run stops ends as its last try did.
"""

import sys
from collections.abc import Callable
from heapq import heappop, heappush
from struct import Struct
from typing import Final

from mboxgen.enums import table_of
from trafficgen.engine.account import WorkerAccount
from trafficgen.engine.dispatch import SourceBehind, WorkerSource
from trafficgen.measure.snapshot import RetryCounts
from trafficgen.outcomes import Outcome, Phase
from trafficgen.plan import Retried, RetryPlan
from trafficgen.protocol.smtp.interfaces import ROW, WireMessage, Work
from trafficgen.protocol.smtp.replies import Reply

_ROW: Final = Struct("=9q").unpack
_NUMBER, _OUTCOME, _DUE_NS, _END_NS = 0, 1, 3, 7
_ACCEPTED: Final = ROW(0, Outcome.ACCEPTED, 0, 0, 0, 0, 0, 0, 0)[8:16]

AGAIN: Final = table_of(Retried, {
    Retried.REFUSED_FOR_NOW: frozenset({Outcome.REJECTED_TEMPORARY}),
    Retried.NOT_TAKEN_OVER: frozenset({Outcome.REJECTED_TEMPORARY, Outcome.FAILED, Outcome.IN_DOUBT}),
})  # fmt: skip


class _Tried:
    """A message that was tried and is not at its end: row and recipients of the last try, and how many there were."""

    __slots__ = ("doubts", "mixed", "retries", "row")

    def __init__(self, row: tuple[int, ...]) -> None:
        self.row = row
        self.mixed: tuple[int, ...] | None = None
        self.retries = 0
        self.doubts = 0


class _Rows:
    """Where sessions write their rows."""

    def __init__(self, retrying: "Retrying", account: WorkerAccount) -> None:
        self._retrying = retrying
        self._enter = account.rows.frombytes

    def frombytes(self, row: bytes, /) -> None:
        if row[8:16] != _ACCEPTED or self._retrying.tried:
            self._retrying.enter(row)
        else:
            self._retrying.forget(int.from_bytes(row[:8], sys.byteorder))
            self._enter(row)


class Retrying(SourceBehind):
    """Implements `protocol.smtp.interfaces.Source` and `SessionAccount`, and what a worker asks of its source.

    `on_waiting` is called when something is due sooner than before.
    """

    def __init__(
        self,
        source: WorkerSource,
        account: WorkerAccount,
        plan: RetryPlan,
        on_waiting: Callable[[], object],
    ) -> None:
        super().__init__(source)
        self._account = account
        self._again = AGAIN[plan.what]
        self._plan = plan
        self._on_waiting = on_waiting
        self._at_work: dict[int, WireMessage] = {}
        self._waiting: list[tuple[int, int]] = []  # when it is due, and its number
        self.tried: dict[int, _Tried] = {}
        """By number."""
        self._stopped = False
        self._doubted: int | None = None  # the message whose last row was turned into one in doubt
        self._retries = self._messages = self._accepted = 0
        self.cut_short = False
        """Whether a message would have been tried again, had nobody stopped that."""
        self.doubtful: list[int] = []
        """Numbers of messages, one for each try in doubt that is not the message's own outcome: a copy that may be."""
        self.rows = _Rows(self, account)
        self.phase = account.phase
        self.failure = account.failure
        self.trouble = account.trouble

    def reply(self, phase: Phase, reply: Reply, count: int = 1) -> None:
        self._account.reply(phase, reply, count)

    @property
    def counts(self) -> RetryCounts:
        """Tries beyond the first of each message, messages that had some, and how many of those were accepted."""
        return RetryCounts(self._retries, self._messages, self._accepted)

    # -- as a source ------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Messages that are to be tried again."""
        return len(self._waiting)

    @property
    def next_due_ns(self) -> int | None:
        """When something is due next; None when nothing is, or nobody knows."""
        due_ns = self._source.next_due_ns
        if not self._waiting or self._held:
            return due_ns
        return self._waiting[0][0] if due_ns is None else min(due_ns, self._waiting[0][0])

    @property
    def exhausted(self) -> bool:
        """Whether no session will ever get another message."""
        return not self._waiting and self._source.exhausted

    def take(self, now_ns: int) -> Work | None:
        if self._waiting and not self._held and self._waiting[0][0] <= now_ns:
            due_ns, number = heappop(self._waiting)
            tried = self.tried[number]
            self._messages += not tried.retries
            self._retries += 1
            tried.retries += 1
            return self._at_work[number], -1 if tried.row[_DUE_NS] < 0 else due_ns
        work = self._source.take(now_ns)
        if work is not None:
            self._at_work[work[0].number] = work[0]
        return work

    def give_back(self, work: Work) -> None:
        number = work[0].number
        if (tried := self.tried.get(number)) is None:
            del self._at_work[number]
            self._source.give_back(work)
            return
        self._retries -= 1
        tried.retries -= 1
        self._messages -= not tried.retries
        if self._stopped:
            self.cut_short = True
            self._end(number)
        else:
            self._wait(number, tried.row[_END_NS] + self._plan.wait_ns)

    def stop(self) -> None:
        """Hand out nothing more: what waits ends as its last try did."""
        self._source.stop()
        self._stopped, self._held = True, False
        waiting, self._waiting = self._waiting, []
        self.cut_short = self.cut_short or bool(waiting)
        for _, number in waiting:
            self._end(number)

    # -- as an account ----------------------------------------------------------------------------------

    def forget(self, number: int) -> None:
        """This message is accepted, at its first try."""
        del self._at_work[number]

    def enter(self, octets: bytes) -> None:
        """A try has ended: keep its row back if there will be another one."""
        row = _ROW(octets)
        number, outcome = row[_NUMBER], row[_OUTCOME]
        tried = self.tried.get(number)
        again = outcome in self._again and (tried is None or tried.retries < self._plan.most)
        if again and self._stopped:
            self.cut_short, again = True, False
        if tried is None:
            if not again:
                self.forget(number)
                self._account.rows.frombytes(octets)
                return
            tried = self.tried[number] = _Tried(row)
        tried.row, tried.mixed = row, None
        tried.doubts += outcome == Outcome.IN_DOUBT
        if again:
            self._wait(number, row[_END_NS] + self._plan.wait_ns)
        else:
            self._end(number)

    def recipients_differ(self, number: int, outcome: Outcome, recipients: tuple[int, ...]) -> None:
        if (tried := self.tried.get(number)) is not None:
            tried.mixed = recipients
        elif number != self._doubted:
            self._account.recipients_differ(number, outcome, recipients)

    def _wait(self, number: int, due_ns: int) -> None:
        heappush(self._waiting, (due_ns, number))
        if self._waiting[0][1] == number:
            self._on_waiting()

    def _end(self, number: int) -> None:
        """The message has had its last try."""
        tried = self.tried.pop(number)
        del self._at_work[number]
        outcome, doubts = Outcome(tried.row[_OUTCOME]), tried.doubts
        self._accepted += outcome is Outcome.ACCEPTED and tried.retries > 0
        self._doubted = number if doubts and outcome is not Outcome.ACCEPTED else None
        if self._doubted is not None:
            outcome, doubts, tried.mixed = Outcome.IN_DOUBT, doubts - 1, None
        self.doubtful += [number] * doubts
        self._account.rows.frombytes(ROW(number, outcome, *tried.row[2:]))
        if tried.mixed is not None:
            self._account.recipients_differ(number, outcome, tried.mixed)

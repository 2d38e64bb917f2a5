"""What a run of several workers comes to: each one's part, the sum, and where two counts of the same differ.

Takes     workers that have handed in their accounts, or are lost
Gives     `RunAccount`: one snapshot of the whole run, which messages were accepted, why the run ended
Counts    twice, and says where the two differ: what was granted and handed to sessions, and what has an outcome
Not here  what happens while the run goes on (supervisor)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trafficgen.clock import now_ns
from trafficgen.engine.resolved import ResolvedPlan
from trafficgen.engine.worker_pool import WorkerHandle
from trafficgen.measure.snapshot import Snapshot
from trafficgen.outcomes import StoppedBy

_NONE: Final = np.zeros(0, np.int64)


@dataclass(slots=True)
class RunAccount:
    """The whole run. Numbers are message numbers; `partial`: recipients of messages that some of theirs refused.

    `not_started`: messages that were planned and that no session began; without a number planned, those that sessions
    got and gave back. `lost_workers` died, each with its last words or "";
    `ended_workers` had to be ended; what they had begun is in doubt.
    `differences`: where two counts of the same do not agree, each in a sentence with both numbers. `begins`: two rows,
    numbers and when they began, if the plan asks for that. `doubtful`: of a client that tries again, a number for each
    try in doubt besides the outcome of its message: a copy more that may have been delivered.
    """

    snapshot: Snapshot
    planned: int
    not_started: int
    stopped_by: StoppedBy
    stopped_after_ns: int | None
    lost_workers: dict[int, str]
    ended_workers: list[int]
    differences: list[str]
    accepted: NDArray[np.int64]
    in_doubt: NDArray[np.int64]
    partial: dict[int, int]
    began_ns: int
    begins: NDArray[np.int64]
    doubtful: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _WorkerPart:
    """One worker's part of the account: messages that were its to send, those it began, and the others."""

    index: int
    share: int
    begun: int
    unsent: int
    returned: int
    in_doubt: int  # more than its snapshot says
    numbers: NDArray[np.int64]  # in doubt, or perhaps so


class Differences:
    """Where two counts of the same that do not depend on each other do not agree, in sentences with both numbers."""

    def __init__(self) -> None:
        self._sentences: dict[str, None] = {}  # an ordered set

    @property
    def sentences(self) -> list[str]:
        """Each once, in the order in which they were found."""
        return list(self._sentences)

    def compare(self, what: str, count: int, other: str, other_count: int) -> None:
        """Note it when they are not the same."""
        if count != other_count:
            self._sentences.setdefault(f"{what}: {count:,}; {other}: {other_count:,}")

    def compare_rows(self, worker: WorkerHandle, held: int) -> None:
        """What a worker's source has counted, and the rows of its outcomes."""
        self.compare(
            f"worker {worker.index}: messages handed to sessions", worker.taken,
            "that have an outcome or are at work", worker.started + held,
        )  # fmt: skip


def account_of(
    resolved: ResolvedPlan,
    workers: Sequence[WorkerHandle],
    reported: Snapshot,
    began_ns: int | None,
    stopped_by: StoppedBy | None,
    stopped_ns: int | None,
    differences: Differences,
    *,
    error_ns: int | None = None,
) -> RunAccount:
    """What all workers come to; `reported` is the sum of their snapshots. `began_ns` is None where none was told to
    begin, `stopped_by` and `stopped_ns`, its time, where nobody stopped it. `error_ns`: when an error was heard of that
    ends the run, None where there was none.

    Time that is up as the last messages are answered stopped nothing: that run ends as one that was a moment faster.
    """
    finished = [worker.finished for worker in workers if worker.finished is not None]
    parts = [] if began_ns is None else [_part(resolved, worker, began_ns, differences) for worker in workers]
    for part in parts:
        differences.compare(
            f"worker {part.index}: messages that were its to send", part.share,
            "that it handed to sessions or did not", part.begun + part.unsent,
        )  # fmt: skip
    snapshot = reported.with_lost(sum(part.in_doubt for part in parts))
    planned, not_started = _not_started(resolved.planned, parts)
    # A message that sessions got and that has no outcome is in doubt: nobody knows what became of it.
    missing = planned - not_started - snapshot.started
    if missing:
        differences.compare("messages planned", planned, "accounted for", not_started + snapshot.started)
    snapshot = snapshot.with_lost(missing) if missing > 0 else snapshot
    whole = resolved.planned is not None and not not_started and len(finished) == len(workers)
    if stopped_by is StoppedBy.DEADLINE and whole and not any(account.cut_short for account in finished):
        stopped_by = StoppedBy.FINISHED if error_ns is None else StoppedBy.FIRST_ERROR
        stopped_ns = error_ns
    accepted = _joined([account.accepted for account in finished])
    if not any(worker.lost for worker in workers):
        differences.compare("messages accepted", snapshot.accepted, "different numbers of them", accepted.size)
    return RunAccount(
        snapshot=snapshot,
        planned=not_started + snapshot.started,
        not_started=not_started,
        stopped_by=stopped_by or StoppedBy.FINISHED,
        stopped_after_ns=stopped_after_ns(began_ns, stopped_ns),
        lost_workers={worker.index: worker.last_words for worker in workers if worker.lost and not worker.ended},
        ended_workers=[worker.index for worker in workers if worker.ended],
        differences=differences.sentences,
        accepted=accepted,
        in_doubt=_joined([account.in_doubt for account in finished] + [part.numbers for part in parts]),
        partial={number: count for account in finished for number, count in account.partial.items()},
        began_ns=now_ns() if began_ns is None else began_ns,
        begins=np.concatenate([np.zeros((2, 0), np.int64), *(account.begins for account in finished)], axis=1),
        doubtful=_joined([account.doubtful for account in finished]),
    )


def stopped_after_ns(began_ns: int | None, stopped_ns: int | None) -> int | None:
    """How long a run had gone on when it was stopped: 0 where it had not begun, None where nobody stopped it."""
    if stopped_ns is None:
        return None
    return 0 if began_ns is None or stopped_ns < began_ns else stopped_ns - began_ns


def _not_started(planned: int | None, parts: list[_WorkerPart]) -> tuple[int, int]:
    """How many messages were planned, and how many of them no session began."""
    if planned is None:
        returned = sum(part.returned for part in parts)
        return sum(part.begun for part in parts) + returned, returned
    shares = sum(part.share for part in parts)
    return planned, planned - shares + sum(part.unsent for part in parts)


def _part(resolved: ResolvedPlan, worker: WorkerHandle, began_ns: int, differences: Differences) -> _WorkerPart:
    if worker.lost_ns is not None:
        return _left_behind(resolved, worker, worker.lost_ns - began_ns, differences)
    account = worker.finished
    assert account is not None
    assigned = worker.assigned[: account.ranges_assigned]  # what it was granted after it had handed in, it never got
    share = (
        sum(assign.last - assign.first for assign in assigned)
        if resolved.plan.load is None
        else len(resolved.arrivals(worker.index))
    )
    return _WorkerPart(worker.index, share, account.taken, account.unsent, account.returned, 0, _NONE)


def _left_behind(resolved: ResolvedPlan, worker: WorkerHandle, lived_ns: int, differences: Differences) -> _WorkerPart:
    """Of a worker that died: how many messages it may have had at work, and all numbers it may have sent.

    What it finished after its last snapshot is unknown, so everything it had begun counts as in doubt.
    """
    if resolved.plan.load is None:
        begun = worker.assigned[: worker.begun]
        numbers = _joined([np.arange(assign.first, assign.last) for assign in begun])
        share = sum(assign.last - assign.first for assign in worker.assigned)
    else:
        assert resolved.schedule is not None
        due = resolved.schedule.count_within(lived_ns)
        arrivals = resolved.arrivals(worker.index)
        share = len(arrivals)
        numbers = np.arange(arrivals.start, due, arrivals.step)[:share]
    known = worker.started
    if known > numbers.size:
        differences.compare(f"worker {worker.index}: messages begun", numbers.size, "that have an outcome", known)
    return _WorkerPart(
        worker.index, share, numbers.size, share - numbers.size, 0,
        numbers.size - known if known < numbers.size else 0, numbers,
    )  # fmt: skip


def _joined(arrays: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([_NONE, *arrays])

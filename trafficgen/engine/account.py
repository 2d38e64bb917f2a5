"""A worker's account as a session sees it: the recorder, and the first trouble.

Takes     what `smtp` reports
Gives     everything to the recorder; the words of the first refusal or failure to whoever stops the run; recipients by
          domain, where messages have several
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from trafficgen.measure.phases import PhaseTable
from trafficgen.measure.recorder import COLUMNS, Recorder
from trafficgen.measure.snapshot import Snapshot
from trafficgen.outcomes import Outcome, Phase
from trafficgen.protocol.smtp.replies import Reply
from trafficgen.protocol.smtp.steps import STEPS, TIMED
from trafficgen.workload import Messages

if TYPE_CHECKING:
    from array import array


PHASES: Final = PhaseTable({phase.value: step.words for phase, step in STEPS.items()}, tuple(TIMED))
"""What the recorders and results of a run that sends mail are given."""


class WorkerAccount:
    """Implements `protocol.smtp.interfaces.SessionAccount`."""

    def __init__(self, recorder: Recorder, on_trouble: Callable[[str], None]) -> None:
        self.rows = recorder.rows
        self.phase = recorder.phase
        self.failure = recorder.failure
        self.partial: dict[int, int] = {}
        """Messages accepted for some of their recipients only: number to recipients."""
        self._recorder = recorder
        self._replies: dict[tuple[Phase, int, str], list[int | str]] = {}  # count and text since the last tally
        self._on_trouble = on_trouble
        self._quiet = False

    def reply(self, phase: Phase, reply: Reply, count: int = 1) -> None:
        kind = (phase, reply.code, reply.enhanced)
        if (seen := self._replies.get(kind)) is not None:
            seen[0] += count  # type: ignore[operator]
        else:
            self._replies[kind] = [count, reply.text]

    def tally(self) -> None:
        """Hand the replies since the last time to the recorder."""
        for kind, (count, text) in self._replies.items():
            self._recorder.reply(*kind, str(text), int(count))
        self._replies.clear()

    def partly_accepted(self, number: int, recipients: int) -> None:
        self.partial[number] = recipients

    def trouble(self, words: str) -> None:
        if not self._quiet:
            self._quiet = True
            self._on_trouble(words)


class RecipientCounts:
    """Recipients by domain. The recorder's rows know the first one's domain only."""

    def __init__(self, messages: Messages, rows: "array[int]") -> None:
        self._messages = messages
        self._rows = rows
        self._started = np.zeros(len(messages.domains), np.int64)
        self._accepted = np.zeros(len(messages.domains), np.int64)
        self._counted = 0  # of the numbers in the rows that wait

    def tally(self) -> None:
        """Count what has ended since the last time. Call it before the recorder folds, and `folded` after that."""
        rows = np.array(self._rows[self._counted :], np.int64).reshape(-1, COLUMNS)
        self._counted = len(self._rows)
        owners, domains = self._messages.recipient_domains(rows[:, 0])
        accepted = rows[owners, 1] == Outcome.ACCEPTED
        self._started += np.bincount(domains, minlength=self._started.size)
        self._accepted += np.bincount(domains[accepted], minlength=self._accepted.size)

    def folded(self) -> None:
        """The recorder has folded the rows, or left them for the next time."""
        self._counted = min(self._counted, len(self._rows))

    def in_place(self, snapshot: Snapshot) -> Snapshot:
        """`snapshot` with recipients by domain where it has messages."""
        return replace(snapshot, domains_started=self._started.copy(), domains_accepted=self._accepted.copy())

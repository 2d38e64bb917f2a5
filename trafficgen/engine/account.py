"""A worker's account as a session sees it: the recorder, and the first trouble.

Takes     what `smtp` reports
Gives     everything to the recorder; the words of the first refusal or failure to whoever stops the run; recipients by
          domain, where messages have several
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from trafficgen.measure.phases import PhaseTable
from trafficgen.measure.recorder import COLUMNS, Recorder
from trafficgen.measure.snapshot import Snapshot
from trafficgen.outcomes import Outcome, Phase
from trafficgen.protocol.smtp.replies import Reply
from trafficgen.protocol.smtp.steps import STEPS, TIMED
from trafficgen.workload import Messages

PHASES: Final = PhaseTable({phase.value: step.words for phase, step in STEPS.items()}, tuple(TIMED))
"""What the recorders and results of a run that sends mail are given."""


class WorkerAccount:
    """Implements `protocol.smtp.interfaces.SessionAccount`."""

    def __init__(self, recorder: Recorder, on_trouble: Callable[[str], None]) -> None:
        self.rows = recorder.rows
        self.phase = recorder.phase
        self.failure = recorder.failure
        self.partial: dict[int, int] = {}
        """Messages that some of their recipients refused: number to recipients that have it, or may have it."""
        self.differences = np.zeros(len(Outcome), np.int64)
        """By outcome, how many recipients more ended so than messages and their numbers of recipients say."""
        self.partly_accepted = 0
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

    def recipients_differ(self, number: int, outcome: Outcome, recipients: tuple[int, ...]) -> None:
        if outcome in (Outcome.ACCEPTED, Outcome.IN_DOUBT):
            self.partial[number] = recipients[Outcome.ACCEPTED] + recipients[Outcome.IN_DOUBT]
        self.partly_accepted += outcome is Outcome.ACCEPTED
        self.differences += recipients
        self.differences[outcome] -= sum(recipients)

    def trouble(self, words: str) -> None:
        if not self._quiet:
            self._quiet = True
            self._on_trouble(words)


class RecipientTally:
    """Recipients by domain and by outcome. The recorder's rows know the first one's domain only."""

    def __init__(self, messages: Messages, account: WorkerAccount) -> None:
        self._messages = messages
        self._account = account
        self._rows = account.rows
        self._outcomes = np.zeros(len(Outcome), np.int64)
        self._started = np.zeros(len(messages.domains), np.int64)
        self._accepted = np.zeros(len(messages.domains), np.int64)
        self._counted = 0  # of the numbers in the rows that wait

    def tally(self) -> None:
        """Count what has ended since the last time. Call it before the recorder folds, and `folded` after that."""
        rows = np.array(self._rows[self._counted :], np.int64).reshape(-1, COLUMNS)
        self._counted = len(self._rows)
        owners, domains = self._messages.recipient_domains(rows[:, 0])
        outcomes = rows[owners, 1]
        accepted = outcomes == Outcome.ACCEPTED
        self._outcomes += np.bincount(outcomes, minlength=self._outcomes.size)
        self._started += np.bincount(domains, minlength=self._started.size)
        self._accepted += np.bincount(domains[accepted], minlength=self._accepted.size)

    def folded(self) -> None:
        """The recorder has folded the rows, or left them for the next time."""
        self._counted = min(self._counted, len(self._rows))

    def in_place(self, snapshot: Snapshot) -> Snapshot:
        """`snapshot` with recipients by domain where it has messages, and by outcome."""
        account = self._account
        return replace(
            snapshot,
            domains_started=self._started.copy(),
            domains_accepted=self._accepted.copy(),
            recipients=tuple((self._outcomes + account.differences).tolist()),
            partly_accepted=account.partly_accepted,
        )

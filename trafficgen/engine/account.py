"""A worker's account as a session sees it: the recorder, and the first trouble.

Takes     what `smtp` reports
Gives     everything to the recorder; the words of the first refusal or failure to whoever stops the run
"""

from collections.abc import Callable

from trafficgen.measure.recorder import Recorder
from trafficgen.outcomes import Phase
from trafficgen.smtp.replies import Reply


class WorkerAccount:
    """Implements `smtp.seams.Account`."""

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

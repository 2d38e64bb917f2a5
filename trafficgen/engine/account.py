"""A worker's account as a session sees it: the recorder, and the first trouble.

Takes     what `smtp` reports
Gives     everything to the recorder; the words of the first refusal or failure to whoever stops the run
"""

from collections.abc import Callable

from trafficgen.measure.recorder import Recorder


class WorkerAccount:
    """Implements `smtp.seams.Account`."""

    def __init__(self, recorder: Recorder, on_trouble: Callable[[str], None]) -> None:
        self.rows = recorder.rows
        self.phase = recorder.phase
        self.reply = recorder.reply
        self.failure = recorder.failure
        self.partial: dict[int, int] = {}
        """Messages accepted for some of their recipients only: number to recipients."""
        self._on_trouble = on_trouble
        self._quiet = False

    def partly_accepted(self, number: int, recipients: int) -> None:
        self.partial[number] = recipients

    def trouble(self, words: str) -> None:
        if not self._quiet:
            self._quiet = True
            self._on_trouble(words)

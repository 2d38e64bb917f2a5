"""Put what several workers show of their sessions into one order.

Takes     lines of each worker, and word that it has told how it is doing
Gives     lines by session, once nothing of that period can still come
Not here  what a line says (tracing), under which heading it is shown (supervisor)
"""

from collections.abc import Collection

Line = tuple[int, str]
"""The number of a session in its run, from 0, and what is shown of it."""


class TracedLines:
    """Lines of several workers, as they are to be shown: a lower session first, of what was said in one period.

    Every worker tells its lines, if it has any, and then how it is doing; once each has told that, all lines are here.
    """

    def __init__(self) -> None:
        self._held: list[Line] = []
        self._told: set[int] = set()

    def hear(self, lines: list[Line]) -> None:
        self._held += lines

    def told(self, worker: int) -> None:
        """How it is doing."""
        self._told.add(worker)

    def take(self, workers: Collection[int]) -> list[Line]:
        """What is to be shown now that each of these has told, or nothing yet."""
        if not self._told.issuperset(workers):
            return []
        held, self._held = self._held, []
        self._told.clear()
        return sorted(held, key=lambda line: line[0])

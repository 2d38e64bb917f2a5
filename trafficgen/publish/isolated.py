"""Call those who look on, and let none of them end or spoil a run.

Takes     what to call, and a name for it
Gives     for each that raised, one line and one caveat of the results; it is not called again
Fails     never; KeyboardInterrupt and SystemExit pass, because they are meant for the run
"""

from collections.abc import Callable

from trafficgen.host.output import described
from trafficgen.measure.health import Caveat, CaveatKind


class Isolation:
    """All observers of one run. `say` gets a line for each that failed; one that fails itself is not called again."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.caveats: list[Caveat] = []
        self._say: Callable[[str], None] | None = say
        self._ended: set[str] = set()

    def call(self, name: str, look: Callable[[], object]) -> None:
        """Let this observer look, unless it has failed before."""
        if name in self._ended:
            return
        try:
            look()
        except Exception as error:
            self._ended.add(name)
            text = f"{name} failed and was left out: {described(error)}"
            self.caveats.append(Caveat.of(CaveatKind.OBSERVER_FAILED, text))
            self._tell(text)

    def _tell(self, text: str) -> None:
        try:
            if self._say is not None:
                self._say(text)
        except Exception:
            self._say = None  # stderr has gone; the caveat says it all the same

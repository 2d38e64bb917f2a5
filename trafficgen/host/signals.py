"""The handle to stop a run with, and signals as one way to use it.

Gives     `RunControl`: asked once, a run ends in good order; asked twice, at once. Any thread may ask, and a signal
          handler, and the run's own callbacks
          `CountedSignals`: SIGINT, SIGTERM and SIGHUP ask a `RunControl` instead of ending the process
Limits    outside the main thread Python lets nobody handle signals: there only the handle stops a run
Fails     `allow` with StoppedError: what was waited for did not come in time, or a second wish ended the waiting
"""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self, TypeVar

from trafficgen.errors import StoppedError
from trafficgen.outcomes import StoppedBy

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None
_Value = TypeVar("_Value")
_LOOK_S: Final = 0.05


class RunControl:
    """Stops a run. One for each run."""

    def __init__(self) -> None:
        self._asked: list[StoppedBy] = []  # only appended to: safe from threads and signal handlers

    def stop(self, why: StoppedBy = StoppedBy.INTERRUPTED) -> None:
        """Start no more messages, and let those at work finish within the plan's grace; asked again: end at once."""
        self._asked.append(why)

    @property
    def count(self) -> int:
        """How often the run was asked to stop."""
        return len(self._asked)

    @property
    def at_once(self) -> bool:
        """Whether nothing may be waited for any more."""
        return self.count > 1

    @property
    def why(self) -> StoppedBy | None:
        """What the first to ask said."""
        return self._asked[0] if self._asked else None

    def allow(self, call: Callable[[], _Value], what: str) -> _Value:
        """What `call` returns or raises; StoppedError as soon as the run is to end at once. It may block for ever."""
        done: list[tuple[_Value | None, BaseException | None]] = []

        def work() -> None:
            try:
                done.append((call(), None))
            except BaseException as error:
                done.append((None, error))

        thread = threading.Thread(target=work, name=what, daemon=True)
        thread.start()
        while thread.is_alive() and not self.at_once:
            thread.join(_LOOK_S)
        thread.join(_LOOK_S)
        if not done:
            raise StoppedError(f"{what} was not waited for: the run was to end at once")
        value, error = done[0]
        if error is not None:
            raise error
        return value  # type: ignore[return-value]


class CountedSignals:
    """Use as a context manager: meanwhile the signals stop `control`. Handlers are the caller's again afterwards.

    A SIGHUP that the caller ignores stays ignored: that is what nohup(1) is for.
    """

    def __init__(self, control: RunControl) -> None:
        self._control = control
        self._before: dict[signal.Signals, _Handler] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        self._control.stop()


def raise_on_signals() -> None:
    """From now on SIGTERM and SIGHUP raise KeyboardInterrupt in this process, as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def exit_on_signals(code: int) -> None:
    """From now on each of the signals ends this process at once with `code`: all is said, and only the end is left."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda _signal, _frame: os._exit(code))

"""What can go wrong on our side, and the exit code that says so.

    TrafficgenError            1    we could not do what was asked
    ├── PlanError              2    the plan makes no sense; names the field, and on the command line its flag
    ├── SetupError             1    the plan is sound but this machine or target cannot carry it out
    ├── StoppedError         105  ended at once, by wish, before there was anything to report
    ├── OutputError            1    a file that was asked for could not be written; the run has its account all the same
    ├── LocalProtocolError     1    a command that the state of its session does not allow: our bug
    └── ResultsError           122  a results file is missing, damaged, or not comparable

Gives     also `reason_of`, the system's words for an error
Not here  what a server answers: a refusal or a dead connection is a measurement, see `outcomes`.
"""

import re
from enum import IntEnum
from typing import Final

_ERRNO: Final = re.compile(r"(?:urlopen error )?\[errno -?\d+\] ?")
"""What Python puts before the system's words, also where a library has put the error into a text of its own."""


class ExitCode(IntEnum):
    """One table for every command; all below 126, which shells keep for themselves."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    VERDICT_FAILED = 99
    INTERRUPTED = 105
    INCONCLUSIVE = 120
    NOT_VALID = 121
    NOT_COMPARABLE = 122


class TrafficgenError(Exception):
    """We could not do the job; the text says what was expected, what was found, what to try."""

    exit_code = ExitCode.FAILED


class PlanError(TrafficgenError):
    """A value in the plan is wrong.

    `field` is the plan's own name for it, which ends the text; `flag` is the option that sets it, which the command
    line puts there instead.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, text: str, field: str, flag: str) -> None:
        super().__init__(f"{text} ({field})")
        self.text = text
        self.field = field
        self.flag = flag

    @property
    def as_typed(self) -> str:
        """The text for somebody who typed an option."""
        return f"{self.text} ({self.flag})"

    def __reduce__(self) -> tuple[type["PlanError"], tuple[str, str, str]]:
        # A worker process that finds a file unreadable sends this error home.
        return type(self), (self.text, self.field, self.flag)


class SetupError(TrafficgenError):
    """The run could not be set up: unreachable target, too few file descriptors, no free port."""


class StoppedError(TrafficgenError):
    """Somebody wanted an end at once, and what was waited for had not come."""

    exit_code = ExitCode.INTERRUPTED


class OutputError(TrafficgenError):
    """A file that was asked for could not be written."""


class LocalProtocolError(TrafficgenError):
    """We were about to say what no client may say in this state: a bug of ours, never the server's doing."""


class ResultsError(TrafficgenError):
    """A results file could not be read, or two of them cannot be compared."""

    exit_code = ExitCode.NOT_COMPARABLE


def reason_of(error: Exception) -> str:
    """What the system says of an error, as the end of a sentence of ours: "no such file or directory"."""
    words = str(getattr(error, "strerror", None) or error or type(error).__name__).lower()
    return _ERRNO.sub("", words).strip("<>")

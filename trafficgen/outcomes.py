"""What became of a message, where in a session it was decided, and why a run ended.

A bad answer is a measurement, never an exception. Every started message ends as exactly one `Outcome`, so that

    planned = started + not_started
    started = accepted + rejected_temporary + rejected_permanent + failed + in_doubt

hold at every snapshot, also after an interruption.
"""

from enum import Enum, IntEnum, StrEnum
from typing import Final


class Outcome(IntEnum):
    """The end of one message. The values are the codes in recorded rows: never renumber."""

    ACCEPTED = 0
    """A 250 answered the end of data: the server took the message over (RFC 5321 sections 4.3.2 and 6.1)."""
    REJECTED_TEMPORARY = 1
    """A 4xx to the envelope or the data."""
    REJECTED_PERMANENT = 2
    """A 5xx to the envelope or the data."""
    FAILED = 3
    """Never handed over: no connection, no TLS, time-out or disconnect before the end of data was sent."""
    IN_DOUBT = 4
    """The end of data was sent, and no reply came or none that is certain to be its own: it may have been delivered."""


class Phase(StrEnum):
    """A stretch of a session, in the order of events."""

    CONNECT = "connect"
    TLS = "tls"
    GREETING = "greeting"
    EHLO = "ehlo"
    HELO = "helo"
    LHLO = "lhlo"
    AUTH = "auth"
    XCLIENT = "xclient"
    XFORWARD = "xforward"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    END_OF_DATA = "end_of_data"
    REQUEST = "request"
    """Of HTTP: a message and its answer."""
    RSET = "rset"
    NOOP = "noop"
    QUIT = "quit"
    IDLE = "idle"
    """Between two messages, when a server has nothing to answer."""


LARGER_THAN_SIZE: Final = "larger than the SIZE of EHLO"
"""Why a message was refused that the server had said it would not take (RFC 1870): a reason of failures."""


class StoppedBy(Enum):
    """Why a run ended."""

    FINISHED = "finished"
    """All planned messages have an outcome."""
    DEADLINE = "deadline"
    """Its time was up."""
    INTERRUPTED = "interrupted"
    """Somebody stopped it."""
    FIRST_ERROR = "first_error"
    """A message was not accepted, and the run was not to go on after errors."""
    WORKER_LOST = "worker_lost"
    """A generator process died."""
    THRESHOLD = "threshold"
    """A threshold failed, and the run was to end then."""
    UNFINISHED = "unfinished"
    """It has not ended, or it was killed: these are the results so far."""

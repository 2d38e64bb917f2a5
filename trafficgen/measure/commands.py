"""The account of one kind of command: a mailbox user's FETCH, a request over HTTP.

Takes     finished commands, many at a time: outcome, start, end, octets
Gives     counts, latencies and octets; added up in any order, or less an earlier state of the same account
Not here  messages sent, which have stretches, domains and a timeline of their own (recorder)
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trafficgen.measure.histogram import Histogram
from trafficgen.outcomes import Outcome


@dataclass(slots=True)
class CommandAccount:
    """What became of the commands of one kind.

    `outcomes` by `Outcome`: ACCEPTED is a command that the server carried out. `octets` and `latency` are of those
    alone; the latency of one with an intended start counts from there.
    """

    outcomes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(Outcome), np.int64))
    octets: int = 0
    latency: Histogram = field(default_factory=Histogram)

    @classmethod
    def of(cls, done: int, refused: int, failed: int, octets: int, latency: Histogram) -> "CommandAccount":
        """From counts that were kept; whether a refusal was for good is not kept."""
        outcomes = np.zeros(len(Outcome), np.int64)
        outcomes[[Outcome.ACCEPTED, Outcome.REJECTED_PERMANENT, Outcome.FAILED]] = done, refused, failed
        return cls(outcomes, octets, latency)

    def record(self, outcomes: NDArray[np.int64], latencies_ns: NDArray[np.int64], octets: NDArray[np.int64]) -> None:
        """Count finished commands; all three describe the same commands in the same order."""
        done = outcomes == Outcome.ACCEPTED
        self.outcomes += np.bincount(outcomes, minlength=len(Outcome))
        self.octets += int(octets[done].sum())
        self.latency.record_many(latencies_ns[done])

    @property
    def count(self) -> int:
        """Commands that have ended."""
        return int(self.outcomes.sum())

    @property
    def errors(self) -> int:
        """Those that the server did not carry out, or did not answer."""
        return self.count - int(self.outcomes[Outcome.ACCEPTED])

    def copy(self) -> "CommandAccount":
        """An independent copy."""
        return CommandAccount(self.outcomes.copy(), self.octets, self.latency.copy())

    def __add__(self, other: "CommandAccount") -> "CommandAccount":
        return CommandAccount(self.outcomes + other.outcomes, self.octets + other.octets, self.latency + other.latency)

    def since(self, earlier: "CommandAccount") -> "CommandAccount":
        """What was counted after `earlier`, a copy of this account."""
        return CommandAccount(
            self.outcomes - earlier.outcomes, self.octets - earlier.octets, self.latency.since(earlier.latency)
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, CommandAccount)
            and np.array_equal(self.outcomes, other.outcomes)
            and (self.octets, self.latency) == (other.octets, other.latency)
        )

    __hash__ = None  # type: ignore[assignment]  # it changes with every command

"""Whether a client tries again what it could not hand over, as an MTA does."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from trafficgen.clock import NS_PER_S
from trafficgen.plan.refusals import check_count, check_duration, check_types

MAX_RETRIES: Final = 1000


class Retried(Enum):
    """What is tried again."""

    REFUSED_FOR_NOW = "4xx"
    """A message that was refused whole with a 4xx."""
    NOT_TAKEN_OVER = "any"
    """That, and what failed or is in doubt: no connection, or one that was lost (RFC 5321 section 4.5.4.1)."""


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """Such a message is sent again, `wait_ns` after each try, until it is taken over or `most` tries more have gone."""

    what: Retried = Retried.REFUSED_FOR_NOW
    most: int = 3
    wait_ns: int = 5 * NS_PER_S

    def __post_init__(self) -> None:
        check_types(self)
        check_count(self.most, "retry", "how often to try again", "--retry", most=MAX_RETRIES)
        check_duration(self.wait_ns, "retry", "a wait before the next try", "--retry")

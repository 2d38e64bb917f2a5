"""A part of a run that several machines send together: its share of sessions, of arrivals and of message numbers.

The parts of a run have nothing in common and leave nothing out: `of` shards send what one machine would, each message
once. Nothing else in the program divides a run among machines.
"""

from dataclasses import dataclass
from typing import Final

from trafficgen.plan.refusals import check_count, check_types, wrong

MAX_SHARDS: Final = 10_000

RANGE: Final = 4096
"""Message numbers that are dealt to the shards at a time where only time ends a run in the closed model."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Shard `number` of `of`, from 1. `start_at_ns`: when its time zero is, ns since 1970; None: as soon as it can."""

    number: int = 1
    of: int = 1
    start_at_ns: int | None = None

    def __post_init__(self) -> None:
        check_types(self)
        check_count(self.of, "shard", "the number of shards", "--shard", most=MAX_SHARDS)
        if not 1 <= self.number <= self.of:
            raise wrong("shard", f"expected a shard from 1/{self.of} to {self.of}/{self.of}, got {self}", "--shard")
        if self.start_at_ns is not None and self.start_at_ns < 0:
            raise wrong("start_at_ns", "expected a time after 1970", "--start-at")

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def share(self, count: int) -> int:
        """Its part of so many sessions; the shares of all shards differ by one at most."""
        return count // self.of + (self.number <= count % self.of)

    def numbers(self, messages: int) -> range:
        """Which of the messages 0 … `messages`-1 it sends in the closed model: one stretch of them."""
        return range(messages * (self.number - 1) // self.of, messages * self.number // self.of)

    def block(self, serial: int) -> range:
        """The stretch of numbers that it sends as its `serial`-th, from 0, where there is no last message."""
        first = (serial * self.of + self.number - 1) * RANGE
        return range(first, first + RANGE)

    def lane(self, worker: int, workers: int) -> tuple[int, int]:
        """Which arrivals (and which sessions of the run) a worker of its `workers` has: the first one, and the step."""
        return self.number - 1 + self.of * worker, self.of * workers

    def arrivals(self, messages: int) -> range:
        """Which of the arrivals 0 … `messages`-1 are its own in the open model."""
        return range(self.number - 1, messages, self.of)

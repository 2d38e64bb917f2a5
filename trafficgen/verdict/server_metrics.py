"""What a gate can compare of the server itself: what its processes used, and what left its queue.

Gives     the names with what they count; in which direction a metric of a gate is good
Not here  how they are read (server.usage, server.counters), their values in slices (slices)
"""

from typing import Final

from trafficgen.verdict.quantities import is_quantity, parse_quantity
from trafficgen.verdict.rule import Better

SERVER_METRICS: Final = {
    "server.cpu": "CPU seconds per 1,000 messages",
    "server.instructions": "instructions in user mode per 1,000 messages",
    "server.written": "octets written per 1,000 messages",
    "server.switches": "context switches per 1,000 messages",
    "server.fsyncs": "calls of fsync and fdatasync per 1,000 messages",
}
"""The second channel: what the server's processes used. Scatters less than any time does."""

DELIVERED: Final = "queue.delivered"
"""How many messages left the queue for each that was accepted: 1 where the queue stays as long as it is, less where it
grows. A ratio, unlike what a queue grew by, which may be zero or less."""


def is_of_server(name: str) -> bool:
    """Whether a metric of this name is one of the server."""
    return name in SERVER_METRICS or name == DELIVERED


def better_of(name: str) -> Better:
    """In which direction a metric of a gate is good."""
    if name == DELIVERED:
        return Better.HIGHER
    return parse_quantity(name).better if is_quantity(name) else Better.LOWER

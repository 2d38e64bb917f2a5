"""How far the clock of each host is from the coordinator's, and how well that is known.

Takes     an engine's hosts
Gives     of each the best of `EXCHANGES` questions and answers
Source    RFC 5905, as measure.clock_offset says
"""

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from trafficgen.cluster.engine import Engine
from trafficgen.measure.clock_offset import ClockExchange, best

EXCHANGES: Final = 8


class Clock(NamedTuple):
    """What a host's clock is ahead of ours, and the most by which that may be wrong, ns."""

    offset_ns: int
    error_ns: int


def clock_of(engine: Engine, host: str, wall_ns: Callable[[], int] = time.time_ns) -> Clock:
    """Ask one host, one question after the other. OSError when it does not answer."""
    exchanges = []
    for _ in range(EXCHANGES):
        asked_ns = wall_ns()
        answer = engine.ask(host, "clock")
        if (error := answer.exception()) is not None:
            raise OSError(str(error) or type(error).__name__) from error
        received_ns, answered_ns = answer.result()
        exchanges.append(ClockExchange(asked_ns, received_ns, answered_ns, wall_ns()))
    quickest = best(exchanges)
    return Clock(quickest.offset, -(-quickest.delay // 2))

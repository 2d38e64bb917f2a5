"""What a machine's generator is capable of, and how much of that a run used.

Takes     rates measured on this machine towards its own sink, by message size and number of sessions
Gives     the rate to expect for any size and number of sessions; the share of it that a run reached
Holds     what one message costs to be a fixed part and a part that grows with its size: between two measured sizes the
          time per message is on a straight line
Not here  the measuring (`traffic-gen calibrate`)
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from trafficgen.errors import ResultsError, reason_of
from trafficgen.measure.codec import Amount, from_plain, parse, to_plain
from trafficgen.measure.generator import Host
from trafficgen.measure.results import Results


@dataclass(frozen=True, slots=True)
class CeilingPoint:
    """One measurement: messages a second at this mean size and number of sessions."""

    size_bytes: Amount
    sessions: Annotated[int, Meta(ge=1)]
    messages_per_s: Annotated[float, Meta(gt=0, le=1e12)]


@dataclass(frozen=True, slots=True)
class Ceiling:
    """All of them, from one machine on one day."""

    measured_at: str
    tool_version: str
    host: Host
    points: tuple[CeilingPoint, ...]

    def rate_per_s(self, size_bytes: float, sessions: int) -> float:
        """Messages a second to expect at most. Sessions are taken as the nearest measured number."""
        nearest = min({point.sessions for point in self.points}, key=lambda number: abs(math.log(number / sessions)))
        known = sorted((p.size_bytes, 1 / p.messages_per_s) for p in self.points if p.sessions == nearest)
        return 1 / _on_line(known, size_bytes)

    def share_used(self, results: Results) -> float | None:
        """How near `results` came to it; None when nothing was accepted or it was another machine."""
        accepted = results.messages.accepted
        if not accepted or results.host != self.host:
            return None
        size = results.messages.bytes / accepted
        sessions = int(results.plan.get("sessions") or 1)
        return results.rate.messages_per_s / self.rate_per_s(size, sessions)

    def to_json(self) -> str:
        return json.dumps(to_plain(self), indent=1) + "\n"


def read_ceiling(path: Path) -> Ceiling | None:
    """What `to_json` wrote; None when there is no such file. ResultsError when it is damaged."""
    try:
        ceiling = from_plain(Ceiling, parse(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ResultsError(
            f'cannot use the calibration in "{path}": {reason_of(error)}; measure it anew or remove it'
        ) from error
    return ceiling if ceiling.points else None


def _on_line(known: Sequence[tuple[float, float]], at: float) -> float:
    """Between two neighbours, or on from the outermost two; never below the least known."""
    if len(known) == 1:
        return known[0][1]
    upper = next((index for index in range(1, len(known) - 1) if known[index][0] >= at), len(known) - 1)
    (x0, y0), (x1, y1) = known[upper - 1], known[upper]
    least = min(cost for _, cost in known)
    return max(y0 + (y1 - y0) * (at - x0) / (x1 - x0), least)

"""Numbers of what an observer saw of the server, by name.

    queue.depth queue.oldest            the highest while mail was sent
    host.io_pressure server.cpu …       the mean while mail was sent
    space.free                          the lowest
    queue.undelivered                   accepted and not yet at our own sink (`Delivery.undelivered`): the highest
    queue.depth.avg disk.vda.await.p95  another: avg, min, max, med, p95 or any percentile, last

Takes     a name; `Results` with `server`, or with `delivery`
Gives     the unit that its limit has in a threshold; the value, in ns where that is a duration
Fails     None for a name of something else; None where nothing was seen
"""

import math
import re
from statistics import fmean
from typing import Final

from trafficgen.clock import NS_PER_S
from trafficgen.measure.results import Results

SERVER: Final = "server"
"""The subject of such a quantity."""

METRIC: Final = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_KINDS: Final = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"queue\.(oldest|age_p50|age_p99)|disk\.[^.]+\.await|dovecot\.[\w:-]+\.took", "ns"),
        (r"host\.(cpu|io|memory)_pressure(_full)?|host\.cpu_(user|system|irq|iowait|steal|busy)", "share"),
        (r"disk\.[^.]+\.busy", "share"),
        (
            r"queue\.(maildrop|incoming|active|deferred|hold|depth|undelivered)|(host|server)\.(running|blocked)",
            "count",
        ),
        (r"disk\.[^.]+\.in_flight|server\.processes|host\.cores|space\.inodes_free", "count"),
        (r"space\.free|host\.memory_(available|dirty)", "octets"),
        (r"server\.written|disk\.[^.]+\.(read|written)", "octets per second"),
        (rf"server\.(cpu|cpu_wait|busiest)|disk\.[^.]+\.queue|metric\.{METRIC}", "number"),
        (
            r"host\.listen_(overflows|drops)|disk\.[^.]+\.(flushes|writes|reads)|server\.faults|dovecot\.[\w:-]+",
            "per second",
        ),
    )
)
_FORM: Final = re.compile(r"(.+?)(?:\.(avg|min|max|med|last|p\(?\d{1,2}(?:\.\d+)?\)?))?")
_HIGHEST: Final = "queue."
_LOWEST: Final = "space."
UNDELIVERED: Final = "queue.undelivered"


def kind_of_series(name: str) -> str | None:
    """The value of a `QuantityKind`; None when no series is named so."""
    series, _ = _split(name)
    return next((kind for pattern, kind in _KINDS if pattern.fullmatch(series)), None)


def read_series(results: Results, name: str) -> float | None:
    """The value, of the window where there is one, else of the time in which mail was sent."""
    series, form = _split(name)
    from_s, to_s = (results.window.from_s, results.window.to_s) if results.window else (0.0, results.run.ended_s)
    if series == UNDELIVERED:
        values = _undelivered(results, from_s, to_s)
    else:
        values = results.server.within(series, from_s, to_s) if results.server else []
    if not values:
        return None
    usual = "max" if series.startswith(_HIGHEST) else "min" if series.startswith(_LOWEST) else "avg"
    value = _of(values, form or usual)
    return value * NS_PER_S if kind_of_series(series) == "ns" else value


def _undelivered(results: Results, from_s: float, to_s: float) -> list[float]:
    delivery = results.delivery
    seen = enumerate(delivery.undelivered) if delivery else ()
    return [float(many) for place, many in seen if delivery and from_s <= place * delivery.every_s <= to_s]


def _split(name: str) -> tuple[str, str | None]:
    found = _FORM.fullmatch(name)
    return (found[1], found[2]) if found else (name, None)


def _of(values: list[float], form: str) -> float:
    match form:
        case "avg":
            return fmean(values)
        case "min":
            return min(values)
        case "max":
            return max(values)
        case "last":
            return values[-1]
    share = 0.5 if form == "med" else float(form.strip("p()")) / 100
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]

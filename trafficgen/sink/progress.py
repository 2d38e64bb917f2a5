"""What a sink says of itself, whether it is one process or several: where it listens, how it goes, how it ended.

Takes     counts, once a second and at the end
Gives     lines for people
Not here  counting (listen, store), adding workers up (process_pool)
"""

import ipaddress
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from typing import Final, Self

from mboxgen.counted import plural
from trafficgen.plan import Target, TcpTarget
from trafficgen.sink.bounces.bounces import BouncePlan, ReportTotals
from trafficgen.sink.listen.server import Sink

Say = Callable[[str], None]

_LISTENING: Final = "sink listening on {}; it relays nothing; Ctrl-C ends it"
_BOUNCING: Final = "bounces and complaints about accepted messages go to {}; nothing else is sent anywhere"
_SMUGGLING: Final = "{} non-standard ends of data inside messages (possible SMTP smuggling)"
_TURNED_AWAY: Final = "{} {} beyond what this process may hold open answered 421; raise the limit (ulimit -n)"
_APART_S: Final = 0.9
"""Between two lines: those who count tell about once a second."""


@dataclass(frozen=True, slots=True)
class Count:
    """What one sink did so far, or several together. `sessions` are open, `smuggled` non-standard ends of data."""

    messages: int = 0
    octets: int = 0
    sessions: int = 0
    smuggled: int = 0
    turned_away: int = 0
    reports: ReportTotals = field(default_factory=ReportTotals)

    @classmethod
    def of(cls, sink: Sink) -> Self:
        """Of this sink, now."""
        reports = sink.bounces.totals if sink.bounces is not None else ReportTotals()
        return cls(sink.received, sink.octets, len(sink.links), sink.smuggling, sink.turned_away, reports)

    def __add__(self, other: "Count") -> "Count":
        reports = ReportTotals(*map(sum, zip(astuple(self.reports), astuple(other.reports), strict=True)))
        return Count(
            self.messages + other.messages,
            self.octets + other.octets,
            self.sessions + other.sessions,
            self.smuggled + other.smuggled,
            self.turned_away + other.turned_away,
            reports,
        )


def announce(address: Target, say: Say, bounces: BouncePlan | None = None) -> None:
    """Where a sink listens, once it does, who else can reach it there, and where it sends reports."""
    say(_LISTENING.format(address))
    if isinstance(address, TcpTarget) and not ipaddress.ip_address(address.host).is_loopback:
        say(f"warning: {address} can be reached from elsewhere; anybody may send mail to this sink")
    if bounces is not None:
        say(_BOUNCING.format(bounces.to))


class SpokenCounts:
    """The lines while mail comes, and the last ones."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._messages = 0
        self._shown_s = time.monotonic()
        self._full = False

    def show(self, count: Count) -> None:
        """Say how it goes, once a second at most and only when mail has come."""
        if count.turned_away and not self._full:
            self._full = True
            self._say(f"warning: {_turned_away(count.turned_away)}")
        passed_s = time.monotonic() - self._shown_s
        if passed_s < _APART_S:
            return
        new, self._messages = count.messages - self._messages, count.messages
        self._shown_s += passed_s
        if new:
            messages = f"{count.messages} {plural(count.messages, 'message')}, {new / passed_s:.0f}/s"
            self._say(f"{messages}, {count.sessions} {plural(count.sessions, 'session')} open")

    def end(self, count: Count, *, reports: bool, at_least: bool = False) -> None:
        """Say what was accepted; `at_least`: by a worker that died perhaps more. `reports`: and what was sent."""
        mail, octets = plural(count.messages, "message"), plural(count.octets, "octet")
        some = "at least " if at_least else ""
        self._say(f"{some}{count.messages} {mail} accepted, {count.octets} {octets}")
        if count.smuggled:
            self._say(_SMUGGLING.format(count.smuggled))
        if count.turned_away:
            self._say(_turned_away(count.turned_away))
        if reports:
            self._say(count.reports.line)


def _turned_away(connections: int) -> str:
    return _TURNED_AWAY.format(connections, plural(connections, "connection"))

"""What shape sessions have, besides the messages that they carry one behind the other."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from trafficgen.clock import NS_PER_S
from trafficgen.plan.refusals import (
    MAX_MESSAGES,
    check_count,
    check_duration,
    check_types,
    check_weight,
    shown_number,
    wrong,
)

MAX_IDLE: Final = 1_000_000
MAX_SLOW: Final = 1_000_000
"""Octets a second: beyond, a piece is more than a message."""


class LeavingStep(Enum):
    """Where a session may go that hands nothing over; the words are the sink's for the same stages."""

    CONNECT = "connect"
    """The connection is made, and answered by the greeting."""

    HELO = "helo"
    MAIL = "mail"
    RCPT = "rcpt"
    """The last recipient of its message."""

    DATA = "data"
    BODY = "body"
    """Half of the message is sent, which no server answers."""


@dataclass(frozen=True, slots=True)
class Departure:
    """This share of the sessions go at a step, without handing a message over.

    `quits`: with QUIT, which comes before DATA at the latest; otherwise the connection is closed without a word.
    `waits`: for the answer to that step; otherwise it closes as soon as the step is sent.
    """

    share: float
    step: LeavingStep = LeavingStep.HELO
    quits: bool = False
    waits: bool = True

    def __post_init__(self) -> None:
        check_types(self)
        flag = "--leave-share" if self.quits else "--drop-share"
        if not 0.0 < self.share < 1.0:
            raise wrong("departures", f"expected a share above 0 and below 1, got {shown_number(self.share)}", flag)
        if self.quits and (self.step in (LeavingStep.DATA, LeavingStep.BODY) or not self.waits):
            text = (
                "expected an answered connect, helo, mail or rcpt before QUIT; sessions close at others: --drop-share"
            )
            raise wrong("departures", text, flag)

    @property
    def early(self) -> bool:
        """Whether it comes before the answer to EHLO."""
        return self.step is LeavingStep.CONNECT or (self.step is LeavingStep.HELO and not self.waits)


@dataclass(frozen=True, slots=True)
class ShapePlan:
    """Sessions of different shapes; what is empty or 0 is not done.

    `messages`: how many messages a session carries, with weights, in place of `SessionPlan.max_messages`. `leave_share`
    of the sessions say EHLO and QUIT, and `drop_share` of them close the connection after EHLO without a word: neither
    carries a message. `departures`: more such sessions, that go at other steps. `slow_share` of the sessions send
    `slow_octets_per_s` and no faster. `think_ns`: how long a session rests between two messages. `reset_between`: RSET
    between them.
    `idle_sessions`: so many more are held open, carry no message, and say NOOP every `noop_ns` (0: never).
    """

    messages: tuple[tuple[int, float], ...] = ()
    leave_share: float = 0.0
    drop_share: float = 0.0
    think_ns: int = 0
    reset_between: bool = False
    idle_sessions: int = 0
    noop_ns: int = 60 * NS_PER_S
    slow_share: float = 0.0
    slow_octets_per_s: int = 0
    departures: tuple[Departure, ...] = ()

    def __post_init__(self) -> None:
        check_types(self)
        for count, weight in self.messages:
            check_count(count, "messages", "messages a session", "--messages-per-session", most=MAX_MESSAGES)
            check_weight(weight, f"the weight of {count}", "--messages-per-session")
        for share, field, flag in (
            (self.leave_share, "leave_share", "--leave-share"),
            (self.drop_share, "drop_share", "--drop-share"),
        ):
            if not 0.0 <= share < 1.0:
                raise wrong(field, f"expected a share of 0 to below 1, got {shown_number(share)}", flag)
        if not 0.0 <= self.slow_share <= 1.0:
            text = f"expected a share of 0 to 1, got {shown_number(self.slow_share)}"
            raise wrong("slow_share", text, "--slow-senders")
        if self.slow_share:
            what = "octets a second"
            check_count(self.slow_octets_per_s, "slow_octets_per_s", what, "--slow-senders", most=MAX_SLOW)
        if sum(one.share for one in self.leaving) >= 1.0:
            raise wrong("drop_share", "expected some sessions to be left that carry messages", "--drop-share")
        if not 0 <= self.idle_sessions <= MAX_IDLE:
            text = f"expected 0 to {MAX_IDLE} idle sessions, got {shown_number(self.idle_sessions)}"
            raise wrong("idle_sessions", text, "--idle-sessions")
        check_duration(self.noop_ns, "noop_ns", "the time between two NOOPs", "--noop-every", least_ns=0)
        check_duration(self.think_ns, "think_ns", "a think time", "--think-time", least_ns=0)

    @property
    def one_at_a_time(self) -> bool:
        """Whether a message may not follow another one of its session at once."""
        return self.think_ns > 0 or self.reset_between

    @property
    def leaving(self) -> tuple[Departure, ...]:
        """All sessions that go without handing a message over."""
        after_ehlo = ((self.leave_share, True), (self.drop_share, False))
        return (*(Departure(share, quits=quits) for share, quits in after_ehlo if share), *self.departures)

    @property
    def drawn(self) -> bool:
        """Whether sessions differ."""
        return bool(self.messages or self.leaving or self.slow_share)

"""What shape sessions have, besides the messages that they carry one behind the other."""

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class ShapePlan:
    """Sessions of different shapes; what is empty or 0 is not done.

    `messages`: how many messages a session carries, with weights, in place of `SessionPlan.max_messages`. `leave_share`
    of the sessions say EHLO and QUIT, and `drop_share` of them close the connection after EHLO without a word: neither
    carries a message. `slow_share` of the sessions send `slow_octets_per_s`
    and no faster. `think_ns`: how long a session rests between two messages. `reset_between`: RSET between them.
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
        if self.leave_share + self.drop_share >= 1.0:
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
    def drawn(self) -> bool:
        """Whether sessions differ."""
        return bool(self.messages or self.leave_share or self.drop_share or self.slow_share)

"""Faults: what goes wrong at a stage, and how often.

    --delay dot:50ms:10%      wait before dealing with it             --tarpit 2s        the same at every stage
    --drip rcpt:20ms          so long between the reply's octets      --reject rcpt:450:5%
    --drop dot:before:1%      hang up instead of dealing with it      --drop dot:after:1%   deal with it, then hang up
    --stall dot:after         the same two, but without hanging up    --reset, --garbage, likewise

Takes     texts of that form
Gives     a table; what it does at a stage is drawn ahead like everything else
Refuses   with a PlanError what cannot be meant
Not here  carrying it out (smtp.framing, link)

`before` leaves the message untaken, `after` takes it and loses the reply, which makes a second copy legal. A stall
after DATA stops reading, so that the sender is stuck in the middle of its message.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np

from mboxgen import streams
from mboxgen.enums import table_of
from trafficgen.errors import PlanError
from trafficgen.protocol.smtp.policy_hooks import AS_USUAL, Decision, Disposition, SessionStage
from trafficgen.sink.policy.replies import render
from trafficgen.sink.policy.sampler import Delay

_BLOCK: Final = 1024
_GARBAGE: Final = b"\x00\x9f!?*~ 999-#\xff\r\n"
_ODDS: Final = re.compile(r"(?:(\d+(?:\.\d+)?)(%?)|1/(\d{1,18}))")


class FaultKind(Enum):
    """What happens."""

    DELAY = "delay"
    DRIP = "drip"
    REJECT = "reject"
    DROP = "drop"
    RESET = "reset"
    STALL = "stall"
    GARBAGE = "garbage"


_SILENT: Final = table_of(
    [kind for kind in FaultKind if kind not in (FaultKind.DELAY, FaultKind.DRIP, FaultKind.REJECT, FaultKind.GARBAGE)],
    {FaultKind.DROP: Disposition.CLOSE, FaultKind.RESET: Disposition.RESET, FaultKind.STALL: Disposition.STALL},
)
"""What follows those that say nothing."""


@dataclass(frozen=True, slots=True)
class SinkFault:
    """One line of the table. `share` of the times, from 0 to 1; `after`: once the command has been dealt with."""

    stage: SessionStage
    kind: FaultKind
    share: float = 1.0
    after: bool = False
    delay: Delay | None = None
    code: int = 0

    def __str__(self) -> str:
        """The line that `read` understands."""
        what = self.delay.text if self.delay else str(self.code) if self.code else "after" if self.after else ""
        odds = "" if self.share == 1 else f"{self.share * 100:.10f}".rstrip("0").rstrip(".") + "%"
        return f"{self.kind.value} " + ":".join(part for part in (self.stage.value, what, odds) if part)

    def answer(self, delay_ns: int) -> Decision:
        """What comes of it."""
        match self.kind:
            case FaultKind.DELAY:
                return Decision(wait_ns=delay_ns)
            case FaultKind.DRIP:
                return Decision(drip_ns=delay_ns)
            case FaultKind.REJECT:
                return Decision(reply=reject_text(self.code))
            case FaultKind.GARBAGE:
                return Decision(reply=_GARBAGE)
        disposition = _SILENT[self.kind]
        if self.kind is FaultKind.STALL and self.stage is SessionStage.DATA and self.after:
            return Decision(disposition=Disposition.STOP_READING)
        if self.stage is SessionStage.STARTTLS and self.after:
            return Decision(disposition=disposition)  # the go-ahead is said, and then the handshake hangs
        return (
            Decision(silent=True, disposition=disposition)
            if self.after
            else Decision(reply=b"", disposition=disposition)
        )


def parse(kind: FaultKind, text: str) -> SinkFault:
    """One fault from `STAGE[:what][:ODDS]`."""
    stage_text, *rest = text.lower().split(":")
    stage = next((stage for stage in SessionStage if stage.value == stage_text), None)
    if stage is None:
        names = ", ".join(stage.value for stage in SessionStage)
        raise _wrong(kind, f'expected one of {names} before the first colon, got "{text}"')
    share = 1.0
    wanted = 1 if kind in (FaultKind.DELAY, FaultKind.DRIP, FaultKind.REJECT) else 0
    if kind in (FaultKind.DELAY, FaultKind.DRIP) and rest[:1] and rest[0] in ("uniform", "lognormal", "exponential"):
        rest = [":".join(rest[:2]), *rest[2:]]
    if kind in (FaultKind.DROP, FaultKind.RESET, FaultKind.STALL) and rest[:1] and rest[0] in ("before", "after"):
        wanted = 1
    if len(rest) not in (wanted, wanted + 1):
        raise _wrong(kind, f'expected STAGE{":WHAT" * wanted}[:ODDS], got "{text}"')
    if len(rest) == wanted + 1:
        share = parse_share(rest[-1], f"--{kind.value}")
    if kind is FaultKind.REJECT:
        if not re.fullmatch(r"[45]\d\d", rest[0]):
            raise _wrong(kind, f'expected a code from 400 to 599, got "{rest[0]}"')
        return SinkFault(stage, kind, share, code=int(rest[0]))
    if kind in (FaultKind.DELAY, FaultKind.DRIP):
        try:
            return SinkFault(stage, kind, share, delay=Delay(rest[0]))
        except ValueError as error:
            raise _wrong(kind, str(error)) from error
    return SinkFault(stage, kind, share, after=rest[:1] == ["after"])


def read(line: str) -> SinkFault:
    """ "delay dot:50ms:10%": a kind and what its option takes."""
    name, _, text = line.partition(" ")
    kind = next((kind for kind in FaultKind if kind.value == name), None)
    if kind is None:
        raise PlanError(f'expected a fault such as "delay dot:50ms", got "{line[:100]}"', field="faults", flag="Faults")
    return parse(kind, text.strip())


def tarpit(text: str) -> list[SinkFault]:
    """The same delay at every stage."""
    return [parse(FaultKind.DELAY, f"{stage.value}:{text}") for stage in SessionStage]


def parse_share(text: str, flag: str) -> float:
    """ "10%", "0.1" or "1/10" as 0.1; `flag` is for errors."""
    found = _ODDS.fullmatch(text)
    if found is None or (found[3] and not int(found[3])):
        raise PlanError(f'expected odds such as 10%, 0.1 or 1/10, got "{text}"', field="share", flag=flag)
    share = 1 / int(found[3]) if found[3] else float(found[1]) / (100 if found[2] else 1)
    if share > 1:
        raise PlanError(f'expected odds of 100 % at most, got "{text}"', field="share", flag=flag)
    return share


def reject_text(code: int) -> bytes:
    """The words that go with a code, with the enhanced code of its class (RFC 3463)."""
    return render(code, f"{code // 100}.7.0 refused on purpose: this is a test")


class FaultSampler:
    """The faults of one stage, drawn together: delays add up, of the others the first one listed that comes up wins."""

    __slots__ = ("_block", "_faults", "_seed", "_stage", "ahead")

    def __init__(self, seed: int, stage: SessionStage, faults: Iterable[SinkFault]) -> None:
        self._seed = seed
        self._stage = stage
        self._faults = tuple(faults)
        self._block = 0
        self.ahead: list[Decision | None] = []

    def draw(self) -> Decision | None:
        """What happens this time; None for nothing."""
        if not self.ahead:
            answers: list[Decision | None] = [None] * _BLOCK
            for number, fault in enumerate(self._faults):
                stream = f"sink/fault/{self._stage.value}/{number}/{fault.kind.value}"
                raw = streams.raw(self._seed, stream, self._block, _BLOCK)
                hits = np.flatnonzero((raw >> np.uint64(11)).astype(np.float64) / 2.0**53 < fault.share).tolist()
                delays = fault.delay.block(self._seed, f"{stream}/delay", self._block, _BLOCK) if fault.delay else ()
                for hit in hits:
                    answers[hit] = combine(answers[hit], fault.answer(delays[hit] if delays else 0))
            self._block += 1
            self.ahead = answers[::-1]
        return self.ahead.pop()


def table(faults: Iterable[SinkFault], seed: int) -> Mapping[SessionStage, FaultSampler]:
    """By stage, only those at which something may happen."""
    by_stage: dict[SessionStage, list[SinkFault]] = {}
    for fault in faults:
        if fault.share > 0:
            by_stage.setdefault(fault.stage, []).append(fault)
    return {stage: FaultSampler(seed, stage, listed) for stage, listed in by_stage.items()}


def combine(first: Decision | None, second: Decision | None) -> Decision | None:
    """Both at once: waits add up, and of what is done the first one that is not the usual."""
    if first is None or second is None:
        return first or second
    done, other = (second, first) if first._replace(wait_ns=0) == AS_USUAL else (first, second)
    return done._replace(wait_ns=first.wait_ns + second.wait_ns, drip_ns=done.drip_ns or other.drip_ns)


def _wrong(kind: FaultKind, text: str) -> PlanError:
    return PlanError(text, field="faults", flag=f"--{kind.value}")

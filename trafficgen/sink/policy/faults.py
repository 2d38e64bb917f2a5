"""Faults: which kind at which stage, and how often.

    STAGE[:VALUE][:ODDS]      dot:50ms:10%   rcpt:uniform:10ms-2s   rcpt:450:5%   dot:after:1%   data

Takes     texts of that form, as options have them, or with the kind's word in front ("delay dot:50ms")
Gives     the faults of each stage; what they do is drawn ahead
Refuses   with a PlanError what cannot be meant
Not here  the kinds and their effects (fault_kinds), carrying them out (protocol/smtp, listen)

`before` does not accept the message; `after` accepts it and loses the reply, so that the sender may send it again. A
stall after DATA stops reading, so that the sender blocks in the middle of its message.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from mboxgen import streams
from trafficgen.errors import PlanError
from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp.policy_hooks import AS_USUAL, STAGES, Decision
from trafficgen.sink.policy.delay import Delay
from trafficgen.sink.policy.fault_kinds import FaultKind, Value

_BLOCK: Final = 1024
_ODDS: Final = re.compile(r"(?:(\d+(?:\.\d+)?)(%?)|1/(\d{1,18}))")


@dataclass(frozen=True, slots=True)
class SinkFault:
    """One fault. `share` of the times, from 0 to 1; `value` is what its kind's parameter says."""

    stage: Phase
    kind: FaultKind
    share: float = 1.0
    value: Value = 0

    def __str__(self) -> str:
        """The line that `read` understands."""
        odds = "" if self.share == 1 else f"{self.share * 100:.10f}".rstrip("0").rstrip(".") + "%"
        parts = (STAGES[self.stage], self.kind.parameter.show(self.value), odds)
        return f"{self.kind.word} " + ":".join(part for part in parts if part)


def parse(kind: FaultKind, text: str) -> SinkFault:
    """One fault from what its option takes."""
    text = text.lower()
    stage_text = text.partition(":")[0]
    stage = next((stage for stage in kind.stages if STAGES[stage] == stage_text), None)
    if stage is None:
        names = ", ".join(STAGES[stage] for stage in kind.stages)
        raise _wrong(kind, f'expected one of {names} before the first colon, got "{text}"')
    found = re.fullmatch(rf"\w+{kind.parameter.pattern}(?::([^:]+))?", text)
    if found is None:
        raise _wrong(kind, f'expected {kind.metavar}, got "{text}"')
    share = 1.0 if found[2] is None else parse_share(found[2], kind.option)
    try:
        return SinkFault(stage, kind, share, kind.parameter.read(found[1]))
    except ValueError as error:
        raise _wrong(kind, str(error)) from error


def read(line: str) -> SinkFault:
    """ "delay dot:50ms:10%": a kind's word and what its option takes."""
    word, _, text = line.partition(" ")
    kind = next((kind for kind in FaultKind if kind.word == word), None)
    if kind is None:
        words = ", ".join(kind.word for kind in FaultKind)
        raise PlanError(
            f'expected one of {words} in a fault such as "delay dot:50ms", got "{line[:100]}"',
            field="faults",
            flag="Faults",
        )
    return parse(kind, text.strip())


def tarpit(text: str) -> list[SinkFault]:
    """The same delay at every stage."""
    try:
        return [parse(FaultKind.DELAY, f"{STAGES[stage]}:{text}") for stage in STAGES]
    except PlanError as error:
        raise PlanError(error.text, field="faults", flag="--tarpit") from error


def parse_share(text: str, flag: str) -> float:
    """ "10%", "0.1" or "1/10" as 0.1; `flag` is for errors."""
    found = _ODDS.fullmatch(text)
    if found is None or (found[3] and not int(found[3])):
        raise PlanError(f'expected odds such as 10%, 0.1 or 1/10, got "{text}"', field="share", flag=flag)
    share = 1 / int(found[3]) if found[3] else float(found[1]) / (100 if found[2] else 1)
    if share > 1:
        raise PlanError(f'expected odds of 100 % at most, got "{text}"', field="share", flag=flag)
    return share


class FaultSampler:
    """The faults of one stage, drawn together: delays add up, of the others the first one listed that comes up wins."""

    __slots__ = ("_block", "_faults", "_seed", "_stage", "ahead")

    def __init__(self, seed: int, stage: Phase, faults: Iterable[SinkFault]) -> None:
        self._seed = seed
        self._stage = stage
        self._faults = tuple(faults)
        self._block = 0
        self.ahead: list[Decision | None] = []

    def draw(self) -> Decision | None:
        """What happens this time; None for nothing."""
        if not self.ahead:
            decisions: list[Decision | None] = [None] * _BLOCK
            for number, fault in enumerate(self._faults):
                stream = f"sink/fault/{STAGES[self._stage]}/{number}/{fault.kind.word}"
                raw = streams.raw(self._seed, stream, self._block, _BLOCK)
                hits = np.flatnonzero((raw >> np.uint64(11)).astype(np.float64) / 2.0**53 < fault.share).tolist()
                for hit, value in zip(hits, self._values(fault, stream, hits), strict=True):
                    decisions[hit] = combine(decisions[hit], fault.kind.effect(self._stage, value))
            self._block += 1
            self.ahead = decisions[::-1]
        return self.ahead.pop()

    def _values(self, fault: SinkFault, stream: str, hits: list[int]) -> list[int]:
        if not isinstance(fault.value, Delay):
            return [fault.value] * len(hits)
        delays = fault.value.block(self._seed, f"{stream}/delay", self._block, _BLOCK)
        return [delays[hit] for hit in hits]


def table(faults: Iterable[SinkFault], seed: int) -> Mapping[Phase, FaultSampler]:
    """By stage, only those at which something may happen."""
    by_stage: dict[Phase, list[SinkFault]] = {}
    for fault in faults:
        if fault.share > 0:
            by_stage.setdefault(fault.stage, []).append(fault)
    return {stage: FaultSampler(seed, stage, listed) for stage, listed in by_stage.items()}


def combine(first: Decision | None, second: Decision | None) -> Decision | None:
    """Both at once: waits add up, and of what is done the first one that is not the usual."""
    if first is None or second is None:
        return first or second
    done, other = (second, first) if first._replace(wait_ns=0) == AS_USUAL else (first, second)
    return done._replace(
        wait_ns=first.wait_ns + second.wait_ns,
        drip_ns=done.drip_ns or other.drip_ns,
        receiver=done.receiver or other.receiver,
    )


def _wrong(kind: FaultKind, text: str) -> PlanError:
    return PlanError(text, field="faults", flag=kind.option)

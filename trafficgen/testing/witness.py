"""A sink's policy that notes what clients did, so that a test that waited in vain can say what came instead.

Takes     a sink's commands and messages; faults, each for so many times or until it is taken away
Gives     decisions as the sink's own policy makes them; `Conversations`, a few lines for each session
Limits    the last `MAX_SESSIONS` sessions, `MAX_LINES` lines of each
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from trafficgen.outcomes import Phase
from trafficgen.printable import printable
from trafficgen.protocol.smtp.policy_hooks import STAGES, Decision, Disposition
from trafficgen.sink.policy.faults import FaultSampler, SinkFault
from trafficgen.sink.policy.limits import Limits
from trafficgen.sink.policy.policy import Policy, PolicyConfig, SessionPolicy

MAX_SESSIONS: Final = 20
MAX_LINES: Final = 12
_MAX_CHARACTERS: Final = 160


class Conversations:
    """What clients did."""

    def __init__(self) -> None:
        self.sessions = 0
        """So far."""
        self._latest: deque[tuple[int, deque[str]]] = deque(maxlen=MAX_SESSIONS)

    def begin(self) -> deque[str]:
        """The lines of a new session, to be appended to."""
        self.sessions += 1
        lines: deque[str] = deque(maxlen=MAX_LINES)
        self._latest.append((self.sessions, lines))
        return lines

    def lines(self) -> list[str]:
        """One line a session, the latest last."""
        return [
            f"session {number}: {'; '.join(lines) or 'connected, and said nothing'}" for number, lines in self._latest
        ]


class _Counted:
    """A fault that happens so many times."""

    def __init__(self, fault: SinkFault, times: int, seed: int) -> None:
        self.stage = fault.stage
        self.left = times
        self._sampler = FaultSampler(seed, fault.stage, [fault])

    def draw(self) -> Decision | None:
        decision = self._sampler.draw()
        if decision is not None:
            self.left -= 1
        return decision


class WitnessPolicy(Policy):
    """What all sessions of a test's sink share. Its methods belong to the sink's thread."""

    def __init__(self, limits: Limits, faults: Iterable[SinkFault]) -> None:
        super().__init__(PolicyConfig(limits=limits, faults=tuple(faults)))
        self.conversations = Conversations()
        self._counted: list[_Counted] = []

    def session(self, address: bytes) -> "WitnessSession":
        return WitnessSession(self, address)

    def set_faults(self, faults: Iterable[SinkFault]) -> None:
        """Use these from now on, and no other."""
        super().set_faults(faults)
        self._counted = []

    def add_fault(self, fault: SinkFault, times: int | None) -> None:
        """Besides the others; `times` None: until it is taken away."""
        if times is None:
            counted = self._counted
            self.set_faults([*self.listed, fault])
            self._counted = counted
        else:
            self._counted.append(_Counted(fault, times, self.config.seed))

    def counted(self, stage: Phase) -> Decision | None:
        """What those faults do that happen only so many times."""
        for one in self._counted:
            if one.stage is stage and one.left and (decision := one.draw()) is not None:
                return decision
        return None


class WitnessSession(SessionPolicy):
    """The policy of one session: every command is asked about, and noted."""

    __slots__ = ("_lines", "_witness")

    def __init__(self, policy: WitnessPolicy, address: bytes) -> None:
        super().__init__(policy, address)
        self._witness = policy
        self._lines = policy.conversations.begin()

    def decide(self, stage: Phase, argument: bytes, sender: bytes, octets: int) -> Decision | None:
        decision = self._witness.counted(stage) or super().decide(stage, argument, sender, octets)
        if stage is Phase.GREETING and decision is None:
            return None  # every session begins so
        words = "" if stage is Phase.DATA else argument.decode("utf-8", "replace")
        self._note(f"{STAGES[stage].upper()} {words}".strip(), decision)
        return decision

    def decide_message(self, sender: bytes, recipients: list[bytes], octets: int) -> Decision | None:
        decision = self._witness.counted(Phase.END_OF_DATA) or super().decide_message(sender, recipients, octets)
        self._note(f"a message of {octets} octets", decision)
        return decision

    def accept_mail(self) -> bool:
        return False  # every command goes through `decide`

    def accept_rcpt(self, recipient: bytes) -> bool:
        return False

    def accept_data(self) -> bool:
        return False

    def accept_envelope(self, sender: bytes, recipient: bytes) -> bool:
        return False

    def _note(self, what: str, decision: Decision | None) -> None:
        if decision is not None:
            what += f" ({_described(decision)})"
        self._lines.append(printable(what)[:_MAX_CHARACTERS])


def _described(decision: Decision) -> str:
    """What a test was told to expect of this."""
    words = []
    if decision.wait_ns:
        words.append(f"delayed by {decision.wait_ns / 1e6:g} ms")
    if decision.reply:
        words.append(f"answered {decision.reply.decode('ascii', 'replace').strip()}")
    elif decision.reply is not None or decision.silent:
        words.append("not answered")
    if decision.disposition is not Disposition.CONTINUE:
        words.append(f"then: {decision.disposition.value}")
    return ", ".join(words) or "changed by a fault"

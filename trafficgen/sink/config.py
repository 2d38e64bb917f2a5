"""A sink, described: where it listens, how it behaves, what it keeps.

Takes     values that are already understood
Gives     a frozen, picklable description, the same for one process or many
Not here  text to values (the command line), the sink itself (serve)
"""

from dataclasses import dataclass, field
from pathlib import Path

from trafficgen.plan import Target, TcpTarget
from trafficgen.protocol.smtp.capabilities import Capabilities
from trafficgen.sink.bounces.bounces import BouncePlan
from trafficgen.sink.listen.server import IDLE_S, STUCK_S
from trafficgen.sink.policy.faults import SinkFault
from trafficgen.sink.policy.judge import PEACEFUL, Terms
from trafficgen.sink.policy.limits import Limits
from trafficgen.sink.policy.responses import read
from trafficgen.sink.store.capture import Form


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How it treats mail. `responses` is a file; None refuses nothing."""

    responses: Path | None = None
    kumo_odds: bool = False
    suffixes: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    faults: tuple[SinkFault, ...] = ()
    seed: int = 0

    @property
    def peaceful(self) -> bool:
        """Whether everything is taken at once, so that no judge is needed."""
        return self.responses is None and not self.faults and self.limits == Limits()

    def terms(self) -> Terms:
        """With the table read from its file. Raises PlanError when it is wrong."""
        responses = read(self.responses) if self.responses is not None else PEACEFUL
        return Terms(responses, self.limits, self.faults, self.suffixes, self.kumo_odds, self.seed)


@dataclass(frozen=True, slots=True)
class SinkSecurity:
    """`at_once`: TLS from the first octet, else STARTTLS. Without a certificate one is made."""

    at_once: bool = False
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class CapturePlan:
    """What to keep of messages, where, and how much at most."""

    form: Form
    path: Path
    max_octets: int | None = None


@dataclass(frozen=True, slots=True)
class SinkConfig:
    """One sink."""

    listen: Target
    offer: Capabilities = field(default_factory=Capabilities)
    security: SinkSecurity | None = None
    behaviour: Behaviour = field(default_factory=Behaviour)
    ledger: bool = True
    ledger_file: Path | None = None
    api: TcpTarget | None = None
    capture: CapturePlan | None = None
    returns: BouncePlan | None = None
    workers: int = 1
    idle_s: float = IDLE_S
    stuck_s: float = STUCK_S

"""The configuration of a sink: where it listens, how it behaves, what it stores.

Takes     values that are already parsed
Gives     a frozen, picklable object, the same for one process or many
Not here  parsing options (cli), running a sink (serve)
"""

from dataclasses import dataclass, field
from pathlib import Path

from trafficgen.plan import Target, TcpTarget
from trafficgen.protocol.smtp.capabilities import Capabilities
from trafficgen.sink.bounces.bounces import BouncePlan
from trafficgen.sink.listen.server import IDLE_S, STUCK_S
from trafficgen.sink.policy.faults import SinkFault
from trafficgen.sink.policy.limits import Limits
from trafficgen.sink.policy.policy import ACCEPT_ALL, PolicyConfig
from trafficgen.sink.policy.responses import read
from trafficgen.sink.store.capture import CaptureFormat


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a sink treats mail. `responses` is a file; None refuses nothing."""

    responses: Path | None = None
    kumo_odds: bool = False
    suffixes: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    faults: tuple[SinkFault, ...] = ()
    seed: int = 0

    @property
    def accepts_everything(self) -> bool:
        """Whether every message is accepted at once, so that no policy is needed."""
        return self.responses is None and not self.faults and self.limits == Limits()

    def policy_config(self, *, again: bool = False) -> PolicyConfig:
        """The same with the response table read from its file, or `again`. Raises PlanError when the table is wrong."""
        responses = read(self.responses, again=again) if self.responses is not None else ACCEPT_ALL
        return PolicyConfig(responses, self.limits, self.faults, self.suffixes, self.kumo_odds, self.seed)


@dataclass(frozen=True, slots=True)
class SinkSecurity:
    """`at_once`: TLS from the first octet, else STARTTLS. Without a certificate one is generated."""

    at_once: bool = False
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class CapturePlan:
    """Where to store messages, in which format, and how much at most."""

    form: CaptureFormat
    path: Path
    max_octets: int | None = None


@dataclass(frozen=True, slots=True)
class SinkConfig:
    """One sink."""

    listen: Target
    capabilities: Capabilities = field(default_factory=Capabilities)
    security: SinkSecurity | None = None
    behaviour: Behaviour = field(default_factory=Behaviour)
    ledger: bool = True
    ledger_file: Path | None = None
    api: TcpTarget | None = None
    capture: CapturePlan | None = None
    bounces: BouncePlan | None = None
    workers: int = 1
    messages: int | None = None
    """How many are accepted before the sink ends; None: until a signal."""

    proxied: bool = False
    idle_s: float = IDLE_S
    stuck_s: float = STUCK_S

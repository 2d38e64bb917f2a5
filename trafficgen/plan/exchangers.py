"""Mail that goes where MX records say: whom to ask, and at which port the exchangers listen."""

from dataclasses import dataclass

from trafficgen.plan.refusals import check_types, wrong
from trafficgen.plan.targets import SMTP_PORT, TcpTarget


@dataclass(frozen=True, slots=True)
class ExchangerPlan:
    """`port` of all exchangers; MX records name none. `resolver`: None asks the system's."""

    port: int = SMTP_PORT
    resolver: TcpTarget | None = None

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 < self.port < 65536:
            raise wrong("exchangers", f"expected a port from 1 to 65535, got {self.port}", "--mx-port")

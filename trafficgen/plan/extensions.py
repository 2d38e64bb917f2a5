"""What sessions ask of a server beyond plain SMTP: parameters of MAIL and RCPT.

Takes     values that are understood already (cli.extensions)
Gives     a frozen `ExtensionPlan`
Refuses   values that their RFCs do not allow, with PlanError
Not here  the octets (protocol.smtp.layout), what becomes of a session whose server does not offer them (its client)
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from trafficgen.plan.refusals import check_types, shown_number, wrong

MAX_BY_TIME: Final = 999_999_999
"""RFC 2852 section 4: up to nine digits."""


class Notify(Enum):
    """When a recipient's server is to send a report (RFC 3461 section 4.1); `NEVER` stands alone."""

    NEVER = "NEVER"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    DELAY = "DELAY"


class Ret(Enum):
    """How much of a message its report returns (RFC 3461 section 4.3)."""

    FULL = "FULL"
    HDRS = "HDRS"


class ByMode(Enum):
    """What becomes of a message that is not delivered in time (RFC 2852 section 4): a report, or its return."""

    NOTIFY = "N"
    RETURN = "R"


@dataclass(frozen=True, slots=True)
class DeliverBy:
    """Deliver within `seconds` (RFC 2852), counted from MAIL; `trace`: every server on the way sends a report."""

    seconds: int
    mode: ByMode = ByMode.NOTIFY
    trace: bool = False

    def __post_init__(self) -> None:
        check_types(self)
        least = 1 if self.mode is ByMode.RETURN else -MAX_BY_TIME
        if not least <= self.seconds <= MAX_BY_TIME:
            text = f"expected {least} to {MAX_BY_TIME} seconds with mode {self.mode.value}, got "
            raise wrong("deliver_by", text + shown_number(self.seconds), "--deliver-by")


@dataclass(frozen=True, slots=True)
class ExtensionPlan:
    """Extensions that every message uses. A server that does not offer one of them fails the session, but for SIZE.

    `declare_size`: SIZE with MAIL where the server offers it (RFC 1870). `notify` and `ret`: DSN (RFC 3461), each
    message with an ENVID of its own, `<run id>.<number>`, and with `original_recipient` ORCPT behind every recipient.
    `binary`: BODY=BINARYMIME (RFC 3030 section 3).
    `require_tls`: REQUIRETLS (RFC 8689). `priority`: MT-PRIORITY, -9 to 9 (RFC 6710). `deliver_by`: BY.
    """

    declare_size: bool = False
    notify: tuple[Notify, ...] = ()
    ret: Ret | None = None
    original_recipient: bool = False
    binary: bool = False
    require_tls: bool = False
    priority: int | None = None
    deliver_by: DeliverBy | None = None

    def __post_init__(self) -> None:
        check_types(self)
        if len(set(self.notify)) < len(self.notify) or (Notify.NEVER in self.notify and len(self.notify) > 1):
            given = ",".join(one.value for one in self.notify)
            raise wrong("notify", f'expected NEVER, or some of SUCCESS,FAILURE,DELAY once, got "{given}"', "--notify")
        if self.priority is not None and not -9 <= self.priority <= 9:
            text = f"expected a priority of -9 to 9 (RFC 6710), got {shown_number(self.priority)}"
            raise wrong("priority", text, "--mt-priority")

    @property
    def dsn(self) -> bool:
        """Whether messages have parameters of DSN."""
        return bool(self.notify) or self.ret is not None or self.original_recipient

    @property
    def needed(self) -> tuple[str, ...]:
        """What EHLO has to offer, by keyword."""
        asked = (
            ("DSN", self.dsn),
            ("CHUNKING", self.binary),
            ("PIPELINING", self.binary),
            ("BINARYMIME", self.binary),
            ("REQUIRETLS", self.require_tls),
            ("MT-PRIORITY", self.priority is not None),
            ("DELIVERBY", self.deliver_by is not None),
        )
        return tuple(keyword for keyword, needed in asked if needed)

"""What a mailbox run is asked to do: frozen and checked.

Not here  what users do (`profile`), how options make a plan (cli)
"""

from dataclasses import dataclass, field, fields, replace
from enum import Enum
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from trafficgen.clock import NS_PER_S
from trafficgen.errors import PlanError
from trafficgen.mailbox.profile import Profile, UserSection
from trafficgen.measure.document import to_plain
from trafficgen.plan import Mechanism, OpenLoop, TcpTarget

DEFAULT_CLIENTS: Final = 10
"""imaptest's."""


class Protection(Enum):
    """How the octets of one protocol are protected."""

    NONE = "none"
    TLS = "tls"
    """From the first octet."""
    STARTTLS = "starttls"
    """By command (STLS in POP3)."""


class Delivering(Enum):
    """By which protocol mail is delivered."""

    LMTP = "lmtp"
    SMTP = "smtp"


@dataclass(frozen=True, slots=True)
class MailboxService:
    """A server of one protocol."""

    target: TcpTarget
    protection: Protection = Protection.NONE


@dataclass(frozen=True, slots=True)
class MailboxPlan:
    """A whole run. Times in ns."""

    profile: Profile
    imap: MailboxService
    pop3: MailboxService
    delivery: MailboxService
    delivering: Delivering = Delivering.LMTP
    password: str = field(default="pass", repr=False)
    login: Mechanism | None = None
    """How users show who they are; None: LOGIN in IMAP, USER and PASS in POP3."""
    mbox: Path | None = None
    """Where the mail is from; None: small mail made on the spot."""
    connections: int = DEFAULT_CLIENTS
    workers: int = 1
    duration_ns: int | None = None
    final_ns: int = 30 * NS_PER_S
    """For sessions to end by themselves after that."""
    timeout_ns: int = 60 * NS_PER_S
    """For the answer to a command, and for a whole delivery."""
    pipelining: bool = True
    first_error_ends: bool = False
    delete_foreign: bool = False
    verify_tls: bool = True
    allow_public_target: bool = False
    allow_real_domains: bool = False
    rawlog: str | None = None
    """The folder for files of what was said on each connection of a mail program; None: no such files."""
    seed: int = 0
    run_id: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.connections <= 1_000_000:
            raise PlanError(f"expected 1 to 1000000 clients, got {self.connections}", field="clients", flag="--clients")
        if not 1 <= self.workers <= 1024:
            raise PlanError(f"expected 1 to 1024 workers, got {self.workers}", field="workers", flag="--workers")
        if self.workers > self.connections:
            text = f"expected no more workers than clients, got {self.workers} and {self.connections}"
            raise PlanError(text, field="workers", flag="--workers")
        for name in ("duration_ns", "timeout_ns"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise PlanError("expected a time above zero", field=name, flag=f"--{name[:-3]}")

    def identified(self) -> "MailboxPlan":
        """With a run id of its own, 16 hexadecimal digits."""
        return self if self.run_id else replace(self, run_id=token_hex(8))

    # -- what results ask of a plan ---------------------------------------------------------------------

    @property
    def target(self) -> str:
        """Where the mail is delivered."""
        return f"{self.delivering.value}:{self.delivery.target}"

    @property
    def load(self) -> OpenLoop | None:
        """Deliveries have intended starts, but no one rate."""
        return None

    @property
    def max_messages(self) -> int | None:
        return None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without the password."""
        left_out = ("password", "profile", "mbox", "connections")
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in left_out}
        plain["sessions"] = self.connections
        plain["workload"] = {"content": {"path": str(self.mbox or "mail made on the spot")}}
        users = [{**_fields(section), "userfile": str(section.userfile or "")} for section in self.profile.users]
        plain["profile"] = {**_fields(self.profile), "users": users}
        found: dict[str, Any] = to_plain(plain)
        return found


def _fields(section: Profile | UserSection) -> dict[str, Any]:
    return {each.name: getattr(section, each.name) for each in fields(section)}

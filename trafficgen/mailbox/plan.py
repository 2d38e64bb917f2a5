"""What a mailbox run is asked to do: frozen and checked.

Not here  what users do (`profile`), how options make a plan (cli)
"""

import re
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from trafficgen.clock import NS_PER_S, now_ns
from trafficgen.engine.password import first_line
from trafficgen.errors import PlanError, SetupError
from trafficgen.host.machine_clock import wall_offset_ns
from trafficgen.mailbox.profile import Profile, UserSection
from trafficgen.measure.codec import to_plain
from trafficgen.plan import Mechanism, OpenLoop, Shard, TcpTarget
from trafficgen.plan.refusals import shown

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
    """A whole run. Times in ns. `shard`: the part of its users that is here, and when its time zero is."""

    profile: Profile
    imap: MailboxService
    pop3: MailboxService
    delivery: MailboxService
    delivering: Delivering = Delivering.LMTP
    password: str = field(default="pass", repr=False)
    password_file: Path | None = None
    """Where whoever runs this plan reads the password from; None: it is the one above."""
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
    shard: Shard = Shard()  # noqa: RUF009  (frozen)

    def __post_init__(self) -> None:
        if not 1 <= self.connections <= 1_000_000:
            raise PlanError(f"expected 1 to 1000000 clients, got {self.connections}", field="clients", flag="--clients")
        if not 1 <= self.workers <= 1024:
            raise PlanError(f"expected 1 to 1024 workers, got {self.workers}", field="workers", flag="--workers")
        self._check_shard()
        if self.run_id and not re.fullmatch(r"[0-9a-f]{16}", self.run_id):
            text = f'expected 16 hexadecimal digits, got "{shown(self.run_id)}"'
            raise PlanError(text, field="run_id", flag="--run-id")
        for name in ("duration_ns", "timeout_ns"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise PlanError("expected a time above zero", field=name, flag=f"--{name[:-3]}")

    def _check_shard(self) -> None:
        """Every process of every shard has a connection, and a place for a delivery where those are counted."""
        processes, of = self.shard.of * self.workers, self.shard.of
        if of == 1 and self.workers == 1:
            return
        if of > 1 and not self.run_id:
            text = "expected the id of the run, the same for all of its shards"
            raise PlanError(text, field="run_id", flag="--run-id")
        if processes > self.connections:
            text = f"expected no more workers than clients, got {processes} on all machines and {self.connections}"
            raise PlanError(text, field="clients", flag="--clients")
        if 0 < self.profile.lmtp_max_parallel_count < processes:
            most = self.profile.lmtp_max_parallel_count
            text = f"expected lmtp_max_parallel_count to be {processes} or more, one for each process, got {most}"
            raise PlanError(text, field="profile", flag="--profile")

    def time_zero_ns(self) -> int:
        """When the run begins, on `clock.now_ns`: now where nobody said. SetupError when that is past already."""
        now = now_ns()
        if self.shard.start_at_ns is None:
            return now
        start_ns = self.shard.start_at_ns - wall_offset_ns()
        if start_ns < now:
            late_s = (now - start_ns) / NS_PER_S
            raise SetupError(f"the start was {late_s:.1f} s ago when all was ready: expected it later (--start-at)")
        return start_ns

    def share(self, whole: int, worker: int) -> int:
        """The part that a worker of this shard has of a limit that holds for all processes together."""
        mine = self.shard.share(whole)
        return mine // self.workers + (worker < mine % self.workers)

    def identified(self) -> "MailboxPlan":
        """With a run id of its own, 16 hexadecimal digits."""
        return self if self.run_id else replace(self, run_id=token_hex(8))

    def with_password(self) -> "MailboxPlan":
        """With the password that its file has. Raises PlanError."""
        if self.password_file is None:
            return self
        password = first_line(self.password_file, "password", "password", "--password-file")
        return replace(self, password=password, password_file=None)

    # -- what results ask of a plan ---------------------------------------------------------------------

    @property
    def destination(self) -> str:
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
        left_out = ("password", "password_file", "profile", "mbox", "connections")
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in left_out}
        plain["sessions"] = self.connections
        plain["workload"] = {"content": {"path": str(self.mbox or "mail made on the spot")}}
        users = [{**_fields(section), "userfile": str(section.userfile or "")} for section in self.profile.users]
        plain["profile"] = {**_fields(self.profile), "users": users}
        found: dict[str, Any] = to_plain(plain)
        return found


def _fields(section: Profile | UserSection) -> dict[str, Any]:
    return {each.name: getattr(section, each.name) for each in fields(section)}

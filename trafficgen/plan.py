"""A run, described: what to send, when, to whom, with which care.

Takes     values that are already numbers; text is parsed by `units`, `mboxgen.sizes` and the command line
Gives     a frozen, checked, picklable `Plan`: the same object from flags, a scenario file or a library call
Refuses   what makes no sense, with a `PlanError` that names the field and its flag
Not here  anything that touches a file, a socket or a clock: a plan can be checked anywhere
"""

import math
import re
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

from trafficgen.clock import NS_PER_S
from trafficgen.errors import PlanError

DEFAULT_SUFFIX: Final = "traffic-gen.test"
"""Ends in a TLD reserved for testing (RFC 6761 section 6.2): no resolver answers for it."""

DEFAULT_DOMAINS: Final = ("aol.com", "gmail.com", "hotmail.com", "yahoo.com")
"""As KumoMTA's traffic-gen without --domain: equal weights."""

DEFAULT_DURATION_NS: Final = 60 * NS_PER_S
MAX_CHUNKS: Final = 64

RESERVED_SUFFIXES: Final = (
    "test", "example", "invalid", "localhost", "example.com", "example.net", "example.org",
)  # fmt: skip
"""Names that can never be somebody's mail domain (RFC 2606 sections 2 and 3, RFC 6761)."""

_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_HEADER_NAME: Final = re.compile(r"[!-9;-~]+")


def is_domain(name: str) -> bool:
    """Whether `name` can stand after the @ on the wire: letters, digits, hyphens, dots (RFC 5321 4.1.2)."""
    return 0 < len(name) <= 255 and all(_LABEL.fullmatch(label) for label in name.split("."))


def is_reserved(domain: str) -> bool:
    """Whether `domain` lies under a name reserved for tests and documentation, so that no person has mail there."""
    lowered = domain.lower()
    return any(lowered == name or lowered.endswith("." + name) for name in RESERVED_SUFFIXES)


# -- refusing (before the defaults below, which are checked while this module loads) ---------------------


def _wrong(field_name: str, text: str, flag: str) -> PlanError:
    return PlanError(text, field=field_name, flag=flag)


def _shown(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")[:80]


def _check_weight(weight: float, whose: str, flag: str) -> None:
    if not 0.0 < weight < math.inf:
        raise _wrong("weight", f"{whose} must be a number above zero, got {weight:g}", flag)


def _check_count(count: int, field_name: str, whose: str, flag: str) -> None:
    if count < 1:
        raise _wrong(field_name, f"{whose} must be at least 1, got {count}", flag)


# -- where ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TcpTarget:
    """A host name or address literal, and a port."""

    host: str
    port: int = 25

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixTarget:
    """A UNIX domain socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


Target = TcpTarget | UnixTarget


def parse_target(text: str) -> Target:
    """ "HOST", "HOST:PORT", "[IPv6]", "[IPv6]:PORT", a bare IPv6 address, or "unix:/path"; port 25 if none is given."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path or "\0" in path:
            raise _wrong("target", f'expected a path after "unix:", got "{text}"', "--target")
        return UnixTarget(path)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        port_text = rest.removeprefix(":") if bracket and (not rest or rest.startswith(":")) else None
    elif text.count(":") > 1:
        host, port_text = text, ""
    else:
        host, _, port_text = text.partition(":")
    if not host or port_text is None or any(c.isspace() or not c.isprintable() for c in host):
        raise _wrong("target", f'expected HOST[:PORT], [IPv6]:PORT or unix:/path, got "{text}"', "--target")
    if not port_text and not text.endswith(":"):
        return TcpTarget(host)
    if not (port_text.isascii() and port_text.isdigit() and 0 < int(port_text) < 65536):
        raise _wrong("target", f'expected a port from 1 to 65535, got "{port_text}" in "{text}"', "--target")
    return TcpTarget(host, int(port_text))


# -- what -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WeightedDomain:
    """A recipient domain and its share relative to all other weights."""

    name: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not is_domain(self.name):
            raise _wrong("domains", f'expected a domain name, got "{_shown(self.name)}"', "--domain")
        _check_weight(self.weight, f'the weight of "{self.name}"', "--domain")


@dataclass(frozen=True, slots=True)
class LongTail:
    """The rest of the internet: `domains` synthetic names that share `weight` by Zipf's law."""

    domains: int
    weight: float

    def __post_init__(self) -> None:
        _check_count(self.domains, "long_tail", "the number of domains in the tail", "--long-tail")
        if self.domains > 1_000_000:
            raise _wrong("long_tail", f"expected at most 1000000 domains, got {self.domains}", "--long-tail")
        _check_weight(self.weight, "the weight of the tail", "--long-tail")


@dataclass(frozen=True, slots=True)
class Users:
    """The people at each domain.

    `count` mailboxes a domain; `zipf` is the exponent of their popularity (None: all alike);
    `tagged` writes `user+<number>@`, a new address for the same mailbox every time.
    """

    count: int = 100_000
    zipf: float | None = None
    tagged: bool = False

    def __post_init__(self) -> None:
        _check_count(self.count, "users", "the number of users a domain", "--users")
        if self.count > 10_000_000:
            raise _wrong("users", f"expected at most 10000000 users a domain, got {self.count}", "--users")
        if self.zipf is not None and not (0.0 < self.zipf <= 10.0):
            raise _wrong("users", f"expected a Zipf exponent above 0 and up to 10, got {self.zipf}", "--users")


@dataclass(frozen=True, slots=True)
class Header:
    """A header added to every message; with several values each message gets one, by weight."""

    name: str
    values: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        if not _HEADER_NAME.fullmatch(self.name):
            raise _wrong("headers", f'expected a header name (RFC 5322 2.2), got "{_shown(self.name)}"', "--header")
        for value, weight in self.values:
            if any(c in value for c in "\r\n\0"):
                raise _wrong("headers", f'a header must not contain CR, LF or NUL, got "{_shown(value)}"', "--header")
            if len(self.name) + 2 + len(value.encode()) > 998:
                raise _wrong("headers", f'header "{self.name}" is over 998 octets (RFC 5322 2.1.1)', "--header")
            _check_weight(weight, f'the weight of header "{self.name}"', "--header")


@dataclass(frozen=True, slots=True)
class SizedBodies:
    """Bodies of set sizes: what `mboxgen.sizes.parse_sizes` reads, such as ("10kb:5", "80kb:5") or ("spec2001",)."""

    sizes: tuple[str, ...] = ("5kb",)


@dataclass(frozen=True, slots=True)
class BodyFile:
    """One body for every message, from a file; line ends are made CRLF."""

    path: Path


@dataclass(frozen=True, slots=True)
class Corpus:
    """Whole messages from an mbox, in its order or shuffled, again from the start when it is used up."""

    path: Path
    shuffle: bool = False


@dataclass(frozen=True, slots=True)
class Workload:
    """What is sent: to which domains and users, from whom, how large.

    `recipients_per_message`: (count, weight) pairs. `senders` addresses are drawn once, on the same weighted
    domains as the recipients, as KumoMTA's traffic-gen does.
    """

    domains: tuple[WeightedDomain, ...] = tuple(WeightedDomain(name) for name in DEFAULT_DOMAINS)
    long_tail: LongTail | None = None
    domain_suffix: str = DEFAULT_SUFFIX
    users: Users = Users()
    recipients_per_message: tuple[tuple[int, float], ...] = ((1, 1.0),)
    senders: int = 1_000
    headers: tuple[Header, ...] = ()
    content: SizedBodies | BodyFile | Corpus = SizedBodies()

    def __post_init__(self) -> None:
        if not self.domains and self.long_tail is None:
            raise _wrong("domains", "expected at least one domain", "--domain")
        names = [domain.name for domain in self.domains]
        if len(set(names)) != len(names):
            raise _wrong("domains", "expected every domain once, with its weights added up", "--domain")
        if self.domain_suffix and not is_domain(self.domain_suffix):
            text = f'expected a domain name or an empty string, got "{_shown(self.domain_suffix)}"'
            raise _wrong("domain_suffix", text, "--domain-suffix")
        for name in names:
            if len(self.with_suffix(name)) > 255 - 65:
                raise _wrong(
                    "domains",
                    f'"{name}" with its suffix is too long for a path (RFC 5321 4.5.3.1)',
                    "--domain",
                )
        for count, weight in self.recipients_per_message:
            _check_count(count, "recipients_per_message", "the number of recipients", "--recipients")
            if count > 1000:
                raise _wrong("recipients_per_message", f"expected at most 1000 recipients, got {count}", "--recipients")
            _check_weight(weight, f"the weight of {count} recipients", "--recipients")
        _check_count(self.senders, "senders", "the number of senders", "--senders")
        if self.senders > 100_000:
            raise _wrong("senders", f"expected at most 100000 senders, got {self.senders}", "--senders")

    def with_suffix(self, domain: str) -> str:
        """`domain` as it goes on the wire."""
        return f"{domain}.{self.domain_suffix}" if self.domain_suffix else domain

    @property
    def real_domains(self) -> tuple[str, ...]:
        """Recipient domains that may belong to real people: no reserved name, no suffix."""
        if self.domain_suffix:
            return ()
        return tuple(domain.name for domain in self.domains if not is_reserved(domain.name))


# -- when -----------------------------------------------------------------------------------------------


class Arrivals(Enum):
    """How arrivals lie around their rate: evenly spaced, or as independent users make them."""

    CONSTANT = "constant"
    POISSON = "poisson"


@dataclass(frozen=True, slots=True)
class Stage:
    """Go in a straight line to `rate_per_s` within `duration_ns`; a duration of zero jumps there (k6's stages)."""

    duration_ns: int
    rate_per_s: float


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Messages start when the schedule says, whether or not the server keeps up.

    `rate_per_s` holds from the first second; with `stages` it is where the first stage starts from.
    """

    rate_per_s: float
    stages: tuple[Stage, ...] = ()
    arrivals: Arrivals = Arrivals.CONSTANT

    def __post_init__(self) -> None:
        if self.stages:
            if not 0.0 <= self.rate_per_s < math.inf:
                raise _wrong("rate", f"expected a starting rate of zero or more, got {self.rate_per_s}", "--rate")
            if any(s.duration_ns < 0 or not 0.0 <= s.rate_per_s < math.inf for s in self.stages):
                text = "expected stages with a duration and a rate of zero or more"
                raise _wrong("stages", text, "--stage")
            starts = (self.rate_per_s, *(stage.rate_per_s for stage in self.stages))
            if not any(s.duration_ns and start + s.rate_per_s for start, s in zip(starts, self.stages, strict=False)):
                text = "expected a stage with a duration and a rate above zero: nothing would ever start"
                raise _wrong("stages", text, "--stage")
        elif not 0.0 < self.rate_per_s < math.inf:
            raise _wrong("rate", f"expected a rate above zero, got {self.rate_per_s}", "--rate")

    @property
    def stages_duration_ns(self) -> int | None:
        """How long all stages take together; None when there are none."""
        return sum(stage.duration_ns for stage in self.stages) or None


# -- how ------------------------------------------------------------------------------------------------


class Security(Enum):
    """How a session is protected. STARTTLS is never silently plain: a server that lacks it fails the session."""

    PLAIN = "plain"
    STARTTLS = "starttls"
    TLS = "tls"


class Pipelining(Enum):
    """Whether commands may be sent in groups (RFC 2920): when the server offers it, or never."""

    AUTO = "auto"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Auth:
    """Credentials of every session. The password is read from its file when a worker starts and is shown nowhere."""

    user: str
    password_file: Path


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """How one session talks.

    `ehlo_name` is what EHLO says; an address literal needs no DNS (RFC 5321 section 4.1.3).
    `max_messages` 0 = as many as the run has. `chunks` 0 = DATA, one message at a time; N = where the server offers
    CHUNKING and PIPELINING (RFC 3030, RFC 2920), BDAT, and N messages of a session on their way at once. Time limits
    are for one wait each: `connect` for TCP and TLS, `reply` for the answer to any command or to the end of data.
    """

    ehlo_name: str = "[127.0.0.1]"
    max_messages: int = 0
    pipelining: Pipelining = Pipelining.AUTO
    chunks: int = 0
    security: Security = Security.PLAIN
    verify_certificate: bool = True
    auth: Auth | None = None
    connect_timeout_ns: int = 30 * NS_PER_S
    reply_timeout_ns: int = 60 * NS_PER_S

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[!-~]{1,255}", self.ehlo_name):
            raise _wrong(
                "ehlo_name", f'expected a host name or [address], got "{_shown(self.ehlo_name)}"', "--ehlo-name"
            )
        if self.max_messages < 0:
            text = f"expected 0 (no limit) or more messages a session, got {self.max_messages}"
            raise _wrong("max_messages", text, "--messages-per-session")
        if not 0 <= self.chunks <= MAX_CHUNKS:
            text = f"expected 0 (DATA) to {MAX_CHUNKS} messages on their way at once, got {self.chunks}"
            raise _wrong("chunks", text, "--chunking")
        if self.connect_timeout_ns <= 0:
            raise _wrong("connect_timeout_ns", "expected a time limit above zero", "--connect-timeout")
        if self.reply_timeout_ns <= 0:
            raise _wrong("reply_timeout_ns", "expected a time limit above zero", "--timeout")
        if self.auth and self.security is Security.PLAIN:
            text = "a password never goes over a plain session: add --starttls or --tls"
            raise _wrong("auth", text, "--auth-user")


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. Without a target it goes to the embedded sink.

    `max_messages` and `duration_ns`: whichever comes first; both None in a library call means
    `DEFAULT_DURATION_NS` through the command line only, so a plan names at least one of them.
    `workers` None = the cores this process may use, one left for the embedded sink. `keep_begins`: remember when every
    message began, for a manifest.
    """

    target: Target | None = None
    sessions: int = 20
    max_messages: int | None = None
    duration_ns: int | None = None
    workload: Workload = Workload()
    load: OpenLoop | None = None
    session: SessionPlan = SessionPlan()
    keep_going: bool = False
    grace_ns: int = 10 * NS_PER_S
    workers: int | None = None
    seed: int = 0
    run_id: str = "0000000000000000"
    allow_public_target: bool = False
    allow_real_domains: bool = False
    ledger: bool = field(default=True)
    keep_begins: bool = False

    def __post_init__(self) -> None:
        _check_count(self.sessions, "sessions", "the number of sessions", "--concurrency")
        if self.max_messages is None and self.duration_ns is None:
            raise _wrong("max_messages", "expected a message count or a duration", "--message-count")
        if self.max_messages is not None:
            _check_count(self.max_messages, "max_messages", "the number of messages", "--message-count")
        if self.duration_ns is not None and self.duration_ns <= 0:
            raise _wrong("duration_ns", "expected a duration above zero", "--duration")
        if self.grace_ns < 0:
            raise _wrong("grace_ns", "expected a grace period of zero or more", "--grace")
        if self.workers is not None:
            _check_count(self.workers, "workers", "the number of workers", "--workers")
        if not 0 <= self.seed < 2**64:
            raise _wrong("seed", f"expected a seed from 0 to 2^64-1, got {self.seed}", "--seed")
        if not re.fullmatch(r"[0-9a-f]{16}", self.run_id):
            raise _wrong("run_id", f'expected 16 hexadecimal digits, got "{_shown(self.run_id)}"', "--run-id")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a results file. Holds the path of a password file, never a password."""
        plain: dict[str, Any] = asdict(self, dict_factory=_plain)
        plain["target"] = str(self.target) if self.target else None
        return plain


def _plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {
        name: value.value if isinstance(value, Enum) else str(value) if isinstance(value, Path) else value
        for name, value in pairs
    }

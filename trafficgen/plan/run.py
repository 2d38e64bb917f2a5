"""One run, described whole.

Takes     parts that have been checked each by itself (workload, session, load, identity, targets)
Gives     a frozen `Plan`, equal and picklable in every process; seed and run id drawn where none was given
Refuses   parts that do not go together, with PlanError
Not here  what follows from a plan once files are opened (engine.resolved)
"""

import re
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final

from trafficgen.clock import NS_PER_S
from trafficgen.plan.exchangers import ExchangerPlan
from trafficgen.plan.extensions import ExtensionPlan
from trafficgen.plan.load import OpenLoop
from trafficgen.plan.refusals import MAX_MESSAGES, check_count, check_duration, check_types, shown, shown_number, wrong
from trafficgen.plan.retry import RetryPlan
from trafficgen.plan.session import Injection, SessionPlan
from trafficgen.plan.shard import Shard
from trafficgen.plan.targets import Dialect, Target, TcpTarget, WeightedTarget
from trafficgen.plan.tls import Security
from trafficgen.plan.workload import BodyFile, Workload

DEFAULT_DURATION_NS: Final = 60 * NS_PER_S
MAX_SESSIONS: Final = 1_000_000
MAX_TRACED: Final = 1_000
"""Sessions that somebody may want to read."""

MAX_WORKERS: Final = 1_024
"""Far beyond what one machine can do, and still nothing that could take it down while it is being refused."""


def draw_seed() -> int:
    """A seed for a plan that names none; short enough to be typed."""
    import secrets  # 5 ms, and `--help` draws nothing

    return secrets.randbits(32)


def draw_run_id() -> str:
    """An id that no other run has."""
    import secrets

    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. Without a target it goes to the embedded sink.

    `max_messages` and `duration_ns`: whichever comes first; both None in a library call means
    `DEFAULT_DURATION_NS` through the command line only, so a plan names at least one of them.
    `seed` is drawn when it is not given; a plan sends the same messages whenever it is run. `run_id` tells the mail of
    one run from that of all others: 16 hexadecimal digits, drawn anew for each run when it is not given.
    `shard`: the part of it that is sent here, when its time zero is; all else describes the whole run.
    `workers` None = the cores this process may use, one left for the embedded sink. `keep_begins`: remember when every
    message began, for a manifest. `trace_sessions`: the first so many sessions are shown as they talk. With
    `more_targets`, sessions go to each by its weight, and to `target` by `target_weight`. With `exchangers`, mail for
    each domain goes where its MX records say: they are looked up when the run begins, and are its targets then.
    `ip_version`: 4 or 6 for names that have addresses of both, 0 for all addresses in the order the system prefers.
    """

    target: Target | None = None
    sessions: int = 20
    max_messages: int | None = None
    duration_ns: int | None = None
    workload: Workload = Workload()  # noqa: RUF009  (frozen)
    load: OpenLoop | None = None
    session: SessionPlan = SessionPlan()  # noqa: RUF009  (frozen)
    keep_going: bool = False
    grace_ns: int = 10 * NS_PER_S
    workers: int | None = None
    seed: int = field(default_factory=draw_seed)
    run_id: str = ""
    allow_public_target: bool = False
    allow_real_domains: bool = False
    ledger: bool = field(default=True)
    keep_begins: bool = False
    shard: Shard = Shard()  # noqa: RUF009  (frozen)
    trace_sessions: int = 0
    target_weight: float = 1.0
    more_targets: tuple[WeightedTarget, ...] = ()
    retry: RetryPlan | None = None
    exchangers: ExchangerPlan | None = None
    ip_version: int = 0

    def __post_init__(self) -> None:
        check_types(self)
        check_count(self.sessions, "sessions", "the number of sessions", "--concurrency", most=MAX_SESSIONS)
        if self.max_messages is None and self.duration_ns is None:
            raise wrong("max_messages", "expected a message count or a duration", "--message-count")
        if self.max_messages is not None:
            whose = "the number of messages"
            check_count(self.max_messages, "max_messages", whose, "--message-count", most=MAX_MESSAGES)
        if self.duration_ns is not None:
            check_duration(self.duration_ns, "duration_ns", "a duration", "--duration")
        check_duration(self.grace_ns, "grace_ns", "a grace period", "--grace", least_ns=0)
        if not 0 <= self.trace_sessions <= MAX_TRACED:
            text = f"expected 0 to {MAX_TRACED} sessions to show, got {shown_number(self.trace_sessions)}"
            raise wrong("trace_sessions", text, "--trace")
        if self.workers is not None:
            check_count(self.workers, "workers", "the number of workers", "--workers", most=MAX_WORKERS)
        if self.target and self.target.dialect is Dialect.LMTP and self.session.auth:
            text = "LMTP goes without a login: leave --auth-… away"
            raise wrong("target", text, "--target")
        if self.retry is not None and not self.keep_going:
            text = "expected errors to be no reason to stop where messages are tried again: add --keep-going"
            raise wrong("retry", text, "--retry")
        if self.trace_sessions and self.session.shape.slow_share:
            raise wrong("trace_sessions", "expected no slow senders among sessions that are shown", "--trace")
        self._check_targets()
        self._check_version()
        self._check_exchangers()
        self._check_injection()
        content = self.workload.content
        if isinstance(content, BodyFile) and content.binary and not self.session.extensions.binary:
            raise wrong("content", "a binary body goes as BINARYMIME only", "--binarymime")
        if not 0 <= self.seed < 2**64:
            raise wrong("seed", f"expected a seed from 0 to 2^64-1, got {shown_number(self.seed)}", "--seed")
        if self.run_id and not re.fullmatch(r"[0-9a-f]{16}", self.run_id):
            raise wrong("run_id", f'expected 16 hexadecimal digits, got "{shown(self.run_id)}"', "--run-id")
        self._check_shard()

    def _check_shard(self) -> None:
        of = self.shard.of
        if of == 1:
            return
        if not self.run_id:
            raise wrong("run_id", "expected the id of the run, the same for all of its shards", "--run-id")
        if self.sessions < of:
            raise wrong("sessions", f"expected a session for each of {of} shards, got {self.sessions}", "--concurrency")
        if self.max_messages is not None and self.max_messages < of:
            text = f"expected a message for each of {of} shards, got {self.max_messages}"
            raise wrong("max_messages", text, "--message-count")

    @property
    def targets(self) -> tuple[WeightedTarget, ...]:
        """All of them; none where mail goes to the embedded sink."""
        return (WeightedTarget(self.target, self.target_weight), *self.more_targets) if self.target else ()

    @property
    def destination(self) -> str | None:
        """What was asked for, in words: of several targets each with its weight. None: the embedded sink."""
        return ", ".join(map(str, self.targets if self.more_targets else filter(None, [self.target]))) or None

    @property
    def target_shares(self) -> list[tuple[str, float]]:
        """Where there are several: each with its share of the sessions."""
        total = sum(one.weight for one in self.targets)
        return [(str(one.target), one.weight / total) for one in self.targets] if self.more_targets else []

    def _check_targets(self) -> None:
        targets = [one.target for one in self.targets]
        if self.more_targets and len(targets) <= len(self.more_targets):
            raise wrong("more_targets", "expected a first target beside the others", "--target")
        if len(set(map(str, targets))) < len(targets):
            raise wrong("more_targets", "expected different targets, got one twice", "--target")
        if len({target.dialect for target in targets}) > 1:
            raise wrong("more_targets", "expected targets that all speak the same", "--target")
        if self.more_targets and self.session.client.proxy_from:
            text = "expected one target with a PROXY header, which names its address"
            raise wrong("more_targets", text, "--proxy-protocol")

    def _check_version(self) -> None:
        if self.ip_version not in (0, 4, 6):
            raise wrong("ip_version", f"expected 4 or 6, got {shown_number(self.ip_version)}", "--ip-version")
        hosts = all(isinstance(one.target, TcpTarget) for one in self.targets)
        if self.ip_version and not (hosts and (self.targets or self.exchangers)):
            raise wrong("ip_version", "expected hosts as targets, whose names are looked up", "--ip-version")

    def _check_exchangers(self) -> None:
        if self.exchangers is None:
            return
        if max(count for count, _ in self.workload.recipients_per_message) > 1:
            text = "expected one recipient a message: those of several domains have different servers"
            raise wrong("recipients_per_message", text, "--recipients")
        if self.session.client.proxy_from:
            raise wrong("exchangers", "expected one target with a PROXY header, which names its address", "--mx")
        if self.shard.of > 1:
            raise wrong("exchangers", "expected a target that is the same for all shards", "--mx")

    def _check_injection(self) -> None:
        session = self.session
        if self.target is None or not self.target.dialect.injects:
            if session.injection != Injection():
                raise wrong("injection", "expected a target http://HOST[:PORT]/api/inject/v1", "--http-…")
            return
        expected = Security.TLS if self.target.dialect is Dialect.HTTPS else Security.PLAIN
        if session.security is not expected:
            text = "HTTP is plain behind http:// and protected behind https://: leave --starttls and --tls away"
            raise wrong("target", text, "--target")
        if session.tls.share < 1:
            text = "expected every connection protected behind https://, not a share of them"
            raise wrong("tls", text, "--tls-share")
        if session.auth:
            text = "AUTH is SMTP's: expected --http-authorization-file with a target http://…"
            raise wrong("auth", text, "--auth-user")
        if session.client.ehlo_names or session.client.announced:
            raise wrong("client", "expected no EHLO names, XCLIENT or XFORWARD with a target http://…", "--target")
        if session.shape.drawn or session.shape.reset_between or session.shape.idle_sessions:
            text = "expected connections that are all alike with a target http://…, and no RSET"
            raise wrong("shape", text, "--target")
        if session.extensions != ExtensionPlan():
            raise wrong("extensions", "expected no extensions of SMTP with a target http://…", "--target")
        if session.chunks:
            raise wrong("chunks", "expected no chunks with a target http://…: they are SMTP's", "--chunking")

    def identified(self) -> "Plan":
        """The same with a run id."""
        return self if self.run_id else replace(self, run_id=draw_run_id())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a results file. Holds the path of a password file, never a password."""
        plain: dict[str, Any] = asdict(self, dict_factory=_plain)
        plain["target"] = str(self.target) if self.target else None
        plain["more_targets"] = [str(one) for one in self.more_targets]
        return plain


def _plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {
        name: value.value if isinstance(value, Enum) else str(value) if isinstance(value, Path) else value
        for name, value in pairs
    }

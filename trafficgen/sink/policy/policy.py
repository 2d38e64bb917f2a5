"""The policy of a sink: limits, local parts, response table and faults, in that order.

Takes     commands and messages of sessions (`policy_hooks.PolicyHooks`)
Gives     the first reason to refuse or delay; faults are added to whatever the rest decides
Cost      with limits and a table at the end of data, two dictionary look-ups and two `pop`s a message
Not here  the response table (responses), drawing (destinations, faults), state (limits, attempts)

The order at the end of data is that of KumoMTA's sink: local parts that request an outcome, then chance. Of several
recipients the first that is refused decides for all in SMTP; in LMTP each has its own decision.
"""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from trafficgen.clock import now_ns
from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp.policy_hooks import Decision
from trafficgen.sink.policy import faults as fault_table
from trafficgen.sink.policy.attempts import Attempts, Greylist
from trafficgen.sink.policy.destinations import MAX_DOMAINS, Destination, Destinations
from trafficgen.sink.policy.faults import SinkFault, combine
from trafficgen.sink.policy.limits import Clients, Limits
from trafficgen.sink.policy.replies import render
from trafficgen.sink.policy.responses import ResponseProfile, Responses

if TYPE_CHECKING:
    from trafficgen.sink.policy.sampler import Sampler

_MAIL, _RCPT, _DATA = (
    Phase.MAIL,
    Phase.RCPT,
    Phase.DATA,
)  # an enum's member costs more than a module's name

ACCEPT_ALL: Final = Responses(ResponseProfile(0, 0, (), ()), {})
"""Nothing is refused."""

_TEMPFAIL: Final = Decision(reply=b"400 tempfail requested\r\n")
_PERMFAIL: Final = Decision(reply=b"500 permfail requested\r\n")
_CONNECTIONS: Final = Decision(reply=b"421 4.7.0 too many connections from your address\r\n")
_CLIENT_RATE: Final = Decision(reply=b"421 4.7.0 too many messages from your address, come back later\r\n")
_SESSION_FULL: Final = Decision(reply=b"421 4.7.0 too many messages in this session\r\n")
_DOMAIN_RATE: Final = Decision(reply=b"451 4.7.1 this domain gets too many messages at the moment\r\n")
_RECIPIENTS: Final = Decision(reply=b"452 4.5.3 too many recipients\r\n")
_TOO_BIG: Final = Decision(reply=b"552 5.3.4 message too big\r\n")
_FULL: Final = Decision(reply=b"452 4.3.1 no space left for messages\r\n")
_ATTEMPTS: Final = Decision(reply=b"451 4.2.0 not yet, try again\r\n")
_GREYLISTED: Final = Decision(reply=b"451 4.7.1 greylisted, try again later\r\n")


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """What a policy is made of."""

    responses: Responses = ACCEPT_ALL
    limits: Limits = field(default_factory=Limits)
    faults: tuple[SinkFault, ...] = ()
    suffixes: tuple[str, ...] = ()
    kumo_odds: bool = False
    seed: int = 0


class Policy:
    """What all sessions of a sink share. `storage_full` is called before a message is accepted."""

    def __init__(
        self, config: PolicyConfig, *, clock: Callable[[], int] = now_ns, storage_full: Callable[[], bool] | None = None
    ) -> None:
        self.clock = clock
        self.storage_full = storage_full
        self.limits = config.limits
        self.clients = Clients(config.limits.client_rate)
        self.attempts = Attempts()
        self.greylist = Greylist()
        self.listed = config.faults
        """The faults in use."""
        self.replace(config)

    def replace(self, config: PolicyConfig) -> None:
        """Use another response table from now on, in open sessions too. Limits, faults and state stay."""
        self.config = config
        self.destinations = Destinations(
            config.responses, config.suffixes, config.seed, kumo=config.kumo_odds, limits=self.limits
        )
        self.stages = self.destinations.stages
        self.domains_limited = self.destinations.limited
        # Read for every command: looking a member up in a set of enum members costs a call of its hash.
        default = self.destinations.default.stages
        self.default_at_connect, self.default_at_helo = Phase.GREETING in default, Phase.EHLO in default
        self.default_at_mail = Phase.MAIL in default
        self.chance_at_rcpt, self.chance_at_data = Phase.RCPT in self.stages, Phase.DATA in self.stages
        self.found = self.destinations.found
        self.dots: dict[bytes, Sampler[Decision | None]] = {}
        self.set_faults(self.listed)

    def set_faults(self, faults: Iterable[SinkFault]) -> None:
        """Use other faults from now on."""
        self.listed = tuple(faults)
        self.faults = fault_table.table(self.listed, self.config.seed)
        in_envelope = {Phase.MAIL, Phase.RCPT, Phase.DATA}
        self.dot_is_plain = Phase.END_OF_DATA not in self.faults and self.storage_full is None
        self.envelope_is_plain = not (in_envelope & (self.stages | self.faults.keys()))

    def session(self, address: bytes) -> "SessionPolicy":
        """The policy of a session with the client at this address."""
        return SessionPolicy(self, address)


class SessionPolicy:
    """Implements `PolicyHooks` for one session. Call `leave` when it ends."""

    __slots__ = (
        "_address",
        "_client",
        "_messages",
        "_most_messages",
        "_most_recipients",
        "_policy",
        "_recipients",
        "max_octets",
    )

    def __init__(self, policy: Policy, address: bytes) -> None:
        self._policy = policy
        self._messages = 0  # begun in this session
        most = policy.limits.messages_per_session
        self._most_messages = sys.maxsize if most is None else most
        self._recipients = 0  # of the current message
        most = policy.limits.recipients_per_message
        self._most_recipients = sys.maxsize if most is None else most
        self.max_octets = policy.limits.max_octets
        self._enter(address)

    def leave(self) -> None:
        """The session has ended."""
        self._policy.clients.leave(self._address)

    def client(self, address: bytes) -> None:
        """XCLIENT gave the address of the real client."""
        self.leave()
        self._enter(address)

    def _enter(self, address: bytes) -> None:
        self._address = address
        self._client = self._policy.clients.enter(address)

    # -- by command -------------------------------------------------------------------------------------

    def decide(self, stage: Phase, argument: bytes, sender: bytes, octets: int) -> Decision | None:
        """Decide on a command before it is processed."""
        if stage is _RCPT:
            answer = self._rcpt(sender, argument)
        elif stage is _MAIL:
            answer = self._mail(octets)
        elif stage is _DATA:
            answer = self._data(sender, argument.split(b"\n")) if self._policy.chance_at_data else None
        else:
            answer = self._open(stage)
        faults = self._policy.faults
        return self._with_fault(stage, answer) if faults else answer

    def _open(self, stage: Phase) -> Decision | None:
        policy = self._policy
        if stage is Phase.GREETING:
            most = policy.limits.connections_per_client
            if most is not None and self._client.sessions > most:
                return _CONNECTIONS
            return self._by_default(stage) if policy.default_at_connect else None
        return self._by_default(stage) if stage is Phase.EHLO and policy.default_at_helo else None

    def _mail(self, octets: int) -> Decision | None:
        if self.max_octets is not None and octets > self.max_octets:
            return _TOO_BIG
        if (limited := self._begin_message()) is not None:
            return limited
        return self._by_default(Phase.MAIL) if self._policy.default_at_mail else None

    def _begin_message(self) -> Decision | None:
        """Count a message against its limits; the refusal when one is used up, and then nothing is counted."""
        if self._messages >= self._most_messages:
            return _SESSION_FULL
        bucket = self._client.bucket
        if bucket is not None and not bucket.take(self._policy.clock()):
            return _CLIENT_RATE
        self._messages += 1
        self._recipients = 0
        return None

    def _by_default(self, stage: Phase) -> Decision | None:
        """Before a recipient is known, the default profile decides."""
        return self._by_chance(self._policy.destinations.default, stage, b"", b"")

    def _rcpt(self, sender: bytes, recipient: bytes) -> Decision | None:
        if (limited := self._add_recipient(recipient)) is not None:
            return limited
        if not self._policy.chance_at_rcpt:
            return None
        destination = self._policy.destinations.find(recipient[recipient.rfind(b"@") + 1 :])[0]
        return self._by_chance(destination, Phase.RCPT, sender, recipient)

    def _add_recipient(self, recipient: bytes) -> Decision | None:
        """The same for recipients."""
        policy = self._policy
        if self._recipients >= self._most_recipients:
            return _RECIPIENTS
        if policy.domains_limited:
            domain = recipient[recipient.rfind(b"@") + 1 :]
            bucket = (policy.found.get(domain) or policy.destinations.find(domain))[1]
            if bucket is not None and not bucket.take(policy.clock()):
                return _DOMAIN_RATE
        self._recipients += 1
        return None

    def _data(self, sender: bytes, recipients: list[bytes]) -> Decision | None:
        for recipient in recipients:
            destination = self._policy.destinations.find(recipient.rpartition(b"@")[2])[0]
            if (answer := self._by_chance(destination, Phase.DATA, sender, recipient)) is not None:
                return answer
        return None

    # -- commands accepted as usual --------------------------------------------------------------------

    def accept_mail(self) -> bool:
        """Whether MAIL without parameters is only subject to limits and within them; then it is counted."""
        return self._policy.envelope_is_plain and self._begin_message() is None

    def accept_rcpt(self, recipient: bytes) -> bool:
        """The same for RCPT."""
        return self._policy.envelope_is_plain and self._add_recipient(recipient) is None

    def accept_data(self) -> bool:
        """The same for DATA."""
        return self._policy.envelope_is_plain

    def accept_envelope(self, sender: bytes, recipient: bytes) -> bool:
        """The same for MAIL, RCPT and DATA together: all are counted or none."""
        if not self.accept_mail():
            return False
        if self.accept_rcpt(recipient):
            return True
        self._messages -= 1
        if self._client.bucket is not None:
            self._client.bucket.give_back()
        return False

    # -- the end of data --------------------------------------------------------------------------------

    def decide_message(self, sender: bytes, recipients: list[bytes], octets: int) -> Decision | None:
        """Decide on a complete message, before it is accepted."""
        policy = self._policy
        if self.max_octets is not None and octets > self.max_octets:
            return _TOO_BIG
        if policy.dot_is_plain and len(recipients) == 1:
            # The fast path: one recipient, of a domain seen before where only chance decides
            # (benchmarks/sink.py; `in` takes twice as long as `find`).
            recipient = recipients[0]
            sampler = policy.dots.get(recipient[recipient.rfind(b"@") + 1 :])
            if sampler is not None and recipient.find(b"fail") < 0 and recipient[3:4] != b"-":
                return sampler.ahead.pop() if sampler.ahead else sampler.draw()
        return self._dot(policy, sender, recipients)

    def _dot(self, policy: Policy, sender: bytes, recipients: list[bytes]) -> Decision | None:
        if policy.storage_full is not None and policy.storage_full():
            return _FULL
        answer = None
        for recipient in recipients:
            local, _, domain = recipient.rpartition(b"@")
            if (b"fail" in local or local[3:4] == b"-") and (requested := _requested_by(local)) is not None:
                mine = requested if requested.reply is not None else None
            else:
                destination = policy.destinations.find(domain)[0]
                mine = self._by_chance(destination, Phase.END_OF_DATA, sender, recipient)
                if (sampler := destination.dot) is not None:
                    if len(policy.dots) >= MAX_DOMAINS:
                        policy.dots.clear()
                    policy.dots[domain] = sampler
            answer = mine if answer is None else combine(answer, mine)
            if answer is not None and answer.reply is not None:
                break
        return self._with_fault(Phase.END_OF_DATA, answer) if policy.faults else answer

    def _by_chance(self, destination: Destination, stage: Phase, sender: bytes, recipient: bytes) -> Decision | None:
        profile = destination.profile
        if profile.stage is stage and destination.remembers:
            answer = self._by_memory(destination, sender, recipient) or destination.draw(stage)
            wait_ns = destination.delay_ns()
            return combine(answer, Decision(wait_ns=wait_ns)) if wait_ns else answer
        sampler = destination.sampler(stage)
        if sampler is None:
            return None
        return sampler.ahead.pop() if sampler.ahead else sampler.draw()

    def _by_memory(self, destination: Destination, sender: bytes, recipient: bytes) -> Decision | None:
        policy, profile = self._policy, destination.profile
        if profile.greylist_ns:
            now_ns = policy.clock()
            if policy.greylist.defers(self._address, sender, recipient, profile.greylist_ns, now_ns):
                return _GREYLISTED
        if profile.attempts and policy.attempts.fails(sender, recipient, profile.attempts):
            return Decision(reply=profile.defers[0].octets) if profile.defer else _ATTEMPTS
        if profile.sticky and (octets := destination.sticky(recipient)) is not None:
            return Decision(reply=octets)
        return None

    def _with_fault(self, stage: Phase, answer: Decision | None) -> Decision | None:
        sampler = self._policy.faults.get(stage)
        return combine(sampler.draw(), answer) if sampler is not None else answer


_ACCEPT: Final = Decision()


def _requested_by(local: bytes) -> Decision | None:
    """The outcome that a local part requests, as in KumoMTA's sink; `_ACCEPT`: accept, whatever chance says."""
    if b"tempfail" in local:
        return _TEMPFAIL
    if b"permfail" in local:
        return _PERMFAIL
    if local.startswith(b"450-"):
        return Decision(reply=render(450, f"you said {local.decode('utf-8', 'replace')}"))
    return _ACCEPT if local.startswith(b"250-") else None

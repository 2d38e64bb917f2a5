"""The judge of one session: limits, local parts, response table and faults, in that order.

Takes     what a session asks (`smtp.judging.Judge`)
Gives     the first reason to answer otherwise; faults come on top of whatever the rest decides
Cost      with limits and a table at the end of data, two dictionary look-ups and two `pop`s a message
Not here  what the table says (responses), what is drawn (destinations, faults), what is remembered (limits, tries)

The order at the end of data is that of KumoMTA's sink: local parts that ask for an outcome, then chance. Of several
recipients the first that is refused decides for all, in SMTP; in LMTP each has its own answer.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from trafficgen.clock import now_ns
from trafficgen.protocol.smtp.policy_hooks import Answer, SessionStage
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
    SessionStage.MAIL,
    SessionStage.RCPT,
    SessionStage.DATA,
)  # an enum's member costs more than a module's name

PEACEFUL: Final = Responses(ResponseProfile(0, 0, (), ()), {})
"""Nobody refuses anything."""

_TEMPFAIL: Final = Answer(reply=b"400 tempfail requested\r\n")
_PERMFAIL: Final = Answer(reply=b"500 permfail requested\r\n")
_CONNECTIONS: Final = Answer(reply=b"421 4.7.0 too many connections from your address\r\n")
_CLIENT_RATE: Final = Answer(reply=b"421 4.7.0 too many messages from your address, come back later\r\n")
_SESSION_FULL: Final = Answer(reply=b"421 4.7.0 too many messages in this session\r\n")
_DOMAIN_RATE: Final = Answer(reply=b"451 4.7.1 this domain gets too many messages at the moment\r\n")
_RECIPIENTS: Final = Answer(reply=b"452 4.5.3 too many recipients\r\n")
_TOO_BIG: Final = Answer(reply=b"552 5.3.4 message too big\r\n")
_FULL: Final = Answer(reply=b"452 4.3.1 no space left for messages\r\n")
_ATTEMPTS: Final = Answer(reply=b"451 4.2.0 not yet, try again\r\n")
_GREYLISTED: Final = Answer(reply=b"451 4.7.1 greylisted, try again later\r\n")


@dataclass(frozen=True, slots=True)
class Terms:
    """Everything a policy is made of."""

    responses: Responses = PEACEFUL
    limits: Limits = field(default_factory=Limits)
    faults: tuple[SinkFault, ...] = ()
    suffixes: tuple[str, ...] = ()
    kumo_odds: bool = False
    seed: int = 0


class Policy:
    """What all sessions of a sink share. `storage_full` is asked before a message is taken."""

    def __init__(
        self, terms: Terms, *, clock: Callable[[], int] = now_ns, storage_full: Callable[[], bool] | None = None
    ) -> None:
        self.clock = clock
        self.storage_full = storage_full
        self.limits = terms.limits
        self.clients = Clients(terms.limits.client_rate)
        self.attempts = Attempts()
        self.greylist = Greylist()
        self._listed = terms.faults
        self.replace(terms)

    def replace(self, terms: Terms) -> None:
        """Another table from now on, in open sessions too. Limits and faults stay, and what is remembered."""
        self.terms = terms
        self.destinations = Destinations(
            terms.responses, terms.suffixes, terms.seed, kumo=terms.kumo_odds, limits=self.limits
        )
        self.stages = self.destinations.stages
        self.domains_limited = self.destinations.limited
        # Looked at with every command: a set of enum members costs a call to hash one.
        default = self.destinations.default.stages
        self.default_at_connect, self.default_at_helo = SessionStage.CONNECT in default, SessionStage.HELO in default
        self.default_at_mail = SessionStage.MAIL in default
        self.chance_at_rcpt, self.chance_at_data = SessionStage.RCPT in self.stages, SessionStage.DATA in self.stages
        self.found = self.destinations.found
        self.dots: dict[bytes, Sampler[Answer | None]] = {}
        self.set_faults(self._listed)

    def set_faults(self, faults: Iterable[SinkFault]) -> None:
        """Other faults from now on."""
        self._listed = tuple(faults)
        self.faults = fault_table.table(self._listed, self.terms.seed)
        in_envelope = {SessionStage.MAIL, SessionStage.RCPT, SessionStage.DATA}
        self.dot_is_plain = SessionStage.DOT not in self.faults and self.storage_full is None
        self.envelope_is_plain = not (in_envelope & (self.stages | self.faults.keys()))

    def judge(self, address: bytes) -> "SessionPolicy":
        """For a session with the client at this address."""
        return SessionPolicy(self, address)


class SessionPolicy:
    """Implements `smtp.judging.Judge`. Call `leave` when the session is over."""

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
        self._recipients = 0  # of the message at work
        most = policy.limits.recipients_per_message
        self._most_recipients = sys.maxsize if most is None else most
        self.max_octets = policy.limits.max_octets
        self._enter(address)

    def leave(self) -> None:
        """The session is over."""
        self._policy.clients.leave(self._address)

    def client(self, address: bytes) -> None:
        """XCLIENT says who the client really is."""
        self.leave()
        self._enter(address)

    def _enter(self, address: bytes) -> None:
        self._address = address
        self._client = self._policy.clients.enter(address)

    # -- by command -------------------------------------------------------------------------------------

    def ask(self, stage: SessionStage, argument: bytes, sender: bytes, octets: int) -> Answer | None:
        """Before a command is dealt with."""
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

    def _open(self, stage: SessionStage) -> Answer | None:
        policy = self._policy
        if stage is SessionStage.CONNECT:
            most = policy.limits.connections_per_client
            if most is not None and self._client.sessions > most:
                return _CONNECTIONS
            return self._by_default(stage) if policy.default_at_connect else None
        return self._by_default(stage) if stage is SessionStage.HELO and policy.default_at_helo else None

    def _mail(self, octets: int) -> Answer | None:
        if self.max_octets is not None and octets > self.max_octets:
            return _TOO_BIG
        if (limited := self._begin_message()) is not None:
            return limited
        return self._by_default(SessionStage.MAIL) if self._policy.default_at_mail else None

    def _begin_message(self) -> Answer | None:
        """Take from the limits that hold for messages; the one that has nothing left, and then nothing is taken."""
        if self._messages >= self._most_messages:
            return _SESSION_FULL
        bucket = self._client.bucket
        if bucket is not None and not bucket.take(self._policy.clock()):
            return _CLIENT_RATE
        self._messages += 1
        self._recipients = 0
        return None

    def _by_default(self, stage: SessionStage) -> Answer | None:
        """Where no recipient is known, the default temper may have its stage."""
        return self._by_chance(self._policy.destinations.default, stage, b"", b"")

    def _rcpt(self, sender: bytes, recipient: bytes) -> Answer | None:
        if (limited := self._add_recipient(recipient)) is not None:
            return limited
        if not self._policy.chance_at_rcpt:
            return None
        destination = self._policy.destinations.find(recipient[recipient.rfind(b"@") + 1 :])[0]
        return self._by_chance(destination, SessionStage.RCPT, sender, recipient)

    def _add_recipient(self, recipient: bytes) -> Answer | None:
        """The same of those that hold for recipients."""
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

    def _data(self, sender: bytes, recipients: list[bytes]) -> Answer | None:
        for recipient in recipients:
            destination = self._policy.destinations.find(recipient.rpartition(b"@")[2])[0]
            if (answer := self._by_chance(destination, SessionStage.DATA, sender, recipient)) is not None:
                return answer
        return None

    # -- commands that pass as usual --------------------------------------------------------------------

    def mail(self) -> bool:
        """MAIL without parameters, when it has nothing to pass but limits; takes from them if so."""
        return self._policy.envelope_is_plain and self._begin_message() is None

    def rcpt(self, recipient: bytes) -> bool:
        """RCPT, likewise."""
        return self._policy.envelope_is_plain and self._add_recipient(recipient) is None

    def data(self) -> bool:
        """DATA, likewise."""
        return self._policy.envelope_is_plain

    def envelope(self, sender: bytes, recipient: bytes) -> bool:
        """MAIL, RCPT and DATA at once; takes from all limits or from none."""
        if not self.mail():
            return False
        if self.rcpt(recipient):
            return True
        self._messages -= 1
        if self._client.bucket is not None:
            self._client.bucket.give_back()
        return False

    # -- the end of data --------------------------------------------------------------------------------

    def dot(self, sender: bytes, recipients: list[bytes], octets: int) -> Answer | None:
        """When a message is complete, before it is taken."""
        policy = self._policy
        if self.max_octets is not None and octets > self.max_octets:
            return _TOO_BIG
        if policy.dot_is_plain and len(recipients) == 1:
            # The hot path: one recipient, of a domain seen before at which nothing but chance decides
            # (benchmarks/sink.py; `in` takes twice as long as `find`).
            recipient = recipients[0]
            dice = policy.dots.get(recipient[recipient.rfind(b"@") + 1 :])
            if dice is not None and recipient.find(b"fail") < 0 and recipient[3:4] != b"-":
                return dice.ahead.pop() if dice.ahead else dice.roll()
        return self._dot(policy, sender, recipients)

    def _dot(self, policy: Policy, sender: bytes, recipients: list[bytes]) -> Answer | None:
        if policy.storage_full is not None and policy.storage_full():
            return _FULL
        answer = None
        for recipient in recipients:
            local, _, domain = recipient.rpartition(b"@")
            if (b"fail" in local or local[3:4] == b"-") and (asked := _asked_for(local)) is not None:
                mine = asked if asked.reply is not None else None
            else:
                destination = policy.destinations.find(domain)[0]
                mine = self._by_chance(destination, SessionStage.DOT, sender, recipient)
                if (dice := destination.dot) is not None:
                    if len(policy.dots) >= MAX_DOMAINS:
                        policy.dots.clear()
                    policy.dots[domain] = dice
            answer = mine if answer is None else combine(answer, mine)
            if answer is not None and answer.reply is not None:
                break
        return self._with_fault(SessionStage.DOT, answer) if policy.faults else answer

    def _by_chance(
        self, destination: Destination, stage: SessionStage, sender: bytes, recipient: bytes
    ) -> Answer | None:
        temper = destination.temper
        if temper.stage is stage and destination.remembers:
            answer = self._by_memory(destination, sender, recipient) or destination.roll(stage)
            wait_ns = destination.delay_ns()
            return combine(answer, Answer(wait_ns=wait_ns)) if wait_ns else answer
        dice = destination.dice(stage)
        if dice is None:
            return None
        return dice.ahead.pop() if dice.ahead else dice.roll()

    def _by_memory(self, destination: Destination, sender: bytes, recipient: bytes) -> Answer | None:
        policy, temper = self._policy, destination.temper
        if temper.greylist_ns:
            now_ns = policy.clock()
            if policy.greylist.puts_off(self._address, sender, recipient, temper.greylist_ns, now_ns):
                return _GREYLISTED
        if temper.attempts and policy.attempts.fails(sender, recipient, temper.attempts):
            return Answer(reply=temper.defers[0].octets) if temper.defer else _ATTEMPTS
        if temper.sticky and (octets := destination.sticky(recipient)) is not None:
            return Answer(reply=octets)
        return None

    def _with_fault(self, stage: SessionStage, answer: Answer | None) -> Answer | None:
        dice = self._policy.faults.get(stage)
        return combine(dice.roll(), answer) if dice is not None else answer


_ACCEPT: Final = Answer()


def _asked_for(local: bytes) -> Answer | None:
    """The outcome that a local part asks for, as KumoMTA's sink reads it; `_ACCEPT` without any dice."""
    if b"tempfail" in local:
        return _TEMPFAIL
    if b"permfail" in local:
        return _PERMFAIL
    if local.startswith(b"450-"):
        return Answer(reply=render(450, f"you said {local.decode('utf-8', 'replace')}"))
    return _ACCEPT if local.startswith(b"250-") else None


def canonical_suffixes(texts: Sequence[str]) -> tuple[str, ...]:
    """Without dots at their ends, none of them empty."""
    return tuple(stripped for text in texts if (stripped := text.strip(".").lower()))

"""The response profile of a recipient's domain, and what it draws.

Takes     a response table, the suffixes that test domains carry, a seed
Gives     a `Destination` for a recipient's domain; for each stage its decisions, drawn ahead
Limits    remembers `MAX_DOMAINS` domains; a sender that invents more of them costs a search each
Not here  the order in which limits, tables and faults count (policy)

`gmail.com.testingdomain.tld` is looked up as gmail.com: with suffixes given, exactly those are taken off; without, as
many labels as it takes until a domain of the table is left.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from trafficgen.outcomes import Phase
from trafficgen.protocol.smtp.policy_hooks import STAGES, Decision
from trafficgen.sink.policy.limits import Bucket, Limits
from trafficgen.sink.policy.responses import Refusal, ResponseProfile, Responses
from trafficgen.sink.policy.sampler import Sampler

MAX_DOMAINS: Final = 65_536
_DELAYS: Final = 1024
_NO_CHANCE: Final[Sampler[Decision | None]] = Sampler(0, "sink/response/nothing", [None], [1])
_ORDER: Final = (Phase.RCPT, Phase.DATA, Phase.END_OF_DATA)


class Destination:
    """One domain of the table, or the default."""

    __slots__ = ("_block", "_delays", "_kumo", "_samplers", "_seed", "name", "profile", "remembers", "stages")

    def __init__(self, name: str, profile: ResponseProfile, seed: int, *, kumo: bool) -> None:
        self.profile = profile
        self.name = name
        self._seed = seed
        self._kumo = kumo
        self._delays: list[int] = []
        self._block = 0
        self.remembers = bool(profile.delay or profile.attempts or profile.greylist_ns or profile.sticky)
        """Whether more than chance decides at the stage of its profile."""
        refusals = (*(profile.bounces if profile.bounce else ()), *(profile.defers if profile.defer else ()))
        self.stages = {refusal.stage for refusal in refusals} | ({profile.stage} if self.remembers else set())
        """Stages at which it may refuse or delay."""
        self._samplers = {stage: self._make(stage) for stage in self.stages}

    @property
    def dot(self) -> Sampler[Decision | None] | None:
        """The sampler for the end of data when only chance decides there; None otherwise."""
        if self.remembers and self.profile.stage is Phase.END_OF_DATA:
            return None
        return self._samplers.get(Phase.END_OF_DATA) or _NO_CHANCE

    def draw(self, stage: Phase) -> Decision | None:
        """A decision by chance at this stage."""
        sampler = self._samplers.get(stage)
        return sampler.draw() if sampler is not None else None

    def sampler(self, stage: Phase) -> Sampler[Decision | None] | None:
        """The sampler of this stage; None where nothing happens by chance."""
        return self._samplers.get(stage)

    def delay_ns(self) -> int:
        """How long its next answer takes."""
        delay = self.profile.delay
        if delay is None:
            return 0
        if not self._delays:
            stream = f"sink/response/{self.name}/delay"
            self._delays = delay.block(self._seed, stream, self._block, _DELAYS)[::-1]
            self._block += 1
        return self._delays.pop()

    def sticky(self, recipient: bytes) -> bytes | None:
        """The reply that this recipient always gets, if it is one of those."""
        seeded = hashlib.blake2b(recipient.lower(), key=self._seed.to_bytes(8, "little"), digest_size=16).digest()
        bounce, _ = self.profile.odds(kumo=self._kumo)
        if int.from_bytes(seeded[:8], "little") >= int(bounce / 100 * 2**64):
            return None
        weights = [refusal.weight for refusal in self.profile.bounces]
        place = int.from_bytes(seeded[8:], "little") / 2**64 * sum(weights)
        for refusal in self.profile.bounces:
            place -= refusal.weight
            if place < 0:
                return refusal.octets
        return self.profile.bounces[-1].octets

    def _make(self, stage: Phase) -> Sampler[Decision | None]:
        """One draw decides between refusing in one of the ways of this stage and letting pass.

        Who came here has passed the stages before, so the odds here are those of what is left.
        """
        bounce, defer = self.profile.odds(kumo=self._kumo)
        shares = [
            *_shares(self.profile.bounces, 0.0 if self.profile.sticky else bounce), *_shares(self.profile.defers, defer)
        ]  # fmt: skip
        earlier = _ORDER[: _ORDER.index(stage)] if stage in _ORDER else ()
        here = [(Decision(reply=refusal.octets), share) for refusal, share in shares if refusal.stage is stage]
        left = 100 - sum(share for refusal, share in shares if refusal.stage in earlier or refusal.stage is stage)
        if self.profile.sticky:
            left -= bounce  # those never come here: a defer's share is of all messages
        alternatives: list[Decision | None] = [decision for decision, _ in here]
        weights = [round(share, 9) for _, share in here]
        stream = f"sink/response/{self.name}/{STAGES[stage]}"
        nothing = max(round(left, 9), 0.0)
        if not (nothing or any(weights)):
            nothing = 1.0
        return Sampler(self._seed, stream, [*alternatives, None], [*weights, nothing])


class Destinations:
    """All of them."""

    def __init__(self, responses: Responses, suffixes: Sequence[str], seed: int, *, kumo: bool, limits: Limits) -> None:
        self._limits = limits
        self._rates = {name.lower(): rate for name, rate in limits.domain_rates}
        self._suffixes = [f".{suffix.strip('.').lower()}" for suffix in suffixes]
        self.default = Destination("default", responses.default, seed, kumo=kumo)
        self.named = {name: Destination(name, profile, seed, kumo=kumo) for name, profile in responses.domains.items()}
        self.found: dict[bytes, tuple[Destination, Bucket | None]] = {}
        self._buckets: dict[str, Bucket] = {}

    @property
    def stages(self) -> set[Phase]:
        """Where any of them may refuse or delay."""
        return {stage for destination in (self.default, *self.named.values()) for stage in destination.stages}

    @property
    def limited(self) -> bool:
        """Whether any domain has a rate."""
        return bool(self._rates) or self._limits.domain_rate is not None

    def find(self, domain: bytes) -> tuple[Destination, Bucket | None]:
        """By a domain as it stands on the wire: its destination, and its bucket if it has a limit."""
        found = self.found.get(domain)
        if found is None:
            found = self._look(domain.decode("utf-8", "replace").lower())
            if len(self.found) >= MAX_DOMAINS:
                self.found.clear()
            self.found[domain] = found
        return found

    def _look(self, domain: str) -> tuple[Destination, Bucket | None]:
        name = self._strip(domain)
        rate = self._rates.get(name, self._limits.domain_rate)
        bucket = None
        if rate is not None:
            if len(self._buckets) >= MAX_DOMAINS:
                self._buckets.clear()
            bucket = self._buckets.setdefault(name, Bucket(rate))
        return self.named.get(name, self.default), bucket

    def _strip(self, domain: str) -> str:
        for suffix in self._suffixes:
            if domain.endswith(suffix):
                return domain.removesuffix(suffix)
        if self._suffixes or domain in self.named:
            return domain
        name = domain
        while "." in name:
            name = name.rpartition(".")[0]
            if name in self.named or name in self._rates:
                return name
        return domain


def _shares(refusals: tuple[Refusal, ...], percent: float) -> list[tuple[Refusal, float]]:
    total = sum(refusal.weight for refusal in refusals)
    return [(refusal, percent * refusal.weight / total) for refusal in refusals]

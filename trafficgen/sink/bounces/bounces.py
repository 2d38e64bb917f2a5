"""Bounces and complaints after acceptance: which messages get one.

Takes     messages that were answered 250; shares, drawn from the seed, recipient by recipient
Gives     bounces and complaints for the envelope senders, to a `BounceSender`: a bounce for each message, a complaint
          for each recipient
Never     answers a null sender, a report, or a recipient with NOTIFY=NEVER; nor a sender on a domain that may be real,
          unless that was allowed: the server that gets the report would relay it
Cost      a `pop` a recipient; the message's header when a report is due
Not here  the octets of a report (reports), sending it (bounce_sender), refusing at once (policy)

The text of a bounce is a reply from the response table in use, or from the built-in one: what the recipient's domain
would have answered.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Final

from trafficgen.outcomes import Phase
from trafficgen.plan import Target, is_reserved, may_be_a_registry
from trafficgen.protocol.smtp.dots import unstuff
from trafficgen.sink.bounces import reports
from trafficgen.sink.bounces.bounce_sender import BounceSender, OutgoingReport
from trafficgen.sink.policy.destinations import MAX_DOMAINS, Destination, Destinations
from trafficgen.sink.policy.replies import render
from trafficgen.sink.policy.responses import Refusal
from trafficgen.sink.policy.sampler import Sampler
from trafficgen.sink.store.tee import Tee

if TYPE_CHECKING:
    from trafficgen.sink.store.interface import Store

_NO_REFUSAL: Final = Refusal(render(550, "5.1.1 no such mailbox"), 1, Phase.END_OF_DATA)
_SENDER: Final = re.compile(rb"[!-;=?-~]+@([A-Za-z0-9.-]+)")
_RECIPIENT: Final = re.compile(rb"[ -~]+")


@dataclass(frozen=True, slots=True)
class BouncePlan:
    """Shares from 0 to 1, of recipients. `suffixes` are domains that are the user's own, beside the reserved ones."""

    to: Target
    bounce_share: float = 0.0
    complaint_share: float = 0.0
    allow_public_target: bool = False
    allow_real_domains: bool = False
    suffixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportTotals:
    """Bounces and complaints made; how many of both wait, were sent, were refused by the server, were dropped."""

    bounces: int = 0
    complaints: int = 0
    waiting: int = 0
    sent: int = 0
    refused: int = 0
    dropped: int = 0

    @property
    def line(self) -> str:
        """The same for people."""
        made = f"{self.bounces} bounces and {self.complaints} complaints"
        return f"{made}: {self.sent} sent, {self.refused} refused, {self.dropped} dropped, {self.waiting} waiting"


class _ReportKind(Enum):
    BOUNCE = "bounce"
    COMPLAINT = "complaint"


class Bounces:
    """The bounces of one sink. `destinations` is called for each bounce, so that a reloaded table counts at once."""

    def __init__(
        self, plan: BouncePlan, bounce_sender: BounceSender, destinations: Callable[[], Destinations], seed: int
    ) -> None:
        self.bounce_sender = bounce_sender
        self.bounces_made = 0
        self.complaints_made = 0
        self._plan = plan
        self._destinations = destinations
        self._seed = seed
        self._refusals: dict[Destination, Sampler[Refusal]] = {}
        self._number = 0
        shares = plan.bounce_share, plan.complaint_share
        left = max(round(1.0 - sum(shares), 12), 0.0)
        alternatives = [_ReportKind.BOUNCE, _ReportKind.COMPLAINT, None]
        self._sampler: Sampler[_ReportKind | None] = Sampler(seed, "sink/returns", alternatives, [*shares, left])

    @property
    def totals(self) -> "ReportTotals":
        """How many were made so far, and what became of them."""
        counts = self.bounce_sender.counts
        made = self.bounces_made, self.complaints_made
        return ReportTotals(*made, self.bounce_sender.waiting, counts.sent, counts.refused, counts.dropped)

    def draw(self, recipients: list[bytes]) -> list[tuple[_ReportKind, bytes]]:
        """The reports due for the recipients of a message; none for most."""
        sampler = self._sampler
        drawn = [(sampler.ahead.pop() if sampler.ahead else sampler.draw(), recipient) for recipient in recipients]
        return [(kind, recipient) for kind, recipient in drawn if kind is not None and _RECIPIENT.fullmatch(recipient)]

    def answer(
        self, drawn: list[tuple[_ReportKind, bytes]], sender: bytes, header: bytes, parameters: dict[bytes, bytes]
    ) -> None:
        """Queue the reports that were drawn for this message."""
        if not sender or not self._may_write_to(sender):
            return
        self._number += 1
        header = header[: reports.MAX_HEADER_OCTETS]
        name = self.bounce_sender.name
        original = reports.Original(self._number, sender, header, time.time(), parameters, name)
        if original.is_report:
            return
        octets = len(original.header) + sum(len(name) + len(words) for name, words in parameters.items())
        octets += sum(len(recipient) for _, recipient in drawn)
        failed = {
            recipient: self._refusal(recipient)
            for kind, recipient in drawn
            if kind is _ReportKind.BOUNCE and original.wants_bounces(recipient)
        }
        if failed:
            self.bounces_made += 1
            self.bounce_sender.post(OutgoingReport(sender, partial(reports.bounce, original, failed), octets))
        for kind, recipient in drawn:
            if kind is _ReportKind.COMPLAINT:
                self.complaints_made += 1
                self.bounce_sender.post(OutgoingReport(sender, partial(reports.complaint, original, recipient), octets))

    def _may_write_to(self, sender: bytes) -> bool:
        found = _SENDER.fullmatch(sender)
        if found is None:
            self.bounce_sender.drop("a report cannot be sent to this kind of sender address")
            return False
        domain = found[1].decode("ascii").lower()
        ours = is_reserved(domain) or any(
            f".{domain}".endswith(f".{suffix}") for suffix in self._plan.suffixes if not may_be_a_registry(suffix)
        )
        if not ours and not self._plan.allow_real_domains:
            self.bounce_sender.drop(
                f'"{domain}" may be a real domain, and a report would be relayed to it: add --allow-real-domains when '
                "you are sure that it cannot leave"
            )
            return False
        return True

    def _refusal(self, recipient: bytes) -> bytes:
        destination = self._destinations().find(recipient.rpartition(b"@")[2])[0]
        sampler = self._refusals.get(destination)
        if sampler is None:
            if len(self._refusals) >= MAX_DOMAINS:
                self._refusals.clear()
            refusals = destination.profile.bounces or (_NO_REFUSAL,)
            weights = [refusal.weight for refusal in refusals]
            sampler = Sampler(self._seed, f"sink/returns/{destination.name}", refusals, weights)
            self._refusals[destination] = sampler
        return sampler.draw().octets


class BouncingStore(Tee):
    """Draws bounces and complaints for the accepted messages of one session."""

    __slots__ = ("_bounces", "_header")

    def __init__(self, store: "Store", bounces: Bounces) -> None:
        super().__init__(store)
        self._bounces = bounces
        self._header = b""

    def whole(self, data: bytes, end: int, recipients: int) -> None:
        self.store.whole(data, end, recipients)
        if drawn := self._bounces.draw(self._envelope.recipients):
            head = data.find(b"\r\n\r\n", 0, end)
            self._answer(drawn, unstuff(data[: head + 2 if head >= 0 else end]))

    def piece(self, octets: bytes) -> None:
        self.store.piece(octets)
        room = reports.MAX_HEADER_OCTETS - len(self._header)
        if room > 0:
            self._header += octets[:room]

    def ended(self, recipients: int) -> None:
        self.store.ended(recipients)
        if drawn := self._bounces.draw(self._envelope.recipients):
            self._answer(drawn, self._header.partition(b"\r\n\r\n")[0] + b"\r\n")
        self._header = b""

    def dropped(self) -> None:
        self.store.dropped()
        self._header = b""

    def _answer(self, drawn: list[tuple[_ReportKind, bytes]], header: bytes) -> None:
        envelope = self._envelope
        self._bounces.answer(drawn, envelope.sender or b"", header, envelope.parameters)

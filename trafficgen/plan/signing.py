"""Who signs mail: keys of domains (DKIM, RFC 6376)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trafficgen.plan.refusals import check_types, shown, wrong
from trafficgen.plan.targets import domain_wanted, is_domain

MAX_SIGNED_SENDERS: Final = 4_096
"""Each has a signature of its own, made before the run begins: with RSA of 2,048 bits 7 ms each."""

_SELECTOR: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class DkimKey:
    """Signs mail of senders at `domain` and below it. `file`: an RSA or Ed25519 key (RFC 8463) in PEM; its public half
    is a TXT record at SELECTOR._domainkey.DOMAIN (RFC 6376 section 3.6.2). Read when a run begins; shown nowhere."""

    domain: str
    selector: str
    file: Path

    def __post_init__(self) -> None:
        check_types(self)
        if not is_domain(self.domain):
            raise wrong("dkim_keys", f'expected {domain_wanted(self.domain)}, got "{shown(self.domain)}"', "--dkim-key")
        if not _SELECTOR.fullmatch(self.selector):
            text = f'expected a selector such as s1 (RFC 6376 section 3.1), got "{shown(self.selector)}"'
            raise wrong("dkim_keys", text, "--dkim-key")

    def signs_for(self, domain: str) -> bool:
        """Whether a sender at `domain` is covered: relaxed alignment, as DMARC has it (RFC 7489 section 3.1.1)."""
        own, asked = self.domain.lower(), domain.lower()
        return asked == own or asked.endswith("." + own)


def keys_for(keys: Sequence[DkimKey], domain: str) -> list[DkimKey]:
    """The keys of the longest domain that covers `domain`, one for each selector; none where no domain does.

    Several sign one after the other, as RFC 8463 section 3 advises for RSA and Ed25519.
    """
    covering = [key for key in keys if key.signs_for(domain)]
    longest = max((len(key.domain) for key in covering), default=0)
    return [key for key in covering if len(key.domain) == longest]

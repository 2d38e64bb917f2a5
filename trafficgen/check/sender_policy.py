"""An SPF record with all that it includes: what it says of everybody else, and how many lookups it takes.

Takes     a domain; `Lookups`
Gives     `SenderPolicy`; problems are those that make receivers give up (permerror, RFC 7208 2.6.7)
Limits    10 terms that ask the DNS, and 2 of them without an answer (RFC 7208 4.6.4); what has macros is not followed
"""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Final

from trafficgen.host.lookups import Lookups

MAX_LOOKUPS: Final = 10
MAX_VOID: Final = 2
BEGIN: Final = "v=spf1"

_MECHANISM: Final = re.compile(
    r"([+?~-]?)(all|include|a|mx|ptr|ip4|ip6|exists)(?::([^/]\S*?))?((?:/\d+)?(?://\d+)?)", re.IGNORECASE
)
_MODIFIER: Final = re.compile(r"([a-z][a-z0-9_.-]*)=(\S*)", re.IGNORECASE)


@dataclass(slots=True)
class SenderPolicy:
    """`others`: the qualifier of "all", "" without one (which means neutral, RFC 7208 4.7)."""

    record: str = ""
    others: str = ""
    lookups: int = 0
    void: int = 0
    problems: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    def finish(self) -> "SenderPolicy":
        """Hold it to its limits."""
        if self.lookups > MAX_LOOKUPS:
            self.problems.append(f"more than {MAX_LOOKUPS} lookups")
        if self.void > MAX_VOID:
            self.problems.append(f"{self.void} lookups without an answer, of {MAX_VOID} allowed")
        return self


def read_policy(domain: str, lookups: Lookups) -> SenderPolicy:
    """Of this domain. `record` is empty where it has none."""
    policy = SenderPolicy()
    policy.record, policy.others = _read(domain, lookups, policy)
    return policy.finish()


def _read(domain: str, lookups: Lookups, policy: SenderPolicy) -> tuple[str, str]:
    records = [text for text in lookups.texts(domain, BEGIN) if text.lower().split(" ", 1)[0] == BEGIN]
    if len(records) != 1:
        if records:
            policy.problems.append(f"{domain} has {len(records)} records")
        return (records[0] if records else ""), ""
    others, redirect = "", None
    for term in records[0].split()[1:]:
        if found := _MECHANISM.fullmatch(term):
            qualifier, name, value, _ = found.groups()
            if name.lower() == "all":
                others = qualifier or "+"
                break  # what follows is never looked at (5.1)
            _mechanism(name.lower(), value, domain, lookups, policy, term)
        elif modifier := _MODIFIER.fullmatch(term):
            if modifier[1].lower() == "redirect":
                redirect = modifier[2]
        else:
            policy.problems.append(f'"{term}" is no term')
    if not others and redirect is not None and _follows(redirect, policy):
        text, others = _read(redirect, lookups, policy)
        if not text:
            policy.problems.append(f"redirect to {redirect}, which has no record")
    return records[0], others


def _mechanism(
    name: str, value: str | None, domain: str, lookups: Lookups, policy: SenderPolicy, term: str
) -> None:  # fmt: skip
    if name in ("ip4", "ip6"):
        if not _is_network(term.split(":", 1)[-1], int(name[2])):
            policy.problems.append(f'"{term}" is no network')
        return
    if name in ("include", "exists") and not value:
        policy.problems.append(f'"{term}" names no domain')
        return
    target = value or domain
    if not _follows(target, policy):
        return
    match name:
        case "include":
            if not _read(target, lookups, policy)[0]:
                policy.problems.append(f"{target} is included and has no record")
        case "a":
            policy.void += not lookups.addresses(target)
        case "mx":
            policy.void += not lookups.records(target, "MX")
        case "exists":
            policy.void += not lookups.records(target, "A")
        case "ptr":
            policy.advice.append("ptr is slow and should not be used (RFC 7208 5.5)")


def _follows(target: str, policy: SenderPolicy) -> bool:
    """Count one lookup. False where it is one too many, or depends on the message."""
    policy.lookups = min(policy.lookups + 1, MAX_LOOKUPS + 1)  # no receiver goes on behind that
    return policy.lookups <= MAX_LOOKUPS and "%" not in target


def _is_network(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_network(text, strict=False).version == version
    except ValueError:
        return False

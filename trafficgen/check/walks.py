"""All walks in their order, each a session or a few, and what becomes of one that breaks off.

Takes     a `CheckedServer`, our sink outside where proof is asked for, the ids that are wished
Gives     findings, as soon as each is there
Fails     never because of the server: a walk that ends too early leaves its cases inconclusive, with the reason
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from trafficgen.check import delivery, domain, login, mailbox, ports, relay, smtp, tls, tls_scan
from trafficgen.check.arrivals import Outside
from trafficgen.check.cases import finding
from trafficgen.check.conversation import NO_ANSWER, ConnectionEnded, NotOffered
from trafficgen.check.service import IMAP_KINDS, POP3_KINDS, SMTP_KINDS, CheckedServer, Probe, ServiceKind
from trafficgen.verdict.findings import NOT_REACHED, Finding, Grade

_ALL_KINDS: Final = tuple(ServiceKind)
_SUBMITTING: Final = (ServiceKind.SUBMISSION, ServiceKind.SMTPS)
_OF_SCANS: Final = ("tls.scan",)
_OF_DNS: Final = (
    "dns.ptr", "dns.host", "dns.tlsa", "dns.mx", "dns.spf", "dns.dkim", "dns.dmarc", "dns.mta-sts", "dns.tls-rpt",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Walk:
    """`cases`: what it decides. `services`: it is gone on each of these that is there; none: once for all."""

    cases: tuple[str, ...]
    services: tuple[ServiceKind, ...]
    go: Callable[[Probe], Iterator[Finding]]


def walks(outside: Outside | None) -> list[Walk]:
    """Cheap ones first; the one that makes the server angry last."""
    return [
        Walk(("ports.expected", "ports.unexpected"), (), ports.ports),
        Walk(_OF_DNS, (), domain.domain_walk),
        Walk(
            (
                "smtp.greeting", "smtp.ehlo", "smtp.ehlo.syntax", "smtp.unknown-command", "smtp.order", "smtp.vrfy",
                "smtp.expn", "smtp.postmaster", "smtp.unknown-user", "smtp.size",
            ),
            SMTP_KINDS, smtp.session_rules,
        ),
        Walk(("tls.offered", "tls.required", "tls.handshake", "tls.reset", "tls.injection"), _ALL_KINDS, tls.offered),
        Walk(("tls.chain", "tls.name", "tls.expiry", "tls.key"), _ALL_KINDS, tls.certificate),
        Walk(("tls.versions",), _ALL_KINDS, tls.versions),
        Walk(("tls.ciphers",), _ALL_KINDS, tls.ciphers),
        Walk(_OF_SCANS, _ALL_KINDS, tls_scan.scanned),
        Walk(("auth.clear",), SMTP_KINDS, login.in_clear),
        Walk(
            ("auth.offered", "auth.cancelled", "auth.bad", "auth.unknown-user", "auth.good"),
            SMTP_KINDS, login.accounts,
        ),
        Walk(("auth.required",), _SUBMITTING, login.required),
        Walk(("pop3.greeting", "pop3.capa", "pop3.clear"), POP3_KINDS, mailbox.pop3_in_clear),
        Walk(("pop3.bad", "pop3.mailbox"), POP3_KINDS, mailbox.pop3_mailbox),
        Walk(("imap.greeting", "imap.capability", "imap.clear"), IMAP_KINDS, mailbox.imap_in_clear),
        Walk(("imap.bad", "imap.mailbox"), IMAP_KINDS, mailbox.imap_mailbox),
        Walk(("relay.envelopes",), (ServiceKind.SMTP,), partial(relay.relay, outside=outside)),
        Walk(("relay.after-bad-login",), SMTP_KINDS, partial(relay.after_bad_login, outside=outside)),
        Walk(("smuggling.end-of-data",), (ServiceKind.SMTP,), relay.smuggling),
        Walk(
            ("delivery.submitted", "delivery.log", "delivery.imap", "delivery.pop3", "delivery.out"),
            (), partial(delivery.followed, outside=outside),
        ),
        Walk(("smtp.early-talker",), SMTP_KINDS, smtp.early_talker),
        Walk(("smtp.pipelining-after-helo",), SMTP_KINDS, smtp.pipelining_after_helo),
        Walk(("smtp.errors",), (ServiceKind.SMTP,), smtp.errors),
    ]  # fmt: skip


def check(
    server: CheckedServer, outside: Outside | None, wished: Callable[[str], bool], seen_from: list[str]
) -> Iterator[Finding]:
    """Go all of them. Where we were seen from is added to `seen_from`. One that never answers is waited for once."""
    mute: set[ServiceKind] = set()
    unasked = [_OF_DNS] * (server.dns is None) + [_OF_SCANS] * (not server.scans and not server.scan)
    once = next(iter(server.ports), ServiceKind.SMTP)
    for walk in walks(outside):
        if not any(map(wished, walk.cases)) or walk.cases in unasked:
            continue
        for service in [one for one in walk.services if one in server.ports] if walk.services else [once]:
            probe = Probe(server, service)
            if service in mute:
                found = [finding(probe, case, Grade.INCONCLUSIVE, f"{NOT_REACHED}{NO_ANSWER}") for case in walk.cases]
            else:
                found = list(_gone(walk, probe))
                seen_from.append(probe.seen_from)
                if found and found[0].found == NO_ANSWER and not any(line[0] == "S" for line in probe.transcript):
                    mute.add(service)
            yield from (one for one in found if wished(one.id))


def _gone(walk: Walk, probe: Probe) -> Iterator[Finding]:
    told: set[str] = set()
    try:
        for one in walk.go(probe):
            told.add(one.id)
            yield one
    except NotOffered as no_tls:
        left = [case for case in walk.cases if case not in told]
        yield from (finding(probe, case, Grade.SKIPPED, f"no TLS: {no_tls}") for case in left)
        return
    except ConnectionEnded as ended:
        why = str(ended)
    except (ValueError, IndexError) as error:  # no number, or no word, where the protocol has one
        why = f"not understood: {error}"
    else:
        return
    first, *others = [case for case in walk.cases if case not in told] or walk.cases[-1:]
    yield finding(probe, first, Grade.INCONCLUSIVE, why)
    yield from (finding(probe, case, Grade.INCONCLUSIVE, f"{NOT_REACHED}{why}") for case in others)

"""What the DNS says of a mail domain: where its mail goes, who may send for it, how it is signed and protected.

Takes     a server with `dns`: domains, selectors of DKIM keys, a resolver
Gives     findings dns.*, whose service is the domain, or the address
Not here  questions and answers (host.lookups), SPF (sender_policy), the policy that MTA-STS fetches (transport_policy)
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from trafficgen.check.cases import finding
from trafficgen.check.conversation import ConnectionEnded
from trafficgen.check.sender_policy import read_policy
from trafficgen.check.service import DomainNames, Probe, ServiceKind, anything_goes
from trafficgen.check.tls import handshaken
from trafficgen.check.transport_policy import PolicyRefused, fetch_policy
from trafficgen.host.lookups import Lookups, NoAnswer, bare
from trafficgen.plan import TcpTarget
from trafficgen.verdict.findings import Finding, Grade

_LEAST_RSA_BITS: Final = 1024
_GOOD_RSA_BITS: Final = 2048
"""RFC 8301 3.2: verifiers take 1,024 and more, signers should use 2,048."""

_Verdict = tuple[Grade, str]


def domain_walk(probe: Probe) -> Iterator[Finding]:
    """Each case by itself: a question without an answer leaves one of them open."""
    asked = probe.server.dns
    assert asked is not None
    lookups = Lookups(asked.resolver, probe.server.timeout_s, probe.transcript)
    address = probe.server.route.addresses[0]
    host = address.host if isinstance(address, TcpTarget) else None
    yield _told(probe, "dns.ptr", host or "the server", lambda: _ptr(lookups, host))
    yield _told(probe, "dns.host", host or "the server", lambda: _greeted(probe, lookups, host))
    yield _told(probe, "dns.tlsa", probe.server.name, lambda: _tlsa(probe, lookups, probe.server.name))
    for domain in asked.domains:
        exchangers = _exchangers(lookups, domain)
        for case, look in _cases(probe, lookups, asked, domain, exchangers).items():
            yield _told(probe, case, domain, look)


def _cases(
    probe: Probe, lookups: Lookups, asked: DomainNames, domain: str, exchangers: list[str]
) -> dict[str, Callable[[], _Verdict]]:
    ours = {one.host for one in probe.server.route.addresses if isinstance(one, TcpTarget)}
    return {
        "dns.mx": lambda: _mx(lookups, domain, ours),
        "dns.spf": lambda: _spf(lookups, domain),
        "dns.dkim": lambda: _dkim(lookups, domain, asked.selectors),
        "dns.dmarc": lambda: _dmarc(lookups, domain),
        "dns.mta-sts": lambda: _mta_sts(probe, lookups, asked, domain, exchangers),
        "dns.tls-rpt": lambda: _tls_rpt(lookups, domain),
    }


def _told(probe: Probe, case: str, about: str, look: Callable[[], _Verdict]) -> Finding:
    since = len(probe.transcript)
    try:
        grade, words = look()
    except (ConnectionEnded, NoAnswer) as ended:
        grade, words = Grade.INCONCLUSIVE, str(ended)
    return replace(finding(probe, case, grade, words, since), service=about)


# -- the server's own address --------------------------------------------------------------------------------


def _ptr(lookups: Lookups, host: str | None) -> _Verdict:
    if host is None:
        return Grade.SKIPPED, "a UNIX socket has no address"
    names = lookups.names_of(host)
    if not names:
        return Grade.FAIL, f"{host} has no name"
    back = [name for name in names if host in lookups.addresses(name)]
    if not back:
        return Grade.FAIL, f"{', '.join(names)}, which does not lead back to {host}"
    return Grade.PASS, f"{', '.join(back)}, and back"


def _greeted(probe: Probe, lookups: Lookups, host: str | None) -> _Verdict:
    """The name that the server greets with, which is also what it says in EHLO elsewhere."""
    service = next((one for one in (ServiceKind.SMTP, ServiceKind.SUBMISSION) if one in probe.server.ports), None)
    if host is None or service is None:
        return Grade.SKIPPED, "no SMTP service with an address is looked at"
    with probe.at(service).connect() as talk:
        words = talk.reply().lines[0][4:].split(" ")
        talk.say("QUIT")
    name = bare(words[0])
    found = lookups.addresses(name) if "." in name else []
    if not found:
        return Grade.FAIL, f"it greets as {name}, which has no address"
    if host not in found:
        return Grade.WARN, f"it greets as {name}, which is at {', '.join(found)} and not at {host}"
    return Grade.PASS, f"it greets as {name}, at {host}"


# -- where mail goes -----------------------------------------------------------------------------------------


def _exchangers(lookups: Lookups, domain: str) -> list[str]:
    """Names of MX records; [] where they cannot be had, which `dns.mx` tells."""
    try:
        return [bare(record.exchange) for record in lookups.records(domain, "MX")]
    except NoAnswer:
        return []


def _mx(lookups: Lookups, domain: str, ours: set[str]) -> _Verdict:
    records = lookups.records(domain, "MX")
    names = [bare(record.exchange) for record in sorted(records, key=lambda record: int(record.preference))]
    if not names:
        found = lookups.addresses(domain)
        if not found:
            return Grade.FAIL, "neither MX nor an address"
        return Grade.WARN, f"no MX: mail goes to its address {', '.join(found)} (RFC 5321 5.1)"
    if "" in names:
        lone = "it takes no mail (a null MX)" if len(names) == 1 else "a null MX beside others"
        return Grade.FAIL, lone
    problems: list[str] = []
    hosts: set[str] = set()
    for name in names:
        if name.replace(".", "").isdigit():
            problems.append(f"{name} is an address, not a name")
        elif lookups.records(name, "CNAME"):
            problems.append(f"{name} is an alias")
        elif not (addresses := lookups.addresses(name)):
            problems.append(f"{name} has no address")
        else:
            hosts |= set(addresses)
    if problems:
        return Grade.FAIL, "; ".join(problems)
    here = "this server is one of them" if hosts & ours else "none of them is this server"
    return (Grade.PASS if hosts & ours else Grade.WARN), f"{', '.join(names)}; {here}"


# -- who may send, and how that is proved ----------------------------------------------------------------------


def _spf(lookups: Lookups, domain: str) -> _Verdict:
    policy = read_policy(domain, lookups)
    if policy.problems:
        return Grade.FAIL, "; ".join(policy.problems)
    if not policy.record:
        return Grade.FAIL, "no record"
    words = f"{policy.record}; {policy.lookups} lookups"
    if policy.others == "+":
        return Grade.FAIL, f"{words}; everybody may send (+all)"
    if policy.others in ("", "?"):
        return Grade.WARN, f"{words}; nothing is said of others"
    return (Grade.WARN, "; ".join([words, *policy.advice])) if policy.advice else (Grade.PASS, words)


def _dkim(lookups: Lookups, domain: str, selectors: tuple[str, ...]) -> _Verdict:
    if not selectors:
        return Grade.SKIPPED, "no selector is known (--dkim-selector)"
    grades, words = [], []
    for selector in selectors:
        grade, said = _dkim_key(lookups, f"{selector}._domainkey.{domain}")
        grades.append(grade)
        words.append(f"{selector}: {said}")
    worst = next(grade for grade in (Grade.FAIL, Grade.WARN, Grade.PASS) if grade in grades)
    return worst, "; ".join(words)


def _dkim_key(lookups: Lookups, name: str) -> _Verdict:
    """RFC 6376 3.6.1, RFC 8301, RFC 8463."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    texts = [text for text in lookups.texts(name, "") if "p" in _tags(text)]
    if len(texts) != 1:
        return Grade.FAIL, f"{len(texts) or 'no'} key records"
    tags = _tags(texts[0])
    if tags.get("v", "DKIM1") != "DKIM1":
        return Grade.FAIL, f"version {tags['v']}"
    if not tags["p"]:
        return Grade.FAIL, "revoked"
    try:
        octets = base64.b64decode("".join(tags["p"].split()), validate=True)
        if tags.get("k", "rsa") == "ed25519":
            good = len(octets) == 32
            return (Grade.PASS, "Ed25519") if good else (Grade.FAIL, f"an Ed25519 key of {len(octets)} octets")
        key = load_der_public_key(octets)
    except (binascii.Error, ValueError) as error:
        return Grade.FAIL, f"no key: {error}"
    if not isinstance(key, RSAPublicKey):
        return Grade.FAIL, "no RSA key"
    bits = key.key_size
    testing = ", for tests only (t=y)" if "y" in tags.get("t", "").split(":") else ""
    if bits < _LEAST_RSA_BITS:
        return Grade.FAIL, f"RSA {bits}"
    return (Grade.WARN if bits < _GOOD_RSA_BITS or testing else Grade.PASS), f"RSA {bits}{testing}"


def _dmarc(lookups: Lookups, domain: str) -> _Verdict:
    """The record of the domain, else of the nearest domain above it that has one."""
    at, asked = domain, "p"
    while not (texts := lookups.texts(f"_dmarc.{at}", "v=DMARC1")):
        at, asked = at.partition(".")[2], "sp"
        if "." not in at:
            return Grade.FAIL, "no record"
    if len(texts) > 1:
        return Grade.FAIL, f"{len(texts)} records at _dmarc.{at}"
    tags = _tags(texts[0])
    policy = tags.get(asked, tags.get("p", "")).lower()
    words = f"{texts[0]}" if at == domain else f"{texts[0]}, of {at}"
    if policy not in ("none", "quarantine", "reject"):
        return Grade.FAIL, f"{words}: no policy"
    if policy == "none":
        return Grade.WARN, f"{words}: forged mail is let through (p=none)"
    if tags.get("pct", "100") != "100":
        return Grade.WARN, f"{words}: for {tags['pct']}% of mail only"
    return (Grade.PASS, words) if tags.get("rua") else (Grade.WARN, f"{words}: nobody is told (rua)")


# -- how it is protected on the way ----------------------------------------------------------------------------


def _mta_sts(
    probe: Probe, lookups: Lookups, asked: DomainNames, domain: str, exchangers: list[str]
) -> _Verdict:  # fmt: skip
    texts = lookups.texts(f"_mta-sts.{domain}", "v=STSv1")
    if len(texts) != 1:
        return (Grade.FAIL, f"{len(texts)} records") if texts else (Grade.WARN, "no record: senders need not use TLS")
    if not _tags(texts[0]).get("id"):
        return Grade.FAIL, f"{texts[0]}: no id"
    try:
        policy = fetch_policy(domain, lookups, probe.server, allow_public=asked.allow_public)
    except PolicyRefused as refused:
        return Grade.FAIL, str(refused)
    strangers = [name for name in exchangers if not policy.covers(name)]
    if strangers:
        return Grade.FAIL, f"the policy does not name {', '.join(strangers)}"
    words = f"mode {policy.mode} for {', '.join(policy.names) or 'no host'}, max_age {policy.max_age_s}"
    return (Grade.PASS if policy.mode == "enforce" else Grade.WARN), words


def _tls_rpt(lookups: Lookups, domain: str) -> _Verdict:
    texts = lookups.texts(f"_smtp._tls.{domain}", "v=TLSRPTv1")
    if len(texts) != 1:
        return (Grade.FAIL, f"{len(texts)} records") if texts else (Grade.WARN, "no record")
    places = [one.strip() for one in _tags(texts[0]).get("rua", "").split(",")]
    good = all(one.startswith(("mailto:", "https://")) for one in places)
    return (Grade.PASS, texts[0]) if good else (Grade.FAIL, f"{texts[0]}: no address to report to (rua)")


def _tlsa(probe: Probe, lookups: Lookups, host: str) -> _Verdict:
    """DANE: the certificate of the SMTP service against the records of its name (RFC 7672 3)."""
    name = f"_25._tcp.{host}"
    records = lookups.records(name, "TLSA")
    if not records:
        return Grade.SKIPPED, f"{host} has no TLSA records"
    if not lookups.verified(name, "TLSA"):
        return Grade.FAIL, f"{len(records)} records, which the resolver has not verified (no DNSSEC): nobody uses them"
    if ServiceKind.SMTP not in probe.server.ports:
        return Grade.SKIPPED, "smtp is not looked at"
    usable = [record for record in records if record.usage in (2, 3)]
    if not usable:
        return Grade.FAIL, "only records of usage 0 and 1, which SMTP has no use for (RFC 7672 3.1.3)"
    with handshaken(probe.at(ServiceKind.SMTP), anything_goes()) as talk:
        assert talk.tls is not None
        der = talk.tls.getpeercert(binary_form=True) or b""
    if any(record.usage == 3 and _matches(record.selector, record.mtype, record.cert, der) for record in usable):
        return Grade.PASS, f"one of {len(records)} records is for its certificate"
    if any(record.usage == 2 for record in usable):
        return Grade.INCONCLUSIVE, "records for an authority (usage 2), whose certificate is not looked for"
    return Grade.FAIL, f"none of {len(records)} records is for its certificate: senders with DANE keep their mail"


def _matches(selector: int, matching: int, wanted: bytes, der: bytes) -> bool:
    """RFC 6698 2.1.2 and 2.1.3."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if selector == 1:
        key = x509.load_der_x509_certificate(der).public_key()
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    match matching:
        case 0:
            return wanted == der
        case 1:
            return wanted == hashlib.sha256(der).digest()
        case 2:
            return wanted == hashlib.sha512(der).digest()
    return False


def _tags(text: str) -> dict[str, str]:
    """ "a=b; c=d" (RFC 6376 3.2)."""
    parts = (part.partition("=") for part in text.split(";"))
    return {name.strip().lower(): value.strip() for name, equals, value in parts if equals}

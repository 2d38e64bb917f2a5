"""Every case of the check: its id, what is expected, where that is written, what to do when it is not so.

Gives     `CASES`, and the makers of findings: a walk says which case and what it found
Never     changes an id: people keep lists of them
"""

from dataclasses import dataclass
from typing import Final

from trafficgen.check.service import Probe
from trafficgen.verdict.findings import Finding, Grade


@dataclass(frozen=True, slots=True)
class Case:
    """`source`: where it is written; `advice`: what mends it, in the words of Postfix and Dovecot where they differ."""

    expected: str
    source: str
    advice: str = ""


_NOT_IN_CLEAR: Final = "disable_plaintext_auth = yes (from Dovecot 2.4 on: auth_allow_cleartext = no)"

CASES: Final[dict[str, Case]] = {
    # -- SMTP -------------------------------------------------------------------------------------------
    "smtp.greeting": Case(
        "220 and a full host name, without a version", "RFC 5321 3.1, 4.2",
        "set the name (myhostname) and take the version out of the greeting (smtpd_banner)",
    ),
    "smtp.ehlo": Case(
        "250 with PIPELINING and SIZE, without XCLIENT or XFORWARD for strangers", "RFC 5321 4.1.1.1",
        "take this address out of smtpd_authorized_xclient_hosts and smtpd_authorized_xforward_hosts",
    ),
    "smtp.ehlo.syntax": Case("501 to EHLO without a name, and the session goes on", "RFC 5321 4.1.1.1"),
    "smtp.order": Case("503 to RCPT before MAIL", "RFC 5321 4.1.4"),
    "smtp.unknown-command": Case("500 or 502 to an unknown command, and the session goes on", "RFC 5321 4.2.4"),
    "smtp.vrfy": Case(
        "the same answer to VRFY for a user that exists and one that does not", "RFC 5321 3.5.3, 7.3",
        "disable_vrfy_command = yes",
    ),
    "smtp.expn": Case("no list of members to EXPN", "RFC 5321 3.5.2, 7.3", "leave EXPN off"),
    "smtp.size": Case(
        "552 at MAIL to a message larger than EHLO's SIZE", "RFC 1870 4, 6.1", "set message_size_limit"
    ),
    "smtp.postmaster": Case("250 to RCPT TO:<postmaster>", "RFC 5321 4.5.1, RFC 2142", "make an alias for postmaster"),
    "smtp.unknown-user": Case(
        "550 to a user that does not exist", "RFC 5321 3.3",
        "let the server know its users (local_recipient_maps, virtual_mailbox_maps): mail that is taken and bounced "
        "later goes to forged senders",
    ),
    "smtp.errors": Case(
        "421 or slower answers after many errors", "RFC 5321 4.3.2", "set smtpd_hard_error_limit and soft_error_limit"
    ),
    "smtp.early-talker": Case(
        "a client that speaks before the greeting is refused", "RFC 5321 4.3.1",
        "smtpd_forbid_unauth_pipelining = yes, or postscreen_greet_action = enforce",
    ),
    "smtp.pipelining-after-helo": Case(
        "a group of commands after HELO, which offers no PIPELINING, is refused", "RFC 2920 3.1",
        "smtpd_forbid_unauth_pipelining = yes",
    ),
    # -- TLS --------------------------------------------------------------------------------------------
    "tls.offered": Case(
        "STARTTLS offered, or TLS at once", "RFC 3207 4, RFC 8314 3", "set a certificate (smtpd_tls_chain_files)"
    ),
    "tls.required": Case(
        "mail is not refused without TLS on port 25 (RFC 3207 4), and is on submission (RFC 6409 4.3)",
        "RFC 3207 4, RFC 6409 4.3", "smtpd_tls_security_level = may on 25, encrypt on 587",
    ),
    "tls.handshake": Case("a TLS handshake", "RFC 3207 4.1, RFC 8314 3"),
    "tls.reset": Case("inside TLS the offers are made anew, without STARTTLS", "RFC 3207 4.2, RFC 2595 4"),
    "tls.injection": Case(
        "a command sent with STARTTLS in one write is not answered inside TLS", "RFC 3207 6, CVE-2011-0411",
        "update the server",
    ),
    "tls.chain": Case(
        "a certificate that leads to a trusted authority", "RFC 5280 6, RFC 9525",
        "send the whole chain, or name your own authority with --tls-ca",
    ),
    "tls.name": Case("a certificate for the name that clients use", "RFC 9525 6", "issue one that has this name"),
    "tls.expiry": Case("a certificate that is good for 30 days more", "RFC 5280 4.1.2.5", "renew it"),
    "tls.key": Case(
        "RSA of 2048 bits, or 256 of an elliptic curve, and no SHA-1 signature", "RFC 9325 4.5", "issue a new one"
    ),
    "tls.versions": Case(
        "TLS 1.2 or 1.3, and none before", "RFC 8996, RFC 9325 3.1",
        "smtpd_tls_protocols = >=TLSv1.2; ssl_min_protocol = TLSv1.2",
    ),
    "tls.ciphers": Case(
        "no NULL, export, RC4 or 3DES cipher, and no key exchange by RSA", "RFC 9325 4.1, 4.2",
        "smtpd_tls_exclude_ciphers, tls_preempt_cipherlist; ssl_cipher_list",
    ),
    "tls.scan": Case("nothing that a deep scan of TLS warns of", "testssl.sh or sslyze", "see the transcript"),
    # -- logging in by SMTP ------------------------------------------------------------------------------
    "auth.clear": Case(
        "no AUTH before TLS", "RFC 4954 4, RFC 8314 3", f"smtpd_tls_auth_only = yes; {_NOT_IN_CLEAR}"
    ),
    "auth.offered": Case("AUTH inside TLS", "RFC 4954 3, RFC 6409 4.3", "smtpd_sasl_auth_enable = yes"),
    "auth.good": Case("235 to the right password", "RFC 4954 4"),
    "auth.bad": Case("535 to a wrong password", "RFC 4954 6"),
    "auth.unknown-user": Case(
        "the same answer to an unknown user as to a wrong password", "RFC 4954 9", "let both have the same text"
    ),
    "auth.cancelled": Case('501 to "*" in place of a password', "RFC 4954 4"),
    "auth.required": Case(
        "mail refused on submission without a login", "RFC 6409 4.3", "smtpd_client_restrictions = permit_sasl_"
        "authenticated, reject on 587 and 465",
    ),
    # -- relay and smuggling -----------------------------------------------------------------------------
    "relay.envelopes": Case(
        "mail from outside to outside refused, in every form of the envelope", "RFC 5321 3.6.1, RFC 5068",
        "smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination",
    ),
    "relay.after-bad-login": Case("no relaying after a wrong password", "RFC 5068 3", "as relay.envelopes"),
    "smuggling.end-of-data": Case(
        "only CRLF . CRLF ends a message", "RFC 5321 4.1.1.4, 2.3.8; CVE-2023-51764",
        "smtpd_forbid_bare_newline = normalize (Postfix 3.7.10 and later)",
    ),
    # -- POP3 and IMAP -----------------------------------------------------------------------------------
    "pop3.greeting": Case("+OK", "RFC 1939 4"),
    "pop3.capa": Case("CAPA with UIDL and TOP", "RFC 2449 5, 6"),
    "pop3.clear": Case("no login in clear before TLS", "RFC 2595 2.2", _NOT_IN_CLEAR),
    "pop3.bad": Case("-ERR to a wrong password", "RFC 1939 7, RFC 3206"),
    "pop3.mailbox": Case("login, and STAT, LIST, UIDL and RETR that agree", "RFC 1939 5 to 7"),
    "imap.greeting": Case("* OK", "RFC 9051 7.1.1"),
    "imap.capability": Case("CAPABILITY with IMAP4rev1 or IMAP4rev2", "RFC 9051 6.1.1, 7.2.2"),
    "imap.clear": Case(
        "LOGINDISABLED before TLS, and LOGIN refused", "RFC 9051 6.2.3, 7.2.2", _NOT_IN_CLEAR
    ),
    "imap.bad": Case("NO to a wrong password", "RFC 9051 6.2.3, RFC 5530 3"),
    "imap.mailbox": Case("login, LIST, SELECT of INBOX and FETCH", "RFC 9051 6.3.2, 6.3.9, 6.4.5"),
    # -- the message that is followed ---------------------------------------------------------------------
    "delivery.submitted": Case("a message taken by every way in", "RFC 5321 3.3, RFC 6409 3"),
    "delivery.log": Case("the server's log follows it: message-id, queue id, status=sent", "RFC 5321 4.4"),
    "delivery.imap": Case("it is found by IMAP, its body whole", "RFC 9051 6.4.4"),
    "delivery.pop3": Case("it is found by POP3, its body whole", "RFC 1939 5"),
    "delivery.out": Case("a message from a user to outside comes out", "RFC 5321 3.6"),
    # -- what the DNS says ----------------------------------------------------------------------------------
    "dns.ptr": Case(
        "the server's address has a name that leads back to it", "RFC 1912 2.1", "have the network's owner set it (PTR)"
    ),
    "dns.host": Case(
        "the name in the greeting has the server's address", "RFC 5321 2.3.5, 4.1.1.1",
        "set myhostname, or the name's A and AAAA",
    ),
    "dns.tlsa": Case(
        "TLSA records, verified by DNSSEC, that are for its certificate", "RFC 7672 3.1",
        "publish the new record before the new certificate",
    ),
    "dns.mx": Case(
        "MX with names of hosts, no aliases, which have addresses; this server is one", "RFC 5321 5.1, RFC 2181 10.3"
    ),
    "dns.spf": Case(
        "one SPF record of 10 lookups at most, which refuses others", "RFC 7208 3.2, 4.6.4",
        "end it in -all or ~all, and replace includes by networks",
    ),
    "dns.dkim": Case(
        "a DKIM key of 2048 bits or Ed25519 at each selector", "RFC 6376 3.6, RFC 8301 3.2",
        "make a new key with a new selector",
    ),
    "dns.dmarc": Case(
        "one DMARC record that quarantines or rejects, and asks for reports", "RFC 7489 6.3, 6.6.3",
        "p=quarantine or p=reject, with rua=mailto:",
    ),
    "dns.mta-sts": Case(
        "a policy of MTA-STS in force that names every MX", "RFC 8461 3",
        "publish _mta-sts and https://mta-sts.DOMAIN/.well-known/mta-sts.txt with mode: enforce",
    ),
    "dns.tls-rpt": Case("an address that reports of TLS go to", "RFC 8460 3", "publish _smtp._tls with rua=mailto:"),
    # -- ports --------------------------------------------------------------------------------------------
    "ports.expected": Case("every port that is expected answers", "--expect"),
    "ports.unexpected": Case(
        "no other port of the list answers", "--expect", "bind the service to loopback, or close the port"
    ),
}  # fmt: skip


def finding(probe: Probe, case: str, outcome: Grade, found: str, since: int = 0) -> Finding:
    """A finding with the transcript from line `since` on. What passes needs no advice."""
    known = CASES[case]
    advice = known.advice if outcome in (Grade.WARN, Grade.FAIL) else ""
    said = tuple(probe.transcript[since:])
    return Finding(case, probe.service.value, outcome, known.expected, found, advice, known.source, said)


def graded(probe: Probe, case: str, good: bool, found: str, since: int = 0, bad: Grade = Grade.FAIL) -> Finding:
    """Passed when `good`, `bad` otherwise."""
    return finding(probe, case, Grade.PASS if good else bad, found, since)

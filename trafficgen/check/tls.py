"""TLS of any service: offered, required, reset, injection; certificate, key, versions, ciphers, each its own finding.

Takes     a probe of any service
Gives     findings tls.*
Not here  a deep scan (testssl.sh, sslyze). What this machine's own OpenSSL cannot speak is skipped, never passed
"""

import datetime
import ssl
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from trafficgen.check.cases import finding, graded
from trafficgen.check.conversation import ConnectionEnded, NotOffered, TextConnection, TlsFailed, capabilities
from trafficgen.check.service import (
    IMPLICIT_TLS,
    POP3_KINDS,
    SMTP_KINDS,
    Probe,
    ServiceKind,
    anything_goes,
    from_address,
)
from trafficgen.verdict.findings import Finding, Grade

_VERSIONS: Final = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
_OLD: Final = _VERSIONS[:2]
_WEAK: Final = ("eNULL", "EXPORT", "RC4", "3DES", "kRSA")
_OURS: Final = ("no protocols available", "no ciphers available")
"""How OpenSSL says that it is this machine that cannot."""

_SILENT_S: Final = 1.5
_SOON: Final = datetime.timedelta(days=30)
_VERY_SOON: Final = datetime.timedelta(days=7)


# -- asking for it ----------------------------------------------------------------------------------------


def asks_for_tls(probe: Probe, talk: TextConnection) -> str | None:
    """Greet and ask for TLS; None when a handshake may begin, and otherwise what was answered instead."""
    service = probe.service
    if service in SMTP_KINDS:
        talk.reply()
        talk.command(f"EHLO {probe.server.ehlo_name}")
        answer = talk.command("STARTTLS")
        return None if answer.code == 220 else answer.text
    talk.line()
    if service in POP3_KINDS:
        talk.say("STLS")
        line = talk.line()
        return None if line.startswith("+OK") else line
    talk.say("a STARTTLS")
    while not (line := talk.line()).startswith("a "):
        pass
    return None if line.startswith("a OK") else line


def handshaken(probe: Probe, context: ssl.SSLContext) -> TextConnection:
    """A conversation right behind its handshake. NotOffered, TlsFailed, Ended."""
    with ExitStack() as undo:
        talk = undo.enter_context(probe.connect())
        if probe.service not in IMPLICIT_TLS and (refused := asks_for_tls(probe, talk)) is not None:
            raise NotOffered(f"STARTTLS was answered {refused}")
        talk.start_tls(context, probe.server.name)
        undo.pop_all()
    return talk


# -- walks ------------------------------------------------------------------------------------------------


def offered(probe: Probe) -> Iterator[Finding]:
    """Whether it is offered, what is refused without it, what changes inside it."""
    service = probe.service
    if service not in IMPLICIT_TLS:
        with probe.connect() as talk:
            refused = asks_for_tls(probe, talk)
            words = "STARTTLS is taken" if refused is None else refused
            bad = Grade.WARN if service is ServiceKind.SMTP else Grade.FAIL  # RFC 3207 4: not every client has it
            yield graded(probe, "tls.offered", refused is None, words, bad=bad)
            if refused is not None:
                return
    if service in SMTP_KINDS and service not in IMPLICIT_TLS:
        yield _required(probe)
    since = len(probe.transcript)
    try:
        with handshaken(probe, anything_goes()) as talk:
            assert talk.tls is not None
            cipher = talk.tls.cipher()
            words = f"{talk.tls.version()}, {cipher[0] if cipher else '?'}"
            yield graded(probe, "tls.handshake", True, words, since)
            if service not in IMPLICIT_TLS:
                yield _reset(probe, talk)
    except TlsFailed as failed:
        yield finding(probe, "tls.handshake", Grade.FAIL, str(failed), since)
        return
    if service not in IMPLICIT_TLS:
        yield _injection(probe)


def _required(probe: Probe) -> Finding:
    since = len(probe.transcript)
    talk, _ = probe.smtp()
    with talk:
        reply = talk.command(f"MAIL FROM:<{from_address(probe.server)}>")
    if probe.service is ServiceKind.SMTP:
        return graded(probe, "tls.required", reply.code != 530, f"MAIL in clear: {reply.text}", since)
    return graded(probe, "tls.required", reply.code >= 500, f"MAIL in clear: {reply.text}", since)


def _reset(probe: Probe, talk: TextConnection) -> Finding:
    since = len(probe.transcript)
    if probe.service in SMTP_KINDS:
        names = set(capabilities(talk.command(f"EHLO {probe.server.ehlo_name}")))
    elif probe.service in POP3_KINDS:
        talk.say("CAPA")
        lines = []
        while (line := talk.line()) != ".":
            lines.append(line)
        names = {"STARTTLS"} if "STLS" in lines else {line.split(" ")[0] for line in lines}
    else:
        talk.say("b CAPABILITY")
        lines = []
        while not (line := talk.line()).startswith("b "):
            lines.append(line)
        names = set(" ".join(lines).split(" "))
    return graded(probe, "tls.reset", "STARTTLS" not in names, f"offers {', '.join(sorted(names))}", since)


def _injection(probe: Probe) -> Finding:
    """STARTTLS and a command in one write: what the server read too much must not count as said inside TLS."""
    since = len(probe.transcript)
    with probe.connect() as talk:
        if probe.service in SMTP_KINDS:
            talk.reply()
            talk.command(f"EHLO {probe.server.ehlo_name}")
            talk.send(b"STARTTLS\r\nNOOP\r\n", "STARTTLS and NOOP in one write")
            answer = talk.reply().text
        else:
            talk.line()
            words = b"STLS\r\nNOOP\r\n" if probe.service in POP3_KINDS else b"a STARTTLS\r\nb NOOP\r\n"
            talk.send(words, "STARTTLS and NOOP in one write")
            answer = talk.line()
        try:
            talk.start_tls(anything_goes(), probe.server.name)
            silent = talk.silent_for(_SILENT_S)
        except ConnectionEnded as ended:
            return finding(probe, "tls.injection", Grade.PASS, f"{answer}; then {ended}", since)
        words_found = "nothing is answered inside TLS" if silent else f"answered inside TLS: {talk.line()}"
        return graded(probe, "tls.injection", silent, words_found, since)


def certificate(probe: Probe) -> Iterator[Finding]:
    """One handshake that verifies, for OpenSSL's words; one that does not, for the certificate."""
    from cryptography import x509

    with handshaken(probe, anything_goes()) as talk:
        assert talk.tls is not None
        der = talk.tls.getpeercert(binary_form=True)
    if der is None:
        yield finding(probe, "tls.chain", Grade.FAIL, "the server shows no certificate")
        return
    # Port 25 of strangers is not verified by anybody (RFC 7672 1.3): there it is a warning.
    bad = Grade.WARN if probe.service is ServiceKind.SMTP else Grade.FAIL
    yield _verified(probe, "tls.chain", bad, check_name=False)
    yield _verified(probe, "tls.name", bad, check_name=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a certificate with an odd serial number is read all the same
        leaf = x509.load_der_x509_certificate(der)
    left = leaf.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    yield graded(
        probe, "tls.expiry", left > _SOON, f"good until {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
        bad=Grade.WARN if left > _VERY_SOON else Grade.FAIL,
    )  # fmt: skip
    yield _key(probe, leaf)


def _verified(probe: Probe, case: str, bad: Grade, *, check_name: bool) -> Finding:
    """The chain alone, or with its chain left out of account the name."""
    since = len(probe.transcript)
    context = probe.server.verifying()
    context.check_hostname = check_name
    try:
        handshaken(probe, context).__exit__()
    except TlsFailed as failed:
        name_wrong = "hostname mismatch" in str(failed).lower() or "ip address mismatch" in str(failed).lower()
        if check_name and not name_wrong:
            return finding(probe, case, Grade.INCONCLUSIVE, f"not reached: {failed}", since)
        return finding(probe, case, bad, str(failed), since)
    return finding(probe, case, Grade.PASS, f"verified for {probe.server.name}" if check_name else "verified", since)


def _key(probe: Probe, leaf: object) -> Finding:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    assert isinstance(leaf, x509.Certificate)
    key, algorithm = leaf.public_key(), leaf.signature_hash_algorithm
    hash_name = algorithm.name if algorithm is not None else "none"
    match key:
        case rsa.RSAPublicKey():
            words, strong = f"RSA {key.key_size}", key.key_size >= 2048
        case ec.EllipticCurvePublicKey():
            words, strong = f"EC {key.curve.name}", key.key_size >= 256
        case _:
            words, strong = type(key).__name__.removeprefix("_").removesuffix("PublicKey"), True
    good = strong and hash_name not in ("md5", "sha1")
    return graded(probe, "tls.key", good, f"{words}, signed with {hash_name}")


def versions(probe: Probe) -> Iterator[Finding]:
    """One handshake a version."""
    taken: list[tuple[ssl.TLSVersion, str]] = []
    skipped: list[str] = []
    for version in _VERSIONS:
        name = version.name.replace("TLSv1_", "TLS 1.").replace("TLSv1", "TLS 1.0")
        context = anything_goes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
        if (outcome := _try(probe, context)) is None:
            skipped.append(name)
        elif outcome:
            taken.append((version, name))
    old = [name for version, name in taken if version in _OLD]
    modern = [name for version, name in taken if version not in _OLD]
    words = f"takes {', '.join(name for _, name in taken) or 'none'}"
    if skipped:
        words += f"; this machine cannot try {', '.join(skipped)}"
    if modern and not old and skipped:
        yield finding(probe, "tls.versions", Grade.SKIPPED, words)
        return
    bad = Grade.WARN if old and modern and probe.service is ServiceKind.SMTP else Grade.FAIL
    yield graded(probe, "tls.versions", bool(modern) and not old, words, bad=bad)


def ciphers(probe: Probe) -> Iterator[Finding]:
    """One handshake a kind of weak cipher, with TLS 1.2 at most: 1.3 has none."""
    taken, skipped = [], []
    for weak in _WEAK:
        context = anything_goes()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.set_ciphers(f"{weak}:@SECLEVEL=0")
        except ssl.SSLError:  # this OpenSSL was built without it
            skipped.append(weak)
            continue
        if _try(probe, context):
            taken.append(weak)
    words = f"takes {', '.join(taken)}" if taken else "takes none of them"
    if skipped:
        words += f"; this machine cannot try {', '.join(skipped)}"
    yield graded(probe, "tls.ciphers", not taken, words, bad=Grade.WARN)


def _try(probe: Probe, context: ssl.SSLContext) -> bool | None:
    """Whether the server shakes hands so; None when it is this machine that cannot."""
    try:
        handshaken(probe, context).__exit__()
    except TlsFailed as failed:
        return None if any(words in str(failed) for words in _OURS) else False
    return True

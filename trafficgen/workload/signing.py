"""DKIM signatures for the entries of a pool, made before a run begins.

Takes     a plan with keys, the run's date, what its body file holds
Gives     for each entry of `signed.SignedPool` its DKIM-Signature lines; b"" for a sender whom no key covers
Fails     PlanError: a file that holds no key; SetupError: dkimpy is missing, or PyNaCl for a key of Ed25519
Choice    relaxed/relaxed, so that servers may fold headers and trim lines (RFC 6376 section 3.4); SHA-256, with RSA,
          which every verifier must know (section 3.3), or Ed25519 (RFC 8463). With RSA of 2,048 bits dkimpy takes 7 ms
          a signature (2026-11-27, 2-core AMD EPYC virtual machine)
"""

import base64
import binascii
from collections.abc import Iterator
from typing import Final, NamedTuple

from mboxgen.limited import read_limited
from trafficgen.errors import PlanError, SetupError
from trafficgen.host.extras import advice
from trafficgen.plan import Plan
from trafficgen.plan.signing import DkimKey, keys_for
from trafficgen.workload.envelopes import Envelopes
from trafficgen.workload.headers import CRLF
from trafficgen.workload.mail_layout import AS_DELIVERED
from trafficgen.workload.messages import unsigned
from trafficgen.workload.signed import SignedPool

_MAX_FILE: Final = 65_536
_ED25519: Final = bytes.fromhex("302e020100300506032b657004220420")
"""What a private key of Ed25519 begins with in DER; its 32 octets follow (RFC 8410 section 7)."""

_UNSIGNED: Final = frozenset((b"return-path", b"received", b"comments", b"keywords", b"bcc", b"resent-bcc"))
"""What a signer should leave out, as it changes or goes on the way (RFC 6376 section 5.4.1)."""


class _Private(NamedTuple):
    """A key as dkimpy takes it."""

    algorithm: bytes
    octets: bytes


def sign(plan: Plan, date: str, body: bytes | None) -> tuple[bytes, ...]:
    """Signatures in the order of the pool's entries; empty for a plan without keys."""
    keys = plan.workload.dkim_keys
    if not keys:
        return ()
    try:
        import dkim
    except ImportError as error:
        raise SetupError(f"--dkim-key needs dkimpy: {advice('dkim')}") from error
    private = {key: _read(key) for key in keys}
    envelopes = Envelopes(plan, AS_DELIVERED)
    inner, content = unsigned(plan, date, envelopes, AS_DELIVERED, body)
    pool = SignedPool(plan, inner, date, envelopes, content)
    inner.prepare()
    signatures = []
    for entry in pool.entries():
        message = b"".join((entry.head, CRLF, entry.body, entry.tail))
        made = []
        for key in keys_for(keys, envelopes.senders[entry.sender].domain):
            try:
                signature = dkim.sign(
                    message, key.selector.encode("ascii"), key.domain.encode("ascii"), private[key].octets,
                    canonicalize=(b"relaxed", b"relaxed"), include_headers=list(_names(entry.head)),
                    signature_algorithm=private[key].algorithm,
                )  # fmt: skip
            except dkim.NaClNotFoundError as error:
                raise SetupError(f"a key of Ed25519 needs PyNaCl: {advice('dkim')}") from error
            except (dkim.KeyFormatError, ValueError, IndexError, KeyError) as error:
                raise _unusable(key, "expected a private key of RSA or Ed25519 in PEM, without a passphrase") from error
            made.append(signature)
        signatures.append(b"".join(made))
    return tuple(signatures)


def _names(head: bytes) -> Iterator[bytes]:
    """Of every field that is signed, as often as it stands there."""
    for line in head.split(CRLF):
        name = line.partition(b":")[0].strip().lower()
        if line[:1] not in (b"", b" ", b"\t") and name not in _UNSIGNED:
            yield name


def _read(key: DkimKey) -> _Private:
    try:
        pem = read_limited(key.file, _MAX_FILE)
    except (OSError, ValueError) as error:
        raise _unusable(key, getattr(error, "strerror", None) or str(error)) from error
    lines = [line for line in pem.splitlines() if not line.startswith(b"-")]
    try:
        der = base64.b64decode(b"".join(lines))
    except binascii.Error:  # no PEM, which dkimpy refuses
        der = b""
    if der.startswith(_ED25519) and len(der) == len(_ED25519) + 32:
        return _Private(b"ed25519-sha256", base64.b64encode(der.removeprefix(_ED25519)))
    return _Private(b"rsa-sha256", pem)


def _unusable(key: DkimKey, why: str) -> PlanError:
    return PlanError(f'cannot sign with the key "{key.file}": {why}', field="dkim_keys", flag="--dkim-key")

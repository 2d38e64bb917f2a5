"""DKIM-Signature and ARC fields: complete and well-formed, but signed by nobody.

Takes     senders, times; draws of each message's own
Gives     DKIM-Signature (RFC 6376) with Authentication-Results (RFC 8601), and ARC sets (RFC 8617)
Not here  which messages have them (blocks)

A signature of RSA-2048 is 344 characters of base64, a hash of SHA-256 is 44. Theirs are random octets, so they verify
nowhere; no two messages have the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mboxgen.text.people import People

_ALPHABET = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", dtype=np.uint8)
_LINE = 72
_HASH, _SIGNATURE = 43, 342  # characters before the padding
_HASH_END, _SIGNATURE_END = 0x3C, 0x30  # the bits of their last characters that 32 and 256 octets fill
WORDS = -(-(_HASH + _SIGNATURE) // 8)  # draws of 64 bits for one hash and one signature
ARC_WORDS = 4 * WORDS  # for two sets, each with a hash and two signatures
_HEADER_FIELDS = b"h=from:to:subject:date:message-id:\r\n\tmime-version:content-type;\r\n\t"


def _form(parts: list[bytes | int]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Give a row with room for base64 (numbers: so many characters, folded), and the places of that room."""
    row, places = bytearray(), []
    for part in parts:
        if isinstance(part, bytes):
            row += part
            continue
        for at in range(part):
            if at and at % _LINE == 0:
                row += b"\r\n\t "
            places.append(len(row))
            row += b"?"
    return np.frombuffer(bytes(row), dtype=np.uint8), np.array(places)


_BOTH = _form([b"bh=", _HASH, b"=;\r\n\tb=", _SIGNATURE, b"==\r\n"])
_ONE = _form([b"b=", _SIGNATURE, b"==\r\n"])


def _filled(form: tuple[NDArray[np.uint8], NDArray[np.int64]], raw: NDArray[np.uint64]) -> list[bytes]:
    """Fill a form for each row of draws."""
    row, places = form
    six = raw.astype("<u8").view(np.uint8)[:, : len(places)] & 0x3F
    six[:, -1] &= _SIGNATURE_END
    if len(places) > _SIGNATURE:
        six[:, _HASH - 1] &= _HASH_END
    rows = np.tile(row, (len(raw), 1))
    rows[:, places] = _ALPHABET[six]
    return rows.view(f"S{len(row)}").ravel().tolist()


class Signatures:
    """Signatures in the names of everyone who writes."""

    def __init__(self, people: People, addresses: list[bytes]) -> None:
        domains = [address.rpartition(b"@")[2] for address in addresses]
        hosts = people.hosts
        receivers = [hosts[(7 * number + 3) % len(hosts)] for number in range(len(domains))]
        self._openings = [
            b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n\td=%b; s=s%d;" % (domain, len(domain))
            for domain in domains
        ]
        self._results = [
            b"Authentication-Results: %b;\r\n\tdkim=pass header.d=%b;\r\n\tspf=pass smtp.mailfrom=%b\r\n"
            % (host, domain, domain)
            for host, domain in zip(receivers, domains, strict=True)
        ]
        self._receivers, self._domains = receivers, domains

    def dkim(self, senders: NDArray[np.int64], epochs: NDArray[np.int64], raw: NDArray[np.uint64]) -> list[bytes]:
        """Give a DKIM-Signature and its Authentication-Results for each sender; `raw` has WORDS draws for each."""
        who = senders.tolist()
        signed = _filled(_BOTH, raw.reshape(-1, WORDS))
        return [
            b"%b t=%d;\r\n\t%b%b%b" % (self._openings[number], epoch, _HEADER_FIELDS, text, self._results[number])
            for number, epoch, text in zip(who, epochs.tolist(), signed, strict=True)
        ]

    def arc(self, senders: NDArray[np.int64], epochs: NDArray[np.int64], raw: NDArray[np.uint64]) -> list[bytes]:
        """Give one or two ARC sets for each sender, the newest first; `raw` has ARC_WORDS draws for each."""
        rows = raw.reshape(-1, ARC_WORDS)
        columns = rows.reshape(-1, 4, WORDS)
        hashed = [_filled(_BOTH, columns[:, at]) for at in (0, 1)]
        sealed = [_filled(_ONE, columns[:, at]) for at in (2, 3)]
        made = []
        for at, (number, epoch) in enumerate(zip(senders.tolist(), epochs.tolist(), strict=True)):
            # One in four was sealed twice.
            instances = 2 if int(rows[at, 0]) >> 62 == 0 else 1
            sets = [self._set(i, number, epoch, hashed[i - 1][at], sealed[i - 1][at]) for i in (1, 2)[:instances]]
            made.append(b"".join(reversed(sets)))
        return made

    def _set(self, instance: int, sender: int, epoch: int, hashed: bytes, sealed: bytes) -> bytes:
        host, domain = self._receivers[(sender + instance) % len(self._receivers)], self._domains[sender]
        signer = host.partition(b".")[2]
        return (
            b"ARC-Seal: i=%d; a=rsa-sha256; t=%d; cv=%b;\r\n\td=%b; s=arc;\r\n\t%b"
            b"ARC-Message-Signature: i=%d; a=rsa-sha256; c=relaxed/relaxed;\r\n\td=%b; s=arc; t=%d;\r\n\t%b%b"
            b"ARC-Authentication-Results: i=%d; %b;\r\n\tdkim=pass header.d=%b;\r\n\tspf=pass smtp.mailfrom=%b\r\n"
        ) % (
            instance, epoch, b"none" if instance == 1 else b"pass", signer, sealed,
            instance, signer, epoch, _HEADER_FIELDS, hashed, instance, host, domain, domain,
        )  # fmt: skip

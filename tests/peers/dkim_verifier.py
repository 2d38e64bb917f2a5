"""Verifiers of DKIM that are told the public keys instead of asking the DNS.

`verdicts`: OpenDKIM, of messages in files. `ed25519_holds`: RFC 8463 step by step with cryptography, relaxed/relaxed.
"""

import base64
import hashlib
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from tests.conftest import program


def make_key(path: Path) -> str:
    """Write an RSA key of 1,024 bits, which signs fast; returns what the TXT record would say."""
    key = rsa.generate_private_key(65_537, 1_024)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"


def make_ed25519_key(path: Path) -> str:
    """Write an Ed25519 key; returns its public half as base64."""
    key = ed25519.Ed25519PrivateKey.generate()
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def ed25519_holds(message: bytes, public: str) -> bool:
    """Whether its signature of Ed25519 is right: RFC 6376 sections 3.4.2, 3.4.4 and 3.7, RFC 8463 section 3."""
    head, _, body = message.partition(b"\r\n\r\n")
    fields = re.findall(rb"([^:\r\n]+):((?:[^\r]|\r\n[ \t])*)(?:\r\n|$)", head + b"\r\n")
    signature = next(value for name, value in fields if name == b"DKIM-Signature" and b"ed25519-sha256" in value)
    tags = dict(re.findall(r"(\w+)=([^;]*)", re.sub(r"\s+", "", signature.decode("ascii"))))
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    if base64.b64encode(hashlib.sha256(b"".join(line + b"\r\n" for line in lines)).digest()).decode() != tags["bh"]:
        return False
    left = list(fields)
    signed = []
    for wanted in tags["h"].lower().split(":"):
        at = max(at for at, (name, _) in enumerate(left) if name.decode().lower() == wanted)
        signed.append(_relaxed(*left.pop(at)))
    empty = re.sub(rb"(\bb=)[^;]*$", rb"\1", signature)
    signed.append(_relaxed(b"DKIM-Signature", empty).removesuffix(b"\r\n"))
    key = ed25519.Ed25519PublicKey.from_public_bytes(base64.b64decode(public))
    try:
        key.verify(base64.b64decode(tags["b"]), hashlib.sha256(b"".join(signed)).digest())
    except InvalidSignature:
        return False
    return True


def _relaxed(name: bytes, value: bytes) -> bytes:
    return name.lower() + b":" + re.sub(rb"[ \t\r\n]+", b" ", value).strip() + b"\r\n"


def verdicts(folder: Path, messages: Sequence[bytes], records: Mapping[str, str]) -> list[str]:
    """Of each message: "s1 of lab.test", what signed it; "unsigned"; or "failed: …". `records`: TXT records by name."""
    opendkim = program("opendkim", "opendkim")
    (folder / "records").write_text("".join(f"{name} {text}\n" for name, text in records.items()))
    (folder / "opendkim.conf").write_text(f"TestPublicKeys {folder}/records\nMode v\n")
    files = [folder / f"message-{number}" for number in range(len(messages))]
    for file, message in zip(files, messages, strict=True):
        file.write_bytes(message)
    done = subprocess.run(
        [opendkim, "-x", str(folder / "opendkim.conf"), "-t", ",".join(map(str, files))],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if ": " in line]
    assert len(lines) == len(messages), done.stdout + done.stderr
    return [_verdict(line) for line in lines]


def _verdict(line: str) -> str:
    if "message not signed" in line:
        return "unsigned"
    if found := re.search(r"verification \(s=(\S+), d=(\S+), \d+-bit key\) succeeded", line):
        return f"{found[1]} of {found[2]}"
    return f"failed: {line.partition(' failed: ')[2] or line}"

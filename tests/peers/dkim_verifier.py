"""OpenDKIM as a verifier of messages in files, which is told the public keys instead of asking the DNS."""

import base64
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.conftest import program


def make_key(path: Path) -> str:
    """Write an RSA key of 1,024 bits, which signs fast; returns what the TXT record would say."""
    key = rsa.generate_private_key(65_537, 1_024)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"


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

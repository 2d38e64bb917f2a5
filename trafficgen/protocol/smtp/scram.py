"""What both sides of SCRAM-SHA-256 compute (RFC 5802 section 3, RFC 7677).

Takes     passwords, salts and the messages exchanged
Gives     proofs and signatures; attributes of a message
Fails     ValueError for a message or a name that is not of the right form
Not here  who says what when (client_auth, server_auth)
"""

import hashlib
import hmac
import stringprep
import unicodedata
from functools import lru_cache
from typing import Final

ITERATIONS: Final = 4096
"""RFC 7677 section 4: what a server asks for at least."""

_PROHIBITED: Final = (
    stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4,
    stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8,
    stringprep.in_table_c9,
)  # fmt: skip


def prepared(text: str) -> bytes:
    """`text` by SASLprep (RFC 4013), without its rule for right-to-left text. ValueError for what it prohibits."""
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
    normal = unicodedata.normalize("NFKC", mapped)
    if any(prohibited(c) for c in normal for prohibited in _PROHIBITED):
        raise ValueError("expected text without control characters and others that SASLprep prohibits")
    return normal.encode("utf-8")


@lru_cache(maxsize=1024)
def salted_password(password: str, salt: bytes, iterations: int) -> bytes:
    """Hi() of RFC 5802: slow by design, 1 ms for 4,096 iterations, and the same for all sessions of a user."""
    return hashlib.pbkdf2_hmac("sha256", prepared(password), salt, iterations)


def client_proof(salted: bytes, auth_message: bytes) -> bytes:
    """By which a client shows that it knows the password."""
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(client_key).digest(), auth_message, "sha256")
    return bytes(a ^ b for a, b in zip(client_key, signature, strict=True))


def server_signature(salted: bytes, auth_message: bytes) -> bytes:
    """By which a server shows that it knows the password, or what was made of it."""
    return hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), auth_message, "sha256")


def attributes(message: bytes) -> dict[bytes, bytes]:
    """ "r=…,s=…" by name. ValueError when it is not of this form."""
    pairs = [part.partition(b"=") for part in message.split(b",")]
    if any(len(name) != 1 or not equals for name, equals, _ in pairs) or len({name for name, _, _ in pairs}) < len(
        pairs
    ):
        raise ValueError("expected attributes such as r=…,s=…,i=…")
    return {name: value for name, _, value in pairs}

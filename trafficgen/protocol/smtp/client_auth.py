"""AUTH on the client's side (RFC 4954): what is answered to each challenge.

    PLAIN, XOAUTH2   > AUTH … credentials < 235                    XOAUTH2 refused: < 334 why > (empty) < 535
    LOGIN            > AUTH LOGIN < 334 > name < 334 > password < 235
    CRAM-MD5         > AUTH CRAM-MD5 < 334 nonce > name and digest < 235
    SCRAM-SHA-256    > AUTH … client-first < 334 server-first > client-final < 334 signature > (empty) < 235

Takes     a mechanism, a user and a password; challenges, decoded
Gives     answers, not yet encoded; whether the server may say 235 now
Fails     with `AuthBroken` when a server does not keep to the mechanism
Not here  the connection and base64 (engine), the server's side (server_auth)
"""

import base64
import hmac
import secrets
from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

from mboxgen.enums import table_of
from trafficgen.plan import Mechanism
from trafficgen.protocol.smtp import scram

_MAX_ITERATIONS: Final = 1_000_000
"""Some 0.3 s of CPU; a server that asks for more would stop all sessions of a worker."""


class AuthBroken(Exception):  # noqa: N818  (a server's fault on its way to the account)
    """The server broke the rules of the mechanism. `reason` in a few words."""

    def __init__(self, reason: str, example: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.example = example


class Exchange(Protocol):
    """One login. `first`: the initial response, None when the mechanism has none."""

    first: bytes | None

    def answer(self, challenge: bytes) -> bytes:
        """To a 334. Raises AuthBroken."""

    def accepted(self) -> None:
        """The server said 235. Raises AuthBroken when it may not yet."""


class _Plain:
    def __init__(self, user: str, password: str) -> None:
        self.first: bytes | None = f"\0{user}\0{password}".encode()

    def answer(self, challenge: bytes) -> bytes:
        raise _unexpected(challenge)

    def accepted(self) -> None:
        """After the only message."""


class _Login:
    def __init__(self, user: str, password: str) -> None:
        self.first: bytes | None = None
        self._left = [password.encode(), user.encode()]

    def answer(self, challenge: bytes) -> bytes:
        if not self._left:
            raise _unexpected(challenge)
        return self._left.pop()

    def accepted(self) -> None:
        if self._left:
            raise AuthBroken("accepted without credentials", "235 before the password was sent")


class _CramMd5:
    def __init__(self, user: str, password: str) -> None:
        self.first: bytes | None = None
        self._user, self._password = user.encode(), password.encode()
        self._answered = False

    def answer(self, challenge: bytes) -> bytes:
        if self._answered:
            raise _unexpected(challenge)
        self._answered = True
        return self._user + b" " + hmac.digest(self._password, challenge, "md5").hex().encode("ascii")

    def accepted(self) -> None:
        if not self._answered:
            raise AuthBroken("accepted without credentials", "235 without a challenge")


class _Xoauth2:
    def __init__(self, user: str, password: str) -> None:
        self.first: bytes | None = f"user={user}\x01auth=Bearer {password}\x01\x01".encode()
        self._refused = False

    def answer(self, challenge: bytes) -> bytes:
        if self._refused:
            raise _unexpected(challenge)
        self._refused = True
        return b""  # why it was refused; the 535 comes when that was acknowledged

    def accepted(self) -> None:
        """After the only message."""


class ScramSha256:
    """`nonce`: printable and without commas; drawn when it is not given."""

    def __init__(self, user: str, password: str, nonce: str = "") -> None:
        self._password = password
        self._nonce = (nonce or secrets.token_urlsafe(24)).encode("ascii")
        name = scram.prepared(user).replace(b"=", b"=3D").replace(b",", b"=2C")
        self._bare = b"n=" + name + b",r=" + self._nonce
        self._signature: bytes | None = None
        self._verified = False
        self.first: bytes | None = b"n,," + self._bare

    def answer(self, challenge: bytes) -> bytes:
        if self._verified:
            raise _unexpected(challenge)
        try:
            return self._final(challenge) if self._signature is None else self._verify(challenge)
        except ValueError as error:
            raise AuthBroken("malformed challenge", f"{ascii(challenge)[2:-1]}: {error}") from error

    def _final(self, server_first: bytes) -> bytes:
        given = scram.attributes(server_first)
        if not {b"r", b"s", b"i"} <= given.keys() or b"m" in given:
            raise ValueError("expected r=…,s=…,i=…")
        if not given[b"r"].startswith(self._nonce) or given[b"r"] == self._nonce:
            raise AuthBroken("server not authenticated", "it answers to another nonce than ours")
        iterations = int(given[b"i"]) if len(given[b"i"]) < 9 else _MAX_ITERATIONS + 1
        if not 0 < iterations <= _MAX_ITERATIONS:
            raise ValueError(f"expected up to {_MAX_ITERATIONS} iterations")
        salted = scram.salted_password(self._password, base64.b64decode(given[b"s"], validate=True), iterations)
        without_proof = b"c=biws,r=" + given[b"r"]
        message = b",".join((self._bare, server_first, without_proof))
        self._signature = scram.server_signature(salted, message)
        return without_proof + b",p=" + base64.b64encode(scram.client_proof(salted, message))

    def _verify(self, server_final: bytes) -> bytes:
        given = scram.attributes(server_final)
        if b"e" in given:
            return b""  # refused; the reply says so
        assert self._signature is not None
        if not hmac.compare_digest(base64.b64decode(given.get(b"v", b""), validate=True), self._signature):
            raise AuthBroken("server not authenticated", "its signature is not that of the password")
        self._verified = True
        return b""

    def accepted(self) -> None:
        if not self._verified:
            raise AuthBroken("server not authenticated", "235 without its signature")


EXCHANGES: Final[Mapping[Mechanism, Callable[[str, str], Exchange]]] = table_of(Mechanism, {
    Mechanism.PLAIN: _Plain,
    Mechanism.LOGIN: _Login,
    Mechanism.SCRAM_SHA_256: ScramSha256,
    Mechanism.CRAM_MD5: _CramMd5,
    Mechanism.XOAUTH2: _Xoauth2,
})  # fmt: skip


def choose(offered: Collection[str], wanted: Mechanism | None) -> Mechanism:
    """The mechanism to use, of those offered. Raises AuthBroken when there is none."""
    known = {name.upper() for name in offered}
    able = [one for one in Mechanism if one.value in known]
    chosen = [one for one in able if one is wanted or (wanted is None and one is not Mechanism.XOAUTH2)]
    if chosen:
        return chosen[0]
    words = f"the server offers {' '.join(sorted(known)) or 'no AUTH'}"
    raise AuthBroken("AUTH not offered", words + (f", not {wanted.value}" if wanted else ""))


def _unexpected(challenge: bytes) -> AuthBroken:
    return AuthBroken("a challenge too many", ascii(challenge[:80])[2:-1])

"""AUTH on the server side: PLAIN (RFC 4616), LOGIN, XOAUTH2, CRAM-MD5 (RFC 2195), SCRAM-SHA-256 (RFC 7677).

    > AUTH PLAIN < 334 > credentials < 235        or the credentials right behind the mechanism (RFC 4954 section 4)
    > AUTH LOGIN < 334 > name < 334 > password < 235
    > AUTH CRAM-MD5 < 334 nonce > name and digest < 235
    > AUTH SCRAM-SHA-256 client-first < 334 server-first > client-final < 334 signature > (empty) < 235
    at any 334:  > * < 501

Takes     the AUTH line and the lines that follow it; the password of all users, or none: then any is right
Gives     the reply to each; `mechanism` once the credentials are complete, well formed and right
Not here  whether they are accepted all the same (policy hooks)
"""

import base64
import hmac
import secrets
from collections.abc import Generator
from typing import Final

from trafficgen.protocol.smtp import scram

MAX_LINE_OCTETS: Final = 12_288
"""RFC 4954 section 4.3.1.2."""

_CANCELLED: Final = b"501 5.7.0 cancelled\r\n"
_MALFORMED: Final = b"501 5.5.2 expected base64\r\n"
_UNKNOWN: Final = b"504 5.5.4 mechanism not known\r\n"
_WRONG: Final = b"535 5.7.8 wrong name or password\r\n"
_SALT: Final = secrets.token_bytes(16)

_Steps = Generator[bytes, bytes, bool]
"""Yields challenges, is sent what the client answers, returns whether it was right. ValueError: malformed."""


def _plain(password: bytes) -> _Steps:
    _, _, given = _parts((yield b""), b"\0", 3)
    return not password or hmac.compare_digest(given, password)


def _login(password: bytes) -> _Steps:
    yield b"Username:"
    given = yield b"Password:"
    return not password or hmac.compare_digest(given, password)


def _xoauth2(password: bytes) -> _Steps:
    given = yield b""
    if not password or hmac.compare_digest(given.rpartition(b"auth=Bearer ")[2], password + b"\1\1"):
        return True
    yield b'{"status":"401","schemes":"bearer"}'
    return False


def _cram_md5(password: bytes) -> _Steps:
    challenge = b"<%b@traffic-gen.test>" % secrets.token_hex(8).encode("ascii")
    _, space, digest = (yield challenge).rpartition(b" ")
    if not space:
        raise ValueError("expected a name and a digest")
    return not password or hmac.compare_digest(digest, hmac.digest(password, challenge, "md5").hex().encode("ascii"))


def _scram(password: bytes) -> _Steps:
    flag, authorized, bare = _parts((yield b""), b",", 3, rest=True)
    first = scram.attributes(bare)
    if flag not in (b"n", b"y") or not {b"n", b"r"} <= first.keys():
        raise ValueError("expected n,,n=…,r=…")
    nonce = first[b"r"] + secrets.token_hex(12).encode("ascii")
    server_first = b"r=%b,s=%b,i=%d" % (nonce, base64.b64encode(_SALT), scram.ITERATIONS)
    without_proof, mark, proof = (yield server_first).rpartition(b",p=")
    header = base64.b64encode(b"%b,%b," % (flag, authorized))
    if not mark or scram.attributes(without_proof).get(b"c") != header:
        raise ValueError("expected c=…,r=…,p=…")
    message = b",".join((bare, server_first, without_proof))
    salted = scram.salted_password(password.decode("utf-8"), _SALT, scram.ITERATIONS)
    right = hmac.compare_digest(base64.b64decode(proof, validate=True), scram.client_proof(salted, message))
    if scram.attributes(without_proof).get(b"r") != nonce or not right:
        return False
    yield b"v=" + base64.b64encode(scram.server_signature(salted, message))
    return True


MECHANISMS: Final = {
    b"PLAIN": _plain,
    b"LOGIN": _login,
    b"XOAUTH2": _xoauth2,
    b"CRAM-MD5": _cram_md5,
    b"SCRAM-SHA-256": _scram,
}
_NEED_A_PASSWORD: Final = (b"SCRAM-SHA-256",)
"""Where the server shows that it knows it, too."""


def offered(password: bytes) -> list[bytes]:
    """Mechanisms, as EHLO lists them."""
    return [name for name in MECHANISMS if password or name not in _NEED_A_PASSWORD]


class AuthExchange:
    """One AUTH exchange. `done`: it has ended; `mechanism` is None unless it succeeded."""

    __slots__ = ("_password", "_requested", "_steps", "done", "mechanism")

    def __init__(self, password: bytes = b"") -> None:
        self.done = False
        self.mechanism: bytes | None = None
        self._password = password
        self._requested = b""
        self._steps: _Steps | None = None

    def start(self, line: bytes) -> bytes:
        """The AUTH command. Returns a reply, or b"" when the credentials are complete."""
        words = line.split()
        self._requested = words[1].upper() if len(words) > 1 else b""
        if self._requested not in offered(self._password) or len(words) > 3:
            self.done = True
            return _UNKNOWN
        self._steps = MECHANISMS[self._requested](self._password)
        challenge = next(self._steps)
        return self.next_line(words[2]) if len(words) == 3 else _challenge(challenge)

    def next_line(self, line: bytes) -> bytes:
        """The client's next line. Returns a reply, or b"" when the credentials are complete."""
        assert self._steps is not None
        if line == b"*":
            self.done = True
            return _CANCELLED
        try:
            return _challenge(self._steps.send(b"" if line == b"=" else base64.b64decode(line, validate=True)))
        except StopIteration as end:
            self.done = True
            if not end.value:
                return _WRONG
            self.mechanism = self._requested
            return b""
        except ValueError:  # of base64, too
            self.done = True
            return _MALFORMED


def _challenge(challenge: bytes) -> bytes:
    return b"334 " + base64.b64encode(challenge) + b"\r\n"


def _parts(text: bytes, mark: bytes, count: int, *, rest: bool = False) -> list[bytes]:
    """`text` in so many parts; the last one may hold more marks where it is the `rest`."""
    parts = text.split(mark, count - 1 if rest else -1)
    if len(parts) != count:
        raise ValueError(f"expected {count} parts")
    return parts
